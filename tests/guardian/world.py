"""Runs the guardian's definition, unchanged, on moto's Step Functions interpreter and a virtual clock.

A life of 24 hours takes seconds, and one life runs at a time, so a run is repeatable. What this file adds to interpreter.py:
  - EC2, ECS: moto, whose instances start and stop at once. This file delays them, refuses what EC2 refuses (a start while
    stopping, another group than five), answers late if asked to, and adds the agent that moto's tasks lack.
  - SSM: moto has no DescribeSessions. A list in this file answers, or the endpoint in FUMIDAI_TEST_SIM.
"""

import heapq
import json
import logging
import os
import threading

import boto3
import moto
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

import interpreter
from guardian import ACCOUNT, ROLE, definition
from interpreter import error, listed_executions, lowered, raised
from machine import Machine, containers

logging.disable(logging.CRITICAL)
REGION = "eu-central-1"
GUARDED = [{"Key": "fumidai:guarded", "Value": "true"}]
SIX_MINUTES = 360
EPOCH = 1_700_000_000_000


class Clock:
    """A virtual clock that wakes one sleeper or runs one scheduled act at a time."""

    def __init__(self):
        self.now = 0.0
        self.idle = threading.Event()
        self.idle.set()
        self.heap = []
        self.count = 0

    def at(self, when, act):
        self.count += 1
        heapq.heappush(self.heap, (when, self.count, act))

    def millis(self):
        return int(self.now * 1000) + EPOCH

    def wait(self, seconds, _stopped):
        """Called by a life: hands the turn back and returns when its time has come."""
        wake = threading.Event()
        self.at(self.now + max(0, seconds), wake)
        self.idle.set()
        wake.wait()

    def turn(self, act):
        """Lets a life run until it sleeps or ends."""
        self.idle.clear()
        act()
        if not self.idle.wait(60):
            raise AssertionError("a life neither sleeps nor ends")

    def run_until(self, done, limit):
        while not done():
            if not self.heap or self.heap[0][0] > limit:
                self.now = max(self.now, limit)
                return
            when, _, act = heapq.heappop(self.heap)
            self.now = max(self.now, when)
            if isinstance(act, threading.Event):
                self.turn(act.set)
            else:
                act()


WORLD = None


class Service:
    """What a Task calls: records the call, injects faults, then answers from the world."""

    def __init__(self, name):
        self.name = name

    def __getattr__(self, action):
        return lambda **arguments: WORLD.call(self.name, action, arguments)


