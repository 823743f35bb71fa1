//! The hash of the chain, and of what is recorded but not shown.

use aws_lc_rs::digest::{SHA256, digest};

/// Returns the SHA-256 of a text in hexadecimal.
pub(super) fn hash(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
