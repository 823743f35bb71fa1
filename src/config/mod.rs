//! File, environment and flags become one plain [`Config`]; no layer below reads any of the three.
//!
//! [`Source`] has the rank of the sources; a setting that none of them gives is left to the AWS profile (`None`) or gets the
//! default. Unknown keys and bad values are refused with their place. Called once, by `cli`.

mod access_request;
mod aws;
mod conflicts;
mod cycles;
mod environment;
mod error;
mod exec;
mod file;
mod forward;
#[cfg(feature = "sim")]
pub(crate) mod fuzz;
mod host;
mod host_keys;
mod layers;
mod parse;
mod remedy;
mod run_flags;
mod settings;
mod spec;
pub mod ssh_config;
mod table;
mod task;
mod unknown;
pub mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use access_request::AccessRequest;
pub use aws::{AwsSettings, Endpoints};
pub use environment::{Environment, Folders, PROXY_VARIABLES, process_variable};
pub use error::{ConfigError, Distrust};
pub use exec::{ClientSettings, ExecTemplate, Placeholder, TokenKind};
pub use file::{check_text, default_file, has_table};
pub use forward::{FORWARD_KEYS, Forward, ForwardKey, LocalEnd, RemoteEnd, local_end, remote_end};
pub use host::{HOST_KEYS, Host, HostKey, KeyKind, RouteKind};
pub use host_keys::HostKeySource;
pub use layers::{ResolvedSetting, Source};
pub use settings::{Key, SessionSettings, Settings};
pub use spec::{LocalForward, SpecError, dynamic_forward, local_forward};
pub use table::{Heading, Row, TableKey};
pub use task::{TASK_KEYS, TaskSettings};
pub use value::{Raw, ValueError};

use crate::names::Region;

use file::ConfigFile;
use layers::Layers;

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// For the control plane.
    pub aws: AwsSettings,
    /// For every session that is opened.
    pub session: SessionSettings,
    /// For the log.
    pub log: LogSettings,
    /// Whether log lines on a terminal have colour.
    pub color: Color,
    /// How long a resolved name stays valid (`cache` of a host); `None` resolves it each time.
    pub name_life: Option<Duration>,
    /// The folder for what is kept between runs; `None` keeps nothing.
    pub cache_dir: Option<PathBuf>,
    /// The hosts of the config file by name; [`Config::for_host`] is the way to use one.
    pub hosts: BTreeMap<String, Host>,
    /// The forwards of the config file by name.
    pub forwards: BTreeMap<String, Forward>,
    /// The hops that were named by flag, the nearest first; they override a host's own.
    pub via: Vec<String>,
    /// `--start` or `--no-start`, which override `start` of a host.
    pub start_by_flag: Option<bool>,
    /// The config file that was read.
    pub file: Option<PathBuf>,
    /// `--ephemeral-key`, which overrides `key` of a host.
    pub ephemeral_key: bool,
    /// The file that ssh reads the ephemeral key from (`--key-file`); without it, ssh asks the ssh-agent.
    pub key_file: Option<PathBuf>,
    /// The folder for what is kept until the user logs out; `None` keeps nothing.
    pub runtime_dir: Option<PathBuf>,
    /// The config file that was named by flag.
    pub file_by_flag: Option<PathBuf>,
    layers: Layers,
}

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The log file; `None` where there is no folder for it.
    pub file: Option<PathBuf>,
    /// What `-v` and `-q` ask for.
    pub verbosity: Verbosity,
    /// The directives of `RUST_LOG`.
    pub rust_log: Option<String>,
}

