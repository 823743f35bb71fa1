//! The config file: where it is, whether it can be read, and whether other users can write it.
//!
//! `parse` reads its contents. Called by [`Config::resolve`](super::Config::resolve) only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::error::ConfigError;
use super::forward::LocalEnd;
use super::parse::{Fault, Tables, parse};

/// The contents of the config file.
#[derive(Default)]
pub(super) struct ConfigFile {
    /// Its tables.
    pub tables: Tables,
    /// Warnings about a file that can be used.
    pub warnings: Vec<String>,
}

impl ConfigFile {
    /// Reads the file that was named, else the first that exists at the usual paths.
    pub fn load(named: Option<PathBuf>, environment: &Environment) -> Result<Self, ConfigError> {
        if let Some(path) = named.or_else(|| environment.path("FUMIDAI_CONFIG")) {
            return Self::read(&path, environment);
        }
        for path in default_paths(environment) {
            match Self::read(&path, environment) {
                Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                found => return found,
            }
        }
        Ok(Self::default())
    }

    fn read(path: &Path, environment: &Environment) -> Result<Self, ConfigError> {
        let bytes =
            fs::read(path).map_err(|source| ConfigError::Unreadable { file: path.to_owned(), source })?;
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
        Ok(Self { tables, warnings: permission_warning(path).into_iter().collect() })
    }
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

#[cfg(unix)]
fn permission_warning(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o022 != 0).then(|| format!("the config file `{}` can be written by others", path.display()))
}

#[cfg(not(unix))]
fn permission_warning(_path: &Path) -> Option<String> {
    None
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
    fn a_file_that_others_can_write_gives_a_warning() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("c.toml");
        fs::write(&path, "").expect("a file");
        for (mode, warnings) in [(0o644, 0), (0o600, 0), (0o664, 1), (0o646, 1)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("own file");
            let file = ConfigFile::load(Some(path.clone()), &Environment::default()).expect("valid");
            assert_eq!(file.warnings.len(), warnings, "{mode:o}");
        }
    }
}
