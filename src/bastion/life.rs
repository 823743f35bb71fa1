//! PURE: the form of an execution of the guardian: its name, its input, when it ends.
//!
//! The service lists executions without their input, so the name begins with what the execution is about. The input is that
//! of `contrib/guardian/guardian.asl.json`; `docs/bastion.md` describes each key.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aws::Execution;
use crate::config::TaskSettings;
use crate::route::Wish;

/// StartExecution takes a name of at most 80 characters: what is left for the key.
const LONGEST_KEY: usize = 60;

/// What an execution is about; the beginning of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// An instance that is started and stopped.
    pub fn of_instance(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// A group that an interface has.
    pub fn of_group(interface: &str, group: &str) -> Self {
        Self(format!("{interface}.{group}"))
    }

    /// The task of a host.
    pub fn of_task(cluster: &str, host: &str) -> Self {
        let cluster = cluster.rsplit('/').next().unwrap_or_default();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        Self(format!("task-{cluster}-{host}").chars().map(plain).take(LONGEST_KEY).collect())
    }

    /// Returns the name of a new execution. `random` makes it unique.
    pub fn name(&self, random: [u8; 6], is_successor: bool) -> String {
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}_{}{hex}", self.0, if is_successor { "x" } else { "" })
    }

    /// Returns true if an execution of that name is about the same.
    pub fn is_of(&self, name: &str) -> bool {
        name.strip_prefix(&self.0).is_some_and(|rest| rest.starts_with('_'))
    }
}

/// The input of an execution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct LifeInput {
    /// The instance to start, watch and stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The task to run, watch and stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskInput>,
    /// A target that is only watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
    /// The interface that gets the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The time without a session after which it ends.
    pub grace_seconds: u64,
    /// The longest life.
    pub limit_seconds: u64,
    /// `started` or `always`.
    pub stop: String,
    /// It goes on with what an earlier life has begun.
    #[serde(skip_serializing_if = "is_false")]
    pub extends: bool,
    /// The name of the host, for people.
    pub host: String,
    /// Who asked for it, by their own statement; for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The task of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct TaskInput {
    /// The cluster.
    pub cluster: String,
    /// The task definition.
    pub task_definition: String,
    /// The subnets.
    pub subnets: Vec<String>,
    /// The security groups.
    pub security_groups: Vec<String>,
    /// It gets a public address.
    pub assign_public_ip: bool,
    /// The container whose command is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !value
}

impl LifeInput {
    /// A life of an instance.
    pub fn of_instance(wish: &Wish, id: &str) -> Self {
        Self { instance: Some(id.to_owned()), ..Self::of_wish(wish) }
    }

    /// A life of a task.
    pub fn of_task(wish: &Wish, task: &TaskSettings) -> Self {
        let task = TaskInput {
            cluster: task.cluster.clone(),
            task_definition: task.definition.clone(),
            subnets: task.subnets.clone(),
            security_groups: task.security_groups.clone(),
            assign_public_ip: task.public_ip,
            container: task.container.clone(),
        };
        Self { task: Some(task), ..Self::of_wish(wish) }
    }

    /// A life that lends a group to an interface while a session is open on `target`.
    pub fn of_group(wish: &Wish, target: &str, interface: &str, group: &str) -> Self {
        Self {
            watch: Some(target.to_owned()),
            interface: Some(interface.to_owned()),
            group: Some(group.to_owned()),
            ..Self::of_wish(wish)
        }
    }

    fn of_wish(wish: &Wish) -> Self {
        Self {
            grace_seconds: wish.grace.as_secs(),
            limit_seconds: wish.limit.as_secs(),
            stop: if wish.always { "always" } else { "started" }.to_owned(),
            host: wish.host.clone(),
            reason: wish.reason.clone(),
            ..Self::default()
        }
    }

    /// Returns it with another limit, as the successor of a life.
    #[must_use]
    pub fn succeeding(self, limit: Duration) -> Self {
        Self { limit_seconds: limit.as_secs(), stop: "always".to_owned(), extends: true, ..self }
    }
}

/// A running execution with its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The execution's ARN.
    pub arn: String,
    /// The execution's name.
    pub name: String,
    /// When it was started, in Unix seconds.
    pub started: i64,
    /// Its input; one that cannot be read is empty.
    pub input: LifeInput,
}

impl Life {
    /// Takes an execution that was described.
    pub fn of(execution: Execution) -> Self {
        let input = execution.input.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let Execution { arn, name, started, .. } = execution;
        Self { arn, name, started, input: input.unwrap_or_default() }
    }

    /// Returns when it ends at the latest, in Unix seconds.
    pub fn ends(&self) -> i64 {
        self.started.saturating_add_unsigned(self.input.limit_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_its_key_and_is_valid() {
        let keys = [
            Key::of_instance("i-0123456789abcdef0"),
            Key::of_group("eni-0123456789abcdef0", "sg-0123456789abcdef0"),
            Key::of_task("arn:aws:ecs:eu-west-1:1:cluster/ops", "a.b:c/å".repeat(20).as_str()),
        ];
        for key in keys {
            for is_successor in [false, true] {
                let name = key.name([0xab; 6], is_successor);
                assert!(key.is_of(&name) && name.len() <= 80, "{name}");
                assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)), "{name}");
            }
        }
        assert!(!Key::of_instance("i-01").is_of("i-012_ab"));
        assert_eq!(Key::of_task("ops", "b").name([1; 6], true), "task-ops-b_x010101010101");
    }

    #[test]
    fn an_input_has_only_the_keys_that_it_needs() {
        let input = LifeInput { instance: Some("i-1".into()), ..LifeInput::default() };
        let json = serde_json::to_value(&input).expect("JSON");
        let keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["grace_seconds", "host", "instance", "limit_seconds", "stop"]);
        let input = input.succeeding(Duration::from_secs(60));
        assert_eq!((input.limit_seconds, input.extends, input.stop.as_str()), (60, true, "always"));
    }
}
