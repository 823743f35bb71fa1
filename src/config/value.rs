//! The values that settings and keys take, whether a flag, a variable or the config file gives them.
//!
//! One function per type of value, so that all three sources agree. The text of a [`ValueError`] continues a sentence that
//! begins with the name of the flag, variable or key.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use thiserror::Error;
use toml::de::DeValue;

use crate::region::is_region;

use super::Color;
use super::access_request::AccessRequest;

/// A longer duration is a typing error, and would overflow a deadline.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const MINUTE: Duration = Duration::from_secs(60);

/// The guardian's history has room for the looks of one day.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// From a payload that carries a line of text to the largest that payload discovery tries.
const PAYLOADS: RangeInclusive<u32> = 256..=32_768;

/// StartSession takes a reason of 1 to 256 characters (SSM API reference).
const LONGEST_REASON: usize = 256;

/// Why a value is not valid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ValueError {
    /// An empty text: leave the setting out instead.
    #[error("must not be empty")]
    Empty,
    /// Bytes that are not valid UTF-8.
    #[error("must be valid UTF-8")]
    NotUnicode,
    /// A number or a table in place of a text.
    #[error("must be a text in quotes")]
    NotText,
    /// Neither a number of seconds nor a number with a unit.
    #[error("must be whole seconds such as `45`, or have a unit such as `45s`, `15m`, `2h`")]
    NotADuration,
    /// Zero, which would disable what the setting is for.
    #[error("must be at least 1 second")]
    Zero,
    /// More than a year.
    #[error("must be at most a year")]
    TooLong,
    /// Not a payload size.
    #[error("must be a whole number of bytes from {} to {}", PAYLOADS.start(), PAYLOADS.end())]
    NotAPayload,
    /// A text that cannot be a region's name.
    #[error("must be a region such as `eu-central-1`")]
    NotARegion(String),
    /// A text that cannot be a target.
    #[error("must be a target: {0}")]
    NotATarget(String),
    /// Not the URL of an API.
    #[error("must be a URL such as `https://host:port`")]
    NotAUrl,
    /// More characters than the service accepts.
    #[error("must have at most {LONGEST_REASON} characters, it has {0}")]
    ReasonTooLong(usize),
    /// None of the three words.
    #[error("must be `auto`, `always` or `never`")]
    NotAColor,
    /// Neither `true` nor `false`.
    #[error("must be `true` or `false`")]
    NotASwitch,
    /// A user name that ssh or its config file would read as something else.
    #[error("must be a user name without spaces, quotes and a leading `-`")]
    NotAUser,
    /// Not a TCP port.
    #[error("must be a port from 1 to 65535")]
    NotAPort,
    /// None of the three words.
    #[error("must be `direct`, `remote-host` or `ssh`")]
    NotARoute,
    /// Neither of the two words.
    #[error("must be `started` or `always`")]
    NotAStop,
    /// Neither of the two words.
    #[error("must be `ephemeral` or `push`")]
    NotAKeyKind,
    /// Shorter than two looks of the guardian.
    #[error("must be at least 1 minute: the guardian looks once a minute")]
    GraceTooShort,
    /// Longer than a life.
    #[error("must be at most 24 hours")]
    LimitTooLong,
    /// Not a name or ARN of a state machine.
    #[error("must be the name or ARN of a state machine, or `none`")]
    NotAGuardian,
    /// Neither a switch nor the id of an access request.
    #[error("must be `true`, `false`, or the id of an access request such as `oi-0123456789ab`")]
    NotAnAccessRequest,
    /// Not the id or name of a security group.
    #[error("must be the id `sg-…` or the name of a security group")]
    NotAGroup,
    /// None of the three forms.
    #[error("must be `console`, `session` or `parameter:NAME`")]
    NotAHostKeySource,
    /// Not a table.
    #[error(
        "must be a table such as `{{ cluster = \"ops\", definition = \"bastion\", subnets = [\"subnet-0abc\"] }}`"
    )]
    NotATask,
    /// Neither one name nor a list of names.
    #[error("must be a name in quotes or a list of them")]
    NotAHop,
    /// Not an address to listen at.
    #[error("must be `[BIND:]PORT` or a path that starts with `/` or `~/`")]
    NotALocalEnd,
    /// Not a destination.
    #[error("must be `[HOST:]PORT`")]
    NotARemoteEnd,
    /// Not a token that is known.
    #[error("must be `rds`")]
    NotAToken,
    /// A placeholder that is not known, or a single brace.
    #[error(
        "has an unknown placeholder `{{{0}}}`: known are `{{host}}`, `{{port}}`, `{{local_host}}`, `{{local_port}}`, `{{db_user}}` and `{{token}}`; a brace is `{{{{` or `}}}}`"
    )]
    NotAPlaceholder(String),
    /// A path that depends on the working directory.
    #[error("must start with `/` or `~/`")]
    NotAbsolute,
}

