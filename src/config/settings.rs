//! The settings that a flag, a variable and a key of the config file can all give, and how one source yields to the
//! next: [`Settings`] is one source's share, empty where it says nothing.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::value::{self, ValueError};
use super::{Color, ConfigError, Environment};

/// What one source says; `None` is "not given here", never a default.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The AWS profile.
    pub profile: Option<String>,
    /// The AWS region.
    pub region: Option<String>,
    /// The URL that API calls go to instead of AWS's own.
    pub endpoint_url: Option<String>,
    /// The reason that the service keeps with a session.
    pub reason: Option<String>,
    /// Whether log lines have colour.
    pub color: Option<Color>,
    /// Where the log goes.
    pub log_file: Option<PathBuf>,
    /// From the start until data can flow.
    pub connect_timeout: Option<Duration>,
    /// How long a cut session is tried to be resumed; zero is not at all.
    pub resume_window: Option<Duration>,
    /// The pause between two pings.
    pub keepalive: Option<Duration>,
    /// How long a half-closed session outlives its last byte.
    pub linger: Option<Duration>,
    /// The largest payload of a message, in bytes.
    pub max_payload: Option<u32>,
    /// The session document to start instead of AWS's own.
    pub document: Option<String>,
}

impl Settings {
    /// Reads the variables of the environment.
    ///
    /// # Errors
    ///
    /// Names the first variable whose value is not taken.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        let mut settings = Self::default();
        for key in Key::ALL {
            for &name in key.variables() {
                let named = |source| ConfigError::Variable { name, source };
                if let Some(text) = environment.text(name).map_err(named)? {
                    settings.set(key, Raw::Word(text)).map_err(named)?;
                    break;
                }
            }
        }
        if environment.is_set("NO_COLOR") {
            settings.color = Some(Color::Never);
        }
        Ok(settings)
    }

    /// Fills what is not given here from a source of lower rank.
    pub fn or(self, lower: Self) -> Self {
        Self {
            profile: self.profile.or(lower.profile),
            region: self.region.or(lower.region),
            endpoint_url: self.endpoint_url.or(lower.endpoint_url),
            reason: self.reason.or(lower.reason),
            color: self.color.or(lower.color),
            log_file: self.log_file.or(lower.log_file),
            connect_timeout: self.connect_timeout.or(lower.connect_timeout),
            resume_window: self.resume_window.or(lower.resume_window),
            keepalive: self.keepalive.or(lower.keepalive),
            linger: self.linger.or(lower.linger),
            max_payload: self.max_payload.or(lower.max_payload),
            document: self.document.or(lower.document),
        }
    }

    /// Takes one value.
    ///
    /// # Errors
    ///
    /// Says what the value must be; nothing is changed then.
    pub fn set(&mut self, key: Key, raw: Raw<'_>) -> Result<(), ValueError> {
        match key {
            Key::Profile => self.profile = Some(value::text(raw.text()?)?),
            Key::Region => self.region = Some(value::region(raw.text()?)?),
            Key::EndpointUrl => self.endpoint_url = Some(value::url(raw.text()?)?),
            Key::Reason => self.reason = Some(value::reason(raw.text()?)?),
            Key::Color => self.color = Some(value::color(raw.text()?)?),
            Key::LogFile => self.log_file = Some(value::text(raw.text()?)?.into()),
            Key::ConnectTimeout => self.connect_timeout = Some(value::some_time(&raw.duration()?)?),
            Key::ResumeWindow => self.resume_window = Some(value::duration(&raw.duration()?)?),
            Key::Keepalive => self.keepalive = Some(value::some_time(&raw.duration()?)?),
            Key::Linger => self.linger = Some(value::duration(&raw.duration()?)?),
            Key::MaxPayload => self.max_payload = Some(value::payload(&raw.number()?)?),
            Key::Document => self.document = Some(value::text(raw.text()?)?),
        }
        Ok(())
    }
}

impl fmt::Debug for Settings {
    /// Says nothing: an endpoint may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// A value as its source holds it, before it is known what belongs there.
#[derive(Clone, Copy, Debug)]
pub enum Raw<'a> {
    /// An untyped word, as the environment has them.
    Word(&'a str),
    /// A string of the config file.
    String(&'a str),
    /// An integer of the config file.
    Integer(i64),
    /// `true` or `false` of the config file.
    Boolean(bool),
    /// Anything else that TOML has; no setting takes it.
    Other,
}

impl<'a> Raw<'a> {
    pub(super) fn text(self) -> Result<&'a str, ValueError> {
        match self {
            Self::Word(text) | Self::String(text) => Ok(text),
            Self::Integer(_) | Self::Boolean(_) | Self::Other => Err(ValueError::NotText),
        }
    }

    pub(super) fn duration(self) -> Result<String, ValueError> {
        match self {
            Self::Word(text) | Self::String(text) => Ok(text.to_owned()),
            Self::Integer(seconds) => Ok(seconds.to_string()),
            Self::Boolean(_) | Self::Other => Err(ValueError::NotADuration),
        }
    }

    fn number(self) -> Result<String, ValueError> {
        match self {
            Self::Word(text) => Ok(text.to_owned()),
            Self::Integer(number) => Ok(number.to_string()),
            Self::String(_) | Self::Boolean(_) | Self::Other => Err(ValueError::NotAPayload),
        }
    }

    pub(super) fn switch(self) -> Result<bool, ValueError> {
        match self {
            Self::Boolean(on) => Ok(on),
            Self::Word(_) | Self::String(_) | Self::Integer(_) | Self::Other => Err(ValueError::NotASwitch),
        }
    }

    /// A port alone may be written as a number.
    pub(super) fn text_or_number(self) -> Result<Cow<'a, str>, ValueError> {
        match self {
            Self::Integer(number) => Ok(number.to_string().into()),
            Self::Word(_) | Self::String(_) | Self::Boolean(_) | Self::Other => self.text().map(Cow::from),
        }
    }
}

