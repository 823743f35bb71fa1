//! Resolves a name to the one matching machine. Pure: the result depends only on the inventory.

use std::net::IpAddr;

use thiserror::Error;

use super::{Inventory, Name, Node, Target, TargetKind};

/// Maximum number of suggestions.
const MAX_SUGGESTIONS: usize = 3;
/// Minimum similarity of a suggestion (Jaro-Winkler; 1 is equal).
const MIN_SIMILARITY: f64 = 0.84;

/// Why a name could not be resolved.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ResolveError {
    /// No machine matches: correct the name, or try another region or account.
    #[error("no instance named \"{name}\"")]
    NotFound {
        /// The name.
        name: String,
        /// Similar names: untrusted.
        near: Vec<String>,
        /// A name that differs only in upper and lower case: untrusted.
        other_case: Option<String>,
    },
    /// Several machines match: use the id of one.
    #[error("{} instances match \"{name}\"", candidates.len())]
    Ambiguous {
        /// The name.
        name: String,
        /// All matching machines.
        candidates: Vec<Candidate>,
    },
}

/// One of several matching machines. Its texts are untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The id.
    pub id: String,
    /// The name.
    pub name: Option<String>,
    /// The address.
    pub address: Option<String>,
    /// The EC2 state, else SSM's ping status.
    pub state: Option<String>,
}

/// Resolves a name to the one matching machine. An id resolves to itself. Containers are not in an inventory.
///
/// # Errors
/// [`ResolveError`]
pub fn resolve(name: &Name, inventory: &Inventory) -> Result<Target, ResolveError> {
    if let Name::Id(target) = name {
        return Ok(target.clone());
    }
    let found: Vec<&Node> = inventory.nodes().filter(|node| matches(name, node, inventory)).collect();
    match found.as_slice() {
        [] => {
            let (name, near) = (name.to_string(), near(name, inventory));
            let is_other_case = |known: &&String| known.to_lowercase() == name.to_lowercase();
            let other_case = near.iter().find(is_other_case).cloned();
            Err(ResolveError::NotFound { name, near, other_case })
        }
        [node] => Ok(target(node)),
        [..] => Err(ResolveError::Ambiguous {
            name: name.to_string(),
            candidates: found.into_iter().map(Candidate::from).collect(),
        }),
    }
}

fn target(node: &Node) -> Target {
    let is_activated = node.id.starts_with("mi-");
    let kind = if is_activated { TargetKind::ManagedInstance } else { TargetKind::Instance };
    let is_stopped = matches!(node.state(), Some("stopped" | "stopping"));
    Target { is_stopped, ..Target::new(&node.id, kind) }
}

impl From<&Node> for Candidate {
    fn from(node: &Node) -> Self {
        let ping = node.agent.as_ref().and_then(|agent| agent.ping.as_deref());
        Self {
            id: node.id.clone(),
            name: node.name().map(str::to_owned),
            address: node.address().map(str::to_owned),
            state: node.state().or(ping).map(str::to_owned),
        }
    }
}

fn matches(name: &Name, node: &Node, inventory: &Inventory) -> bool {
    // If EC2 answered without this instance, the agent's names do not count.
    let agent_counts = inventory.trusts_agent(node);
    if node.instance.is_none() && !agent_counts {
        return false;
    }
    match name {
        Name::Id(target) => node.id == target.id(),
        Name::Container(_) => false,
        Name::Tag { key, value } => node.tags().any(|tag| tag == (key, value)),
        Name::Address(address) => {
            let agents = node.agent.iter().filter(|_| agent_counts).flat_map(|agent| &agent.address);
            addresses(node).chain(agents).any(|known| known.parse() == Ok::<IpAddr, _>(*address))
        }
        Name::Named(wanted) => {
            node.tag("Name") == Some(wanted)
                || (agent_counts && node.agent_names().any(|name| name == wanted))
        }
        Name::Dns(wanted) => {
            let is_same = |name: &str| is_same_host(name, wanted);
            node.tag("Name") == Some(wanted)
                || node.instance.iter().flat_map(|one| &one.dns_names).any(|name| is_same(name))
                || (agent_counts && node.agent_names().any(is_same))
        }
    }
}

