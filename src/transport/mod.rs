//! Connections to AWS: the proxy, TLS; and the websocket, which is dialled with a signed upgrade and carries whole messages.
//!
//! Messages are opaque bytes here. Every function of [`Websocket`] is cancel-safe, so that one select loop can drive
//! it. The caller passes credentials with each dial, since they may have changed since the last one.

mod attempts;
mod connect;
mod connect_error;
mod dial;
mod foreign;
mod host;
mod io;
mod issuer;
mod no_proxy;
mod proxy;
mod rationed;
mod socks;
mod tls;
mod tunnel;
mod websocket;

pub use self::connect::Connector;
pub use self::connect_error::{ConnectError, ConnectFault};
pub use self::dial::{DialError, Dialer, Signer};
pub use self::foreign::ForeignAnswer;
pub use self::host::{HostError, StreamHosts};
pub use self::io::Io;
pub use self::issuer::Issuer;
#[cfg(test)]
pub use self::proxy::ProxyProblem;
pub use self::proxy::{Proxies, Proxy, ProxySettingError};
pub use self::rationed::Rationed;
#[cfg(test)]
pub use self::tls::TlsError;
pub use self::tls::{Bundle, Roots, TlsFault};
pub use self::websocket::{Lost, Websocket, WebsocketEvent};

#[cfg(test)]
pub(crate) mod tests;
