//! fumidai reaches servers through AWS Systems Manager Session Manager: it speaks the data channel's protocol
//! itself, so that `ssh i-0123…` works with no open port 22, no AWS CLI and no plugin.
//!
//! Folders are layers and arrows only point down this list: `cli`, `config`, `session`, `jump`, `target`, `aws`,
//! `transport`, `channel`, `mux`. The protocol ([`channel`], [`mux`]) is a value that is mutated with `(now, input)`
//! and drained with `poll_*`; it has no clock, socket, randomness or environment. One driver ([`session`]) does
//! the I/O: drain to empty, wait, one mutation, drain to empty. One file (`cli/report.rs`) prints errors.
//!
//! ```text
//! ssh ─stdin─► session::stdio ─► Channel.write(now) ─► outbound: seq, digest, window ─► poll_transmit ─► transport ─TLS─► SSM ─► agent ─► sshd
//! ssh ◄stdout─ session::stdio ◄─ Event::Data ◄─ inbound: digest, order, dedupe, ack ◄─ handle_frame(now) ◄─ transport ◄─ SSM
//! time:       poll_timeout() = (deadline, why) ─► handle_timeout(now)
//! cut:        transport error ─► Channel.detach ─► resume policy ─► aws.resume_session ─► dial ─► Channel.attach ─► replay unacknowledged, same sequence numbers
//! start-up:   args ─► Config ─► Target ─► aws.start_session ─► dial ─► session::run
//! end:        Outcome | SessionError ─► report ─► exit code
//! ```

pub mod aws;
mod cache;
pub mod channel;
pub mod cli;
mod clock;
pub mod config;
mod escape;
pub mod forward;
pub mod jump;
pub mod mux;
pub mod names;
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
pub mod transport;