impl ValueError {
    /// Names the type that the key takes, where only a text was expected.
    pub(super) fn or_text(self, expected: Self) -> Self {
        if self == Self::NotText { expected } else { self }
    }
}

/// A value of the command line, the environment or the config file.
#[derive(Clone, Copy, Debug)]
pub enum Raw<'a> {
    /// An untyped word of the command line or the environment.
    Word(&'a OsStr),
    /// A string of the config file.
    String(&'a str),
    /// An integer of the config file.
    Integer(i64),
    /// `true` or `false` of the config file.
    Boolean(bool),
    /// Another type of TOML; no key takes it.
    Other,
}

impl<'a> Raw<'a> {
    /// Returns the text of a word or a string.
    ///
    /// # Errors
    /// [`ValueError::NotText`] or [`ValueError::NotUnicode`].
    pub(super) fn text(self) -> Result<&'a str, ValueError> {
        match self {
            Self::Word(word) => word.to_str().ok_or(ValueError::NotUnicode),
            Self::String(text) => Ok(text),
            Self::Integer(_) | Self::Boolean(_) | Self::Other => Err(ValueError::NotText),
        }
    }

    /// Returns the text, also of an integer: `port = 22` and `port = "22"` mean the same.
    pub(super) fn text_or_integer(self) -> Result<Cow<'a, str>, ValueError> {
        match self {
            Self::Integer(number) => Ok(number.to_string().into()),
            Self::Word(_) | Self::String(_) | Self::Boolean(_) | Self::Other => self.text().map(Cow::from),
        }
    }
}

impl<'a> From<&'a DeValue<'_>> for Raw<'a> {
    fn from(value: &'a DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::String(text),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Self::Integer(number),
                Err(_) => Self::Other,
            },
            DeValue::Boolean(on) => Self::Boolean(*on),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => Self::Other,
        }
    }
}

impl<'a> From<&'a str> for Raw<'a> {
    fn from(word: &'a str) -> Self {
        Self::Word(word.as_ref())
    }
}

/// Reads a text that is not empty.
pub fn text(raw: Raw<'_>) -> Result<String, ValueError> {
    let text = raw.text()?;
    if text.is_empty() { Err(ValueError::Empty) } else { Ok(text.to_owned()) }
}

/// Reads a path; in the config file it must not depend on the working directory.
pub fn path(raw: Raw<'_>) -> Result<PathBuf, ValueError> {
    let path = match raw {
        Raw::Word(word) if word.is_empty() => return Err(ValueError::Empty),
        Raw::Word(word) => return Ok(word.into()),
        Raw::String(_) | Raw::Integer(_) | Raw::Boolean(_) | Raw::Other => text(raw)?,
    };
    let is_absolute = path.starts_with("~/") || Path::new(&path).has_root();
    if is_absolute { Ok(path.into()) } else { Err(ValueError::NotAbsolute) }
}

/// Reads whole seconds, or a number with the unit `s`, `m` or `h`.
pub fn duration(raw: Raw<'_>) -> Result<Duration, ValueError> {
    let text = raw.text_or_integer().map_err(|error| error.or_text(ValueError::NotADuration))?;
    let (number, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 60 * 60),
        _ => (&*text, 1),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ValueError::NotADuration);
    }
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.map(Duration::from_secs).filter(|time| *time <= LONGEST).ok_or(ValueError::TooLong)
}

