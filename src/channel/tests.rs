//! The channel against hand-made frames; against a whole agent over a bad link it is tested in `tests/pair`.

use super::*;

/// Where virtual time starts.
#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to start somewhere, and std has no other instant"
)]
pub(crate) fn start() -> Now {
    Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 }
}
