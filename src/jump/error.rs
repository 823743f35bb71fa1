//! The errors of a hop: one variant for each cause, as data.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::certificate::CertificateFault;

/// Why a hop cannot be used. Texts from a server are untrusted.
#[derive(Debug, Error)]
pub enum JumpError {
    /// Authentication failed: check the user name, the offered keys (`problems` lists those that were not offered),
    /// and the server's authorized_keys.
    #[error(transparent)]
    Auth(Box<LoginFailure>),
    /// known_hosts has no entry for the host: log in once with ssh and compare the fingerprint, or set
    /// `StrictHostKeyChecking accept-new`.
    #[error("the host key of `{}` is not known: {} {}", .facts.host, .facts.kind, .facts.fingerprint)]
    HostKeyUnknown {
        /// The offered key.
        facts: Box<HostKeyFacts>,
    },
    /// known_hosts lists another key: the host was reinstalled, or the connection is intercepted. Ask the host's
    /// administrator; then `ssh-keygen -R HOST` removes the line.
    #[error(
        "the host key of `{}` has changed: {} {}, but {}:{line} lists another key",
        .facts.host, .facts.kind, .facts.fingerprint, file.display()
    )]
    HostKeyChanged {
        /// The offered key.
        facts: Box<HostKeyFacts>,
        /// The known_hosts file with the other key.
        file: PathBuf,
        /// The line in that file, counted from 1.
        line: usize,
    },
    /// The source of the host's keys has other keys: the host's keys were replaced, or the connection is intercepted.
    #[error(
        "the host key of `{}` has changed: {} {}, but {source_of_keys} has {}",
        .facts.host, .facts.kind, .facts.fingerprint, list(known)
    )]
    HostKeyOfSource {
        /// The offered key.
        facts: Box<HostKeyFacts>,
        /// The source in words.
        source_of_keys: String,
        /// The keys of the source: types and fingerprints.
        known: Vec<String>,
    },
    /// The `KnownHostsCommand` of ssh_config did not print keys: run it by hand.
    #[error("`KnownHostsCommand` of `{hop}` failed: {reason}")]
    KnownHostsCommand {
        /// The hop's name as typed.
        hop: String,
        /// The cause, or the last line of the command: untrusted.
        reason: String,
    },
    /// The key, or the authority that signed it, is revoked: do not connect.
    #[error(
        "the host key of `{}` is revoked: {} {}, {}",
        .facts.host, .facts.kind, .facts.fingerprint, place(file, *line)
    )]
    HostKeyRevoked {
        /// The offered key.
        facts: Box<HostKeyFacts>,
        /// The file that revokes it.
        file: PathBuf,
        /// The line in that file, counted from 1; `None` for a key revocation list (KRL).
        line: Option<usize>,
    },
    /// The key is refused before known_hosts is consulted; see [`HostKeyFault`].
    #[error("the host key of `{}` is not accepted: {fault}", .facts.host)]
    HostKeyRefused {
        /// The offered key.
        facts: Box<HostKeyFacts>,
        /// The cause.
        fault: HostKeyFault,
    },
    /// A trusted authority signed the host's certificate, but the certificate is not valid; see [`CertificateFault`].
    #[error("the host certificate of `{}` is not accepted: {fault}", .facts.host)]
    HostCertificate {
        /// The offered key.
        facts: Box<HostKeyFacts>,
        /// The cause.
        fault: CertificateFault,
    },
    /// The hop refuses or fails to connect to the next address: check the listener, the firewalls, and the forwarding
    /// settings of the hop's sshd (`AllowTcpForwarding`, `PermitOpen`).
    #[error("`{hop}` cannot open a connection to {host}:{port}: {reason}")]
    ChannelRefused {
        /// The hop that refused.
        hop: String,
        /// The requested host.
        host: String,
        /// The requested port.
        port: u16,
        /// The hop's reason: untrusted.
        reason: String,
    },
    /// The peer is not an ssh server, or supports none of our algorithms: check the port.
    #[error("`{hop}`: {source}")]
    Protocol {
        /// The hop.
        hop: String,
        /// russh's error.
        source: russh::Error,
    },
    /// The stream to the hop failed.
    #[error("`{hop}`: {source}")]
    Io {
        /// The hop.
        hop: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The connection to the hop has ended.
    #[error("the connection to `{hop}` has ended: {ending}")]
    Ended {
        /// The hop.
        hop: String,
        /// The reason.
        ending: Ending,
    },
    /// A step timed out: the hop is overloaded, or a firewall drops packets.
    #[error("`{hop}` did not answer for {} s while {step}", after.as_secs())]
    Timeout {
        /// The hop.
        hop: String,
        /// The step that timed out.
        step: HopStep,
        /// The time limit.
        after: Duration,
    },
}

impl JumpError {
    /// Returns true if the server has no host key of the types that were asked for.
    pub fn is_no_common_host_key(&self) -> bool {
        let Self::Protocol { source, .. } = self else { return false };
        matches!(source, russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, .. })
    }
}

