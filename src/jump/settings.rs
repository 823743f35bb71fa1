//! Everything that is known of a hop before it is dialled, as plain values.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// OpenSSH waits as long as TCP does; our stream is open already, so its far end answers or never will.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Half of the grace that sshd gives a login.
const AUTH_TIMEOUT: Duration = Duration::from_secs(60);

/// OpenSSH's `NumberOfPasswordPrompts`.
const PASSWORD_PROMPTS: u32 = 3;

/// OpenSSH's `RequiredRSASize`.
const REQUIRED_RSA_SIZE: u32 = 1024;

/// Private keys that are tried if nothing else is said, below `~/.ssh`.
const IDENTITY_FILES: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ecdsa_sk", "id_ed25519_sk"];

/// How to log in to one hop, and what it must prove.
#[derive(Clone, Debug)]
pub struct HopSettings {
    /// What the user calls it.
    pub name: String,
    /// Who logs in.
    pub user: String,
    /// The address that known_hosts knows it by, and that the hop before is asked for.
    pub host: String,
    /// The port of its sshd.
    pub port: u16,
    /// What known_hosts knows it by instead, as it is, without a port.
    pub host_key_alias: Option<String>,
    /// Private keys, or public keys whose private half the agent has.
    pub identity_files: Vec<PathBuf>,
    /// Certificates beside those that lie beside the keys.
    pub certificate_files: Vec<PathBuf>,
    /// Whether the agent's other keys must not be offered.
    pub identities_only: bool,
    /// The agent's socket; none: no agent.
    pub agent: Option<PathBuf>,
    /// Known hosts of the user; the first file is where new ones are written.
    pub user_known_hosts: Vec<PathBuf>,
    /// Known hosts of the machine.
    pub global_known_hosts: Vec<PathBuf>,
    /// Whether names are hashed where new hosts are written.
    pub hash_known_hosts: bool,
    /// What is done about a host key that is not known.
    pub strict: StrictHostKeys,
    /// Files of keys and authorities that no host may have any more.
    pub revoked_host_keys: Vec<PathBuf>,
    /// Of which kinds host keys and their certificates may be.
    pub host_key_algorithms: Allowed,
    /// How the authorities of host certificates may sign.
    pub ca_signature_algorithms: Allowed,
    /// How many bits an RSA key must have, a host's or the user's.
    pub required_rsa_size: u32,
    /// Of which kinds the user's keys and certificates may be.
    pub pubkey_accepted_algorithms: Allowed,
    /// Which ways to log in may be used.
    pub methods: Methods,
    /// Whether nobody must be asked anything.
    pub batch_mode: bool,
    /// How often a password may be asked for.
    pub password_prompts: u32,
    /// How long the exchange of keys may take, without the time that a human thinks.
    pub connect_timeout: Duration,
    /// How long one answer of the server may take while logging in, without the time that a human thinks.
    pub auth_timeout: Duration,
    /// Tells the time by which certificates are judged; a hop may be logged in to again after days.
    pub clock: fn() -> SystemTime,
}

/// What is done about a host key that is not known; a changed or revoked one is refused whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrictHostKeys {
    /// It is refused.
    Yes,
    /// A human is asked, and it is refused if there is none.
    Ask,
    /// It is accepted and written down.
    AcceptNew,
    /// Like [`StrictHostKeys::AcceptNew`]: OpenSSH would also go on with a changed key, we do not.
    No,
}

/// The names that a setting allows of those that we know; all of them if it is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Option<Vec<String>>);

/// Which ways to log in may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// Keys and certificates.
    pub public_key: bool,
    /// The server's own questions.
    pub keyboard_interactive: bool,
    /// A password.
    pub password: bool,
}

/// What is known of the user who runs this, as an input.
#[derive(Clone, Copy)]
pub struct Local<'a> {
    /// The home folder.
    pub home: &'a Path,
    /// The user's name.
    pub user: &'a str,
    /// `SSH_AUTH_SOCK`.
    pub agent: Option<&'a Path>,
    /// Tells the time.
    pub clock: fn() -> SystemTime,
    /// Reads a variable of the environment, for settings that name one.
    pub variable: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl Allowed {
    /// Allows the names of a list with commas.
    pub fn only(list: &str) -> Self {
        Self(Some(list.split(',').map(str::to_owned).collect()))
    }

    /// Whether a name is allowed.
    pub fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.iter().any(|allowed| allowed == name))
    }
}

impl HopSettings {
    /// Returns the settings that OpenSSH would use without any configuration.
    pub fn new(user: &str, host: &str, port: u16, local: &Local<'_>) -> Self {
        let folder = local.home.join(".ssh");
        Self {
            name: host.to_owned(),
            user: user.to_owned(),
            host: host.to_owned(),
            port,
            host_key_alias: None,
            identity_files: IDENTITY_FILES.map(|name| folder.join(name)).into(),
            certificate_files: Vec::new(),
            identities_only: false,
            agent: local.agent.map(Path::to_owned),
            user_known_hosts: vec![folder.join("known_hosts"), folder.join("known_hosts2")],
            global_known_hosts: vec!["/etc/ssh/ssh_known_hosts".into(), "/etc/ssh/ssh_known_hosts2".into()],
            hash_known_hosts: false,
            strict: StrictHostKeys::Ask,
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

    /// Returns the name that known_hosts knows the hop by: the alias, or the host with its port.
    pub fn known_as(&self) -> String {
        match &self.host_key_alias {
            Some(alias) => alias.to_lowercase(),
            None if self.port == 22 => self.host.to_lowercase(),
            None => format!("[{}]:{}", self.host.to_lowercase(), self.port),
        }
    }

    /// Returns the name that a host certificate must be for.
    pub(super) fn principal(&self) -> String {
        self.host_key_alias.as_ref().unwrap_or(&self.host).to_lowercase()
    }
}