/// The name of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `profile`
    Profile,
    /// `region`
    Region,
    /// `endpoint_url`
    EndpointUrl,
    /// `reason`
    Reason,
    /// `color`
    Color,
    /// `log_file`
    LogFile,
    /// `connect_timeout`
    ConnectTimeout,
    /// `resume_window`
    ResumeWindow,
    /// `keepalive`
    Keepalive,
    /// `linger`
    Linger,
    /// `max_payload`
    MaxPayload,
    /// `document`
    Document,
}

impl Key {
    /// Every setting.
    pub const ALL: [Self; 12] = [
        Self::Profile,
        Self::Region,
        Self::EndpointUrl,
        Self::Reason,
        Self::Color,
        Self::LogFile,
        Self::ConnectTimeout,
        Self::ResumeWindow,
        Self::Keepalive,
        Self::Linger,
        Self::MaxPayload,
        Self::Document,
    ];

    /// Returns the setting's key in the config file; its flag is the same with dashes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Profile => "profile",
            Self::Region => "region",
            Self::EndpointUrl => "endpoint_url",
            Self::Reason => "reason",
            Self::Color => "color",
            Self::LogFile => "log_file",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResumeWindow => "resume_window",
            Self::Keepalive => "keepalive",
            Self::Linger => "linger",
            Self::MaxPayload => "max_payload",
            Self::Document => "document",
        }
    }

    /// Returns the variables that give the setting, the first that is set wins. (`NO_COLOR` has no value and is
    /// therefore not among them.)
    pub fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Profile => &["AWS_PROFILE"],
            Self::Region => &["AWS_REGION", "AWS_DEFAULT_REGION"],
            Self::EndpointUrl => &["AWS_ENDPOINT_URL"],
            Self::Reason => &["FUMIDAI_REASON"],
            Self::Color => &[],
            Self::LogFile => &["FUMIDAI_LOG_FILE"],
            Self::ConnectTimeout => &["FUMIDAI_CONNECT_TIMEOUT"],
            Self::ResumeWindow => &["FUMIDAI_RESUME_WINDOW"],
            Self::Keepalive => &["FUMIDAI_KEEPALIVE"],
            Self::Linger => &["FUMIDAI_LINGER"],
            Self::MaxPayload => &["FUMIDAI_MAX_PAYLOAD"],
            Self::Document => &["FUMIDAI_DOCUMENT"],
        }
    }

    /// Tells whether one host or forward may have its own: the log is open before it is known which is meant.
    pub fn is_per_host(self) -> bool {
        !matches!(self, Self::Color | Self::LogFile)
    }

    /// Finds the setting of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_name() {
        for key in Key::ALL {
            assert_eq!(Key::named(key.name()), Some(key));
        }
        assert_eq!(Key::named("profil"), None);
    }

    #[test]
    fn every_variable_gives_its_setting() {
        let environment = Environment::of([
            ("AWS_PROFILE", "p"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ENDPOINT_URL", "http://e"),
            ("FUMIDAI_REASON", "r"),
            ("FUMIDAI_LOG_FILE", "l"),
            ("FUMIDAI_CONNECT_TIMEOUT", "1"),
            ("FUMIDAI_RESUME_WINDOW", "2m"),
            ("FUMIDAI_KEEPALIVE", "3"),
            ("FUMIDAI_LINGER", "0"),
            ("FUMIDAI_MAX_PAYLOAD", "1024"),
            ("FUMIDAI_DOCUMENT", "d"),
            ("NO_COLOR", "1"),
        ]);
        let settings = Settings::from_environment(&environment).expect("all are valid");
        let expected = Settings {
            profile: Some("p".into()),
            region: Some("eu-west-1".into()),
            endpoint_url: Some("http://e".into()),
            reason: Some("r".into()),
            color: Some(Color::Never),
            log_file: Some("l".into()),
            connect_timeout: Some(Duration::from_secs(1)),
            resume_window: Some(Duration::from_secs(120)),
            keepalive: Some(Duration::from_secs(3)),
            linger: Some(Duration::ZERO),
            max_payload: Some(1024),
            document: Some("d".into()),
        };
        assert!(settings == expected);
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let environment =
            Environment::of([("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "eu-west-2"), ("NO_COLOR", "")]);
        let settings = Settings::from_environment(&environment).expect("valid");
        assert_eq!(settings.region.as_deref(), Some("eu-west-2"));
        assert_eq!(settings.color, None);
    }

    #[test]
    fn a_bad_variable_is_named() {
        let environment = Environment::of([("FUMIDAI_KEEPALIVE", "0")]);
        let error = Settings::from_environment(&environment).expect_err("zero is refused");
        assert_eq!(error.to_string(), "`FUMIDAI_KEEPALIVE` in the environment must be at least 1 second");
    }

    #[test]
    fn a_higher_source_wins_per_setting() {
        let high = Settings { profile: Some("high".into()), ..Settings::default() };
        let low = Settings { profile: Some("low".into()), region: Some("low".into()), ..Settings::default() };
        let both = high.or(low);
        assert_eq!((both.profile.as_deref(), both.region.as_deref()), (Some("high"), Some("low")));
    }
}
