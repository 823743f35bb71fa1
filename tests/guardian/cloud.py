"""An AWS account in real time for end-to-end tests: moto's server with the guardian, in front of a simulator of sessions.

Usage: cloud.py [--sim URL] [--scale N] [--region REGION] [--longest-hours H] [--no-successors] [--verbose]

Prints {"url": …} when it serves, and exits when its standard input closes. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are
those of the simulator, unless POST /fumidai/sim gives them.

  - moto answers EC2, ECS, IAM, STS and Step Functions; IAM's simulation is made of moto's own evaluation of policies. The state machine fumidai-guardian is there; its tasks call this server.
  - The simulator answers `AmazonSSM.*`, except what depends on the state of an instance or task (`Sessions`).
  - CloudTrail, which moto lacks, has the StartExecution calls of clients, at once; its callers are `CALLER`.
  - Seconds of lives and machines pass N times faster than real time (30 unless told otherwise).
  - `/fumidai/…` is the test's own interface, with JSON bodies:

POST /fumidai/sim      {"url", "access_key_id"?, "secret_access_key"?, "session_token"?}: the simulator. It must know each target.
POST /fumidai/machine  {"id", "state"?, "start_takes"?, "stop_takes"?, "agent_after"?, "messages"?, "ping"?, "agent_version"?}: gives an instance states that change with
                       delays (stopped, 25, 40 and 30 seconds of lives at first); later calls change what they name. The agent of an
                       instance that is running at the first call is connected. With "messages": false it does not reach
                       ssmmessages; "ping" and "agent_version" are what DescribeInstanceInformation has of it all the same.
POST /fumidai/tasks    {"agent_after"}: how many seconds after RunTask the agents of tasks connect (30 at first).
                       The first task's target is ecs:CLUSTER_ID_ID-0000000001, with ID = 1 in 32 hex digits, the next one's ID is 2.
POST /fumidai/fault    {"action", "code", "message"?, "status"?, "times"?, "of"?, "lost"?}: calls of this action fail, all or the
                       next `times`; `of` is "guardian" or "clients" if only theirs fail; with `lost`, they are carried out first.
DELETE /fumidai/fault  ends all faults.
POST /fumidai/trail    {"busy_pages"}: so many pages of other calls are newer than those that CloudTrail has (0 at first).
GET /fumidai/state     {"now", "machines": {ID: {"state", "connected"}}, "tasks": {TARGET: {"status", "connected"}},
                       "interfaces": {ID: [GROUP]}, "executions": [{"arn", "name", "status", "input", "started", "output", "error",
                       "cause"}], "calls": {"guardian": {ACTION: COUNT}, "clients": {…}}}
"""

import argparse
import io
import json
import logging
import math
import os
import re
import sys
import threading
import time
import urllib.parse
from http.client import HTTPConnection, responses
from xml.sax.saxutils import escape

import boto3
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from moto.ec2.models import ec2_backends
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.exceptions import NotFoundException
from moto.iam.models import AWSManagedPolicy, iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.stepfunctions.parser.models import stepfunctions_parser_backends
from werkzeug.serving import make_server

import interpreter
from delays import Delays
from guardian import ACCOUNT, ROLE, definition
from interpreter import iso, listed_executions, lowered, raised
from machine import Machine

NAME = "fumidai-guardian"
CALLER = f"arn:aws:sts::{ACCOUNT}:assumed-role/ops/verified"
MOST_GROUPS = 5
AGENT_POLICY = "AmazonSSMManagedInstanceCore"
# The other regions that are enabled for the account; moto takes seconds for the first call of each.
OTHER_REGIONS = ("us-east-1",)
# Headers of one connection, not of the message.
OWN_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
ONE_TRY = Config(retries={"total_max_attempts": 1, "mode": "standard"}, user_agent_extra=NAME)


class Clock:
    """Seconds that pass `scale` times faster than real time."""

    def __init__(self, scale):
        self.scale, self.began, self.epoch = scale, time.monotonic(), time.time()

    @property
    def now(self):
        return (time.monotonic() - self.began) * self.scale

    def millis(self):
        return int((self.epoch + self.now) * 1000)

    def wait(self, seconds, stopped):
        """Waits, for a life; its `stopped` event ends the wait."""
        (stopped or threading.Event()).wait(max(0, seconds) / self.scale)

    def later(self, seconds, act):
        timer = threading.Timer(seconds / self.scale, act)
        timer.daemon = True
        timer.start()


