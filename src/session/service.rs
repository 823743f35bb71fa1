//! The service as a running session uses it: calls of its API, and websockets.
//!
//! Both are traits, since the tests of the driver play the service in memory.

use crate::aws::{Access, ApiError, Aws, StreamAddress};
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

impl ControlPlane for Aws {
    type Access = Access;

    async fn access(&self) -> Result<Access, ApiError> {
        self.access().await
    }

    async fn resume_session(
        &self,
        access: &Access,
        session_id: &str,
        known_url: &str,
    ) -> Result<Option<StreamAddress>, ApiError> {
        access.resume_session(session_id, known_url).await
    }

    async fn terminate_session(&self, access: &Access, session_id: &str) -> Result<(), ApiError> {
        access.terminate_session(session_id).await
    }
}

impl Dial<Access> for Dialer {
    async fn dial(&self, access: &Access, url: &str) -> Result<Websocket, LinkError> {
        let url = access.stream_hosts().check(url)?;
        Ok(self.dial(&url, access.signer(), clock::wall()).await?)
    }
}
