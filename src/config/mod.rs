//! File, environment and flags become one plain [`Config`]; nothing below this layer sees any of the three.
//!
//! The rank is flag, environment, config file; what none of them says is left to the AWS profile (`None`) or gets the
//! default here. Refuses what it does not understand, with the place. Called once, by `cli`.

mod aws;
mod cycles;
mod environment;
mod error;
mod file;
mod forward;
mod host;
mod parse;
mod settings;
mod spec;
pub mod ssh_config;
mod table;
pub mod value;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use aws::{AwsSettings, Endpoints};
pub use environment::{Environment, Folders, process_variable};
pub use error::ConfigError;
pub use forward::{FORWARD_KEYS, Forward, ForwardKey, LocalEnd, RemoteEnd};
pub use host::{HOST_KEYS, Host, HostKey, RouteKind};
pub use settings::{Key, SessionSettings, Settings};
pub use spec::{LocalForward, SpecError, dynamic_forward, local_forward};
pub use table::{Heading, Row, TableKey};
pub use value::{Raw, ValueError};

use file::ConfigFile;

/// Everything a run was told, with its defaults.
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
    /// How long a name may be taken for what it meant before (`cache` of a host); `None` resolves it afresh.
    pub name_life: Option<Duration>,
    /// Where measurements are kept between runs; `None` keeps none.
    pub cache_dir: Option<PathBuf>,
    /// What the user should find in the log: they are known before there is one.
    pub warnings: Vec<String>,
    /// The hosts of the config file by name; [`Config::for_host`] is the way to use one.
    pub hosts: BTreeMap<String, Host>,
    /// The forwards of the config file by name.
    pub forwards: BTreeMap<String, Forward>,
    /// The hops that were named by flag, the nearest first; they go before a host's own.
    pub via: Vec<String>,
    /// The config file that was named by flag.
    pub file_by_flag: Option<PathBuf>,
    layers: Layers,
}

/// The settings by rank, kept apart so that a host's can go between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layers {
    flags: Settings,
    environment: Settings,
    /// Those of the forward that is meant.
    forward: Settings,
    defaults: Settings,
    endpoints_are_ignored: bool,
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

/// How much is said on standard error.
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

/// What the command line gave.
#[derive(Clone, Default)]
pub struct Flags {
    /// The settings that are flags.
    pub settings: Settings,
    /// `--config`.
    pub config_file: Option<PathBuf>,
    /// `-v` and `-q`.
    pub verbosity: Verbosity,
    /// `--via`, the nearest hop first.
    pub via: Vec<String>,
}

