//! The record: who went where, when and why, as lines that are only ever appended.
//!
//! [`Recorder`] takes entries from a command and writes them in a thread, so that a slow disk holds up no session.
//! [`Store`] is the folder with the files: each line carries the hash of the line before it, across the files that were put
//! aside. [`verify()`] finds the first line that was touched, [`rows`] makes one row of all lines about a session. The layers
//! below emit facts through callbacks and do not know this one.

mod chain;
mod entry;
mod hash;
mod page;
mod process;
mod recorder;
mod rows;
mod store;
mod trail;
mod verify;

pub use self::entry::{Entry, stamp};
pub use self::page::{Page, verdict};
pub use self::process::Fate;
pub use self::recorder::Recorder;
pub use self::rows::{Row, rows};
pub use self::store::{Contents, Store, StoreError};
pub use self::trail::{TRAIL_EVENTS, merge};
#[cfg(test)]
pub use self::verify::Fault;
pub use self::verify::{Touched, verify};

#[cfg(test)]
mod tests;
