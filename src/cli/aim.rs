//! What the word after a command, or in a `via`, means: a host of the config file, or a target itself.
//!
//! The step before names are resolved: [`Place::new`] exchanges a host's name for its target. A host's target is not
//! looked up in the config file again. How one place leads to the next is `chain`'s to say.

use crate::config::{Config, Host};
use crate::names::{Destination, Name, Region, TargetError};

/// The port of sshd, unless somebody says otherwise.
const SSH_PORT: u16 = 22;

/// One place on the way: a hop, or the goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// As it was typed or written.
    pub word: String,
    /// The host of the config file that it is, with its name.
    pub host: Option<(String, Host)>,
    /// The target as it could have been typed, `[USER@]TARGET[--REGION]`.
    pub target: String,
    /// Where the hop before it finds it; an id, a tag or a container alone is found by AWS only.
    pub address: Option<String>,
    /// The port; of a hop it is its sshd's.
    pub port: u16,
    /// The user to log in as.
    pub user: Option<String>,
    /// The region that was typed or written with it.
    pub region: Option<Region>,
}

impl Place {
    /// Finds out what `word` means; a port that was typed goes before the host's.
    ///
    /// # Errors
    /// The word is neither a host nor a target.
    pub fn new(word: &str, port: Option<u16>, config: &Config) -> Result<Self, TargetError> {
        match config.for_host(word) {
            Some((name, host, _)) => Ok(Self::of_host(word, port, name, host)),
            None => Self::of_target(word, port),
        }
    }

    fn of_host(word: &str, port: Option<u16>, name: &str, host: &Host) -> Self {
        let (user, rest) = match word.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, word),
        };
        let region = rest.strip_prefix(name).unwrap_or_default();
        let region = region.strip_prefix("--").and_then(Region::parse);
        let user = user.or(host.user.as_deref()).map(str::to_owned);
        Self {
            word: word.to_owned(),
            target: target(name, host, user.as_deref(), region.as_ref()),
            address: Some(address(name, host)),
            port: port.or(host.port).unwrap_or(SSH_PORT),
            user,
            region,
            host: Some((name.to_owned(), host.clone())),
        }
    }

    fn of_target(word: &str, port: Option<u16>) -> Result<Self, TargetError> {
        let destination: Destination = word.parse()?;
        let address = match destination.name() {
            Name::Address(_) | Name::Dns(_) | Name::Named(_) => Some(destination.name().to_string()),
            Name::Id(_) | Name::Tag { .. } | Name::Container(_) => None,
        };
        Ok(Self {
            word: word.to_owned(),
            host: None,
            target: word.to_owned(),
            address,
            port: port.unwrap_or(SSH_PORT),
            user: destination.user().map(str::to_owned),
            region: destination.region().cloned(),
        })
    }

    /// Returns the host's name, else the word.
    pub fn label(&self) -> &str {
        self.host.as_ref().map_or(&self.word, |(name, _)| name)
    }

    /// Returns what the hop before it is asked for; what has no address is refused with the chain.
    pub fn dialled(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.word)
    }

    /// Returns what the config file says of it.
    pub fn table(&self) -> Option<&Host> {
        self.host.as_ref().map(|(_, host)| host)
    }

    /// Tells whether both are the same machine, as far as names tell: user and region make no other one.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.host, &other.host) {
            (Some((name, _)), Some((other, _))) => name == other,
            (None, None) => bare(&self.word) == bare(&other.word),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

fn bare(word: &str) -> Option<Name> {
    word.parse::<Destination>().ok().map(|destination| destination.name().clone())
}

/// Puts the host's target in the place of its name; user and region that were typed stay.
fn target(name: &str, host: &Host, user: Option<&str>, region: Option<&Region>) -> String {
    let target = host.target.as_deref().or(host.address.as_deref()).unwrap_or(name);
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let region = region.map(|region| format!("--{region}")).unwrap_or_default();
    format!("{user}{target}{region}")
}

/// A target that is an address already need not be written twice.
fn address(name: &str, host: &Host) -> String {
    let is_address = |target: &&str| {
        let target = target.parse::<Destination>();
        target.is_ok_and(|target| matches!(target.name(), Name::Address(_) | Name::Dns(_)))
    };
    let of_target = || host.target.as_deref().filter(is_address);
    host.address.as_deref().or_else(of_target).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags};

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        Config::resolve(flags, &Environment::default()).expect(text)
    }

    fn place(word: &str, port: Option<u16>, text: &str) -> Place {
        Place::new(word, port, &config(text)).expect(word)
    }

    fn aimed(word: &str, port: Option<u16>, text: &str) -> (String, u16) {
        let place = place(word, port, text);
        (place.target, place.port)
    }

    #[test]
    fn a_word_that_is_no_host_stays_as_it_is() {
        assert_eq!(aimed("me@i-0123--eu-west-1", None, ""), ("me@i-0123--eu-west-1".into(), 22));
        assert_eq!(aimed("web", Some(1), "[hosts.web2]"), ("web".into(), 1));
        assert!(Place::new("tag:x", None, &config("")).is_err());
    }

    #[test]
    fn a_hosts_name_stands_for_its_target() {
        let text = "[hosts.web]\ntarget = 'i-0123'\nuser = 'admin'\nport = 2222\nregion = 'eu-west-3'\n\
                    [hosts.plain]\n[hosts.by-address]\naddress = '10.0.0.1'";
        assert_eq!(aimed("web", None, text), ("admin@i-0123".into(), 2222));
        assert_eq!(aimed("me@web--eu-west-1", Some(22), text), ("me@i-0123--eu-west-1".into(), 22));
        assert_eq!(aimed("plain", None, text), ("plain".into(), 22));
        assert_eq!(aimed("by-address", None, text).0, "10.0.0.1");
        assert_eq!(place("me@web--eu-west-1", None, text).label(), "web");
    }

    #[test]
    fn a_host_may_have_a_name_like_a_region() {
        let text = "[hosts.web--eu-west-1]\ntarget = 'i-0123'";
        assert_eq!(aimed("web--eu-west-1", None, text).0, "i-0123");
        assert_eq!(aimed("web--eu-west-1--eu-west-2", None, text).0, "i-0123--eu-west-2");
    }

    #[test]
    fn a_hop_finds_it_by_address_dns_name_or_name() {
        let text = "[hosts.a]\naddress = '10.0.0.1'\ntarget = 'i-0123'\n[hosts.b]\ntarget = 'b.internal'\n\
                    [hosts.c]\ntarget = 'i-0123'\n[hosts.d]\ntarget = '10.0.0.4'\n[hosts.e]\ntarget = 'tag:A=e'";
        for (word, address) in [
            ("a", Some("10.0.0.1")),
            ("b", Some("b.internal")),
            ("c", Some("c")),
            ("me@d--eu-west-1", Some("10.0.0.4")),
            ("e", Some("e")),
            ("me@10.0.0.9--eu-west-1", Some("10.0.0.9")),
            ("db", Some("db")),
            ("i-0123", None),
            ("tag:Name=db", None),
            ("ecs:a/b", None),
        ] {
            assert_eq!(place(word, None, text).address.as_deref(), address, "{word}");
        }
    }

    #[test]
    fn user_and_region_make_no_other_machine() {
        let same = |one, other| place(one, None, "[hosts.a]").is_same(&place(other, None, "[hosts.a]"));
        assert!(same("a", "me@a--eu-west-1") && same("i-0123", "me@i-0123"));
        assert!(!same("a", "b") && !same("i-0123", "i-0124"));
    }
}
