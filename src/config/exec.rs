//! `exec` of a forward: a command of the shell with placeholders.
//!
//! A placeholder becomes a variable of the shell, `{host}` for example `${FUMIDAI_EXEC_HOST}`: no value is ever part of the
//! command's text, so that none can be taken for a command, and none is seen in a list of processes.

use std::fmt;

use super::value::{Raw, ValueError};

/// A value that the command can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placeholder {
    /// The destination's own host.
    Host,
    /// The destination's own port.
    Port,
    /// The address to connect to, or the path of the unix socket.
    LocalHost,
    /// The port to connect to; empty for a unix socket.
    LocalPort,
    /// `db_user`
    DbUser,
    /// The token that `token` asks for.
    Token,
}

impl Placeholder {
    /// Every placeholder.
    pub const ALL: [Self; 6] =
        [Self::Host, Self::Port, Self::LocalHost, Self::LocalPort, Self::DbUser, Self::Token];

    /// Returns the word between the braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Port => "port",
            Self::LocalHost => "local_host",
            Self::LocalPort => "local_port",
            Self::DbUser => "db_user",
            Self::Token => "token",
        }
    }

    /// Returns the variable of the command's environment.
    pub fn variable(self) -> String {
        format!("FUMIDAI_EXEC_{}", self.name().to_uppercase())
    }
}

/// How a client of the destination logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// The command of `--exec`.
    pub exec: Option<ExecTemplate>,
    /// What is signed for `{token}`.
    pub token: Option<TokenKind>,
    /// The database user, which is never the host's.
    pub db_user: Option<String>,
}

impl ClientSettings {
    /// Returns the key that is missing, if one is.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let uses = |placeholder| self.exec.as_ref().is_some_and(|exec| exec.uses(placeholder));
        let needs_user = self.token.is_some() || uses(Placeholder::DbUser);
        match self {
            Self { token: None, .. } if uses(Placeholder::Token) => Some("token"),
            Self { db_user: None, .. } if needs_user => Some("db_user"),
            Self { .. } => None,
        }
    }
}

/// Which token a database takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// That of RDS and Aurora.
    Rds,
}

impl TokenKind {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rds => "rds",
        }
    }

    /// Reads the word for it.
    pub(super) fn parse(raw: Raw<'_>) -> Result<Self, ValueError> {
        match raw.text().map_err(|error| error.or_text(ValueError::NotAToken))? {
            "rds" => Ok(Self::Rds),
            _ => Err(ValueError::NotAToken),
        }
    }
}

/// The command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

impl fmt::Display for ExecTemplate {
    /// Writes the command with its placeholders.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Value(placeholder) => write!(f, "{{{}}}", placeholder.name()),
        })
    }
}

impl ExecTemplate {
    /// Reads a command; `{{` and `}}` are braces.
    pub(super) fn parse(raw: Raw<'_>) -> Result<Self, ValueError> {
        let whole = super::value::text(raw)?;
        let mut rest = whole.as_str();
        let (mut parts, mut text) = (Vec::new(), String::new());
        while let Some(at) = rest.find(['{', '}']) {
            text.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                text.push_str(brace);
                rest = after;
                continue;
            }
            // The shell's own `${NAME}` stays.
            let (name, after) = rest.split_once('}').filter(|_| brace == "{").ok_or_else(|| unknown(rest))?;
            rest = after;
            if text.ends_with('$') {
                text.push_str(&format!("{{{name}}}"));
                continue;
            }
            let found = Placeholder::ALL.into_iter().find(|known| known.name() == name);
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Value(found.ok_or_else(|| unknown(name))?));
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self { parts })
    }

    /// Returns whether the command names a value.
    pub fn uses(&self, placeholder: Placeholder) -> bool {
        self.parts.contains(&Part::Value(placeholder))
    }

    /// Returns the command for the shell.
    pub fn command(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Value(placeholder) => reference(&placeholder.variable()),
        };
        self.parts.iter().map(part).collect()
    }
}

#[cfg(unix)]
fn reference(variable: &str) -> String {
    format!("${{{variable}}}")
}

#[cfg(not(unix))]
fn reference(variable: &str) -> String {
    format!("%{variable}%")
}

fn unknown(name: &str) -> ValueError {
    ValueError::NotAPlaceholder(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ExecTemplate, ValueError> {
        ExecTemplate::parse(Raw::String(text))
    }

    #[cfg(unix)]
    #[test]
    fn placeholders_become_variables_of_the_shell() {
        let template =
            parse("psql \"host={host} port={local_port}\" -U {db_user} -c '{{}}' ${HOME}").expect("valid");
        assert_eq!(
            template.command(),
            "psql \"host=${FUMIDAI_EXEC_HOST} port=${FUMIDAI_EXEC_LOCAL_PORT}\" \
             -U ${FUMIDAI_EXEC_DB_USER} -c '{}' ${HOME}"
        );
        assert!(template.uses(Placeholder::Host) && !template.uses(Placeholder::Token));
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        for (text, name) in [
            ("psql {hots}", "hots"),
            ("psql {}", ""),
            ("psql {host", "host"),
            ("psql }", ""),
            ("{ host }", " host "),
        ] {
            assert_eq!(parse(text), Err(ValueError::NotAPlaceholder(name.to_owned())), "{text}");
        }
        assert_eq!(parse(""), Err(ValueError::Empty));
    }
}
