//! `[forwards.NAME]`: a local end and the remote end that it forwards to.
//!
//! Parsed and checked here; the listeners are made elsewhere.

use std::path::PathBuf;

use super::exec::{ClientSettings, ExecTemplate, TokenKind};
use super::settings::Settings;
use super::table::TableKey;
use super::value::{self, Raw, ValueError};

/// One forward of the config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The name in the config file.
    pub name: String,
    /// The settings of the forward itself.
    pub settings: Settings,
    /// The host of the config file, or the target, whose session it uses.
    pub target: String,
    /// Where it listens.
    pub local: LocalEnd,
    /// What it forwards to.
    pub remote: RemoteEnd,
    /// The service does not end the session for lack of input while a connection is open.
    pub hold: bool,
    /// How a client of the destination logs in.
    pub client: ClientSettings,
}

/// Where a forward listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalEnd {
    /// A TCP port; for 0 the system picks one.
    Tcp {
        /// The address to bind; `None` is loopback.
        bind: Option<String>,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Socket(PathBuf),
}

/// What a forward connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteEnd {
    /// The host as the target sees it; `None` is the target itself.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

/// The keys of `[forwards.NAME]` beside the settings.
pub const FORWARD_KEYS: [ForwardKey; 7] = [
    ForwardKey {
        name: "target",
        set: |draft, raw| value::text(raw).map(|target| draft.target = Some(target)),
        takes_list: false,
        values: "a host of the file, or a target",
        default: "required",
    },
    ForwardKey {
        name: "local",
        set: |draft, raw| local_end(raw).map(|local| draft.local = Some(local)),
        takes_list: false,
        values: "`[BIND:]PORT`, or the path of a unix socket, which starts with `/` or `~/`",
        default: "required",
    },
    ForwardKey {
        name: "remote",
        set: |draft, raw| remote_end(raw).map(|remote| draft.remote = Some(remote)),
        takes_list: false,
        values: "`[HOST:]PORT`; without a host, a port of the target itself",
        default: "required",
    },
    ForwardKey {
        name: "hold",
        set: |draft, raw| value::switch(raw).map(|hold| draft.hold = hold),
        takes_list: false,
        values: "`true`: the service does not end a session with open connections for lack of input, as `--hold`",
        default: "`false`",
    },
    ForwardKey {
        name: "exec",
        set: |draft, raw| ExecTemplate::parse(raw).map(|exec| draft.client.exec = Some(exec)),
        takes_list: false,
        values: "the command of `--exec`, with [placeholders](databases.md#a-command-for-each-database)",
        default: "none",
    },
    ForwardKey {
        name: "token",
        set: |draft, raw| TokenKind::parse(raw).map(|token| draft.client.token = Some(token)),
        takes_list: false,
        values: "`rds`: sign an IAM authentication token for `remote` and `db_user`",
        default: "none",
    },
    ForwardKey {
        name: "db_user",
        set: |draft, raw| value::text(raw).map(|user| draft.client.db_user = Some(user)),
        takes_list: false,
        values: "the database user; the `user` of a host is for ssh",
        default: "none",
    },
];

/// A key of `[forwards.NAME]` that is not a setting.
pub type ForwardKey = TableKey<Draft>;

/// A forward whose keys are still being read.
#[derive(Default)]
pub struct Draft {
    pub(super) settings: Settings,
    target: Option<String>,
    local: Option<LocalEnd>,
    remote: Option<RemoteEnd>,
    hold: bool,
    client: ClientSettings,
}

impl Draft {
    /// Returns the forward, or the key that is missing.
    pub(super) fn finish(self, name: &str) -> Result<Forward, &'static str> {
        if let Some(missing) = self.client.missing() {
            return Err(missing);
        }
        Ok(Forward {
            name: name.to_owned(),
            settings: self.settings,
            target: self.target.ok_or("target")?,
            local: self.local.ok_or("local")?,
            remote: self.remote.ok_or("remote")?,
            hold: self.hold,
            client: self.client,
        })
    }
}

/// Reads `[BIND:]PORT` or a path.
///
/// # Errors
/// [`ValueError::NotALocalEnd`]
pub fn local_end(raw: Raw<'_>) -> Result<LocalEnd, ValueError> {
    let text = raw.text_or_integer().map_err(|error| error.or_text(ValueError::NotALocalEnd))?;
    LocalEnd::parse(&text).ok_or(ValueError::NotALocalEnd)
}

/// Reads `[HOST:]PORT`.
///
/// # Errors
/// [`ValueError::NotARemoteEnd`]
pub fn remote_end(raw: Raw<'_>) -> Result<RemoteEnd, ValueError> {
    let text = raw.text_or_integer().map_err(|error| error.or_text(ValueError::NotARemoteEnd))?;
    RemoteEnd::parse(&text).ok_or(ValueError::NotARemoteEnd)
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

/// Splits at the last colon; a host may be in brackets, as an IPv6 address has to be.
fn split_port(text: &str) -> Option<(Option<String>, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, text),
    };
    let port = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok()).flatten()?;
    let Some(host) = host else { return Some((None, port)) };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = bare.or_else(|| Some(host).filter(|host| !host.contains(':')))?;
    let is_whole = !host.is_empty() && !host.contains(char::is_whitespace) && !host.contains(['[', ']']);
    is_whole.then(|| (Some(host.to_owned()), port))
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
        for text in [
            "", ":", "x", ":1", "::1:1", "[]:1", "[a:1", "a]:1", "[[a]]:1", "a:65536", "db.sock", "a b:1",
            "1:",
        ] {
            assert_eq!(LocalEnd::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_remote_end_may_be_a_port_of_the_target_itself() {
        assert_eq!(RemoteEnd::parse("5432"), Some(RemoteEnd { host: None, port: 5432 }));
        let host = Some("orders.example".to_owned());
        assert_eq!(RemoteEnd::parse("orders.example:3306"), Some(RemoteEnd { host, port: 3306 }));
        let host = Some("10.0.0.9".to_owned());
        assert_eq!(RemoteEnd::parse("[10.0.0.9]:80"), Some(RemoteEnd { host, port: 80 }));
        assert_eq!(RemoteEnd::parse("orders.example:0"), None);
    }
}
