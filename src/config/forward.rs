//! `[forwards.NAME]`: a local end that leads to a far one.
//!
//! Understood and checked here; `cli` makes listeners of them.

use std::path::PathBuf;

use super::settings::{Raw, Settings};
use super::value::{self, ValueError};

/// One forward of the config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// What the forward says of the settings that flags give too.
    pub settings: Settings,
    /// The host of the config file, or the target, that it goes through.
    pub target: String,
    /// Where it listens.
    pub local: LocalEnd,
    /// Where it leads to.
    pub remote: RemoteEnd,
    /// The session is kept from ending for want of input while a connection is open.
    pub hold: bool,
}

/// Where a forward listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalEnd {
    /// A TCP port; 0 is one that the system picks.
    Tcp {
        /// The address to bind; `None` is loopback.
        bind: Option<String>,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Socket(PathBuf),
}

/// Where a forward leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteEnd {
    /// The host as the target sees it; `None` is the target itself.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

/// A forward of which not every key has been read.
#[derive(Default)]
pub(super) struct Draft {
    pub settings: Settings,
    target: Option<String>,
    local: Option<LocalEnd>,
    remote: Option<RemoteEnd>,
    hold: bool,
}

impl Draft {
    /// Takes one value.
    pub fn set(&mut self, key: ForwardKey, raw: Raw<'_>) -> Result<(), ValueError> {
        match key {
            ForwardKey::Target => self.target = Some(value::text(raw.text()?)?),
            ForwardKey::Local => {
                let text = raw.text_or_number().map_err(|_| ValueError::NotALocalEnd)?;
                self.local = Some(LocalEnd::parse(&text).ok_or(ValueError::NotALocalEnd)?);
            }
            ForwardKey::Remote => {
                let text = raw.text_or_number().map_err(|_| ValueError::NotARemoteEnd)?;
                self.remote = Some(RemoteEnd::parse(&text).ok_or(ValueError::NotARemoteEnd)?);
            }
            ForwardKey::Hold => self.hold = raw.switch()?,
        }
        Ok(())
    }

    /// Returns the whole, or the key that is missing.
    pub fn finish(self) -> Result<Forward, ForwardKey> {
        Ok(Forward {
            settings: self.settings,
            target: self.target.ok_or(ForwardKey::Target)?,
            local: self.local.ok_or(ForwardKey::Local)?,
            remote: self.remote.ok_or(ForwardKey::Remote)?,
            hold: self.hold,
        })
    }
}

impl LocalEnd {
    /// Reads `[BIND:]PORT` or a path.
    fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') || text.starts_with("~/") {
            return Some(Self::Socket(text.into()));
        }
        let (bind, port) = split_port(text)?;
        Some(Self::Tcp { bind, port })
    }
}

impl RemoteEnd {
    /// Reads `[HOST:]PORT`.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        (port > 0).then_some(Self { host, port })
    }
}

/// Splits at the last colon; an IPv6 address stands in brackets.
fn split_port(text: &str) -> Option<(Option<String>, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, text),
    };
    let port = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok()).flatten()?;
    let Some(host) = host else { return Some((None, port)) };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_whole = |host: &str| !host.is_empty() && !host.contains(char::is_whitespace);
    match bare {
        Some(address) if address.contains(':') && is_whole(address) => Some((Some(address.to_owned()), port)),
        None if is_whole(host) && !host.contains([':', '[', ']']) => Some((Some(host.to_owned()), port)),
        Some(_) | None => None,
    }
}

/// A key of `[forwards.NAME]` beside those of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardKey {
    /// `target`
    Target,
    /// `local`
    Local,
    /// `remote`
    Remote,
    /// `hold`
    Hold,
}

impl ForwardKey {
    /// Every key.
    pub const ALL: [Self; 4] = [Self::Target, Self::Local, Self::Remote, Self::Hold];

    /// Returns the key as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Hold => "hold",
        }
    }

    /// Finds the key of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_end_is_a_port_or_a_socket() {
        let tcp = |bind: Option<&str>, port| Some(LocalEnd::Tcp { bind: bind.map(str::to_owned), port });
        assert_eq!(LocalEnd::parse("13306"), tcp(None, 13306));
        assert_eq!(LocalEnd::parse("0"), tcp(None, 0));
        assert_eq!(LocalEnd::parse("127.0.0.1:13306"), tcp(Some("127.0.0.1"), 13306));
        assert_eq!(LocalEnd::parse("[::1]:1"), tcp(Some("::1"), 1));
        assert_eq!(LocalEnd::parse("~/db.sock"), Some(LocalEnd::Socket("~/db.sock".into())));
        for text in ["", ":", "x", ":1", "::1:1", "[]:1", "[a]:1", "a:65536", "db.sock", "a b:1", "1:"] {
            assert_eq!(LocalEnd::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_remote_end_may_be_a_port_of_the_target_itself() {
        assert_eq!(RemoteEnd::parse("5432"), Some(RemoteEnd { host: None, port: 5432 }));
        let host = Some("orders.example".to_owned());
        assert_eq!(RemoteEnd::parse("orders.example:3306"), Some(RemoteEnd { host, port: 3306 }));
        assert_eq!(RemoteEnd::parse("orders.example:0"), None);
    }
}
