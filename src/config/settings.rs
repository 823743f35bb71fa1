//! The settings that flags, variables and the config file give: one table, from which all else comes.
//!
//! A new setting is one row here. Its struct field, key, variables, flag, help, default, man page, completion and its row
//! in docs/config.md come from the row.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Color;
use super::access_request::AccessRequest;
use super::table::{Heading, Row, settings};
use super::value::{self, Raw, ValueError, without_secrets};

settings! {
    general {
        /// AWS profile
        Profile profile: String = value::text {
            heading: Heading::Global,
            variables: &["FUMIDAI_PROFILE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"],
            value_name: "NAME",
            values: "a profile of the AWS config files",
            otherwise: Some("AWS's own, `default`"),
            is_first_hops: true,
        }
        /// AWS region
        Region region: String = value::region {
            heading: Heading::Global,
            variables: &["FUMIDAI_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"],
            value_name: "REGION",
            values: "a region",
            otherwise: Some("the profile's"),
            is_first_hops: true,
        }
        /// URL to send API calls to
        EndpointUrl endpoint_url: String = value::url {
            heading: Heading::Global,
            variables: &["FUMIDAI_ENDPOINT_URL", "AWS_ENDPOINT_URL"],
            value_name: "URL",
            values: "an `http` or `https` URL",
            otherwise: Some("AWS's own"),
            is_first_hops: true,
        }
        /// When log lines on a terminal have colour; NO_COLOR means never
        Color color: Color = value::color {
            heading: Heading::Global,
            variables: &["FUMIDAI_COLOR"],
            value_name: "WHEN",
            choices: &["auto", "always", "never"],
            values: "`auto`, `always` or `never`",
            otherwise: Some("`auto`; `never` if `TERM` is `dumb`"),
            is_per_host: false,
        }
        /// File to write the log to
        LogFile log_file: PathBuf = value::path {
            heading: Heading::Global,
            variables: &["FUMIDAI_LOG_FILE"],
            value_name: "FILE",
            values: "a file; in the config file it starts with `/` or `~/`",
            otherwise: Some("a file in the user's state folder"),
            is_per_host: false,
        }
    }
    session {
        /// Reason that the service keeps with the session
        Reason reason: String = value::reason {
            heading: Heading::Global,
            variables: &["FUMIDAI_REASON"],
            value_name: "TEXT",
            values: "1 to 256 characters",
        }
        /// Whether a session without a reason is refused; on a terminal, the reason is asked for
        RequireReason require_reason: bool = value::on_or_off, default "false" {
            heading: Heading::Global,
            variables: &["FUMIDAI_REQUIRE_REASON"],
            value_name: "BOOL",
            choices: &["true", "false"],
            values: "`true` or `false`",
        }
        /// Whether access is requested when StartSession is denied, or the id of a request to go on with
        AccessRequest access_request: AccessRequest = value::access_request, default "false" {
            variables: &["FUMIDAI_ACCESS_REQUEST"],
            value_name: "BOOL|ID",
            values: "`true`, `false`, or the id of an access request, as `oi-0123456789ab`",
            is_first_hops: true,
        }
        /// Time to wait for the approval of an access request; not part of the connect timeout
        AccessRequestTimeout access_request_timeout: Duration = value::some_time, default "3600" {
            variables: &["FUMIDAI_ACCESS_REQUEST_TIMEOUT"],
            value_name: "SECONDS",
            values: "a time of at least 1 s",
            is_first_hops: true,
        }
        /// Time from the start until data can flow
        ConnectTimeout connect_timeout: Duration = value::some_time, default "45" {
            variables: &["FUMIDAI_CONNECT_TIMEOUT"],
            value_name: "SECONDS",
            values: "a time of at least 1 s",
        }
        /// Time to try to resume a session whose connection was cut; 0 does not resume
        ResumeWindow resume_window: Duration = value::duration, default "900" {
            variables: &["FUMIDAI_RESUME_WINDOW"],
            value_name: "SECONDS",
            values: "a time",
        }
        /// Time between two pings; two unanswered pings mean a dead link
        Keepalive keepalive: Duration = value::some_time, default "20" {
            variables: &["FUMIDAI_KEEPALIVE"],
            value_name: "SECONDS",
            values: "a time of at least 1 s",
        }
        /// Time without data, after the end of the input, that ends a session or a forwarded connection
        Linger linger: Duration = value::duration {
            variables: &["FUMIDAI_LINGER"],
            value_name: "SECONDS",
            values: "a time",
            otherwise: Some("1; forward: 30"),
        }
        /// Time without a connection after which a forward ends its session; 0 does not end it
        IdleClose idle_close: Duration = value::duration {
            variables: &["FUMIDAI_IDLE_CLOSE"],
            value_name: "SECONDS",
            values: "a time",
            otherwise: Some("300; of a proxy, and of a bastion that is stopped: 60"),
        }
        /// Largest payload of a message, 256 to 32768
        MaxPayload max_payload: u32 = value::payload {
            variables: &["FUMIDAI_MAX_PAYLOAD"],
            value_name: "BYTES",
            values: "a number of bytes from 256 to 32768",
            otherwise: Some("found by probing"),
        }
        /// Time to wait for a bastion that is being started; not part of the connect timeout
        StartTimeout start_timeout: Duration = value::some_time, default "300" {
            variables: &["FUMIDAI_START_TIMEOUT"],
            value_name: "SECONDS",
            values: "a time of at least 1 s",
            is_first_hops: true,
        }
        /// State machine that starts, watches and stops bastions; with `none`, EC2 starts them and nothing stops them
        Guardian guardian: String = value::guardian, default "fumidai-guardian" {
            variables: &["FUMIDAI_GUARDIAN"],
            value_name: "NAME",
            values: "the name or ARN of a state machine of Step Functions, or `none`",
            is_first_hops: true,
        }
        /// Session document to start
        Document document: String = value::text {
            variables: &["FUMIDAI_DOCUMENT"],
            value_name: "NAME",
            values: "a session document of type `Port`",
            otherwise: Some("AWS-StartSSHSession; forward: AWS-StartPortForwardingSession…"),
            is_first_hops: true,
        }
    }
}

