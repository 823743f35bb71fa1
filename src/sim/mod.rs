//! The simulated service, agent and host: a product of its own, and what the tests stand on.
//!
//! [`agent`] and [`link`] are values without I/O, driven on virtual time by the protocol's tests. It was written from
//! `docs/protocol.md` and shares no code with the client's side ([`crate::channel`]), so that a mistake in one is not
//! mirrored in the other.

pub mod agent;
pub mod dice;
pub mod link;
