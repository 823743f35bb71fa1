//! The contents of the config file: its text becomes checked tables, or a fault with its place.
//!
//! Strict, because a key that is silently ignored is worse than an error: an unknown key, a bad value or a cycle of hops is
//! reported with the line, the column and the nearest valid key. No I/O; called by `file` only.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::conflicts;
use super::cycles;
use super::error::ConfigError;
use super::forward::{Draft, FORWARD_KEYS, Forward};
use super::host::{HOST_KEYS, Host};
use super::remedy::remedy;
use super::settings::{Key, Settings};
use super::table::TableKey;
use super::task::{TASK_KEYS, TaskSettings};
use super::unknown::{Place, unknown_key, unknown_table};
use super::value::{self, Raw, ValueError};

/// A longer value is cut in a message.
const LONGEST_SHOWN: usize = 60;

/// A key or a value with its place.
type At<T> = Spanned<T>;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    /// `[defaults]`
    pub defaults: Settings,
    /// `[hosts.NAME]`
    pub hosts: BTreeMap<String, Host>,
    /// `[forwards.NAME]`
    pub forwards: BTreeMap<String, Forward>,
}

/// An error with its place in the text.
#[derive(Debug)]
pub(super) struct Fault {
    span: Range<usize>,
    message: String,
}

impl Fault {
    /// Makes a fault of a place, in bytes, and a message.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    /// Adds the file, and turns the place into line and column.
    pub fn at(self, path: &Path, text: &str) -> ConfigError {
        let before = text.get(..self.span.start).unwrap_or(text);
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        ConfigError::Invalid {
            file: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: last_line.chars().count() + 1,
            message: self.message,
        }
    }
}

/// Reads the file's text.
pub(super) fn parse(text: &str) -> Result<Tables, Fault> {
    let document = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let message = with_remedy(error.message().trim(), text, span.start);
        Fault::new(span, message)
    })?;
    let mut tables = Tables::default();
    for (key, value) in in_order(document.get_ref()) {
        let name = key.get_ref().as_ref();
        let entries = || table(key, value, name);
        match name {
            "defaults" => read_keys(entries()?, text, &mut tables.defaults)?,
            "hosts" => tables.hosts = parse_hosts(entries()?, text)?,
            "forwards" => tables.forwards = parse_forwards(entries()?, text)?,
            other => return Err(Fault::new(key.span(), unknown_table(other))),
        }
    }
    Ok(tables)
}

/// Adds to TOML's own message what to write on that line.
fn with_remedy(message: &str, text: &str, at: usize) -> String {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    remedy(line).map_or_else(|| message.to_owned(), |remedy| format!("{message}: {remedy}"))
}

fn parse_hosts(entries: &DeTable<'_>, text: &str) -> Result<BTreeMap<String, Host>, Fault> {
    let mut hosts = BTreeMap::new();
    for (key, value) in in_order(entries) {
        let (name, entries) = named_table(key, value, "hosts")?;
        let mut host = Host { name: name.to_owned(), ..Host::default() };
        read_keys(entries, text, &mut host)?;
        hosts.insert(name.to_owned(), host);
    }
    refuse_cycles(&hosts, entries)?;
    refuse_conflicts(&hosts, entries)?;
    Ok(hosts)
}

fn parse_forwards(entries: &DeTable<'_>, text: &str) -> Result<BTreeMap<String, Forward>, Fault> {
    let mut forwards = BTreeMap::new();
    for (key, value) in in_order(entries) {
        let (name, entries) = named_table(key, value, "forwards")?;
        let mut draft = Draft::default();
        read_keys(entries, text, &mut draft)?;
        let forward = draft.finish(name);
        let needs = |missing| Fault::new(key.span(), format!("`[forwards.{name}]` needs `{missing}`"));
        forwards.insert(name.to_owned(), forward.map_err(needs)?);
    }
    Ok(forwards)
}

