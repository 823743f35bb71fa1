//! Decides about a hop's host key: which kinds are asked for, and whether the offered one is accepted.

use std::path::{Path, PathBuf};

use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Preferred, compression};

use super::ask::{Asker, Question};
use super::certificate;
use super::error::{HostKeyFacts, JumpError};
use super::known_hosts::{Finding, KnownHosts};
use super::remember;
use super::settings::{HopSettings, StrictHostKeys};

/// How often a human may answer neither yes nor no.
const MOST_QUESTIONS: usize = 3;

/// What we can verify and still trust, best first: no DSA, no SHA-1.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// What is known of one hop's keys.
pub(super) struct HostKeys<'a> {
    settings: &'a HopSettings,
    known: KnownHosts,
    /// What is known of the host without its port: OpenSSH accepts that too.
    portless: Option<KnownHosts>,
}

impl<'a> HostKeys<'a> {
    /// Reads the files; one that is not there is empty.
    pub fn read(settings: &'a HopSettings) -> Self {
        let files = settings.user_known_hosts.iter().chain(&settings.global_known_hosts);
        let texts: Vec<(&PathBuf, String)> =
            files.filter_map(|file| Some((file, read_file(file)?))).collect();
        let about = |name: &str| {
            let mut known = KnownHosts::default();
            for (file, text) in &texts {
                known.read((*file).clone(), text, name);
            }
            known
        };
        let has_port = settings.host_key_alias.is_none() && settings.port != 22;
        let portless = has_port.then(|| about(&settings.host.to_lowercase()));
        Self { settings, known: about(&settings.known_as()), portless }
    }

    /// Returns what is negotiated: the types that are known first, so that no host looks changed for having many keys;
    /// certificates only if an authority is trusted for the host.
    pub fn preferred(&self) -> Preferred {
        let is_known = |algorithm: &Algorithm| self.sources().any(|known| known.has_type(algorithm));
        let (mut keys, others): (Vec<_>, Vec<_>) = ALGORITHMS.into_iter().partition(is_known);
        keys.extend(others);
        let has_authority = self.sources().any(KnownHosts::has_authority);
        let certificates = if has_authority { ALGORITHMS.to_vec() } else { Vec::new() };
        Preferred {
            key: keys.into(),
            host_key_certificates: certificates.into(),
            compression: (&[compression::NONE]).into(),
            ..Preferred::DEFAULT
        }
    }

    /// Accepts what the hop offers, or says why not.
    pub async fn judge(&self, offered: &PublicKeyOrCertificate, asker: &dyn Asker) -> Result<(), JumpError> {
        match offered {
            PublicKeyOrCertificate::Certificate(certificate) => {
                self.judge_certificate(certificate, asker).await
            }
            PublicKeyOrCertificate::PublicKey { key, .. } => self.judge_key(key, asker).await,
        }
    }

    /// A certificate that nobody vouches for is worth what its key is worth, as in OpenSSH; a bad one of a trusted
    /// authority only if its key is known.
    async fn judge_certificate(&self, cert: &Certificate, asker: &dyn Asker) -> Result<(), JumpError> {
        let key = PublicKey::from(cert.public_key().clone());
        match self.find(|known| known.check_authority(cert)) {
            Finding::Revoked(place) => {
                Err(JumpError::HostKeyRevoked { facts: self.facts(&key), file: place.file, line: place.line })
            }
            Finding::Unknown | Finding::Changed(_) => self.judge_key(&key, asker).await,
            Finding::Known => {
                let principal = self.settings.principal();
                match certificate::judge(cert, &principal, self.settings.now) {
                    Ok(()) => Ok(()),
                    Err(_) if self.find(|known| known.check(key.key_data())) == Finding::Known => Ok(()),
                    Err(fault) => Err(JumpError::HostCertificate { facts: self.facts(&key), fault }),
                }
            }
        }
    }

