//! Reads the user's ssh_config for a hop by running `ssh -G NAME`.
//!
//! ssh applies every rule of ssh_config(5): `Host`, `Match`, `Include`, canonical names. `ssh -G` prints values
//! without quotes, and some paths unexpanded; [`parse`] splits and expands them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use thiserror::Error;
use tokio::process::Command;

use super::algorithms::is_any_allowed;
use super::allowed::Allowed;
use super::expand::Tokens;
use super::known_hosts_command::KnownHostsCommand;
use super::settings::{HopSettings, LocalUser, Methods, StrictHostKeys};

/// The longest name of a file in bytes (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// The arguments of `ssh -G`.
#[derive(Clone, Copy, Debug)]
pub struct HopName<'a> {
    /// The host name, as in a `Host` line.
    pub name: &'a str,
    /// The user from the command line or config file.
    pub user: Option<&'a str>,
    /// The port from the config file.
    pub port: Option<u16>,
}

/// Why the settings could not be read.
#[derive(Debug, Error)]
pub enum OpenSshError {
    /// ssh is not installed, or cannot be run: use [`HopSettings::new`].
    #[error("cannot run `{}`: {source}", program.display())]
    Run {
        /// The path of ssh.
        program: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// ssh exited with an error: usually a mistake in an ssh_config, which its message names.
    #[error("`ssh -G {name}` failed: {message}")]
    Refused {
        /// The host name.
        name: String,
        /// The last line of its standard error: untrusted.
        message: String,
    },
    /// The output of ssh lacks a value, or has one that cannot be parsed.
    #[error("`ssh -G {name}` printed no usable `{key}`")]
    Value {
        /// The host name.
        name: String,
        /// The keyword, in lower case.
        key: &'static str,
    },
    /// A setting allows no algorithm that is supported here: allow more, or use ssh's own `ProxyJump`.
    #[error("`ssh -G {name}` printed a `{key}` without a supported algorithm")]
    Unsupported {
        /// The host name.
        name: String,
        /// The keyword, in lower case.
        key: &'static str,
    },
}

/// Runs `ssh -G` and parses its output.
///
/// # Errors
/// See [`OpenSshError`].
pub async fn settings(
    program: &Path,
    hop: HopName<'_>,
    local: &LocalUser<'_>,
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
        let stderr = String::from_utf8_lossy(&output.stderr);
        let message = stderr.lines().next_back().unwrap_or_default().to_owned();
        return Err(OpenSshError::Refused { name: hop.name.to_owned(), message });
    }
    parse(&String::from_utf8_lossy(&output.stdout), hop.name, local)
}

/// Parses the output of `ssh -G` for `name`.
///
/// # Errors
/// A required value is missing or cannot be parsed.
pub fn parse(text: &str, name: &str, local: &LocalUser<'_>) -> Result<HopSettings, OpenSshError> {
    let printed = Printed { text, name };
    let (user, host) = (printed.required("user")?, printed.required("hostname")?);
    let port = printed.required("port")?.parse().map_err(|_| printed.unusable("port"))?;
    let alias = printed.value("hostkeyalias");
    let tokens = Tokens { local, name, host, port, user, alias: alias.unwrap_or(name) };
    let mut settings = HopSettings::new(user, host, port, local);
    settings.name = name.to_owned();
    settings.host_key_alias = alias.map(str::to_owned);
    printed.read_identities(&mut settings, &tokens);
    printed.read_host_keys(&mut settings, &tokens)?;
    Ok(settings)
}

