//! Access that is asked for: one request for each target, the wait for its approval, and the credentials that it gives.
//!
//! The credentials are kept in memory until they expire; they are for one target, and for resumes of its sessions. A
//! request that was refused or decided against is not filed again by this process, however many sessions are tried.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use thiserror::Error;
use tokio::time::sleep;

use crate::clock;

use super::access_request::AccessStatus;
use super::assume::is_fresh;
use super::{Access, ApiError, Aws, Meaning};

/// StartAccessRequest is tried so often while the service throttles or fails.
const ATTEMPTS: u32 = 4;
/// Before the second attempt; it doubles.
const BACKOFF: Duration = Duration::from_secs(1);
/// Between two events of a wait.
const TICK: Duration = Duration::from_secs(1);
/// The longest time between two looks at the request, in ticks; the first are one and two.
const LONGEST_PAUSE: u32 = 10;
/// A request that was just filed may not be found for so long.
const APPEARS_WITHIN: Duration = Duration::from_secs(15);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct AccessWish<'a> {
    /// The node.
    pub target: &'a str,
    /// Why; a new request has to say it.
    pub reason: Option<&'a str>,
    /// The id of a request that was filed before.
    pub known: Option<&'a str>,
    /// How long the approval is waited for.
    pub patience: Duration,
}

/// What happens to an access request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalEvent {
    /// It was filed.
    Requested {
        /// Its id.
        id: String,
        /// The target.
        target: String,
    },
    /// It is not decided yet.
    Waiting {
        /// Its id.
        id: String,
        /// How long it has been waited for.
        since: Duration,
    },
    /// It is approved.
    Approved {
        /// Its id.
        id: String,
        /// How long its credentials are valid, if they say it.
        valid: Option<Duration>,
    },
    /// It is not waited for any more, and stays pending.
    Left {
        /// Its id.
        id: String,
    },
}

/// How a request was decided against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An approver rejected it.
    Rejected,
    /// The approval was taken back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rejected => "was rejected",
            Self::Revoked => "was revoked",
            Self::Expired => "has expired",
        })
    }
}

/// Why there is no access.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApprovalError {
    /// The caller's own settings or credentials cannot be used.
    #[error(transparent)]
    Own(ApiError),
    /// A new request needs a reason.
    #[error("an access request needs a reason, and none is given")]
    NoReason,
    /// The service did not take the request.
    #[error("access to `{target}` cannot be requested: {error}")]
    NotTaken {
        /// The target.
        target: String,
        /// Its answer.
        error: ApiError,
    },
    /// How the request stands cannot be asked for.
    #[error("the state of access request `{id}` is unknown: {error}")]
    Unknown {
        /// The request.
        id: String,
        /// The answer.
        error: ApiError,
    },
    /// It was decided against.
    #[error("access request `{id}` {how}")]
    Refused {
        /// The request.
        id: String,
        /// How.
        how: Refused,
    },
    /// It was waited for long enough, and is still pending.
    #[error("access request `{id}` is not decided after {} s", after.as_secs())]
    Pending {
        /// The request.
        id: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// StartSession is denied in spite of the approval.
    #[error("access request `{id}` is approved, but its credentials may not start `{document}`: {error}")]
    Document {
        /// The request.
        id: String,
        /// The session document.
        document: String,
        /// The denial.
        error: ApiError,
    },
}

/// The requests of this process, by target.
#[derive(Debug, Default)]
pub(super) struct Approvals(Mutex<HashMap<String, Arc<Request>>>);

/// The request for one target.
#[derive(Debug, Default)]
struct Request {
    standing: Mutex<Standing>,
    /// Held by the session that files it and waits for its approval.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
enum Standing {
    #[default]
    Unasked,
    Pending(String),
    Approved(String, Credentials),
    Failed(ApprovalError),
}

impl Request {
    fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// Returns the request's id and the credentials of its approval, if they can still be used.
    fn credentials(&self) -> Option<(String, Credentials)> {
        match self.standing() {
            Standing::Approved(id, credentials) if is_fresh(&credentials) => Some((id, credentials)),
            Standing::Approved(..) | Standing::Unasked | Standing::Pending(_) | Standing::Failed(_) => None,
        }
    }
}

impl Approvals {
    fn of(&self, target: &str) -> Arc<Request> {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.entry(target.to_owned()).or_default().clone()
    }
}

impl Aws {
    /// Returns access with the credentials of an approval for the target; `None` if this process has none that is valid.
    ///
    /// # Errors
    /// Any error of the settings.
    pub async fn approved_access(&self, target: &str) -> Result<Option<Access>, ApiError> {
        match self.approvals.of(target).credentials() {
            Some(approval) => self.access_by(Some(approval)).await.map(Some),
            None => Ok(None),
        }
    }

