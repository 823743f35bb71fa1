//! Who is on a machine.

use crate::aws::ActiveSession;

/// Somebody with a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The ARN of the caller.
    pub owner: String,
    /// The session's id.
    pub session: String,
    /// Since when, in Unix seconds.
    pub since: i64,
    /// The reason that was given.
    pub reason: Option<String>,
}

impl Person {
    /// Takes a session that has not ended.
    pub fn of(session: ActiveSession) -> Self {
        let ActiveSession { id, owner, started, reason, .. } = session;
        Self { owner, session: id, since: started, reason }
    }
}