class World:
    """One account and region: instances, interfaces, groups, tasks, sessions, and the lives."""

    def __init__(self, **settings):
        global WORLD
        self.clock = Clock()
        interpreter.use(self.clock)
        WORLD = self
        self.closed = False
        self.mock = moto.mock_aws(config={"stepfunctions": {"execute_state_machine": True}})
        self.mock.start()
        self.client = {name: boto3.client(name, region_name=REGION) for name in ("ec2", "ecs", "stepfunctions")}
        self.machines, self.sessions, self.calls, self.faults = {}, {}, [], []
        self.agent_after, self.task_seen, self.session_log, self.stale = 30, {}, [], 0
        ec2 = self.client["ec2"]
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        self.own = self.group("own")
        self.maintenance = self.group("SG_Maintenance", GUARDED)
        machine = self.client["stepfunctions"].create_state_machine(
            name="fumidai-guardian", definition=definition(**settings), roleArn=ROLE)
        self.arn, self.names = machine["stateMachineArn"], 0

    def close(self):
        if self.closed:
            return
        self.closed = True
        for execution in self.running():
            self.client["stepfunctions"].stop_execution(executionArn=execution)
        self.mock.stop()

    def group(self, name, tags=(), vpc=None):
        ec2 = self.client["ec2"]
        group = ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc or self.vpc)["GroupId"]
        if tags:
            ec2.create_tags(Resources=[group], Tags=list(tags))
        return group

    def instance(self, state="stopped"):
        """Returns the ids of a new tagged instance and its interface."""
        ec2 = self.client["ec2"]
        made = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, SubnetId=self.subnet, SecurityGroupIds=[self.own])
        made = made["Instances"][0]
        interface = made["NetworkInterfaces"][0]["NetworkInterfaceId"]
        ec2.create_tags(Resources=[made["InstanceId"], interface], Tags=GUARDED)
        self.machines[made["InstanceId"]] = Machine(self.clock, state)
        return made["InstanceId"], interface

    def groups_of(self, interface):
        found = self.client["ec2"].describe_network_interfaces(NetworkInterfaceIds=[interface])
        return sorted(group["GroupId"] for group in found["NetworkInterfaces"][0]["Groups"])

    def put_groups(self, interface, groups):
        self.client["ec2"].modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=groups)

    def state(self, instance):
        return self.machines[instance].state

    def arrive(self, target, session):
        self.sessions[session] = (target, self.clock.now, float("inf"))

    def leave(self, session):
        target, since, _ = self.sessions[session]
        self.sessions[session] = (target, since, self.clock.now)

    def listed(self, target, when):
        return [name for name, (of, since, until) in self.sessions.items() if of == target and since <= when < until]

    def start(self, instance=None, name=None, **given):
        """Starts a life; returns its execution's ARN."""
        self.names += 1
        given = {"host": "bastion", "reason": "a test", **({"instance": instance} if instance else {}), **given}
        name = name or f"{instance or 'task'}_{self.names:012x}"
        holder = []
        call = lambda: holder.append(self.client["stepfunctions"].start_execution(
            stateMachineArn=self.arn, name=name, input=json.dumps(given)))
        self.clock.turn(call)
        return holder[0]["executionArn"]

    def execution(self, arn):
        for machine in stepfunctions_parser_backends[ACCOUNT][REGION].state_machines:
            for execution in machine.executions:
                if execution.exec_arn == arn:
                    return execution
        raise KeyError(arn)

    def running(self):
        found = self.client["stepfunctions"].list_executions(stateMachineArn=self.arn, statusFilter="RUNNING")
        return [execution["executionArn"] for execution in found["executions"]]

    def ended(self, arn):
        return str(self.execution(arn).exec_status or "RUNNING") not in ("RUNNING", "ExecutionStatus.RUNNING")

    def finish(self, *arns, within=90_000):
        """Runs until these lives have ended; returns what DescribeExecution says of each."""
        self.clock.run_until(lambda: all(self.ended(arn) for arn in arns), self.clock.now + within)
        answers = [self.client["stepfunctions"].describe_execution(executionArn=arn) for arn in arns]
        return answers[0] if len(answers) == 1 else answers

    def run(self, seconds):
        self.clock.run_until(lambda: False, self.clock.now + seconds)

    def called(self, action):
        """The times of the calls of this action."""
        return [when for when, called, _ in self.calls if called == action]

    def events(self, arn):
        return self.execution(arn).to_history_output()["events"]

    def rounds(self, arn):
        """The number of history events of each round of the watch."""
        counts = []
        inside = False
        for event in self.events(arn):
            entered = event.get("stateEnteredEventDetails", {}).get("name")
            if entered in ("Watch", "WatchTarget"):
                counts.append(0)
                inside = True
            if inside:
                counts[-1] += 1
            inside = inside and event.get("stateExitedEventDetails", {}).get("name") != "Decide"
        return counts

    def call(self, service, action, arguments):
        arguments = json.loads(json.dumps(arguments))
        self.calls.append((self.clock.now, action, arguments))
        lost = None
        for fault in self.faults:
            failure = fault(action, sum(1 for call in self.calls if call[1] == action))
            if failure and failure[0] == "lost":
                lost = failure
            elif failure:
                raise error(failure[0], failure[1], action)
        answer = getattr(self, f"do_{action}", None)
        answer = answer(arguments) if answer else getattr(self.client[service], action)(**arguments)
        if lost:
            raise error("InternalError", "the answer was lost", action, 500)
        answer.pop("ResponseMetadata", None)
        return json.loads(json.dumps(answer, default=str))

    def seen_at(self):
        return self.clock.now - (self.stale() if callable(self.stale) else self.stale)

    def do_describe_instances(self, arguments):
        answer = self.client["ec2"].describe_instances(**arguments)
        for instance in answer["Reservations"][0]["Instances"]:
            instance["State"] = {"Name": self.machines[instance["InstanceId"]].at(self.seen_at())}
        return answer

    def do_start_instances(self, arguments):
        instance = arguments["InstanceIds"][0]
        before = self.machines[instance].start()
        return {"StartingInstances": [{"InstanceId": instance, "PreviousState": {"Name": before}}]}

    def do_stop_instances(self, arguments):
        instance = arguments["InstanceIds"][0]
        before = self.machines[instance].stop()
        return {"StoppingInstances": [{"InstanceId": instance, "PreviousState": {"Name": before}}]}

    def do_get_connection_status(self, arguments):
        machine = self.machines[arguments["Target"]]
        return {"Target": arguments["Target"], "Status": "connected" if machine.connected() else "notconnected"}

    def do_list_executions(self, arguments):
        return listed_executions(self.client["stepfunctions"].list_executions(**lowered(arguments)))

    def do_modify_network_interface_attribute(self, arguments):
        if len(arguments["Groups"]) > 5:
            raise error("SecurityGroupsPerInterfaceLimitExceeded", "the maximum number of groups is exceeded, limit 5", "Modify")
        return self.client["ec2"].modify_network_interface_attribute(**arguments)

    def do_describe_sessions(self, arguments):
        assert set(arguments["Filters"][0]) == {"Key", "Value"}, "Step Functions wants PascalCase"
        simulator = os.environ.get("FUMIDAI_TEST_SIM")
        if simulator:
            return self.simulated(simulator, {**arguments, "Filters": lowered(arguments["Filters"])})
        found = self.listed(arguments["Filters"][0]["Value"], self.seen_at())
        return {"Sessions": [{"SessionId": name, "Status": "Connected"} for name in found]}

    def do_run_task(self, arguments):
        arguments = lowered(arguments)
        answer = self.client["ecs"].run_task(**arguments)
        for task in answer["tasks"]:
            self.task_seen[task["taskArn"]] = self.clock.now
        return raised(answer)

    def do_list_tasks(self, arguments):
        return raised(self.client["ecs"].list_tasks(**lowered(arguments)))

    def do_describe_tasks(self, arguments):
        answer = self.client["ecs"].describe_tasks(**lowered(arguments))
        for task in answer["tasks"]:
            up = self.clock.now >= self.task_seen[task["taskArn"]] + self.agent_after
            task["containers"] = containers("bastion", "r-1", up)
        return raised(answer)

    def do_stop_task(self, arguments):
        return raised(self.client["ecs"].stop_task(**lowered(arguments)))

    def simulated(self, endpoint, arguments):
        self.mock.stop()
        try:
            ssm = boto3.client("ssm", region_name=REGION, endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b")
            return ssm.describe_sessions(**arguments)
        finally:
            self.mock.start(reset=False)


def denied(action):
    """A fault: the action is never allowed."""
    return lambda called, number: ("UnauthorizedOperation", f"not authorized to perform {action}") if called == action else None


def throttled(action, times):
    """A fault: the first calls of the action are throttled."""
    limit = ("RequestLimitExceeded", "Request limit exceeded.")
    return lambda called, number: limit if called == action and number <= times else None


def lost(action, times=1):
    """A fault: the first calls are carried out, and their answers are lost."""
    return lambda called, number: ("lost", "") if called == action and number <= times else None


interpreter.install(Service, lambda: WORLD.clock.idle.set())
