//! Verifies a hop's host key: selects the algorithms to negotiate, and decides whether to accept the offered key.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use russh::keys::ssh_key::public::{KeyData, RsaPublicKey};
use russh::keys::{Algorithm, Certificate, PublicKey, PublicKeyOrCertificate};
use russh::{Preferred, compression};

use super::algorithms::{certificate_algorithms, fingerprint, is_same_type, key_algorithms, short_name};
use super::certificate;
use super::error::{HostKeyFacts, HostKeyFault, JumpError};
use super::known_hosts::{Finding, KnownHosts};
use super::known_hosts_command::{OfferedKey, Question as CommandQuestion};
use super::prompt::{Prompter, Question};
use super::settings::{HopSettings, StrictHostKeys};
use super::{known_hosts_file, revoked};

/// Maximum number of times that the question is asked.
const MAX_QUESTIONS: usize = 3;

/// The entries of known_hosts for one hop.
pub(super) struct HostKeys<'a> {
    settings: &'a HopSettings,
    /// The entries of the files.
    known: KnownHosts,
    /// The entries of the files and of `KnownHostsCommand`, before a key is offered.
    ordered: KnownHosts,
    /// The entries for the host without its port, which OpenSSH accepts too.
    portless: Option<KnownHosts>,
}

impl<'a> HostKeys<'a> {
    /// Reads the files, and asks `KnownHostsCommand`. A file that does not exist counts as empty.
    ///
    /// # Errors
    /// [`JumpError::KnownHostsCommand`]
    pub async fn read(settings: &'a HopSettings) -> Result<Self, JumpError> {
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
        let portless = has_port.then(|| about(&settings.host.to_ascii_lowercase()));
        let known = about(&settings.known_as());
        let keys = Self { settings, ordered: known.clone(), known, portless };
        let ordered = keys.with_command(None).await?;
        Ok(Self { ordered, ..keys })
    }

    /// Returns the entries of the files and of `KnownHostsCommand`.
    async fn with_command(&self, offered: Option<&PublicKeyOrCertificate>) -> Result<KnownHosts, JumpError> {
        let mut known = self.known.clone();
        let settings = self.settings;
        let Some(command) = settings.known_hosts_command.as_ref().filter(|_| settings.trusted.is_none())
        else {
            return Ok(known);
        };
        let name = settings.known_as();
        let question = CommandQuestion { name: &name, key: offered.and_then(offered_key) };
        match command.run(&question).await {
            Ok(text) => known.read("KnownHostsCommand".into(), &text, &name),
            Err(reason) => return Err(JumpError::KnownHostsCommand { hop: settings.name.clone(), reason }),
        }
        Ok(known)
    }

    /// Returns the algorithms to negotiate. Known key types come first, so that a host with several keys does not
    /// appear changed. Certificates are requested only if an authority is trusted for the host, or if nothing else is
    /// allowed.
    pub fn preferred(&self) -> Preferred {
        let is_known = |algorithm: &Algorithm| self.is_known_type(algorithm);
        let allowed = &self.settings.host_key_algorithms;
        let (mut keys, others): (Vec<_>, Vec<_>) = key_algorithms(allowed).partition(is_known);
        keys.extend(others);
        let has_authority = self.has_authority();
        let is_wanted = |_: &Algorithm| has_authority || keys.is_empty();
        let certificates: Vec<_> = certificate_algorithms(allowed).filter(is_wanted).collect();
        Preferred {
            key: keys.into(),
            host_key_certificates: certificates.into(),
            compression: (&[compression::NONE]).into(),
            ..Preferred::DEFAULT
        }
    }

    fn is_known_type(&self, algorithm: &Algorithm) -> bool {
        match &self.settings.trusted {
            Some(trusted) => trusted.keys.iter().any(|key| is_same_type(&key.algorithm(), algorithm)),
            None => self.sources().any(|known| known.has_type(algorithm)),
        }
    }

    fn has_authority(&self) -> bool {
        self.settings.trusted.is_none() && self.sources().any(KnownHosts::has_authority)
    }

    /// Describes the key that the hop offers.
    pub fn describe(&self, offered: &PublicKeyOrCertificate) -> Box<HostKeyFacts> {
        self.facts(&match offered {
            PublicKeyOrCertificate::Certificate(certificate) => {
                PublicKey::from(certificate.public_key().clone())
            }
            PublicKeyOrCertificate::PublicKey { key, .. } => key.clone(),
        })
    }

    /// Accepts or refuses the key or certificate that the hop offers.
    pub async fn verify(
        &self,
        offered: &PublicKeyOrCertificate,
        prompter: &dyn Prompter,
    ) -> Result<(), JumpError> {
        self.check_allowed(offered).await?;
        let (settings, portless) = (self.settings, self.portless.clone());
        let known = self.with_command(Some(offered)).await?;
        let all = Self { settings, ordered: KnownHosts::default(), known, portless };
        match offered {
            PublicKeyOrCertificate::Certificate(certificate) => {
                all.verify_certificate(certificate, prompter).await
            }
            PublicKeyOrCertificate::PublicKey { key, .. } => all.verify_key(key, prompter).await,
        }
    }