    /// Forgets an approval whose credentials the service does not accept any more.
    pub fn forget_approval(&self, target: &str) {
        self.approvals.of(target).set(Standing::Unasked);
    }

    /// Asks for access to a target, or goes on with the request that was filed before, and waits for its approval. One
    /// caller asks and waits, the others wait for it.
    ///
    /// # Errors
    /// [`ApprovalError`]
    pub async fn approval(
        &self,
        wish: AccessWish<'_>,
        on_event: &dyn Fn(ApprovalEvent),
    ) -> Result<Access, ApprovalError> {
        let request = self.approvals.of(wish.target);
        let wait = self.human_time().begin();
        let _turn = request.turn.lock().await;
        drop(wait);
        let approval = match (request.standing(), request.credentials()) {
            (Standing::Failed(error), _) => return Err(error),
            (_, Some(approval)) => approval,
            (Standing::Pending(id), None) => self.decision(&request, id, wish, on_event).await?,
            (Standing::Unasked | Standing::Approved(..), None) => {
                let id = self.id_of_request(&request, wish, on_event).await?;
                self.decision(&request, id, wish, on_event).await?
            }
        };
        self.access_by(Some(approval)).await.map_err(ApprovalError::Own)
    }

    /// Returns the id of the request: the known one, else that of a new request.
    async fn id_of_request(
        &self,
        request: &Request,
        wish: AccessWish<'_>,
        on_event: &dyn Fn(ApprovalEvent),
    ) -> Result<String, ApprovalError> {
        let id = match wish.known {
            Some(known) => known.to_owned(),
            None => {
                let filed = self.file(wish).await;
                let id = filed.inspect_err(|error| request.remember(error))?;
                on_event(ApprovalEvent::Requested { id: id.clone(), target: wish.target.to_owned() });
                id
            }
        };
        request.set(Standing::Pending(id.clone()));
        Ok(id)
    }

    async fn file(&self, wish: AccessWish<'_>) -> Result<String, ApprovalError> {
        let reason = wish.reason.ok_or(ApprovalError::NoReason)?;
        let access = self.access().await.map_err(ApprovalError::Own)?;
        let mut attempt = 1;
        loop {
            match access.start_access_request(wish.target, reason).await {
                Ok(id) => return Ok(id),
                Err(error) if attempt < ATTEMPTS && error.is_throttled_or_server_fault() => {
                    sleep(BACKOFF * 2u32.pow(attempt - 1)).await;
                    attempt += 1;
                }
                Err(error) => {
                    return Err(ApprovalError::NotTaken { target: wish.target.to_owned(), error });
                }
            }
        }
    }

    /// Waits for the decision about a request, and returns what its approval gives.
    async fn decision(
        &self,
        request: &Request,
        id: String,
        wish: AccessWish<'_>,
        on_event: &dyn Fn(ApprovalEvent),
    ) -> Result<(String, Credentials), ApprovalError> {
        let _wait = self.human_time().begin();
        let is_new = wish.known.is_none();
        let waiting = Waiting { id: &id, is_new, began: clock::now(), patience: wish.patience, on_event };
        let credentials = waiting.run(self).await.inspect_err(|error| request.remember(error))?;
        request.set(Standing::Approved(id.clone(), credentials.clone()));
        let valid = credentials.expiry().map(|end| end.duration_since(clock::wall()).unwrap_or_default());
        on_event(ApprovalEvent::Approved { id: id.clone(), valid });
        Ok((id, credentials))
    }
}

impl Request {
    /// Keeps a failure that another request would not change.
    fn remember(&self, error: &ApprovalError) {
        if error.is_final() {
            self.set(Standing::Failed(error.clone()));
        }
    }
}

impl ApprovalError {
    /// Returns true if the same would happen at the next try.
    pub fn is_final(&self) -> bool {
        match self {
            Self::NotTaken { error, .. } => {
                !matches!(error.meaning(), Meaning::Transient | Meaning::Credentials)
            }
            Self::Refused { .. } | Self::Document { .. } => true,
            Self::Own(_) | Self::NoReason | Self::Unknown { .. } | Self::Pending { .. } => false,
        }
    }
}

/// The wait for one decision. If it is dropped before, the request stays pending, which is reported.
struct Waiting<'a> {
    id: &'a str,
    /// This process has filed it.
    is_new: bool,
    began: Instant,
    patience: Duration,
    on_event: &'a dyn Fn(ApprovalEvent),
}

