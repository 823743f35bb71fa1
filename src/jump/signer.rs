//! Signs with a key that the server has accepted: a passphrase is requested only for such a key.

use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKey};
use russh::{SendError, Signer};
use thiserror::Error;

use super::agent::{SshAgent, put, take};
use super::candidate::{Holder, KeyCandidate};
use super::error::KeyProblem;
use super::identity::unlock;
use super::pausable_timer::PausableTimer;
use super::prompt::Prompter;

/// Flags of the agent's sign request that select RSA with SHA-2.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Signs for one candidate.
pub(super) struct KeySigner<'a> {
    pub candidate: &'a KeyCandidate,
    pub agent: Option<&'a mut SshAgent>,
    /// `None` in batch mode.
    pub prompter: Option<&'a dyn Prompter>,
    pub timer: &'a PausableTimer,
}

/// Why signing failed.
#[derive(Debug, Error)]
pub(super) enum SignError {
    /// The connection has closed; [`Shared::ending`](super::handler::Shared::ending) has the reason.
    #[error("the connection is closed")]
    Closed,
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyProblem),
}

impl From<SendError> for SignError {
    fn from(_: SendError) -> Self {
        Self::Closed
    }
}

impl Signer for KeySigner<'_> {
    type Error = SignError;

    /// Pauses the timer, since the user may have to type a passphrase or touch a token.
    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let _paused = self.timer.pause();
        let signature = match &self.candidate.holder {
            Holder::Agent(blob) => self.by_agent(&blob.clone(), &to_sign, hash).await?,
            Holder::Memory(key) => {
                let broken = || KeyProblem::AgentRefused(self.candidate.describe());
                sign(key.private(), &to_sign, hash).ok_or_else(broken)?
            }
            Holder::File(file, text) => {
                let key = unlock(file, text, self.prompter).await?;
                sign(&key, &to_sign, hash).ok_or_else(|| KeyProblem::Malformed(file.clone()))?
            }
        };
        put(&mut to_sign, &signature);
        Ok(to_sign)
    }
}

impl KeySigner<'_> {
    async fn by_agent(
        &mut self,
        blob: &[u8],
        data: &[u8],
        hash: Option<HashAlg>,
    ) -> Result<Vec<u8>, KeyProblem> {
        let flags = match hash {
            Some(HashAlg::Sha256) => RSA_SHA2_256,
            Some(HashAlg::Sha512) => RSA_SHA2_512,
            Some(_) | None => 0,
        };
        let refused = || KeyProblem::AgentRefused(self.candidate.describe());
        let agent = self.agent.as_mut().ok_or_else(refused)?;
        let signature = agent.sign(blob, data, flags).await.map_err(|error| {
            tracing::debug!(%error, "the ssh-agent failed to sign");
            refused()
        })?;
        let algorithm = self.candidate.signature_algorithm(hash);
        if take(&mut &signature[..]) != Some(algorithm.as_str().as_bytes()) {
            return Err(KeyProblem::AgentSignature(self.candidate.describe()));
        }
        Ok(signature)
    }
}

fn sign(key: &PrivateKey, data: &[u8], hash: Option<HashAlg>) -> Option<Vec<u8>> {
    let signature: Signature = if let KeypairData::Rsa(pair) = key.key_data() {
        (pair, hash).try_sign(data).ok()?
    } else {
        key.try_sign(data).ok()?
    };
    let mut encoded = Vec::new();
    signature.encode(&mut encoded).ok()?;
    Some(encoded)
}

#[cfg(test)]
mod tests {
    use russh::keys::PublicKey;

    use super::*;
    use crate::jump::agent::Public;
    use crate::jump::agent::tests::answering;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC4ipdMjJdk4+YUQwrnonsgHqVv9UZNu9wWONXCBxW3WoQaT5fwDOwcDeNS5Htunh/3g7wTPmX4D4d9UAhuGD9OuuDewD+anAwJUplj/VekB4bQOjl7GNAJyYPQOMKLgMWmB+W3r57cdv6izsKuLca2ilP0ihlf5CbKGEbAR8s2OQ==";

    #[tokio::test]
    async fn an_agent_must_sign_with_the_requested_algorithm() {
        let sha512 = Some(HashAlg::Sha512);
        for (key, hash, signed, is_right) in [
            (ED25519, None, "ssh-ed25519", true),
            (ED25519, None, "ssh-rsa", false),
            (RSA, sha512, "rsa-sha2-512", true),
            (RSA, sha512, "rsa-sha2-256", false),
            (RSA, sha512, "ssh-rsa", false),
        ] {
            let (mut signature, mut answer) = (Vec::new(), vec![14]);
            put(&mut signature, signed.as_bytes());
            put(&mut answer, &signature);
            let mut agent = answering(answer);
            let public = Public::Key(key.parse::<PublicKey>().unwrap());
            let candidate = KeyCandidate { public, holder: Holder::Agent(Vec::new()) };
            let timer = PausableTimer::default();
            let mut signer =
                KeySigner { candidate: &candidate, agent: Some(&mut agent), prompter: None, timer: &timer };
            let result = signer.by_agent(b"key", b"data", hash).await;
            let expected =
                if is_right { Ok(signature) } else { Err(KeyProblem::AgentSignature(candidate.describe())) };
            assert_eq!(result, expected, "{signed}");
        }
    }
}