    /// Refuses revoked keys, and keys whose algorithm or length is not allowed: russh does not check the algorithm
    /// against the negotiated ones.
    async fn check_allowed(&self, offered: &PublicKeyOrCertificate) -> Result<(), JumpError> {
        let (key, is_certificate) = match offered {
            PublicKeyOrCertificate::Certificate(certificate) => (certificate.public_key(), true),
            PublicKeyOrCertificate::PublicKey { key, .. } => (key.key_data(), false),
        };
        let facts = || self.facts(&PublicKey::from(key.clone()));
        match revoked::find(&self.settings.revoked_host_keys, offered).await {
            Ok(Some(place)) => {
                return Err(JumpError::HostKeyRevoked { facts: facts(), file: place.file, line: place.line });
            }
            Ok(None) => {}
            Err(fault) => return Err(JumpError::HostKeyRefused { facts: facts(), fault }),
        }
        let fault = self.fault(key, is_certificate);
        fault.map_or(Ok(()), |fault| Err(JumpError::HostKeyRefused { facts: facts(), fault }))
    }

    fn fault(&self, key: &KeyData, is_certificate: bool) -> Option<HostKeyFault> {
        let (allowed, least) = (&self.settings.host_key_algorithms, self.settings.required_rsa_size);
        let is_it = |algorithm: Algorithm| is_same_type(&algorithm, &key.algorithm());
        let is_allowed = if is_certificate {
            certificate_algorithms(allowed).any(is_it)
        } else {
            key_algorithms(allowed).any(is_it)
        };
        if !is_allowed {
            return Some(HostKeyFault::Kind);
        }
        let bits = key.rsa().map(RsaPublicKey::key_size).filter(|bits| *bits < least)?;
        Some(HostKeyFault::Short { bits, least })
    }

    /// Verifies a certificate as OpenSSH does. If its authority is not trusted, the certificate's key is verified
    /// instead. If it is trusted but the certificate is not valid, only a known key is accepted.
    async fn verify_certificate(&self, cert: &Certificate, prompter: &dyn Prompter) -> Result<(), JumpError> {
        let key = PublicKey::from(cert.public_key().clone());
        match self.find(|known| known.check_authority(cert)) {
            Finding::Revoked(place) => Err(JumpError::HostKeyRevoked {
                facts: self.facts(&key),
                file: place.file,
                line: Some(place.line),
            }),
            Finding::Unknown | Finding::Changed(_) => self.verify_key(&key, prompter).await,
            Finding::Known if self.settings.trusted.is_some() => self.verify_key(&key, prompter).await,
            Finding::Known => {
                let principal = self.settings.principal();
                let signatures = &self.settings.ca_signature_algorithms;
                match certificate::verify(cert, &principal, (self.settings.clock)(), signatures) {
                    Ok(()) => Ok(()),
                    Err(_) if self.find(|known| known.check(key.key_data())) == Finding::Known => Ok(()),
                    Err(fault) => Err(JumpError::HostCertificate { facts: self.facts(&key), fault }),
                }
            }
        }
    }

    async fn verify_key(&self, key: &PublicKey, prompter: &dyn Prompter) -> Result<(), JumpError> {
        let facts = self.facts(key);
        match (self.find(|known| known.check(key.key_data())), &self.settings.trusted) {
            (Finding::Revoked(place), _) => {
                Err(JumpError::HostKeyRevoked { facts, file: place.file, line: Some(place.line) })
            }
            (_, Some(trusted)) => trusted.check(key, &self.settings.name, &self.settings.known_as()),
            (Finding::Known, None) => Ok(()),
            (Finding::Changed(place), None) => {
                Err(JumpError::HostKeyChanged { facts, file: place.file, line: place.line })
            }
            (Finding::Unknown, None) => self.verify_unknown(key, facts, prompter).await,
        }
    }

    async fn verify_unknown(
        &self,
        key: &PublicKey,
        facts: Box<HostKeyFacts>,
        prompter: &dyn Prompter,
    ) -> Result<(), JumpError> {
        let is_accepted = match self.settings.strict {
            StrictHostKeys::Yes => false,
            StrictHostKeys::AcceptNew | StrictHostKeys::No => true,
            StrictHostKeys::Ask => !self.settings.batch_mode && is_confirmed(&facts, prompter).await,
        };
        if !is_accepted {
            return Err(JumpError::HostKeyUnknown { facts });
        }
        if self.settings.keeps_new_hosts {
            self.add_to_known_hosts(key);
        }
        Ok(())
    }

