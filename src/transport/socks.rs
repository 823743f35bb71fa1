//! The stream through a SOCKS proxy, on a connection that is open.

use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::connect_error::ConnectError;
use super::io::Io;
use super::proxy::Proxy;

/// Asks a SOCKS proxy for a stream to `HOST:PORT`.
pub(super) async fn socks(stream: Box<dyn Io>, proxy: &Proxy, to: &str) -> Result<Box<dyn Io>, ConnectError> {
    let mut socks = SocksV5::new(proxy.url(), Given(Some(stream)));
    if let Some(login) = &proxy.login {
        socks = socks.with_auth(login.user.clone(), login.password.clone());
    }
    let to = Uri::builder().scheme("https").authority(to).path_and_query("/").build();
    let opened = socks.call(to.map_err(|error| ConnectError::network(&error))?).await;
    Ok(Box::new(opened.map_err(|error| refusal(&error, proxy.login.is_some()))?.into_inner()))
}

/// Gives an open connection to what speaks SOCKS over it.
struct Given(Option<Box<dyn Io>>);

impl Service<Uri> for Given {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Box<dyn Io>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

/// Tells refusals from failures. The error's type has no public name, so its `Debug` names the variants.
fn refusal(error: &dyn std::error::Error, has_login: bool) -> ConnectError {
    let variant = format!("{error:?}");
    let login = |text: &str| ConnectError::SocksLogin(text.to_owned());
    match variant.as_str() {
        "V5(Auth(Failed))" => login("name or password rejected"),
        "V5(Auth(Unsupported))" if has_login => login("not by name and password"),
        "V5(Auth(Unsupported))" => login("none is set"),
        "V5(Command(ConnectionNotAllowed))" => ConnectError::SocksForbidden,
        _ => ConnectError::network(error),
    }
}
