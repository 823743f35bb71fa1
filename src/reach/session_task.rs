//! A session that runs in a task of its own: its stream, its end, and its error as the cause of what failed above it.

use std::collections::HashMap;
use std::rc::Rc;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::aws::{Aws, SessionRequest};
use crate::config::Config;
use crate::jump::JumpError;
use crate::names::Target;
use crate::route::Document;
use crate::session::{OnNotice, Outcome, SessionError, Settings};

use super::{ByteStream, ReachError, SessionEnd};

/// The task. Dropping this ends the session.
pub(super) struct SessionTask {
    leave: DropGuard,
    work: JoinHandle<Result<Outcome, SessionError>>,
    end: SessionEnd,
}

impl SessionTask {
    /// Starts a session; returns once data can flow.
    pub async fn open(
        aws: &Rc<Aws>,
        request: SessionRequest,
        settings: Settings,
        notes: OnNotice,
        tasks: &TaskTracker,
        end: SessionEnd,
    ) -> Result<(impl ByteStream + use<>, Self), ReachError> {
        let left = CancellationToken::new();
        let leave = left.clone().drop_guard();
        let (stream, work) = crate::forward::tunnel(aws.clone(), request, settings, notes, left);
        let work = tasks.spawn_local(work);
        Ok((stream, Self { leave, work, end }))
    }

    /// Returns true once the session has ended.
    pub fn is_finished(&self) -> bool {
        self.work.is_finished()
    }

    /// Ends the session, and returns why it failed, if it failed by itself.
    pub async fn close(self) -> Result<(), ReachError> {
        drop(self.leave);
        match self.work.await {
            Ok(Err(error)) => Err(ReachError::Session { error, to: Box::new(self.end) }),
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
pub fn session_request(target: &Target, document: Document, config: &Config) -> SessionRequest {
    let parameters = document.parameters.into_iter();
    let parameters: HashMap<String, Vec<String>> =
        parameters.map(|(name, value)| (name.to_owned(), vec![value])).collect();
    SessionRequest {
        target: target.id().to_owned(),
        document: document.name,
        parameters,
        reason: config.session.reason.clone(),
    }
}