impl Config {
    /// Brings the three sources together, reading the config file.
    ///
    /// # Errors
    ///
    /// The file that was named cannot be read, the file is not understood, or a variable is not.
    pub fn resolve(flags: Flags, environment: &Environment) -> Result<Self, ConfigError> {
        let file = ConfigFile::load(flags.config_file.clone(), environment)?;
        let layers = Layers {
            flags: flags.settings,
            environment: from_environment(environment)?,
            forward: Settings::default(),
            defaults: file.tables.defaults,
            endpoints_are_ignored: environment.switch("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == Some(true),
        };
        let lower = layers.below_flags(&Settings::default());
        let settings = layers.flags.clone().or(&lower);
        let endpoints = Endpoints::resolve(environment, lower.endpoint_url)?;
        Ok(Self {
            color: color(settings.color, environment),
            log: LogSettings::new(settings.log_file.clone(), flags.verbosity, environment),
            cache_dir: environment.folders.cache.as_ref().map(|cache| cache.join("fumidai")),
            name_life: None,
            warnings: file.warnings,
            hosts: file.tables.hosts,
            forwards: file.tables.forwards,
            via: flags.via,
            file_by_flag: flags.config_file,
            session: SessionSettings::new(&settings),
            aws: AwsSettings {
                profile_is_flag: layers.flags.profile.is_some(),
                profile: settings.profile,
                region: settings.region,
                endpoint_url: layers.flags.endpoint_url.clone(),
                endpoints,
                ca_bundle: environment.path("AWS_CA_BUNDLE"),
                cli_cache: environment.folders.home.as_ref().map(|home| home.join(".aws/cli/cache")),
            },
            layers,
        })
    }

    /// Finds the host that a word of the command line means, with or without `USER@` and `--REGION`, and the
    /// configuration that holds for it: its settings go before `[defaults]`, behind flags and environment.
    pub fn for_host(&self, word: &str) -> Option<(&str, &Host, Self)> {
        let (name, host) = cycles::named(&self.hosts, word)?;
        Some((name, host, self.with(&host.settings)))
    }

    /// Returns the configuration of a session to `hop` that leads on to `goal`, as far as they are hosts: who calls, where
    /// and with which document is the hop's to say, for the rest the goal goes before the hop.
    pub fn for_hop(&self, hop: Option<&Host>, goal: Option<&Host>) -> Self {
        let settings = |host: Option<&Host>| host.map(|host| host.settings.clone()).unwrap_or_default();
        let (hop, goal) = (settings(hop), settings(goal));
        let own = hop.clone().only(|key| key.row().is_first_hops);
        self.with(&own.or(&goal.only(|key| !key.row().is_first_hops)).or(&hop))
    }

    /// Returns the configuration that holds for a forward of the file: its settings go before those of the host that it
    /// goes through.
    #[must_use]
    pub fn for_forward(&self, forward: &Forward) -> Self {
        let mut config = self.clone();
        config.layers.forward = forward.settings.clone();
        config.with(&Settings::default())
    }

    /// Returns the session document that was named for forwards: by flag, or by the forward itself. One that is named for
    /// all sessions is for ssh.
    pub fn forward_document(&self) -> Option<&str> {
        self.layers.flags.document.as_deref().or(self.layers.forward.document.as_deref())
    }

    fn with(&self, own: &Settings) -> Self {
        let lower = self.layers.below_flags(own);
        let settings = self.layers.flags.clone().or(&lower);
        let mut config = self.clone();
        config.session = SessionSettings::new(&settings);
        config.aws.profile = settings.profile;
        config.aws.region = settings.region;
        config.aws.endpoints.any = lower.endpoint_url.filter(|_| !self.layers.endpoints_are_ignored);
        config
    }
}

impl Layers {
    /// Flags are left out, since an endpoint by flag is kept apart from the others.
    fn below_flags(&self, own: &Settings) -> Settings {
        self.environment.clone().or(&self.forward).or(own).or(&self.defaults).or(&Settings::defaults())
    }
}

impl LogSettings {
    /// The log of a run whose configuration turns out to be wrong: what is known without the config file.
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

/// Reads the variables of the settings.
fn from_environment(environment: &Environment) -> Result<Settings, ConfigError> {
    let mut settings = Settings::default();
    for key in Key::ALL {
        let set = key.row().variables.iter().find_map(|name| Some((*name, environment.raw(name)?)));
        let Some((name, value)) = set else { continue };
        settings.set(*key, Raw::Word(value)).map_err(|source| ConfigError::Variable { name, source })?;
    }
    if environment.is_set("NO_COLOR") {
        settings.color = Some(Color::Never);
    }
    Ok(settings)
}

/// A terminal that says it is dumb is no place for colour, unless somebody asks for it.
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