fn addresses(node: &Node) -> impl Iterator<Item = &String> {
    node.instance.iter().flat_map(|one| one.private_addresses.iter().chain(&one.public_addresses))
}

fn is_same_host(one: &str, other: &str) -> bool {
    one.trim_end_matches('.').eq_ignore_ascii_case(other.trim_end_matches('.'))
}

/// Returns similar names, the most similar first.
fn near(name: &Name, inventory: &Inventory) -> Vec<String> {
    let mut scored: Vec<(f64, String)> = Vec::new();
    for node in inventory.nodes() {
        let similar = match name {
            Name::Named(wanted) | Name::Dns(wanted) => near_names(wanted, node),
            Name::Tag { key, value } => near_values(key, value, node),
            Name::Id(_) | Name::Container(_) | Name::Address(_) => Vec::new(),
        };
        scored.extend(similar);
    }
    scored.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(&other.1)));
    scored.dedup_by(|one, other| one.1 == other.1);
    scored.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| name).collect()
}

fn near_names(wanted: &str, node: &Node) -> Vec<(f64, String)> {
    // Users often paste an id without `i-`.
    if node.id.split_once('-').is_some_and(|(_, digits)| digits == wanted) {
        return vec![(1.0, node.id.clone())];
    }
    let names = node.tag("Name").into_iter().chain(node.agent_names());
    names.filter_map(|name| Some((similarity(wanted, name)?, name.to_owned()))).collect()
}

fn near_values(key: &str, value: &str, node: &Node) -> Vec<(f64, String)> {
    let same_key = node.tags().filter(|(known, _)| *known == key);
    same_key
        .filter_map(|(_, known)| Some((similarity(value, known)?, format!("tag:{key}={known}"))))
        .collect()
}