/// Points at the `via` of the first host of a cycle.
fn refuse_cycles(hosts: &BTreeMap<String, Host>, entries: &DeTable<'_>) -> Result<(), Fault> {
    let Some(cycle) = cycles::find_cycle(hosts, names_in_order(entries)) else { return Ok(()) };
    let first = cycle.first().copied().unwrap_or_default();
    let shown: Vec<String> = cycle.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("`via` contains a cycle: {}", shown.join(" → "));
    Err(Fault::new(span_of(entries, first, "via"), message))
}

fn refuse_conflicts(hosts: &BTreeMap<String, Host>, entries: &DeTable<'_>) -> Result<(), Fault> {
    match conflicts::find_conflict(hosts, names_in_order(entries)) {
        Some(found) => Err(Fault::new(span_of(entries, &found.host, found.key), found.message)),
        None => Ok(()),
    }
}

fn names_in_order<'t>(entries: &'t DeTable<'_>) -> impl Iterator<Item = &'t str> {
    in_order(entries).into_iter().map(|(name, _)| name.get_ref().as_ref())
}

/// The place of the value of a host's key.
fn span_of(entries: &DeTable<'_>, host: &str, key: &str) -> Range<usize> {
    let value = entries.get(host).and_then(|host| host.get_ref().get(key));
    value.map(At::span).unwrap_or_default()
}

fn named_table<'t, 'i>(
    key: &'t At<DeString<'i>>,
    value: &'t At<DeValue<'i>>,
    kind: &str,
) -> Result<(&'t str, &'t DeTable<'i>), Fault> {
    let name = key.get_ref().as_ref();
    if !value::is_name(name) {
        let message = "must be a name of letters, digits, `.`, `_`, `-`, `+` and `:`, with no `-` in front";
        return Err(Fault::new(key.span(), format!("what follows `{kind}.` {message}")));
    }
    Ok((name, table(key, value, &format!("{kind}.{name}"))?))
}

fn table<'t, 'i>(
    name: &At<DeString<'i>>,
    value: &'t At<DeValue<'i>>,
    shown: &str,
) -> Result<&'t DeTable<'i>, Fault> {
    let DeValue::Table(entries) = value.get_ref() else {
        return Err(Fault::new(name.span(), format!("`{shown}` must be a table, `[{shown}]`")));
    };
    Ok(entries)
}

/// A table of the file that holds keys.
trait Keyed {
    /// Which of the tables it is.
    const PLACE: Place;

    /// Returns whether the key takes a list too.
    fn takes_list(_key: &str) -> bool {
        false
    }

    /// Stores a value; `None` is an unknown key.
    fn set(&mut self, key: &str, raw: Raw<'_>) -> Option<Result<(), ValueError>>;

    /// Stores a table; `None` is a key that takes none.
    fn set_table(
        &mut self,
        _key: &At<DeString<'_>>,
        _entries: &DeTable<'_>,
        _text: &str,
    ) -> Option<Result<(), Fault>> {
        None
    }
}

impl Keyed for Settings {
    const PLACE: Place = Place::Defaults;

    fn set(&mut self, key: &str, raw: Raw<'_>) -> Option<Result<(), ValueError>> {
        Some(Settings::set(self, Key::named(key)?, raw))
    }
}

impl Keyed for Host {
    const PLACE: Place = Place::Host;

    fn takes_list(key: &str) -> bool {
        find(&HOST_KEYS, key).is_some_and(|key| key.takes_list)
    }

    fn set(&mut self, key: &str, raw: Raw<'_>) -> Option<Result<(), ValueError>> {
        match find(&HOST_KEYS, key) {
            Some(key) => Some((key.set)(self, raw)),
            None => set_own(&mut self.settings, key, raw),
        }
    }

    fn set_table(
        &mut self,
        key: &At<DeString<'_>>,
        entries: &DeTable<'_>,
        text: &str,
    ) -> Option<Result<(), Fault>> {
        (key.get_ref() == "task").then(|| {
            let mut task = TaskSettings::default();
            read_keys(entries, text, &mut task)?;
            match task.missing() {
                Some(missing) => Err(Fault::new(key.span(), format!("`task` needs `{missing}`"))),
                None => {
                    self.task = Some(task);
                    Ok(())
                }
            }
        })
    }
}

impl Keyed for TaskSettings {
    const PLACE: Place = Place::Task;

