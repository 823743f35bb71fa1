//! Appends a new host to a known_hosts file, in OpenSSH's format.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use aws_lc_rs::rand;
use russh::keys::PublicKey;

use super::known_hosts::{SALT_LENGTH, hashed_name};

/// Returns true if OpenSSH reads a host or alias (without its port) literally: not as a pattern, a marker, a list of
/// names, or a second line.
pub(super) fn is_plain(host: &str) -> bool {
    let is_special = |c: char| "@!?*#[]|'\"\\,".contains(c) || c.is_whitespace() || c.is_control();
    !host.is_empty() && !host.contains(is_special)
}

/// Appends one line. Creates the file (mode 0600) and its folder (mode 0700) if they do not exist.
///
/// # Errors
/// The file cannot be written.
pub(super) fn append(file: &Path, name: &str, key: &PublicKey, is_hashed: bool) -> io::Result<()> {
    let host = if is_hashed { hashed_name(&salt()?, name) } else { name.to_owned() };
    let public = PublicKey::from(key.key_data().clone()).to_openssh().map_err(io::Error::other)?;
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        make_folder(folder)?;
    }
    let mut file = open(file)?;
    let before = if lacks_final_newline(&mut file)? { "\n" } else { "" };
    file.write_all(format!("{before}{host} {}\n", public.trim_end()).as_bytes())
}

fn salt() -> io::Result<[u8; SALT_LENGTH]> {
    let mut salt = [0; SALT_LENGTH];
    rand::fill(&mut salt).map_err(|_| io::Error::other("the random number generator failed"))?;
    Ok(salt)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn open(file: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

fn lacks_final_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn a_new_file_is_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".ssh/known_hosts");
        append(&file, "app", &KEY.parse().unwrap(), false).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("app {KEY}\n"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_name_with_special_characters_is_not_plain() {
        for name in ["app", "app.example", "10.0.0.1", "fe80::1%eth0", "büro", "a_b-c"] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "", "*", "a?", "@revoked", "#a", "[a]", "|1|a", "a,b", "!a", "a b", "a\nb", "a\u{7f}", "'a",
            "\"", "\\",
        ] {
            assert!(!is_plain(name), "{name:?}");
        }
    }

    #[test]
    fn a_missing_final_newline_is_added() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        fs::write(&file, "# mine").unwrap();
        append(&file, "app", &KEY.parse().unwrap(), true).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# mine\n|1|") && text.ends_with(&format!(" {KEY}\n")), "{text}");
    }
}
