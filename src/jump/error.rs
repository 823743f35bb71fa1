//! What can go wrong with a hop: one variant for each cause, as data.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::certificate::CertificateFault;

/// Why a hop cannot be used; texts of servers in it are untrusted.
#[derive(Debug, Error)]
pub enum JumpError {
    /// Nothing that we have lets the user in: the user name, the keys offered (`problems` says which were not), or the
    /// server's authorized keys are wrong.
    #[error(transparent)]
    Auth(Box<LoginFailure>),
    /// Nobody has seen this host yet: log in once with ssh and compare the fingerprint, or say `accept-new`.
    #[error("the host key of `{}` is not known: {} {}", .facts.host, .facts.kind, .facts.fingerprint)]
    HostKeyUnknown {
        /// The key.
        facts: Box<HostKeyFacts>,
    },
    /// The host has another key than is written in the file: it was installed anew, or somebody is in between. Ask
    /// whoever runs it; then `ssh-keygen -R HOST` removes the line.
    #[error(
        "the host key of `{}` has changed: {} {}, but {}:{line} has another one",
        .facts.host, .facts.kind, .facts.fingerprint, file.display()
    )]
    HostKeyChanged {
        /// The offered key.
        facts: Box<HostKeyFacts>,
        /// Where the other key is.
        file: PathBuf,
        /// In which line.
        line: usize,
    },
    /// The key, or the authority that signed it, is marked as revoked: do not connect.
    #[error(
        "the host key of `{}` is revoked: {} {}, {}",
        .facts.host, .facts.kind, .facts.fingerprint, place(file, *line)
    )]
    HostKeyRevoked {
        /// The offered key.
        facts: Box<HostKeyFacts>,
        /// Where it is revoked.
        file: PathBuf,
        /// In which line, if the file has lines.
        line: Option<usize>,
    },
    /// The key is not good enough to be looked for among the known ones; its variant says what to do.
    #[error("the host key of `{}` is not accepted: {fault}", .facts.host)]
    HostKeyRefused {
        /// The offered key.
        facts: Box<HostKeyFacts>,
        /// Why.
        fault: HostKeyFault,
    },
    /// A trusted authority signed the host's certificate, but it does not hold; its variant says what to do.
    #[error("the host certificate of `{}` is not accepted: {fault}", .facts.host)]
    HostCertificate {
        /// The offered key.
        facts: Box<HostKeyFacts>,
        /// Why.
        fault: CertificateFault,
    },
    /// The hop will not or cannot connect to the next address: does it listen there, does a firewall stand in between,
    /// does the hop's sshd allow forwarding (`AllowTcpForwarding`, `PermitOpen`)?
    #[error("`{hop}` cannot open a connection to {host}:{port}: {reason}")]
    ChannelRefused {
        /// The hop that refused.
        hop: String,
        /// Where it should have connected to.
        host: String,
        /// At which port.
        port: u16,
        /// Its words, untrusted.
        reason: String,
    },
    /// What answers does not speak ssh, or not as we can: is the port right?
    #[error("`{hop}`: {source}")]
    Protocol {
        /// The hop.
        hop: String,
        /// What is wrong.
        source: russh::Error,
    },
    /// The stream to the hop failed.
    #[error("`{hop}`: {source}")]
    Io {
        /// The hop.
        hop: String,
        /// The system's words.
        source: io::Error,
    },
    /// The connection to the hop is over.
    #[error("the connection to `{hop}` has ended: {ending}")]
    Ended {
        /// The hop.
        hop: String,
        /// How.
        ending: Ending,
    },
    /// A step took too long: the hop is overloaded, or something in between swallows what we send.
    #[error("`{hop}` did not answer for {} s while {step}", after.as_secs())]
    Timeout {
        /// The hop.
        hop: String,
        /// What was done.
        step: HopStep,
        /// How long it took.
        after: Duration,
    },
}

