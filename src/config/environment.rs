//! A snapshot of the process's environment: the variables that fumidai reads, and the user's folders.
//!
//! It is taken once and passed on as a value, so that a test needs no real environment. It holds no secrets: the SDK reads
//! keys and tokens itself.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::settings::Key;
use super::value::ValueError;

/// The variables beside those of the settings.
const OTHERS: [&str; 37] = [
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT",
    "AWS_ENDPOINT_URL_ECS",
    "AWS_ENDPOINT_URL_IAM",
    "AWS_ENDPOINT_URL_SFN",
    "AWS_ENDPOINT_URL_CLOUDFORMATION",
    "AWS_ENDPOINT_URL_CLOUDTRAIL",
    "AWS_ENDPOINT_URL_REDSHIFT",
    "AWS_ENDPOINT_URL_REDSHIFT_SERVERLESS",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_SSMMESSAGES",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_SHARED_CREDENTIALS_FILE",
    "DISPLAY",
    "FUMIDAI_CONFIG",
    "FUMIDAI_EPHEMERAL_KEY",
    "FUMIDAI_KEY_FILE",
    "FUMIDAI_NO_INPUT",
    "FUMIDAI_QUIET",
    "FUMIDAI_START",
    "FUMIDAI_VERBOSE",
    "FUMIDAI_VIA",
    "LOGNAME",
    "NO_COLOR",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "REQUEST_METHOD",
    "RUST_LOG",
    "SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE",
    "SSH_AUTH_SOCK",
    "TERM",
    "USER",
    "WAYLAND_DISPLAY",
];

/// The variables with proxies, also in lower case as `curl` reads them.
pub const PROXY_VARIABLES: [&str; 8] = [
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];

/// The variables and folders of a run.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<&'static str, OsString>,
    /// The user's folders.
    pub folders: Folders,
}

/// The platform's folders for one user; `None` where the system has none.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    /// The home folder.
    pub home: Option<PathBuf>,
    /// Where programs keep their configuration.
    pub config: Option<PathBuf>,
    /// Where programs keep files that they can make again.
    pub cache: Option<PathBuf>,
    /// Where programs keep logs.
    pub state: Option<PathBuf>,
    /// Where programs keep files until the user logs out.
    pub runtime: Option<PathBuf>,
}

impl Environment {
    /// Reads the process's own environment.
    pub fn from_process() -> Self {
        let names =
            Key::ALL.iter().flat_map(|key| key.row().variables).copied().chain(OTHERS).chain(PROXY_VARIABLES);
        let folders = Folders {
            home: dirs::home_dir(),
            config: dirs::config_dir(),
            cache: dirs::cache_dir(),
            state: dirs::state_dir().or_else(dirs::data_local_dir),
            runtime: dirs::runtime_dir(),
        };
        Self { variables: names.filter_map(|name| Some((name, read(name)?))).collect(), folders }
    }

    /// Makes an environment of these variables, without folders.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'static str, &'a str)>) -> Self {
        let variables = variables.into_iter().map(|(name, text)| (name, text.into())).collect();
        Self { variables, folders: Folders::default() }
    }

    /// Returns a variable's text; an empty variable counts as not set.
    ///
    /// # Errors
    ///
    /// The value is not valid UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ValueError> {
        self.raw(name).map(|value| value.to_str().ok_or(ValueError::NotUnicode)).transpose()
    }

    /// Returns a variable's value; an empty variable counts as not set.
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(name).filter(|value| !value.is_empty()).map(OsString::as_os_str)
    }

    /// Returns a variable's value as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// Returns the value of a switch, `true` or `false`; any other text counts as not set.
    pub fn switch(&self, name: &str) -> Option<bool> {
        let text = self.text(name).ok().flatten()?;
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Returns true if a variable that is a flag is set, unless it says `false` or `0`.
    pub fn flag(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }

    /// Returns the variables with proxies that are set. In a CGI script, `HTTP_PROXY` is a header of the script's client.
    pub fn proxies(&self) -> Vec<(&'static str, OsString)> {
        let is_header = |name: &str| name == "HTTP_PROXY" && self.is_set("REQUEST_METHOD");
        let names = PROXY_VARIABLES.into_iter().filter(|name| !is_header(name));
        names.filter_map(|name| Some((name, self.raw(name)?.to_owned()))).collect()
    }

    /// Returns true if a variable is set and not empty.
    pub fn is_set(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }
}

/// Reads a variable that the user's ssh_config names, as `IdentityAgent $NAME` does.
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
    fn a_switch_is_true_or_false() {
        let environment = Environment::of([("A", "TRUE"), ("B", "false"), ("C", "1"), ("D", "")]);
        let found = ["A", "B", "C", "D", "E"].map(|name| environment.switch(name));
        assert_eq!(found, [Some(true), Some(false), None, None, None]);
    }

    #[test]
    fn a_cgi_script_has_no_http_proxy() {
        let all = [("HTTP_PROXY", "a"), ("https_proxy", "b"), ("NO_PROXY", ""), ("REQUEST_METHOD", "GET")];
        let names = |environment: Environment| -> Vec<&str> {
            environment.proxies().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(Environment::of(all)), ["https_proxy"]);
        assert_eq!(names(Environment::of(all.into_iter().take(3))), ["HTTP_PROXY", "https_proxy"]);
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_utf_8_are_a_path_and_not_a_text() {
        use std::os::unix::ffi::OsStringExt;

        let mut environment = Environment::default();
        environment.variables.insert("X", OsString::from_vec(vec![b'/', 0xff]));
        assert_eq!(environment.text("X"), Err(ValueError::NotUnicode));
        assert!(environment.path("X").is_some());
    }
}
