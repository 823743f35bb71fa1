//! From a request to a running session, and out again: the process that starts a session also ends it.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::time::{timeout, timeout_at};

use crate::aws::{self, Access, ApiError, Aws, SessionRequest};
use crate::clock;
use crate::transport::Dialer;

use super::driver::{Driver, Parts};
use super::end::LocalSide;
use super::fact::{Fact, Tally};
use super::leave::{LEAVE, end_session};
use super::path_cache::PathCache;
use super::{Notice, OnNotice, Outcome, SessionError, SessionOptions, Step, random};

/// StartSession is tried so often while the service throttles or fails; an attempt without an answer may have started a
/// session, and is not repeated.
const ATTEMPTS: u32 = 4;
/// Before the second attempt; it doubles.
const BACKOFF: Duration = Duration::from_millis(500);
/// What ending a session that was started too late may take on top of waiting for it.
const LATE_END: Duration = Duration::from_millis(600);

/// A session that has been started and is not driven yet.
pub(super) struct Started {
    access: Rc<Access>,
    started: aws::StartedSession,
    /// When data must flow.
    deadline: Instant,
}

impl Started {
    /// Runs the session until it is over, and ends it at the service on every way out. Returns the local end unless there
    /// was a panic.
    pub async fn run<E: LocalSide>(
        self,
        aws: Rc<Aws>,
        settings: Rc<SessionOptions>,
        on_notice: OnNotice,
        end: E,
    ) -> (Result<Outcome, SessionError>, Option<E>) {
        let (session_id, tally) = (self.started.session_id.clone(), Rc::new(Tally::default()));
        let (result, end) = self.drive(aws, settings, on_notice.clone(), tally.clone(), end).await;
        on_notice(&Notice::Recorded(tally.ended(&session_id, &result)));
        (result, end)
    }

    /// Makes the fact of the start.
    pub fn fact(&self, request: &SessionRequest) -> Fact {
        Fact::Started {
            session_id: self.started.session_id.clone(),
            request: request.clone(),
            access_key_id: self.access.access_key_id().to_owned(),
            caller: self.access.known_caller(),
            region: self.access.region().to_owned(),
        }
    }

    async fn drive<E: LocalSide>(
        self,
        aws: Rc<Aws>,
        settings: Rc<SessionOptions>,
        on_notice: OnNotice,
        tally: Rc<Tally>,
        end: E,
    ) -> (Result<Outcome, SessionError>, Option<E>) {
        let (access, session_id) = (self.access.clone(), self.started.session_id.clone());
        let run = async {
            let url = self.access.stream_hosts().check(&self.started.stream.url);
            let host = url.map(|url| url.host()).unwrap_or_default();
            let parts = Parts {
                control: aws.clone(),
                dialer: Dialer::new(aws.connector()),
                path: PathCache::new(settings.cache_dir.clone(), host),
                tally,
                settings,
                on_notice,
                read_wall: clock::wall,
                end,
            };
            Driver::new(parts, self.access, self.started, self.deadline).run().await
        };
        let error = match AssertUnwindSafe(run).catch_unwind().await {
            Ok((result, end)) => return (result, Some(end)),
            Err(panic) => SessionError::Panic(panic_text(panic.as_ref())),
        };
        let _ = timeout(LEAVE, end_session(&*aws, &access, &session_id)).await;
        (Err(error), None)
    }
}

/// What became of the attempt to start.
pub(super) enum Start {
    Started(Box<Started>),
    /// The session is not wanted any more; if it was started all the same, it has been ended.
    Left,
}

/// Starts a session unless `left` comes first.
///
/// # Errors
/// [`SessionError`]
pub(super) async fn start(
    aws: &Aws,
    request: &SessionRequest,
    settings: &SessionOptions,
    left: impl Future<Output = ()>,
) -> Result<Start, SessionError> {
    let deadline = settings.began + settings.connect_timeout;
    let mut work = Box::pin(async {
        let access = aws.access().await?;
        let started = start_session(&access, request).await?;
        Ok::<_, ApiError>((access, started))
    });
    let result = tokio::select! {
        result = &mut work => {
            let (access, started) = result?;
            let (session_id, document) = (&started.session_id, &request.document);
            tracing::info!(session_id, target = request.target, document, "session started");
            let deadline = deadline + aws.mfa_prompt().time_spent();
            return Ok(Start::Started(Box::new(Started { access: Rc::new(access), started, deadline })));
        }
        () = left => Ok(Start::Left),
        () = aws.mfa_prompt().wait_until(deadline) => {
            Err(SessionError::TimedOut { step: Step::Start, after: settings.connect_timeout, last: None })
        }
    };
    // While the user is asked for a code, no session can have been started.
    let patience = if aws.mfa_prompt().is_open() { Duration::ZERO } else { LEAVE };
    let leave_at = clock::now() + patience;
    if let Ok(Ok((access, started))) = timeout_at(leave_at.into(), work).await {
        tracing::debug!(session_id = started.session_id, "started too late, ending it");
        let end_by = leave_at.max(clock::now() + LATE_END);
        let _ = timeout_at(end_by.into(), access.terminate_session(&started.session_id)).await;
    }
    result
}

async fn start_session(access: &Access, request: &SessionRequest) -> Result<aws::StartedSession, ApiError> {
    let mut attempt = 1;
    loop {
        match access.start_session(request).await {
            Err(error) if attempt < ATTEMPTS && error.is_throttled_or_server_fault() => {
                tracing::debug!(%error, attempt, "trying again");
                let step = BACKOFF * 2u32.pow(attempt - 1);
                tokio::time::sleep(step.mul_f64(0.5 + random::fraction())).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}
