//! What a record keeps about a session: who started what, and how it ended.

use std::cell::Cell;
use std::time::Duration;

use crate::aws::SessionRequest;

use super::{Outcome, SessionError};

/// One fact, for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The service has started a session.
    Started {
        /// Its id.
        session_id: String,
        /// What was asked for.
        request: SessionRequest,
        /// The access key that signed the call.
        access_key_id: String,
        /// The caller's ARN, if this process knows it.
        caller: Option<String>,
        /// The region of the call.
        region: String,
        /// The access request whose approval allowed it.
        approval: Option<String>,
    },
    /// The caller of a session is known.
    Caller {
        /// The session's id.
        session_id: String,
        /// The ARN.
        caller: String,
    },
    /// The link of a session was lost, and is back.
    Resumed {
        /// The session's id.
        session_id: String,
        /// What passed through it so far.
        amounts: Amounts,
        /// Why the link was lost.
        why: String,
        /// How long it was lost.
        outage: Duration,
    },
    /// The service has not started a session.
    NotStarted {
        /// What was asked for.
        request: SessionRequest,
        /// Why.
        why: String,
    },
    /// An ssh key was pushed to an instance for a login on the way.
    KeyPushed {
        /// The instance.
        instance: String,
        /// The user there.
        user: String,
    },
    /// A session has ended.
    Ended {
        /// Its id.
        session_id: String,
        /// What passed through it.
        amounts: Amounts,
        /// How it ended, or why it failed.
        end: Result<Outcome, String>,
        /// The caller's ARN, if this process knows it.
        caller: Option<String>,
    },
}

/// What passed through a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Bytes that were sent, with the headers of multiplexing.
    pub sent: u64,
    /// Bytes that were received, with the headers of multiplexing.
    pub received: u64,
    /// How often the link was resumed.
    pub resumes: u32,
}

/// Counts while the session runs, and is there after a panic too.
#[derive(Debug, Default)]
pub(super) struct Tally(Cell<Amounts>);

impl Tally {
    pub(super) fn sent(&self, all: u64) {
        self.0.set(Amounts { sent: all, ..self.0.get() });
    }

    pub(super) fn received(&self, bytes: usize) {
        let amounts = self.0.get();
        let received = amounts.received.saturating_add(bytes.try_into().unwrap_or(u64::MAX));
        self.0.set(Amounts { received, ..amounts });
    }

    /// Counts a resume, and makes the fact of it.
    pub(super) fn resumed(&self, session_id: &str, why: String, outage: Duration) -> Fact {
        let amounts = self.0.get();
        let amounts = Amounts { resumes: amounts.resumes.saturating_add(1), ..amounts };
        self.0.set(amounts);
        Fact::Resumed { session_id: session_id.to_owned(), amounts, why, outage }
    }

    /// Makes the fact of the end.
    pub(super) fn ended(
        &self,
        session_id: &str,
        result: &Result<Outcome, SessionError>,
        caller: Option<String>,
    ) -> Fact {
        Fact::Ended {
            session_id: session_id.to_owned(),
            amounts: self.0.get(),
            end: result.as_ref().map(|outcome| *outcome).map_err(SessionError::to_string),
            caller,
        }
    }
}
