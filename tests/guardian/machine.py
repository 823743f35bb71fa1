"""An instance's state over time, and what a task's containers look like; moto only has their records."""

from interpreter import error

RUN_AGENT = "ExecuteCommandAgent"


class Machine:
    """An instance that starts and stops with delays and refuses what EC2 refuses, such as a start while it is stopping."""

    def __init__(self, clock, state, start_takes=25, stop_takes=40, agent_after=30):
        self.clock, self.start_takes, self.stop_takes, self.agent_after = clock, start_takes, stop_takes, agent_after
        self.history = [(-1e9, state)]
        self.messages, self.ping, self.agent_version = True, None, None

    def at(self, when):
        return [state for since, state in self.history if since <= when][-1]

    @property
    def state(self):
        return self.at(self.clock.now)

    def connected(self):
        """Whether its agent has reached Systems Manager."""
        since, state = [entry for entry in self.history if entry[0] <= self.clock.now][-1]
        return self.messages and state == "running" and self.clock.now >= since + self.agent_after

    def node(self, given):
        """What Systems Manager knows of it, or None if its agent has never connected."""
        if self.ping is None and not self.connected():
            return None
        own = {"PingStatus": self.ping, "AgentVersion": self.agent_version}
        return {**given, **{name: value for name, value in own.items() if value is not None}}

    def set(self, state, then=None, after=0):
        now = self.clock.now
        history = [entry for entry in self.history if entry[0] <= now] + [(now, state)]
        self.history = history + [(now + after, then)] if then else history

    def start(self):
        before = self.state
        if before in ("stopping", "terminated", "shutting-down"):
            raise error("IncorrectInstanceState", "the instance is not in a state from which it can be started", "StartInstances")
        if before == "stopped":
            self.set("pending", "running", self.start_takes)
        return before

    def stop(self):
        before = self.state
        if before == "pending":
            raise error("IncorrectInstanceState", "the instance is not in a state from which it can be stopped", "StopInstances")
        if before == "running":
            self.set("stopping", "stopped", self.stop_takes)
        return before


def containers(name, runtime, agent_runs):
    """The containers of a task that was run with enableExecuteCommand."""
    agent = {"name": RUN_AGENT, "lastStatus": "RUNNING" if agent_runs else "PENDING"}
    return [{"name": name, "runtimeId": runtime, "lastStatus": "RUNNING", "managedAgents": [agent]}]
