//! The websocket: dialling it (proxy, TLS, signed upgrade) and moving whole messages in and out.
//!
//! Knows bytes and hosts, not what the messages mean. Every function of [`Websocket`] is cancel-safe, so that one
//! select loop can drive it. Credentials come with each dial, since they may have changed since the last one.

mod dial;
mod host;
mod tls;
mod websocket;

pub use self::dial::{DialError, Dialer, Signer};
pub use self::host::{HostError, StreamHosts, StreamUrl};
pub use self::tls::{Bundle, BundleError, Roots, TlsError};
pub use self::websocket::{Lost, Websocket, WebsocketEvent};