impl Key {
    /// Returns the setting's key in the config file.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Finds the setting of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }
}

impl Settings {
    /// Returns a single setting.
    ///
    /// # Errors
    ///
    /// What the value must be.
    pub fn of(key: Key, raw: Raw<'_>) -> Result<Self, ValueError> {
        let mut settings = Self::default();
        settings.set(key, raw)?;
        Ok(settings)
    }

    /// Returns a value as text; an endpoint without what may be secret in it.
    pub fn shown(&self, key: Key) -> Option<String> {
        let text = self.text(key)?;
        Some(if key == Key::EndpointUrl { without_secrets(&text) } else { text })
    }

    /// Returns the defaults of the table.
    pub(super) fn defaults() -> Self {
        let defaults = Key::ALL.iter().filter_map(|key| Some((*key, key.row().default?)));
        defaults.fold(Self::default(), |mut settings, (key, default)| {
            settings.set(key, Raw::String(default)).expect("the table's defaults are valid");
            settings
        })
    }
}

impl fmt::Debug for Settings {
    /// Shows nothing: an endpoint may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// A value as text.
trait Shown {
    /// For people.
    fn shown(&self) -> String;

    /// As a word of the command line.
    fn word(&self) -> String {
        self.shown()
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        self.clone()
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> String {
        Path::display(self).to_string()
    }
}

impl Shown for Color {
    fn shown(&self) -> String {
        self.name().to_owned()
    }
}

impl Shown for AccessRequest {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        format!("{} s", self.as_secs())
    }

    fn word(&self) -> String {
        self.as_secs().to_string()
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for u32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_name() {
        for &key in Key::ALL {
            assert_eq!(Key::named(key.name()), Some(key));
        }
        assert_eq!(Key::named("profil"), None);
    }

    #[test]
    fn every_row_has_what_help_and_documentation_need() {
        for key in Key::ALL {
            let row = key.row();
            assert!(!row.help.is_empty() && !row.values.is_empty() && !row.value_name.is_empty(), "{row:?}");
            assert!(row.default.is_none() || row.otherwise.is_none(), "{row:?}");
        }
    }

    #[test]
    fn the_defaults_of_the_table_are_valid() {
        let session = SessionSettings::new(&Settings::defaults());
        assert_eq!(session.connect_timeout, Duration::from_secs(45));
        assert_eq!(session.resume_window, Duration::from_secs(900));
        assert_eq!(session.keepalive, Duration::from_secs(20));
        assert_eq!((session.linger, session.max_payload, session.document), (None, None, None));
    }

    #[test]
    fn a_higher_source_wins_per_setting() {
        let high = Settings { profile: Some("high".into()), ..Settings::default() };
        let low = Settings { profile: Some("low".into()), region: Some("low".into()), ..Settings::default() };
        let both = high.or(&low);
        assert_eq!((both.profile.as_deref(), both.region.as_deref()), (Some("high"), Some("low")));
    }

    #[test]
    fn a_shown_value_has_no_secret() {
        let shown = |key, word: &str| Settings::of(key, word.into()).expect(word).shown(key);
        let endpoint = shown(Key::EndpointUrl, "https://me:s3cret@host:1/p?token=s3cret");
        assert_eq!(endpoint.as_deref(), Some("https://[redacted]@host:1"));
        assert_eq!(shown(Key::ResumeWindow, "15m").as_deref(), Some("900 s"));
        assert_eq!(shown(Key::Color, "never").as_deref(), Some("never"));
        assert_eq!(Settings::default().shown(Key::Region), None);
        let window = Settings::of(Key::ResumeWindow, "15m".into()).expect("valid");
        assert_eq!(window.word(Key::ResumeWindow).as_deref(), Some("900"));
    }
}
