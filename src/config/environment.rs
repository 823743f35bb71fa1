//! A snapshot of what the process was given: the variables that mean something to us, and the user's folders.
//!
//! It is taken once; everything else gets it as a value, so that a test needs no real environment. Nothing secret is
//! in it: the SDK reads keys and tokens for itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::settings::Key;
use super::value::ValueError;

/// Read beside the variables of [`Key`].
const OTHERS: [&str; 21] = [
    "AWS_CA_BUNDLE",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_ECS",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_SSMMESSAGES",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "DISPLAY",
    "FUMIDAI_CONFIG",
    "LOGNAME",
    "NO_COLOR",
    "PATH",
    "RUST_LOG",
    "SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE",
    "SSH_AUTH_SOCK",
    "TERM",
    "USER",
    "WAYLAND_DISPLAY",
];

/// The variables and folders that a run was started with.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<&'static str, OsString>,
    /// The user's folders.
    pub folders: Folders,
}

/// The platform's folders for one user; absent where the system does not say.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    /// The home folder.
    pub home: Option<PathBuf>,
    /// Where programs keep their configuration.
    pub config: Option<PathBuf>,
    /// Where programs keep what they can compute again.
    pub cache: Option<PathBuf>,
    /// Where programs keep logs.
    pub state: Option<PathBuf>,
}

impl Environment {
    /// Reads the process's own environment.
    pub fn from_process() -> Self {
        let names = Key::ALL.into_iter().flat_map(Key::variables).copied().chain(OTHERS);
        let folders = Folders {
            home: dirs::home_dir(),
            config: dirs::config_dir(),
            cache: dirs::cache_dir(),
            state: dirs::state_dir().or_else(dirs::data_local_dir),
        };
        Self { variables: names.filter_map(|name| Some((name, read(name)?))).collect(), folders }
    }

    /// Makes an environment of these variables, with no folders.
    pub fn of<const N: usize>(variables: [(&'static str, &str); N]) -> Self {
        let variables = variables.into_iter().map(|(name, text)| (name, text.into())).collect();
        Self { variables, folders: Folders::default() }
    }

    /// Returns a variable's text; an empty one counts as not set, as it does for AWS's own tools.
    ///
    /// # Errors
    ///
    /// The value is no UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ValueError> {
        match self.variables.get(name) {
            Some(value) if !value.is_empty() => value.to_str().map(Some).ok_or(ValueError::NotUnicode),
            Some(_) | None => Ok(None),
        }
    }

    /// Returns a variable's text as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// Returns what a switch says: `true` or `false`, and nothing for anything else.
    pub fn switch(&self, name: &str) -> Option<bool> {
        let text = self.text(name).ok().flatten()?;
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Tells whether a variable is there and not empty.
    pub fn is_set(&self, name: &str) -> bool {
        self.variables.get(name).is_some_and(|value| !value.is_empty())
    }
}

/// Reads a variable whose name the user's own configuration gives, such as that of `IdentityAgent $NAME`.
pub fn process_variable(name: &str) -> Option<String> {
    read(name)?.into_string().ok()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn read(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_has_two_words() {
        let environment = Environment::of([("A", "TRUE"), ("B", "false"), ("C", "1"), ("D", "")]);
        let found = ["A", "B", "C", "D", "E"].map(|name| environment.switch(name));
        assert_eq!(found, [Some(true), Some(false), None, None, None]);
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_are_an_error_but_a_path() {
        use std::os::unix::ffi::OsStringExt;

        let mut environment = Environment::default();
        environment.variables.insert("X", OsString::from_vec(vec![b'/', 0xff]));
        assert_eq!(environment.text("X"), Err(ValueError::NotUnicode));
        assert!(environment.path("X").is_some());
    }
}
