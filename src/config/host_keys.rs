//! Where the host keys of a host come from, if not from known_hosts.

use std::fmt;

use super::value::{self, Raw, ValueError};

/// The form of the source that is a parameter.
const PARAMETER: &str = "parameter:";

/// The longest name of a parameter (SSM API reference).
const LONGEST_NAME: usize = 2048;

/// An authenticated source of host keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeySource {
    /// The console output of the instance, as EC2 returns it.
    Console,
    /// The sshd of the target, asked over a session to that very target.
    Session,
    /// The SSM parameter of that name or ARN.
    Parameter(String),
}

impl HostKeySource {
    /// Reads `console`, `session` or `parameter:NAME`.
    pub fn read(raw: Raw<'_>) -> Result<Self, ValueError> {
        let text = value::text(raw)?;
        match text.as_str() {
            "console" => Ok(Self::Console),
            "session" => Ok(Self::Session),
            text => {
                let name = text.strip_prefix(PARAMETER).filter(|name| is_parameter(name));
                name.map(|name| Self::Parameter(name.to_owned())).ok_or(ValueError::NotAHostKeySource)
            }
        }
    }
}

/// The form of the config file.
impl fmt::Display for HostKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Console => f.write_str("console"),
            Self::Session => f.write_str("session"),
            Self::Parameter(name) => write!(f, "{PARAMETER}{name}"),
        }
    }
}

/// Letters, digits and `.-_/`; an ARN has `:` too.
fn is_parameter(name: &str) -> bool {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || ".-_/:".contains(c);
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_one_of_three_forms() {
        for text in [
            "console",
            "session",
            "parameter:/hosts/bastion",
            "parameter:arn:aws:ssm:eu-west-1:1:parameter/a",
        ] {
            let source = HostKeySource::read(text.into());
            assert_eq!(source.map(|source| source.to_string()).as_deref(), Ok(text));
        }
        for text in ["Console", "parameter", "parameter:", "parameter:a b", "parameter:a\nb", "file:x"] {
            let error = HostKeySource::read(text.into());
            assert_eq!(error, Err(ValueError::NotAHostKeySource), "{text:?}");
        }
        assert_eq!(HostKeySource::read(Raw::Integer(1)), Err(ValueError::NotText));
    }
}
