//! One attempt to open a websocket: the calls and the dial that it takes, and why it failed.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;

use crate::aws::{ApiError, Meaning, Stream, Token};
use crate::transport::{DialError, HostError, Websocket};

use super::SessionError;
use super::service::{ControlPlane, Dial};

/// Work that ends with an open websocket and the token for it.
pub(super) type Attempt<A> = Pin<Box<dyn Future<Output = Result<Opened<A>, AttemptError>>>>;

/// A websocket that nothing has been sent on yet.
pub(super) struct Opened<A> {
    pub websocket: Websocket,
    pub token: Token,
    pub source: Source<A>,
}

/// What a websocket was opened with: the next one is asked for with the same, or with what follows from it.
pub(super) struct Source<A> {
    pub access: Rc<A>,
    pub url: String,
}

/// Opens the websockets of one session.
pub(super) struct Opener<C, D> {
    pub control: Rc<C>,
    pub dialer: D,
    pub session_id: Rc<str>,
}

impl<C: ControlPlane, D: Dial<C::Access>> Opener<C, D> {
    /// Opens the stream of a session that has just been started.
    pub(super) fn first(&self, access: Rc<C::Access>, stream: Stream) -> Attempt<C::Access> {
        Box::pin(open(access, self.dialer.clone(), stream))
    }

    /// After `delay`, asks for a new stream with fresh credentials and opens it.
    pub(super) fn again(&self, known: &Source<C::Access>, delay: Duration) -> Attempt<C::Access> {
        let (control, dialer) = (self.control.clone(), self.dialer.clone());
        let (session_id, url) = (self.session_id.clone(), known.url.clone());
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            let access = control.access().await?;
            let stream = control.resume_session(&access, &session_id, &url).await?;
            open(Rc::new(access), dialer, stream.ok_or(AttemptError::Gone)?).await
        })
    }
}

async fn open<A, D: Dial<A>>(access: Rc<A>, dialer: D, stream: Stream) -> Result<Opened<A>, AttemptError> {
    let Stream { url, token } = stream;
    let websocket = dialer.dial(&access, &url).await?;
    Ok(Opened { websocket, token, source: Source { access, url } })
}

/// Why an attempt to open a websocket failed, or an open one was lost.
#[derive(Debug, Error)]
pub(crate) enum AttemptError {
    #[error(transparent)]
    Api(#[from] ApiError),
    /// ResumeSession gave no token: the session has ended.
    #[error("the session has ended")]
    Gone,
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Dial(#[from] DialError),
    /// An open websocket was lost.
    #[error("{0}")]
    Lost(String),
}

impl AttemptError {
    /// Returns true if the session is known not to exist at the service any more, so that it need not be ended.
    pub(super) fn is_of_ended_session(&self) -> bool {
        match self {
            Self::Api(error) => error.meaning() == Meaning::DoesNotExist,
            Self::Gone | Self::Host(_) | Self::Dial(_) | Self::Lost(_) => false,
        }
    }

    /// Returns what the last failure means for the user; `suspect` names the message size that ended the session.
    pub(super) fn into_session_error(self, suspect: impl FnOnce() -> Option<usize>) -> SessionError {
        match self {
            Self::Api(error) if error.meaning() == Meaning::AccessDenied => SessionError::Api(error),
            Self::Api(error) if error.meaning() == Meaning::DoesNotExist => {
                SessionError::Lost { cause: error.to_string(), suspected_size: suspect() }
            }
            Self::Gone => {
                let cause = "it has ended meanwhile".to_owned();
                SessionError::Lost { cause, suspected_size: suspect() }
            }
            Self::Api(error) => SessionError::lost(error.to_string()),
            Self::Host(error) => SessionError::Host(error),
            Self::Dial(error) => SessionError::Dial(error),
            Self::Lost(cause) => SessionError::lost(cause),
        }
    }
}
