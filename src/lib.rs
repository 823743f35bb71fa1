//! fumidai connects to servers through AWS Systems Manager Session Manager. It implements the data channel's protocol, so
//! that `ssh i-0123…` works with no open port 22, no AWS CLI and no plugin.
//!
//! Folders are layers; arrows only point down this list, and there are no circles inside a layer (`tests/layers.rs`):
//! `cli`, `doctor`, `audit`, `running`, `forward`, `reach`, `keys`, `bastion`, `route`, `config`, `names`, `session`, `jump`, `aws`, `transport`,
//! `channel` and `mux`. The leaves `cache`, `clock`, `escape`, `private_file`, `region` and `whole_file` are used by all. The protocol (`channel`, `mux`) is a value that is mutated with
//! `(now, input)` and drained with `poll_*`; it has no clock, socket, randomness or environment. One driver (`session`) does
//! the I/O: drain to empty, wait, one mutation, drain to empty. `cli::report` turns errors into words.
//!
//! ```text
//! typed word ─► cli ─► route (pure) ─► reach ─► names ─► aws                                  which machine, which hops
//!                                        ├────► bastion ─► aws                                is it there, who stops it
//!                                        ├────► session ─► aws.start_session ─► transport ─► channel    a stream of bytes
//!                                        ├────► keys ─► aws, jump                             the key to log in with
//!                                        └────► jump (for each hop)                          a stream through a stream
//! connect: relay(stdio, stream)      forward: listener ─► pool ─► a stream for each connection (mux)
//! bytes up:   relay ─► Channel.write(now) ─► outbound: seq, digest, window, pace ─► poll_transmit ─► transport ─TLS─► SSM ─► agent
//! bytes down: relay ◄─ ChannelEvent::Data ◄─ inbound: digest, order, dedupe, ack ◄─ handle_frame(now) ◄─ transport ◄─ SSM ◄─ agent
//! time:       poll_timeout() = (deadline, why) ─► handle_timeout(now)
//! cut:        transport error ─► Channel.detach ─► resume policy ─► aws.resume_session ─► dial ─► Channel.attach ─► replay unacknowledged, same sequence numbers
//! end:        Outcome | typed error ─► audit ─► cli::report ─► exit code
//! ```

mod audit;
mod aws;
mod bastion;
mod cache;
#[doc(hidden)]
pub mod channel;
pub mod cli;
mod clock;
#[doc(hidden)]
pub mod config;
mod doctor;
mod escape;
mod forward;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod fuzz;
#[doc(hidden)]
pub mod jump;
mod keys;
mod mux;
mod names;
mod private_file;
mod reach;
mod region;
#[doc(hidden)]
pub mod route;
mod running;
mod session;
#[cfg(feature = "sim")]
pub mod sim;
mod transport;
mod whole_file;