class Request:
    """One HTTP request, and the API's action that it asks for."""

    def __init__(self, environ):
        self.environ = environ
        length = int(environ.get("CONTENT_LENGTH") or 0)
        self.body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(self.body)
        self.method, self.path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.target = environ.get("HTTP_X_AMZ_TARGET", "")
        form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
        self.form = urllib.parse.parse_qs(self.body.decode()) if form else {}
        self.action = self.target.split(".")[-1] if self.target else self.form.get("Action", [""])[0]
        self.caller = "guardian" if NAME in environ.get("HTTP_USER_AGENT", "") else "clients"

    def json(self):
        return json.loads(self.body or b"{}")

    def headers(self):
        names = {key[5:]: value for key, value in self.environ.items() if key.startswith("HTTP_")}
        names["CONTENT_TYPE"] = self.environ.get("CONTENT_TYPE", "")
        named = ((name.replace("_", "-").title(), value) for name, value in names.items())
        return [(name, value) for name, value in named if value and name.lower() not in OWN_HEADERS]


class Answer:
    """One HTTP answer."""

    def __init__(self, body, status=200, kind="application/x-amz-json-1.1", headers=()):
        self.body, self.status, self.headers = body, status, [("Content-Type", kind), *headers]

    @classmethod
    def of(cls, value, status=200):
        return cls(json.dumps(value, default=str).encode(), status)

    @classmethod
    def refusal(cls, request, code, message, status=400):
        """An error as the protocol of the request has it."""
        if request.target or not request.form:
            return cls(json.dumps({"__type": code, "message": message}).encode(), status,
                       headers=[("x-amzn-ErrorType", code), ("x-amzn-RequestId", "r")])
        error = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
        ec2 = request.form.get("Version", [""])[0] == "2016-11-15"
        text = (f"<Response><Errors>{error}</Errors><RequestID>r</RequestID></Response>" if ec2 else
                f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>")
        return cls(text.encode(), status, "text/xml")

    def __call__(self, _environ, start_response):
        start_response(f"{self.status} {responses.get(self.status, 'Unknown')}", [*self.headers, ("Content-Length", str(len(self.body)))])
        return [self.body]


class Faults:
    """The calls that fail, by action."""

    def __init__(self):
        self.faults, self.lock = [], threading.Lock()

    def add(self, fault):
        with self.lock:
            self.faults.append({"message": "", "status": 400, "times": None, "of": None, "lost": False, **fault})

    def clear(self):
        with self.lock:
            self.faults.clear()

    def take(self, request):
        """Returns the fault of this call, if it has one, and counts it."""
        with self.lock:
            for fault in self.faults:
                fits = fault["action"] == request.action and fault["of"] in (None, request.caller)
                if fits and fault["times"] != 0:
                    fault["times"] = fault["times"] and fault["times"] - 1
                    return fault
        return None


class Sessions:
    """Systems Manager: the simulator's answers, corrected by the states of instances and tasks."""

    def __init__(self, region):
        self.region, self.url, self.keys = region, None, {}

    def use(self, url, **keys):
        self.url, self.keys = url, {f"aws_{name}": value for name, value in keys.items()}

    def answer(self, request, connected, node):
        given = request.json()
        up = connected(given.get("Target"))
        if request.action == "GetConnectionStatus" and up is not None:
            return Answer.of({"Target": given["Target"], "Status": "connected" if up else "notconnected"})
        if request.action == "StartSession" and up is False:
            return Answer.refusal(request, "TargetNotConnected", f"{given['Target']} is not connected.")
        answer = self.passed_on(request)
        if request.action == "DescribeInstanceInformation" and answer.status == 200:
            return self.without_lost_nodes(answer, node)
        return answer

    @staticmethod
    def without_lost_nodes(answer, node):
        found = json.loads(answer.body)
        nodes = [node(given["InstanceId"], given) for given in found.get("InstanceInformationList", [])]
        return Answer.of({**found, "InstanceInformationList": [known for known in nodes if known is not None]})

    def passed_on(self, request):
        """The simulator's answer to the same request."""
        if self.url is None:
            return Answer.refusal(request, "InternalServerError", "no simulator is set", 500)
        connection = HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=60)
        try:
            return self.asked(connection, request)
        except OSError as failed:
            return Answer.refusal(request, "InternalServerError", f"{self.url}: {failed}", 500)
        finally:
            connection.close()

    @staticmethod
    def asked(connection, request):
        # The signature covers the Host header, so it stays this server's.
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body)
        got = connection.getresponse()
        kind = got.getheader("Content-Type", "application/x-amz-json-1.1")
        kept = [(name, value) for name, value in got.getheaders() if name.lower() not in OWN_HEADERS | {"content-type"}]
        return Answer(got.read(), got.status, kind, kept)

    def end(self, target):
        """Ends the target's sessions: its machine or task stops."""
        if self.url is None:
            return
        session = boto3.session.Session(region_name=self.region)
        ssm = session.client("ssm", endpoint_url=self.url, config=ONE_TRY, **self.keys)
        try:
            listed = ssm.describe_sessions(State="Active", MaxResults=200, Filters=[{"key": "Target", "value": target}])
            for found in listed["Sessions"]:
                ssm.terminate_session(SessionId=found["SessionId"])
        except EndpointConnectionError:
            pass  # A simulator that has ended has no sessions.


