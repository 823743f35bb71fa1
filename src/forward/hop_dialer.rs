//! Connections that a hop makes: one for each local client.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::reach::PooledStream;
use crate::session::LocalStream;

use super::Traffic;
use super::connection::{ClientConnection, Linger, Unopened};
use super::proxy::{self, Asked};

/// A connection to come. The user is notified by its maker if there is none.
pub type Dialing = Pin<Box<dyn Future<Output = Result<PooledStream, Unopened>>>>;

/// Makes a connection to a destination, for a local client with an address.
pub type DialHop = Rc<dyn Fn(Asked, String) -> Dialing>;

/// How the connections of a listener are made.
#[derive(Clone)]
pub struct HopDialer {
    /// Makes one.
    pub dial: DialHop,
    /// The destination; without one, the listener is a proxy.
    pub to: Option<Asked>,
    /// How long the remote end may be silent after a local client's end of file.
    pub linger: Linger,
    /// Counts what passes through.
    pub traffic: Rc<Traffic>,
}

impl HopDialer {
    /// Serves a local client, which is asked for its destination if the listener is a proxy.
    pub(super) async fn serve_tcp(self, mut socket: TcpStream, from: String) {
        if let Some(to) = self.to.clone() {
            return self.carry(ClientConnection::new(socket, from, None), to).await;
        }
        match proxy::read_request(&mut socket).await {
            Ok((asked, answer)) => self.carry(ClientConnection::new(socket, from, Some(answer)), asked).await,
            Err(error) => proxy::turn_away(socket, &from, &error).await,
        }
    }

    /// Serves a local client of a listener that is not a proxy.
    pub(super) async fn serve<S: LocalStream>(self, socket: S, from: String) {
        if let Some(to) = self.to.clone() {
            self.carry(ClientConnection::new(socket, from, None), to).await;
        }
    }

    async fn carry<S: LocalStream>(&self, connection: ClientConnection<S>, to: Asked) {
        match (self.dial)(to, connection.from.clone()).await {
            Ok(stream) => {
                let linger = Some(connection.linger(self.linger));
                connection.carry(stream, linger, &self.traffic).await;
            }
            Err(why) => connection.reject(why).await,
        }
    }
}
