//! Just-in-time node access: how requests are decided, and those that were filed. A plain value.

use std::time::Duration;

use crate::sim::sigv4::Credentials;

/// How access requests are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JustInTime {
    /// The decision; `None` is never made.
    pub decision: Option<Decision>,
    /// How often a request is pending before its decision.
    pub polls: u32,
    /// The documents that the credentials of an approval may start.
    pub documents: Vec<String>,
    /// How long the credentials say that they are valid.
    pub lifetime: Duration,
}

impl JustInTime {
    /// The only document of AWS's policy for a client of its own.
    pub const SHELL: &str = "SSM-SessionManagerRunShell";

    /// Decides after so many answers that a request is pending; the credentials are those of AWS's policy.
    pub fn new(decision: Option<Decision>, polls: u32) -> Self {
        let lifetime = Duration::from_secs(3600);
        Self { decision, polls, documents: vec![Self::SHELL.to_owned()], lifetime }
    }
}

/// A decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is approved.
    Approve,
    /// An approver rejects it.
    Reject,
    /// The approval is taken back.
    Revoke,
    /// Its time is over.
    Expire,
}

impl Decision {
    /// Returns the status of a request with it.
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Approve => "Approved",
            Self::Reject => "Rejected",
            Self::Revoke => "Revoked",
            Self::Expire => "Expired",
        }
    }
}

/// The requests of one simulator.
#[derive(Debug, Default)]
pub(super) struct AccessRequests(pub Vec<AccessRequest>);

/// One request.
#[derive(Debug)]
pub(super) struct AccessRequest {
    pub id: String,
    pub target: String,
    /// How often it was asked for.
    pub polls: u32,
    /// The credentials of its approval.
    pub approval: Option<Credentials>,
}
