"""What both test worlds put between a state machine's definition and moto's Step Functions interpreter.

  - time: Wait, the intervals of Retry and $millis() follow a clock of the caller.
  - JSONata: the package jsonata-python in place of the JVM that moto asks for.
  - error names: moto writes `ec2.ec2Exception`; Step Functions writes `Ec2.Ec2Exception`.
  - context: Execution.StartTime is text, as in Step Functions, not a Python object.
  - StopExecution: it aborts an execution at any time, not only between its states.
  - ECS: moto's tasks advance at each look, and its RunTask reads a name that its own interface lacks.
"""

import datetime
import json
import threading

import jsonata
from botocore.exceptions import ClientError
from moto.core.config import default_user_config
from moto.ec2.models.elastic_network_interfaces import NetworkInterface
from moto.moto_api import state_manager
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.common.string import string_expression
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_aws_sdk as sdk
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction
from moto.stepfunctions.parser.asl.eval import states, variable_store
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.program_state import ProgramRunning, ProgramStopped
from moto.stepfunctions.parser.asl.jsonata import validations
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication, Execution
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker

AS_MOTO = string_expression.StringJSONata._eval_body
CLOCK = None
PARSED = {}
# jsonata-python keeps the state of an evaluation in the parsed expression.
EVALUATING = threading.RLock()


def use(clock):
    """Sets the clock: `now` in seconds, `millis()`, and `wait(seconds, stopped)`."""
    global CLOCK
    CLOCK = clock


def install(client_for, ended=lambda: None):
    """Changes moto. `client_for(service)` is what a Task calls; `ended()` is called when an execution has ended."""
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    sdk.boto_client_for = lambda service, region, state_credentials=None: client_for(service)
    sdk._SERVICE_ERROR_NAMES.update({"ec2": "Ec2", "ssm": "Ssm", "ecs": "Ecs"})
    install_jsonata()
    install_time()
    install_tasks()
    install_executions(ended)


def install_jsonata():
    string_expression.StringJSONata._eval_body = bound
    string_expression.eval_jsonata_expression = evaluate
    validations.eval_jsonata_expression = evaluate
    for module in (variable_store, string_expression, states):
        if hasattr(module, "encode_jsonata_variable_declarations"):
            module.encode_jsonata_variable_declarations = declare


def install_time():
    class Time:
        sleep = staticmethod(lambda seconds: CLOCK.wait(seconds, None))

    retrier_decl.time = Time
    WaitFunction._wait_interval = lambda self, env, wait_seconds: CLOCK.wait(wait_seconds, env.program_state_event)


def install_tasks():
    # moto's tasks go on to STOPPED, one state for each DescribeTasks.
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 1_000_000})
    NetworkInterface.private_dns_name = ""


def install_executions(ended):
    reflect, details = BaseExecutionWorkerCommunication.terminated, Execution.get_start_execution_details

    def terminated(self):
        reflect(self)
        ended()

    def details_with_text(self):
        found = details(self)
        found.start_time = iso(found.start_time)
        return found

    BaseExecutionWorkerCommunication.terminated = terminated
    Execution.get_start_execution_details = details_with_text
    ExecutionWorker.start = started_with_its_environment(ExecutionWorker.start)
    Environment.set_error = stays_stopped(Environment.set_error)
    next_state = Environment.next_state_name
    Environment.next_state_name = next_state.setter(stays_stopped(next_state.fset))


def started_with_its_environment(moto_start):
    """moto makes the environment in the execution's thread; an execution that is stopped before that has none."""
    def start(worker):
        environment = worker.env = worker._get_evaluation_environment()
        environment._program_state = ProgramRunning()
        worker._get_evaluation_environment = lambda: environment
        moto_start(worker)

    return start


def stays_stopped(setter):
    """moto fails an execution that is stopped during a task: its next step finds no value. It stays stopped instead."""
    def change(environment, *arguments, **named):
        if not isinstance(environment._program_state, ProgramStopped):
            setter(environment, *arguments, **named)

    return change


def iso(when):
    """A time as Step Functions writes it."""
    return when.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def parsed(text):
    expression = PARSED.get(text)
    if expression is None:
        expression = jsonata.Jsonata(text)
        expression.register_lambda("millis", lambda: CLOCK.millis())
        if len(text) < 2000:
            PARSED[text] = expression
    return expression


def evaluate(text):
    with EVALUATING:
        return parsed(text).evaluate(None)


def bound(self, env):
    """moto writes all variables into each expression's text; this binds them to the parsed expression, which is faster."""
    string_expression.extract_jsonata_variable_references(self.expression)
    store = env.variable_store
    variables = {**store._outer_scope, **store._inner_scope, "states": env.states._states_data}
    with EVALUATING:
        expression = parsed(self.expression)
        frame = expression.create_frame()
        for name, value in variables.items():
            frame.bind(name.lstrip("$"), value)
        result = expression.evaluate(None, frame)
    if result is None:
        return AS_MOTO(self, env)
    env.stack.append(plain(result))


def declare(bindings):
    """As moto's, with strings escaped."""
    return "".join(f"{name}:={json.dumps(value, default=str)};" for name, value in bindings.items())


def plain(value):
    """Lists and numbers of jsonata-python as JSON has them."""
    return json.loads(json.dumps(value))


def error(code, message, operation, status=400):
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "r"}}
    return ClientError(answer, operation)


def lowered(value):
    """Member names as the APIs of ECS, Step Functions and DescribeSessions have them: Step Functions wants PascalCase everywhere."""
    if isinstance(value, dict):
        return {key[:1].lower() + key[1:]: lowered(item) for key, item in value.items()}
    return [lowered(item) for item in value] if isinstance(value, list) else value


def raised(value):
    """Member names as Step Functions gives them to a definition."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: raised(item) for key, item in value.items()}
    return [raised(item) for item in value] if isinstance(value, list) else value


def listed_executions(answer):
    """ListExecutions' answer as Step Functions gives it to a definition."""
    found = [{**item, "startDate": iso(item["startDate"])} for item in answer["executions"]]
    return raised({"executions": found})
