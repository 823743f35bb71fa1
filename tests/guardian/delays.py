"""Gives moto's own instances and tasks what they lack: states that change with delays, refusals, and agents.

moto starts and stops an instance at once and has no execute-command agent. After `install`, an instance that is put into
`machines` has the state of its Machine in every answer of EC2. A task has a runtime id and an agent that comes later, ends by
itself if its command is `sleep`, and is not run twice with one client token.
Ids of tasks are 1, 2, 3… in 32 hex digits, so that a test knows the target of a task before it runs.
"""

import itertools
import threading

from botocore.exceptions import ClientError
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import Instance, InstanceState
from moto.ecs.models import EC2ContainerServiceBackend, Task
from moto.ecs.responses import EC2ContainerServiceResponse

from machine import containers

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


class Delays:
    """The machines and tasks of one server. `ended(target)` is called when a target's sessions end."""

    def __init__(self, clock, ended):
        self.clock, self.ended = clock, ended
        self.machines, self.tasks, self.tokens = {}, {}, {}
        self.task_agent_after = 30
        self.request, self.numbers = threading.local(), itertools.count(1)
        self.lock = threading.Lock()

    def install(self):
        Instance._state = property(self.state_of, lambda instance, state: instance.__dict__.update(kept_state=state))
        Instance.start = self.starting(Instance.start)
        Instance.stop = self.stopping(Instance.stop)
        Instance.terminate = self.terminating(Instance.terminate)
        EC2ContainerServiceResponse.run_task = self.noting(EC2ContainerServiceResponse.run_task)
        EC2ContainerServiceBackend.stop_task = self.ending(EC2ContainerServiceBackend.stop_task)
        Task.__init__ = self.numbering(Task.__init__)
        Task.containers = property(self.containers_of, lambda task, made: task.__dict__.update(kept_containers=made))

    def connected(self, target):
        """Whether the target's agent is connected, or None if the target is not known here."""
        if target in self.machines:
            return self.machines[target].connected()
        return self.agent_runs(self.tasks[target]) if target in self.tasks else None

    def node(self, target, given):
        """What Systems Manager knows of a target that the simulator describes so, or None."""
        if target in self.machines:
            return self.machines[target].node(given)
        return given if self.connected(target) is not False else None

    def state_of(self, instance):
        kept = instance.__dict__["kept_state"]
        machine = self.machines.get(instance.__dict__.get("id"))
        if machine and kept.name != "terminated":
            kept.name = machine.state
            kept.code = CODES[kept.name]
        return kept

    def starting(self, moto_start):
        def start(instance):
            machine = self.machines.get(instance.id)
            if machine is None:
                return moto_start(instance)
            before = self.changed(machine.start)
            if before == "stopped":
                moto_start(instance)
            return InstanceState(before, CODES[before])

        return start

    def stopping(self, moto_stop):
        def stop(instance):
            machine = self.machines.get(instance.id)
            if machine is None:
                return moto_stop(instance)
            before = self.changed(machine.stop)
            if before == "running":
                moto_stop(instance)
                self.ended(instance.id)
            return InstanceState(before, CODES[before])

        return stop

    def terminating(self, moto_terminate):
        def terminate(instance):
            before = moto_terminate(instance)
            if instance.id in self.machines:
                self.machines[instance.id].set("terminated")
                self.ended(instance.id)
            return before

        return terminate

    def changed(self, change):
        """Runs a start or stop of a Machine alone; EC2's refusal becomes moto's."""
        with self.lock:
            try:
                return change()
            except ClientError as refused:
                raise EC2ClientError(refused.response["Error"]["Code"], refused.response["Error"]["Message"]) from refused

    def noting(self, moto_run):
        def run_task(response):
            self.request.execute_command = response._get_param("enableExecuteCommand") is True
            self.request.token = response._get_param("clientToken")
            if self.request.token in self.tokens:
                return ActionResult({"tasks": [self.tokens[self.request.token]], "failures": []})
            return moto_run(response)

        return run_task

    def numbering(self, moto_init):
        def init(task, *arguments, **named):
            moto_init(task, *arguments, **named)
            task.id = f"{next(self.numbers):032x}"
            task.runtime_id = f"{task.id}-0000000001"
            task.enable_execute_command = getattr(self.request, "execute_command", False)
            task.run_at = self.clock.now
            self.tasks[self.target_of(task)] = task
            if getattr(self.request, "token", None):
                self.tokens[self.request.token] = task
            self.end_by_itself(task)

        return init

    def end_by_itself(self, task):
        for override in task.overrides.get("containerOverrides", []):
            if override.get("command", [""])[0] == "sleep":
                self.clock.later(float(override["command"][1]), lambda: self.exited(task))

    def exited(self, task):
        if task.last_status == "RUNNING":
            task.last_status = task.desired_status = "STOPPED"
            task.stopped_reason = "Essential container in task exited"
            self.ended(self.target_of(task))

    def ending(self, moto_stop):
        def stop_task(backend, *arguments, **named):
            task = moto_stop(backend, *arguments, **named)
            self.ended(self.target_of(task))
            return task

        return stop_task

    def containers_of(self, task):
        if "runtime_id" not in task.__dict__:
            return task.kept_containers
        found = containers(task.kept_containers[0].name, task.runtime_id, self.agent_runs(task))
        if not task.enable_execute_command:
            del found[0]["managedAgents"]
        return found

    def agent_runs(self, task):
        late = self.clock.now >= task.run_at + self.task_agent_after
        return late and task.enable_execute_command and task.last_status == "RUNNING"

    @staticmethod
    def target_of(task):
        return f"ecs:{task.cluster_name}_{task.id}_{task.runtime_id}"