class Trail:
    """CloudTrail: the StartExecution calls of clients."""

    def __init__(self):
        self.events, self.busy_pages, self.lock = [], 0, threading.Lock()

    def add(self, request):
        given = request.json()
        execution = given["stateMachineArn"].replace(":stateMachine:", ":execution:") + ":" + given["name"]
        record = {"eventName": request.action, "eventSource": "states.amazonaws.com", "sourceIPAddress": "198.51.100.7",
                  "userIdentity": {"arn": CALLER}, "responseElements": {"executionArn": execution}}
        event = {"EventName": request.action, "EventTime": time.time(), "CloudTrailEvent": json.dumps(record)}
        with self.lock:
            self.events.insert(0, event)

    def answer(self, request):
        given = request.json()
        page = int(given.get("NextToken") or 0)
        if page < self.busy_pages:
            return Answer.of({"Events": [], "NextToken": str(page + 1)})
        [wanted] = given["LookupAttributes"]
        earliest, latest = given.get("StartTime", 0), given.get("EndTime", math.inf)
        with self.lock:
            found = [event for event in self.events if earliest <= event["EventTime"] <= latest]
        return Answer.of({"Events": [event for event in found if event["EventName"] == wanted["AttributeValue"]]})


class Control:
    """The test's own interface; the text at the top of this file says what each way takes and gives."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.ways = {("POST", "/fumidai/machine"): self.machine, ("POST", "/fumidai/tasks"): self.tasks,
                     ("POST", "/fumidai/fault"): self.fault, ("DELETE", "/fumidai/fault"): self.no_fault,
                     ("POST", "/fumidai/trail"): self.trail,
                     ("POST", "/fumidai/sim"): self.sim, ("GET", "/fumidai/state"): self.state}

    def answer(self, request):
        way = self.ways.get((request.method, request.path))
        if way is None:
            return Answer.of({"message": f"no {request.method} {request.path} here"}, 404)
        return Answer.of(way(request.json()) or {})

    def machine(self, given):
        delays = self.cloud.delays
        with delays.lock:
            machine = delays.machines.get(given["id"])
            if machine is None:
                machine = delays.machines[given["id"]] = Machine(self.cloud.clock, given.get("state", "stopped"))
            elif "state" in given:
                machine.set(given["state"])
            for name in ("start_takes", "stop_takes", "agent_after", "messages", "ping", "agent_version"):
                setattr(machine, name, given.get(name, getattr(machine, name)))
        if machine.state != "running":
            delays.ended(given["id"])

    def tasks(self, given):
        self.cloud.delays.task_agent_after = given["agent_after"]

    def fault(self, given):
        self.cloud.faults.add(given)

    def no_fault(self, _given):
        self.cloud.faults.clear()

    def trail(self, given):
        self.cloud.trail.busy_pages = given["busy_pages"]

    def sim(self, given):
        self.cloud.use_simulator(**given)

    def state(self, _given):
        cloud, delays = self.cloud, self.cloud.delays
        machines, tasks = delays.machines.copy(), delays.tasks.copy()
        interfaces = ec2_backends[ACCOUNT][cloud.region].enis.copy()
        return {"now": cloud.clock.now, "calls": cloud.counted(),
                "machines": {name: {"state": found.state, "connected": found.connected()} for name, found in machines.items()},
                "tasks": {name: {"status": found.last_status, "connected": delays.agent_runs(found)} for name, found in tasks.items()},
                "interfaces": {name: sorted(group.id for group in found.group_set) for name, found in interfaces.items()},
                "executions": [shown(execution) for execution in cloud.executions()]}


def shown(execution):
    """An execution as the test sees it."""
    found = execution.to_describe_output()
    return {"arn": found["executionArn"], "name": found["name"], "status": found["status"].value, "input": json.loads(found["input"]),
            "started": iso(found["startDate"]), "output": json.loads(found.get("output", "null")),
            "error": found.get("error"), "cause": found.get("cause")}


class Cloud:
    """The WSGI application."""

    def __init__(self, scale, region):
        self.clock, self.region = Clock(scale), region
        self.faults, self.sessions, self.control = Faults(), Sessions(region), Control(self)
        self.delays = Delays(self.clock, self.sessions.end)
        self.trail = Trail()
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.starting, self.counting = threading.Lock(), threading.Lock()
        self.calls, self.clients, self.url = {"guardian": {}, "clients": {}}, {}, None

    def install(self):
        interpreter.use(self.clock)
        interpreter.install(lambda service: Service(self, service))
        self.delays.install()
        know_policy(AGENT_POLICY)

    def use_simulator(self, url, **keys):
        self.sessions.use(url, **keys)
        self.clients.clear()

    def __call__(self, environ, start_response):
        request = Request(environ)
        return self.answer(request)(environ, start_response)

    def answer(self, request):
        if request.path.startswith("/fumidai/"):
            return self.control.answer(request)
        self.count(request)
        fault = self.faults.take(request)
        if not fault:
            return self.served(request)
        if fault["lost"]:
            discard(self.served(request), request.environ)
        return Answer.refusal(request, fault["code"], fault["message"], fault["status"])

    def served(self, request):
        if request.target.startswith("AmazonSSM."):
            return self.sessions.answer(request, self.delays.connected, self.delays.node)
        if request.action == "DescribeRegions":
            return Answer(f"<R><regionInfo>{''.join(map(region_item, (self.region, *OTHER_REGIONS)))}</regionInfo></R>".encode(), 200, "text/xml")
        if request.action == "SimulatePrincipalPolicy":
            return simulated(request.form)
        if request.action == "ModifyNetworkInterfaceAttribute" and groups_in(request.form) > MOST_GROUPS:
            message = f"The maximum number of security groups per interface has been reached, limit {MOST_GROUPS}."
            return Answer.refusal(request, "SecurityGroupsPerInterfaceLimitExceeded", message)
        if request.action == "LookupEvents":
            return self.trail.answer(request)
        if request.action == "StartExecution" and request.caller == "clients":
            self.trail.add(request)
        return self.started_alone if request.action == "StartExecution" else self.moto

    def started_alone(self, environ, start_response):
        """moto looks for an execution of the same name and then adds the new one, without a lock."""
        with self.starting:
            return self.moto(environ, start_response)

    def count(self, request):
        with self.counting:
            calls = self.calls[request.caller]
            calls[request.action] = calls.get(request.action, 0) + 1

    def counted(self):
        with self.counting:
            return {who: calls.copy() for who, calls in self.calls.items()}

    def client(self, service):
        """The guardian's client of a service, which calls this server."""
        if service not in self.clients:
            session = boto3.session.Session(region_name=self.region)
            self.clients[service] = session.client(service, endpoint_url=self.url, config=ONE_TRY, **self.sessions.keys)
        return self.clients[service]

    def executions(self):
        machines = stepfunctions_parser_backends[ACCOUNT][self.region].state_machines
        return [execution for machine in machines for execution in list(machine.executions)]

    def serve(self, **settings):
        """Serves on a free port, with the guardian; returns when it does."""
        server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=MotoRequestHandler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.client("stepfunctions").create_state_machine(name=NAME, definition=definition(**settings), roleArn=ROLE)


