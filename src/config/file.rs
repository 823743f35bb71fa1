//! The config file: where it is, and what its `[defaults]` say.
//!
//! Strict, because a key that is silently ignored is worse than an error: an unknown key or a bad value names the file,
//! the line, the column and the nearest valid key. Called by [`Config::resolve`](super::Config::resolve) only.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Environment;
use super::settings::{Key, Raw, Settings};
use super::value::ValueError;

/// Tables that the file may hold and that this version has no use for: a newer version that shares the file has.
const LATER: [&str; 2] = ["hosts", "forwards"];

/// The table that is read.
const DEFAULTS: &str = "defaults";

/// A longer value is cut in a message.
const LONGEST_SHOWN: usize = 60;

/// Why the configuration cannot be used; every one is the user's to correct.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is there, or was asked for, and cannot be read: check its name and permissions.
    #[error("cannot read the config file `{}`: {source}", file.display())]
    Unreadable {
        /// The file's path.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file says something that is not understood: correct that line.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Invalid {
        /// The file's path.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong there, with the key and the value.
        message: String,
    },
    /// A variable's value is not taken: correct or unset it.
    #[error("`{name}` in the environment {source}")]
    Variable {
        /// The variable's name.
        name: &'static str,
        /// What it must be.
        source: ValueError,
    },
}

/// What the config file gave.
#[derive(Default)]
pub(super) struct ConfigFile {
    /// The settings of `[defaults]`.
    pub defaults: Settings,
    /// What the user should know about the file although it can be used.
    pub warnings: Vec<String>,
}

impl ConfigFile {
    /// Reads the file that was named, else the platform's own one if it exists.
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
        let mut defaults = parse(text).map_err(|found| fault(found, text))?;
        defaults.log_file = defaults.log_file.map(|file| expand_home(file, environment));
        Ok(Self { defaults, warnings: permission_warning(path).into_iter().collect() })
    }
}

fn default_paths(environment: &Environment) -> impl Iterator<Item = PathBuf> {
    let folders = &environment.folders;
    let dotted = folders.home.as_ref().map(|home| home.join(".config"));
    [folders.config.clone(), dotted].into_iter().flatten().map(|folder| folder.join("fumidai/config.toml"))
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

/// Something wrong, by its place in the text.
struct Fault {
    span: Range<usize>,
    message: String,
}

impl Fault {
    fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    fn at(self, path: &Path, text: &str) -> ConfigError {
        let before = text.get(..self.span.start).unwrap_or(text);
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        ConfigError::Invalid {
            file: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: last_line.chars().count() + 1,
            message: self.message,
        }
    }
}

fn parse(text: &str) -> Result<Settings, Fault> {
    let document = DeTable::parse(text)
        .map_err(|error| Fault::new(error.span().unwrap_or_default(), error.message().trim()))?;
    let mut settings = Settings::default();
    for (key, value) in in_order(document.get_ref()) {
        let name = key.get_ref().as_ref();
        if name != DEFAULTS && !LATER.contains(&name) {
            return Err(Fault::new(key.span(), unknown_table(name)));
        }
        let DeValue::Table(table) = value.get_ref() else {
            return Err(Fault::new(key.span(), format!("`{name}` must be a table, `[{name}]`")));
        };
        if name == DEFAULTS {
            parse_defaults(table, text, &mut settings)?;
        }
    }
    Ok(settings)
}

fn parse_defaults(table: &DeTable<'_>, text: &str, settings: &mut Settings) -> Result<(), Fault> {
    for (name, value) in in_order(table) {
        let Some(key) = Key::named(name.get_ref()) else {
            return Err(Fault::new(name.span(), unknown_key(name.get_ref())));
        };
        set(settings, key, value.get_ref()).map_err(|error| {
            let shown = shown(key, text.get(value.span()).unwrap_or_default());
            Fault::new(value.span(), format!("`{}` {error}{shown}", key.name()))
        })?;
    }
    Ok(())
}

fn set(settings: &mut Settings, key: Key, value: &DeValue<'_>) -> Result<(), ValueError> {
    let raw = match value {
        DeValue::String(text) => Raw::String(text),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other,
        },
        DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => Raw::Other,
    };
    // A path in a file is the same wherever the program is started, so it cannot be a relative one.
    if let (Key::LogFile, Raw::String(path)) = (key, raw)
        && !path.is_empty()
        && !path.starts_with("~/")
        && !Path::new(path).has_root()
    {
        return Err(ValueError::NotAbsolute);
    }
    settings.set(key, raw)
}