    /// Appends the key to known_hosts. On failure, the login continues and the user is asked again at the next one.
    fn add_to_known_hosts(&self, key: &PublicKey) {
        let Some(file) = self.settings.user_known_hosts.first() else { return };
        let name = self.settings.known_as();
        if !known_hosts_file::is_plain(&self.settings.principal()) {
            tracing::warn!(host = name, "not added to known_hosts: the name has special characters");
            return;
        }
        match known_hosts_file::append(file, &name, key, self.settings.hash_known_hosts) {
            Ok(()) => tracing::info!(host = name, file = %file.display(), "added to known_hosts"),
            Err(error) => {
                tracing::warn!(host = name, file = %file.display(), %error, "cannot add the host to known_hosts");
            }
        }
    }

    fn sources(&self) -> impl Iterator<Item = &KnownHosts> {
        std::iter::once(&self.ordered).chain(&self.portless)
    }

    /// Combines both sets of entries: an entry without the port can accept or revoke a key, but cannot make it
    /// changed.
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
            fingerprint: fingerprint(key),
        })
    }
}

/// Asks the user for one of OpenSSH's three answers: yes, no, or the fingerprint.
async fn is_confirmed(facts: &HostKeyFacts, prompter: &dyn Prompter) -> bool {
    for attempt in 0..MAX_QUESTIONS {
        let question = Question::HostKey {
            host: &facts.host,
            kind: &facts.kind,
            fingerprint: &facts.fingerprint,
            is_retry: attempt > 0,
        };
        let Ok(answer) = prompter.ask(question).await else { return false };
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

/// Returns what `KnownHostsCommand` is told about a key or certificate.
fn offered_key(offered: &PublicKeyOrCertificate) -> Option<OfferedKey> {
    let (kind, key, bytes) = match offered {
        PublicKeyOrCertificate::PublicKey { key, .. } => {
            (key.algorithm().as_str().to_owned(), key.clone(), key.to_bytes().ok()?)
        }
        PublicKeyOrCertificate::Certificate(certificate) => {
            let key = PublicKey::from(certificate.public_key().clone());
            (certificate.algorithm().to_certificate_type(), key, certificate.to_bytes().ok()?)
        }
    };
    Some(OfferedKey { kind, fingerprint: fingerprint(&key), base64: STANDARD.encode(bytes) })
}

fn read_file(file: &Path) -> Option<String> {
    match std::fs::read(file) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "cannot read known_hosts");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::jump::algorithms::ALGORITHMS;
    use crate::jump::{Allowed, LocalUser, NoPrompter};

    const CURVE: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    fn settings() -> HopSettings {
        let local = LocalUser {
            home: Path::new("/nowhere"),
            user: "me",
            agent: None,
            clock: || SystemTime::UNIX_EPOCH,
            variable: &|_| None,
        };
        let mut settings = HopSettings::new("me", "app", 22, &local);
        settings.global_known_hosts = Vec::new();
        settings
    }

    #[tokio::test]
    async fn a_key_of_an_algorithm_that_is_not_allowed_is_refused() {
        let mut settings = settings();
        let offered = PublicKeyOrCertificate::PublicKey { key: CURVE.parse().unwrap(), hash_alg: None };
        let error = HostKeys::read(&settings).await.unwrap().verify(&offered, &NoPrompter).await.unwrap_err();
        assert!(matches!(error, JumpError::HostKeyUnknown { .. }), "{error}");
        settings.host_key_algorithms = Allowed::only("ssh-ed25519,ecdsa-sha2-nistp256-cert-v01@openssh.com");
        let error = HostKeys::read(&settings).await.unwrap().verify(&offered, &NoPrompter).await.unwrap_err();
        assert!(matches!(error, JumpError::HostKeyRefused { fault: HostKeyFault::Kind, .. }), "{error}");
    }

    #[tokio::test]
    async fn only_allowed_algorithms_are_negotiated() {
        let mut settings = settings();
        let all = HostKeys::read(&settings).await.unwrap().preferred();
        assert_eq!((&*all.key, all.host_key_certificates.len()), (&ALGORITHMS[..], 0));
        settings.host_key_algorithms = Allowed::only("rsa-sha2-512,ssh-ed25519-cert-v01@openssh.com");
        let some = HostKeys::read(&settings).await.unwrap().preferred();
        assert_eq!((&*some.key, some.host_key_certificates.len()), (&ALGORITHMS[4..5], 0));
        settings.host_key_algorithms = Allowed::only("ssh-ed25519-cert-v01@openssh.com");
        let certified = HostKeys::read(&settings).await.unwrap().preferred();
        assert_eq!((&*certified.key, &*certified.host_key_certificates), (&[][..], &ALGORITHMS[..1]));
    }
}
