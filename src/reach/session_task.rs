//! A session that runs in a task of its own: its stream, its end, and its error as the cause of what failed above it.

use std::collections::HashMap;
use std::rc::Rc;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::aws::{Aws, SessionRequest};
use crate::clock;
use crate::config::Config;
use crate::jump::JumpError;
use crate::names::Target;
use crate::route::Document;
use crate::session::{
    self, EarlyEnd, OnNotice, Outcome, Request, Session, SessionError, SessionOptions, Stream, StreamError,
    StreamOptions,
};

use super::{ReachError, SessionEnd};

/// Standard output may have this much unread; beyond it the websocket is not read.
const STDIO_UNREAD_LIMIT: usize = 8 << 20;

/// A session with one stream, and what is at the end of the stream.
pub(super) struct OneStream {
    pub aws: Rc<Aws>,
    pub request: SessionRequest,
    pub settings: SessionOptions,
    pub on_notice: OnNotice,
    /// An ssh login to a hop follows. Otherwise the program at standard input and output decides how long it waits.
    pub is_for_hop: bool,
}

impl OneStream {
    fn options(&self) -> StreamOptions {
        let hop = self.is_for_hop;
        StreamOptions {
            linger: self.settings.linger,
            // The driver limits the start, and does not count the time of a question to the user.
            open_timeout: None,
            ack_timeout: hop.then_some(StreamOptions::ACK_TIMEOUT),
            unread_limit: if hop { StreamOptions::UNREAD_LIMIT } else { STDIO_UNREAD_LIMIT },
            hold: false,
            idle_limit: None,
            is_single: true,
        }
    }
}

/// The task. Dropping this ends the session.
pub(super) struct SessionTask {
    leave: DropGuard,
    work: JoinHandle<Result<Outcome, SessionError>>,
    end: SessionEnd,
}

impl SessionTask {
    /// Starts a session, and opens its only stream.
    ///
    /// # Errors
    /// The session's own error, or the refusal of the stream.
    pub async fn open(
        session: OneStream,
        tasks: &TaskTracker,
        end: SessionEnd,
    ) -> Result<(Stream, Self), ReachError> {
        let left = CancellationToken::new();
        let leave = left.clone().drop_guard();
        let options = session.options();
        let OneStream { aws, request, settings, on_notice, .. } = session;
        let session = Session { aws, request, settings, on_notice, leave: left };
        let (handle, work) = session::open(session, options);
        let name = end.machine.clone();
        let opening = handle.open(Request { name, asked: clock::now(), confirm: false });
        let task = Self { leave, work: tasks.spawn_local(work), end };
        match opening.await {
            Ok(stream) => Ok((stream, task)),
            Err(error) => Err(task.cause_of_no_stream(error).await),
        }
    }

    /// Returns the session's error; a session that ended without one was closed too early.
    async fn cause_of_no_stream(self, error: StreamError) -> ReachError {
        let end = self.end.clone();
        let closed = self.close().await;
        let error =
            SessionError::Ended { reason: EarlyEnd::Message(error.to_string()), suspected_size: None };
        closed.err().unwrap_or_else(|| end.error(error))
    }

    /// Returns true once the session has ended.
    pub fn is_finished(&self) -> bool {
        self.work.is_finished()
    }

    /// Ends the session, and returns why it failed, if it failed by itself.
    pub async fn close(self) -> Result<(), ReachError> {
        drop(self.leave);
        match self.work.await {
            Ok(Err(error)) => Err(self.end.error(error)),
            Err(error) if error.is_panic() => Err(self.end.error(SessionError::Panic(error.to_string()))),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Returns the cause of a failure above the session: the session's own error if an ssh connection just broke off.
    pub async fn cause_of(self, error: ReachError) -> ReachError {
        let broke_off = matches!(
            &error,
            ReachError::Hop(
                JumpError::Io { .. }
                    | JumpError::Ended { .. }
                    | JumpError::Protocol { .. }
                    | JumpError::Timeout { .. }
            )
        );
        let closed = self.close().await;
        closed.err().filter(|_| broke_off).unwrap_or(error)
    }
}

/// Returns the request of StartSession for a document.
///
/// # Errors
/// [`ReachError::NoReason`]
pub fn session_request(
    target: &Target,
    document: Document,
    config: &Config,
) -> Result<SessionRequest, ReachError> {
    if config.lacks_reason() {
        return Err(ReachError::NoReason);
    }
    let parameters = document.parameters.into_iter();
    let parameters: HashMap<String, Vec<String>> =
        parameters.map(|(name, value)| (name.to_owned(), vec![value])).collect();
    Ok(SessionRequest {
        target: target.id().to_owned(),
        document: document.name,
        parameters,
        reason: config.session.reason.clone(),
    })
}
