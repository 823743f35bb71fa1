//! Expands what `ssh -G` prints unexpanded: `~`, `%`-tokens and variables.

use std::path::PathBuf;

use super::known_hosts_command::OPEN_TOKENS;
use super::settings::LocalUser;

/// The values of the tokens of ssh_config(5).
pub(super) struct Tokens<'a> {
    pub local: &'a LocalUser<'a>,
    /// `%n`: the host name as typed.
    pub name: &'a str,
    /// `%h`
    pub host: &'a str,
    /// `%p`
    pub port: u16,
    /// `%r`
    pub user: &'a str,
    /// `%k`: `HostKeyAlias`, or the host name as typed.
    pub alias: &'a str,
}

impl Tokens<'_> {
    /// Expands a path; returns `None` if it has an unsupported token or an unset variable.
    pub fn path(&self, text: &str) -> Option<PathBuf> {
        let text = unquote(text);
        self.home_path(&self.variables(&self.percent(text)?)?)
    }

    /// Expands only `~`; returns `None` for another user's home (`~eve`).
    pub fn home_path(&self, text: &str) -> Option<PathBuf> {
        match text.strip_prefix('~') {
            Some("") => Some(self.local.home.to_owned()),
            Some(rest) => Some(self.local.home.join(rest.strip_prefix('/')?.trim_start_matches('/'))),
            None => Some(PathBuf::from(text)),
        }
    }

    /// Expands a word of `KnownHostsCommand` except for the tokens of its question and `%%`. A `%` in a value is doubled.
    pub fn template(&self, text: &str) -> Option<String> {
        let Some(at) = text.find(['%', '$']) else { return Some(text.to_owned()) };
        let (before, rest) = text.split_at(at);
        let (value, rest) = self.first_token(rest)?;
        Some(format!("{before}{value}{}", self.template(rest)?))
    }

    /// Expands the token or variable at the beginning of a text, and returns the rest too.
    fn first_token<'a>(&self, text: &'a str) -> Option<(String, &'a str)> {
        if let Some(rest) = text.strip_prefix("${") {
            let (name, rest) = rest.split_once('}')?;
            return Some(((self.local.variable)(name)?.replace('%', "%%"), rest));
        }
        let Some(rest) = text.strip_prefix('%') else { return Some(("$".to_owned(), text.get(1..)?)) };
        let token = rest.chars().next()?;
        let value = match token {
            '%' => "%%".to_owned(),
            open if OPEN_TOKENS.contains(&open) => format!("%{open}"),
            token => self.token(token)?.replace('%', "%%"),
        };
        Some((value, &rest[token.len_utf8()..]))
    }

    fn percent(&self, text: &str) -> Option<String> {
        let mut expanded = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            if c == '%' {
                expanded.push_str(&self.token(characters.next()?)?);
            } else {
                expanded.push(c);
            }
        }
        Some(expanded)
    }

    fn token(&self, token: char) -> Option<String> {
        Some(match token {
            '%' => "%".to_owned(),
            'd' => self.local.home.to_string_lossy().into_owned(),
            'h' => self.host.to_owned(),
            'k' => self.alias.to_owned(),
            'n' => self.name.to_owned(),
            'p' => self.port.to_string(),
            'r' => self.user.to_owned(),
            'u' => self.local.user.to_owned(),
            _ => return None,
        })
    }

    /// Expands `${NAME}`; returns `None` if a variable is not set, as OpenSSH does.
    fn variables(&self, text: &str) -> Option<String> {
        let Some((before, rest)) = text.split_once("${") else {
            return Some(text.to_owned());
        };
        let (name, after) = rest.split_once('}')?;
        let value = (self.local.variable)(name)?;
        Some(format!("{before}{value}{}", self.variables(after)?))
    }
}

fn unquote(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;

    fn expand(text: &str) -> Option<String> {
        let variable = |name: &str| (name == "PLACE").then(|| "/place".to_owned());
        let local = LocalUser {
            home: Path::new("/home/me"),
            user: "me",
            agent: None,
            clock: || SystemTime::UNIX_EPOCH,
            variable: &variable,
        };
        let tokens =
            Tokens { local: &local, name: "app", host: "10.0.0.1", port: 2222, user: "bob", alias: "app" };
        Some(tokens.path(text)?.to_string_lossy().into_owned())
    }

    #[test]
    fn tokens_are_expanded_as_in_ssh_config() {
        assert_eq!(expand("~/.ssh/id").as_deref(), Some("/home/me/.ssh/id"));
        assert_eq!(expand("\"~/.ssh/my id\"").as_deref(), Some("/home/me/.ssh/my id"));
        assert_eq!(expand("%d/%u/%r@%h:%p/%n/%k").as_deref(), Some("/home/me/me/bob@10.0.0.1:2222/app/app"));
        assert_eq!(expand("100%%").as_deref(), Some("100%"));
        assert_eq!(expand("${PLACE}/x").as_deref(), Some("/place/x"));
    }

    #[test]
    fn a_template_keeps_the_tokens_of_its_question() {
        let variable = |name: &str| (name == "PLACE").then(|| "/100%".to_owned());
        let local = LocalUser {
            home: Path::new("/home/me"),
            user: "me",
            agent: None,
            clock: || SystemTime::UNIX_EPOCH,
            variable: &variable,
        };
        let tokens = Tokens { local: &local, name: "app", host: "h", port: 22, user: "bob", alias: "a" };
        for (text, expanded) in [
            ("plain", Some("plain")),
            ("%H %I%K%f%t", Some("%H %I%K%f%t")),
            ("%n:%h:%p:%r:%k:50%%", Some("app:h:22:bob:a:50%%")),
            ("${PLACE}/$x/%n$", Some("/100%%/$x/app$")),
            ("%Z", None),
            ("${NONE}", None),
            ("%", None),
        ] {
            assert_eq!(tokens.template(text).as_deref(), expanded, "{text}");
        }
    }

    #[test]
    fn an_unsupported_token_gives_no_path() {
        assert_eq!(expand("${ELSEWHERE}/x"), None);
        assert_eq!(expand("%Z"), None);
        assert_eq!(expand("50%"), None);
        assert_eq!(expand("~eve/.ssh/id"), None);
    }
}