/// Reads a [`duration`] that is not zero.
pub fn some_time(raw: Raw<'_>) -> Result<Duration, ValueError> {
    duration(raw).and_then(|time| if time.is_zero() { Err(ValueError::Zero) } else { Ok(time) })
}

/// Reads a payload size in bytes, 256 to 32,768; in the config file it is a number, not a string.
pub fn payload(raw: Raw<'_>) -> Result<u32, ValueError> {
    let text = raw.text_or_integer().map_err(|error| error.or_text(ValueError::NotAPayload))?;
    let bytes = text.parse().ok().filter(|bytes| PAYLOADS.contains(bytes));
    bytes.filter(|_| !matches!(raw, Raw::String(_))).ok_or(ValueError::NotAPayload)
}

/// Reads a region's name.
pub fn region(raw: Raw<'_>) -> Result<String, ValueError> {
    let text = raw.text()?;
    if is_region(text) { Ok(text.to_owned()) } else { Err(ValueError::NotARegion(text.to_owned())) }
}

/// Reads an absolute `http` or `https` URL.
pub fn url(raw: Raw<'_>) -> Result<String, ValueError> {
    let text = raw.text()?;
    let uri: Uri = text.parse().map_err(|_| ValueError::NotAUrl)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if is_http && uri.host().is_some_and(|host| !host.is_empty()) {
        return Ok(text.to_owned());
    }
    Err(ValueError::NotAUrl)
}

/// Returns scheme, host and port of a URL: user, password, path and query may be secret.
pub(super) fn without_secrets(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://[redacted]@{host}"),
        None => format!("{scheme}://{authority}"),
    }
}

/// Reads a reason of 1 to 256 characters.
pub fn reason(raw: Raw<'_>) -> Result<String, ValueError> {
    let text = raw.text()?;
    match text.chars().count() {
        0 => Err(ValueError::Empty),
        length if length > LONGEST_REASON => Err(ValueError::ReasonTooLong(length)),
        _ => Ok(text.to_owned()),
    }
}

/// Reads a user name that needs no quotes in an ssh_config and on a command line.
pub fn user(raw: Raw<'_>) -> Result<String, ValueError> {
    let text = raw.text()?;
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '$');
    match text.chars().any(is_odd) || text.starts_with('-') || text.is_empty() {
        true => Err(ValueError::NotAUser),
        false => Ok(text.to_owned()),
    }
}

/// Reads a TCP port that can be connected to.
pub fn port(raw: Raw<'_>) -> Result<u16, ValueError> {
    let text = raw.text_or_integer()?;
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    let port = is_number.then(|| text.parse().ok()).flatten().filter(|port| *port > 0);
    port.ok_or(ValueError::NotAPort)
}

/// Reads `true` or `false`.
pub fn switch(raw: Raw<'_>) -> Result<bool, ValueError> {
    match raw {
        Raw::Boolean(on) => Ok(on),
        Raw::Word(_) | Raw::String(_) | Raw::Integer(_) | Raw::Other => Err(ValueError::NotASwitch),
    }
}

/// Reads `true` or `false`, also as text.
pub fn on_or_off(raw: Raw<'_>) -> Result<bool, ValueError> {
    match raw.text() {
        Ok("true") => Ok(true),
        Ok("false") => Ok(false),
        Ok(_) | Err(_) => switch(raw),
    }
}

/// Reads `true`, `false`, or the id of an access request.
pub fn access_request(raw: Raw<'_>) -> Result<AccessRequest, ValueError> {
    let known = raw.text().ok().and_then(AccessRequest::of_id);
    match (known, on_or_off(raw)) {
        (Some(known), _) => Ok(known),
        (None, Ok(true)) => Ok(AccessRequest::New),
        (None, Ok(false)) => Ok(AccessRequest::Off),
        (None, Err(_)) => Err(ValueError::NotAnAccessRequest),
    }
}

/// Reads the name or ARN of a state machine, or `none`.
pub fn guardian(raw: Raw<'_>) -> Result<String, ValueError> {
    let name = text(raw)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_arn = name.starts_with("arn:") && name.contains(":stateMachine:");
    let is_valid =
        is_arn && name.chars().all(|c| plain(c) || c == ':') || name.len() <= 80 && name.chars().all(plain);
    if is_valid { Ok(name) } else { Err(ValueError::NotAGuardian) }
}

