//! Why there is no link, and what that means for the user if it is final.

use thiserror::Error;

use crate::aws::{ApiError, Meaning};
use crate::transport::{DialError, HostError};

use super::{LossCause, SessionError};

/// Why an attempt to open a websocket failed, or an open one was lost.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
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

impl LinkError {
    /// Returns true if the session is known not to exist at the service any more, so that it need not be ended.
    pub(super) fn is_of_ended_session(&self) -> bool {
        match self {
            Self::Api(error) => error.meaning() == Meaning::DoesNotExist,
            Self::Gone | Self::Host(_) | Self::Dial(_) | Self::Lost(_) => false,
        }
    }

    /// Returns the error if the credentials cannot be used.
    pub(super) fn ended_credentials(&self) -> Option<&ApiError> {
        let Self::Api(error) = self else { return None };
        (error.meaning() == Meaning::Credentials).then_some(error)
    }

    /// Returns what the last failure means for the user; `suspect` names the message size that ended the session.
    pub(super) fn into_session_error(self, suspect: impl FnOnce() -> Option<usize>) -> SessionError {
        match self {
            Self::Api(error) if error.meaning() == Meaning::AccessDenied => SessionError::Api(error),
            Self::Api(error) if error.meaning() == Meaning::DoesNotExist => {
                let cause = LossCause::Link(error.to_string());
                SessionError::Lost { cause, suspected_size: suspect(), credentials: None, history: None }
            }
            Self::Gone => SessionError::Lost {
                cause: LossCause::Ended,
                suspected_size: suspect(),
                credentials: None,
                history: None,
            },
            Self::Api(error) => SessionError::lost(LossCause::Link(error.to_string())),
            Self::Host(error) => SessionError::Host(error),
            Self::Dial(error) => SessionError::Dial(error),
            Self::Lost(cause) => SessionError::lost(LossCause::Link(cause)),
        }
    }
}
