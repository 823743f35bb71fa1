//! A client of the ssh-agent protocol (draft-ietf-sshm-ssh-agent): the three requests that a login needs, and those that
//! lend the agent a key for a time.
//!
//! russh's client fails if the agent has a key of an unknown type; this one skips such keys. Private keys never leave
//! the agent, and the agent is never forwarded.

use std::io;
use std::path::Path;

use russh::keys::agent::AgentSessionBinding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{Certificate, PublicKey};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// Message numbers of the protocol.
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const REMOVE_IDENTITY: u8 = 18;
const ADD_ID_CONSTRAINED: u8 = 25;
const EXTENSION: u8 = 27;

/// The constraint of a key that the agent removes after a number of seconds.
const CONSTRAIN_LIFETIME: u8 = 1;

/// Maximum length of a message in bytes, as in OpenSSH's agent.
const MAX_MESSAGE: usize = 256 * 1024;

/// The suffix of a certificate's algorithm name.
const CERTIFICATE_SUFFIX: &[u8] = b"-cert-v01@openssh.com";

/// An open connection to an agent.
pub(super) struct SshAgent {
    stream: Box<dyn AgentStream>,
}

trait AgentStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> AgentStream for S {}

/// A key or certificate of the agent.
pub(super) struct AgentKey {
    pub public: Public,
    /// The agent's identifier of the key.
    pub blob: Vec<u8>,
}

/// A public key or certificate to offer to the server.
#[derive(Clone, Debug)]
pub(super) enum Public {
    Key(PublicKey),
    Certificate(Box<Certificate>),
}

/// Why a request to the agent failed.
#[derive(Debug, Error)]
pub(super) enum AgentError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("unexpected answer")]
    Protocol,
    #[error("request refused")]
    Refused,
    #[error("no answer")]
    Timeout,
}

