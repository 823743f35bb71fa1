//! From a request to a running session, and out again: who starts a session also ends it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::aws::{Access, ApiError, Aws, SessionRequest, Started};
use crate::transport::Dialer;

use super::driver::{Driver, Parts};
use super::signals::Interrupts;
use super::stdio::{Input, Output};
use super::{Failure, Notes, Outcome, Settings, Step};

/// How long we stay to end a session once we want to leave; a little less than the two seconds that we promise.
pub(super) const LEAVE: Duration = Duration::from_millis(1800);

/// Starts a session and joins it to standard input and output until it ends.
///
/// # Errors
/// [`Failure`]; whatever was started has been ended at the service by then, as far as it could be reached in 2 s.
pub async fn connect(
    aws: &Aws,
    request: &SessionRequest,
    settings: &Settings,
    notes: Notes,
) -> Result<Outcome, Failure> {
    let stdio = |what| move |error| Failure::Stdio { what, error };
    let deadline = Instant::now() + settings.connect_timeout;
    let mut interrupts = Interrupts::listen().map_err(stdio("cannot listen to signals"))?;
    let roots = aws.roots();
    tokio::task::spawn_blocking(move || roots.preload());
    let (access, started) = match start(aws, request, settings, deadline, &mut interrupts).await? {
        Start::Started(started) => *started,
        Start::Left(outcome) => return Ok(outcome),
    };
    let session_id = started.session_id.clone();
    tracing::debug!(session_id, "session started");
    let run = async {
        let input = Input::stdin().map_err(stdio("standard input"))?;
        let output = Output::stdout().map_err(stdio("standard output"))?;
        let dialer = Dialer::new(aws.roots());
        let parts = Parts { aws, dialer, settings, notes, input, output, interrupts };
        let deadline = deadline + aws.human().time_taken();
        Ok(Driver::new(parts, access, started, deadline.into_std()).run().await)
    };
    let failure = match AssertUnwindSafe(run).catch_unwind().await {
        Ok(Ok(result)) => return result,
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::Panic(panic_text(panic.as_ref())),
    };
    let _ = timeout(LEAVE, end(aws, &session_id)).await;
    Err(failure)
}

/// What became of the attempt to start.
enum Start {
    Started(Box<(Access, Started)>),
    /// Something from outside came first; a session that was started all the same has been ended.
    Left(Outcome),
}

async fn start(
    aws: &Aws,
    request: &SessionRequest,
    settings: &Settings,
    deadline: Instant,
    interrupts: &mut Interrupts,
) -> Result<Start, Failure> {
    let mut work = Box::pin(async {
        let access = aws.access().await?;
        let started = access.start_session(request).await?;
        Ok::<_, ApiError>((access, started))
    });
    let left = tokio::select! {
        result = &mut work => {
            return Ok(Start::Started(Box::new(result?)));
        }
        interrupt = interrupts.next() => Ok(Start::Left(Outcome::Interrupted(interrupt))),
        () = aws.human().passed(deadline) => {
            Err(Failure::TimedOut { step: Step::Start, after: settings.connect_timeout, last: None })
        }
    };
    // Whoever is still asked has started nothing.
    let patience = if aws.human().is_asked() { Duration::ZERO } else { LEAVE };
    if let Ok(Ok((access, started))) = timeout_at(Instant::now() + patience, work).await {
        tracing::debug!(session_id = started.session_id, "started too late, ending it");
        let _ = timeout(LEAVE, access.terminate_session(&started.session_id)).await;
    }
    left
}

/// Ends a session by the API, trying for as long as the caller has time.
pub(super) async fn end(aws: &Aws, session_id: &str) {
    loop {
        let result = match aws.access().await {
            Ok(access) => access.terminate_session(session_id).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => return,
            Err(error) => tracing::info!(session_id, %error, "cannot end the session"),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}