fn similarity(wanted: &str, known: &str) -> Option<f64> {
    if wanted.is_empty() || known.is_empty() {
        return None;
    }
    let (wanted, known) = (wanted.to_lowercase(), known.to_lowercase());
    let score = strsim::jaro_winkler(&wanted, &known);
    let has_part = wanted.chars().count() > 2 && known.contains(&wanted);
    (score >= MIN_SIMILARITY || has_part).then_some(score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{Instance, ManagedNode};
    use crate::names::Destination;

    fn instance(id: &str, name: &str, address: &str, state: &str) -> Instance {
        Instance {
            id: id.into(),
            state: state.into(),
            private_addresses: vec![address.into()],
            tags: vec![("Name".into(), name.into()), ("Team".into(), "web".into())],
            ..Instance::default()
        }
    }

    fn agent(id: &str, name: Option<&str>, computer_name: &str) -> ManagedNode {
        ManagedNode {
            id: id.into(),
            name: name.map(str::to_owned),
            computer_name: Some(computer_name.into()),
            address: Some("192.168.0.9".into()),
            ping: Some("Online".into()),
            ..ManagedNode::default()
        }
    }

    fn find(text: &str, inventory: &Inventory) -> Result<Target, ResolveError> {
        resolve(text.parse::<Destination>().expect(text).name(), inventory)
    }

    fn id(text: &str, inventory: &Inventory) -> String {
        find(text, inventory).unwrap_or_else(|error| panic!("`{text}`: {error}")).id().to_owned()
    }

    fn full() -> Inventory {
        let mut web = instance("i-1", "web", "10.0.0.1", "running");
        web.private_addresses.push("2001:db8::1".into());
        web.public_addresses.push("198.51.100.1".into());
        web.dns_names.push("ip-10-0-0-1.ec2.internal".into());
        let mut db = instance("i-2", "db.prod", "10.0.0.2", "stopped");
        db.tags.push(("Role".into(), "database".into()));
        Inventory::merge(
            Some(vec![web, db]),
            Some(vec![
                agent("i-1", None, "web.local"),
                agent("mi-3", Some("rack"), "rack.local"),
                agent("i-4", None, "forgotten"),
            ]),
        )
    }

    #[test]
    fn every_form_of_a_name_resolves() {
        for (text, expected) in [
            ("i-9", "i-9"),
            ("web", "i-1"),
            ("tag:Name=web", "i-1"),
            ("tag:Role=database", "i-2"),
            ("10.0.0.1", "i-1"),
            ("198.51.100.1", "i-1"),
            ("2001:DB8:0::1", "i-1"),
            ("IP-10-0-0-1.ec2.internal", "i-1"),
            ("ip-10-0-0-1.ec2.internal.", "i-1"),
            ("db.prod", "i-2"),
            ("rack", "mi-3"),
            ("rack.local", "mi-3"),
            ("192.168.0.9", "mi-3"),
        ] {
            assert_eq!(id(text, &full()), expected, "{text}");
        }
    }

    #[test]
    fn a_stopped_instance_resolves_as_stopped() {
        assert!(find("db.prod", &full()).expect("found").is_stopped());
        assert!(!find("web", &full()).expect("found").is_stopped());
        assert!(!find("rack", &full()).expect("found").is_stopped());
    }

    #[test]
    fn an_agents_names_count_only_if_ec2_did_not_answer() {
        assert!(matches!(find("web.local", &full()), Err(ResolveError::NotFound { .. })));
        assert!(matches!(find("forgotten", &full()), Err(ResolveError::NotFound { .. })));
        let without = Inventory::merge(None, Some(vec![agent("i-1", None, "web.local")]));
        assert_eq!(id("web.local", &without), "i-1");
        assert_eq!(id("192.168.0.9", &without), "i-1");
    }

    #[test]
    fn names_resolve_with_ec2_alone() {
        let inventory = Inventory::merge(Some(vec![instance("i-1", "web", "10.0.0.1", "running")]), None);
        assert_eq!(id("web", &inventory), "i-1");
        assert!(matches!(find("rack", &inventory), Err(ResolveError::NotFound { .. })));
    }

    #[test]
    fn tags_that_ssm_filtered_by_match() {
        let mut inventory =
            Inventory::merge(None, Some(vec![agent("i-1", None, "one"), agent("i-2", None, "two")]));
        inventory.add_tagged(vec![agent("i-2", None, "two")], "Name", "web");
        assert_eq!(id("web", &inventory), "i-2");
        assert_eq!(id("tag:Name=web", &inventory), "i-2");
    }

    #[test]
    fn terminated_instances_do_not_match() {
        let inventory = Inventory::merge(
            Some(vec![
                instance("i-1", "web", "10.0.0.1", "terminated"),
                instance("i-2", "web", "10.0.0.1", "shutting-down"),
                instance("i-3", "web", "10.0.0.1", "pending"),
            ]),
            Some(vec![agent("i-1", None, "web"), agent("i-3", None, "web")]),
        );
        assert_eq!(id("web", &inventory), "i-3");
        assert_eq!(inventory.nodes().count(), 1);
    }

    #[test]
    fn an_ambiguous_name_lists_all_candidates() {
        let inventory = Inventory::merge(
            Some(vec![
                instance("i-2", "web", "10.0.0.2", "stopped"),
                instance("i-1", "web", "10.0.0.1", "running"),
            ]),
            Some(vec![agent("mi-3", Some("web"), "web.local"), agent("i-1", None, "x")]),
        );
        let Err(error @ ResolveError::Ambiguous { .. }) = find("web", &inventory) else {
            panic!("ambiguous")
        };
        assert_eq!(error.to_string(), "3 instances match \"web\"");
        let ResolveError::Ambiguous { candidates, .. } = error else { unreachable!() };
        let shown = candidates.iter().map(|one| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{} {} {} {}", one.id, text(&one.name), text(&one.address), text(&one.state))
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            ["i-1 web 10.0.0.1 running", "i-2 web 10.0.0.2 stopped", "mi-3 web 192.168.0.9 Online"]
        );
    }

    #[test]
    fn an_unknown_name_suggests_similar_names() {
        for (text, suggestions) in [
            ("wbe", vec![]),
            ("Web", vec!["web", "web.local"]),
            ("racks", vec!["rack", "rack.local"]),
            ("tag:Role=databse", vec!["tag:Role=database"]),
            ("nothing-like-it", vec![]),
            ("1", vec!["i-1"]),
            ("10.9.9.9", vec![]),
        ] {
            let Err(ResolveError::NotFound { name, near, other_case }) = find(text, &full()) else {
                panic!("{text}")
            };
            assert_eq!(other_case.as_deref(), (text == "Web").then_some("web"));
            assert_eq!((name.as_str(), near), (text, suggestions.iter().map(|&text| text.into()).collect()));
        }
    }
}
