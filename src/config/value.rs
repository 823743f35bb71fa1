//! The values a setting may take, whoever gives it: a flag, the environment or the config file.
//!
//! One function per kind of value, so that all three sources agree. A [`ValueError`]'s text continues the sentence
//! "`keepalive` …", which is how flags, variables and keys all name themselves.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Uri;
use thiserror::Error;

use super::Color;

/// A duration beyond this is a slip of the pen, and would overflow a deadline.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// From a payload that still carries a line to the largest that payload discovery ever tries.
const PAYLOADS: RangeInclusive<u32> = 256..=32_768;

/// StartSession takes a reason of 1 to 256 characters (SSM API reference).
const LONGEST_REASON: usize = 256;

/// Why a value is not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ValueError {
    /// An empty text: leave the setting out instead.
    #[error("must not be empty")]
    Empty,
    /// Bytes that are no UTF-8.
    #[error("must be valid UTF-8")]
    NotUnicode,
    /// A number or a table where a text belongs.
    #[error("must be a text in quotes")]
    NotText,
    /// No number of seconds and no number with a unit.
    #[error("must be whole seconds such as `45`, or have a unit such as `45s`, `15m`, `2h`")]
    NotADuration,
    /// No time at all, where that would disable what the setting is for.
    #[error("must be at least 1 second")]
    Zero,
    /// More than a year.
    #[error("must be at most a year")]
    TooLong,
    /// No payload size.
    #[error("must be a whole number of bytes from {} to {}", PAYLOADS.start(), PAYLOADS.end())]
    NotAPayload,
    /// Something that cannot be a region's name.
    #[error("must be a region such as `eu-central-1`")]
    NotARegion,
    /// No URL that an API can be called at.
    #[error("must be a URL such as `https://host:port`")]
    NotAUrl,
    /// More than the service takes.
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
    /// No TCP port.
    #[error("must be a port from 1 to 65535")]
    NotAPort,
    /// None of the three words.
    #[error("must be `direct`, `remote-host` or `ssh`")]
    NotARoute,
    /// Neither one name nor a list of names.
    #[error("must be a name in quotes or a list of them")]
    NotAHop,
    /// No place to listen at.
    #[error("must be `[BIND:]PORT` or a path that starts with `/` or `~/`")]
    NotALocalEnd,
    /// No destination.
    #[error("must be `[HOST:]PORT`")]
    NotARemoteEnd,
    /// A file name that depends on where the program happens to be started.
    #[error("must start with `/` or `~/`")]
    NotAbsolute,
}

/// Takes any text but the empty one.
pub fn text(text: &str) -> Result<String, ValueError> {
    if text.is_empty() { Err(ValueError::Empty) } else { Ok(text.to_owned()) }
}

/// Takes whole seconds, or a number with the unit `s`, `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 60 * 60),
        _ => (text, 1),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ValueError::NotADuration);
    }
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.map(Duration::from_secs).filter(|time| *time <= LONGEST).ok_or(ValueError::TooLong)
}

/// Takes what [`duration`] takes, except for zero.
pub fn some_time(text: &str) -> Result<Duration, ValueError> {
    duration(text).and_then(|time| if time.is_zero() { Err(ValueError::Zero) } else { Ok(time) })
}

/// Takes a payload size in bytes, 256 to 32,768.
pub fn payload(text: &str) -> Result<u32, ValueError> {
    let bytes = text.parse().map_err(|_| ValueError::NotAPayload)?;
    if PAYLOADS.contains(&bytes) { Ok(bytes) } else { Err(ValueError::NotAPayload) }
}

/// Takes a region's name, or what an emulator calls one: it becomes part of a host name.
pub fn region(text: &str) -> Result<String, ValueError> {
    let is_label = !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_label { Ok(text.to_owned()) } else { Err(ValueError::NotARegion) }
}

/// Takes an absolute `http` or `https` URL.
pub fn url(text: &str) -> Result<String, ValueError> {
    let uri: Uri = text.parse().map_err(|_| ValueError::NotAUrl)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if is_http && uri.host().is_some_and(|host| !host.is_empty()) {
        return Ok(text.to_owned());
    }
    Err(ValueError::NotAUrl)
}

/// Takes a reason of 1 to 256 characters.
pub fn reason(text: &str) -> Result<String, ValueError> {
    match text.chars().count() {
        0 => Err(ValueError::Empty),
        length if length > LONGEST_REASON => Err(ValueError::ReasonTooLong(length)),
        _ => Ok(text.to_owned()),
    }
}

