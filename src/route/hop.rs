//! One hop of a route, and who connects from it to the next machine.

use thiserror::Error;

use crate::config::RouteKind;

use super::machine::Machine;

/// A hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The machine.
    pub machine: Machine,
    /// Who connects from there to the next hop, or from the last hop to the goal.
    pub next: DialedBy,
}

/// The program on a hop that connects to the next machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialedBy {
    /// The hop's agent.
    Agent,
    /// The hop's agent; if the agent is too old, or its document is denied or unknown, the hop's sshd.
    AgentElseSshd,
    /// The hop's sshd.
    Sshd,
}

/// `remote-host` was asked for behind the first hop, where no session reaches the agent: use `ssh`, or no `route`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("only the agent of the first hop can dial")]
pub struct NotTheFirstHop;

impl DialedBy {
    /// Chooses who connects from a hop; without a `route` setting the first hop's agent is tried first.
    ///
    /// # Errors
    /// [`NotTheFirstHop`]
    pub fn choose(is_first: bool, asked: Option<RouteKind>) -> Result<Self, NotTheFirstHop> {
        match (asked, is_first) {
            (Some(RouteKind::RemoteHost), true) => Ok(Self::Agent),
            (Some(RouteKind::RemoteHost), false) => Err(NotTheFirstHop),
            (Some(RouteKind::Direct) | None, true) => Ok(Self::AgentElseSshd),
            (Some(RouteKind::Ssh), _) | (Some(RouteKind::Direct) | None, false) => Ok(Self::Sshd),
        }
    }

    /// Returns true if the hop's sshd is used when its agent cannot connect.
    pub fn falls_back(self) -> bool {
        self == Self::AgentElseSshd
    }

    /// Returns the value of `route` in the config file that asks for what is tried first.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent | Self::AgentElseSshd => "remote-host",
            Self::Sshd => "ssh",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_agent_of_the_first_hop_connects() {
        use DialedBy::{Agent, AgentElseSshd, Sshd};
        for (is_first, asked, expected) in [
            (true, None, Ok(AgentElseSshd)),
            (true, Some(RouteKind::RemoteHost), Ok(Agent)),
            (true, Some(RouteKind::Ssh), Ok(Sshd)),
            (false, None, Ok(Sshd)),
            (false, Some(RouteKind::RemoteHost), Err(NotTheFirstHop)),
            (false, Some(RouteKind::Ssh), Ok(Sshd)),
        ] {
            assert_eq!(DialedBy::choose(is_first, asked), expected, "{is_first} {asked:?}");
        }
        assert!(AgentElseSshd.falls_back() && !Agent.falls_back() && !Sshd.falls_back());
    }
}
