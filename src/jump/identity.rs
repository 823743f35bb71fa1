//! The user's key files: reads them, checks their permissions, decrypts them.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use russh::keys::{Algorithm, Certificate, PrivateKey, PublicKey, decode_secret_key};
use zeroize::Zeroizing;

use super::error::KeyProblem;
use super::prompt::{Prompter, Question};

/// Attempts for a passphrase: OpenSSH's default of `NumberOfPasswordPrompts`.
const MAX_PASSPHRASES: usize = 3;

/// One `IdentityFile`.
pub(super) struct Identity {
    pub file: PathBuf,
    pub public: PublicKey,
    pub private: Private,
    /// The certificate in `FILE-cert.pub`.
    pub certificate: Option<Box<Certificate>>,
}

/// The private half of an identity.
pub(super) enum Private {
    /// The text of the file, maybe encrypted.
    Text(Zeroizing<String>),
    /// The file exists, but cannot be used.
    Unusable(KeyProblem),
    /// There is no private key file: only the ssh-agent can sign.
    AgentOnly,
}

impl Identity {
    /// Reads a file; returns `None` if neither it nor its `.pub` file exists. As in OpenSSH, a private key that other
    /// users can read is not used, but still selects the agent's key.
    pub fn read(file: &Path) -> Result<Option<Self>, KeyProblem> {
        let beside = read_public(&with_suffix(file, ".pub"));
        let certificate = read_certificate(&with_suffix(file, "-cert.pub")).ok().flatten();
        let identity = |public, private| {
            let is_on_token = is_on_token(&public);
            let private = if is_on_token {
                Private::Unusable(KeyProblem::NeedsToken(file.to_owned()))
            } else {
                private
            };
            Self { file: file.to_owned(), public, private, certificate }
        };
        let Some((text, metadata)) = read_text(file)? else {
            return Ok(beside.map(|public| identity(public, Private::AgentOnly)));
        };
        // `IdentityFile` may name a public key to select one of the agent's keys.
        if let Ok(public) = PublicKey::from_openssh(&text) {
            return Ok(Some(identity(public, Private::AgentOnly)));
        }
        match public_half(&text).or(beside) {
            Some(public) if is_open_to_others(&metadata) => {
                Ok(Some(identity(public, Private::Unusable(KeyProblem::TooOpen(file.to_owned())))))
            }
            Some(public) => Ok(Some(identity(public, Private::Text(text)))),
            None if is_encrypted(&text) => Err(KeyProblem::NoPublicKey(file.to_owned())),
            None => Err(KeyProblem::Malformed(file.to_owned())),
        }
    }
}

/// Reads a `CertificateFile`.
pub(super) fn read_certificate(file: &Path) -> Result<Option<Box<Certificate>>, KeyProblem> {
    let Some((text, _)) = read_text(file)? else { return Ok(None) };
    let certificate = Certificate::from_openssh(text.trim());
    certificate.map(|found| Some(Box::new(found))).map_err(|_| KeyProblem::Malformed(file.to_owned()))
}

/// Decodes a private key, and asks for the passphrase if it is encrypted.
pub(super) async fn unlock(
    file: &Path,
    text: &Zeroizing<String>,
    prompter: Option<&dyn Prompter>,
) -> Result<PrivateKey, KeyProblem> {
    if !is_encrypted(text) {
        return decode(text.clone(), None).await.ok_or_else(|| KeyProblem::Malformed(file.to_owned()));
    }
    let locked = |reason: &str| KeyProblem::Locked { file: file.to_owned(), reason: reason.to_owned() };
    let prompter = prompter.ok_or_else(|| locked("`BatchMode` allows no prompt"))?;
    for attempt in 0..MAX_PASSPHRASES {
        let question = Question::Passphrase { file, is_retry: attempt > 0 };
        let answer = prompter.ask(question).await.map_err(|error| locked(&error.to_string()))?;
        if answer.reveal().is_empty() {
            return Err(locked("no passphrase was entered"));
        }
        let passphrase = Zeroizing::new(answer.reveal().to_owned());
        if let Some(key) = decode(text.clone(), Some(passphrase)).await {
            return Ok(key);
        }
    }
    Err(locked("wrong passphrase"))
}