    async fn judge_key(&self, key: &PublicKey, asker: &dyn Asker) -> Result<(), JumpError> {
        let facts = self.facts(key);
        match self.find(|known| known.check(key.key_data())) {
            Finding::Known => Ok(()),
            Finding::Revoked(place) => {
                Err(JumpError::HostKeyRevoked { facts, file: place.file, line: place.line })
            }
            Finding::Changed(place) => {
                Err(JumpError::HostKeyChanged { facts, file: place.file, line: place.line })
            }
            Finding::Unknown => self.judge_unknown(key, facts, asker).await,
        }
    }

    async fn judge_unknown(
        &self,
        key: &PublicKey,
        facts: Box<HostKeyFacts>,
        asker: &dyn Asker,
    ) -> Result<(), JumpError> {
        let is_accepted = match self.settings.strict {
            StrictHostKeys::Yes => false,
            StrictHostKeys::AcceptNew | StrictHostKeys::No => true,
            StrictHostKeys::Ask => !self.settings.batch_mode && is_confirmed(&facts, asker).await,
        };
        if !is_accepted {
            return Err(JumpError::HostKeyUnknown { facts });
        }
        self.remember(key);
        Ok(())
    }

    /// A host that cannot be written down is asked about again next time; that is no reason not to go on.
    fn remember(&self, key: &PublicKey) {
        let Some(file) = self.settings.user_known_hosts.first() else { return };
        let name = self.settings.known_as();
        match remember::append(file, &name, key, self.settings.hash_known_hosts) {
            Ok(()) => tracing::info!(host = name, file = %file.display(), "added to the known hosts"),
            Err(error) => {
                tracing::warn!(host = name, file = %file.display(), %error, "cannot be added to the known hosts");
            }
        }
    }

    fn sources(&self) -> impl Iterator<Item = &KnownHosts> {
        std::iter::once(&self.known).chain(&self.portless)
    }

    /// What is known without the port can only help, but for what is revoked.
    fn find(&self, check: impl Fn(&KnownHosts) -> Finding) -> Finding {
        let finding = check(&self.known);
        let portless = self.portless.as_ref().map(check);
        match (&finding, portless) {
            (Finding::Revoked(_), _) => finding,
            (_, Some(revoked @ Finding::Revoked(_))) => revoked,
            (Finding::Unknown, Some(Finding::Known)) => Finding::Known,
            (Finding::Known | Finding::Unknown | Finding::Changed(_), _) => finding,
        }
    }

    fn facts(&self, key: &PublicKey) -> Box<HostKeyFacts> {
        Box::new(HostKeyFacts {
            hop: self.settings.name.clone(),
            host: self.settings.known_as(),
            kind: short_name(&key.algorithm()),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        })
    }
}

/// OpenSSH's three answers: yes, no, or the fingerprint from somewhere else.
async fn is_confirmed(facts: &HostKeyFacts, asker: &dyn Asker) -> bool {
    for attempt in 0..MOST_QUESTIONS {
        let question = Question::HostKey {
            host: &facts.host,
            kind: &facts.kind,
            fingerprint: &facts.fingerprint,
            is_retry: attempt > 0,
        };
        let Ok(answer) = asker.ask(question).await else { return false };
        let answer = answer.reveal().trim();
        if answer.eq_ignore_ascii_case("yes") || answer == facts.fingerprint {
            return true;
        }
        if answer.eq_ignore_ascii_case("no") {
            return false;
        }
    }
    false
}

/// The name that OpenSSH gives a type in its messages.
fn short_name(algorithm: &Algorithm) -> String {
    let name = algorithm.as_str();
    let kind = name.strip_prefix("ssh-").or_else(|| name.strip_suffix("@openssh.com")).unwrap_or(name);
    let kind = if name.starts_with("ecdsa-") { "ecdsa" } else { kind };
    let kind = if name.starts_with("rsa-") { "rsa" } else { kind };
    kind.to_uppercase()
}

fn read_file(file: &Path) -> Option<String> {
    match std::fs::read(file) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "known hosts cannot be read");
            None
        }
    }
}
