//! Forwards: local sockets whose connections are carried by sessions to a destination behind an agent.
//!
//! [`Pool`] owns the sessions to one destination: opened at the first connection, replaced when they are lost, more than
//! one where one is not enough. [`Pools`] keeps those of a SOCKS listener apart. [`Listener`] takes connections, and
//! [`Incoming`] is one that no session has yet. Everything runs on one thread, below a `LocalSet`.

mod carrier;
mod connection;
mod dialed;
mod incoming;
mod listener;
pub mod plan;
mod pool;
mod pools;
mod proxy;
pub mod registry;
mod streams;
mod tunnel;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::reach::ReachError;

pub use self::connection::Socket;
pub use self::dialed::{Dial, Dialer, Dialing, NotDialed};
pub use self::incoming::{Answer, Incoming};
pub use self::listener::{Bind, BindError, Listener};
pub use self::pool::{Pool, PoolSettings, Prepare};
pub use self::pools::{Pools, Sink};
pub use self::proxy::{Asked, ProxyError};
pub use self::tunnel::tunnel;

/// What happens to the connections of a forward.
#[derive(Clone, Debug)]
pub enum ForwardEvent {
    /// The destination refused a connection.
    Refused {
        /// The application's address.
        from: String,
    },
    /// A connection waited in vain for a session that works.
    TimedOut {
        /// The application's address.
        from: String,
        /// For so long.
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
    /// An event of one session.
    Session(crate::session::Notice),
}

/// What has passed through all forwards.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections that are open.
    pub connections: Cell<usize>,
    /// Bytes that applications sent.
    pub sent: Cell<u64>,
    /// Bytes that were received for them.
    pub received: Cell<u64>,
}

/// What a pool must know of one of its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Status {
    /// Data can flow now.
    is_up: bool,
    /// Data could flow once.
    was_up: bool,
    /// Connections that it has or that wait for it.
    live: usize,
    /// Something waits to be sent, or to be acknowledged.
    is_busy: bool,
    /// It stands still.
    is_stalled: bool,
    /// It cannot take another connection.
    is_full: bool,
    /// The destination has refused a connection.
    was_refused: bool,
    /// It gets no more connections and ends with the last.
    is_retired: bool,
    /// It gets no more connections, since it is about to end.
    is_ending: bool,
}

impl Status {
    /// Tells whether nobody needs it.
    fn is_unused(self) -> bool {
        self.live == 0 && !self.is_busy
    }
}

fn add(cell: &Cell<u64>, bytes: usize) {
    cell.set(cell.get().wrapping_add(bytes as u64));
}