    fn takes_list(key: &str) -> bool {
        find(&TASK_KEYS, key).is_some_and(|key| key.takes_list)
    }

    fn set(&mut self, key: &str, raw: Raw<'_>) -> Option<Result<(), ValueError>> {
        TaskSettings::set(self, key, raw)
    }
}

impl Keyed for Draft {
    const PLACE: Place = Place::Forward;

    fn set(&mut self, key: &str, raw: Raw<'_>) -> Option<Result<(), ValueError>> {
        match find(&FORWARD_KEYS, key) {
            Some(key) => Some((key.set)(self, raw)),
            None => set_own(&mut self.settings, key, raw),
        }
    }
}

fn find<'k, T>(keys: &'k [TableKey<T>], name: &str) -> Option<&'k TableKey<T>> {
    keys.iter().find(|key| key.name == name)
}

/// Stores a setting of one host or forward.
fn set_own(settings: &mut Settings, key: &str, raw: Raw<'_>) -> Option<Result<(), ValueError>> {
    let key = Key::named(key).filter(|key| key.row().is_per_host)?;
    Some(settings.set(key, raw))
}

fn read_keys<T: Keyed>(entries: &DeTable<'_>, text: &str, into: &mut T) -> Result<(), Fault> {
    for (key, value) in in_order(entries) {
        let name = key.get_ref().as_ref();
        if let DeValue::Table(entries) = value.get_ref()
            && let Some(stored) = into.set_table(key, entries, text)
        {
            stored?;
            continue;
        }
        for value in elements(value, T::takes_list(name)) {
            let stored = into.set(name, Raw::from(value.get_ref()));
            let stored = stored.ok_or_else(|| Fault::new(key.span(), unknown_key(name, T::PLACE)))?;
            stored.map_err(|error| bad_value(name, error, value, text))?;
        }
    }
    Ok(())
}

fn elements<'t, 'i>(value: &'t At<DeValue<'i>>, takes_list: bool) -> Vec<&'t At<DeValue<'i>>> {
    if let (DeValue::Array(list), true) = (value.get_ref(), takes_list) {
        return list.iter().collect();
    }
    vec![value]
}

/// toml keeps its tables sorted by key; the first fault of the file is the one to report.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<(&'t At<DeString<'i>>, &'t At<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

fn bad_value(key: &str, error: ValueError, value: &At<DeValue<'_>>, text: &str) -> Fault {
    let shown = shown(key, text.get(value.span()).unwrap_or_default());
    Fault::new(value.span(), format!("`{key}` {error}{shown}"))
}