/// A login that the server refused. Texts from the server are untrusted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{user}` cannot log in to `{hop}`: tried {}; the server accepts {}", list(tried), list(offered))]
pub struct LoginFailure {
    /// The hop's name as typed.
    pub hop: String,
    /// The user name on the hop.
    pub user: String,
    /// The attempts, in order: `key ssh-ed25519 SHA256:… (ssh-agent)`, `password`.
    pub tried: Vec<String>,
    /// The authentication methods that the server accepts; empty if it did not list them.
    pub offered: Vec<String>,
    /// The keys that could not be tried.
    pub problems: Vec<KeyProblem>,
    /// The reason if the server closed the connection during the login: usually too many offered keys (set
    /// `IdentitiesOnly`).
    pub disconnected: Option<String>,
}

/// A host key as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyFacts {
    /// The hop's name as typed.
    pub hop: String,
    /// The hop's name in known_hosts.
    pub host: String,
    /// The key's type, such as `ED25519`.
    pub kind: String,
    /// `SHA256:…`.
    pub fingerprint: String,
}

/// Why a host key is refused before known_hosts is consulted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HostKeyFault {
    /// Its algorithm is not allowed by `HostKeyAlgorithms`, or was not negotiated.
    #[error("its algorithm is not allowed")]
    Kind,
    /// The RSA key is too short: install a longer key or another type on the host (`RequiredRSASize`).
    #[error("the RSA key has {bits} bits, but {least} are required")]
    Short {
        /// The length of the key.
        bits: u32,
        /// The required length.
        least: u32,
    },
    /// A file of `RevokedHostKeys` cannot be read or parsed: correct the file.
    #[error("cannot check for revoked keys in `{}`: {reason}", file.display())]
    RevocationUnknown {
        /// The file.
        file: PathBuf,
        /// The cause.
        reason: String,
    },
}

/// Why a key could not be offered, or could not sign.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyProblem {
    /// Other users can read the private key: run `chmod 600` on it.
    #[error("`{}` is ignored: other users can read it", .0.display())]
    TooOpen(PathBuf),
    /// The file does not exist, or cannot be read.
    #[error("cannot read `{}`: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The operating system's error.
        reason: String,
    },
    /// The file is not a supported key or certificate.
    #[error("`{}` is not a valid key or certificate", .0.display())]
    Malformed(PathBuf),
    /// The old encrypted format hides the public key: create the `.pub` file, or convert the key with `ssh-keygen
    /// -p`.
    #[error("`{}` is encrypted and has no `.pub` file", .0.display())]
    NoPublicKey(PathBuf),
    /// The key is encrypted, and the right passphrase was not entered: run `ssh-add` on it.
    #[error("cannot decrypt `{}`: {reason}", file.display())]
    Locked {
        /// The file.
        file: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The key is on a hardware token, which only the ssh-agent can use.
    #[error("`{}` is on a hardware token: add it to the ssh-agent", .0.display())]
    NeedsToken(PathBuf),
    /// `PubkeyAcceptedAlgorithms` or `RequiredRSASize` of ssh_config excludes it.
    #[error("{0}: not allowed by ssh_config")]
    NotAllowed(String),
    /// The server accepts only RSA signatures with SHA-1, which is broken: update the server.
    #[error("{0}: the server accepts only RSA signatures with SHA-1")]
    WeakRsa(String),
    /// The socket has no agent, or the agent's answer is not valid.
    #[error("cannot use the ssh-agent `{}`: {reason}", socket.display())]
    Agent {
        /// The agent's socket.
        socket: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The agent refused to sign: the token was not touched, or the user declined the confirmation.
    #[error("{0}: the ssh-agent refused to sign")]
    AgentRefused(String),
    /// The agent does not support RSA with SHA-2, or is faulty: use another agent.
    #[error("{0}: the ssh-agent signed with another algorithm than requested")]
    AgentSignature(String),
}

/// Why a connection to a hop ended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Ending {
    /// We closed it.
    #[error("it was closed")]
    Closed,
    /// The server sent a disconnect message with this reason: untrusted.
    #[error("the server disconnected: {0}")]
    Disconnected(String),
    /// The stream failed, or the server violated the protocol.
    #[error("{0}")]
    Failed(String),
}

/// A step that can time out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HopStep {
    /// The key exchange.
    KeyExchange,
    /// An answer during the login.
    Login,
    /// The hop's connection to the next address.
    Dial {
        /// The requested host.
        host: String,
        /// The requested port.
        port: u16,
    },
}

impl std::fmt::Display for HopStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KeyExchange => f.write_str("exchanging keys"),
            Self::Login => f.write_str("logging in"),
            Self::Dial { host, port } => write!(f, "connecting to {host}:{port}"),
        }
    }
}

fn place(file: &Path, line: Option<usize>) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{line}", file.display())
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "nothing".to_owned() } else { items.join(", ") }
}