    #[test]
    fn flag_goes_before_environment_before_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        let text = "[defaults]\nprofile='file'\nregion='file'\ndocument='file'\nkeepalive=7\n\
                    endpoint_url='http://file'\ncolor='always'";
        fs::write(&file, text).expect("a file");
        let environment = Environment::of([
            ("FUMIDAI_CONFIG", file.to_str().expect("UTF-8")),
            ("AWS_PROFILE", "environment"),
            ("AWS_REGION", "environment"),
            ("NO_COLOR", "1"),
        ]);
        let flags = Settings { profile: Some("flag".into()), ..Settings::default() };
        let config = resolve(flags, &environment);
        assert_eq!(config.aws.profile.as_deref(), Some("flag"));
        assert!(config.aws.profile_is_flag);
        assert_eq!(config.aws.region.as_deref(), Some("environment"));
        assert_eq!(config.session.document.as_deref(), Some("file"));
        assert_eq!(config.session.keepalive.as_secs(), 7);
        assert_eq!(config.aws.ssm_endpoint(), Some("http://file"));
        assert_eq!(config.color, Color::Never);
    }

    #[test]
    fn a_host_goes_between_environment_and_defaults() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        let text = "[defaults]\nprofile='default'\nregion='default'\nkeepalive=7\nendpoint_url='http://default'\n\
                    [hosts.web]\nprofile='host'\nregion='host'\nreason='host'\nkeepalive=8\nlinger=9\n\
                    endpoint_url='http://host'\n[hosts.'a--eu-west-1']\n[hosts.a]";
        fs::write(&file, text).expect("a file");
        let environment = Environment::of([
            ("FUMIDAI_CONFIG", file.to_str().expect("UTF-8")),
            ("AWS_REGION", "environment"),
        ]);
        let flags = Settings { reason: Some("flag".into()), ..Settings::default() };
        let config = resolve(flags, &environment);
        let (name, _, own) = config.for_host("me@web--eu-west-1").expect("a host");
        assert_eq!(name, "web");
        assert_eq!(own.aws.profile.as_deref(), Some("host"));
        assert_eq!(own.aws.region.as_deref(), Some("environment"));
        assert_eq!(own.aws.ssm_endpoint(), Some("http://host"));
        assert_eq!(own.session.reason.as_deref(), Some("flag"));
        assert_eq!((own.session.keepalive.as_secs(), config.session.keepalive.as_secs()), (8, 7));
        assert_eq!(own.session.linger, Some(Duration::from_secs(9)));
        let named = |word| config.for_host(word).map(|(name, _, _)| name);
        assert_eq!(named("a--eu-west-1"), Some("a--eu-west-1"));
        assert_eq!((named("a--eu-west-2"), named("b"), named("a--b")), (Some("a"), None, None));
    }

    #[test]
    fn a_session_is_the_hops_and_its_length_the_goals() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        let text = "[defaults]\nkeepalive=7\nprofile='default'\n[hosts.hop]\nregion='hop'\nreason='hop'\nlinger=1\n\
                    [hosts.goal]\nprofile='goal'\nregion='goal'\nreason='goal'\nresume_window=9\ndocument='goal'";
        fs::write(&file, text).expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect("valid");
        let own = config.for_hop(config.hosts.get("hop"), config.hosts.get("goal"));
        assert_eq!(own.aws.region.as_deref(), Some("hop"));
        assert_eq!(own.aws.profile.as_deref(), Some("default"));
        assert_eq!((own.session.reason.as_deref(), own.session.document), (Some("goal"), None));
        assert_eq!((own.session.resume_window.as_secs(), own.session.keepalive.as_secs()), (9, 7));
        assert_eq!(own.session.linger, Some(Duration::from_secs(1)));
        assert_eq!(config.for_hop(None, None), config);
    }

    #[test]
    fn endpoints_that_are_ignored_are_no_hosts_either() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        fs::write(&file, "[hosts.web]\nendpoint_url='http://host'").expect("a file");
        let environment = Environment::of([
            ("FUMIDAI_CONFIG", file.to_str().expect("UTF-8")),
            ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
        ]);
        let config = resolve(Settings::default(), &environment);
        assert_eq!(config.for_host("web").expect("a host").2.aws.ssm_endpoint(), None);
    }

    #[test]
    fn an_endpoint_by_flag_goes_before_the_services_own() {
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
