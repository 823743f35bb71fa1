//! A machine as `list` prints and caches it.

use serde::{Deserialize, Serialize};

use super::Node;

/// The keys are those of the JSON of `list`; `null` is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedMachine {
    /// `i-…` or `mi-…`.
    pub id: String,
    /// The Name tag, else SSM's name.
    pub name: Option<String>,
    /// A private address if there is one, else a public one.
    pub address: Option<String>,
    /// All its addresses in EC2.
    pub addresses: Vec<String>,
    /// Its DNS names in EC2, and its host name in SSM.
    pub dns_names: Vec<String>,
    /// The operating system.
    pub platform: Option<String>,
    /// The version of its agent.
    pub agent_version: Option<String>,
    /// `Online`, `ConnectionLost` or `Inactive`.
    pub ping: Option<String>,
    /// `running`, `stopped` and so on; `null` for machines outside of EC2.
    pub state: Option<String>,
    /// Its tags in EC2.
    pub tags: Vec<Tag>,
}

/// A tag, with the keys of AWS's own JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the names say it")]
pub struct Tag {
    pub key: String,
    pub value: String,
}

impl From<&Node> for ListedMachine {
    fn from(node: &Node) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (instance, agent) = (node.instance.as_ref(), node.agent.as_ref());
        let addresses =
            instance.into_iter().flat_map(|one| one.private_addresses.iter().chain(&one.public_addresses));
        let host_name = agent.and_then(|agent| agent.computer_name.clone());
        let dns_names = instance.into_iter().flat_map(|one| one.dns_names.iter().cloned()).chain(host_name);
        let tag = |(key, value): (&str, &str)| Tag { key: key.to_owned(), value: value.to_owned() };
        Self {
            id: node.id.clone(),
            name: owned(node.name()),
            address: owned(node.address()),
            addresses: addresses.cloned().collect(),
            dns_names: dns_names.collect(),
            platform: owned(node.platform()),
            agent_version: agent.and_then(|agent| agent.agent_version.clone()),
            ping: agent.and_then(|agent| agent.ping.clone()),
            state: owned(node.state()),
            tags: node.tags().map(tag).collect(),
        }
    }
}