/// Reads the time after the last session, of two looks at least.
pub fn stop_grace(raw: Raw<'_>) -> Result<Duration, ValueError> {
    duration(raw).and_then(|time| if time < MINUTE { Err(ValueError::GraceTooShort) } else { Ok(time) })
}

/// Reads the limit of a life.
pub fn stop_after(raw: Raw<'_>) -> Result<Duration, ValueError> {
    some_time(raw).and_then(|time| if time > LONGEST_LIFE { Err(ValueError::LimitTooLong) } else { Ok(time) })
}

/// Reads the id or the name of a security group (EC2 API reference, CreateSecurityGroup).
pub fn security_group(raw: Raw<'_>) -> Result<String, ValueError> {
    let name = text(raw)?;
    let is_name = name.len() <= 255 && !name.chars().any(char::is_control);
    let is_id = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    match name.strip_prefix("sg-") {
        Some(digits) if !is_id(digits) => Err(ValueError::NotAGroup),
        Some(_) | None if is_name => Ok(name),
        Some(_) | None => Err(ValueError::NotAGroup),
    }
}

/// Reads a name or address of a hop.
pub fn hop(raw: Raw<'_>) -> Result<String, ValueError> {
    text(raw).map_err(|error| error.or_text(ValueError::NotAHop))
}

/// Reads `auto`, `always` or `never`.
pub fn color(raw: Raw<'_>) -> Result<Color, ValueError> {
    Color::named(raw.text()?).ok_or(ValueError::NotAColor)
}

