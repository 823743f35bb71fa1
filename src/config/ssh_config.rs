//! The text of an ssh_config with fumidai as ssh's ProxyCommand.
//!
//! One block for ids, containers and tags, and one for each host of the config file. No I/O; called by `cli`.

use std::fmt::Write;
use std::time::Duration;

use super::{Config, Host, KeyKind};

/// The seconds between two keepalive messages of ssh.
const ALIVE_INTERVAL: u64 = 30;

/// The number of unanswered messages after which ssh gives up: longer than the default resume window.
const ALIVE_COUNT: u64 = 30;

/// The first line, which marks a file that fumidai wrote.
pub const MARK: &str = "# Written by `fumidai ssh-config`; changes here are lost when it is run again.";

/// The program as ssh starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its path, or its name if it is on ssh's `PATH`.
    pub path: String,
    /// ssh starts it without a shell, as ssh of Windows does.
    pub is_without_shell: bool,
    /// Its path, for a command that ssh starts without looking at `PATH`; `None` if no line can hold it.
    pub whole_path: Option<String>,
    /// The version of ssh, major and minor.
    pub ssh: (u32, u32),
}

/// The first ssh that knows `Match final`; an older one refuses the whole file (release notes of OpenSSH 8.0).
const MATCH_FINAL: (u32, u32) = (8, 0);
/// The first ssh that knows `KnownHostsCommand` (release notes of OpenSSH 8.5).
const KNOWN_HOSTS_COMMAND: (u32, u32) = (8, 5);

/// Prints the keys that are known for an id, as keys of the id with its region. `HostKeyAlias` takes no tokens.
const KEYS_OF_ID: &str = r#"/bin/sh -c 'ssh-keygen -F "$(echo "$1" | sed s/--[a-z0-9-]*//)" | awk -v name="$1" "/^[^#]/ { at = /^@/ ? 2 : 1; \$at = name; print }"; exit 0' sh %H"#;

/// Writes the whole file.
pub fn ssh_config(config: &Config, program: &Program) -> String {
    let command = program.command(config);
    let mut text = format!("{MARK}\n\n");
    text.push_str(
        "# Instances and hybrid-activated machines by id, in any region: i-...--eu-central-1 names it.\n",
    );
    let window = config.session.resume_window;
    let token = |token: &str| program.quoted_token(token);
    let keys = KeyLines::new(config, program);
    let by_id = keys.connect(&command, &token("%h"), "%h", keys.for_all);
    let own = keys.identity("%h", keys.for_all);
    push_block(&mut text, "Host i-* mi-*", &by_id, &own, window);
    if program.ssh >= MATCH_FINAL {
        text.push_str("\n# Hosts of your own whose HostName is such an id.\n");
        push_block(&mut text, "Match final host \"i-*,mi-*\"", &by_id, &own, window);
    }
    if program.ssh >= KNOWN_HOSTS_COMMAND && !program.is_without_shell {
        text.push_str("\n# With a region, the host key that is known for the id alone is found too.\n");
        let _ = writeln!(text, "Match final host \"i-*--*,mi-*--*\"\n    KnownHostsCommand {KEYS_OF_ID}");
    }
    text.push_str(
        "\n# Containers, clusters and tags. %n is the name as it was typed; ssh makes %h lower case.\n",
    );
    push_block(
        &mut text,
        "Host ecs:* sagemaker-cluster:* tag:*",
        &format!("{command} connect {} %p", token("%n")),
        &[],
        window,
    );
    for (name, host) in &config.hosts {
        let window =
            config.for_host(name).map_or(config.session.resume_window, |found| found.2.session.resume_window);
        let _ = write!(text, "\n# [hosts.{name}]\n");
        let mut lines = own_lines(name, host);
        lines.extend(start_lines(config, host));
        lines.extend(program.host_key_lines(config, name, host));
        lines.extend(keys.identity(name, keys.of_host(host)));
        let command = keys.connect(&command, name, name, keys.of_host(host));
        push_block(&mut text, &format!("Host {name}"), &command, &lines, window);
    }
    text.push_str(
        "\n# Several ssh to one host can share a session, which saves the set-up of all but the first. In ~/.ssh/config,\n\
         # for the hosts that should (not with ssh of Windows, which has no ControlMaster):\n\
         #     ControlMaster auto\n\
         #     ControlPath ~/.ssh/control-%C\n\
         #     ControlPersist 10m\n",
    );
    text
}

/// Returns true if the text was written by [`ssh_config`].
pub fn is_ours(text: &[u8]) -> bool {
    text.starts_with(MARK.as_bytes())
}

