//! The driver's random source: the system's and not the TLS library's, which takes 60 ms to seed. Identifiers and jitter
//! need no more.

/// Fills a slice.
pub(super) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system has a random source");
}

/// A number from 0 to 1.
pub(super) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
