//! What the user's own ssh_config says of a hop: `ssh -G NAME`, run and read.
//!
//! So every rule of ssh_config(5) holds (`Host`, `Match`, `Include`, canonical names) without one line of it here. What
//! `ssh -G` prints is not quoted, and some paths are as they were written; [`parse`] makes plain values of both.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;

use super::expand::Tokens;
use super::settings::{HopSettings, Local, StrictHostKeys};

/// What is asked for: the words of a command line.
#[derive(Clone, Copy, Debug)]
pub struct HopName<'a> {
    /// The name that ssh_config knows.
    pub name: &'a str,
    /// The user, if given.
    pub user: Option<&'a str>,
    /// The port, if given.
    pub port: Option<u16>,
}

/// Why there are no settings.
#[derive(Debug, Error)]
pub enum OpenSshError {
    /// ssh is not there, or cannot be run: use [`HopSettings::new`].
    #[error("`{}` cannot be run: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// ssh refused: mostly an error in an ssh_config, which its message names.
    #[error("`ssh -G {name}` failed: {message}")]
    Refused {
        /// What was asked for.
        name: String,
        /// The last line it printed, untrusted.
        message: String,
    },
    /// What ssh printed lacks a value, or has one that cannot be read.
    #[error("`ssh -G {name}` printed no usable `{key}`")]
    Value {
        /// What was asked for.
        name: String,
        /// The setting.
        key: &'static str,
    },
}