impl SshAgent {
    #[cfg(unix)]
    pub async fn connect(socket: &Path) -> Result<Self, AgentError> {
        let stream = tokio::net::UnixStream::connect(socket).await?;
        Ok(Self { stream: Box::new(stream) })
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_async, reason = "connects where there are unix sockets")]
    pub async fn connect(_socket: &Path) -> Result<Self, AgentError> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    /// Binds the agent to the ssh session, so that keys with destination constraints can be used.
    pub async fn bind(&mut self, binding: &AgentSessionBinding) -> Result<(), AgentError> {
        let mut request = vec![EXTENSION];
        put(&mut request, b"session-bind@openssh.com");
        put(&mut request, binding.host_key());
        put(&mut request, binding.session_id());
        put(&mut request, binding.signature());
        // Flag `is_forwarding`: false.
        request.push(0);
        self.ask(&request).await
    }

    pub async fn keys(&mut self) -> Result<Vec<AgentKey>, AgentError> {
        let answer = self.call(&[REQUEST_IDENTITIES]).await?;
        let Some((&IDENTITIES_ANSWER, mut rest)) = answer.split_first() else {
            return Err(AgentError::Protocol);
        };
        let count = take_number(&mut rest).ok_or(AgentError::Protocol)?;
        let mut keys = Vec::new();
        for _ in 0..count {
            let blob = take(&mut rest).ok_or(AgentError::Protocol)?.to_vec();
            let _comment = take(&mut rest).ok_or(AgentError::Protocol)?;
            match Public::parse(&blob) {
                Some(public) => keys.push(AgentKey { public, blob }),
                None => tracing::debug!("skipped a key of the ssh-agent: unknown type"),
            }
        }
        Ok(keys)
    }

    /// Returns the signature in wire format: algorithm, bytes, and a hardware token's extra fields.
    pub async fn sign(&mut self, blob: &[u8], data: &[u8], flags: u32) -> Result<Vec<u8>, AgentError> {
        let mut request = vec![SIGN_REQUEST];
        put(&mut request, blob);
        put(&mut request, data);
        request.extend(flags.to_be_bytes());
        let answer = self.call(&request).await?;
        let Some((&SIGN_RESPONSE, mut rest)) = answer.split_first() else {
            return Err(AgentError::Refused);
        };
        Ok(take(&mut rest).ok_or(AgentError::Protocol)?.to_vec())
    }

    /// Adds a key that the agent removes by itself after `lifetime` seconds.
    pub async fn add(
        &mut self,
        key: &Ed25519Keypair,
        comment: &str,
        lifetime: u32,
    ) -> Result<(), AgentError> {
        let mut request = Zeroizing::new(vec![ADD_ID_CONSTRAINED]);
        put(&mut request, b"ssh-ed25519");
        put(&mut request, &key.public.0);
        put(&mut request, &*Zeroizing::new(key.to_bytes()));
        put(&mut request, comment.as_bytes());
        request.push(CONSTRAIN_LIFETIME);
        request.extend(lifetime.to_be_bytes());
        self.ask(&request).await
    }

    /// Removes a key.
    pub async fn remove(&mut self, blob: &[u8]) -> Result<(), AgentError> {
        let mut request = vec![REMOVE_IDENTITY];
        put(&mut request, blob);
        self.ask(&request).await
    }

    /// Sends a request that has no other answer than success or failure.
    async fn ask(&mut self, request: &[u8]) -> Result<(), AgentError> {
        match self.call(request).await?.first() {
            Some(&SUCCESS) => Ok(()),
            Some(_) | None => Err(AgentError::Refused),
        }
    }

    async fn call(&mut self, request: &[u8]) -> Result<Vec<u8>, AgentError> {
        let mut message = Zeroizing::new(Vec::with_capacity(request.len() + 4));
        put(&mut message, request);
        self.stream.write_all(&message).await?;
        self.stream.flush().await?;
        let length = usize::try_from(self.stream.read_u32().await?).map_err(|_| AgentError::Protocol)?;
        if length > MAX_MESSAGE {
            return Err(AgentError::Protocol);
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

impl Public {
    fn parse(blob: &[u8]) -> Option<Self> {
        let mut rest = blob;
        if take(&mut rest)?.ends_with(CERTIFICATE_SUFFIX) {
            return Some(Self::Certificate(Box::new(Certificate::from_bytes(blob).ok()?)));
        }
        Some(Self::Key(PublicKey::from_bytes(blob).ok()?))
    }
}

/// Appends a string of the protocol: its length and its bytes.
pub(super) fn put(message: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("no string of a login is longer than 4 GiB");
    message.extend(length.to_be_bytes());
    message.extend(bytes);
}

/// Removes a string of the protocol from the front.
pub(super) fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An agent that answers one request.
    pub fn answering(answer: Vec<u8>) -> SshAgent {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let length = theirs.read_u32().await.unwrap();
            let mut request = vec![0; length as usize];
            theirs.read_exact(&mut request).await.unwrap();
            let mut message = Vec::new();
            put(&mut message, &answer);
            theirs.write_all(&message).await.unwrap();
        });
        SshAgent { stream: Box::new(ours) }
    }

    #[tokio::test]
    async fn a_key_of_an_unknown_type_is_skipped() {
        let key: PublicKey =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"
                .parse()
                .unwrap();
        let mut strange = Vec::new();
        put(&mut strange, b"ssh-strange");
        let mut answer = vec![IDENTITIES_ANSWER, 0, 0, 0, 2];
        for blob in [strange, key.to_bytes().unwrap()] {
            put(&mut answer, &blob);
            put(&mut answer, b"comment");
        }
        let keys = answering(answer).keys().await.unwrap();
        assert_eq!(keys.len(), 1);
        assert!(matches!(&keys[0].public, Public::Key(found) if *found == key));
    }

    #[tokio::test]
    async fn a_key_is_added_with_its_lifetime() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut agent = SshAgent { stream: Box::new(ours) };
        let key = Ed25519Keypair::from_seed(&[7; 32]);
        let answer = async {
            let mut request = vec![0; 4 + 1 + 15 + 36 + 68 + 5 + 5];
            theirs.read_exact(&mut request).await.unwrap();
            theirs.write_all(&[0, 0, 0, 1, SUCCESS]).await.unwrap();
            request
        };
        let (added, request) = tokio::join!(agent.add(&key, "c", 180), answer);
        assert!(added.is_ok());
        assert_eq!(request[..20], *b"\0\0\0\x82\x19\0\0\0\x0bssh-ed25519");
        assert_eq!(request[20..24], [0, 0, 0, 32]);
        assert_eq!(request[56..60], [0, 0, 0, 64]);
        assert_eq!(request[60..92], [7; 32], "the private half begins with the seed");
        assert_eq!(request[24..56], request[92..124], "and ends with the public half");
        assert_eq!(request[124..], *b"\0\0\0\x01c\x01\0\0\0\xb4", "a comment, and 180 seconds");
    }

    #[tokio::test]
    async fn a_refused_key_is_an_error() {
        let key = Ed25519Keypair::from_seed(&[7; 32]);
        assert!(answering(vec![SUCCESS]).add(&key, "c", 180).await.is_ok());
        assert!(matches!(answering(vec![5]).add(&key, "c", 180).await, Err(AgentError::Refused)));
        assert!(matches!(answering(Vec::new()).remove(b"blob").await, Err(AgentError::Refused)));
    }

    #[tokio::test]
    async fn a_short_answer_is_an_error() {
        let error = answering(vec![IDENTITIES_ANSWER, 0, 0, 0, 9]).keys().await.err().unwrap();
        assert!(matches!(error, AgentError::Protocol));
        let error = answering(vec![5]).sign(b"key", b"data", 0).await.unwrap_err();
        assert!(matches!(error, AgentError::Refused));
    }
}
