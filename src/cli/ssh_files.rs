//! The user's ssh_config and the file of ours that it includes.
//!
//! The user's own lines are never touched: one `Include` goes to the very top, and is taken away again as it came. A file
//! is replaced as a whole or not at all, keeps its owner, its mode and its line ends, and is copied before it is edited for
//! the first time. A symbolic link to the user's file stays one; in the place of our own file a link is refused. Only a
//! file with other names, or with an owner that we cannot give, is written in place.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::ssh_config::is_ours;
use crate::whole_file;

/// Our file, in the folder of ssh.
const OURS: &str = "fumidai.config";

/// The copy of the user's file as it was before.
const BACKUP: &str = "config.before-fumidai";

/// Where both files are.
pub(super) struct SshFiles {
    folder: PathBuf,
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Our file was written.
    Written(PathBuf),
    /// The user's file was copied.
    Copied(PathBuf),
    /// The user's file includes ours now.
    Included(PathBuf),
    /// The user's file no longer includes ours.
    Excluded(PathBuf),
    /// A file was removed.
    Removed(PathBuf),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(path) => write!(f, "wrote `{}`", path.display()),
            Self::Copied(path) => write!(f, "copied the previous file to `{}`", path.display()),
            Self::Included(path) => write!(f, "put an Include line at the top of `{}`", path.display()),
            Self::Excluded(path) => write!(f, "removed the Include line from `{}`", path.display()),
            Self::Removed(path) => write!(f, "removed `{}`", path.display()),
        }
    }
}

