//! What AWS told of the machines that exist: EC2's half and SSM's half, joined by id.

use std::collections::{BTreeMap, BTreeSet};

use crate::aws::{Instance, ManagedNode};

/// What EC2 still lists for a while although it is gone.
const GONE: [&str; 2] = ["terminated", "shutting-down"];

/// The machines, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    nodes: BTreeMap<String, Node>,
    has_ec2: bool,
}

/// One machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its id, `i-…` or `mi-…`.
    pub id: String,
    /// What EC2 tells of it.
    pub instance: Option<Instance>,
    /// What SSM tells of it.
    pub agent: Option<ManagedNode>,
    /// Tags that SSM filtered by: it does not tell tags otherwise.
    filtered_tags: Vec<(String, String)>,
}

impl Inventory {
    /// Joins both lists; `None` is a service that did not answer. Instances that are gone are left out of both.
    pub fn merge(instances: Option<Vec<Instance>>, agents: Option<Vec<ManagedNode>>) -> Self {
        let mut inventory = Self { has_ec2: instances.is_some(), ..Self::default() };
        let mut gone = BTreeSet::new();
        for instance in instances.into_iter().flatten() {
            if GONE.contains(&instance.state.as_str()) {
                gone.insert(instance.id);
            } else {
                let id = instance.id.clone();
                inventory.node(id).instance = Some(instance);
            }
        }
        for agent in agents.into_iter().flatten().filter(|agent| !gone.contains(&agent.id)) {
            let id = agent.id.clone();
            inventory.node(id).agent = Some(agent);
        }
        inventory
    }

    /// Adds what SSM gave when it was asked for the machines with that tag.
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

    /// Tells whether SSM's words about a machine count: EC2 knows its own instances better, if it could be asked.
    pub(super) fn trusts_agent(&self, node: &Node) -> bool {
        !self.has_ec2 || !node.id.starts_with("i-")
    }

    fn node(&mut self, id: String) -> &mut Node {
        self.nodes.entry(id.clone()).or_insert_with(|| Node { id, ..Node::default() })
    }
}

impl Node {
    /// Returns what people call it: the Name tag, else what SSM has.
    pub fn name(&self) -> Option<&str> {
        self.tag("Name").filter(|name| !name.is_empty()).or_else(|| self.agent_names().next())
    }

    /// Returns its address: a private one, else a public one, else what its agent reports.
    pub fn address(&self) -> Option<&str> {
        let instance = self.instance.as_ref();
        let known =
            instance.into_iter().flat_map(|one| one.private_addresses.iter().chain(&one.public_addresses));
        known.chain(self.agent.iter().flat_map(|agent| &agent.address)).next().map(String::as_str)
    }

    /// Returns its state in EC2's words, if it is EC2's.
    pub fn state(&self) -> Option<&str> {
        self.instance.as_ref().map(|instance| instance.state.as_str())
    }

    /// Returns its system; the agent knows it better than EC2.
    pub fn platform(&self) -> Option<&str> {
        let agents = self.agent.as_ref().and_then(|agent| agent.platform.as_deref());
        agents.or_else(|| self.instance.as_ref()?.platform.as_deref())
    }

    /// Returns its tags as far as they are known.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        let instances = self.instance.iter().flat_map(|instance| &instance.tags);
        instances.chain(&self.filtered_tags).map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Returns the value of a tag.
    pub fn tag(&self, wanted: &str) -> Option<&str> {
        self.tags().find(|(key, _)| *key == wanted).map(|(_, value)| value)
    }

    /// Returns the names that SSM has for it.
    pub(super) fn agent_names(&self) -> impl Iterator<Item = &str> {
        let names = self.agent.iter().flat_map(|agent| [&agent.name, &agent.computer_name]);
        names.flatten().map(String::as_str)
    }
}
