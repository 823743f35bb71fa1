//! Selects one container of an ECS service or task to open a session to.

use thiserror::Error;

use crate::aws::{Container, Task};

use super::{ContainerName, Target, TaskName};

/// Name prefixes of the sidecars that ECS Service Connect and GuardDuty add to a task.
const SIDECARS: [&str; 2] = ["ecs-service-connect-", "aws-guardduty-agent"];

/// Why no container could be selected. The texts are untrusted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EcsError {
    /// The task does not exist: the id is wrong, or the task ended long ago.
    #[error("cluster `{cluster}` has no task `{task}`")]
    NoSuchTask {
        /// The cluster's name.
        cluster: String,
        /// The task's id.
        task: String,
    },
    /// The service has no running task: scale it up, or find out why its tasks fail.
    #[error("service `{service}` of cluster `{cluster}` has no running task")]
    NothingRuns {
        /// The cluster's name.
        cluster: String,
        /// The service's name.
        service: String,
    },
    /// The task exists but is not running (not yet, or no longer).
    #[error("task `{task}` is {status}, not RUNNING")]
    NotRunning {
        /// The task's id.
        task: String,
        /// Its last status.
        status: String,
    },
    /// The task was started without execute-command: enable it and start the task again.
    #[error("task `{task}` was started without execute-command")]
    NoExecuteCommand {
        /// The task's id.
        task: String,
    },
    /// The task has no container of that name: use one of `known`.
    #[error("task `{task}` has no container `{container}`")]
    NoSuchContainer {
        /// The task's id.
        task: String,
        /// The name.
        container: String,
        /// The task's containers.
        known: Vec<String>,
    },
    /// The task has several containers: specify one.
    #[error("task `{task}` has {} containers", known.len())]
    WhichContainer {
        /// The task's id.
        task: String,
        /// The task's containers, without sidecars.
        known: Vec<String>,
    },
    /// The container's agent is not running: check the task's role and network.
    #[error("the ExecuteCommandAgent of container `{container}` in task `{task}` is {status}, not RUNNING")]
    NoAgent {
        /// The task's id.
        task: String,
        /// The container's name.
        container: String,
        /// The agent's last status, or `missing`.
        status: String,
    },
    /// The container has not started yet: try again.
    #[error("container `{container}` in task `{task}` has no runtime id yet")]
    NoRuntimeId {
        /// The task's id.
        task: String,
        /// The container's name.
        container: String,
    },
}

/// Selects a container of the task, or of the service's latest task with a suitable container.
///
/// # Errors
/// [`EcsError`]; for several tasks, the error of the latest one.
pub fn pick(name: &ContainerName, tasks: &[Task]) -> Result<Target, EcsError> {
    let mut tasks: Vec<&Task> = tasks.iter().collect();
    tasks.sort_by(|one, other| other.started.cmp(&one.started).then_with(|| one.id.cmp(&other.id)));
    let mut reason = None;
    for task in tasks {
        match container_of(task, name.container.as_deref()) {
            Ok(container) => return target(name, task, container),
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    Err(reason.unwrap_or_else(|| nothing(name)))
}

fn nothing(name: &ContainerName) -> EcsError {
    let cluster = name.cluster.clone();
    match &name.tasks {
        TaskName::Service(service) => EcsError::NothingRuns { cluster, service: service.clone() },
        TaskName::Task(task) => EcsError::NoSuchTask { cluster, task: task.clone() },
    }
}

fn container_of<'a>(task: &'a Task, wanted: Option<&str>) -> Result<&'a Container, EcsError> {
    let id = || task.id.clone();
    if task.status != "RUNNING" {
        return Err(EcsError::NotRunning { task: id(), status: task.status.clone() });
    }
    let container = named(task, wanted)?;
    if !task.execute_command {
        return Err(EcsError::NoExecuteCommand { task: id() });
    }
    let name = || container.name.clone();
    match container.agent.as_deref() {
        Some("RUNNING") if container.runtime_id.is_some() => Ok(container),
        Some("RUNNING") => Err(EcsError::NoRuntimeId { task: id(), container: name() }),
        other => Err(EcsError::NoAgent {
            task: id(),
            container: name(),
            status: other.unwrap_or("missing").to_owned(),
        }),
    }
}