/// Quotes the value as it is written, unless it may hold a password.
fn shown(key: &str, source: &str) -> String {
    let source = source.lines().next().unwrap_or_default();
    if source.is_empty() || (key == Key::EndpointUrl.name() && source.contains('@')) {
        return String::new();
    }
    let cut: String = source.chars().take(LONGEST_SHOWN).collect();
    let dots = if cut.len() < source.len() { "…" } else { "" };
    format!(", not `{cut}{dots}`")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::forward::{LocalEnd, RemoteEnd};
    use crate::config::host::{KeyKind, RouteKind};
    use crate::config::{AccessRequest, Color, HostKeySource};

    fn error_of(text: &str) -> String {
        match parse(text) {
            Ok(_) => panic!("accepted: {text}"),
            Err(fault) => fault.at(Path::new("c.toml"), text).to_string(),
        }
    }

    #[test]
    fn every_key_of_defaults_parses() {
        let text = r#"
            [defaults]
            profile = "prod"
            region = "ap-northeast-1"
            endpoint_url = "http://127.0.0.1:1"
            reason = "on call"
            require_reason = true
            access_request = true
            access_request_timeout = "30m"
            color = "always"
            log_file = "/var/log/fumidai.log"
            connect_timeout = 60
            resume_window = "2h"
            keepalive = "15s"
            linger = 0
            idle_close = "10m"
            max_payload = 1_024
            document = "My-Document"
            start_timeout = "10m"
            guardian = "mine"
        "#;
        assert!(Key::ALL.iter().all(|key| text.contains(&format!("{} = ", key.name()))));
        let expected = Settings {
            profile: Some("prod".into()),
            region: Some("ap-northeast-1".into()),
            endpoint_url: Some("http://127.0.0.1:1".into()),
            reason: Some("on call".into()),
            require_reason: Some(true),
            access_request: Some(AccessRequest::New),
            access_request_timeout: Some(Duration::from_secs(1800)),
            color: Some(Color::Always),
            log_file: Some("/var/log/fumidai.log".into()),
            connect_timeout: Some(Duration::from_secs(60)),
            resume_window: Some(Duration::from_secs(7200)),
            keepalive: Some(Duration::from_secs(15)),
            linger: Some(Duration::ZERO),
            idle_close: Some(Duration::from_secs(600)),
            max_payload: Some(1024),
            document: Some("My-Document".into()),
            start_timeout: Some(Duration::from_secs(600)),
            guardian: Some("mine".into()),
        };
        assert_eq!(parse(text).expect("valid").defaults, expected);
    }

    #[test]
    fn every_key_of_a_host_parses() {
        let text = r#"
            [hosts.web]
            target = "me@web--eu-west-1"
            address = "10.0.0.115"
            via = ["bastion", "inner"]
            user = "ec2-user"
            port = 2222
            security_group = "SG_Maintenance"
            host_keys = "parameter:/hosts/web"
            start = true
            stop = "always"
            stop_grace = "5m"
            stop_after = "2h"
            task = { cluster = "ops", definition = "bastion", subnets = "subnet-0abc", security_groups = ["sg-1"] }
            route = "remote-host"
            cache = 60
            profile = "prod"
            region = "eu-west-2"
            document = "My-Document"
            keepalive = 5
            [hosts.bastion]
            via = "i-0123"
            key = "ephemeral"
            [hosts.plain]
        "#;
        assert!(HOST_KEYS.iter().all(|key| text.contains(&format!("{} = ", key.name))));
        let hosts = parse(text).expect("valid").hosts;
        let expected = Host {
            name: "web".into(),
            settings: Settings {
                profile: Some("prod".into()),
                region: Some("eu-west-2".into()),
                document: Some("My-Document".into()),
                keepalive: Some(Duration::from_secs(5)),
                ..Settings::default()
            },
            target: Some("web".into()),
            address: Some("10.0.0.115".into()),
            via: vec!["bastion".into(), "inner".into()],
            user: Some("ec2-user".into()),
            port: Some(2222),
            security_group: Some("SG_Maintenance".into()),
            host_keys: Some(HostKeySource::Parameter("/hosts/web".into())),
            key: None,
            start: true,
            stop_always: true,
            stop_grace: Some(Duration::from_secs(300)),
            stop_after: Some(Duration::from_secs(7200)),
            task: Some(TaskSettings {
                cluster: "ops".into(),
                definition: "bastion".into(),
                subnets: vec!["subnet-0abc".into()],
                security_groups: vec!["sg-1".into()],
                ..TaskSettings::default()
            }),
            route: Some(RouteKind::RemoteHost),
            cache: Some(Duration::from_secs(60)),
        };
        assert_eq!(hosts["web"], expected);
        let bastion = &hosts["bastion"];
        assert_eq!(
            (bastion.via.as_slice(), bastion.key),
            (["i-0123".to_owned()].as_slice(), Some(KeyKind::Ephemeral))
        );
        assert_eq!(hosts["plain"], Host { name: "plain".into(), ..Host::default() });
    }

    #[test]
    fn every_key_of_a_forward_parses() {
        let text = "[forwards.db]\ntarget = 'bastion'\nlocal = 13306\nremote = 'db.example:3306'\nhold = true\n\
                    linger = '1m'\n[forwards]\nself.target = 'x'\nself.local = '~/s'\nself.remote = 80";
        let forwards = parse(text).expect("valid").forwards;
        let expected = Forward {
            name: "db".into(),
            settings: Settings { linger: Some(Duration::from_secs(60)), ..Settings::default() },
            target: "bastion".into(),
            local: LocalEnd::Tcp { bind: None, port: 13306 },
            remote: RemoteEnd { host: Some("db.example".into()), port: 3306 },
            hold: true,
            client: crate::config::ClientSettings::default(),
        };
        assert_eq!(forwards["db"], expected);
        assert_eq!(forwards["self"].local, LocalEnd::Socket("~/s".into()));
        assert_eq!(parse("").expect("valid"), Tables::default());
    }

    #[test]
    fn every_error_names_its_place() {
        for (text, message) in [
            ("[defaults]\nkepalive = 1", "2:1: unknown key `kepalive`, the nearest valid one is `keepalive`"),
            (
                "[defaults]\n\n  connect-timeout = 1",
                "3:3: unknown key `connect-timeout`, the nearest valid one is `connect_timeout`",
            ),
            ("[default]\n", "1:2: unknown table `default`, the nearest valid one is `defaults`"),
            ("[host.x]\n", "1:2: unknown table `host`, the nearest valid one is `hosts`"),
            ("region = 'eu-west-1'", "1:1: `region` belongs below `[defaults]`"),
            ("[[defaults]]\n", "1:3: `defaults` must be a table, `[defaults]`"),
            ("[defaults]\nkeepalive = 0", "2:13: `keepalive` must be at least 1 second, not `0`"),
            ("[defaults]\nregion = 5", "2:10: `region` must be a text in quotes, not `5`"),
            ("[defaults]\nprofile = ''", "2:11: `profile` must not be empty, not `''`"),
            (
                "[defaults]\nmax_payload = '1024'",
                "2:15: `max_payload` must be a whole number of bytes from 256 to 32768, not `'1024'`",
            ),
            (
                "[defaults]\nresume_window = -1",
                "2:17: `resume_window` must be whole seconds such as `45`, or have a unit such as `45s`, `15m`, \
                 `2h`, not `-1`",
            ),
            (
                "[defaults]\nlinger = 1.5",
                "2:10: `linger` must be whole seconds such as `45`, or have a unit such as `45s`, `15m`, `2h`, \
                 not `1.5`",
            ),
            ("hosts = 1", "1:1: `hosts` must be a table, `[hosts]`"),
            ("[hosts]\nweb = 'i-0123'", "2:1: `hosts.web` must be a table, `[hosts.web]`"),
            ("[[hosts.web]]\n", "1:9: `hosts.web` must be a table, `[hosts.web]`"),
            (
                "[hosts.'web *']\n",
                "1:8: what follows `hosts.` must be a name of letters, digits, `.`, `_`, `-`, `+` and `:`, with no \
                 `-` in front",
            ),
            ("via = 'x'", "1:1: `via` belongs below `[hosts.NAME]`"),
            ("[defaults]\nuser = 'x'", "2:1: `user` belongs below `[hosts.NAME]`, not `[defaults]`"),
            ("[hosts.a]\nlog_file = '/x'", "2:1: `log_file` belongs below `[defaults]`, not `[hosts.NAME]`"),
            ("[hosts.a]\nremote = 'x'", "2:1: `remote` belongs below `[forwards.NAME]`, not `[hosts.NAME]`"),
            ("[hosts.a]\ntagret = 'x'", "2:1: unknown key `tagret`, the nearest valid one is `target`"),
            (
                "[hosts.a]\nHostName = 'x'",
                "2:1: `HostName` belongs in ~/.ssh/config; here it is `target` or `address`",
            ),
            ("[hosts.a]\nidentity_file = 'x'", "2:1: `identity_file` belongs in ~/.ssh/config"),
            ("[defaults]\nServerAliveInterval = 1", "2:1: `ServerAliveInterval` belongs in ~/.ssh/config"),
            ("[hosts.a]\nproxyjump = 'x'", "2:1: `proxyjump` belongs in ~/.ssh/config; here it is `via`"),
            (
                "[hosts.a]\nConnectTimeout = 1",
                "2:1: unknown key `ConnectTimeout`, the nearest valid one is `connect_timeout`",
            ),
            (
                "[forwards.a]\nbanana = 'x'",
                "2:1: unknown key `banana`, the valid ones are `target`, `local`, `remote`, `hold`, `exec`, `token`, `db_user`, `profile`, `region`, \
                 `endpoint_url`, `reason`, `require_reason`, `access_request`, `access_request_timeout`, `connect_timeout`, `resume_window`, `keepalive`, `linger`, `idle_close`, `max_payload`, `start_timeout`, `guardian`, `document`",
            ),
            (
                "[bananas]\n",
                "1:2: unknown table `bananas`, the valid ones are `defaults`, `hosts`, `forwards`",
            ),
            (
                "[hosts.my server]\n",
                "1:10: unclosed table, expected `]`: a name has no spaces, write `[hosts.my-server]`",
            ),
            (
                "[defaults]\nregion = eu-west-1",
                "2:10: string values must be quoted, expected literal string: put text in quotes, `region = \"eu-west-1\"`",
            ),
            ("[hosts.a]\nstart = 'yes'", "2:9: `start` must be `true` or `false`, not `'yes'`"),
            ("[hosts.a]\nport = 0", "2:8: `port` must be a port from 1 to 65535, not `0`"),
            ("[hosts.a]\nport = 'ssh'", "2:8: `port` must be a port from 1 to 65535, not `'ssh'`"),
            (
                "[hosts.a]\nroute = 'best'",
                "2:9: `route` must be `direct`, `remote-host` or `ssh`, not `'best'`",
            ),
            ("[hosts.a]\ntarget = ['x']", "2:10: `target` must be a text in quotes, not `['x']`"),
            ("[hosts.a]\nvia = 5", "2:7: `via` must be a name in quotes or a list of them, not `5`"),
            ("[hosts.a]\nvia = ['b', 5]", "2:13: `via` must be a name in quotes or a list of them, not `5`"),
            (
                "[hosts.a]\nuser = 'a b'",
                "2:8: `user` must be a user name without spaces, quotes and a leading `-`, not `'a b'`",
            ),
            (
                "[hosts.x]\nvia = 'a'\n[hosts.a]\nvia = 'b'\n[hosts.b]\nuser = 'u'\nvia = ['c', 'me@a']",
                "4:7: `via` contains a cycle: `a` → `b` → `a`",
            ),
            ("[forwards.a]\nlocal = 1", "1:11: `[forwards.a]` needs `target`"),
            (
                "[forwards.a]\nlocal = true",
                "2:9: `local` must be `[BIND:]PORT` or a path that starts with `/` or `~/`, not `true`",
            ),
            ("[forwards.a]\nremote = 'x'", "2:10: `remote` must be `[HOST:]PORT`, not `'x'`"),
            ("[forwards.a]\nremtoe = 'x'", "2:1: unknown key `remtoe`, the nearest valid one is `remote`"),
            ("[defaults]\ncolor = 'no'", "2:9: `color` must be `auto`, `always` or `never`, not `'no'`"),
            ("[defaults]\nlog_file = 'x'", "2:12: `log_file` must start with `/` or `~/`, not `'x'`"),
            (
                "[defaults]\nendpoint_url = 'ftp://u:secret@h'",
                "2:16: `endpoint_url` must be a URL such as `https://host:port`",
            ),
        ] {
            assert_eq!(error_of(text), format!("c.toml:{message}"));
        }
    }

    #[test]
    fn the_first_fault_of_the_file_is_named() {
        assert!(error_of("[defaults]\nzzz = 1\naaa = 1\n").contains(":2:1: unknown key `zzz`"));
    }

    #[test]
    fn broken_toml_has_a_place_too() {
        assert!(error_of("[defaults]\nregion = \n").starts_with("c.toml:2:10: "));
        assert!(error_of("[defaults]\n'é' = 1 x\n").starts_with("c.toml:2:"));
        assert!(error_of("[defaults]\nlinger = 1\nlinger = 2\n").starts_with("c.toml:3:1: duplicate key"));
    }
}
