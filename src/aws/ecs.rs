//! ECS: the running tasks of a service, and the containers of a task.

use aws_sdk_ecs::types::{DesiredStatus, ManagedAgentName};

use super::{Access, ApiError};

/// Maximum tasks in one DescribeTasks call (ECS API reference).
const BATCH: usize = 100;

/// A task, as ECS describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// The id: the last part of the task's ARN.
    pub id: String,
    /// The cluster's name: the last part of the cluster's ARN.
    pub cluster: String,
    /// The last status: `RUNNING`, `PENDING` and others.
    pub status: String,
    /// Whether it was started with execute-command enabled.
    pub execute_command: bool,
    /// Start time in Unix seconds; 0 if it has not started.
    pub started: i64,
    /// Its containers.
    pub containers: Vec<Container>,
}

/// A container of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The name in the task definition.
    pub name: String,
    /// The container runtime's id, which is part of the target id.
    pub runtime_id: Option<String>,
    /// The last status: `RUNNING`, `PENDING` and others.
    pub status: String,
    /// The status of the ExecuteCommandAgent, if the container has one.
    pub agent: Option<String>,
}

impl Access {
    /// Lists the ARNs of all tasks of a service whose desired status is `RUNNING`.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn list_tasks(&self, cluster: &str, service: &str) -> Result<Vec<String>, ApiError> {
        let call = self.ecs().list_tasks().cluster(cluster).service_name(service);
        let mut pages = call.desired_status(DesiredStatus::Running).into_paginator().send();
        let mut arns = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed("ListTasks", &error))?;
            arns.extend(page.task_arns.unwrap_or_default());
        }
        Ok(arns)
    }

    /// Lists the ARNs of the tasks that were started with this mark; stopped ones may be among them.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn list_tasks_started_by(&self, cluster: &str, mark: &str) -> Result<Vec<String>, ApiError> {
        // `startedBy` must be the only filter (ECS API reference).
        let call = self.ecs().list_tasks().cluster(cluster).started_by(mark);
        let mut pages = call.into_paginator().send();
        let mut arns = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| ApiError::from_sdk("ListTasks", &error))?;
            arns.extend(page.task_arns.unwrap_or_default());
        }
        Ok(arns)
    }

    /// Describes tasks by id or ARN. Omits tasks that do not exist.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn describe_tasks(&self, cluster: &str, tasks: &[String]) -> Result<Vec<Task>, ApiError> {
        let client = self.ecs();
        let mut described = Vec::with_capacity(tasks.len());
        for batch in tasks.chunks(BATCH) {
            let call = client.describe_tasks().cluster(cluster).set_tasks(Some(batch.to_vec()));
            let answer = call.send().await.map_err(|error| self.failed("DescribeTasks", &error))?;
            described.extend(answer.tasks.unwrap_or_default().into_iter().map(task));
        }
        Ok(described)
    }

    fn ecs(&self) -> aws_sdk_ecs::Client {
        let mut client = aws_sdk_ecs::config::Builder::from(&self.config);
        if let Some(url) = &self.endpoints.ecs {
            client = client.endpoint_url(url).use_fips(false).use_dual_stack(false);
        }
        aws_sdk_ecs::Client::from_conf(client.build())
    }
}

fn task(item: aws_sdk_ecs::types::Task) -> Task {
    Task {
        id: last_part(item.task_arn.as_deref().unwrap_or_default()),
        cluster: last_part(item.cluster_arn.as_deref().unwrap_or_default()),
        status: item.last_status.unwrap_or_default(),
        execute_command: item.enable_execute_command,
        started: item.started_at.map(|time| time.secs()).unwrap_or_default(),
        containers: item.containers.unwrap_or_default().into_iter().map(container).collect(),
    }
}

fn container(item: aws_sdk_ecs::types::Container) -> Container {
    let is_exec = |name: &ManagedAgentName| *name == ManagedAgentName::ExecuteCommandAgent;
    let agents = item.managed_agents.unwrap_or_default();
    let agent = agents.into_iter().find(|agent| agent.name.as_ref().is_some_and(is_exec));
    Container {
        name: item.name.unwrap_or_default(),
        runtime_id: item.runtime_id.filter(|id| !id.is_empty()),
        status: item.last_status.unwrap_or_default(),
        agent: agent.map(|agent| agent.last_status.unwrap_or_default()),
    }
}

fn last_part(arn: &str) -> String {
    arn.rsplit('/').next().unwrap_or_default().to_owned()
}
