//! `[hosts.NAME]`: what a name in the config file stands for.
//!
//! A [`Host`] is one table of the file, checked but not yet combined with flags and environment:
//! [`Config::for_host`](super::Config::for_host) does that.

use std::time::Duration;

use crate::names::{Destination, split_region, split_user};

use super::host_keys::HostKeySource;
use super::settings::Settings;
use super::table::TableKey;
use super::task::TaskSettings;
use super::value::{self, Raw, ValueError};

/// One host of the config file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The name in the config file.
    pub name: String,
    /// The settings of the host itself.
    pub settings: Settings,
    /// The target without user and region, which have their own keys; `None` is a target named like the host.
    pub target: Option<String>,
    /// The address that the hop before it connects to; without a hop, the target.
    pub address: Option<String>,
    /// The hops to it, the nearest first.
    pub via: Vec<String>,
    /// The user to log in as.
    pub user: Option<String>,
    /// The port of its sshd.
    pub port: Option<u16>,
    /// The key to log in with, if EC2 Instance Connect gives it to the host.
    pub key: Option<KeyKind>,
    /// A security group that it has only while a client is connected.
    pub security_group: Option<String>,
    /// Where its host keys come from; `None` is known_hosts.
    pub host_keys: Option<HostKeySource>,
    /// It is started when it is stopped.
    pub start: bool,
    /// It is stopped at the end of a life even if it ran before.
    pub stop_always: bool,
    /// The time without a session after which it is stopped.
    pub stop_grace: Option<Duration>,
    /// The time after its start when it is stopped in any case.
    pub stop_after: Option<Duration>,
    /// The Fargate task that it is.
    pub task: Option<TaskSettings>,
    /// How the last hop connects to it; `None` takes what works.
    pub route: Option<RouteKind>,
    /// How long a resolved name stays valid; `None` resolves it each time.
    pub cache: Option<Duration>,
}

/// How a hop connects to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Without a hop.
    Direct,
    /// The hop's agent connects.
    RemoteHost,
    /// The hop's sshd connects.
    Ssh,
}

impl RouteKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Direct, Self::RemoteHost, Self::Ssh];

    /// Returns the kind's name in the config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::RemoteHost => "remote-host",
            Self::Ssh => "ssh",
        }
    }
}

/// A key that is pushed to a host by EC2 Instance Connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A key that is made for the connection.
    Ephemeral,
    /// The user's own public key.
    Push,
}

impl KeyKind {
    /// Returns the kind's name in the config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::Push => "push",
        }
    }
}

/// The keys of `[hosts.NAME]` beside the settings.
pub const HOST_KEYS: [HostKey; 15] = [
    HostKey {
        name: "target",
        set: Host::set_target,
        takes_list: false,
        values: "anything that can be typed as a target, also with `USER@` and `--REGION`",
        default: "the host's name",
    },
    HostKey {
        name: "address",
        set: |host, raw| value::text(raw).map(|address| host.address = Some(address)),
        takes_list: false,
        values: "the address of a host behind a hop; without a hop, the target",
        default: "none",
    },
    HostKey {
        name: "via",
        set: |host, raw| value::hop(raw).map(|hop| host.via.push(hop)),
        takes_list: true,
        values: "the [hops](hops.md) to it, the nearest first: a name or a list of names; each a host of the file or a target",
        default: "none; `--via` overrides it",
    },
    HostKey {
        name: "user",
        set: |host, raw| value::user(raw).map(|user| host.user = Some(user)),
        takes_list: false,
        values: "the user to log in as, for `ssh-config`",
        default: "ssh's own",
    },
    HostKey {
        name: "port",
        set: |host, raw| value::port(raw).map(|port| host.port = Some(port)),
        takes_list: false,
        values: "the port for a `connect` without one; ssh always gives one, which `ssh-config` sets to this",
        default: "22",
    },
    HostKey {
        name: "key",
        set: |host, raw| key_kind(raw).map(|key| host.key = Some(key)),
        takes_list: false,
        values: "`ephemeral`: log in with [a key made for the connection](keys.md); `push`: with your own public key, which is pushed; `--ephemeral-key` overrides it",
        default: "none: keys are not pushed",
    },
    HostKey {
        name: "security_group",
        set: |host, raw| value::security_group(raw).map(|group| host.security_group = Some(group)),
        takes_list: false,
        values: "the id or name of a [security group](bastion.md#a-security-group-while-connected) that it has only while a client is connected",
        default: "none",
    },
    HostKey {
        name: "host_keys",
        set: |host, raw| HostKeySource::read(raw).map(|source| host.host_keys = Some(source)),
        takes_list: false,
        values: "`console`, `session` or `parameter:NAME`: [where its host keys come from](host-keys.md), so that ssh does not ask",
        default: "known_hosts",
    },
    HostKey {
        name: "start",
        set: |host, raw| value::switch(raw).map(|start| host.start = start),
        takes_list: false,
        values: "`true`: [start it](bastion.md) when it is stopped; `--start` and `--no-start` override it",
        default: "`false`",
    },
    HostKey {
        name: "stop",
        set: |host, raw| stops_always(raw).map(|always| host.stop_always = always),
        takes_list: false,
        values: "`started`: stop only what fumidai has started; `always`: stop it even if it ran before",
        default: "`started`",
    },
    HostKey {
        name: "stop_grace",
        set: |host, raw| value::stop_grace(raw).map(|time| host.stop_grace = Some(time)),
        takes_list: false,
        values: "time without a session after which it is stopped, at least `1m`",
        default: "`2m`",
    },
    HostKey {
        name: "stop_after",
        set: |host, raw| value::stop_after(raw).map(|time| host.stop_after = Some(time)),
        takes_list: false,
        values: "time after the start when it is stopped in any case, at most `24h`",
        default: "`12h`",
    },
    HostKey {
        name: "task",
        set: |_, _| Err(ValueError::NotATask),
        takes_list: false,
        values: "a table that describes the [Fargate task](bastion.md#a-bastion-that-does-not-exist-until-needed) that it is",
        default: "none",
    },
    HostKey {
        name: "route",
        set: |host, raw| route(raw).map(|route| host.route = Some(route)),
        takes_list: false,
        values: "`direct`, `remote-host` or `ssh`: [how the last hop connects to it](hops.md#routes)",
        default: "what works",
    },
    HostKey {
        name: "cache",
        set: |host, raw| value::duration(raw).map(|time| host.cache = Some(time)),
        takes_list: false,
        values: "time for which a resolved name stays valid",
        default: "resolved each time",
    },
];

