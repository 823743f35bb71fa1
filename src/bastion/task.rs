//! The Fargate task of a host: which one runs, and how far it is.

use crate::aws::{Access, ApiError, Task};
use crate::config::TaskSettings;
use crate::names::Target;
use crate::route::Wish;

use super::error::StartError;

/// ECS takes at most this much in `startedBy` (ECS API reference, RunTask).
const LONGEST_STARTER: usize = 128;

/// The task of a host.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// A task exists that is starting or runs.
    pub exists: bool,
    /// What a session is opened to, once its agent runs.
    pub target: Option<Target>,
}

/// Returns the mark by which all who have the same host find the same task, as the guardian writes it.
pub fn started_by(host: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    format!("fumidai/{}", host.chars().map(plain).collect::<String>()).chars().take(LONGEST_STARTER).collect()
}

/// Finds the task of a host.
pub(super) async fn find(access: &Access, task: &TaskSettings, host: &str) -> Result<Found, ApiError> {
    let arns = access.list_tasks_started_by(&task.cluster, &started_by(host)).await?;
    let tasks = access.describe_tasks(&task.cluster, &arns).await?;
    let live: Vec<&Task> =
        tasks.iter().filter(|task| task.status != "STOPPED" && task.status != "DEPROVISIONING").collect();
    Ok(Found {
        exists: !live.is_empty(),
        target: live.iter().find_map(|one| target(one, task.container.as_deref())),
    })
}

/// Returns what a session to a host that is a task would be opened to; while it does not run, with `*` for what is unknown.
///
/// # Errors
/// ECS cannot be asked.
pub async fn task_target(access: &Access, wish: &Wish) -> Result<Target, StartError> {
    let task = wish.task.as_ref().ok_or(StartError::NoTarget)?;
    let found = find(access, task, &wish.host).await?;
    let cluster = task.cluster.rsplit('/').next().unwrap_or_default();
    Ok(found.target.unwrap_or_else(|| Target::of_container(cluster, "*", "*")))
}

/// Returns the container that a session can be opened to.
fn target(task: &Task, container: Option<&str>) -> Option<Target> {
    if task.status != "RUNNING" {
        return None;
    }
    let is_ready = |agent: &Option<String>| agent.as_deref() == Some("RUNNING");
    let mut ready = task.containers.iter().filter(|one| is_ready(&one.agent));
    let chosen = ready.find(|one| container.is_none_or(|name| name == one.name))?;
    Some(Target::of_container(&task.cluster, &task.id, chosen.runtime_id.as_deref()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Container;

    #[test]
    fn a_starter_has_only_what_ecs_takes() {
        assert_eq!(started_by("bastion"), "fumidai/bastion");
        assert_eq!(started_by("a.b:c"), "fumidai/a-b-c");
        assert_eq!(started_by(&"a".repeat(200)).len(), LONGEST_STARTER);
    }

    #[test]
    fn a_target_is_a_container_whose_agent_runs() {
        let one = |name: &str, agent: &str| Container {
            name: name.into(),
            runtime_id: Some(format!("{name}-1")),
            status: "RUNNING".into(),
            agent: Some(agent.into()),
        };
        let task = |status: &str, containers| Task {
            id: "0123".into(),
            cluster: "ops".into(),
            status: status.into(),
            execute_command: true,
            started: 0,
            containers,
        };
        let both = task("RUNNING", vec![one("log", "RUNNING"), one("bastion", "RUNNING")]);
        let id = |task: &Task, container| target(task, container).map(|target| target.id().to_owned());
        assert_eq!(id(&both, Some("bastion")).as_deref(), Some("ecs:ops_0123_bastion-1"));
        assert_eq!(id(&both, None).as_deref(), Some("ecs:ops_0123_log-1"));
        assert_eq!(id(&task("RUNNING", vec![one("a", "PENDING")]), None), None);
        assert_eq!(id(&task("PENDING", vec![one("a", "RUNNING")]), None), None);
    }
}