/// What hosts need to which a key is pushed.
struct KeyLines<'a> {
    program: &'a Program,
    /// Where the ephemeral keys of ssh are.
    folder: Option<String>,
    /// `--ephemeral-key` was given: every host has one.
    for_all: Option<KeyKind>,
}

impl<'a> KeyLines<'a> {
    fn new(config: &Config, program: &'a Program) -> Self {
        let folder = config.runtime_dir.as_ref().and_then(|folder| folder.to_str()).map(str::to_owned);
        let folder = folder.filter(|text| !program.is_without_shell && !text.contains(['"', '\n']));
        Self { program, folder, for_all: config.ephemeral_key.then_some(KeyKind::Ephemeral) }
    }

    fn of_host(&self, host: &Host) -> Option<KeyKind> {
        self.for_all.or(host.key)
    }

    /// Returns the ProxyCommand. EC2 Instance Connect has to know the user; `name` is what the key file is named by.
    fn connect(&self, command: &str, target: &str, name: &str, key: Option<KeyKind>) -> String {
        let flag = if self.for_all.is_some() { " --ephemeral-key" } else { "" };
        match key {
            None => format!("{command} connect {target} %p"),
            Some(KeyKind::Push) => format!("{command} connect {} %p", self.with_user(name)),
            Some(KeyKind::Ephemeral) => {
                let quoted = |file: String| format!(" --key-file '{}'", file.replace('\'', r"'\''"));
                let file = self.file(name).map(quoted).unwrap_or_default();
                format!("{command} connect{flag}{file} {} %p", self.with_user(name))
            }
        }
    }

    /// Returns the lines by which ssh offers the ephemeral key and no other. ssh reads the file only when it logs in: the
    /// ProxyCommand has written it by then.
    fn identity(&self, name: &str, key: Option<KeyKind>) -> Vec<String> {
        let file = self.file(name).filter(|_| key == Some(KeyKind::Ephemeral));
        let lines = |file| vec![format!("IdentityFile \"{file}\""), "IdentitiesOnly yes".to_owned()];
        file.map(lines).unwrap_or_default()
    }

    /// `%r` is the user; other tokens are not known to both IdentityFile and ProxyCommand.
    fn file(&self, name: &str) -> Option<String> {
        let folder = self.folder.as_ref()?.replace('%', "%%");
        Some(format!("{folder}/{name}-%r"))
    }

    fn with_user(&self, name: &str) -> String {
        self.program.quoted_token(&format!("%r@{name}"))
    }
}

impl Program {
    /// Returns the command up to the command word: quoted, and with `%` doubled, which ssh would expand.
    fn command(&self, config: &Config) -> String {
        let quoted = |word: &str| {
            let word = if self.is_without_shell { quote_for_windows(word) } else { quote_for_shell(word) };
            word.replace('%', "%%")
        };
        let mut command = quoted(&self.path);
        if let Some(file) = &config.file_by_flag {
            let _ = write!(command, " --config {}", quoted(&file.to_string_lossy()));
        }
        for (flag, value) in config.given_flags() {
            let _ = write!(command, " {flag} {}", quoted(&value));
        }
        command
    }

    /// Returns the lines that take the host key from the source of the host, and from nowhere else.
    fn host_key_lines(&self, config: &Config, name: &str, host: &Host) -> Vec<String> {
        if host.host_keys.is_none() {
            return Vec::new();
        }
        let path = self.whole_path.as_ref().filter(|_| !self.is_without_shell);
        let Some(path) = path.filter(|_| self.ssh >= KNOWN_HOSTS_COMMAND) else {
            return self.why_without_host_keys();
        };
        let command = self.arguments(config, path);
        vec![
            format!("KnownHostsCommand {command} host-keys {name} %p --name %H --offered %K"),
            "StrictHostKeyChecking yes".to_owned(),
            "UserKnownHostsFile /dev/null".to_owned(),
        ]
    }

    fn why_without_host_keys(&self) -> Vec<String> {
        let (major, minor) = KNOWN_HOSTS_COMMAND;
        let found = match self.ssh {
            (0, 0) => "there is no OpenSSH on PATH".to_owned(),
            (major, minor) => format!("`ssh -V` says {major}.{minor}"),
        };
        vec![
            format!(
                "# host_keys is not used: it needs KnownHostsCommand of OpenSSH {major}.{minor} or later"
            ),
            format!("# (not on Windows), and {found}. Update ssh, then run"),
            "# `fumidai ssh-config` again. Until then ssh checks the host key with known_hosts.".to_owned(),
        ]
    }

