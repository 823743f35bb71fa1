//! The process's clocks: no other file reads one.
//!
//! Monotonic time is tokio's, so that a test that pauses it pauses everything.

use std::time::{Instant, SystemTime};

/// Returns the monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the wall-clock time, for signatures and stamps.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}
