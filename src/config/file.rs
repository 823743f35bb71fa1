//! The config file: where it is, whether it can be read, and whether other users can write it.
//!
//! `parse` reads its contents. Called by [`Config::resolve`](super::Config::resolve) only.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::environment::Environment;
use super::error::{ConfigError, Distrust};
use super::forward::LocalEnd;
use super::parse::{Fault, Tables, parse};

/// The longest config file: a device may have no end.
const LIMIT: u64 = 16 << 20;

/// The contents of the config file.
#[derive(Default)]
pub(super) struct ConfigFile {
    /// Its path; `None` if there is no file.
    pub path: Option<PathBuf>,
    /// Its tables.
    pub tables: Tables,
}

impl ConfigFile {
    /// Reads the file that was named, else the first that exists at the usual paths.
    pub fn load(named: Option<PathBuf>, environment: &Environment) -> Result<Self, ConfigError> {
        if let Some(path) = named.or_else(|| environment.path("FUMIDAI_CONFIG")) {
            return Self::read(&path, environment);
        }
        for path in default_paths(environment) {
            match refuse_pipe(&path).and_then(|()| Self::read(&path, environment)) {
                Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                found => return found,
            }
        }
        Ok(Self::default())
    }

    fn read(path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let bytes = read_trusted(path)?;
        let fault = |fault: Fault, text: &str| fault.at(path, text);
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                return Err(fault(Fault::new(valid.len()..valid.len(), "not valid UTF-8"), &valid));
            }
        };
        let mut tables = parse(text).map_err(|found| fault(found, text))?;
        expand_homes(&mut tables, environment);
        Ok(Self { tables, path: Some(path.to_owned()) })
    }
}

/// Checks a text before it becomes a config file.
///
/// # Errors
/// [`ConfigError::Invalid`]
pub fn check_text(path: &Path, text: &str) -> Result<(), ConfigError> {
    parse(text).map(drop).map_err(|fault| fault.at(path, text))
}

/// Returns whether a text that is valid has a table of that name.
pub fn has_table(text: &str, name: &str) -> bool {
    DeTable::parse(text).is_ok_and(|document| document.get_ref().contains_key(name))
}

/// Returns where a config file is made.
pub fn default_file(environment: &Environment) -> Option<PathBuf> {
    default_paths(environment).next()
}

fn default_paths(environment: &Environment) -> impl Iterator<Item = PathBuf> {
    let folders = &environment.folders;
    let dotted = folders.home.as_ref().map(|home| home.join(".config"));
    [folders.config.clone(), dotted].into_iter().flatten().map(|folder| folder.join("fumidai/config.toml"))
}

fn expand_homes(tables: &mut Tables, environment: &Environment) {
    let defaults = &mut tables.defaults;
    defaults.log_file = defaults.log_file.take().map(|file| expand_home(file, environment));
    for forward in tables.forwards.values_mut() {
        if let LocalEnd::Socket(path) = &mut forward.local {
            *path = expand_home(std::mem::take(path), environment);
        }
    }
}

fn expand_home(file: PathBuf, environment: &Environment) -> PathBuf {
    match (&environment.folders.home, file.strip_prefix("~")) {
        (Some(home), Ok(rest)) => home.join(rest),
        (Some(_) | None, _) => file,
    }
}

/// Reads a file that no other user can change, as ssh reads `~/.ssh/config`: its settings run commands. The checks are made
/// on the open file.
fn read_trusted(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    refuse_others(path, &file.metadata().map_err(unreadable)?)?;
    let mut bytes = Vec::new();
    file.by_ref().take(LIMIT).read_to_end(&mut bytes).map_err(unreadable)?;
    if file.read(&mut [0]).map_err(unreadable)? > 0 {
        return Err(unreadable(io::Error::other("it is longer than 16 MiB")));
    }
    Ok(bytes)
}

