//! From a request to a running session, and out again: the process that starts a session also ends it.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::time::{timeout, timeout_at};

use crate::aws::{self, Access, AccessWish, ApiError, ApprovalError, Aws, Meaning, SessionRequest};
use crate::clock;
use crate::transport::Dialer;

use super::driver::{Driver, Parts};
use super::end::LocalSide;
use super::fact::{Fact, Tally};
use super::leave::{LEAVE, end_session};
use super::path_cache::PathCache;
use super::service::{Control, ControlPlane};
use super::{AccessRequest, Notice, OnNotice, Outcome, SessionError, SessionOptions, Step, random};

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
        request: &SessionRequest,
        settings: Rc<SessionOptions>,
        on_notice: OnNotice,
        end: E,
    ) -> (Result<Outcome, SessionError>, Option<E>) {
        let (access, session_id) = (self.access.clone(), self.started.session_id.clone());
        on_notice(&Notice::Recorded(self.fact(request)));
        let name = async {
            if let Some(caller) = learn_caller(&access).await {
                on_notice(&Notice::Recorded(Fact::Caller { session_id: session_id.clone(), caller }));
            }
        };
        let tally = Rc::new(Tally::default());
        let work = self.drive(aws, &request.target, settings, on_notice.clone(), tally.clone(), end);
        let (result, end) = beside(work, name).await;
        on_notice(&Notice::Recorded(tally.ended(&session_id, &result, access.known_caller())));
        (result, end)
    }

    /// Makes the fact of the start.
    fn fact(&self, request: &SessionRequest) -> Fact {
        Fact::Started {
            session_id: self.started.session_id.clone(),
            request: request.clone(),
            access_key_id: self.access.access_key_id().to_owned(),
            caller: self.access.known_caller(),
            region: self.access.region().to_owned(),
            approval: self.access.approval().map(str::to_owned),
        }
    }

    async fn drive<E: LocalSide>(
        self,
        aws: Rc<Aws>,
        target: &str,
        settings: Rc<SessionOptions>,
        on_notice: OnNotice,
        tally: Rc<Tally>,
        end: E,
    ) -> (Result<Outcome, SessionError>, Option<E>) {
        let (access, session_id) = (self.access.clone(), self.started.session_id.clone());
        let approved_target = access.approval().map(|_| target.to_owned());
        let control = Rc::new(Control { aws: aws.clone(), approved_target });
        let run = async {
            let url = self.access.stream_hosts().check(&self.started.stream.url);
            let host = url.map(|url| url.host()).unwrap_or_default();
            let parts = Parts {
                control: control.clone(),
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
        let _ = timeout(LEAVE, end_session(&*control, &access, &session_id)).await;
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
    aws: &Rc<Aws>,
    request: &SessionRequest,
    settings: &SessionOptions,
    on_notice: &OnNotice,
    left: impl Future<Output = ()>,
) -> Result<Start, SessionError> {
    let SessionOptions { began, connect_timeout, .. } = *settings;
    let beginning = Beginning { aws, request, on_notice, is_calling: Cell::new(false) };
    let mut work = Box::pin(beginning.run(settings.access_request.as_ref()));
    let result = tokio::select! {
        result = &mut work => {
            let Begun { access, started } = result?;
            let (session_id, document) = (&started.session_id, &request.document);
            tracing::info!(session_id, target = request.target, document, "session started");
            let deadline = began + connect_timeout + aws.human_time().spent_since(began);
            return Ok(Start::Started(Box::new(Started { access, started, deadline })));
        }
        () = left => Ok(Start::Left),
        () = aws.human_time().wait_until(began, connect_timeout) => {
            Err(SessionError::TimedOut { step: Step::Start, after: connect_timeout, last: None })
        }
    };
    let leave_at = clock::now() + LEAVE;
    let answer = timeout_at(leave_at.into(), beginning.last_answer(work));
    if let Ok(Some(Begun { access, started })) = answer.await {
        tracing::debug!(session_id = started.session_id, "started too late, ending it");
        let end_by = leave_at.max(clock::now() + LATE_END);
        let approved_target = access.approval().map(|_| request.target.clone());
        let control = Control { aws: aws.clone(), approved_target };
        let _ = timeout_at(end_by.into(), control.terminate_session(&access, &started.session_id)).await;
    }
    result
}

/// A session that was started, and what it was started with.
struct Begun {
    access: Rc<Access>,
    started: aws::StartedSession,
}

/// A start that is under way.
struct Beginning<'a> {
    aws: &'a Aws,
    request: &'a SessionRequest,
    on_notice: &'a OnNotice,
    /// StartSession was called, and has not answered: only then may there be a session that is not known.
    is_calling: Cell<bool>,
}

impl Beginning<'_> {
    /// Starts a session with the caller's own credentials, or with those of an approval.
    async fn run(&self, wanted: Option<&AccessRequest>) -> Result<Begun, SessionError> {
        if let Some(access) = self.aws.approved_access(&self.request.target).await? {
            return self.with_approval(access).await;
        }
        let Some(wanted) = wanted else { return Ok(self.with(self.aws.access().await?).await?) };
        if wanted.known.is_none() {
            match self.with(self.aws.access().await?).await {
                Err(error) if is_denied_start(&error) => {}
                Ok(begun) => {
                    tracing::info!("the caller's own policies allow the session: no access is requested");
                    return Ok(begun);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let access = self.ask_for_access(wanted).await?;
        self.with_approval(access).await
    }

    /// Waits for the answer of a call that is under way. Nothing else is begun: no request for access, no question.
    async fn last_answer<E>(
        &self,
        mut work: impl Future<Output = Result<Begun, E>> + Unpin,
    ) -> Option<Begun> {
        poll_fn(|context| {
            if !self.is_calling.get() {
                return Poll::Ready(None);
            }
            match work.poll_unpin(context) {
                Poll::Ready(result) => Poll::Ready(result.ok()),
                Poll::Pending if self.is_calling.get() => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
            }
        })
        .await
    }

    async fn with_approval(&self, access: Access) -> Result<Begun, SessionError> {
        let id = access.approval().unwrap_or_default().to_owned();
        match self.with(access).await {
            Err(error) if is_denied_start(&error) => {
                Err(ApprovalError::Document { id, document: self.request.document.clone(), error }.into())
            }
            Err(error) if error.meaning() == Meaning::Credentials => {
                self.aws.forget_approval(&self.request.target);
                Err(error.into())
            }
            result => Ok(result?),
        }
    }

    async fn ask_for_access(&self, wanted: &AccessRequest) -> Result<Access, ApprovalError> {
        let wish = AccessWish {
            target: &self.request.target,
            reason: self.request.reason.as_deref(),
            known: wanted.known.as_deref(),
            patience: wanted.patience,
        };
        self.aws.approval(wish, &|event| (self.on_notice)(&Notice::Approval(event))).await
    }

    async fn with(&self, access: Access) -> Result<Begun, ApiError> {
        let mut attempt = 1;
        loop {
            match self.call(&access).await {
                Ok(started) => return Ok(Begun { access: Rc::new(access), started }),
                Err(error) if attempt < ATTEMPTS && error.is_throttled_or_server_fault() => {
                    tracing::debug!(%error, attempt, "trying again");
                    let step = BACKOFF * 2u32.pow(attempt - 1);
                    tokio::time::sleep(step.mul_f64(0.5 + random::fraction())).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn call(&self, access: &Access) -> Result<aws::StartedSession, ApiError> {
        self.is_calling.set(true);
        let answer = access.start_session(self.request).await;
        self.is_calling.set(false);
        answer
    }
}

fn is_denied_start(error: &ApiError) -> bool {
    error.is_of("StartSession") && error.meaning() == Meaning::AccessDenied
}

/// Asks for the caller unless it is known. Not before StartSession has succeeded: a proxy that refuses a password would see
/// it twice.
async fn learn_caller(access: &Access) -> Option<String> {
    if access.known_caller().is_some() {
        return None;
    }
    access.learn_caller().await;
    access.known_caller()
}

/// Does `work` to its end, and the other only as long as that takes.
async fn beside<T>(work: impl Future<Output = T>, other: impl Future<Output = ()>) -> T {
    let other = async {
        other.await;
        std::future::pending::<()>().await
    };
    tokio::select! {
        biased;
        result = work => result,
        () = other => unreachable!("it is pending"),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}
