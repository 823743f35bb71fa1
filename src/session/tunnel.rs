//! One session as one byte stream within the process, such as the one below an ssh login to a hop.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::aws::{Aws, SessionRequest};

use super::start::{Start, start};
use super::streams::{Handle, Opening, Request, Status, Stream, StreamOptions, Streams};
use super::{Failure, Interrupt, Notes, Outcome, Settings};

/// An ssh client that closes the stream has received all there is to receive.
const LINGER: Duration = Duration::from_secs(1);
/// An agent that acknowledges nothing for so long may not exist any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Received and unread bytes beyond which the websocket is not read.
const UNREAD_LIMIT: usize = 4 << 20;

/// How a session is opened and run.
pub struct Session {
    /// The way to AWS.
    pub aws: Rc<Aws>,
    /// What to start.
    pub request: SessionRequest,
    /// How the session is opened and kept.
    pub settings: Settings,
    /// Receives what happens on the way.
    pub notes: Notes,
    /// Ends the session when it is cancelled.
    pub leave: CancellationToken,
}

/// Prepares a session whose streams are opened by the handle. The future starts the session, runs it, and ends it at the
/// service; it has to be driven.
pub fn open(
    session: Session,
    options: StreamOptions,
) -> (Handle, impl Future<Output = Result<Outcome, Failure>>) {
    let status = watch::Sender::new(Status::default());
    let refused = status.subscribe();
    let now = Instant::now().into_std();
    let (handle, streams) = Streams::new(now, options, status, session.leave.clone());
    let work = async move {
        let result = run(session, streams).await;
        if options.is_single && refused.borrow().was_refused {
            return Err(Failure::RemotePort("the agent could not connect to it".to_owned()));
        }
        result
    };
    (handle, work)
}

/// Prepares a session that is one stream, which can be used at once: it waits until the session works. The future has
/// to be driven; it ends with the stream, or when `leave` is cancelled, and ends the session at the service.
pub fn tunnel(
    aws: Rc<Aws>,
    request: SessionRequest,
    settings: Settings,
    notes: Notes,
    leave: CancellationToken,
) -> (Stream, impl Future<Output = Result<Outcome, Failure>>) {
    let options = StreamOptions {
        linger: LINGER,
        open_timeout: Some(settings.connect_timeout),
        patience: Some(PATIENCE),
        unread_limit: UNREAD_LIMIT,
        hold: false,
        idle_limit: None,
        is_single: true,
    };
    let session = Session { aws, request, settings, notes, leave };
    let (opening, work) = single(session, options, "ssh");
    (opening.into_stream(), work)
}

/// Prepares a session for one stream, and asks for it.
pub(super) fn single(
    session: Session,
    options: StreamOptions,
    name: &str,
) -> (Opening, impl Future<Output = Result<Outcome, Failure>> + use<>) {
    let (handle, work) = open(session, options);
    let asked = Instant::now().into_std();
    (handle.open(Request { name: name.to_owned(), asked, confirm: false }), work)
}

async fn run(session: Session, streams: Streams) -> Result<Outcome, Failure> {
    let Session { aws, request, settings, notes, leave } = session;
    let left = async {
        leave.cancelled().await;
        Interrupt::ReaderGone
    };
    let started = match start(&aws, &request, &settings, left).await? {
        Start::Started(started) => started,
        Start::Left(outcome) => return Ok(outcome),
    };
    let (result, streams) = started.run(aws, Rc::new(settings), notes, || Ok(streams)).await;
    if let Some(streams) = streams {
        streams.release(result.is_ok(), |_| false);
    }
    result
}
