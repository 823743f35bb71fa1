//! The settings of a hop, as plain values.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::allowed::Allowed;
use super::known_hosts_command::KnownHostsCommand;
use super::own_key::OwnKey;
use super::trusted::TrustedKeys;

/// Time limit for the key exchange. OpenSSH waits for TCP's own timeout, but here the stream is already open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Time limit for one answer during the login: half of sshd's default `LoginGraceTime`.
const AUTH_TIMEOUT: Duration = Duration::from_secs(60);

/// OpenSSH's default of `NumberOfPasswordPrompts`.
const PASSWORD_PROMPTS: u32 = 3;

/// OpenSSH's default of `RequiredRSASize`, in bits.
const REQUIRED_RSA_SIZE: u32 = 1024;

/// OpenSSH's default identity files in `~/.ssh`.
const IDENTITY_FILES: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ecdsa_sk", "id_ed25519_sk"];

/// How to log in to one hop, and how to verify its host key.
#[derive(Clone, Debug)]
pub struct HopSettings {
    /// The hop's name as typed.
    pub name: String,
    /// The user name on the hop.
    pub user: String,
    /// The address: used in known_hosts, and in the request to the previous hop.
    pub host: String,
    /// The port of the hop's sshd.
    pub port: u16,
    /// `HostKeyAlias`: replaces host and port in known_hosts.
    pub host_key_alias: Option<String>,
    /// The key that is made for this login; it is offered first.
    pub own_key: Option<OwnKey>,
    /// Private keys, or public keys whose private half is in the agent.
    pub identity_files: Vec<PathBuf>,
    /// Certificates, in addition to `FILE-cert.pub` of each identity file.
    pub certificate_files: Vec<PathBuf>,
    /// Whether only the agent's keys that `identity_files` lists are offered.
    pub identities_only: bool,
    /// The agent's socket; `None` uses no agent.
    pub agent: Option<PathBuf>,
    /// The user's known_hosts files; new hosts are added to the first.
    pub user_known_hosts: Vec<PathBuf>,
    /// The system's known_hosts files.
    pub global_known_hosts: Vec<PathBuf>,
    /// Whether the names of new hosts are hashed.
    pub hash_known_hosts: bool,
    /// The policy for unknown host keys.
    pub strict: StrictHostKeys,
    /// Whether a new host that the policy accepts is added to known_hosts.
    pub keeps_new_hosts: bool,
    /// The command that prints lines of known_hosts (`KnownHostsCommand`).
    pub known_hosts_command: Option<KnownHostsCommand>,
    /// The host's keys; if they are given, they alone are accepted, and known_hosts can only revoke.
    pub trusted: Option<TrustedKeys>,
    /// Files of revoked keys and authorities.
    pub revoked_host_keys: Vec<PathBuf>,
    /// Allowed algorithms of host keys and host certificates.
    pub host_key_algorithms: Allowed,
    /// Allowed signature algorithms of host certificates.
    pub ca_signature_algorithms: Allowed,
    /// Minimum length of RSA keys in bits, for host keys and user keys.
    pub required_rsa_size: u32,
    /// Allowed algorithms of the user's keys and certificates.
    pub pubkey_accepted_algorithms: Allowed,
    /// Allowed authentication methods.
    pub methods: Methods,
    /// Whether prompts are forbidden.
    pub batch_mode: bool,
    /// Maximum number of password prompts.
    pub password_prompts: u32,
    /// Time limit for the key exchange, paused while the user answers a question.
    pub connect_timeout: Duration,
    /// Time limit for each answer of the server during the login, paused while the user answers a question.
    pub auth_timeout: Duration,
    /// Returns the time for the validity of certificates. A function, since a login may be repeated after days.
    pub clock: fn() -> SystemTime,
}

/// The policy for unknown host keys (`StrictHostKeyChecking`). A changed or revoked key is always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictHostKeys {
    /// Refuse the key.
    Yes,
    /// Ask the user; refuse the key if there is no terminal.
    Ask,
    /// Accept the key and add it to known_hosts.
    AcceptNew,
    /// Like [`StrictHostKeys::AcceptNew`]. OpenSSH would also accept a changed key; we refuse it.
    No,
}

/// The allowed authentication methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// `publickey`: keys and certificates.
    pub public_key: bool,
    /// `keyboard-interactive`: the server's prompts.
    pub keyboard_interactive: bool,
    /// `password`.
    pub password: bool,
}

/// The local user's environment, as an input.
#[derive(Clone, Copy)]
pub struct LocalUser<'a> {
    /// The user's home folder.
    pub home: &'a Path,
    /// The local user name.
    pub user: &'a str,
    /// The agent's socket, `SSH_AUTH_SOCK`.
    pub agent: Option<&'a Path>,
    /// Returns the current time.
    pub clock: fn() -> SystemTime,
    /// Returns the value of an environment variable, for settings that name one.
    pub variable: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl HopSettings {
    /// Returns OpenSSH's defaults.
    pub fn new(user: &str, host: &str, port: u16, local: &LocalUser<'_>) -> Self {
        let folder = local.home.join(".ssh");
        Self {
            name: host.to_owned(),
            user: user.to_owned(),
            host: host.to_owned(),
            port,
            host_key_alias: None,
            own_key: None,
            identity_files: IDENTITY_FILES.map(|name| folder.join(name)).into(),
            certificate_files: Vec::new(),
            identities_only: false,
            agent: local.agent.map(Path::to_owned),
            user_known_hosts: vec![folder.join("known_hosts"), folder.join("known_hosts2")],
            global_known_hosts: vec!["/etc/ssh/ssh_known_hosts".into(), "/etc/ssh/ssh_known_hosts2".into()],
            hash_known_hosts: false,
            strict: StrictHostKeys::Ask,
            keeps_new_hosts: true,
            known_hosts_command: None,
            trusted: None,
            revoked_host_keys: Vec::new(),
            host_key_algorithms: Allowed::default(),
            ca_signature_algorithms: Allowed::default(),
            required_rsa_size: REQUIRED_RSA_SIZE,
            pubkey_accepted_algorithms: Allowed::default(),
            methods: Methods { public_key: true, keyboard_interactive: true, password: true },
            batch_mode: false,
            password_prompts: PASSWORD_PROMPTS,
            connect_timeout: CONNECT_TIMEOUT,
            auth_timeout: AUTH_TIMEOUT,
            clock: local.clock,
        }
    }

    /// Returns the hop's name in known_hosts: the alias, or the host with its port.
    pub fn known_as(&self) -> String {
        match &self.host_key_alias {
            Some(alias) => alias.to_ascii_lowercase(),
            None if self.port == 22 => self.host.to_ascii_lowercase(),
            None => format!("[{}]:{}", self.host.to_ascii_lowercase(), self.port),
        }
    }

    /// Returns the name that a host certificate must list.
    pub(super) fn principal(&self) -> String {
        self.host_key_alias.as_ref().unwrap_or(&self.host).to_ascii_lowercase()
    }
}
