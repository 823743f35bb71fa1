//! The fall-back from a hop's agent to its sshd.
//!
//! An agent that is too old, or a document that is denied or unknown, does not mean that the hop cannot connect: its sshd
//! may. This is the only place that decides it.

use std::time::Instant;

use crate::aws::{ApprovalError, Meaning};
use crate::channel::Refusal;
use crate::clock;
use crate::names::Target;
use crate::session::SessionError;

use super::{Reach, ReachError};

/// One attempt to open a session.
pub(super) struct Attempt {
    /// The machine that the session connects to, by its number on the route.
    pub machine: usize,
    /// The entry of the route.
    pub target: Target,
    /// `connect_timeout` counts from here, for all attempts.
    pub began: Instant,
    /// There is no other way: access is requested if this one is denied.
    pub is_last: bool,
}

impl Reach {
    /// Finds the entry, and opens by the first way of the route that works. If the entry is down and may be started, it is
    /// started first.
    pub(super) async fn with_fall_back<T>(
        &self,
        open: impl AsyncFn(Attempt) -> Result<T, ReachError>,
    ) -> Result<T, ReachError> {
        loop {
            match self.open_once(&open).await {
                Ok(opened) => return Ok(opened),
                Err(error) => self.readiness.recover(error).await?,
            }
        }
    }

    async fn open_once<T>(
        &self,
        open: &impl AsyncFn(Attempt) -> Result<T, ReachError>,
    ) -> Result<T, ReachError> {
        let began = clock::now();
        // Reading the system's certificates takes as long as a round trip: it is done beside the first call to AWS.
        let roots = self.aws.roots();
        tokio::task::spawn_blocking(move || roots.preload());
        let target = self.readiness.target(began).await?;
        let ends = self.route.session_ends();
        let attempt = |machine| {
            let is_last = ends.last() == Some(&machine);
            Attempt { machine, target: target.clone(), began, is_last }
        };
        let [first, others @ ..] = ends else { unreachable!("a route has a session") };
        let mut result = open(attempt(*first)).await;
        for other in others {
            let Err(error) = &result else { break };
            if !asks_for_sshd(error) {
                break;
            }
            let hop = self.route.machine(0).label();
            tracing::info!(%error, hop, "the hop's agent cannot connect, trying its sshd");
            result = open(attempt(*other)).await;
        }
        result
    }
}

/// Returns true if the first hop's sshd may succeed where its agent could not or was not allowed to connect.
fn asks_for_sshd(error: &ReachError) -> bool {
    let ReachError::Session { error, .. } = error else { return false };
    if let SessionError::Api(error) = error {
        let unknown = ["InvalidDocument", "BadRequest", "BadRequestException"];
        return error.meaning() == Meaning::AccessDenied || unknown.iter().any(|code| error.has_code(code));
    }
    if let SessionError::Approval(error) = error {
        return matches!(**error, ApprovalError::Document { .. });
    }
    matches!(error, SessionError::Refused(Refusal::IgnoresHost(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::ApiError;
    use crate::channel::AgentVersion;
    use crate::reach::SessionEnd;

    fn session(error: SessionError) -> ReachError {
        let (machine, through) = ("app".to_owned(), Some("bastion".to_owned()));
        let subject = machine.clone();
        SessionEnd {
            target: None,
            machine,
            port: 22,
            through,
            is_forward: false,
            subject,
            entry: None,
            place: None,
            is_stopped: false,
        }
        .error(error)
    }

    fn api(code: &str) -> SessionError {
        let (code, message) = (code.to_owned(), String::new());
        SessionError::Api(ApiError::Service { operation: "StartSession", code, message, status: 400 })
    }

    #[test]
    fn a_denied_or_unknown_document_and_an_old_agent_ask_for_sshd() {
        let old = SessionError::Refused(Refusal::IgnoresHost(AgentVersion::parse("3.1.1080.0")));
        for error in [api("AccessDeniedException"), api("InvalidDocument"), api("BadRequest"), old] {
            assert!(asks_for_sshd(&session(error)));
        }
        for error in [api("TargetNotConnected"), api("ThrottlingException"), SessionError::NotAPort] {
            assert!(!asks_for_sshd(&session(error)));
        }
        assert!(!asks_for_sshd(&ReachError::Aws(ApiError::NoRegion)));
    }
}
