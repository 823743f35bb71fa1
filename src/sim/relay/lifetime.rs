//! How long the service lets a session live, and what happens when its agent dies first.

use std::time::Instant;

use crate::sim::agent::{Agent, Status};
use crate::sim::clock;
use crate::sim::faults::AgentLoss;
use crate::sim::relay::Relay;

/// The service's words for a session without input.
const IDLE: &str = "Your session timed out due to inactivity and has been terminated.";
/// The same for one that is too old; the service's own words were not seen.
const TOO_OLD: &str = "Your session has reached its maximum duration and has been terminated.";

/// What the time-outs are counted from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    started: Instant,
    last_input: Instant,
}

impl Lifetime {
    pub fn new(now: Instant) -> Self {
        Self { started: now, last_input: now }
    }

    /// Takes the news that the client did something.
    pub fn input(&mut self, now: Instant) {
        self.last_input = now;
    }
}

impl Relay {
    /// Returns when the session is over, unless the client does something, and the text for that.
    pub(super) fn expiry(&self) -> Option<(Instant, &'static str)> {
        if self.told {
            return None;
        }
        let (idle, oldest) = self.shared.with_faults(|faults| (faults.idle_timeout, faults.max_duration));
        let idle = idle.map(|timeout| (self.lifetime.last_input + timeout, IDLE));
        let oldest = oldest.map(|duration| (self.lifetime.started + duration, TOO_OLD));
        [idle, oldest].into_iter().flatten().min()
    }

    /// Ends the session if its time has come.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some((at, why)) = self.expiry()
            && at <= now
        {
            self.terminate(why.to_owned());
        }
    }

    /// Ends the session from the service's side.
    pub(super) fn terminate(&mut self, output: String) {
        let now = clock::now();
        self.with_agent(|agent| agent.channel_closed(now));
        self.end(Status::Success, output);
    }

    /// Loses the agent, as when it restarts: its connections are gone, and so is everything that it had not sent.
    pub(super) fn lose_agent(&mut self, loss: AgentLoss) {
        self.with_agent(Agent::vanish);
        self.close_destinations();
        match loss {
            AgentLoss::Closed => self.end(Status::Failed, String::new()),
            AgentLoss::Silent => {}
        }
    }
}