/// The output of `ssh -G`: each line is a keyword in lower case, a space, and an unquoted value.
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
        value.ok_or_else(|| self.unusable(key))
    }

    fn unusable(&self, key: &'static str) -> OpenSshError {
        OpenSshError::Value { name: self.name.to_owned(), key }
    }

    fn switch(&self, key: &str, otherwise: bool) -> bool {
        match self.value(key) {
            Some("yes" | "true") => true,
            Some("no" | "false") => false,
            Some(_) | None => otherwise,
        }
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.value(key)?.parse().ok()
    }

    fn allowed(&self, key: &str) -> Allowed {
        self.value(key).map_or_else(Allowed::default, Allowed::only)
    }

    /// Reads a list of files that must all be read: a path that cannot be expanded is an error.
    fn files(
        &self,
        key: &'static str,
        expand: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Option<Vec<PathBuf>>, OpenSshError> {
        match self.value(key) {
            None => Ok(None),
            Some("none") => Ok(Some(Vec::new())),
            Some(value) => split_files(value, expand).map(Some).ok_or_else(|| self.unusable(key)),
        }
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
        let preferred = self.allowed("preferredauthentications");
        let uses = |method, key| preferred.has(method) && self.value(key) != Some("no");
        settings.methods = Methods {
            public_key: uses("publickey", "pubkeyauthentication")
                && self.value("pubkeyauthentication") != Some("false"),
            keyboard_interactive: uses("keyboard-interactive", "kbdinteractiveauthentication"),
            password: uses("password", "passwordauthentication"),
        };
        // OpenSSH before 8.5 used the second name.
        let kinds = ["pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"];
        let kinds = kinds.into_iter().find_map(|key| self.value(key));
        settings.pubkey_accepted_algorithms = kinds.map_or_else(Allowed::default, Allowed::only);
        settings.batch_mode = self.switch("batchmode", false);
        settings.password_prompts =
            self.number("numberofpasswordprompts").unwrap_or(settings.password_prompts);
    }

    /// Reads the settings of host keys. ssh has already expanded `UserKnownHostsFile`; in `GlobalKnownHostsFile` it
    /// expands only `~`.
    fn read_host_keys(&self, settings: &mut HopSettings, tokens: &Tokens<'_>) -> Result<(), OpenSshError> {
        let home_path = |text: &str| tokens.home_path(text);
        if let Some(files) = self.files("userknownhostsfile", home_path)? {
            settings.user_known_hosts = files;
        }
        if let Some(files) = self.files("globalknownhostsfile", home_path)? {
            settings.global_known_hosts = files;
        }
        let revoked = self.files("revokedhostkeys", |text| tokens.path(text))?;
        settings.revoked_host_keys = revoked.unwrap_or_default();
        settings.host_key_algorithms = self.allowed("hostkeyalgorithms");
        if !is_any_allowed(&settings.host_key_algorithms) {
            return Err(OpenSshError::Unsupported { name: self.name.to_owned(), key: "hostkeyalgorithms" });
        }
        settings.ca_signature_algorithms = self.allowed("casignaturealgorithms");
        settings.required_rsa_size = self.number("requiredrsasize").unwrap_or(settings.required_rsa_size);
        settings.hash_known_hosts = self.switch("hashknownhosts", false);
        settings.strict = match self.value("stricthostkeychecking") {
            Some("yes" | "true") => StrictHostKeys::Yes,
            Some("accept-new") => StrictHostKeys::AcceptNew,
            Some("no" | "false" | "off") => StrictHostKeys::No,
            Some(_) | None => StrictHostKeys::Ask,
        };
        settings.known_hosts_command = self.known_hosts_command(tokens)?;
        Ok(())
    }

    fn known_hosts_command(&self, tokens: &Tokens<'_>) -> Result<Option<KnownHostsCommand>, OpenSshError> {
        const KEY: &str = "knownhostscommand";
        let Some(text) = self.value(KEY).filter(|text| *text != "none") else { return Ok(None) };
        let command = KnownHostsCommand::parse(text, |word| tokens.template(word));
        command.map(Some).ok_or_else(|| self.unusable(KEY))
    }
}

/// Expands paths; `none` is OpenSSH's value for no file.
fn paths<'a>(values: impl Iterator<Item = &'a str>, tokens: &Tokens<'_>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for value in values.filter(|value| *value != "none") {
        match tokens.path(value) {
            Some(path) => paths.push(path),
            None => tracing::warn!(setting = value, "cannot expand a path of ssh_config"),
        }
    }
    paths
}

