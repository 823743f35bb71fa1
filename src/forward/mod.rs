//! Forwards: local sockets whose connections are carried by sessions to a destination behind an agent.
//!
//! [`Pool`] owns the sessions to one destination: opened at the first connection, replaced when they are lost, more than
//! one where one is not enough. [`Pools`] keeps those of a SOCKS listener apart, and a [`HopDialer`] has connections made by
//! a hop. [`Listener`] accepts connections. Everything runs on one thread, below a `LocalSet`.

mod choice;
mod connection;

mod half_closed;
mod hop_dialer;
mod listener;
mod peer;
pub mod plan;
mod pool;
mod pools;
mod proxy;
pub mod registry;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::reach::ReachError;

use self::half_closed::HalfClosed;

pub use self::connection::{Linger, Unopened};
pub use self::hop_dialer::{DialHop, HopDialer};
pub use self::listener::{Bind, BindError, Listener, is_leftover_socket};
pub use self::pool::{Pool, PoolSettings, Prepare};
pub use self::pools::{Pools, Upstream};
pub use self::proxy::Asked;

/// What happens to the connections of a forward.
#[derive(Clone, Debug)]
pub enum ForwardEvent {
    /// The destination refused a connection.
    Refused {
        /// The local client's address.
        from: String,
    },
    /// A connection waited too long for a session that works.
    TimedOut {
        /// The local client's address.
        from: String,
        /// How long it waited.
        after: Duration,
    },
    /// A session could not be started, or was lost: its connections are reset.
    SessionFailed {
        /// Why.
        error: Rc<ReachError>,
        /// How many connections were open, or waited for it.
        connections: usize,
    },
    /// A connection through hops could not be opened.
    DialFailed {
        /// The local client's address.
        from: String,
        /// The destination.
        to: Asked,
        /// Why.
        error: Rc<ReachError>,
    },
    /// The name of the target cannot be resolved.
    NameFailed {
        /// Why.
        error: Rc<ReachError>,
    },
    /// What happens to the bastion.
    Life(crate::bastion::LifeEvent),
    /// An event of one session.
    Session(crate::session::Notice),
}

/// What passes through all forwards.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections that are open.
    pub connections: Cell<usize>,
    /// All connections that were accepted.
    pub accepted: Cell<u64>,
    /// Bytes that local clients sent.
    pub sent: Cell<u64>,
    /// Bytes that they received.
    pub received: Cell<u64>,
    /// Connections whose clients have ended their output.
    half_closed: HalfClosed,
}
