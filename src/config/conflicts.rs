//! Keys of a host that exclude each other: a source of host keys, or a pushed key, that its machine cannot have.

use std::collections::BTreeMap;

use crate::names::{Destination, Name, TargetKind};

use super::cycles::named;
use super::host::Host;
use super::host_keys::HostKeySource;

/// What is in the way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    /// The host with the key at which the error is shown.
    pub host: String,
    /// That key.
    pub key: &'static str,
    /// Why the keys exclude each other.
    pub message: String,
}

/// Finds the first conflict, in the order of these names.
pub(super) fn find_conflict<'a>(
    hosts: &BTreeMap<String, Host>,
    in_order: impl Iterator<Item = &'a str>,
) -> Option<Conflict> {
    let conflict = |host: &Host| {
        let found = behind_hop(host).or_else(|| not_an_instance(host)).or_else(|| later_hop(host, hosts))?;
        Some(Conflict { host: host.name.clone(), key: found.0, message: found.1 })
    };
    in_order.filter_map(|name| hosts.get(name)).find_map(conflict)
}

type Found = (&'static str, String);

fn behind_hop(host: &Host) -> Option<Found> {
    let hop = host.hops().last()?;
    (host.host_keys == Some(HostKeySource::Session)).then(|| ("host_keys", no_session(&host.name, hop)))
}

/// A later hop of a list is behind the earlier ones, also if it has no `via` of its own.
fn later_hop(host: &Host, hosts: &BTreeMap<String, Host>) -> Option<Found> {
    let pairs = host.hops().windows(2);
    let mut pairs = pairs.filter_map(|pair| Some((pair.first()?, named(hosts, pair.last()?)?)));
    let (before, (name, _)) = pairs.find(|(_, (_, hop))| hop.host_keys == Some(HostKeySource::Session))?;
    Some(("via", no_session(name, before)))
}

fn no_session(host: &str, hop: &str) -> String {
    format!(
        "`host_keys = \"session\"` cannot be used for `{host}`: it is behind hop `{hop}`, and a path through a hop does not prove \
         which machine answers; use `console` or `parameter:NAME`"
    )
}

/// Only instances of EC2 have a console, and a key that is pushed.
fn not_an_instance(host: &Host) -> Option<Found> {
    let name = &host.name;
    if is_perhaps_instance(host) {
        return None;
    }
    if host.host_keys == Some(HostKeySource::Console) {
        let message = format!(
            "`host_keys = \"console\"` cannot be used for `{name}`: it is not an EC2 instance; use `session` or `parameter:NAME`"
        );
        return Some(("host_keys", message));
    }
    host.key?;
    Some(("key", format!("`key` cannot be used for `{name}`: it is not an EC2 instance")))
}

/// Returns false if the form of the target says that it is something else.
fn is_perhaps_instance(host: &Host) -> bool {
    let destination = match &host.target {
        Some(target) => Destination::of_name(target),
        None => host.address.as_ref().unwrap_or(&host.name).parse(),
    };
    let is_other = destination.is_ok_and(|destination| match destination.name() {
        Name::Id(target) => target.kind() != TargetKind::Instance,
        Name::Container(_) => true,
        Name::Tag { .. } | Name::Address(_) | Name::Dns(_) | Name::Named(_) => false,
    });
    host.task.is_none() && !is_other
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::parse::parse;

    /// The first conflict as the text of the fault.
    fn fault(text: &str) -> Option<String> {
        let fault = parse(text).err()?;
        Some(fault.at(Path::new("c.toml"), text).to_string())
    }

    fn behind(host: &str, hop: &str) -> String {
        format!(
            "`host_keys = \"session\"` cannot be used for `{host}`: it is behind hop `{hop}`, and a path through a hop does \
             not prove which machine answers; use `console` or `parameter:NAME`"
        )
    }

    #[test]
    fn a_machine_behind_a_hop_has_no_session_source() {
        for (text, place, host, hop) in [
            ("[hosts.app]\nvia = 'b'\nhost_keys = 'session'", "3:13", "app", "b"),
            ("[hosts.app]\nhost_keys = 'session'\nvia = ['a', 'b']", "2:13", "app", "b"),
            (
                "[hosts.app]\nvia = ['a', 'me@b--eu-west-1']\n[hosts.b]\nhost_keys = 'session'",
                "2:7",
                "b",
                "a",
            ),
        ] {
            assert_eq!(fault(text), Some(format!("c.toml:{place}: {}", behind(host, hop))), "{text}");
        }
        for text in [
            "[hosts.app]\nvia = ['b', 'c']\nhost_keys = 'console'\n[hosts.b]\nhost_keys = 'session'",
            "[hosts.app]\nvia = 'b'\nroute = 'direct'\nhost_keys = 'session'",
            "[hosts.app]\nvia = 'b'\nhost_keys = 'parameter:/a'",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn only_an_instance_has_a_console_and_a_pushed_key() {
        let task = "{ cluster = 'c', definition = 'd', subnets = 's', security_groups = 'g' }";
        let task = format!("task = {task}");
        for machine in
            ["target = 'mi-0123456789abcdef0'", "address = 'ecs:c/s'", "target = 'ecs:c_t_r'", task.as_str()]
        {
            let text = format!("[hosts.web]\n{machine}\nhost_keys = 'console'");
            let message = "`host_keys = \"console\"` cannot be used for `web`: it is not an EC2 instance; use `session` or \
                           `parameter:NAME`";
            assert_eq!(fault(&text), Some(format!("c.toml:3:13: {message}")));
            let text = format!("[hosts.web]\n{machine}\nkey = 'push'");
            let message = "`key` cannot be used for `web`: it is not an EC2 instance";
            assert_eq!(fault(&text), Some(format!("c.toml:3:7: {message}")));
            let text = format!("[hosts.web]\n{machine}\nhost_keys = 'session'");
            assert_eq!(fault(&text), None);
        }
        for machine in ["", "target = 'i-0123'", "target = 'tag:Name=web'", "address = '10.0.0.1'\nvia = 'b'"]
        {
            let text = format!("[hosts.web]\n{machine}\nhost_keys = 'console'\nkey = 'push'");
            assert_eq!(fault(&text), None, "{machine}");
        }
    }
}
