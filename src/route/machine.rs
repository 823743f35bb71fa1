//! One machine of a route: what a word of the command line or of a `via` means.
//!
//! The word is the name of a host of the config file, or a target. [`Machine::new`] replaces a host's name by the host's
//! target; it does not look that target up in the config file again. Names are not resolved here.

use crate::config::{Config, Host};
use crate::names::{Destination, Name, Region, TargetError, split_user};

/// The default port of sshd.
const SSH_PORT: u16 = 22;

/// A hop, or the goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The word as it was typed or written.
    pub word: String,
    /// The host of the config file with this name.
    pub named_host: Option<(String, Host)>,
    /// The address as the hop before it sees it; an id, a tag or a container alone has none.
    pub address: Option<String>,
    /// The port; a hop's is the port of its sshd.
    pub port: u16,
    /// The user to log in as.
    pub user: Option<String>,
    /// The region that was typed or written with the word.
    pub region: Option<Region>,
}

impl Machine {
    /// Parses `word`; `port` overrides the host's.
    ///
    /// # Errors
    /// The word is neither a host of the config file nor a valid target.
    pub fn new(word: &str, port: Option<u16>, config: &Config) -> Result<Self, TargetError> {
        match config.for_host(word) {
            Some((name, host, _)) => Ok(Self::of_host(word, port, name, host)),
            None => Self::of_target(word, port),
        }
    }

    fn of_host(word: &str, port: Option<u16>, name: &str, host: &Host) -> Self {
        let (user, rest) = split_user(word);
        let region = rest.strip_prefix(name).unwrap_or_default();
        let region = region.strip_prefix("--").and_then(Region::parse);
        let user = user.or(host.user.as_deref()).map(str::to_owned);
        Self {
            word: word.to_owned(),
            address: Some(address(name, host)),
            port: port.or(host.port).unwrap_or(SSH_PORT),
            user,
            region,
            named_host: Some((name.to_owned(), host.clone())),
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
            named_host: None,
            address,
            port: port.unwrap_or(SSH_PORT),
            user: destination.user().map(str::to_owned),
            region: destination.region().cloned(),
        })
    }

    /// Returns the target that a session to it is opened to: a host's name is replaced by the host's target, and the user
    /// and region that were typed stay.
    ///
    /// # Errors
    /// The host's target is not valid.
    pub fn destination(&self) -> Result<Destination, TargetError> {
        let Some((name, host)) = &self.named_host else { return self.word.parse() };
        let destination = match &host.target {
            Some(target) => Destination::of_name(target)?,
            None => host.address.as_deref().unwrap_or(name).parse()?,
        };
        Ok(destination.with(self.user.as_deref(), self.region.as_ref()))
    }

    /// Returns the name for messages: the host's name, else the word.
    pub fn label(&self) -> &str {
        self.named_host.as_ref().map_or(&self.word, |(name, _)| name)
    }

    /// Returns the address that the hop before it connects to. A route refuses machines without one.
    pub fn address_or_word(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.word)
    }

    /// Returns the host of the config file.
    pub fn host(&self) -> Option<&Host> {
        self.named_host.as_ref().map(|(_, host)| host)
    }

    /// Returns true if both have the same name; user and region are ignored.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.named_host, &other.named_host) {
            (Some((name, _)), Some((other, _))) => name == other,
            (None, None) => bare(&self.word) == bare(&other.word),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

fn bare(word: &str) -> Option<Name> {
    word.parse::<Destination>().ok().map(|destination| destination.name().clone())
}

/// A target that is an address serves as `address` too.
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

    fn machine(word: &str, port: Option<u16>, text: &str) -> Machine {
        Machine::new(word, port, &config(text)).expect(word)
    }

    fn target_and_port(word: &str, port: Option<u16>, text: &str) -> (String, u16) {
        let machine = machine(word, port, text);
        (machine.destination().expect(word).to_string(), machine.port)
    }

    #[test]
    fn a_word_that_does_not_name_a_host_is_the_target() {
        assert_eq!(target_and_port("me@i-0123--eu-west-1", None, ""), ("me@i-0123--eu-west-1".into(), 22));
        assert_eq!(target_and_port("web", Some(1), "[hosts.web2]"), ("web".into(), 1));
        assert!(Machine::new("tag:x", None, &config("")).is_err());
    }

    #[test]
    fn the_name_of_a_host_is_replaced_by_its_target() {
        let text = "[hosts.web]\ntarget = 'i-0123'\nuser = 'admin'\nport = 2222\nregion = 'eu-west-3'\n\
                    [hosts.plain]\n[hosts.by-address]\naddress = '10.0.0.1'";
        assert_eq!(target_and_port("web", None, text), ("admin@i-0123".into(), 2222));
        assert_eq!(target_and_port("me@web--eu-west-1", Some(22), text), ("me@i-0123--eu-west-1".into(), 22));
        assert_eq!(target_and_port("plain", None, text), ("plain".into(), 22));
        assert_eq!(target_and_port("by-address", None, text).0, "10.0.0.1");
        assert_eq!(machine("me@web--eu-west-1", None, text).label(), "web");
    }

    #[test]
    fn a_host_may_have_a_name_like_a_region() {
        let text = "[hosts.web--eu-west-1]\ntarget = 'i-0123'";
        assert_eq!(target_and_port("web--eu-west-1", None, text).0, "i-0123");
        assert_eq!(target_and_port("web--eu-west-1--eu-west-2", None, text).0, "i-0123--eu-west-2");
    }

    #[test]
    fn a_tag_that_looks_like_user_and_region_stays_whole() {
        let text = "[hosts.web]\ntarget = 'tag:owner=me@example.com--eu-west-1'\n[hosts.'example.com']";
        let destination = machine("you@web--eu-west-2", None, text).destination().expect("valid");
        assert_eq!(destination.name().to_string(), "tag:owner=me@example.com--eu-west-1");
        assert_eq!(destination.region().map(Region::as_str), Some("eu-west-2"));
        assert_eq!(machine("tag:owner=me@example.com", None, text).named_host, None);
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
            assert_eq!(machine(word, None, text).address.as_deref(), address, "{word}");
        }
    }

    #[test]
    fn user_and_region_do_not_distinguish_machines() {
        let same = |one, other| machine(one, None, "[hosts.a]").is_same(&machine(other, None, "[hosts.a]"));
        assert!(same("a", "me@a--eu-west-1") && same("i-0123", "me@i-0123"));
        assert!(!same("a", "b") && !same("i-0123", "i-0124"));
    }
}
