//! The agent's side of smux, version 1: frames and the server's half of a session.
//!
//! Written from docs/protocol.md ("multiplexed forwarding") and apart from the client's side, so that a mistake in one
//! is not mirrored in the other. A value without I/O, like the agent around it.

pub mod frame;
mod inlet;
pub mod keep_alive;
mod outlet;
pub mod server;

pub use self::server::{SmuxServer, StreamAction};
