//! Selects the keys to offer, in OpenSSH's order.
//!
//! First the certificates of `CertificateFile` and those next to a key file. Then the agent's keys that
//! `IdentityFile` also names, the agent's other keys (not with `IdentitiesOnly`), and the key files that the agent
//! does not have.

use std::path::{Path, PathBuf};

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use zeroize::Zeroizing;

use super::agent::{AgentKey, Public};
use super::error::KeyProblem;
use super::identity::{Identity, Private, read_certificate};
use super::own_key::OwnKey;
use super::settings::HopSettings;

/// A key or certificate to offer, and the location of its private half.
pub(super) struct KeyCandidate {
    pub public: Public,
    pub holder: Holder,
}

/// The location of the private half.
#[derive(Clone)]
pub(super) enum Holder {
    /// The ssh-agent, with its identifier of the key.
    Agent(Vec<u8>),
    /// A file and its text.
    File(PathBuf, Zeroizing<String>),
    /// This process.
    Memory(OwnKey),
}

impl KeyCandidate {
    /// Makes the candidate of a key that is made for the connection.
    pub fn of_own_key(key: &OwnKey) -> Self {
        let public = Public::Key(key.private().public_key().clone());
        Self { public, holder: Holder::Memory(key.clone()) }
    }

    /// Describes the key for messages: `key ssh-ed25519 SHA256:… (ssh-agent)`.
    pub fn describe(&self) -> String {
        let (what, key) = match &self.public {
            Public::Key(key) => ("key", key.clone()),
            Public::Certificate(certificate) => {
                ("certificate", PublicKey::from(certificate.public_key().clone()))
            }
        };
        let place = match &self.holder {
            Holder::Agent(_) => "ssh-agent".to_owned(),
            Holder::File(file, _) => file.display().to_string(),
            Holder::Memory(_) => "made for this connection".to_owned(),
        };
        let kind = key.algorithm();
        format!("{what} {} {} ({place})", kind.as_str(), key.fingerprint(HashAlg::Sha256))
    }

    pub fn key_data(&self) -> &KeyData {
        self.public.key_data()
    }

    /// Returns the signature algorithm; `hash` is for RSA.
    pub fn signature_algorithm(&self, hash: Option<HashAlg>) -> Algorithm {
        let algorithm = self.key_data().algorithm();
        if algorithm.clone().is_rsa() { Algorithm::Rsa { hash } } else { algorithm }
    }

    /// Returns the name of the algorithm in the offer.
    pub fn offered_algorithm(&self, hash: Option<HashAlg>) -> String {
        let algorithm = self.signature_algorithm(hash);
        match &self.public {
            Public::Key(_) => algorithm.as_str().to_owned(),
            Public::Certificate(_) => algorithm.to_certificate_type(),
        }
    }
}

impl Public {
    pub fn key_data(&self) -> &KeyData {
        match self {
            Self::Key(key) => key.key_data(),
            Self::Certificate(certificate) => certificate.public_key(),
        }
    }
}

/// Reads the files and returns all candidates in order.
pub(super) fn gather(
    settings: &HopSettings,
    agent: Vec<AgentKey>,
    problems: &mut Vec<KeyProblem>,
) -> Vec<KeyCandidate> {
    let identities = read_identities(&settings.identity_files, problems);
    let certificates = read_certificates(&settings.certificate_files, problems);
    let mut candidates = named_certificates(&identities, certificates, &agent);
    let is_named = |key: &AgentKey| {
        identities.iter().any(|identity| identity.public.key_data() == key.public.key_data())
    };
    let is_offered = |candidates: &[KeyCandidate], key: &AgentKey| {
        let same = |candidate: &&KeyCandidate| candidate.key_data() == key.public.key_data();
        candidates.iter().filter(same).any(|candidate| is_same_kind(&candidate.public, &key.public))
    };
    let in_agent: Vec<KeyData> = agent.iter().filter_map(plain_key).collect();
    let (named, others): (Vec<_>, Vec<_>) = agent.into_iter().partition(is_named);
    let others = if settings.identities_only { Vec::new() } else { others };
    for key in named.into_iter().chain(others) {
        if !is_offered(&candidates, &key) {
            candidates.push(KeyCandidate { public: key.public, holder: Holder::Agent(key.blob) });
        }
    }
    for identity in identities {
        if in_agent.contains(identity.public.key_data()) {
            continue;
        }
        match identity.private {
            Private::Text(text) => candidates.push(KeyCandidate {
                public: Public::Key(identity.public),
                holder: Holder::File(identity.file, text),
            }),
            Private::Unusable(problem) => record(problem, problems),
            Private::AgentOnly => {}
        }
    }
    candidates
}