/// Runs `ssh -G` and reads what it prints.
///
/// # Errors
/// See [`OpenSshError`].
pub async fn settings(
    program: &Path,
    hop: HopName<'_>,
    local: &Local<'_>,
) -> Result<HopSettings, OpenSshError> {
    let mut command = Command::new(program);
    command.arg("-G");
    if let Some(port) = hop.port {
        command.arg("-p").arg(port.to_string());
    }
    if let Some(user) = hop.user {
        command.arg("-l").arg(user);
    }
    command.arg("--").arg(hop.name).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await;
    let output = output.map_err(|source| OpenSshError::Run { program: program.to_owned(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let message = said.lines().next_back().unwrap_or_default().to_owned();
        return Err(OpenSshError::Refused { name: hop.name.to_owned(), message });
    }
    parse(&String::from_utf8_lossy(&output.stdout), hop.name, local)
}

/// Reads what `ssh -G` printed of `name`.
///
/// # Errors
/// A value that everything depends on is missing or cannot be read.
pub fn parse(text: &str, name: &str, local: &Local<'_>) -> Result<HopSettings, OpenSshError> {
    let printed = Printed { text, name };
    let (user, host) = (printed.required("user")?, printed.required("hostname")?);
    let port = printed.required("port")?.parse();
    let port = port.map_err(|_| OpenSshError::Value { name: name.to_owned(), key: "port" })?;
    let alias = printed.value("hostkeyalias");
    let tokens = Tokens { local, name, host, port, user, alias: alias.unwrap_or(name) };
    let mut settings = HopSettings::new(user, host, port, local);
    settings.name = name.to_owned();
    settings.host_key_alias = alias.map(str::to_owned);
    printed.read_identities(&mut settings, &tokens);
    printed.read_host_keys(&mut settings, &tokens);
    printed.read_limits(&mut settings);
    Ok(settings)
}

/// Lines of a key in lower case, a space, and a value that is not quoted.
struct Printed<'a> {
    text: &'a str,
    name: &'a str,
}

impl<'a> Printed<'a> {
    fn values(&self, key: &str) -> impl Iterator<Item = &'a str> {
        self.text.lines().filter_map(move |line| {
            let (found, value) = line.split_once(' ')?;
            found.eq_ignore_ascii_case(key).then_some(value.trim())
        })
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.values(key).next()
    }

    fn required(&self, key: &'static str) -> Result<&'a str, OpenSshError> {
        let value = self.value(key).filter(|value| !value.is_empty());
        value.ok_or_else(|| OpenSshError::Value { name: self.name.to_owned(), key })
    }

    fn switch(&self, key: &str, otherwise: bool) -> bool {
        match self.value(key) {
            Some("yes" | "true") => true,
            Some("no" | "false") => false,
            Some(_) | None => otherwise,
        }
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    fn read_identities(&self, settings: &mut HopSettings, tokens: &Tokens<'_>) {
        let paths = |key| paths(self.values(key), tokens);
        if self.value("identityfile").is_some() {
            settings.identity_files = paths("identityfile");
        }
        settings.certificate_files = paths("certificatefile");
        settings.identities_only = self.switch("identitiesonly", false);
        settings.agent = match self.value("identityagent") {
            None | Some("SSH_AUTH_SOCK") => settings.agent.take(),
            Some("none") => None,
            Some(text) => agent_path(text, tokens),
        };
        settings.methods.public_key = self.value("pubkeyauthentication") != Some("false")
            && self.value("pubkeyauthentication") != Some("no");
        settings.methods.keyboard_interactive = self.switch("kbdinteractiveauthentication", true);
        settings.methods.password = self.switch("passwordauthentication", true);
        settings.batch_mode = self.switch("batchmode", false);
    }

    fn read_host_keys(&self, settings: &mut HopSettings, tokens: &Tokens<'_>) {
        if let Some(files) = self.value("userknownhostsfile") {
            settings.user_known_hosts = paths(split_paths(files).iter().map(String::as_str), tokens);
        }
        if let Some(files) = self.value("globalknownhostsfile") {
            settings.global_known_hosts = paths(split_paths(files).iter().map(String::as_str), tokens);
        }
        settings.hash_known_hosts = self.switch("hashknownhosts", false);
        settings.strict = match self.value("stricthostkeychecking") {
            Some("yes" | "true") => StrictHostKeys::Yes,
            Some("accept-new") => StrictHostKeys::AcceptNew,
            Some("no" | "false" | "off") => StrictHostKeys::No,
            Some(_) | None => StrictHostKeys::Ask,
        };
    }

    fn read_limits(&self, settings: &mut HopSettings) {
        if let Some(seconds) = self.number("connecttimeout").filter(|seconds| *seconds > 0) {
            settings.connect_timeout = Duration::from_secs(seconds);
        }
        settings.alive_interval = Duration::from_secs(self.number("serveraliveinterval").unwrap_or(0));
        let most = self.number("serveralivecountmax").and_then(|most| usize::try_from(most).ok());
        settings.alive_max = most.unwrap_or(settings.alive_max);
        let prompts = self.number("numberofpasswordprompts").and_then(|most| u32::try_from(most).ok());
        settings.password_prompts = prompts.unwrap_or(settings.password_prompts);
    }
}

/// `none` is OpenSSH's word for no file.
fn paths<'a>(values: impl Iterator<Item = &'a str>, tokens: &Tokens<'_>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for value in values.filter(|value| *value != "none") {
        match tokens.path(value) {
            Some(path) => paths.push(path),
            None => tracing::warn!(setting = value, "a path of ssh_config cannot be expanded"),
        }
    }
    paths
}

/// An agent may also be named by a variable: `$NAME`.
fn agent_path(text: &str, tokens: &Tokens<'_>) -> Option<PathBuf> {
    let name = text.strip_prefix('$').filter(|name| !name.starts_with('{'));
    match name {
        Some(name) => (tokens.local.variable)(name).map(PathBuf::from),
        None => tokens.path(text),
    }
}

