//! The simulated service, agent and host: a product of its own, and what the tests stand on.
//!
//! [`Simulator`] plays the SSM API and the message gateway on one loopback port; each session has an [`agent::Agent`],
//! which really connects to the TCP port that was asked for. [`agent`] and [`link`] are values without I/O, driven on
//! virtual time by the protocol's tests. It was written from `docs/protocol.md` and shares no code with the client's
//! side ([`crate::channel`]), so that a mistake in one is not mirrored in the other. It knows no real credentials.

pub mod agent;
mod api;
pub mod cli;
mod clock;
pub mod config;
mod connections;
mod destination;
pub mod dice;
pub mod faults;
mod gateway;
pub mod host;
mod http;
pub mod journal;
pub mod link;
mod listing;
mod mailbox;
mod relay;
mod scratch;
mod service_messages;
pub mod sessions;
mod shared;
pub mod sigv4;
pub mod simulator;
mod stage;
mod tap;

pub use self::config::{OFFLINE_TARGET, ONLINE_TARGET, SimConfig, SimTarget, TlsIdentity};
pub use self::faults::{AgentLoss, Faults};
pub use self::host::Host;
pub use self::journal::{Detach, Event, Journal};
pub use self::sessions::{SessionInfo, SessionState};
pub use self::sigv4::Credentials;
pub use self::simulator::Simulator;

#[cfg(test)]
mod tests;