fn named<'a>(task: &'a Task, wanted: Option<&str>) -> Result<&'a Container, EcsError> {
    let names = |containers: &[&Container]| containers.iter().map(|one| one.name.clone()).collect();
    let all: Vec<&Container> = task.containers.iter().collect();
    if let Some(wanted) = wanted {
        return all.iter().find(|one| one.name == wanted).copied().ok_or_else(|| EcsError::NoSuchContainer {
            task: task.id.clone(),
            container: wanted.to_owned(),
            known: names(&all),
        });
    }
    let is_own = |one: &&Container| !SIDECARS.iter().any(|sidecar| one.name.starts_with(sidecar));
    let own: Vec<&Container> = all.into_iter().filter(is_own).collect();
    match own.as_slice() {
        [only] => Ok(only),
        [..] => Err(EcsError::WhichContainer { task: task.id.clone(), known: names(&own) }),
    }
}

fn target(name: &ContainerName, task: &Task, container: &Container) -> Result<Target, EcsError> {
    let cluster = if task.cluster.is_empty() { &name.cluster } else { &task.cluster };
    let runtime = container.runtime_id.as_deref().unwrap_or_default();
    Ok(Target::of_container(cluster, &task.id, runtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str) -> Container {
        Container {
            name: name.into(),
            runtime_id: Some(format!("{name}-1")),
            status: "RUNNING".into(),
            agent: Some("RUNNING".into()),
        }
    }

    fn task(id: &str, started: i64, containers: &[&str]) -> Task {
        Task {
            id: id.into(),
            cluster: "prod".into(),
            status: "RUNNING".into(),
            execute_command: true,
            started,
            containers: containers.iter().map(|name| container(name)).collect(),
        }
    }

    fn service(container: Option<&str>) -> ContainerName {
        ContainerName {
            cluster: "prod".into(),
            tasks: TaskName::Service("web".into()),
            container: container.map(str::to_owned),
        }
    }

    fn id(name: &ContainerName, tasks: &[Task]) -> String {
        pick(name, tasks).unwrap_or_else(|error| panic!("{error}")).id().to_owned()
    }

    #[test]
    fn the_latest_suitable_task_is_selected() {
        let mut newest = task("c", 3, &["nginx"]);
        newest.containers[0].agent = Some("PENDING".into());
        let tasks = [task("a", 1, &["nginx"]), task("b", 2, &["nginx"]), newest];
        assert_eq!(id(&service(None), &tasks), "ecs:prod_b_nginx-1");
    }

    #[test]
    fn the_only_container_needs_no_name_and_sidecars_do_not_count() {
        let tasks = [task("a", 1, &["ecs-service-connect-x", "nginx", "aws-guardduty-agent"])];
        assert_eq!(id(&service(None), &tasks), "ecs:prod_a_nginx-1");
        assert_eq!(id(&service(Some("aws-guardduty-agent")), &tasks), "ecs:prod_a_aws-guardduty-agent-1");
    }

    #[test]
    fn every_cause_has_its_message() {
        let changed = |change: fn(&mut Task)| {
            let mut task = task("a", 1, &["nginx"]);
            change(&mut task);
            vec![task]
        };
        for (tasks, text) in [
            (vec![], "service `web` of cluster `prod` has no running task"),
            (changed(|task| task.status = "PENDING".into()), "task `a` is PENDING, not RUNNING"),
            (changed(|task| task.execute_command = false), "task `a` was started without execute-command"),
            (
                changed(|task| task.containers[0].agent = None),
                "the ExecuteCommandAgent of container `nginx` in task `a` is missing, not RUNNING",
            ),
            (
                changed(|task| task.containers[0].agent = Some("STOPPED".into())),
                "the ExecuteCommandAgent of container `nginx` in task `a` is STOPPED, not RUNNING",
            ),
            (
                changed(|task| task.containers[0].runtime_id = None),
                "container `nginx` in task `a` has no runtime id yet",
            ),
            (changed(|task| task.containers.push(container("log"))), "task `a` has 2 containers"),
        ] {
            assert_eq!(pick(&service(None), &tasks).expect_err(text).to_string(), text);
        }
        let error = pick(&service(Some("ngin")), &[task("a", 1, &["nginx"])]).expect_err("unknown");
        assert_eq!(error.to_string(), "task `a` has no container `ngin`");
        let task = ContainerName { tasks: TaskName::Task("b".into()), ..service(None) };
        assert_eq!(pick(&task, &[]).expect_err("unknown").to_string(), "cluster `prod` has no task `b`");
    }
}