/// Takes a list of paths apart that is printed without quotes: a piece that cannot begin a path continues one that has
/// a space in it.
fn split_paths(value: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for piece in value.split(' ') {
        let begins = piece == "none" || piece.starts_with(['/', '~', '%', '$', '"']);
        match paths.last_mut() {
            Some(last) if !begins => {
                last.push(' ');
                last.push_str(piece);
            }
            Some(_) | None => paths.push(piece.to_owned()),
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// What OpenSSH 9.2 printed of a host that sets what we read; lines that we do not read are left out.
    const FULL: &str = "host app\nuser bob\nhostname app.example\nport 2222\nbatchmode yes\nhashknownhosts yes\n\
        identitiesonly yes\nkbdinteractiveauthentication yes\npasswordauthentication no\npubkeyauthentication true\n\
        stricthostkeychecking accept-new\nnumberofpasswordprompts 3\nserveralivecountmax 4\n\
        serveraliveinterval 15\nhostkeyalias the-app\nidentityagent /home/me/.agent/me.sock\n\
        identityfile ~/.ssh/my key\nidentityfile %d/.ssh/id_%r@%h\ncertificatefile ~/.ssh/x-cert.pub\n\
        globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2\n\
        userknownhostsfile /home/me/.ssh/kh /home/me/.ssh/k h2 /x/the-app\nconnecttimeout 7\n";

    /// The same of a host that turns things off.
    const BARE: &str = "host b\nuser me\nhostname b\nport 22\nidentitiesonly no\npubkeyauthentication false\n\
        stricthostkeychecking true\nidentityagent none\nidentityfile none\nuserknownhostsfile none\n\
        connecttimeout none\nserveraliveinterval 0\n";

    fn read(text: &str, name: &str) -> HopSettings {
        let variable = |name: &str| (name == "FOO").then(|| "/foo.sock".to_owned());
        let local = Local {
            home: Path::new("/home/me"),
            user: "me",
            agent: Some(Path::new("/default.sock")),
            now: SystemTime::UNIX_EPOCH,
            variable: &variable,
        };
        parse(text, name, &local).unwrap()
    }

    fn list(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn every_setting_is_read() {
        let settings = read(FULL, "app");
        assert_eq!((settings.name.as_str(), settings.user.as_str()), ("app", "bob"));
        assert_eq!((settings.host.as_str(), settings.port), ("app.example", 2222));
        assert_eq!(settings.known_as(), "the-app");
        let identities = list(&["/home/me/.ssh/my key", "/home/me/.ssh/id_bob@app.example"]);
        assert_eq!(settings.identity_files, identities);
        assert_eq!(settings.certificate_files, list(&["/home/me/.ssh/x-cert.pub"]));
        assert_eq!(settings.agent, Some("/home/me/.agent/me.sock".into()));
        let known = list(&["/home/me/.ssh/kh", "/home/me/.ssh/k h2", "/x/the-app"]);
        assert_eq!(settings.user_known_hosts, known);
        assert_eq!(settings.global_known_hosts.len(), 2);
        assert!(settings.identities_only && settings.batch_mode && settings.hash_known_hosts);
        assert!(settings.methods.public_key && !settings.methods.password);
        assert_eq!(settings.strict, StrictHostKeys::AcceptNew);
        assert_eq!(settings.connect_timeout, Duration::from_secs(7));
        assert_eq!((settings.alive_interval, settings.alive_max), (Duration::from_secs(15), 4));
    }

    #[test]
    fn none_is_no_file_and_no_agent() {
        let settings = read(BARE, "b");
        assert!(settings.identity_files.is_empty() && settings.user_known_hosts.is_empty());
        assert_eq!(settings.agent, None);
        assert!(!settings.methods.public_key);
        assert_eq!(settings.strict, StrictHostKeys::Yes);
        assert_eq!(settings.known_as(), "b");
    }

    #[test]
    fn an_agent_may_be_the_default_or_a_variable() {
        let agent = |line: &str| read(&format!("user u\nhostname h\nport 22\n{line}"), "h").agent;
        assert_eq!(agent(""), Some("/default.sock".into()));
        assert_eq!(agent("identityagent SSH_AUTH_SOCK"), Some("/default.sock".into()));
        assert_eq!(agent("identityagent $FOO"), Some("/foo.sock".into()));
        assert_eq!(agent("identityagent $BAR"), None);
    }

    #[test]
    fn a_missing_value_is_named() {
        let local = Local {
            home: Path::new("/"),
            user: "me",
            agent: None,
            now: SystemTime::UNIX_EPOCH,
            variable: &|_| None,
        };
        let error = parse("user u\nhostname h\nport many\n", "h", &local).unwrap_err();
        assert_eq!(error.to_string(), "`ssh -G h` printed no usable `port`");
    }
}
