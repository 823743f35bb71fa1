//! The agent's side of smux, version 1: frames and the server's half of a session.
//!
//! It is written from docs/protocol.md ("multiplexed forwarding") and shares no code with the client's side, so that a
//! mistake in one is not mirrored in the other. It does no I/O, like the agent.

pub mod frame;
mod inlet;
pub mod keep_alive;
mod outlet;
pub mod server;

pub use self::server::{SmuxServer, StreamAction};
