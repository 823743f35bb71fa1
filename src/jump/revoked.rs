//! `RevokedHostKeys`: keys that are refused even if known_hosts lists them.
//!
//! As in OpenSSH, a file is a list of public keys or a key revocation list (KRL). A file that cannot be read or
//! parsed revokes every key.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Certificate, PublicKey, PublicKeyOrCertificate};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::child::without_secrets;
use super::error::HostKeyFault;

/// The first bytes of a KRL (PROTOCOL.krl of OpenSSH).
const KRL_MAGIC: &[u8] = b"SSHKRL\n\0";

/// The place that revokes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Revocation {
    pub file: PathBuf,
    /// Counted from 1; `None` for a KRL.
    pub line: Option<usize>,
}

/// Searches all files for a key, or for a certificate's key and its authority's key.
///
/// # Errors
/// A file cannot be read or parsed.
pub(super) async fn find(
    files: &[PathBuf],
    offered: &PublicKeyOrCertificate,
) -> Result<Option<Revocation>, HostKeyFault> {
    for file in files {
        let found = find_in(file, offered).await;
        let found = found.map_err(|error| HostKeyFault::RevocationUnknown {
            file: file.clone(),
            reason: error.to_string(),
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

async fn find_in(file: &Path, offered: &PublicKeyOrCertificate) -> io::Result<Option<Revocation>> {
    let bytes = std::fs::read(file)?;
    let line = if bytes.starts_with(KRL_MAGIC) {
        is_in_krl(file, offered).await?.then_some(None)
    } else {
        line_in(&String::from_utf8_lossy(&bytes), offered)?.map(Some)
    };
    Ok(line.map(|line| Revocation { file: file.to_owned(), line }))
}

fn line_in(text: &str, offered: &PublicKeyOrCertificate) -> io::Result<Option<usize>> {
    let offered = match offered {
        PublicKeyOrCertificate::PublicKey { key, .. } => vec![key.key_data()],
        PublicKeyOrCertificate::Certificate(certificate) => {
            vec![certificate.public_key(), certificate.signature_key()]
        }
    };
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = key_in(line);
        let key = key.ok_or_else(|| io::Error::other(format!("line {number} is not a public key")))?;
        if offered.contains(&&key) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Parses a public key; a certificate in the list revokes its key.
fn key_in(line: &str) -> Option<KeyData> {
    let key = PublicKey::from_openssh(line).map(|key| key.key_data().clone());
    key.or_else(|_| Certificate::from_openssh(line).map(|found| found.public_key().clone())).ok()
}

/// Runs `ssh-keygen -Q`. It exits with 0 for a key that is not revoked, with 1 for a revoked one, else with 255.
async fn is_in_krl(file: &Path, offered: &PublicKeyOrCertificate) -> io::Result<bool> {
    let line = match offered {
        PublicKeyOrCertificate::PublicKey { key, .. } => key.to_openssh(),
        PublicKeyOrCertificate::Certificate(certificate) => certificate.to_openssh(),
    };
    let line = line.map_err(io::Error::other)?;
    let failure = |error: io::Error| io::Error::other(format!("cannot run ssh-keygen: {error}"));
    let mut keygen = Command::new("ssh-keygen");
    keygen.arg("-Q").arg("-f").arg(file).arg("/dev/stdin").kill_on_drop(true);
    keygen.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    without_secrets(&mut keygen);
    let mut keygen = keygen.spawn().map_err(failure)?;
    let mut stdin = keygen.stdin.take().expect("it is piped");
    stdin.write_all(line.as_bytes()).await.map_err(failure)?;
    drop(stdin);
    match keygen.wait().await?.code() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) | None => Err(io::Error::other("ssh-keygen cannot parse it")),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// A folder with keys `host`, `ca` and `other`, and a certificate of `host` by `ca`.
    fn keys() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["host", "ca", "other"] {
            keygen(&folder, &["-q", "-t", "ed25519", "-N", "", "-f", name]);
        }
        keygen(&folder, &["-q", "-s", "ca", "-h", "-I", "host", "-n", "app", "host.pub"]);
        folder
    }

    fn keygen(folder: &tempfile::TempDir, arguments: &[&str]) {
        let status = Command::new("ssh-keygen").current_dir(folder.path()).args(arguments).status();
        assert!(status.unwrap().success(), "{arguments:?}");
    }

    fn offers(folder: &tempfile::TempDir) -> [PublicKeyOrCertificate; 2] {
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        let key = PublicKey::from_openssh(&read("host.pub")).unwrap();
        let certificate = Certificate::from_openssh(&read("host-cert.pub")).unwrap();
        [PublicKeyOrCertificate::PublicKey { key, hash_alg: None }, certificate.into()]
    }

    async fn lines(folder: &tempfile::TempDir, list: &Path) -> Vec<Option<Option<usize>>> {
        let mut lines = Vec::new();
        for offered in offers(folder) {
            let found = find(&[list.to_owned()], &offered).await.unwrap();
            lines.push(found.map(|found| found.line));
        }
        lines
    }

    #[tokio::test]
    async fn a_list_revokes_keys_and_certificates_of_an_authority() {
        let folder = keys();
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        let list = folder.path().join("list");
        for (text, expected) in [
            (read("other.pub"), [None, None]),
            (format!("# no more\n\n  {}{}", read("other.pub"), read("host.pub")), [Some(Some(4)); 2]),
            (read("host-cert.pub"), [Some(Some(1)); 2]),
            (read("ca.pub"), [None, Some(Some(1))]),
        ] {
            fs::write(&list, &text).unwrap();
            assert_eq!(lines(&folder, &list).await, expected, "{text}");
        }
    }

    #[tokio::test]
    async fn a_krl_is_queried_with_ssh_keygen() {
        let folder = keys();
        fs::write(folder.path().join("ids"), "id: host\n").unwrap();
        for (arguments, expected) in [
            (&["other.pub"][..], [None, None]),
            (&["host.pub"][..], [Some(None); 2]),
            (&["ca.pub"][..], [None, Some(None)]),
            (&["-s", "ca.pub", "ids"][..], [None, Some(None)]),
        ] {
            keygen(&folder, &[&["-q", "-k", "-f", "krl"], arguments].concat());
            assert_eq!(lines(&folder, &folder.path().join("krl")).await, expected, "{arguments:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_parsed_is_a_fault() {
        let folder = keys();
        let [key, _] = offers(&folder);
        let file = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).unwrap();
            folder.path().join(name)
        };
        for file in [
            folder.path().join("nothing"),
            file("text", b"not a key\n"),
            file("krl", &[KRL_MAGIC, b"broken"].concat()),
        ] {
            let fault = find(std::slice::from_ref(&file), &key).await.unwrap_err();
            assert!(matches!(fault, HostKeyFault::RevocationUnknown { file: found, .. } if found == file));
        }
    }
}