/// A key of `[hosts.NAME]` that is not a setting.
pub type HostKey = TableKey<Host>;

impl Host {
    /// Returns the hops to it; a direct route has none.
    pub fn hops(&self) -> &[String] {
        if self.route == Some(RouteKind::Direct) { &[] } else { &self.via }
    }

    /// The keys `user` and `region` override a user and a region in the target.
    fn set_target(&mut self, raw: Raw<'_>) -> Result<(), ValueError> {
        let text = value::text(raw)?;
        let (user, rest) = split_user(&text);
        let user = user.map(|user| value::user(Raw::String(user))).transpose()?;
        let (target, region) = split_region(rest);
        let target = value::text(Raw::String(target))?;
        Destination::of_name(&target).map_err(|error| ValueError::NotATarget(error.to_string()))?;
        self.target = Some(target);
        self.user = self.user.take().or(user);
        self.settings.region = self.settings.region.take().or(region.map(|region| region.to_string()));
        Ok(())
    }
}

fn stops_always(raw: Raw<'_>) -> Result<bool, ValueError> {
    match raw.text()? {
        "always" => Ok(true),
        "started" => Ok(false),
        _ => Err(ValueError::NotAStop),
    }
}

fn key_kind(raw: Raw<'_>) -> Result<KeyKind, ValueError> {
    let name = raw.text()?;
    let kinds = [KeyKind::Ephemeral, KeyKind::Push];
    kinds.into_iter().find(|kind| kind.name() == name).ok_or(ValueError::NotAKeyKind)
}

fn route(raw: Raw<'_>) -> Result<RouteKind, ValueError> {
    let name = raw.text()?;
    RouteKind::ALL.into_iter().find(|route| route.name() == name).ok_or(ValueError::NotARoute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_target(text: &str) -> Host {
        let mut host = Host::default();
        host.set_target(Raw::String(text)).expect(text);
        host
    }

    #[test]
    fn user_and_region_of_a_target_become_keys() {
        let host = with_target("me@i-0123--eu-west-1");
        assert_eq!((host.target.as_deref(), host.user.as_deref()), (Some("i-0123"), Some("me")));
        assert_eq!(host.settings.region.as_deref(), Some("eu-west-1"));
        for tag in ["tag:Name=a--b", "tag:Name=a--eu-west-1", "tag:owner=me@example.com"] {
            assert_eq!(with_target(tag).target.as_deref(), Some(tag));
        }
    }

    #[test]
    fn the_key_user_overrides_the_user_in_the_target() {
        let mut host = Host { user: Some("key".into()), ..Host::default() };
        host.set_target(Raw::String("target@i-0123")).expect("valid");
        assert_eq!(host.user.as_deref(), Some("key"));
    }

    #[test]
    fn a_direct_route_has_no_hops() {
        let hop = Host { via: vec!["b".into()], ..Host::default() };
        assert_eq!(hop.hops(), ["b"]);
        assert!(Host { route: Some(RouteKind::Direct), ..hop }.hops().is_empty());
    }
}
