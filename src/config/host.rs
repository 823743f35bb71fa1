//! `[hosts.NAME]`: what a name of the user's own stands for.
//!
//! A [`Host`] is one table of the file, checked but not yet combined with flags and environment:
//! [`Config::for_host`](super::Config::for_host) does that. Keys of features that this version lacks are understood all
//! the same, so that whoever uses such a host can be told ([`Host::lacking`]).

use std::time::Duration;

use crate::names::Region;
use crate::names::route::Route;

use super::settings::{Raw, Settings};
use super::value::{self, ValueError};

/// One host of the config file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// What the host says of the settings that flags give too.
    pub settings: Settings,
    /// What it is; `None` is a target of the host's own name. Without user and region, which have their own keys.
    pub target: Option<String>,
    /// Where it is as the hop before it sees it; without a hop, it is the target.
    pub address: Option<String>,
    /// The hops to it, the nearest to us first.
    pub via: Vec<String>,
    /// The user to log in as.
    pub user: Option<String>,
    /// The port of its sshd.
    pub port: Option<u16>,
    /// A security group that it has only while somebody is connected.
    pub security_group: Option<String>,
    /// It is started when it is stopped.
    pub start: bool,
    /// How long after the last user it is stopped.
    pub stop_after: Option<Duration>,
    /// The way out of the last hop; `None` leaves the choice to us.
    pub route: Option<Route>,
    /// How long a name that was resolved is believed; `None` resolves it each time.
    pub cache: Option<Duration>,
}

impl Host {
    /// Takes one value; `via` has a function of its own.
    pub(super) fn set(&mut self, key: HostKey, raw: Raw<'_>) -> Result<(), ValueError> {
        match key {
            HostKey::Target => self.set_target(&value::text(raw.text()?)?)?,
            HostKey::Address => self.address = Some(value::text(raw.text()?)?),
            HostKey::Via => self.add_hop(raw)?,
            HostKey::User => self.user = Some(value::user(raw.text()?)?),
            HostKey::Port => self.port = Some(value::port(&raw.text_or_number()?)?),
            HostKey::SecurityGroup => self.security_group = Some(value::text(raw.text()?)?),
            HostKey::Start => self.start = raw.switch()?,
            HostKey::StopAfter => self.stop_after = Some(value::some_time(&raw.duration()?)?),
            HostKey::Route => self.route = Some(route(raw.text()?)?),
            HostKey::Cache => self.cache = Some(value::duration(&raw.duration()?)?),
        }
        Ok(())
    }

    /// Adds the next hop of `via`.
    pub(super) fn add_hop(&mut self, raw: Raw<'_>) -> Result<(), ValueError> {
        let hop = raw.text().map_err(|_| ValueError::NotAHop)?;
        self.via.push(value::text(hop)?);
        Ok(())
    }

    /// Returns the first key of a feature that this version lacks.
    pub fn lacking(&self) -> Option<HostKey> {
        [
            (HostKey::Start, self.start),
            (HostKey::StopAfter, self.stop_after.is_some()),
            (HostKey::SecurityGroup, self.security_group.is_some()),
        ]
        .into_iter()
        .find_map(|(key, is_used)| is_used.then_some(key))
    }

    /// Returns the hops to it that the file has and asks for.
    pub fn hops(&self) -> &[String] {
        if self.route == Some(Route::Direct) { &[] } else { &self.via }
    }

    /// A user and a region that are written into the target yield to keys and flags like those of their own keys.
    fn set_target(&mut self, text: &str) -> Result<(), ValueError> {
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(value::user(user)?), rest),
            None => (None, text),
        };
        let (target, region) = split_region(rest);
        self.target = Some(value::text(target)?);
        self.user = self.user.take().or(user);
        self.settings.region = self.settings.region.take().or(region);
        Ok(())
    }
}

fn route(name: &str) -> Result<Route, ValueError> {
    match name {
        "direct" => Ok(Route::Direct),
        "remote-host" => Ok(Route::RemoteHost),
        "ssh" => Ok(Route::Ssh),
        _ => Err(ValueError::NotARoute),
    }
}

/// Splits `NAME--REGION`, if the suffix has a region's form.
pub(super) fn split_region(text: &str) -> (&str, Option<String>) {
    let split = text.rsplit_once("--");
    let split = split.and_then(|(name, suffix)| Some((name, Region::parse(suffix)?.to_string())));
    split.map_or((text, None), |(name, region)| (name, Some(region)))
}

/// A key of `[hosts.NAME]` beside those of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKey {
    /// `target`
    Target,
    /// `address`
    Address,
    /// `via`
    Via,
    /// `user`
    User,
    /// `port`
    Port,
    /// `security_group`
    SecurityGroup,
    /// `start`
    Start,
    /// `stop_after`
    StopAfter,
    /// `route`
    Route,
    /// `cache`
    Cache,
}

impl HostKey {
    /// Every key.
    pub const ALL: [Self; 10] = [
        Self::Target,
        Self::Address,
        Self::Via,
        Self::User,
        Self::Port,
        Self::SecurityGroup,
        Self::Start,
        Self::StopAfter,
        Self::Route,
        Self::Cache,
    ];

    /// Returns the key as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Address => "address",
            Self::Via => "via",
            Self::User => "user",
            Self::Port => "port",
            Self::SecurityGroup => "security_group",
            Self::Start => "start",
            Self::StopAfter => "stop_after",
            Self::Route => "route",
            Self::Cache => "cache",
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

    fn with_target(text: &str) -> Host {
        let mut host = Host::default();
        host.set(HostKey::Target, Raw::String(text)).expect(text);
        host
    }

    #[test]
    fn user_and_region_of_a_target_are_keys_of_their_own() {
        let host = with_target("me@i-0123--eu-west-1");
        assert_eq!((host.target.as_deref(), host.user.as_deref()), (Some("i-0123"), Some("me")));
        assert_eq!(host.settings.region.as_deref(), Some("eu-west-1"));
        assert_eq!(with_target("tag:Name=a--b").target.as_deref(), Some("tag:Name=a--b"));
    }

    #[test]
    fn a_key_goes_before_what_the_target_says() {
        let mut host = Host { user: Some("key".into()), ..Host::default() };
        host.set(HostKey::Target, Raw::String("target@i-0123")).expect("valid");
        assert_eq!(host.user.as_deref(), Some("key"));
        host.set(HostKey::User, Raw::String("later")).expect("valid");
        assert_eq!(host.user.as_deref(), Some("later"));
    }

    #[test]
    fn what_this_version_lacks_is_told() {
        assert_eq!(with_target("i-0123").lacking(), None);
        let hop = Host { via: vec!["b".into()], route: Some(Route::Ssh), ..Host::default() };
        assert_eq!(hop.lacking(), None);
        assert_eq!(Host { start: true, ..hop }.lacking(), Some(HostKey::Start));
    }

    #[test]
    fn a_direct_route_has_no_hops() {
        let hop = Host { via: vec!["b".into()], ..Host::default() };
        assert_eq!(hop.hops(), ["b"]);
        assert!(Host { route: Some(Route::Direct), ..hop }.hops().is_empty());
    }
}