/// How much is written to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: the cause of a failure and its hints, no progress notes.
    Quiet,
    /// Notes on a terminal, no log lines.
    #[default]
    Normal,
    /// `-v`: log lines from INFO on.
    Info,
    /// `-vv`: from DEBUG on.
    Debug,
    /// `-vvv`: everything.
    Trace,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal that can show it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    const ALL: [Self; 3] = [Self::Auto, Self::Always, Self::Never];

    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }

    /// Finds the colour setting of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|color| color.name() == name)
    }

    /// Decides for a stream that is a terminal or is not.
    pub fn is_on(self, is_terminal: bool) -> bool {
        match self {
            Self::Auto => is_terminal,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The options of the command line.
#[derive(Clone, Default)]
pub struct Flags {
    /// The settings that are flags.
    pub settings: Settings,
    /// `--config`.
    pub config_file: Option<PathBuf>,
    /// The command makes the config file, so that a file that was named need not exist.
    pub makes_config_file: bool,
    /// `-v` and `-q`.
    pub verbosity: Verbosity,
    /// `--via`, the nearest hop first.
    pub via: Vec<String>,
    /// `--start` or `--no-start`.
    pub start: Option<bool>,
    /// `--ephemeral-key`.
    pub ephemeral_key: bool,
    /// `--key-file`.
    pub key_file: Option<PathBuf>,
    /// `--no-input`.
    pub no_input: bool,
}

impl Config {
    /// Combines flags, environment and config file, which it reads.
    ///
    /// # Errors
    ///
    /// The file that was named cannot be read, or a value in the file or in the environment is not valid.
    pub fn resolve(flags: Flags, environment: &Environment) -> Result<Self, ConfigError> {
        let flags = flags.with_variables(environment)?;
        let file = match ConfigFile::load(flags.config_file.clone(), environment) {
            Err(error) if flags.makes_config_file && error.is_missing_file() => ConfigFile::default(),
            file => file?,
        };
        let layers = Layers::new(flags.settings, environment, file.tables.defaults)?;
        let settings = layers.settings();
        let mut config = Self {
            color: color(settings.color, environment),
            log: LogSettings::new(settings.log_file.clone(), flags.verbosity, environment),
            cache_dir: environment.folders.cache.as_ref().map(|cache| cache.join("fumidai")),
            name_life: None,
            hosts: file.tables.hosts,
            forwards: file.tables.forwards,
            via: flags.via,
            start_by_flag: flags.start,
            file: file.path,
            ephemeral_key: flags.ephemeral_key,
            key_file: flags.key_file,
            runtime_dir: runtime_dir(environment),
            file_by_flag: flags.config_file,
            session: SessionSettings::new(&settings),
            aws: AwsSettings::of_variables(environment)?,
            layers,
        };
        config.aws.choose(&config.layers);
        Ok(config)
    }

    /// Finds the host that a word of the command line means, with or without `USER@` and `--REGION`, and the
    /// configuration for it.
    pub fn for_host(&self, word: &str) -> Option<(&str, &Host, Self)> {
        let (name, host) = cycles::named(&self.hosts, word)?;
        Some((name, host, self.for_hop(Some(host), Some(host))))
    }

    /// Returns true if a session needs a reason and has none. A new access request needs one too; one that was filed
    /// before has its own.
    pub fn lacks_reason(&self) -> bool {
        let is_needed = match self.session.access_request {
            AccessRequest::Off => self.session.require_reason,
            AccessRequest::New => true,
            AccessRequest::Known(_) => false,
        };
        is_needed && self.session.reason.is_none()
    }

    /// Returns the configuration of a session to `hop` on the way to `goal`, as far as they are hosts. The hop alone gives
    /// profile, region, endpoint and document; for the rest the goal overrides the hop.
    #[must_use]
    pub fn for_hop(&self, hop: Option<&Host>, goal: Option<&Host>) -> Self {
        self.with(|layers| {
            layers.remove(|source| matches!(source, Source::Target | Source::Host(_)));
            let mut add = |host: Option<&Host>, is_one: fn(Key) -> bool| {
                let Some(host) = host else { return };
                layers.add(Source::Host(host.name.clone()), host.settings.clone().only(is_one));
            };
            add(hop, |key| key.row().is_first_hops);
            add(goal, |key| !key.row().is_first_hops);
            add(hop, |_| true);
        })
    }

    /// Returns the configuration for a forward of the file; its settings override those of the host that it uses.
    #[must_use]
    pub fn for_forward(&self, forward: &Forward) -> Self {
        self.with(|layers| {
            layers.remove(|source| matches!(source, Source::Target | Source::Host(_) | Source::Forward(_)));
            layers.add(Source::Forward(forward.name.clone()), forward.settings.clone());
        })
    }

    /// Returns the configuration for a target that was typed with a region.
    #[must_use]
    pub fn in_region(&self, region: &Region) -> Self {
        let region = Settings { region: Some(region.to_string()), ..Settings::default() };
        self.with(|layers| layers.add(Source::Target, region))
    }

    /// Returns the configuration as if these flags had been given too.
    #[must_use]
    pub fn with_flags(&self, settings: Settings) -> Self {
        self.with(|layers| layers.add(Source::Flag, settings))
    }

    /// Returns every setting with its value and its source; `aws_profile` has the settings of the AWS profile.
    pub fn resolved(&self, aws_profile: Settings) -> Vec<ResolvedSetting> {
        let mut layers = self.layers.clone();
        layers.add(Source::AwsProfile, aws_profile);
        layers.resolved()
    }

    /// Returns the flags that were given and hold for a later run too, with their values; an endpoint's may be secret.
    pub fn given_flags(&self) -> Vec<(String, String)> {
        let given = self.layers.settings_of(|source| *source == Source::Flag);
        let kept = Key::ALL.iter().filter(|key| key.row().is_per_host || **key == Key::LogFile);
        kept.filter_map(|key| Some((format!("--{}", key.row().flag()), given.word(*key)?))).collect()
    }

    /// Returns the session document for forwards: only a flag or the forward itself names one, since other sources name
    /// documents for ssh.
    pub fn forward_document(&self) -> Option<&str> {
        let named = self.layers.of(|source| matches!(source, Source::Flag | Source::Forward(_)));
        named.into_iter().find_map(|settings| settings.document.as_deref())
    }

    fn with(&self, change: impl FnOnce(&mut Layers)) -> Self {
        let mut config = self.clone();
        change(&mut config.layers);
        config.session = SessionSettings::new(&config.layers.settings());
        config.aws.choose(&config.layers);
        config
    }
}

impl LogSettings {
    /// Returns the settings of the log without the config file, for a run whose configuration is wrong.
    pub fn without_config(flags: &Flags, environment: &Environment) -> Self {
        let variables = Key::LogFile.row().variables;
        let of_variable = || variables.iter().find_map(|name| environment.path(name));
        let file = flags.settings.log_file.clone().or_else(of_variable);
        Self::new(file, flags.verbosity, environment)
    }

    fn new(file: Option<PathBuf>, verbosity: Verbosity, environment: &Environment) -> Self {
        let usual = environment.folders.state.as_ref().map(|state| state.join("fumidai/fumidai.log"));
        let rust_log = environment.text("RUST_LOG").ok().flatten().map(str::to_owned);
        Self { file: file.or(usual), verbosity, rust_log }
    }
}

/// Returns the folder that is emptied when the user logs out, else the cache folder.
fn runtime_dir(environment: &Environment) -> Option<PathBuf> {
    let folders = &environment.folders;
    Some(folders.runtime.as_ref().or(folders.cache.as_ref())?.join("fumidai"))
}

/// Without a setting, a terminal whose `TERM` is `dumb` gets no colour.
fn color(setting: Option<Color>, environment: &Environment) -> Color {
    let is_dumb = environment.text("TERM") == Ok(Some("dumb"));
    setting.unwrap_or(if is_dumb { Color::Never } else { Color::Auto })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn resolve(flags: Settings, environment: &Environment) -> Config {
        let flags = Flags { settings: flags, ..Flags::default() };
        Config::resolve(flags, environment).expect("valid")
    }

    #[test]
    fn nothing_given_leaves_the_defaults() {
        let config = resolve(Settings::default(), &Environment::default());
        assert_eq!(config.aws, AwsSettings::default());
        assert_eq!(config.session.connect_timeout.as_secs(), 45);
        assert_eq!(config.session.resume_window.as_secs(), 900);
        assert_eq!(config.session.keepalive.as_secs(), 20);
        assert_eq!((config.session.linger, config.session.max_payload), (None, None));
        assert_eq!((config.log.file, config.cache_dir, config.color), (None, None, Color::Auto));
    }

    /// One source of a setting, as a test gives it.
    #[derive(Clone)]
    struct Given {
        source: Source,
        /// The value as a word of the command line or the environment, or as TOML.
        value: String,
    }

    /// Every source of the setting, the highest rank first, each with another value where there are enough.
    fn sources(key: Key) -> Vec<Given> {
        let row = key.row();
        let (own, ambient): (Vec<&str>, Vec<&str>) =
            row.variables.iter().partition(|name| name.starts_with("FUMIDAI_"));
        let is_of_aws = matches!(key, Key::Region | Key::EndpointUrl);
        let no_color = (key == Key::Color).then_some("NO_COLOR");
        let mut sources: Vec<Source> = (key == Key::Region).then_some(Source::Target).into_iter().collect();
        sources.push(Source::Flag);
        sources.extend(own.into_iter().map(Source::Variable));
        if row.is_per_host {
            sources.extend([Source::Forward("f".into()), Source::Host("h".into())]);
        }
        sources.extend(ambient.into_iter().chain(no_color).map(Source::Variable));
        sources.push(Source::Defaults);
        sources.extend(is_of_aws.then_some(Source::AwsProfile));
        let given = |(number, source)| Given { source, value: value(key, number) };
        sources.into_iter().enumerate().map(given).collect()
    }

    fn value(key: Key, number: usize) -> String {
        match key {
            Key::Profile | Key::Reason | Key::Document | Key::Guardian => format!("v{number}"),
            Key::Region => format!("eu-west-{number}"),
            Key::EndpointUrl => format!("http://v{number}"),
            Key::LogFile => format!("/v{number}"),
            Key::Color => ["always", "never"][number % 2].to_owned(),
            Key::RequireReason => ["true", "false"][number % 2].to_owned(),
            Key::AccessRequest => format!("oi-{number:012x}"),
            Key::AccessRequestTimeout
            | Key::ConnectTimeout
            | Key::ResumeWindow
            | Key::Keepalive
            | Key::Linger
            | Key::IdleClose
            | Key::StartTimeout => {
                format!("{}", 100 + number)
            }
            Key::MaxPayload => format!("{}", 1024 + number),
        }
    }

    /// Resolves what these sources give, for the host `h` and the forward `f` where they are among them.
    fn config_of(key: Key, given: &[Given]) -> (Config, ResolvedSetting) {
        let value =
            |source: &Source| given.iter().find(|one| one.source == *source).map(|one| one.value.as_str());
        let (host, forward) = (Source::Host("h".into()), Source::Forward("f".into()));
        let line = |source| {
            let quote = if matches!(key, Key::MaxPayload | Key::RequireReason) { "" } else { "'" };
            value(source).map(|value| format!("{} = {quote}{value}{quote}", key.name())).unwrap_or_default()
        };
        let text = format!(
            "[defaults]\n{}\n[hosts.h]\n{}\n[forwards.f]\ntarget='h'\nlocal=1\nremote=1\n{}\n",
            line(&Source::Defaults),
            line(&host),
            line(&forward)
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        fs::write(&file, text).expect("a file");
        let settings = |source| {
            let value = value(source).map(|value| Settings::of(key, value.into()).expect("valid"));
            value.unwrap_or_default()
        };
        let variables = given.iter().filter_map(|one| {
            let Source::Variable(name) = one.source else { return None };
            Some((name, one.value.as_str()))
        });
        let flags = Flags { settings: settings(&Source::Flag), config_file: Some(file), ..Flags::default() };
        let config = Config::resolve(flags, &Environment::of(variables)).expect("valid");
        let mut config = config.for_forward(&config.forwards["f"]).for_host("h").expect("a host").2;
        if let Some(region) = value(&Source::Target) {
            config = config.in_region(&Region::parse(region).expect("a region"));
        }
        let resolved = config.resolved(settings(&Source::AwsProfile));
        let found = resolved.into_iter().find(|setting| setting.name == key.name()).expect("every setting");
        (config, found)
    }

    #[test]
    fn every_source_of_every_setting_overrides_those_of_lower_rank() {
        for &key in Key::ALL {
            let sources = sources(key);
            for place in 0..sources.len() {
                let (_, found) = config_of(key, &sources[place..]);
                let highest = &sources[place];
                assert_eq!(found.source, highest.source, "{key:?}");
                let is_never = highest.source == Source::Variable("NO_COLOR");
                let value = if is_never { "never" } else { &highest.value };
                let expected = Settings::of(key, value.into()).expect("valid").shown(key);
                assert_eq!(found.value, expected, "{key:?} of {:?}", highest.source);
            }
            let default = key.row().default;
            let default = default.and_then(|word| Settings::of(key, word.into()).expect("valid").shown(key));
            assert_eq!(
                (config_of(key, &[]).1.source, config_of(key, &[]).1.value),
                (Source::Default, default)
            );
        }
    }

    #[test]
    fn what_is_resolved_is_what_is_used() {
        let sources = |key| sources(key);
        for place in 0..sources(Key::Profile).len() {
            let given = &sources(Key::Profile)[place..];
            let (config, found) = config_of(Key::Profile, given);
            assert_eq!(config.aws.profile, found.value);
            let brings_credentials = !matches!(
                given[0].source,
                Source::Variable("AWS_PROFILE" | "AWS_DEFAULT_PROFILE") | Source::Defaults
            );
            assert_eq!(config.aws.profile_overrides_keys, brings_credentials, "{:?}", given[0].source);
        }
        for place in 0..sources(Key::Keepalive).len() {
            let given = &sources(Key::Keepalive)[place..];
            let (config, _) = config_of(Key::Keepalive, given);
            assert_eq!(config.session.keepalive.as_secs().to_string(), given[0].value);
        }
        assert!(!config_of(Key::Profile, &[]).0.aws.profile_overrides_keys);
    }

    #[test]
    fn a_host_is_found_with_user_and_region() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        fs::write(&file, "[hosts.web]\n[hosts.'a--eu-west-1']\n[hosts.a]").expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect("valid");
        for (word, name) in [
            ("me@web--eu-west-1", Some("web")),
            ("a--eu-west-1", Some("a--eu-west-1")),
            ("a--eu-west-2", Some("a")),
            ("b", None),
            ("a--b", None),
        ] {
            assert_eq!(config.for_host(word).map(|(name, _, _)| name), name, "{word}");
        }
    }

    #[test]
    fn an_endpoint_of_a_host_overrides_the_services_own_variable_and_one_of_defaults_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        let text = "[defaults]\nendpoint_url='http://defaults'\n[hosts.own]\nendpoint_url='http://host'\n[hosts.plain]";
        fs::write(&file, text).expect("a file");
        let environment = Environment::of([
            ("FUMIDAI_CONFIG", file.to_str().expect("UTF-8")),
            ("AWS_ENDPOINT_URL_SSM", "http://service"),
        ]);
        let config = resolve(Settings::default(), &environment);
        let ssm = |host| config.for_host(host).expect("a host").2.aws.ssm_endpoint().map(str::to_owned);
        assert_eq!(ssm("own").as_deref(), Some("http://host"));
        assert_eq!(ssm("plain").as_deref(), Some("http://service"));
        assert_eq!(config.aws.ec2_endpoint(), Some("http://defaults"));
    }

    #[test]
    fn a_document_for_forwards_is_named_by_flag_or_forward_only() {
        for one in sources(Key::Document) {
            let is_named = matches!(one.source, Source::Flag | Source::Forward(_));
            let (config, _) = config_of(Key::Document, std::slice::from_ref(&one));
            assert_eq!(config.forward_document(), is_named.then_some(one.value.as_str()), "{:?}", one.source);
        }
    }

    #[test]
    fn a_session_to_a_hop_takes_aws_settings_from_the_hop_and_times_from_the_goal() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        let text = "[defaults]\nkeepalive=7\nprofile='default'\n[hosts.hop]\nregion='hop-1'\nreason='hop'\nlinger=1\n\
                    [hosts.goal]\nprofile='goal'\nregion='goal-1'\nreason='goal'\nresume_window=9\ndocument='goal'";
        fs::write(&file, text).expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect("valid");
        let own = config.for_hop(config.hosts.get("hop"), config.hosts.get("goal"));
        assert_eq!(own.aws.region.as_deref(), Some("hop-1"));
        assert_eq!(own.aws.profile.as_deref(), Some("default"));
        assert_eq!((own.session.reason.as_deref(), own.session.document), (Some("goal"), None));
        assert_eq!((own.session.resume_window.as_secs(), own.session.keepalive.as_secs()), (9, 7));
        assert_eq!(own.session.linger, Some(Duration::from_secs(1)));
        assert_eq!(config.for_hop(None, None), config);
    }

    #[test]
    fn an_endpoint_of_this_run_overrides_the_services_own() {
        let environment = Environment::of([
            ("AWS_ENDPOINT_URL", "http://any"),
            ("AWS_ENDPOINT_URL_SSM", "http://own"),
            ("AWS_ENDPOINT_URL_SSMMESSAGES", "http://messages"),
        ]);
        let config = resolve(Settings::default(), &environment);
        assert_eq!(config.aws.ssm_endpoint(), Some("http://own"));
        assert_eq!(config.aws.endpoints.ssmmessages.as_deref(), Some("http://messages"));
        assert_eq!(config.aws.endpoints.any.as_deref(), Some("http://any"));
        let flags = Settings { endpoint_url: Some("http://flag".into()), ..Settings::default() };
        assert_eq!(resolve(flags, &environment).aws.ssm_endpoint(), Some("http://flag"));
        let environment = Environment::of([
            ("FUMIDAI_ENDPOINT_URL", "http://mine"),
            ("AWS_ENDPOINT_URL_SSM", "http://own"),
        ]);
        assert_eq!(resolve(Settings::default(), &environment).aws.ssm_endpoint(), Some("http://mine"));
    }

    #[test]
    fn a_ca_bundle_is_read() {
        let environment = Environment::of([("AWS_CA_BUNDLE", "/ca.pem")]);
        assert_eq!(resolve(Settings::default(), &environment).aws.ca_bundle, Some("/ca.pem".into()));
    }

    #[test]
    fn folders_give_log_and_cache() {
        let mut environment = Environment::default();
        environment.folders.state = Some("/state".into());
        environment.folders.cache = Some("/cache".into());
        let config = resolve(Settings::default(), &environment);
        assert_eq!(config.log.file, Some("/state/fumidai/fumidai.log".into()));
        assert_eq!(config.cache_dir, Some("/cache/fumidai".into()));
        let flags = Flags {
            settings: Settings { log_file: Some("/mine".into()), ..Settings::default() },
            ..Flags::default()
        };
        assert_eq!(LogSettings::without_config(&flags, &environment).file, Some("/mine".into()));
    }

    #[test]
    fn a_dumb_terminal_has_no_colour_unless_asked() {
        let environment = Environment::of([("TERM", "dumb")]);
        assert_eq!(resolve(Settings::default(), &environment).color, Color::Never);
        let flags = Settings { color: Some(Color::Always), ..Settings::default() };
        assert_eq!(resolve(flags, &environment).color, Color::Always);
        assert!(Color::Auto.is_on(true) && !Color::Auto.is_on(false) && !Color::Never.is_on(true));
    }
}