/// Refuses a named pipe at a path that the user did not name: opening it would wait for a writer.
#[cfg(unix)]
fn refuse_pipe(path: &Path) -> Result<(), ConfigError> {
    use std::os::unix::fs::FileTypeExt;

    if fs::metadata(path).is_ok_and(|file| file.file_type().is_fifo()) {
        let source = io::Error::other("it is a named pipe");
        return Err(ConfigError::Unreadable { file: path.to_owned(), source });
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_pipe(_path: &Path) -> Result<(), ConfigError> {
    Ok(())
}

/// Checks a regular file, its folder, and the folder of the file that a link leads to. A pipe or a device has no contents
/// that another user could have put there.
#[cfg(unix)]
fn refuse_others(path: &Path, file: &Metadata) -> Result<(), ConfigError> {
    if !file.is_file() {
        return Ok(());
    }
    refuse(path, path, file)?;
    let real = path.canonicalize().ok();
    for place in [Some(path), real.as_deref()].into_iter().flatten() {
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Ok(metadata) = fs::metadata(folder) {
            refuse(path, folder, &metadata)?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_others(_path: &Path, _file: &Metadata) -> Result<(), ConfigError> {
    Ok(())
}

#[cfg(unix)]
fn refuse(file: &Path, place: &Path, metadata: &Metadata) -> Result<(), ConfigError> {
    use std::os::unix::fs::MetadataExt;

    let us = rustix::process::getuid().as_raw();
    match distrust(metadata.uid(), us, metadata.mode(), metadata.is_dir()) {
        Some(why) => Err(ConfigError::Untrusted { file: file.to_owned(), place: place.to_owned(), why }),
        None => Ok(()),
    }
}

/// OpenSSH's rule: owned by the user or root, and not writable by group or others. In a folder with the sticky bit, as `/tmp`,
/// others cannot replace a file.
#[cfg(unix)]
fn distrust(owner: u32, us: u32, mode: u32, is_folder: bool) -> Option<Distrust> {
    let is_sticky = is_folder && mode & 0o1000 != 0;
    if owner != 0 && owner != us {
        Some(Distrust::Owner(owner))
    } else if mode & 0o022 != 0 && !is_sticky {
        Some(Distrust::Writable)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Folders;

    fn home(folder: &Path) -> Environment {
        let mut environment = Environment::default();
        environment.folders = Folders { home: Some(folder.to_owned()), ..Folders::default() };
        environment
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_at_the_default_path_and_a_file_without_an_end_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let environment = home(folder.path());
        let path = folder.path().join(".config/fumidai/config.toml");
        fs::create_dir_all(path.parent().expect("a folder")).expect("its folder");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let why = |found: Result<ConfigFile, ConfigError>| match found.map(|file| file.path) {
            Err(ConfigError::Unreadable { source, .. }) => source.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(why(ConfigFile::load(None, &environment)), "it is a named pipe");
        let found = ConfigFile::load(Some("/dev/zero".into()), &environment);
        assert_eq!(why(found), "it is longer than 16 MiB");
    }

    #[test]
    fn a_missing_default_file_is_fine_and_a_missing_named_one_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let environment = home(folder.path());
        assert!(ConfigFile::load(None, &environment).is_ok());
        let error = ConfigFile::load(Some(folder.path().join("none.toml")), &environment).err();
        assert!(matches!(error, Some(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn the_home_folders_file_is_read_last() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join(".config/fumidai");
        fs::create_dir_all(&config).expect("a folder");
        let text = "[defaults]\nprofile = 'x'\nlog_file = '~/l'";
        fs::write(config.join("config.toml"), text).expect("a file");
        let tables = ConfigFile::load(None, &home(folder.path())).expect("valid").tables;
        let defaults = tables.defaults;
        assert_eq!(defaults.profile.as_deref(), Some("x"));
        assert_eq!(defaults.log_file, Some(folder.path().join("l")));
    }

    #[test]
    fn bytes_that_are_not_utf_8_have_a_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("c.toml");
        fs::write(&path, b"[defaults]\n# \xff\n").expect("a file");
        let error = ConfigFile::load(Some(path), &Environment::default()).err().expect("not UTF-8");
        assert!(error.to_string().ends_with("c.toml:2:3: not valid UTF-8"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_write_is_refused_and_so_is_its_folder() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, linked) = (folder.path().join("own/c.toml"), folder.path().join("c.toml"));
        fs::create_dir(folder.path().join("own")).expect("a folder");
        fs::write(&path, "").expect("a file");
        std::os::unix::fs::symlink(&path, &linked).expect("a link");
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
        };
        let own = path.parent().expect("a folder");
        for (folder_mode, mode, place) in [
            (0o755, 0o644, None),
            (0o700, 0o600, None),
            (0o1777, 0o600, None),
            (0o755, 0o664, Some(&*path)),
            (0o755, 0o646, Some(&*path)),
            (0o775, 0o600, Some(own)),
            (0o707, 0o600, Some(own)),
        ] {
            set(own, folder_mode);
            set(&path, mode);
            for named in [&path, &linked] {
                let found = ConfigFile::load(Some(named.clone()), &Environment::default()).map(drop);
                let refused = found.err().map(|error| {
                    let ConfigError::Untrusted { file, place, why: Distrust::Writable } = error else {
                        panic!("{error}")
                    };
                    (file, place)
                });
                let place = place.map(|place| if place == path { named.clone() } else { place.to_owned() });
                assert_eq!(refused, place.map(|place| (named.clone(), place)), "{folder_mode:o} {mode:o}");
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_of_root_or_of_the_user_is_trusted() {
        for (owner, expected) in [(0, None), (1000, None), (1001, Some(Distrust::Owner(1001)))] {
            assert_eq!(distrust(owner, 1000, 0o100_644, false), expected);
            assert_eq!(distrust(owner, 1000, 0o40_755, true), expected);
        }
        assert_eq!(distrust(1000, 0, 0o644, false), Some(Distrust::Owner(1000)));
        assert_eq!(distrust(0, 1000, 0o1664, false), Some(Distrust::Writable), "sticky is for folders");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_has_no_owner_to_trust() {
        assert!(ConfigFile::load(Some("/dev/null".into()), &Environment::default()).is_ok());
    }
}
