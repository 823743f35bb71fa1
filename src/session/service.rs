//! The service as a running session uses it: calls of its API, and websockets.
//!
//! Both are traits, since the tests of the driver play the service in memory.

use std::rc::Rc;

use crate::aws::{Access, ApiError, Aws, Meaning, StreamAddress};
use crate::clock;
use crate::transport::{Dialer, Websocket};

use super::link_error::LinkError;

/// The API calls that a running session needs.
pub(crate) trait ControlPlane: 'static {
    /// Credentials, region and endpoints of one moment: calls and dials are made with it.
    type Access: 'static;

    /// Resolves credentials, region and endpoints anew.
    async fn access(&self) -> Result<Self::Access, ApiError>;

    /// Asks for a new stream; `None` if the session has ended.
    async fn resume_session(
        &self,
        access: &Self::Access,
        session_id: &str,
        known_url: &str,
    ) -> Result<Option<StreamAddress>, ApiError>;

    /// Ends the session; one that has ended already is not an error.
    async fn terminate_session(&self, access: &Self::Access, session_id: &str) -> Result<(), ApiError>;
}

/// Opens websockets with the access `A`.
pub(crate) trait Dial<A>: Clone + 'static {
    /// Opens the stream at `url`.
    async fn dial(&self, access: &A, url: &str) -> Result<Websocket, LinkError>;
}

/// The API as one session uses it.
pub(super) struct Control {
    pub aws: Rc<Aws>,
    /// The target, if the session was started by an approval for it.
    pub approved_target: Option<String>,
}

impl ControlPlane for Control {
    type Access = Access;

    /// As long as they are valid, the credentials of the approval, which has started the session.
    async fn access(&self) -> Result<Access, ApiError> {
        if let Some(target) = &self.approved_target
            && let Some(access) = self.aws.approved_access(target).await?
        {
            return Ok(access);
        }
        self.aws.access().await
    }

    async fn resume_session(
        &self,
        access: &Access,
        session_id: &str,
        known_url: &str,
    ) -> Result<Option<StreamAddress>, ApiError> {
        match access.resume_session(session_id, known_url).await {
            Err(error) if is_denied_to_approval(&error, access) => {
                self.aws.access().await?.resume_session(session_id, known_url).await
            }
            result => result,
        }
    }

    async fn terminate_session(&self, access: &Access, session_id: &str) -> Result<(), ApiError> {
        match access.terminate_session(session_id).await {
            Err(error) if is_denied_to_approval(&error, access) => {
                self.aws.access().await?.terminate_session(session_id).await
            }
            result => result,
        }
    }
}

/// Returns true if the caller's own credentials may be allowed what those of an approval are not: a policy for callers
/// who request access has `ssm:ResumeSession` and `ssm:TerminateSession`.
fn is_denied_to_approval(error: &ApiError, access: &Access) -> bool {
    access.approval().is_some() && error.meaning() == Meaning::AccessDenied
}

impl Dial<Access> for Dialer {
    async fn dial(&self, access: &Access, url: &str) -> Result<Websocket, LinkError> {
        let url = access.stream_hosts().check(url)?;
        Ok(self.dial(&url, access.signer(), clock::wall()).await?)
    }
}
