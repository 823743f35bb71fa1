//! The simulated service, agent and ssh server: a tool for users (`fumidai-sim`), and the test double of fumidai.
//!
//! [`Simulator`] plays the SSM API and the message gateway on one loopback port. Each session has an [`agent::Agent`],
//! which connects to the requested TCP port. [`agent`] and [`link`] are values without I/O, which tests drive on virtual
//! time. The simulator is written from `docs/protocol.md` and shares no code with the client's side
//! ([`crate::channel`]), so that a mistake in one is not mirrored in the other. It uses no real credentials.

mod access_api;
pub mod access_requests;
pub mod agent;
mod api;
mod api_call;
pub mod cli;
mod clock;
pub mod config;
mod connections;
mod exception;
mod fault_stream;
pub mod faults;
mod gateway;
pub mod journal;
pub mod link;
mod listing;
mod relay;
mod relay_handle;
mod response;
pub mod rng;
mod sandbox;
mod scratch_dir;
mod server;
mod service_message;
pub mod sessions;
mod shared;
pub mod sigv4;
pub mod simulator;
pub mod ssh_server;
mod sts;
mod tcp_destination;

pub use self::config::{OFFLINE_TARGET, ONLINE_TARGET, SimConfig, SimTarget, TlsIdentity};
pub use self::faults::{AgentLoss, Faults};
pub use self::journal::{Detach, Journal, SimEvent};
pub use self::sessions::{SessionInfo, SessionState};
pub use self::sigv4::Credentials;
pub use self::simulator::Simulator;
pub use self::ssh_server::SshServer;

#[cfg(test)]
mod tests;
