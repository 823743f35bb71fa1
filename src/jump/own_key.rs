//! A key that is made for one connection.

use std::fmt;
use std::io;
use std::sync::Arc;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

/// The comment of the key, so that `ssh-add -l` shows whose it is.
pub(super) const COMMENT: &str = "fumidai";

/// An ed25519 key of one connection.
#[derive(Clone)]
pub struct OwnKey(Arc<PrivateKey>);

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnKey(…)")
    }
}

impl OwnKey {
    /// Makes a key.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn generate() -> io::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|error| io::Error::other(error.to_string()))?;
        let mut key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        key.set_comment(COMMENT);
        Ok(Self(Arc::new(key)))
    }

    /// Reads a key from the text of a file that [`OwnKey::text`] wrote; a key of the user is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let key = PrivateKey::from_openssh(text).ok()?;
        let is_ours = key.comment().as_bytes() == COMMENT.as_bytes();
        (is_ours && matches!(key.key_data(), KeypairData::Ed25519(_))).then(|| Self(Arc::new(key)))
    }

    /// Returns the private key in the format of OpenSSH's files.
    pub fn text(&self) -> Zeroizing<String> {
        self.0.to_openssh(LineEnding::LF).expect("an ed25519 key can be written")
    }

    /// Returns the public half as a line of authorized_keys.
    pub fn public_line(&self) -> String {
        line_of(self.0.public_key())
    }

    pub(super) fn private(&self) -> &PrivateKey {
        &self.0
    }

    /// Returns the agent's identifier of the key.
    pub(super) fn blob(&self) -> Vec<u8> {
        self.0.public_key().to_bytes().expect("an ed25519 key can be written")
    }

    pub(super) fn pair(&self) -> &Ed25519Keypair {
        self.0.key_data().ed25519().expect("every key of this type is ed25519")
    }
}

/// Returns a line of authorized_keys. The comment is not the user's: it may be a mail address.
pub(super) fn line_of(key: &PublicKey) -> String {
    let mut key = key.clone();
    key.set_comment(COMMENT);
    key.to_openssh().expect("a public key can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_debug_hides_it() {
        let key = OwnKey::generate().expect("random bytes");
        let again = OwnKey::parse(&key.text()).expect("a key");
        assert_eq!(again.public_line(), key.public_line());
        let line = key.public_line();
        assert!(line.starts_with("ssh-ed25519 AAAA") && line.ends_with(" fumidai"), "{line}");
        assert!(line.len() >= 80, "Instance Connect takes 80 characters and more: {line}");
        assert_eq!(format!("{key:?}"), "OwnKey(…)");
        assert!(OwnKey::parse("no key").is_none());
        let mut users = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
        users.set_comment("me@home");
        assert!(OwnKey::parse(&users.to_openssh(LineEnding::LF).expect("text")).is_none());
    }

    #[test]
    fn two_keys_are_different() {
        let line = || OwnKey::generate().expect("random bytes").public_line();
        assert_ne!(line(), line());
    }
}