/// Returns true if a host or a forward may have the name: one word of a `Host` line without patterns.
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | ':');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, seconds) in [("0", 0), ("45", 45), ("45s", 45), ("15m", 900), ("2h", 7200), ("007", 7)] {
            assert_eq!(duration(text.into()), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1", "+1", "1.5", "1 m", "1d", "1h30m", "é", "1µ"] {
            assert_eq!(duration(text.into()), Err(ValueError::NotADuration), "{text}");
        }
        for text in ["9000h", "31536001", "99999999999999999999"] {
            assert_eq!(duration(text.into()), Err(ValueError::TooLong), "{text}");
        }
    }

    #[test]
    fn zero_is_refused_where_it_would_disable_the_setting() {
        assert_eq!(some_time("0m".into()), Err(ValueError::Zero));
        assert_eq!(some_time("1".into()), Ok(Duration::from_secs(1)));
    }

    #[test]
    fn a_life_has_bounds() {
        assert_eq!(stop_grace("59".into()), Err(ValueError::GraceTooShort));
        assert_eq!(stop_grace("1m".into()), Ok(MINUTE));
        assert_eq!(stop_after("25h".into()), Err(ValueError::LimitTooLong));
        assert_eq!(stop_after("0".into()), Err(ValueError::Zero));
        assert_eq!(stop_after("24h".into()), Ok(LONGEST_LIFE));
    }

    #[test]
    fn a_guardian_is_a_name_or_an_arn() {
        for text in ["none", "fumidai-guardian", "arn:aws:states:eu-west-1:123456789012:stateMachine:g"] {
            assert_eq!(guardian(text.into()).as_deref(), Ok(text));
        }
        for text in ["a b", "arn:aws:lambda:eu-west-1:1:function:g", "g/1"] {
            assert_eq!(guardian(text.into()), Err(ValueError::NotAGuardian), "{text}");
        }
    }

    #[test]
    fn access_is_requested_or_the_id_of_a_request_is_given() {
        let known = AccessRequest::Known("oi-0123456789ab".to_owned());
        assert_eq!(access_request("oi-0123456789ab".into()), Ok(known));
        assert_eq!(access_request("true".into()), Ok(AccessRequest::New));
        assert_eq!(access_request(Raw::Boolean(false)), Ok(AccessRequest::Off));
        for text in ["yes", "", "oi-0123", "oi-0123456789AB", "oi-0123456789abc", "i-0123456789ab"] {
            assert_eq!(access_request(text.into()), Err(ValueError::NotAnAccessRequest), "{text}");
        }
    }

    #[test]
    fn a_security_group_is_an_id_or_a_name() {
        for text in ["sg-0123abcd", "SG_Maintenance", "maintenance of web"] {
            assert_eq!(security_group(text.into()).as_deref(), Ok(text));
        }
        for text in ["sg-", "sg-xyz", "a\nb"] {
            assert_eq!(security_group(text.into()), Err(ValueError::NotAGroup), "{text}");
        }
    }

    #[test]
    fn payloads_have_both_bounds() {
        for (text, bytes) in [("256", Some(256)), ("32768", Some(32_768)), ("255", None), ("32769", None)] {
            assert_eq!(payload(text.into()).ok(), bytes);
        }
        assert_eq!(payload("1k".into()), Err(ValueError::NotAPayload));
    }

    #[test]
    fn a_payload_in_the_config_file_is_a_number() {
        assert_eq!(payload(Raw::Integer(1024)), Ok(1024));
        assert_eq!(payload(Raw::String("1024")), Err(ValueError::NotAPayload));
    }

    #[test]
    fn a_path_in_the_config_file_is_absolute() {
        assert_eq!(path(Raw::String("log")), Err(ValueError::NotAbsolute));
        assert_eq!(path("log".into()), Ok("log".into()));
        for text in ["/var/log", "~/log"] {
            assert_eq!(path(Raw::String(text)), Ok(text.into()));
        }
        assert_eq!(path("".into()), Err(ValueError::Empty));
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_utf_8_are_a_path_and_not_a_text() {
        use std::os::unix::ffi::OsStrExt;

        let raw = Raw::Word(std::ffi::OsStr::from_bytes(&[b'/', 0xff]));
        assert!(path(raw).is_ok());
        assert_eq!(text(raw), Err(ValueError::NotUnicode));
    }

    #[test]
    fn a_region_is_one_label_of_a_host_name() {
        for text in ["eu-central-1", "local", "us-gov-west-1"] {
            assert_eq!(region(text.into()).as_deref(), Ok(text));
        }
        for text in ["", "eu.west", "a/b", "-a", "a-", "a@b", "é"] {
            assert_eq!(region(text.into()), Err(ValueError::NotARegion(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_an_absolute_http_url() {
        for text in ["https://ssm.example", "http://127.0.0.1:8080", "http://[::1]:1/path"] {
            assert_eq!(url(text.into()).as_deref(), Ok(text));
        }
        for text in
            ["", "ssm.example", "ssm.example:443", "ftp://x", "https://", "/path", "http:///x", "http://a b"]
        {
            assert_eq!(url(text.into()), Err(ValueError::NotAUrl), "{text}");
        }
    }

    #[test]
    fn a_user_needs_no_quotes_in_an_ssh_config() {
        for text in ["ec2-user", "me@corp.example", r"CORP\me", "müller"] {
            assert_eq!(user(text.into()).as_deref(), Ok(text));
        }
        for text in ["", "-l", "a b", "a\nb", "a\"b", "$USER"] {
            assert_eq!(user(text.into()), Err(ValueError::NotAUser), "{text}");
        }
    }

    #[test]
    fn a_name_is_not_a_pattern() {
        for text in ["web", "web-1.prod", "i-0123", "ecs:web", "_x", "datenbank-größe"] {
            assert!(is_name(text), "{text}");
        }
        for text in ["", "-w", "a b", "w*", "w?", "!w", "a,b", "a\"b", "me@web", "a/b", "%h", "a#b", "a\nb"] {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn a_port_can_be_connected_to() {
        assert_eq!((port("1".into()), port("65535".into())), (Ok(1), Ok(65535)));
        for text in ["", "0", "65536", "+1", "ssh", "-1"] {
            assert_eq!(port(text.into()), Err(ValueError::NotAPort), "{text}");
        }
    }

    #[test]
    fn a_reason_is_counted_in_characters() {
        assert!(reason(Raw::String(&"é".repeat(256))).is_ok());
        assert_eq!(reason(Raw::String(&"é".repeat(257))), Err(ValueError::ReasonTooLong(257)));
        assert_eq!(reason("".into()), Err(ValueError::Empty));
    }
}