/// toml keeps its tables sorted by key; the first fault of the file is the one to name.
fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<toml::de::DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn unknown_table(name: &str) -> String {
    if Key::named(name).is_some() {
        return format!("`{name}` belongs below `[{DEFAULTS}]`");
    }
    let nearest = nearest(name, [DEFAULTS].into_iter().chain(LATER));
    format!("unknown table `{name}`, the nearest valid one is `{nearest}`")
}

fn unknown_key(name: &str) -> String {
    let nearest = nearest(name, Key::ALL.into_iter().map(Key::name));
    format!("unknown key `{name}`, the nearest valid one is `{nearest}`")
}

fn nearest(name: &str, valid: impl Iterator<Item = &'static str>) -> &'static str {
    let distance = |candidate: &&str| (strsim::jaro_winkler(name, candidate) * 1e6) as u64;
    valid.max_by_key(distance).unwrap_or_default()
}

/// Quotes the value as it is written, unless it may hold a password.
fn shown(key: Key, source: &str) -> String {
    let source = source.lines().next().unwrap_or_default();
    if source.is_empty() || (key == Key::EndpointUrl && source.contains('@')) {
        return String::new();
    }
    let cut: String = source.chars().take(LONGEST_SHOWN).collect();
    let dots = if cut.len() < source.len() { "…" } else { "" };
    format!(", not `{cut}{dots}`")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Color, Folders};

    fn error_of(text: &str) -> String {
        match parse(text) {
            Ok(_) => panic!("accepted: {text}"),
            Err(fault) => fault.at(Path::new("c.toml"), text).to_string(),
        }
    }

    fn home(folder: &Path) -> Environment {
        let mut environment = Environment::default();
        environment.folders = Folders { home: Some(folder.to_owned()), ..Folders::default() };
        environment
    }

    #[test]
    fn every_key_of_defaults_parses() {
        let text = r#"
            [defaults]
            profile = "prod"
            region = "ap-northeast-1"
            endpoint_url = "http://127.0.0.1:1"
            reason = "on call"
            color = "always"
            log_file = "/var/log/fumidai.log"
            connect_timeout = 60
            resume_window = "2h"
            keepalive = "15s"
            linger = 0
            max_payload = 1_024
            document = "My-Document"
        "#;
        assert!(Key::ALL.iter().all(|key| text.contains(&format!("{} = ", key.name()))));
        let expected = Settings {
            profile: Some("prod".into()),
            region: Some("ap-northeast-1".into()),
            endpoint_url: Some("http://127.0.0.1:1".into()),
            reason: Some("on call".into()),
            color: Some(Color::Always),
            log_file: Some("/var/log/fumidai.log".into()),
            connect_timeout: Some(Duration::from_secs(60)),
            resume_window: Some(Duration::from_secs(7200)),
            keepalive: Some(Duration::from_secs(15)),
            linger: Some(Duration::ZERO),
            max_payload: Some(1024),
            document: Some("My-Document".into()),
        };
        assert!(parse(text).ok() == Some(expected));
    }

    #[test]
    fn tables_of_the_next_version_are_let_be() {
        let text = "[hosts.bastion]\ntarget = \"tag:Name=x\"\nanything = 1\n[forwards.db]\nlocal = 1\n";
        assert!(parse(text).ok() == Some(Settings::default()));
        assert!(parse("").ok() == Some(Settings::default()));
        assert_eq!(error_of("hosts = 1"), "c.toml:1:1: `hosts` must be a table, `[hosts]`");
    }

    #[test]
    fn every_error_names_its_place() {
        for (text, message) in [
            ("[defaults]\nkepalive = 1", "2:1: unknown key `kepalive`, the nearest valid one is `keepalive`"),
            (
                "[defaults]\n\n  connect-timeout = 1",
                "3:3: unknown key `connect-timeout`, the nearest valid one is `connect_timeout`",
            ),
            ("[default]\n", "1:2: unknown table `default`, the nearest valid one is `defaults`"),
            ("[host.x]\n", "1:2: unknown table `host`, the nearest valid one is `hosts`"),
            ("region = 'eu-west-1'", "1:1: `region` belongs below `[defaults]`"),
            ("[[defaults]]\n", "1:3: `defaults` must be a table, `[defaults]`"),
            ("[defaults]\nkeepalive = 0", "2:13: `keepalive` must be at least 1 second, not `0`"),
            ("[defaults]\nregion = 5", "2:10: `region` must be a text in quotes, not `5`"),
            ("[defaults]\nprofile = ''", "2:11: `profile` must not be empty, not `''`"),
            (
                "[defaults]\nmax_payload = '1024'",
                "2:15: `max_payload` must be a whole number of bytes from 256 to 32768, not `'1024'`",
            ),
            (
                "[defaults]\nresume_window = -1",
                "2:17: `resume_window` must be whole seconds such as `45`, or have a unit such as `45s`, `15m`, \
                 `2h`, not `-1`",
            ),
            (
                "[defaults]\nlinger = 1.5",
                "2:10: `linger` must be whole seconds such as `45`, or have a unit such as `45s`, `15m`, `2h`, \
                 not `1.5`",
            ),
            ("[defaults]\ncolor = 'no'", "2:9: `color` must be `auto`, `always` or `never`, not `'no'`"),
            ("[defaults]\nlog_file = 'x'", "2:12: `log_file` must start with `/` or `~/`, not `'x'`"),
            (
                "[defaults]\nendpoint_url = 'ftp://u:secret@h'",
                "2:16: `endpoint_url` must be a URL such as `https://host:port`",
            ),
        ] {
            assert_eq!(error_of(text), format!("c.toml:{message}"));
        }
    }

    #[test]
    fn the_first_fault_of_the_file_is_named() {
        assert!(error_of("[defaults]\nzzz = 1\naaa = 1\n").contains(":2:1: unknown key `zzz`"));
    }

    #[test]
    fn broken_toml_has_a_place_too() {
        assert!(error_of("[defaults]\nregion = \n").starts_with("c.toml:2:10: "));
        assert!(error_of("[defaults]\n'é' = 1 x\n").starts_with("c.toml:2:"));
        assert!(error_of("[defaults]\nlinger = 1\nlinger = 2\n").starts_with("c.toml:3:1: duplicate key"));
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
    fn the_home_folders_file_is_the_last_resort() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join(".config/fumidai");
        fs::create_dir_all(&config).expect("a folder");
        let text = "[defaults]\nprofile = 'x'\nlog_file = '~/l'";
        fs::write(config.join("config.toml"), text).expect("a file");
        let defaults = ConfigFile::load(None, &home(folder.path())).expect("valid").defaults;
        assert_eq!(defaults.profile.as_deref(), Some("x"));
        assert_eq!(defaults.log_file, Some(folder.path().join("l")));
    }

    #[test]
    fn bytes_that_are_no_text_have_a_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("c.toml");
        fs::write(&path, b"[defaults]\n# \xff\n").expect("a file");
        let error = ConfigFile::load(Some(path), &Environment::default()).err().expect("no UTF-8");
        assert!(error.to_string().ends_with("c.toml:2:3: not valid UTF-8"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_write_is_warned_about() {
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
