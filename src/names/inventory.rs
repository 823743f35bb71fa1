//! The known machines: the answers of EC2 and SSM, joined by id.

use std::collections::{BTreeMap, BTreeSet};

use crate::aws::{Instance, ManagedNode};

/// States of instances that no longer exist, which EC2 still lists for a while.
const TERMINATED: [&str; 2] = ["terminated", "shutting-down"];

/// The machines, sorted by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    nodes: BTreeMap<String, Node>,
    has_ec2: bool,
}

/// A machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The id, `i-…` or `mi-…`.
    pub id: String,
    /// EC2's description.
    pub instance: Option<Instance>,
    /// SSM's description.
    pub agent: Option<ManagedNode>,
    /// Tags that SSM filtered by. SSM does not return tags.
    filtered_tags: Vec<(String, String)>,
}

impl Inventory {
    /// Joins both lists; `None` stands for a service that did not answer. Omits terminated instances from both.
    pub fn merge(instances: Option<Vec<Instance>>, agents: Option<Vec<ManagedNode>>) -> Self {
        let mut inventory = Self { has_ec2: instances.is_some(), ..Self::default() };
        let mut terminated = BTreeSet::new();
        for instance in instances.into_iter().flatten() {
            if TERMINATED.contains(&instance.state.as_str()) {
                terminated.insert(instance.id);
            } else {
                let id = instance.id.clone();
                inventory.node(id).instance = Some(instance);
            }
        }
        for agent in agents.into_iter().flatten().filter(|agent| !terminated.contains(&agent.id)) {
            let id = agent.id.clone();
            inventory.node(id).agent = Some(agent);
        }
        inventory
    }

    /// Adds the machines that SSM returned for a tag filter.
    pub fn add_tagged(&mut self, agents: Vec<ManagedNode>, key: &str, value: &str) {
        for agent in agents {
            let node = self.node(agent.id.clone());
            node.filtered_tags.push((key.to_owned(), value.to_owned()));
            node.agent = Some(agent);
        }
    }

    /// Returns every machine.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Returns true if the names and address that SSM reports for a machine are used. For an instance they are not
    /// used if EC2 answered.
    pub(super) fn trusts_agent(&self, node: &Node) -> bool {
        !self.has_ec2 || !node.id.starts_with("i-")
    }

    fn node(&mut self, id: String) -> &mut Node {
        self.nodes.entry(id.clone()).or_insert_with(|| Node { id, ..Node::default() })
    }
}

impl Node {
    /// Returns the Name tag, else SSM's name.
    pub fn name(&self) -> Option<&str> {
        self.tag("Name").filter(|name| !name.is_empty()).or_else(|| self.agent_names().next())
    }

    /// Returns a private address, else a public one, else the one that the agent reports.
    pub fn address(&self) -> Option<&str> {
        let instance = self.instance.as_ref();
        let known =
            instance.into_iter().flat_map(|one| one.private_addresses.iter().chain(&one.public_addresses));
        known.chain(self.agent.iter().flat_map(|agent| &agent.address)).next().map(String::as_str)
    }

    /// Returns the EC2 state of an instance.
    pub fn state(&self) -> Option<&str> {
        self.instance.as_ref().map(|instance| instance.state.as_str())
    }

    /// Returns the platform that the agent reports, else EC2's less precise one.
    pub fn platform(&self) -> Option<&str> {
        let agents = self.agent.as_ref().and_then(|agent| agent.platform.as_deref());
        agents.or_else(|| self.instance.as_ref()?.platform.as_deref())
    }

    /// Returns the known tags.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let instances = self.instance.iter().flat_map(|instance| &instance.tags);
        instances.chain(&self.filtered_tags).map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns the value of a tag.
    pub fn tag(&self, wanted: &str) -> Option<&str> {
        self.tags().find(|(key, _)| *key == wanted).map(|(_, value)| value)
    }

    /// Returns SSM's names of the machine.
    pub(super) fn agent_names(&self) -> impl Iterator<Item = &str> {
        let names = self.agent.iter().flat_map(|agent| [&agent.name, &agent.computer_name]);
        names.flatten().map(String::as_str)
    }
}