impl Waiting<'_> {
    async fn run(self, aws: &Aws) -> Result<Credentials, ApprovalError> {
        let left = Left { waiting: &self, is_over: false };
        let result = self.poll(aws).await;
        left.over();
        result
    }

    async fn poll(&self, aws: &Aws) -> Result<Credentials, ApprovalError> {
        let mut access = aws.access().await.map_err(|error| self.unknown(error))?;
        let (mut pause, mut is_renewed) = (1, true);
        loop {
            let answer = access.access_status(self.id).await;
            let was_renewed = std::mem::replace(&mut is_renewed, answer.is_err());
            match answer {
                Ok(AccessStatus::Approved(credentials)) => return Ok(credentials),
                Ok(AccessStatus::Rejected) => return Err(self.refused(Refused::Rejected)),
                Ok(AccessStatus::Revoked) => return Err(self.refused(Refused::Revoked)),
                Ok(AccessStatus::Expired) => return Err(self.refused(Refused::Expired)),
                Ok(AccessStatus::Pending) => {}
                Err(error) if self.may_pass(&error, was_renewed) => {
                    tracing::info!(%error, id = self.id, "the access request is asked for again");
                    match aws.access().await {
                        Ok(renewed) => access = renewed,
                        // Without a network, a role cannot be assumed either.
                        Err(error) if error.meaning() == Meaning::Transient => is_renewed = was_renewed,
                        Err(error) => return Err(self.unknown(error)),
                    }
                }
                Err(error) => return Err(self.unknown(error)),
            }
            self.pause(pause).await?;
            pause = (pause + 1).min(LONGEST_PAUSE);
        }
    }

    fn unknown(&self, error: ApiError) -> ApprovalError {
        ApprovalError::Unknown { id: self.id.to_owned(), error }
    }

    fn refused(&self, how: Refused) -> ApprovalError {
        ApprovalError::Refused { id: self.id.to_owned(), how }
    }

    /// Returns true if the next look may succeed: the service or the network fails, the credentials have ended since the last
    /// answer and are resolved anew, or the request has just been filed. `is_renewed`: they have been resolved since then.
    fn may_pass(&self, error: &ApiError, is_renewed: bool) -> bool {
        let is_early = clock::now() < self.began + APPEARS_WITHIN;
        match error.meaning() {
            Meaning::Transient => true,
            Meaning::Credentials => is_early || !is_renewed,
            Meaning::Other => self.is_new && is_early && error.has_code("ResourceNotFoundException"),
            Meaning::Settings
            | Meaning::AccessDenied
            | Meaning::TargetNotConnected
            | Meaning::DoesNotExist => false,
        }
    }

    /// Waits for so many ticks, and reports each.
    async fn pause(&self, ticks: u32) -> Result<(), ApprovalError> {
        for _ in 0..ticks {
            let since = clock::now().saturating_duration_since(self.began);
            if since >= self.patience {
                return Err(ApprovalError::Pending { id: self.id.to_owned(), after: self.patience });
            }
            (self.on_event)(ApprovalEvent::Waiting { id: self.id.to_owned(), since });
            sleep(TICK.min(self.patience - since)).await;
        }
        Ok(())
    }
}

/// Reports at its drop that the wait was given up.
struct Left<'a> {
    waiting: &'a Waiting<'a>,
    is_over: bool,
}

impl Left<'_> {
    fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            (self.waiting.on_event)(ApprovalEvent::Left { id: self.waiting.id.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: &str) -> ApiError {
        let (code, message) = (code.to_owned(), String::new());
        ApiError::Service { operation: "GetAccessToken", code, message, status: 400 }
    }

    #[test]
    fn credentials_that_end_during_the_wait_are_resolved_once() {
        let began = clock::now().checked_sub(APPEARS_WITHIN).expect("a clock that has run for 15 s");
        let on_event = &|_| {};
        let waiting = Waiting { id: "oi-1", is_new: true, began, patience: Duration::MAX, on_event };
        let expired = answer("ExpiredTokenException");
        assert!(waiting.may_pass(&expired, false), "those of an hour ago");
        assert!(!waiting.may_pass(&expired, true), "those of now");
        assert!(waiting.may_pass(&answer("ThrottlingException"), true));
        assert!(!waiting.may_pass(&answer("AccessDeniedException"), false));
        assert!(!waiting.may_pass(&answer("ResourceNotFoundException"), false));
    }

    #[test]
    fn a_request_that_was_not_taken_for_its_signature_is_filed_again() {
        let not_taken = |code| ApprovalError::NotTaken { target: "i-1".to_owned(), error: answer(code) };
        for (code, is_final) in [
            ("ExpiredTokenException", false),
            ("ThrottlingException", false),
            ("AccessDeniedException", true),
            ("ResourceNotFoundException", true),
        ] {
            assert_eq!(not_taken(code).is_final(), is_final, "{code}");
        }
    }
}