/// A login that the server refused; texts of the server are untrusted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{user}` cannot log in to `{hop}`: tried {}; the server takes {}", list(tried), list(offered))]
pub struct LoginFailure {
    /// What the user calls the hop.
    pub hop: String,
    /// Who tried to log in.
    pub user: String,
    /// What was tried, in order: `key ssh-ed25519 SHA256:… (ssh-agent)`, `password`.
    pub tried: Vec<String>,
    /// The ways that the server takes; none if it did not say.
    pub offered: Vec<String>,
    /// What could not be tried.
    pub problems: Vec<KeyProblem>,
    /// How the connection ended, if the server did not wait for more: mostly that too many keys were tried
    /// (`IdentitiesOnly` helps).
    pub disconnected: Option<String>,
}

/// A host key in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKeyFacts {
    /// What the user calls the hop.
    pub hop: String,
    /// The name that known_hosts has for it.
    pub host: String,
    /// The key's type, such as `ED25519`.
    pub kind: String,
    /// `SHA256:…`.
    pub fingerprint: String,
}

/// Why a host key is refused before anybody looks whether it is known.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HostKeyFault {
    /// It is not of a kind that was asked for: `HostKeyAlgorithms`, or the host does not keep to what was agreed.
    #[error("its kind is not allowed")]
    Kind,
    /// It could be broken: the host needs a longer one, or one of another type (`RequiredRSASize`).
    #[error("it is an RSA key of {bits} bits, and must have {least}")]
    Short {
        /// What it has.
        bits: u32,
        /// What it must have.
        least: u32,
    },
    /// A file of `RevokedHostKeys` cannot be read or understood: mend it.
    #[error("it may be revoked: `{}`: {reason}", file.display())]
    RevocationUnknown {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Why a key could not be tried, or not to the end.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyProblem {
    /// Others may read the private key: `chmod 600` it.
    #[error("`{}` is ignored: others can read it", .0.display())]
    TooOpen(PathBuf),
    /// The file is not there, or may not be read.
    #[error("`{}` cannot be read: {reason}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The file is not a key or certificate that we know.
    #[error("`{}` is not a usable key", .0.display())]
    Malformed(PathBuf),
    /// An old encrypted format hides the public key: put the `.pub` file beside it, or write it anew with
    /// `ssh-keygen -p`.
    #[error("`{}` is encrypted and has no `.pub` file beside it", .0.display())]
    NoPublicKey(PathBuf),
    /// The key is encrypted, and there was no right passphrase: `ssh-add` it.
    #[error("`{}` stays locked: {reason}", file.display())]
    Locked {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key needs its hardware token: it works through the agent.
    #[error("`{}` needs its token: add it to the ssh-agent", .0.display())]
    NeedsToken(PathBuf),
    /// `PubkeyAcceptedAlgorithms` or `RequiredRSASize` of ssh_config rules it out.
    #[error("{0}: ssh_config does not allow it")]
    NotAllowed(String),
    /// The server takes RSA keys with SHA-1 only, which nobody should.
    #[error("{0}: the server takes RSA signatures with SHA-1 only")]
    WeakRsa(String),
    /// There is no agent at that address, or it does not answer properly.
    #[error("the ssh-agent `{}` cannot be used: {reason}", socket.display())]
    Agent {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// The agent refused to sign: the token was not touched, or the confirmation was declined.
    #[error("{0}: the ssh-agent refused to sign")]
    AgentRefused(String),
    /// The agent does not know RSA with SHA-2, or is broken: use another one.
    #[error("{0}: the ssh-agent signed in another way than it was asked to")]
    AgentSignature(String),
}

/// How a connection to a hop ended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Ending {
    /// We ended it.
    #[error("it was closed")]
    Closed,
    /// The server said why, untrusted.
    #[error("the server hung up: {0}")]
    Disconnected(String),
    /// It was cut, or broke the protocol.
    #[error("{0}")]
    Failed(String),
}

/// What was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HopStep {
    /// The exchange of keys.
    KeyExchange,
    /// An answer of the login.
    Login,
    /// Its connection to the next address.
    Dial {
        /// Where.
        host: String,
        /// At which port.
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

fn list(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}
