//! Standard input and output joined to a stream: that of a session of its own, or one within the process.
//!
//! End of input is a half-close, a vanished reader or a signal is the end, and what was received is written.

use std::future::{Future, ready};
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::aws::{Aws, SessionRequest};

use super::relay::{Policy, RelayEnd, relay};
use super::signals::{Interrupt, Interrupts};
use super::stdio::Stdio;
use super::streams::{Opening, StreamOptions};
use super::tunnel::{Session, single};
use super::{Failure, Notes, Outcome, Settings};

/// Received data that standard output has not taken; beyond it the websocket is not read.
const UNREAD_LIMIT: usize = 8 << 20;

/// Starts a session and joins it to standard input and output until it ends.
///
/// # Errors
/// [`Failure`]; whatever was started has been ended at the service by then, as far as it could be reached in 2 s.
pub async fn connect(
    aws: Rc<Aws>,
    request: &SessionRequest,
    settings: Settings,
    notes: Notes,
) -> Result<Outcome, Failure> {
    let cannot_listen = |error| Failure::Stdio { what: "cannot listen to signals", error };
    let mut interrupts = Interrupts::listen().map_err(cannot_listen)?;
    let roots = aws.roots();
    tokio::task::spawn_blocking(move || roots.preload());
    let leave = CancellationToken::new();
    let options = options(settings.linger);
    let session = Session { aws, request: request.clone(), settings, notes, leave: leave.clone() };
    let (opening, work) = single(session, options, "stdin");
    let (mut work, mut joined) = (pin!(work), pin!(join_opened(opening).fuse()));
    let ended = tokio::select! {
        result = &mut work => {
            // The session is over. What was received is still written, unless something interrupts that.
            if !joined.is_terminated() {
                tokio::select! {
                    _ = joined => {}
                    _ = interrupts.next() => {}
                }
            }
            return result;
        }
        Some(ended) = &mut joined => ended,
        interrupt = interrupts.next() => Ok(Outcome::Interrupted(interrupt)),
    };
    leave.cancel();
    // The local end has decided, whatever becomes of the session.
    let _ = work.await;
    ended
}

/// Joins standard input and output to the stream of a session. Returns what ended it, unless the session did.
async fn join_opened(opening: Opening) -> Option<Result<Outcome, Failure>> {
    // The session's result explains why there is no stream.
    let stream = opening.await.ok()?;
    let stdio = match Stdio::open() {
        Ok(stdio) => stdio,
        Err(error) => return Some(Err(Failure::Stdio { what: "standard input or output", error })),
    };
    of_end(relay(stdio, stream, policy(None, ready(()))).await)
}

fn options(linger: Duration) -> StreamOptions {
    StreamOptions {
        linger,
        // ssh decides how long it waits.
        open_timeout: None,
        patience: None,
        unread_limit: UNREAD_LIMIT,
        hold: false,
        idle_limit: None,
        is_single: true,
    }
}

/// Joins standard input and output to a stream within the process until the peer has ended it, or has been silent for
/// `linger` after the end of input; that time begins once what was sent is `delivered`, which is only waited for after
/// the last byte.
///
/// # Errors
/// [`Failure::Stdio`]; a stream that breaks has ended.
pub(crate) async fn join<S: AsyncRead + AsyncWrite>(
    stream: S,
    linger: Duration,
    delivered: impl Future<Output = ()>,
    interrupts: &mut Interrupts,
) -> Result<Outcome, Failure> {
    let failed = |error| Failure::Stdio { what: "standard input or output", error };
    let stdio = Stdio::open().map_err(failed)?;
    tokio::select! {
        end = relay(stdio, Box::pin(stream), policy(Some(linger), delivered)) => {
            of_end(end).unwrap_or(Ok(Outcome::Done))
        }
        interrupt = interrupts.next() => Ok(Outcome::Interrupted(interrupt)),
    }
}

/// The peer's end of file is the end: no one is left to send input to.
fn policy<'a>(linger: Option<Duration>, delivered: impl Future<Output = ()> + 'a) -> Policy<'a> {
    Policy {
        linger,
        delivered: Box::pin(delivered),
        farewell: Duration::ZERO,
        needs_reader: true,
        meter: &|_, _| {},
    }
}

/// What a failure of the local end means; `None` if the remote end is why it is over.
fn of_end(end: RelayEnd) -> Option<Result<Outcome, Failure>> {
    match end {
        RelayEnd::Finished | RelayEnd::Remote(_) => None,
        RelayEnd::LocalRead(error) => Some(Err(Failure::Stdio { what: "standard input", error })),
        RelayEnd::LocalWrite(error) if is_reader_gone(&error) => {
            Some(Ok(Outcome::Interrupted(Interrupt::ReaderGone)))
        }
        RelayEnd::LocalWrite(error) => Some(Err(Failure::Stdio { what: "standard output", error })),
    }
}

fn is_reader_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
