//! The timeouts of a session, and the loss of its agent.

use std::time::Instant;

use crate::sim::agent::{Agent, Status};
use crate::sim::clock;
use crate::sim::faults::AgentLoss;
use crate::sim::relay::Relay;

/// The service's text for a session without input.
const IDLE: &str = "Your session timed out due to inactivity and has been terminated.";
/// The text for a session past its maximum duration; the text of the real service is not known.
const TOO_OLD: &str = "Your session has reached its maximum duration and has been terminated.";

/// The times from which the timeouts are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    started: Instant,
    last_input: Instant,
}

impl Lifetime {
    pub fn new(now: Instant) -> Self {
        Self { started: now, last_input: now }
    }

    /// Records input of the client.
    pub fn input(&mut self, now: Instant) {
        self.last_input = now;
    }
}

impl Relay {
    /// Returns when the session times out without further input, and the text for the client.
    pub(super) fn expiry(&self) -> Option<(Instant, &'static str)> {
        if self.ended {
            return None;
        }
        let (idle, oldest) = self.shared.with_faults(|faults| (faults.idle_timeout, faults.max_duration));
        let idle = idle.map(|timeout| (self.lifetime.last_input + timeout, IDLE));
        let oldest = oldest.map(|duration| (self.lifetime.started + duration, TOO_OLD));
        [idle, oldest].into_iter().flatten().min()
    }

    /// Ends the session if it has timed out.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some((at, why)) = self.expiry()
            && at <= now
        {
            self.terminate(why.to_owned());
        }
    }

    /// Ends the session for the service.
    pub(super) fn terminate(&mut self, output: String) {
        let now = clock::now();
        self.with_agent(|agent| agent.channel_closed(now));
        self.end(Status::Success, output);
    }

    /// Stops the agent, as a restart does: its connections are closed, and its unsent data is lost.
    pub(super) fn lose_agent(&mut self, loss: AgentLoss) {
        self.with_agent(Agent::crash);
        self.close_destinations();
        match loss {
            AgentLoss::Closed => self.end(Status::Failed, String::new()),
            AgentLoss::Silent => {}
        }
    }
}
