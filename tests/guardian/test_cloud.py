"""The server of cloud.py, driven as a client would: by boto3, with a stand-in for the simulator of sessions."""

import itertools
import json
import pathlib
import subprocess
import sys
import threading
import time
import unittest
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CLOUD = pathlib.Path(__file__).with_name("cloud.py")
REGION, SCALE = "eu-central-1", 120
GUARDED = [{"Key": "fumidai:guarded", "Value": "true"}]


class Simulator(ThreadingHTTPServer):
    """Sessions that are started and ended by API calls only."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.sessions, self.hosts, self.numbers = {}, set(), itertools.count(1)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def do_start_session(self, given):
        name = f"alice-{next(self.numbers)}"
        self.sessions[name] = given["Target"]
        return {"SessionId": name, "TokenValue": "t", "StreamUrl": "ws://127.0.0.1"}

    def do_terminate_session(self, given):
        self.sessions.pop(given["SessionId"], None)
        return {"SessionId": given["SessionId"]}

    def do_describe_sessions(self, given):
        wanted = {given_filter["value"] for given_filter in given.get("Filters", [])}
        found = [name for name, target in list(self.sessions.items()) if not wanted or target in wanted]
        return {"Sessions": [{"SessionId": name, "Status": "Connected"} for name in found]}

    def do_get_connection_status(self, given):
        return {"Target": given["Target"], "Status": "connected"}

    def do_describe_instance_information(self, _given):
        return {"InstanceInformationList": [{"InstanceId": name} for name in ["mi-0a", *self.nodes]]}


class Handler(BaseHTTPRequestHandler):
    ways = {"StartSession": "start_session", "TerminateSession": "terminate_session", "DescribeSessions": "describe_sessions",
            "GetConnectionStatus": "get_connection_status", "DescribeInstanceInformation": "describe_instance_information"}

    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.hosts.add(self.headers["Host"])
        assert "SignedHeaders" in self.headers["Authorization"]
        answer = getattr(self.server, f"do_{self.ways[self.headers['X-Amz-Target'].split('.')[1]]}")(given)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Served(unittest.TestCase):
    """The tests of a class share a server; each has its own instances and lives."""

    settings = ()

    @classmethod
    def setUpClass(cls):
        cls.sim = Simulator()
        cls.addClassCleanup(cls.sim.server_close)
        cls.addClassCleanup(cls.sim.shutdown)
        command = [sys.executable, str(CLOUD), "--scale", str(SCALE), "--region", REGION, *cls.settings]
        cls.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        cls.addClassCleanup(cls.end)
        cls.url = json.loads(cls.process.stdout.readline())["url"]
        cls.control("POST", "sim", {"url": cls.sim.url, "access_key_id": "a", "secret_access_key": "b"})
        cls.client = {name: cls.client_of(name) for name in ("ec2", "ecs", "ssm", "sts", "stepfunctions")}
        machines = cls.client["stepfunctions"].list_state_machines()["stateMachines"]
        cls.guardian = next(machine["stateMachineArn"] for machine in machines if machine["name"] == "fumidai-guardian")

    @classmethod
    def client_of(cls, name):
        one_try = Config(retries={"total_max_attempts": 1, "mode": "standard"})
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        return boto3.client(name, region_name=REGION, endpoint_url=cls.url, config=one_try, **keys)

    @classmethod
    def end(cls):
        cls.process.stdin.close()
        assert cls.process.wait(30) == 0
        cls.process.stdout.close()

    def setUp(self):
        self.control("DELETE", "fault")
        self.sim.sessions.clear()

    @classmethod
    def control(cls, method, path, given=None):
        body = None if given is None else json.dumps(given).encode()
        request = urllib.request.Request(f"{cls.url}/fumidai/{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def state(self):
        return self.control("GET", "state")

    def machine(self, state="stopped", **given):
        """Returns the ids of a new instance and of its interface."""
        made = self.client["ec2"].run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]
        instance, interface = made["InstanceId"], made["NetworkInterfaces"][0]["NetworkInterfaceId"]
        self.client["ec2"].create_tags(Resources=[instance, interface], Tags=GUARDED)
        self.control("POST", "machine", {"id": instance, "state": state, **given})
        return instance, interface

    def seen(self, instance):
        found = self.client["ec2"].describe_instances(InstanceIds=[instance])
        return found["Reservations"][0]["Instances"][0]["State"]["Name"]

    def connection(self, target):
        return self.client["ssm"].get_connection_status(Target=target)["Status"]

    def until(self, condition, wanted=True, within=60):
        ends = time.monotonic() + within
        while condition() != wanted:
            self.assertLess(time.monotonic(), ends, f"it is {condition()}, not {wanted}; {self.state()}")
            threading.Event().wait(0.05)

    def start_life(self, name, **given):
        started = self.client["stepfunctions"].start_execution(stateMachineArn=self.guardian, name=name, input=json.dumps(given))
        return started["executionArn"]

    def ended(self, life):
        """Waits until the life has ended; returns what /fumidai/state says of it."""
        self.until(lambda: self.status(life) != "RUNNING")
        return next(found for found in self.state()["executions"] if found["arn"] == life)

    def status(self, life):
        return self.client["stepfunctions"].describe_execution(executionArn=life)["status"]

    def refused(self, code, call, **given):
        with self.assertRaises(ClientError) as caught:
            call(**given)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception.response["Error"]["Message"]


class Instances(Served):
    def test_a_life_starts_watches_and_stops_an_instance(self):
        instance, interface = self.machine(start_takes=180, stop_takes=180)
        group = self.client["ec2"].create_security_group(GroupName="m", Description="m")["GroupId"]
        self.client["ec2"].create_tags(Resources=[group], Tags=GUARDED)
        before = self.state()["calls"]
        self.assertEqual((self.seen(instance), self.connection(instance)), ("stopped", "notconnected"))
        self.refused("TargetNotConnected", self.client["ssm"].start_session, Target=instance)
        life = self.start_life(f"{instance}_0123456789ab", instance=instance, group=group, interface=interface, grace_seconds=360)
        self.until(lambda: self.connection(instance), "connected")
        self.assertEqual(self.seen(instance), "running")
        self.client["ssm"].start_session(Target=instance)
        self.assertIn(group, self.state()["interfaces"][interface])
        began = self.state()["now"]
        self.until(lambda: self.state()["now"] > began + 700)
        self.assertEqual((self.status(life), self.seen(instance)), ("RUNNING", "running"))
        self.sim.sessions.clear()
        self.until(lambda: self.seen(instance), "stopped")
        self.assertEqual(self.connection(instance), "notconnected")
        self.assertEqual(self.ended(life)["output"]["why"], "nobody was on it")
        self.assertNotIn(group, self.state()["interfaces"][interface])
        after = self.state()["calls"]
        for who, starts in (("guardian", 1), ("clients", 0)):
            self.assertEqual(after[who].get("StartInstances", 0) - before[who].get("StartInstances", 0), starts, who)

    def test_the_clients_own_calls_have_the_same_delays_and_refusals(self):
        ec2 = self.client["ec2"]
        instance, _ = self.machine(start_takes=600, stop_takes=600, agent_after=600)
        before = ec2.start_instances(InstanceIds=[instance])["StartingInstances"][0]["PreviousState"]["Name"]
        self.assertEqual((before, self.seen(instance)), ("stopped", "pending"))
        self.refused("IncorrectInstanceState", ec2.stop_instances, InstanceIds=[instance])
        self.until(lambda: self.seen(instance), "running")
        self.assertEqual(self.connection(instance), "notconnected")
        self.until(lambda: self.connection(instance), "connected")
        self.client["ssm"].start_session(Target=instance)
        before = ec2.stop_instances(InstanceIds=[instance])["StoppingInstances"][0]["PreviousState"]["Name"]
        self.assertEqual((before, self.seen(instance)), ("running", "stopping"))
        self.assertEqual(self.sim.sessions, {})
        message = self.refused("IncorrectInstanceState", ec2.start_instances, InstanceIds=[instance])
        self.assertIn("not in a state from which it can be started", message)
        self.until(lambda: self.seen(instance), "stopped")
        listed = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["stopped"]}])["Reservations"]
        self.assertIn(instance, [found["Instances"][0]["InstanceId"] for found in listed])

    def test_a_terminated_instance_stays_terminated(self):
        instance, _ = self.machine("running")
        self.client["ssm"].start_session(Target=instance)
        self.client["ec2"].terminate_instances(InstanceIds=[instance])
        self.assertEqual((self.seen(instance), self.sim.sessions), ("terminated", {}))
        self.refused("IncorrectInstanceState", self.client["ec2"].start_instances, InstanceIds=[instance])

    def test_a_stop_by_hand_ends_the_sessions_and_the_life(self):
        instance, _ = self.machine(start_takes=1, agent_after=0)
        looks = self.state()["calls"]["guardian"].get("DescribeSessions", 0)
        life = self.start_life(f"{instance}_0123456789ab", instance=instance, grace_seconds=360)
        self.until(lambda: self.connection(instance), "connected")
        self.client["ssm"].start_session(Target=instance)
        self.until(lambda: self.state()["calls"]["guardian"].get("DescribeSessions", 0) > looks + 1)
        self.control("POST", "machine", {"id": instance, "state": "stopped"})
        self.assertEqual(self.sim.sessions, {})
        self.assertEqual(self.ended(life)["output"]["why"], "the instance was stopped")

    def test_lost_nodes_are_not_listed(self):
        self.sim.nodes = [self.machine()[0], self.machine("running")[0]]
        listed = self.client["ssm"].describe_instance_information()["InstanceInformationList"]
        self.assertEqual([node["InstanceId"] for node in listed], ["mi-0a", self.sim.nodes[1]])

    def test_other_targets_and_calls_are_passed_on_as_they_came(self):
        self.assertEqual(self.connection("mi-0a"), "connected")
        session = self.client["ssm"].start_session(Target="mi-0a")["SessionId"]
        self.client["ssm"].terminate_session(SessionId=session)
        self.assertIn(self.url.removeprefix("http://"), self.sim.hosts)
        self.assertEqual(self.client["sts"].get_caller_identity()["Account"], "123456789012")

    def test_an_interface_takes_five_groups(self):
        _, interface = self.machine()
        groups = [self.client["ec2"].create_security_group(GroupName=f"g{n}", Description="g")["GroupId"] for n in range(6)]
        modify = self.client["ec2"].modify_network_interface_attribute
        modify(NetworkInterfaceId=interface, Groups=groups[:5])
        self.refused("SecurityGroupsPerInterfaceLimitExceeded", modify, NetworkInterfaceId=interface, Groups=groups)

    def test_five_clients_at_once(self):
        instance, _ = self.machine(agent_after=5)
        names = [f"{instance}_{number:012x}" for number in range(3)]

        def client(number):
            life = self.start_life(names[number % 3], instance=instance, grace_seconds=360)
            self.until(lambda: self.connection(instance), "connected")
            session = self.client["ssm"].start_session(Target=instance)["SessionId"]
            self.assertEqual(self.seen(instance), "running")
            self.client["ssm"].terminate_session(SessionId=session)
            return life

        with ThreadPoolExecutor(5) as pool:
            lives = set(pool.map(client, range(5)))
        self.assertEqual(len(lives), 3)
        for life in lives:
            self.assertEqual(self.ended(life)["status"], "SUCCEEDED")
        self.until(lambda: self.seen(instance), "stopped")

    def test_an_execution_can_be_stopped_at_any_time(self):
        instance, _ = self.machine("running")
        looks = lambda: self.state()["calls"]["guardian"].get("DescribeSessions", 0)
        for number, rounds in enumerate((0, 0, 1)):
            life = self.start_life(f"{instance}_{number:012x}", instance=instance, grace_seconds=1200)
            wanted = looks() + rounds
            self.until(lambda wanted=wanted: looks() >= wanted)
            self.client["stepfunctions"].stop_execution(executionArn=life)
            self.assertEqual(self.ended(life)["status"], "ABORTED")


class Tasks(Served):
    def setUp(self):
        super().setUp()
        ecs, ec2 = self.client["ecs"], self.client["ec2"]
        ecs.create_cluster(clusterName="maintenance")
        container = {"name": "bastion", "image": "a", "memory": 512}
        ecs.register_task_definition(family="bastion", networkMode="awsvpc", cpu="256", memory="512",
                                     requiresCompatibilities=["FARGATE"], containerDefinitions=[container])
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        group = ec2.create_security_group(GroupName=self.id(), Description="t")["GroupId"]
        self.task = {"cluster": "maintenance", "task_definition": "bastion", "subnets": [subnet], "security_groups": [group],
                     "container": "bastion"}

    def next_target(self):
        number = f"{len(self.state()['tasks']) + 1:032x}"
        return f"ecs:maintenance_{number}_{number}-0000000001"

    def described(self):
        ecs = self.client["ecs"]
        arns = ecs.list_tasks(cluster="maintenance", startedBy="fumidai/b")["taskArns"]
        return ecs.describe_tasks(cluster="maintenance", tasks=arns)["tasks"][0] if arns else None

    def test_a_life_runs_a_task_whose_agent_comes_later(self):
        self.control("POST", "tasks", {"agent_after": 240})
        target = self.next_target()
        life = self.start_life("task-maintenance-b_0123456789ab", task=self.task, host="b", grace_seconds=360)
        self.until(lambda: self.described() is not None)
        found = self.described()
        self.assertTrue(found["enableExecuteCommand"])
        self.assertEqual(found["containers"][0]["managedAgents"][0]["lastStatus"], "PENDING")
        self.refused("TargetNotConnected", self.client["ssm"].start_session, Target=target)
        self.until(lambda: self.connection(target), "connected")
        container = self.described()["containers"][0]
        self.assertEqual(container["managedAgents"], [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING"}])
        self.assertEqual(f"ecs:maintenance_{found['taskArn'].split('/')[-1]}_{container['runtimeId']}", target)
        self.client["ssm"].start_session(Target=target)
        began = self.state()["now"]
        self.until(lambda: self.state()["now"] > began + 700)
        self.assertEqual(self.status(life), "RUNNING")
        self.sim.sessions.clear()
        self.assertEqual(self.ended(life)["status"], "SUCCEEDED")
        self.assertEqual(self.state()["tasks"][target], {"status": "STOPPED", "connected": False})

    def run_task(self, **given):
        subnets = {"awsvpcConfiguration": {"subnets": self.task["subnets"], "securityGroups": self.task["security_groups"]}}
        answer = self.client["ecs"].run_task(cluster="maintenance", taskDefinition="bastion", launchType="FARGATE",
                                             enableExecuteCommand=True, networkConfiguration=subnets, **given)
        return answer["tasks"][0]["taskArn"]

    def test_a_stopped_task_loses_its_sessions(self):
        self.control("POST", "tasks", {"agent_after": 0})
        target = self.next_target()
        ran = self.run_task()
        self.client["ssm"].start_session(Target=target)
        self.client["ecs"].stop_task(cluster="maintenance", task=ran)
        self.assertEqual((self.sim.sessions, self.connection(target)), ({}, "notconnected"))

    def test_a_task_ends_with_its_sleep(self):
        self.control("POST", "tasks", {"agent_after": 0})
        target = self.next_target()
        self.run_task(overrides={"containerOverrides": [{"name": "bastion", "command": ["sleep", "240"]}]})
        self.client["ssm"].start_session(Target=target)
        self.until(lambda: self.state()["tasks"][target]["status"], "STOPPED")
        self.until(lambda: self.sim.sessions, {})

    def test_a_client_token_runs_one_task(self):
        self.assertEqual(self.run_task(clientToken="a"), self.run_task(clientToken="a"))
        self.assertNotEqual(self.run_task(clientToken="b"), self.run_task(clientToken="a"))


class Faults(Served):
    settings = ("--longest-hours", "2", "--no-successors")

    def fault(self, action, code, **given):
        self.control("POST", "fault", {"action": action, "code": code, "message": "not authorized", **given})

    def test_calls_of_clients_fail_as_their_protocol_says(self):
        calls = (("StartExecution", "AccessDeniedException", lambda: self.start_life("a_0123456789ab")),
                 ("StartInstances", "UnauthorizedOperation", lambda: self.client["ec2"].start_instances(InstanceIds=["i-0a"])),
                 ("GetCallerIdentity", "ExpiredToken", lambda: self.client["sts"].get_caller_identity()),
                 ("StartSession", "AccessDeniedException", lambda: self.client["ssm"].start_session(Target="mi-0a")))
        for action, code, call in calls:
            self.fault(action, code)
            for _ in range(2):
                self.assertEqual(self.refused(code, call), "not authorized")
        self.control("DELETE", "fault")
        self.client["ssm"].start_session(Target="mi-0a")
        self.client["sts"].get_caller_identity()

    def test_a_fault_counts_its_calls(self):
        self.fault("GetCallerIdentity", "Throttling", times=2)
        for _ in range(2):
            self.refused("Throttling", self.client["sts"].get_caller_identity)
        self.client["sts"].get_caller_identity()

    def test_a_fault_can_be_of_clients_only(self):
        instance, _ = self.machine()
        self.fault("StartInstances", "UnauthorizedOperation", of="clients")
        self.refused("UnauthorizedOperation", self.client["ec2"].start_instances, InstanceIds=[instance])
        self.start_life(f"{instance}_0123456789ab", instance=instance)
        self.until(lambda: self.seen(instance), "running")

    def test_a_lost_answer_is_of_a_call_that_was_carried_out(self):
        instance, _ = self.machine("running", stop_takes=1200)
        self.fault("StopInstances", "InternalError", lost=True, status=500)
        self.refused("InternalError", self.client["ec2"].stop_instances, InstanceIds=[instance])
        self.assertEqual(self.seen(instance), "stopping")
        self.fault("StartSession", "InternalServerError", lost=True, status=500)
        self.refused("InternalServerError", self.client["ssm"].start_session, Target="mi-0a")
        self.assertEqual(list(self.sim.sessions.values()), ["mi-0a"])

    def test_calls_of_the_guardian_fail_too(self):
        instance, _ = self.machine()
        self.fault("StartInstances", "UnauthorizedOperation")
        life = self.start_life(f"{instance}_0123456789ab", instance=instance)
        self.assertEqual(self.ended(life)["error"], "fumidai.StartFailed")

    def test_settings_of_the_templates_are_options(self):
        instance, _ = self.machine()
        life = self.start_life(f"{instance}_x0123456789ab", instance=instance, extends=True)
        self.assertEqual(self.ended(life)["error"], "fumidai.NotAllowed")


if __name__ == "__main__":
    unittest.main()
