//! A key that is made for one connection, and the user's own public key that is offered first.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::agent::{AgentError, Public, SshAgent};
use super::candidate::gather;
use super::error::KeyProblem;
use super::settings::HopSettings;

/// The comment of the key, so that `ssh-add -l` shows whose it is.
const COMMENT: &str = "fumidai";

/// Time limit for an answer of the agent: it runs on this machine.
const AGENT_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// Reads a key from the text of a file that [`OwnKey::text`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let key = PrivateKey::from_openssh(text).ok()?;
        matches!(key.key_data(), KeypairData::Ed25519(_)).then(|| Self(Arc::new(key)))
    }

    /// Returns the private key in the format of OpenSSH's files.
    pub fn text(&self) -> Zeroizing<String> {
        self.0.to_openssh(LineEnding::LF).expect("an ed25519 key can be written")
    }

    /// Returns the public half as a line of authorized_keys.
    pub fn public_line(&self) -> String {
        line_of(self.0.public_key())
    }

    /// Gives the key to an agent, which removes it by itself after `lifetime`.
    ///
    /// # Errors
    /// [`KeyProblem::Agent`]
    pub async fn add_to_agent(&self, socket: &Path, lifetime: Duration) -> Result<(), KeyProblem> {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let add = async { SshAgent::connect(socket).await?.add(self.pair(), COMMENT, seconds).await };
        let added = timeout(AGENT_TIMEOUT, add).await.unwrap_or(Err(AgentError::Timeout));
        added.map_err(|error| KeyProblem::Agent { socket: socket.to_owned(), reason: error.to_string() })
    }

    /// Removes the key from an agent.
    ///
    /// # Errors
    /// [`KeyProblem::Agent`]
    pub async fn remove_from_agent(&self, socket: &Path) -> Result<(), KeyProblem> {
        let remove = async { SshAgent::connect(socket).await?.remove(&self.blob()).await };
        let removed = timeout(AGENT_TIMEOUT, remove).await.unwrap_or(Err(AgentError::Timeout));
        removed.map_err(|error| KeyProblem::Agent { socket: socket.to_owned(), reason: error.to_string() })
    }

    pub(super) fn private(&self) -> &PrivateKey {
        &self.0
    }

    pub(super) fn public(&self) -> Public {
        Public::Key(self.0.public_key().clone())
    }

    fn blob(&self) -> Vec<u8> {
        self.0.public_key().to_bytes().expect("an ed25519 key can be written")
    }

    fn pair(&self) -> &Ed25519Keypair {
        self.0.key_data().ed25519().expect("every key of this type is ed25519")
    }
}

/// Returns the first of the user's keys that a login offers and that EC2 Instance Connect takes, as a line of
/// authorized_keys. The second value is what is wrong with keys that cannot be used.
pub async fn first_public_key(settings: &HopSettings) -> (Option<String>, Vec<KeyProblem>) {
    let mut problems = Vec::new();
    let keys = match &settings.agent {
        Some(socket) => {
            let list = async { SshAgent::connect(socket).await?.keys().await };
            timeout(AGENT_TIMEOUT, list).await.unwrap_or(Err(AgentError::Timeout)).unwrap_or_default()
        }
        None => Vec::new(),
    };
    let candidates = gather(settings, keys, &mut problems);
    let line = candidates.iter().find_map(|candidate| match &candidate.public {
        Public::Key(key) if is_taken(&key.algorithm()) => Some(line_of(key)),
        Public::Key(_) | Public::Certificate(_) => None,
    });
    (line, problems)
}

/// EC2 Instance Connect takes RSA and ed25519 keys; it refuses keys on hardware tokens.
fn is_taken(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Ed25519) || algorithm.clone().is_rsa()
}

/// The comment is not the user's: it may be a mail address.
fn line_of(key: &PublicKey) -> String {
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
    }

    #[test]
    fn two_keys_are_different() {
        let line = || OwnKey::generate().expect("random bytes").public_line();
        assert_ne!(line(), line());
    }
}