fn plain_key(key: &AgentKey) -> Option<KeyData> {
    match &key.public {
        Public::Key(public) => Some(public.key_data().clone()),
        Public::Certificate(_) => None,
    }
}

fn is_same_kind(one: &Public, other: &Public) -> bool {
    match (one, other) {
        (Public::Key(_), Public::Key(_)) => true,
        (Public::Certificate(one), Public::Certificate(other)) => one.signature() == other.signature(),
        (Public::Key(_), Public::Certificate(_)) | (Public::Certificate(_), Public::Key(_)) => false,
    }
}

/// Returns the certificates whose private half is in the agent or in a file.
fn named_certificates(identities: &[Identity], named: Vec<Public>, agent: &[AgentKey]) -> Vec<KeyCandidate> {
    let beside = identities.iter().filter_map(|identity| identity.certificate.clone());
    let certificates = named.into_iter().chain(beside.map(Public::Certificate));
    let mut candidates: Vec<KeyCandidate> = Vec::new();
    for public in certificates {
        if let Some(holder) = holder_of(public.key_data(), identities, agent)
            && !candidates.iter().any(|candidate| is_same_kind(&candidate.public, &public))
        {
            candidates.push(KeyCandidate { public, holder });
        }
    }
    candidates
}

fn holder_of(key: &KeyData, identities: &[Identity], agent: &[AgentKey]) -> Option<Holder> {
    let in_agent = agent.iter().find(|held| plain_key(held).as_ref() == Some(key));
    if let Some(held) = in_agent {
        return Some(Holder::Agent(held.blob.clone()));
    }
    let identity = identities.iter().find(|identity| identity.public.key_data() == key)?;
    match &identity.private {
        Private::Text(text) => Some(Holder::File(identity.file.clone(), text.clone())),
        Private::Unusable(_) | Private::AgentOnly => None,
    }
}

fn read_identities(files: &[PathBuf], problems: &mut Vec<KeyProblem>) -> Vec<Identity> {
    let mut identities: Vec<Identity> = Vec::new();
    for file in files {
        match Identity::read(file) {
            Ok(Some(identity)) => {
                let is_new = |known: &Identity| known.public.key_data() != identity.public.key_data();
                if identities.iter().all(is_new) {
                    identities.push(identity);
                }
            }
            Ok(None) => {}
            Err(problem) => record(problem, problems),
        }
    }
    identities
}

fn read_certificates(files: &[PathBuf], problems: &mut Vec<KeyProblem>) -> Vec<Public> {
    let mut read = |file: &Path| match read_certificate(file) {
        Ok(Some(certificate)) => Some(Public::Certificate(certificate)),
        Ok(None) => {
            let reason = "the file does not exist".to_owned();
            record(KeyProblem::Unreadable { file: file.to_owned(), reason }, problems);
            None
        }
        Err(problem) => {
            record(problem, problems);
            None
        }
    };
    files.iter().filter_map(|file| read(file)).collect()
}

fn record(problem: KeyProblem, problems: &mut Vec<KeyProblem>) {
    tracing::warn!(%problem, "key file ignored");
    problems.push(problem);
}
