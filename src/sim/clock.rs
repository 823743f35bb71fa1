//! The simulator's clocks: the one place of its I/O part that reads them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Returns the Unix time in milliseconds.
#[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the Unix time in seconds.
pub(super) fn unix_s() -> u64 {
    unix_ms() / 1000
}

/// Waits until a deadline; for ever if there is none.
pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