def know_policy(name):
    """moto has AWS's own policies only if it makes all of them, which takes seconds."""
    data = json.loads(aws_managed_policies_data)[name]
    policy = AWSManagedPolicy.from_data(name, ACCOUNT, "us-east-1", data)
    iam_backends[ACCOUNT]["aws"].managed_policies[policy.arn] = policy


def region_item(name):
    return f"<item><regionName>{name}</regionName></item>"


def simulated(form):
    """IAM's simulation, which moto lacks, by moto's own evaluation of the policies that are attached to a role."""
    backend, role = iam_backends[ACCOUNT]["aws"], form["PolicySourceArn"][0].rsplit("/", 1)[-1]
    try:
        documents = list(backend.get_role(role).managed_policies.values())
    except NotFoundException:
        documents = []
    resource = form["ResourceArns.member.1"][0]
    actions = [form[key][0] for key in sorted(form) if key.startswith("ActionNames.member.")]
    members = "".join(f"<member><EvalActionName>{action}</EvalActionName><EvalDecision>{decision(documents, action, resource)}"
                      "</EvalDecision></member>" for action in actions)
    answer = (f"<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults>{members}</EvaluationResults>"
              "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>")
    return Answer(answer.encode(), 200, "text/xml")


def decision(policies, action, resource):
    results = [IAMPolicy(policy).is_action_permitted(action, resource) for policy in policies]
    if PermissionResult.DENIED in results:
        return "explicitDeny"
    return "allowed" if PermissionResult.PERMITTED in results else "implicitDeny"