/// Why nothing was installed, or not all; what was there is whole.
#[derive(Debug, Error)]
pub(super) enum InstallError {
    /// A file stands where ours would go: it must be moved.
    #[error("`{}` is not a file that `fumidai ssh-config` wrote", file.display())]
    NotOurs {
        /// The file.
        file: PathBuf,
    },
    /// An `Include` line cannot hold the path.
    #[error("an Include line cannot hold the path `{}`", file.display())]
    Path {
        /// The path.
        file: PathBuf,
    },
    /// A pipe, a device or a folder stands where the user's file should: it cannot be edited.
    #[error("`{}` is not a regular file", file.display())]
    NotAFile {
        /// The file.
        file: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("`{}`: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SshFiles {
    /// The files of a user.
    pub fn of_home(home: &Path) -> Self {
        Self { folder: home.join(".ssh") }
    }

    /// Returns whether the user's file includes ours.
    pub fn is_installed(&self) -> bool {
        let text = self.config().and_then(|config| read(&config)).ok().flatten();
        text.is_some_and(|text| self.include_in(&text).is_some())
    }

    /// Writes our file and includes it; what is in place already is left alone.
    pub fn install(&self, text: &str) -> Result<Vec<Change>, InstallError> {
        let mut changes = Vec::new();
        let config = self.config()?;
        let include = self.include_line()?;
        self.make_folder()?;
        let ours = self.folder.join(OURS);
        if self.read_ours()?.as_deref() != Some(text.as_bytes()) {
            replace(&ours, text.as_bytes())?;
            changes.push(Change::Written(ours));
        }
        let before = read(&config)?;
        let text = before.clone().unwrap_or_default();
        if self.include_in(&text).is_none() {
            if let Some(copy) = before.and_then(|before| self.back_up(&before).transpose()) {
                changes.push(Change::Copied(copy?));
            }
            replace(&config, &[include.as_bytes(), line_end(&text), &text].concat())?;
            changes.push(Change::Included(config));
        }
        Ok(changes)
    }

    /// Takes the `Include` line and our file away, and the copy too if it says nothing that is not there.
    pub fn uninstall(&self) -> Result<Vec<Change>, InstallError> {
        let mut changes = Vec::new();
        let config = self.config()?;
        let text = read(&config)?.unwrap_or_default();
        if let Some(line) = self.include_in(&text) {
            let rest = [&text[..line.start], &text[line.end..]].concat();
            let backup = self.folder.join(BACKUP);
            let before = read(&backup)?;
            if rest.is_empty() && before.is_none() {
                remove(&config, &mut changes)?;
            } else {
                replace(&config, &rest)?;
                changes.push(Change::Excluded(config));
            }
            if before.as_ref() == Some(&rest) {
                remove(&backup, &mut changes)?;
            }
        }
        if self.read_ours()?.is_some() {
            remove(&self.folder.join(OURS), &mut changes)?;
        }
        Ok(changes)
    }

    /// The file that is edited: the target of the link, if the user keeps the file elsewhere.
    fn config(&self) -> Result<PathBuf, InstallError> {
        let config = self.folder.join("config");
        match config.canonicalize() {
            Ok(real) => Ok(real),
            Err(source) if config.is_symlink() => Err(InstallError::Io { file: config, source }),
            Err(_) => Ok(config),
        }
    }

    fn make_folder(&self) -> Result<(), InstallError> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(&self.folder).map_err(at(&self.folder))
    }

    /// Reads our file, if it is there and ours.
    fn read_ours(&self) -> Result<Option<Vec<u8>>, InstallError> {
        let file = self.folder.join(OURS);
        let is_plain = match fs::symlink_metadata(&file) {
            Ok(metadata) => metadata.is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(InstallError::Io { file, source }),
        };
        let text = if is_plain { read(&file)? } else { None };
        match text.filter(|text| is_ours(text)) {
            Some(text) => Ok(Some(text)),
            None => Err(InstallError::NotOurs { file }),
        }
    }

    /// Copies the user's file, unless there is a copy from before; returns the copy if one was made.
    fn back_up(&self, text: &[u8]) -> Result<Option<PathBuf>, InstallError> {
        let backup = self.folder.join(BACKUP);
        match whole_file::write_new(&backup, text) {
            Ok(()) => Ok(Some(backup)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(source) => Err(InstallError::Io { file: backup, source }),
        }
    }

    /// The whole path: `~` would be the home folder of the password file, which only ssh reads.
    fn include_line(&self) -> Result<String, InstallError> {
        let file = self.folder.join(OURS);
        let text =
            file.to_str().filter(|text| !text.contains(|c: char| c.is_control() || "\"*?[]".contains(c)));
        let Some(text) = text else { return Err(InstallError::Path { file }) };
        // ssh does not treat a backslash as a separator.
        let text = if cfg!(windows) { text.replace('\\', "/") } else { text.to_owned() };
        Ok(if text.contains(' ') { format!("Include \"{text}\"") } else { format!("Include {text}") })
    }

    /// Finds the line that includes our file for every host, however it is written; its end of line is part of it.
    fn include_in(&self, text: &[u8]) -> Option<std::ops::Range<usize>> {
        let mut start = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let end = start + line.len();
            let line = String::from_utf8_lossy(line);
            let (word, rest) = split_word(line.trim());
            match word.to_ascii_lowercase().as_str() {
                "host" | "match" => return None,
                "include" if self.is_our_name(rest) => return Some(start..end),
                _ => start = end,
            }
        }
        None
    }

    fn is_our_name(&self, name: &str) -> bool {
        let name = name.trim_matches('"');
        let name = name.strip_prefix("~/.ssh/").unwrap_or(name);
        self.folder.join(name) == self.folder.join(OURS)
    }
}

/// Splits `Keyword value` or `Keyword=value`.
fn split_word(line: &str) -> (&str, &str) {
    let end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    (word, rest.trim_start_matches(|c: char| c.is_whitespace() || c == '='))
}

fn line_end(text: &[u8]) -> &'static [u8] {
    let first = text.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.ends_with(b"\r\n") { b"\r\n" } else { b"\n" }
}

/// Reads a regular file: opening a named pipe would wait for its writer.
fn read(file: &Path) -> Result<Option<Vec<u8>>, InstallError> {
    if fs::metadata(file).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(InstallError::NotAFile { file: file.to_owned() });
    }
    match fs::read(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(InstallError::Io { file: file.to_owned(), source }),
    }
}

fn remove(file: &Path, changes: &mut Vec<Change>) -> Result<(), InstallError> {
    fs::remove_file(file).map_err(at(file))?;
    changes.push(Change::Removed(file.to_owned()));
    Ok(())
}

/// Puts a whole new file in the place of the old one, with the same owner, group and mode.
fn replace(file: &Path, text: &[u8]) -> Result<(), InstallError> {
    whole_file::replace(file, text).map_err(at(file))
}