    /// Returns the command for ssh's own splitting of words. ssh replaces `%` in all of them but the first.
    fn arguments(&self, config: &Config, path: &str) -> String {
        let mut command = quote_for_split(path);
        let mut push = |word: &str| {
            let _ = write!(command, " {}", quote_for_split(&word.replace('%', "%%")));
        };
        if let Some(file) = &config.file_by_flag {
            push("--config");
            push(&file.to_string_lossy());
        }
        for (flag, value) in config.given_flags() {
            push(&flag);
            push(&value);
        }
        command
    }

    /// Quotes a token that ssh replaces by a typed name: the shell must not act on what the name holds.
    fn quoted_token(&self, token: &str) -> String {
        if self.is_without_shell { format!("\"{token}\"") } else { format!("'{token}'") }
    }
}

/// Returns the `HostKeyAlias` of a host: a server with an id has its host key under that id.
pub fn host_key_alias<'a>(name: &'a str, host: &'a Host) -> &'a str {
    let is_id = |target: &&str| {
        let digits = target.strip_prefix("i-").or_else(|| target.strip_prefix("mi-"));
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    host.target.as_deref().filter(is_id).unwrap_or(name)
}

fn own_lines(name: &str, host: &Host) -> Vec<String> {
    let mut lines = vec![format!("HostKeyAlias {}", host_key_alias(name, host))];
    lines.extend(host.user.as_ref().map(|user| format!("User {}", quote_for_ssh(user))));
    lines.extend(host.port.map(|port| format!("Port {port}")));
    lines
}

/// ssh must wait as long as the first machine of the way to a host may take to start, whatever else the user has set.
fn start_lines(config: &Config, host: &Host) -> Vec<String> {
    let first = first_machine(config, host);
    if !first.start && first.task.is_none() {
        return Vec::new();
    }
    let session = config.for_hop(Some(first), Some(host)).session;
    let (start, connect) = (session.start_timeout.as_secs(), session.connect_timeout.as_secs());
    vec![
        format!(
            "# `{}` may have to be started first (start_timeout {start} s, connect_timeout {connect} s).",
            first.name
        ),
        format!("ConnectTimeout {}", start + connect),
    ]
}

/// Follows the first hops, which are no circle.
fn first_machine<'a>(config: &'a Config, host: &'a Host) -> &'a Host {
    let hop = host.hops().first().and_then(|word| super::cycles::named(&config.hosts, word));
    hop.map_or(host, |(_, hop)| first_machine(config, hop))
}

fn push_block(text: &mut String, header: &str, command: &str, own: &[String], window: Duration) {
    let count = ALIVE_COUNT.max(window.as_secs().div_ceil(ALIVE_INTERVAL));
    let _ = writeln!(text, "{header}");
    for line in own {
        let _ = writeln!(text, "    {line}");
    }
    let _ = writeln!(text, "    ProxyCommand {command}");
    let seconds = window.as_secs();
    let _ = writeln!(text, "    # Longer than a cut link is resumed for (resume_window, {seconds} s).");
    let _ = writeln!(text, "    ServerAliveInterval {ALIVE_INTERVAL}\n    ServerAliveCountMax {count}");
}

/// Writes a word that ssh reads as one value: not as a comment, not as the `=` after a keyword.
fn quote_for_ssh(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@' | '\\');
    let escaped = word.replace('\\', r"\\");
    if word.chars().all(is_plain) { escaped } else { format!("\"{escaped}\"") }
}

/// Quotes a word of a command that ssh starts without a shell.
fn quote_for_split(word: &str) -> String {
    match is_plain_word(word) {
        true => word.to_owned(),
        false => format!("\"{}\"", word.replace('\\', r"\\").replace('"', "\\\"")),
    }
}

fn is_plain_word(word: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+%:,".contains(c);
    word.chars().all(is_plain) && !word.is_empty()
}

/// The user's shell reads the line; single quotes mean the same in every shell.
fn quote_for_shell(word: &str) -> String {
    match is_plain_word(word) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A file name of Windows has no double quote.
fn quote_for_windows(word: &str) -> String {
    if word.contains(|c: char| c.is_whitespace()) { format!("\"{word}\"") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags};

    fn text_of(toml: &str, program: &Program) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, toml).expect("a file");
        let environment = Environment::of([("FUMIDAI_CONFIG", file.to_str().expect("UTF-8"))]);
        let environment = with_folders(environment);
        ssh_config(&Config::resolve(Flags::default(), &environment).expect(toml), program)
    }

    fn with_folders(mut environment: Environment) -> Environment {
        environment.folders.runtime = Some("/run/user/7".into());
        environment
    }

    fn on_path() -> Program {
        Program {
            path: "fumidai".into(),
            is_without_shell: false,
            whole_path: Some("/opt/fumidai".into()),
            ssh: (9, 2),
        }
    }

    #[test]
    fn ssh_waits_for_a_bastion_that_is_started() {
        let text = text_of(
            "[defaults]\nstart_timeout = '10m'\n[hosts.bastion]\ntarget = 'i-0123'\nstart = true\n\
             [hosts.app]\naddress = '10.0.0.1'\nvia = 'me@bastion'\nconnect_timeout = 60\n[hosts.plain]\n",
            &on_path(),
        );
        for block in [
            "Host bastion\n    HostKeyAlias i-0123\n    # `bastion` may",
            "Host app\n    HostKeyAlias app\n    # `bastion` may",
        ] {
            assert!(text.contains(block), "{text}");
        }
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("ConnectTimeout")).collect();
        assert_eq!(lines, ["    ConnectTimeout 660", "    ConnectTimeout 645"]);
    }

    #[test]
    fn ids_and_every_host_have_a_block() {
        let text = text_of(
            "[hosts.web]\ntarget = 'i-0123--eu-west-1'\nuser = 'ec2-user'\nport = 2222\n[hosts.db]\ntarget = 'tag:a=b'",
            &on_path(),
        );
        assert!(is_ours(text.as_bytes()));
        for block in [
            "\nHost i-* mi-*\n    ProxyCommand fumidai connect '%h' %p\n",
            "\nMatch final host \"i-*,mi-*\"\n    ProxyCommand fumidai connect '%h' %p\n",
            "\nHost ecs:* sagemaker-cluster:* tag:*\n    ProxyCommand fumidai connect '%n' %p\n",
            "\nHost web\n    HostKeyAlias i-0123\n    User ec2-user\n    Port 2222\n    ProxyCommand fumidai connect web %p\n",
            "\nHost db\n    HostKeyAlias db\n    ProxyCommand fumidai connect db %p\n",
        ] {
            assert!(text.contains(block), "{block} in {text}");
        }
        assert_eq!(text.matches("    ServerAliveInterval 30\n    ServerAliveCountMax 30\n").count(), 5);
    }

    #[test]
    fn a_host_with_a_pushed_key_names_the_user_and_the_file() {
        let toml = "[hosts.web]\nkey = 'ephemeral'\nuser = 'me'\n[hosts.db]\nkey = 'push'\n[hosts.plain]";
        let text = text_of(toml, &on_path());
        for block in [
            "\nHost web\n    HostKeyAlias web\n    User me\n    IdentityFile \"/run/user/7/fumidai/web-%r\"\n    \
             IdentitiesOnly yes\n    ProxyCommand fumidai connect --key-file '/run/user/7/fumidai/web-%r' '%r@web' %p\n",
            "\nHost db\n    HostKeyAlias db\n    ProxyCommand fumidai connect '%r@db' %p\n",
            "\nHost plain\n    HostKeyAlias plain\n    ProxyCommand fumidai connect plain %p\n",
            "\nHost i-* mi-*\n    ProxyCommand fumidai connect '%h' %p\n",
        ] {
            assert!(text.contains(block), "{block} in {text}");
        }
        let windows = Program { is_without_shell: true, ..on_path() };
        assert!(text_of(toml, &windows).contains("ProxyCommand fumidai connect \"%r@web\" %p\n"));
    }

    #[test]
    fn the_flag_gives_every_id_and_host_a_key() {
        let flags = Flags { ephemeral_key: true, ..Flags::default() };
        let config = Config::resolve(flags, &with_folders(Environment::default())).expect("valid");
        let text = ssh_config(&config, &on_path());
        let line = "IdentityFile \"/run/user/7/fumidai/%h-%r\"\n    IdentitiesOnly yes\n    ProxyCommand fumidai connect \
                    --ephemeral-key --key-file '/run/user/7/fumidai/%h-%r' '%r@%h' %p\n";
        assert_eq!(text.matches(line).count(), 2, "{text}");
        assert!(text.contains("ProxyCommand fumidai connect '%n' %p\n"), "containers take no keys");
    }

    #[test]
    fn an_old_ssh_gets_only_what_it_knows() {
        let text = |ssh| text_of("", &Program { ssh, ..on_path() });
        let count = |ssh, word: &str| text(ssh).matches(word).count();
        assert_eq!((count((7, 9), "Match"), count((8, 0), "Match"), count((8, 5), "Match")), (0, 1, 2));
        assert_eq!((count((8, 4), "KnownHostsCommand"), count((8, 5), "KnownHostsCommand")), (0, 1));
    }

    const WITH_SOURCE: &str = "[hosts.web]\ntarget = 'i-0123'\nhost_keys = 'console'\n[hosts.db]";

    #[test]
    fn a_host_with_a_source_gets_its_keys_from_there_alone() {
        let text = text_of(WITH_SOURCE, &on_path());
        let block = "    HostKeyAlias i-0123\n    KnownHostsCommand /opt/fumidai host-keys web %p --name %H --offered %K\n    \
                     StrictHostKeyChecking yes\n    UserKnownHostsFile /dev/null\n    ProxyCommand fumidai connect web %p\n";
        assert!(text.contains(block), "{text}");
        assert_eq!(text.matches("UserKnownHostsFile").count(), 1);
    }

    #[test]
    fn a_source_is_a_comment_if_ssh_cannot_use_it() {
        let windows = Program { is_without_shell: true, ..on_path() };
        let old = Program { ssh: (8, 4), ..on_path() };
        for program in [windows, old, Program { whole_path: None, ..on_path() }] {
            let text = text_of(WITH_SOURCE, &program);
            assert!(
                text.contains("    # host_keys is not used: it needs KnownHostsCommand of OpenSSH 8.5"),
                "{text}"
            );
            assert!(!text.contains("fumidai host-keys") && !text.contains("StrictHostKeyChecking"), "{text}");
        }
    }

    #[test]
    fn the_words_of_a_command_without_a_shell_are_quoted_for_ssh() {
        for (word, quoted) in
            [("/a/b-c", "/a/b-c"), ("a b", "\"a b\""), (r#"a\"b"#, r#""a\\\"b""#), ("", "\"\"")]
        {
            assert_eq!(quote_for_split(word), quoted);
        }
        let text = text_of(WITH_SOURCE, &Program { whole_path: Some("/it's 100%/f".into()), ..on_path() });
        assert!(text.contains("KnownHostsCommand \"/it's 100%/f\" host-keys"), "{text}");
    }

    #[test]
    fn given_flags_are_passed_on() {
        let settings = crate::config::Settings {
            profile: Some("my prod".into()),
            region: Some("eu-west-1".into()),
            resume_window: Some(Duration::from_secs(7200)),
            color: Some(crate::config::Color::Always),
            ..Default::default()
        };
        let flags = Flags { settings, ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect("valid");
        let text = ssh_config(&config, &on_path());
        let command = "ProxyCommand fumidai --profile 'my prod' --region eu-west-1 --resume-window 7200 connect '%h' %p";
        assert_eq!(text.matches(command).count(), 2, "{text}");
        assert!(text.contains("ServerAliveCountMax 240\n") && !text.contains("--color"), "{text}");
    }

    #[test]
    fn a_user_or_a_target_is_one_word() {
        for (user, line) in [
            ("#a", "User \"#a\""),
            ("=a", "User \"=a\""),
            (r"CORP\me", r"User CORP\\me"),
            ("me@x", "User me@x"),
        ] {
            let text = text_of(&format!("[hosts.web]\nuser = '{user}'\ntarget = 'tag:Name=a x'"), &on_path());
            assert!(text.contains(&format!("    HostKeyAlias web\n    {line}\n    ProxyCommand")), "{text}");
        }
    }

    #[test]
    fn ssh_outlives_a_longer_window() {
        let text = text_of("[defaults]\nresume_window = '2h'\n[hosts.a]\nresume_window = 60", &on_path());
        assert_eq!(text.matches("ServerAliveCountMax 240\n").count(), 3);
        assert_eq!(text.matches("ServerAliveCountMax 30\n").count(), 1);
    }

    #[test]
    fn a_path_is_quoted_for_the_shell_or_for_windows() {
        for (path, is_without_shell, line) in [
            ("/opt/fumidai", false, "ProxyCommand /opt/fumidai connect"),
            ("/my tools/it's 100%/fumidai", false, r"ProxyCommand '/my tools/it'\''s 100%%/fumidai' connect"),
            (r"C:\Tools\fumidai.exe", true, r"ProxyCommand C:\Tools\fumidai.exe connect"),
            (r"C:\Program Files\f.exe", true, "ProxyCommand \"C:\\Program Files\\f.exe\" connect"),
        ] {
            let text = text_of("", &Program { path: path.into(), is_without_shell, ..on_path() });
            assert!(text.contains(line), "{text}");
        }
    }
}
