//! Starts a session in the background: a handle opens its streams, and a future runs it.

use std::future::Future;
use std::rc::Rc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::aws::{Aws, SessionRequest};
use crate::clock;

use super::start::{Start, start};
use super::streams::{Handle, SessionStatus, StreamOptions, Streams};
use super::{Fact, Notice, OnNotice, Outcome, SessionError, SessionOptions};

/// How a session is opened and run.
pub struct Session {
    /// The way to AWS.
    pub aws: Rc<Aws>,
    /// What to start.
    pub request: SessionRequest,
    /// How the session is opened and kept.
    pub settings: SessionOptions,
    /// Receives what happens on the way.
    pub on_notice: OnNotice,
    /// Ends the session when it is cancelled.
    pub leave: CancellationToken,
}

/// Prepares a session whose streams are opened by the handle. The future starts the session, runs it, and ends it at the
/// service; it has to be driven.
pub fn open(
    session: Session,
    options: StreamOptions,
) -> (Handle, impl Future<Output = Result<Outcome, SessionError>>) {
    let status = watch::Sender::new(SessionStatus::default());
    let refused = status.subscribe();
    let (handle, streams) = Streams::new(clock::now(), options, status, session.leave.clone());
    let work = async move {
        let result = match run(session, streams).await {
            Ran::NotStarted(error, _) => Err(error),
            Ran::Ended(result, streams) => {
                if let Some(streams) = streams {
                    streams.release(result.is_ok(), |_| false);
                }
                result
            }
        };
        if options.is_single && refused.borrow().was_refused {
            return Err(SessionError::RemotePort("the agent could not connect to it".to_owned()));
        }
        result
    };
    (handle, work)
}

/// What became of a session.
pub enum Ran {
    /// StartSession failed: the streams can be given to another attempt.
    NotStarted(SessionError, Streams),
    /// It has ended, or was not wanted any more; the streams are `None` after a panic.
    Ended(Result<Outcome, SessionError>, Option<Streams>),
}

/// Starts a session, runs it with its streams, and ends it at the service.
pub async fn run(session: Session, streams: Streams) -> Ran {
    let Session { aws, request, settings, on_notice, leave } = session;
    match start(&aws, &request, &settings, &on_notice, leave.cancelled()).await {
        Err(error) => {
            let why = error.to_string();
            on_notice(&Notice::Recorded(Fact::NotStarted { request, why }));
            Ran::NotStarted(error, streams)
        }
        Ok(Start::Left) => Ran::Ended(Ok(Outcome::Done), Some(streams)),
        Ok(Start::Started(started)) => {
            let (result, streams) = started.run(aws, &request, Rc::new(settings), on_notice, streams).await;
            Ran::Ended(result, streams)
        }
    }
}