fn at(file: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let file = file.to_owned();
    move |source| InstallError::Io { file, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ssh_config::MARK;

    struct Home {
        folder: tempfile::TempDir,
    }

    impl Home {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a temporary folder") }
        }

        fn with_config(text: &[u8]) -> Self {
            let home = Self::new();
            fs::create_dir(home.ssh("")).expect("a folder");
            fs::write(home.ssh("config"), text).expect("a file");
            home
        }

        fn ssh(&self, name: &str) -> PathBuf {
            self.folder.path().join(".ssh").join(name)
        }

        fn files(&self) -> SshFiles {
            SshFiles::of_home(self.folder.path())
        }

        fn install(&self) -> Vec<Change> {
            self.files().install(&text(1)).expect("installed")
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.ssh(name)).expect(name)
        }

        fn include(&self) -> String {
            format!("Include {}", self.ssh(OURS).display())
        }

        /// What is in the folder of ssh.
        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.ssh("")).expect("a folder");
            let mut names: Vec<String> =
                entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect();
            names.sort();
            names
        }
    }

    fn text(version: u32) -> String {
        format!("{MARK}\nHost v{version}\n")
    }

    #[test]
    fn an_empty_home_gets_both_files_and_loses_them_again() {
        let home = Home::new();
        assert_eq!(home.install(), [Change::Written(home.ssh(OURS)), Change::Included(home.ssh("config"))]);
        assert_eq!((home.read(OURS), home.read("config")), (text(1), format!("{}\n", home.include())));
        assert_eq!(home.install(), []);
        let changes = home.files().uninstall().expect("uninstalled");
        assert_eq!(changes, [Change::Removed(home.ssh("config")), Change::Removed(home.ssh(OURS))]);
        assert!(home.names().is_empty());
        assert_eq!(home.files().uninstall().expect("nothing to do"), []);
    }

    #[test]
    fn the_users_lines_stay_as_they_are() {
        for before in ["# mine\nHost a\n    User b", "Host a\r\n    User b\r\n", "", "\nHost *\n"] {
            let home = Home::with_config(before.as_bytes());
            assert_eq!(home.install().len(), 3, "{before:?}");
            let end = if before.contains('\r') { "\r\n" } else { "\n" };
            assert_eq!(home.read("config"), format!("{}{end}{before}", home.include()));
            assert_eq!(home.read(BACKUP), before);
            assert_eq!(home.install(), [], "{before:?}");
            home.files().uninstall().expect("uninstalled");
            assert_eq!(home.read("config"), before);
            assert_eq!(home.names(), ["config"]);
        }
    }

    #[test]
    fn bytes_that_are_no_text_stay_too() {
        let home = Home::with_config(b"# \xff\xfe\nHost a\n");
        home.install();
        home.files().uninstall().expect("uninstalled");
        assert_eq!(fs::read(home.ssh("config")).expect("a file"), b"# \xff\xfe\nHost a\n");
    }

    #[test]
    fn a_newer_text_replaces_ours_only() {
        let home = Home::with_config(b"Host a\n");
        home.install();
        let config = home.read("config");
        assert_eq!(home.files().install(&text(2)).expect("installed"), [Change::Written(home.ssh(OURS))]);
        assert_eq!((home.read(OURS), home.read("config")), (text(2), config));
    }

    #[test]
    fn a_copy_that_says_more_is_kept() {
        let home = Home::with_config(b"Host a\n");
        home.install();
        let edited = format!("{}Host b\n", home.read("config"));
        fs::write(home.ssh("config"), edited).expect("a file");
        home.files().uninstall().expect("uninstalled");
        assert_eq!(home.read("config"), "Host a\nHost b\n");
        assert_eq!(home.read(BACKUP), "Host a\n");
        home.install();
        assert_eq!(home.read(BACKUP), "Host a\n");
    }

    #[test]
    fn an_include_that_holds_for_every_host_is_recognised() {
        for (line, is_there) in [
            ("include fumidai.config\n", true),
            ("  Include=~/.ssh/fumidai.config\n", true),
            ("Include \"fumidai.config\"\r\n", true),
            ("Include other.config\n", false),
            ("Host a\nInclude fumidai.config\n", false),
            ("Match all\nInclude fumidai.config\n", false),
            ("# Include fumidai.config\n", false),
        ] {
            let home = Home::with_config(line.as_bytes());
            home.install();
            assert_eq!(home.read("config") == line, is_there, "{line}");
        }
    }

    #[test]
    fn a_file_that_is_not_ours_is_let_be() {
        let home = Home::with_config(b"Host a\n");
        fs::write(home.ssh(OURS), "Host mine\n").expect("a file");
        assert!(matches!(home.files().install(&text(1)), Err(InstallError::NotOurs { .. })));
        assert_eq!((home.read("config"), home.read(OURS)), ("Host a\n".into(), "Host mine\n".into()));
    }

    #[cfg(unix)]
    #[test]
    fn modes_are_kept_and_new_files_are_for_the_user_alone() {
        use std::os::unix::fs::PermissionsExt;

        let mode = |path: PathBuf| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
        let home = Home::new();
        home.install();
        assert_eq!([home.ssh(""), home.ssh("config"), home.ssh(OURS)].map(mode), [0o700, 0o600, 0o600]);
        let home = Home::with_config(b"Host a\n");
        fs::set_permissions(home.ssh("config"), fs::Permissions::from_mode(0o644)).expect("own file");
        home.install();
        assert_eq!([home.ssh("config"), home.ssh(BACKUP)].map(mode), [0o644, 0o600]);
    }

    #[cfg(unix)]
    #[test]
    fn owner_and_group_are_kept() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

        let home = Home::with_config(b"Host a\n");
        // Only root can give a file away; any other user can at least keep it.
        let is_root = chown(home.ssh("config"), Some(12345), Some(54321)).is_ok();
        fs::set_permissions(home.ssh("config"), fs::Permissions::from_mode(0o640)).expect("a file");
        home.install();
        let found = fs::metadata(home.ssh("config")).expect("a file");
        assert_eq!(found.mode() & 0o7777, 0o640);
        assert!(!is_root || (found.uid(), found.gid()) == (12345, 54321));
        assert!(home.read("config").ends_with("\nHost a\n"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_with_two_names_keeps_both() {
        let home = Home::with_config(b"Host a\n    User b\n");
        let other = home.folder.path().join("other");
        fs::hard_link(home.ssh("config"), &other).expect("a link");
        home.install();
        assert_eq!(fs::read_to_string(&other).expect("a file"), home.read("config"));
        home.files().uninstall().expect("uninstalled");
        assert_eq!(fs::read_to_string(&other).expect("a file"), "Host a\n    User b\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_or_a_folder_is_refused_at_once() {
        for name in ["config", BACKUP, OURS] {
            for make in ["mkfifo", "mkdir"] {
                let home = Home::with_config(b"Host a\n");
                let _ = fs::remove_file(home.ssh(name));
                let made = std::process::Command::new(make).arg(home.ssh(name)).status();
                assert!(made.expect(make).success());
                let error = home.files().install(&text(1)).map(|_| home.files().uninstall());
                let is_refused = !matches!(error, Ok(Ok(_)));
                assert!(is_refused, "{make} {name}");
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_the_users_file_stays_and_one_in_our_place_is_refused() {
        let home = Home::with_config(b"");
        let real = home.folder.path().join("dotfiles");
        fs::write(&real, "Host a\n").expect("a file");
        fs::remove_file(home.ssh("config")).expect("a file");
        std::os::unix::fs::symlink(&real, home.ssh("config")).expect("a link");
        home.install();
        assert!(fs::symlink_metadata(home.ssh("config")).expect("a link").is_symlink());
        assert!(fs::read_to_string(&real).expect("a file").starts_with("Include "));
        fs::remove_file(home.ssh(OURS)).expect("a file");
        std::os::unix::fs::symlink(&real, home.ssh(OURS)).expect("a link");
        assert!(matches!(home.files().install(&text(1)), Err(InstallError::NotOurs { .. })));
        fs::remove_file(home.ssh(OURS)).expect("a link");
        fs::remove_file(&real).expect("a file");
        assert!(home.files().install(&text(1)).is_err(), "a link that leads nowhere");
        assert!(!home.ssh(OURS).exists());
    }
}