/// Expands `IdentityAgent`, which may also name a variable: `$NAME`. A path that ssh has expanded is absolute.
fn agent_path(text: &str, tokens: &Tokens<'_>) -> Option<PathBuf> {
    if text.starts_with('/') {
        return Some(text.into());
    }
    let name = text.strip_prefix('$').filter(|name| !name.starts_with('{'));
    match name {
        Some(name) => (tokens.local.variable)(name).map(PathBuf::from),
        None => tokens.path(text),
    }
}

/// Splits a list of files that is printed without quotes. The longest run of words that names an existing file is one
/// path; any other word is a separate path.
fn split_files(value: &str, expand: impl Fn(&str) -> Option<PathBuf>) -> Option<Vec<PathBuf>> {
    let (mut files, mut rest) = (Vec::new(), value);
    while !rest.is_empty() {
        let end = longest_file(rest, &expand).or_else(|| rest.find(' ')).unwrap_or(rest.len());
        files.push(expand(&rest[..end])?);
        rest = rest[end..].trim_start_matches(' ');
    }
    Some(files)
}

/// Finds the end of the longest run of words that names a file. The number of runs that are tried does not grow with the
/// text: a run ends where its folder does not exist, and a name has a maximum length.
fn longest_file(text: &str, expand: impl Fn(&str) -> Option<PathBuf>) -> Option<usize> {
    let ends = text.match_indices(' ').map(|(end, _)| end).chain([text.len()]);
    let (mut longest, mut known) = (None, PathBuf::new());
    for end in ends {
        let Some(path) = expand(&text[..end]) else { break };
        let folder = path.parent().unwrap_or(Path::new(""));
        if folder != known {
            known = folder.to_owned();
            if !folder.as_os_str().is_empty() && !folder.is_dir() {
                break;
            }
        }
        if path.file_name().is_some_and(|name| name.len() > LONGEST_NAME) {
            break;
        }
        if path.is_file() {
            longest = Some(end);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// The output of OpenSSH 9.2 for a host that sets every keyword that is read; other lines are left out.
    const FULL: &str = "host app\nuser bob\nhostname app.example\nport 2222\nbatchmode yes\nhashknownhosts yes\n\
        identitiesonly yes\nkbdinteractiveauthentication yes\npasswordauthentication no\npubkeyauthentication true\n\
        stricthostkeychecking accept-new\nnumberofpasswordprompts 2\nhostkeyalias the-app\nidentityagent /home/me/.agent/me.sock\n\
        identityfile ~/.ssh/my key\nidentityfile %d/.ssh/id_%r@%h\ncertificatefile ~/.ssh/x-cert.pub\n\
        globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2\n\
        userknownhostsfile /home/me/.ssh/kh /x/the-app\n";

    /// The output for a host that disables features.
    const BARE: &str = "host b\nuser me\nhostname b\nport 22\nidentitiesonly no\npubkeyauthentication false\n\
        stricthostkeychecking true\nidentityagent none\nidentityfile none\nuserknownhostsfile none\n";

    fn read(text: &str, name: &str) -> HopSettings {
        try_read(text, name).unwrap()
    }

    fn try_read(text: &str, name: &str) -> Result<HopSettings, OpenSshError> {
        let variable = |name: &str| (name == "FOO").then(|| "/foo.sock".to_owned());
        let local = LocalUser {
            home: Path::new("/home/me"),
            user: "me",
            agent: Some(Path::new("/default.sock")),
            clock: || SystemTime::UNIX_EPOCH,
            variable: &variable,
        };
        parse(text, name, &local)
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
        let known = list(&["/home/me/.ssh/kh", "/x/the-app"]);
        assert_eq!(settings.user_known_hosts, known);
        assert_eq!(settings.global_known_hosts.len(), 2);
        assert!(settings.identities_only && settings.batch_mode && settings.hash_known_hosts);
        assert!(settings.methods.public_key && !settings.methods.password);
        assert_eq!(settings.strict, StrictHostKeys::AcceptNew);
        assert_eq!(settings.password_prompts, 2);
    }

    #[test]
    fn none_disables_files_and_agent() {
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
        let error = try_read("user u\nhostname h\nport many\n", "h").unwrap_err();
        assert_eq!(error.to_string(), "`ssh -G h` printed no usable `port`");
    }

    fn with(line: &str) -> Result<HopSettings, OpenSshError> {
        try_read(&format!("user u\nhostname h\nport 22\n{line}\n"), "h")
    }

    #[test]
    fn a_file_with_spaces_in_its_name_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, file) = (folder.path().display(), folder.path().join("k h 2"));
        std::fs::write(&file, "").unwrap();
        let settings = with(&format!("userknownhostsfile {folder}/a {folder}/k h 2 {folder}/b")).unwrap();
        assert_eq!(
            settings.user_known_hosts,
            [format!("{folder}/a").into(), file, format!("{folder}/b").into()]
        );
    }

    #[test]
    fn a_path_that_cannot_be_expanded_is_an_error() {
        for key in ["userknownhostsfile", "globalknownhostsfile", "revokedhostkeys"] {
            let error = with(&format!("{key} /x/one ~eve/two")).unwrap_err();
            assert!(matches!(error, OpenSshError::Value { key: found, .. } if found == key), "{error}");
        }
        let settings = with("revokedhostkeys %d/no more").unwrap();
        assert_eq!(settings.revoked_host_keys, list(&["/home/me/no", "more"]));
        assert!(with("revokedhostkeys %Z/no").is_err());
    }

    #[test]
    fn a_list_of_thousands_of_words_takes_few_looks_at_the_disk() {
        let looks = |words: &str, count: usize| {
            let looks = std::cell::Cell::new(0);
            let look = |text: &str| {
                looks.set(looks.get() + 1);
                Some(PathBuf::from(text))
            };
            let found = split_files(&vec![words; count].join(" "), look).unwrap();
            assert_eq!(found.len(), count * words.split(' ').count());
            looks.get()
        };
        for words in ["a", "/nowhere/a", "/nowhere /a", "/tmp/nowhere ./b", "//"] {
            let (few, many) = (looks(words, 1000), looks(words, 4000));
            assert!(many <= 4 * few + 200 * 1000, "{words}: {few}, {many}");
            assert!(many <= 4000 * 2 * 130, "{words}: {many}");
        }
    }

    #[test]
    fn a_path_with_spaces_in_folder_and_name_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my own folder/known hosts 2");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        let text = format!("/nowhere {} /nowhere/too", path.display());
        let expected = ["/nowhere".into(), path, "/nowhere/too".into()];
        assert_eq!(split_files(&text, |text| Some(text.into())).unwrap(), expected);
    }

    #[test]
    fn a_known_hosts_command_is_read_or_refused() {
        let read = |command: &str| with(&format!("stricthostkeychecking accept-new\n{command}"));
        let settings = read("knownhostscommand none").unwrap();
        assert_eq!((settings.strict, settings.known_hosts_command), (StrictHostKeys::AcceptNew, None));
        assert!(read("knownhostscommand /usr/bin/keys '%H' %n").unwrap().known_hosts_command.is_some());
        for command in ["keys %H", "/usr/bin/keys '%H", "/usr/bin/keys %C"] {
            let error = read(&format!("knownhostscommand {command}")).unwrap_err();
            assert!(matches!(error, OpenSshError::Value { key: "knownhostscommand", .. }), "{error}");
        }
    }

    #[test]
    fn only_preferred_methods_are_used() {
        let methods = with("preferredauthentications gssapi-with-mic,password\n").unwrap().methods;
        assert_eq!(methods, Methods { public_key: false, keyboard_interactive: false, password: true });
        let methods = with("preferredauthentications publickey,password\npasswordauthentication no").unwrap();
        assert!(methods.methods.public_key && !methods.methods.password);
    }

    #[test]
    fn a_list_without_a_supported_algorithm_is_an_error() {
        let error = with("hostkeyalgorithms sk-ssh-ed25519@openssh.com,ssh-dss").unwrap_err();
        assert!(matches!(error, OpenSshError::Unsupported { key: "hostkeyalgorithms", .. }), "{error}");
        assert!(with("hostkeyalgorithms ssh-dss,rsa-sha2-512-cert-v01@openssh.com").is_ok());
    }
}
