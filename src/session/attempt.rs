//! One attempt to open a websocket: the calls and the dial that it takes.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use crate::aws::{StreamAddress, Token};
use crate::transport::Websocket;

use super::link_error::LinkError;
use super::service::{ControlPlane, Dial};

/// Work that ends with an open websocket and the token for it.
pub(super) type Attempt<A> = Pin<Box<dyn Future<Output = Result<Opened<A>, LinkError>>>>;

/// A websocket that nothing has been sent on yet.
pub(super) struct Opened<A> {
    pub websocket: Websocket,
    pub token: Token,
    pub source: StreamSource<A>,
}

/// What a websocket was opened with: the next one is asked for with the same, or with what follows from it.
pub(super) struct StreamSource<A> {
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
    pub(super) fn first(&self, access: Rc<C::Access>, stream: StreamAddress) -> Attempt<C::Access> {
        Box::pin(open(access, self.dialer.clone(), stream))
    }

    /// After `delay`, asks for a new stream with fresh credentials and opens it.
    pub(super) fn again(&self, known: &StreamSource<C::Access>, delay: Duration) -> Attempt<C::Access> {
        let (control, dialer) = (self.control.clone(), self.dialer.clone());
        let (session_id, url) = (self.session_id.clone(), known.url.clone());
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            let access = control.access().await?;
            let stream = control.resume_session(&access, &session_id, &url).await?;
            open(Rc::new(access), dialer, stream.ok_or(LinkError::Gone)?).await
        })
    }
}

async fn open<A, D: Dial<A>>(
    access: Rc<A>,
    dialer: D,
    stream: StreamAddress,
) -> Result<Opened<A>, LinkError> {
    let StreamAddress { url, token } = stream;
    let websocket = dialer.dial(&access, &url).await?;
    Ok(Opened { websocket, token, source: StreamSource { access, url } })
}
