//! `task` of `[hosts.NAME]`: a Fargate task that is a bastion while it is needed.

use super::table::TableKey;
use super::value::{self, Raw, ValueError};

/// The task. Cluster, definition and at least one subnet are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSettings {
    /// The name or ARN of the cluster.
    pub cluster: String,
    /// The task definition: `FAMILY`, `FAMILY:REVISION` or its ARN.
    pub definition: String,
    /// The subnets that it may run in.
    pub subnets: Vec<String>,
    /// Its security groups.
    pub security_groups: Vec<String>,
    /// It gets a public address.
    pub public_ip: bool,
    /// The container whose command becomes a `sleep` of `stop_after`; `None` keeps the command of the definition.
    pub container: Option<String>,
}

/// The keys of `task`.
pub const TASK_KEYS: [TableKey<TaskSettings>; 6] = [
    TableKey {
        name: "cluster",
        set: |task, raw| value::text(raw).map(|cluster| task.cluster = cluster),
        takes_list: false,
        values: "the cluster",
        default: "required",
    },
    TableKey {
        name: "definition",
        set: |task, raw| value::text(raw).map(|definition| task.definition = definition),
        takes_list: false,
        values: "the task definition: `FAMILY`, `FAMILY:REVISION` or its ARN",
        default: "required",
    },
    TableKey {
        name: "subnets",
        set: |task, raw| value::text(raw).map(|subnet| task.subnets.push(subnet)),
        takes_list: true,
        values: "a subnet or a list of subnets",
        default: "required",
    },
    TableKey {
        name: "security_groups",
        set: |task, raw| value::text(raw).map(|group| task.security_groups.push(group)),
        takes_list: true,
        values: "a security group (`sg-…`) or a list of them",
        default: "the VPC's default group",
    },
    TableKey {
        name: "public_ip",
        set: |task, raw| value::switch(raw).map(|on| task.public_ip = on),
        takes_list: false,
        values: "`true`: give it a public address, for a subnet without another way to Systems Manager",
        default: "`false`",
    },
    TableKey {
        name: "container",
        set: |task, raw| value::text(raw).map(|name| task.container = Some(name)),
        takes_list: false,
        values: "the container whose command becomes a `sleep` of `stop_after`",
        default: "the definition's own command",
    },
];

impl TaskSettings {
    /// Returns the first required key that is missing.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let required = [
            ("cluster", self.cluster.is_empty()),
            ("definition", self.definition.is_empty()),
            ("subnets", self.subnets.is_empty()),
        ];
        required.into_iter().find_map(|(key, is_missing)| is_missing.then_some(key))
    }

    /// Stores a value; `None` is an unknown key.
    pub(super) fn set(&mut self, key: &str, raw: Raw<'_>) -> Option<Result<(), ValueError>> {
        let key = TASK_KEYS.iter().find(|known| known.name == key)?;
        Some((key.set)(self, raw))
    }
}
