//! What must be seen by nobody: passwords, passphrases, answers.

use std::fmt;

use zeroize::Zeroizing;

/// A text that is wiped when dropped, and that no log shows.
///
/// Only what is ours is wiped. russh is given passwords and answers as strings of its own, which nobody wipes once they
/// are sent; and what an askpass program prints may have been copied while it was read.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".to_owned())), "Secret(…)");
    }
}
