//! The websocket: dials it (proxy, TLS, signed upgrade), sends and receives whole messages.
//!
//! Messages are opaque bytes here. Every function of [`Websocket`] is cancel-safe, so that one select loop can drive
//! it. The caller passes credentials with each dial, since they may have changed since the last one.

mod dial;
mod host;
mod tls;
mod websocket;

pub use self::dial::{DialError, Dialer, Signer};
pub use self::host::{HostError, StreamHosts};
#[cfg(test)]
pub use self::tls::TlsError;
pub use self::tls::{Bundle, Roots};
pub use self::websocket::{Lost, Websocket, WebsocketEvent};