/// Decodes on a blocking thread, since deriving a key from a passphrase takes about a second.
async fn decode(text: Zeroizing<String>, passphrase: Option<Zeroizing<String>>) -> Option<PrivateKey> {
    let passphrase = move || {
        let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_str());
        decode_secret_key(&text, passphrase).ok()
    };
    tokio::task::spawn_blocking(passphrase).await.ok().flatten()
}

/// Reads the public half, which OpenSSH's format does not encrypt.
fn public_half(text: &str) -> Option<PublicKey> {
    let key = match PrivateKey::from_openssh(text) {
        Ok(key) => key,
        Err(_) => decode_secret_key(text, None).ok()?,
    };
    Some(key.public_key().clone())
}

fn is_encrypted(text: &str) -> bool {
    match PrivateKey::from_openssh(text) {
        Ok(key) => key.is_encrypted(),
        Err(_) => text.contains("ENCRYPTED"),
    }
}

/// Returns true for a key on a hardware token, which only the ssh-agent can use.
fn is_on_token(key: &PublicKey) -> bool {
    matches!(key.algorithm(), Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
}

fn read_public(file: &Path) -> Option<PublicKey> {
    let (text, _) = read_text(file).ok()??;
    PublicKey::from_openssh(text.trim()).ok()
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Reads a file; returns `None` if it does not exist.
fn read_text(file: &Path) -> Result<Option<(Zeroizing<String>, Metadata)>, KeyProblem> {
    let unreadable =
        |error: io::Error| KeyProblem::Unreadable { file: file.to_owned(), reason: error.to_string() };
    let mut open = match File::open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = Zeroizing::new(String::new());
    open.read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some((text, open.metadata().map_err(unreadable)?)))
}

/// Returns true if other users can access the file. Like OpenSSH, checks only files that the user owns.
#[cfg(unix)]
fn is_open_to_others(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    metadata.uid() == rustix::process::getuid().as_raw() && metadata.mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_metadata: &Metadata) -> bool {
    false
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::jump::prompt::{AnswerFuture, PromptError};
    use crate::jump::secret::Secret;

    struct ScriptedPrompter(&'static [&'static str]);

    impl Prompter for ScriptedPrompter {
        fn ask<'a>(&'a self, question: Question<'a>) -> AnswerFuture<'a> {
            let Question::Passphrase { is_retry, .. } = question else { panic!("{question:?}") };
            let answer = self.0.get(usize::from(is_retry)).copied();
            Box::pin(
                async move { answer.map(|text| Secret::new(text.to_owned())).ok_or(PromptError::NoTerminal) },
            )
        }
    }

    fn read(file: &Path) -> Identity {
        Identity::read(file).unwrap().unwrap()
    }

    fn generate(file: &Path, passphrase: &str, more: &[&str]) {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ecdsa", "-N", passphrase]).args(more).arg("-f").arg(file);
        assert!(keygen.status().expect("ssh-keygen").success());
    }

    #[test]
    fn a_key_that_others_can_read_keeps_only_its_public_half() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        generate(&file, "", &[]);
        assert!(matches!(read(&file).private, Private::Text(_)));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let identity = read(&file);
        assert_eq!(identity.public.key_data(), read(&folder.path().join("id.pub")).public.key_data());
        let Private::Unusable(problem) = identity.private else { panic!("the private half is used") };
        assert_eq!(problem, KeyProblem::TooOpen(file));
    }

    #[test]
    fn a_public_key_alone_is_an_identity_without_a_private_half() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        generate(&file, "", &[]);
        let named = read(&folder.path().join("id.pub"));
        assert!(matches!(named.private, Private::AgentOnly));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(read(&file).public.key_data(), named.public.key_data());
        assert!(Identity::read(&folder.path().join("nothing")).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_passphrase_is_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        for (name, format) in [("new", &[][..]), ("pkcs8", &["-m", "PKCS8"])] {
            let file = folder.path().join(name);
            generate(&file, "secret", format);
            let identity = read(&file);
            let Private::Text(text) = identity.private else { panic!("{name}") };
            let key = unlock(&file, &text, Some(&ScriptedPrompter(&["wrong", "secret"]))).await.unwrap();
            assert_eq!(key.public_key().key_data(), identity.public.key_data(), "{name}");
            assert!(unlock(&file, &text, Some(&ScriptedPrompter(&["wrong", "wrong"]))).await.is_err());
            assert!(unlock(&file, &text, None).await.is_err());
        }
    }
}