/// Takes a user name that stands for itself in an ssh_config and on a command line.
pub fn user(text: &str) -> Result<String, ValueError> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '$');
    match text.chars().any(is_odd) || text.starts_with('-') || text.is_empty() {
        true => Err(ValueError::NotAUser),
        false => Ok(text.to_owned()),
    }
}

/// Takes a TCP port that can be connected to.
pub fn port(text: &str) -> Result<u16, ValueError> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    let port = is_number.then(|| text.parse().ok()).flatten().filter(|port| *port > 0);
    port.ok_or(ValueError::NotAPort)
}

/// Takes a name for a host or a forward: a word of ssh's command line and of a `Host` line, without patterns.
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | ':');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain)
}

/// Takes `auto`, `always` or `never`.
pub fn color(text: &str) -> Result<Color, ValueError> {
    match text {
        "auto" => Ok(Color::Auto),
        "always" => Ok(Color::Always),
        "never" => Ok(Color::Never),
        _ => Err(ValueError::NotAColor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, seconds) in [("0", 0), ("45", 45), ("45s", 45), ("15m", 900), ("2h", 7200), ("007", 7)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1", "+1", "1.5", "1 m", "1d", "1h30m", "é", "1µ"] {
            assert_eq!(duration(text), Err(ValueError::NotADuration), "{text}");
        }
        for text in ["9000h", "31536001", "99999999999999999999"] {
            assert_eq!(duration(text), Err(ValueError::TooLong), "{text}");
        }
    }

    #[test]
    fn zero_is_refused_where_it_makes_no_sense() {
        assert_eq!(some_time("0m"), Err(ValueError::Zero));
        assert_eq!(some_time("1"), Ok(Duration::from_secs(1)));
    }

    #[test]
    fn payloads_have_both_bounds() {
        for (text, bytes) in [("256", Some(256)), ("32768", Some(32_768)), ("255", None), ("32769", None)] {
            assert_eq!(payload(text).ok(), bytes);
        }
        assert_eq!(payload("1k"), Err(ValueError::NotAPayload));
    }

    #[test]
    fn a_region_is_one_label_of_a_host_name() {
        for text in ["eu-central-1", "local", "us-gov-west-1"] {
            assert_eq!(region(text).as_deref(), Ok(text));
        }
        for text in ["", "eu.west", "a/b", "-a", "a-", "a@b", "é"] {
            assert_eq!(region(text), Err(ValueError::NotARegion), "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_an_absolute_http_url() {
        for text in ["https://ssm.example", "http://127.0.0.1:8080", "http://[::1]:1/path"] {
            assert_eq!(url(text).as_deref(), Ok(text));
        }
        for text in
            ["", "ssm.example", "ssm.example:443", "ftp://x", "https://", "/path", "http:///x", "http://a b"]
        {
            assert_eq!(url(text), Err(ValueError::NotAUrl), "{text}");
        }
    }

    #[test]
    fn a_user_stands_for_itself_in_an_ssh_config() {
        for text in ["ec2-user", "me@corp.example", r"CORP\me", "müller"] {
            assert_eq!(user(text).as_deref(), Ok(text));
        }
        for text in ["", "-l", "a b", "a\nb", "a\"b", "$USER"] {
            assert_eq!(user(text), Err(ValueError::NotAUser), "{text}");
        }
    }

    #[test]
    fn a_name_is_no_pattern() {
        for text in ["web", "web-1.prod", "i-0123", "ecs:web", "_x", "datenbank-größe"] {
            assert!(is_name(text), "{text}");
        }
        for text in ["", "-w", "a b", "w*", "w?", "!w", "a,b", "a\"b", "me@web", "a/b", "%h", "a#b", "a\nb"] {
            assert!(!is_name(text), "{text}");
        }
    }

    #[test]
    fn a_port_is_one_that_can_be_connected_to() {
        assert_eq!((port("1"), port("65535")), (Ok(1), Ok(65535)));
        for text in ["", "0", "65536", "+1", "ssh", "-1"] {
            assert_eq!(port(text), Err(ValueError::NotAPort), "{text}");
        }
    }

    #[test]
    fn a_reason_is_counted_in_characters() {
        assert!(reason(&"é".repeat(256)).is_ok());
        assert_eq!(reason(&"é".repeat(257)), Err(ValueError::ReasonTooLong(257)));
        assert_eq!(reason(""), Err(ValueError::Empty));
    }
}