def discard(application, environ):
    """Carries out a request whose answer is lost."""
    for _ in application(environ, lambda *_: None):
        pass


def groups_in(form):
    return sum(1 for key in form if re.fullmatch(r"SecurityGroupId\.\d+", key))


class Service:
    """What a Task of the guardian calls: the API in the names of Step Functions."""

    def __init__(self, cloud, name):
        self.cloud, self.name = cloud, name

    def __getattr__(self, action):
        return lambda **arguments: self.call(action, arguments)

    def call(self, action, arguments):
        arguments = json.loads(json.dumps(arguments))
        if self.name in ("ecs", "stepfunctions"):
            arguments = lowered(arguments)
        elif action == "describe_sessions":
            arguments["Filters"] = lowered(arguments["Filters"])
        answer = getattr(self.cloud.client(self.name), action)(**arguments)
        answer.pop("ResponseMetadata", None)
        if action == "list_executions":
            return listed_executions(answer)
        answer = json.loads(json.dumps(answer, default=str))
        return raised(answer) if self.name == "ecs" else answer


def options():
    parser = argparse.ArgumentParser(description="An AWS account in real time, for tests.")
    parser.add_argument("--sim", help="the simulator's URL; POST /fumidai/sim can set it later")
    parser.add_argument("--scale", type=float, default=30, help="how many seconds of lives and machines pass in one second")
    parser.add_argument("--region", default="eu-central-1")
    parser.add_argument("--longest-hours", type=int)
    parser.add_argument("--no-successors", dest="successors", action="store_const", const=False)
    parser.add_argument("--verbose", action="store_true", help="log requests and failures on standard error")
    return parser.parse_args()


def main():
    given = options()
    if not given.verbose:
        logging.disable(logging.CRITICAL)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ.setdefault(name, "test")
    cloud = Cloud(given.scale, given.region)
    cloud.install()
    if given.sim:
        cloud.use_simulator(given.sim)
    cloud.serve(longest_hours=given.longest_hours, successors=given.successors)
    print(json.dumps({"url": cloud.url}), flush=True)
    sys.stdin.read()
    # Lives that run are threads that would be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
