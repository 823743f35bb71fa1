//! Step Functions: starts, lists, describes and stops executions of one state machine.

use serde::Deserialize;
use serde_json::{Value, json};

use super::json::JsonClient;
use super::{Access, ApiError, Caller};

/// Maximum page size of ListExecutions (Step Functions API reference).
const PAGE: u32 = 1000;

/// An execution to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewExecution {
    /// The ARN of the state machine.
    pub machine: String,
    /// The name: unique for 90 days.
    pub name: String,
    /// The input, a JSON document.
    pub input: String,
}

/// How far an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionStatus {
    /// It runs.
    Running,
    /// It reached its end.
    Succeeded,
    /// It failed, timed out or was stopped.
    Failed,
}

/// An execution. All texts are untrusted.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// The ARN.
    pub arn: String,
    /// The name.
    pub name: String,
    /// How far it is.
    pub status: ExecutionStatus,
    /// When it was started, in Unix seconds.
    pub started: i64,
    /// The input; a list of executions does not have it.
    pub input: Option<String>,
    /// The output, if it succeeded.
    pub output: Option<String>,
    /// The error's name, if it failed.
    pub error: Option<String>,
    /// The error's cause, if it failed.
    pub cause: Option<String>,
}

impl Access {
    /// Starts an execution, and returns its ARN. A retry with the same name and input starts no second one.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn start_execution(&self, new: &NewExecution) -> Result<String, ApiError> {
        let input = json!({ "stateMachineArn": new.machine, "name": new.name, "input": new.input });
        let started: Started = self.sfn()?.call("StartExecution", &input).await?;
        Ok(started.execution_arn)
    }

    /// Lists the running executions of a state machine, the newest first. The service may omit one that is seconds old.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn running_executions(&self, machine: &str) -> Result<Vec<Execution>, ApiError> {
        let client = self.sfn()?;
        let mut executions = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut input =
                json!({ "stateMachineArn": machine, "statusFilter": "RUNNING", "maxResults": PAGE });
            if let Some(token) = token.take() {
                input["nextToken"] = Value::String(token);
            }
            let page: Page = client.call("ListExecutions", &input).await?;
            executions.extend(page.executions.into_iter().map(Execution::from));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(executions);
            }
        }
    }

    /// Describes an execution, with its input.
    ///
    /// # Errors
    /// [`ApiError`], after retries of throttling and server faults.
    pub async fn describe_execution(&self, arn: &str) -> Result<Execution, ApiError> {
        let input = json!({ "executionArn": arn });
        let item: Item = self.sfn()?.call("DescribeExecution", &input).await?;
        Ok(item.into())
    }

    /// Returns the ARN of a state machine of this region and of the caller's account; an ARN is kept.
    pub fn state_machine_arn(&self, name: &str, caller: &Caller) -> String {
        if name.starts_with("arn:") {
            return name.to_owned();
        }
        let partition = caller.arn.split(':').nth(1).unwrap_or("aws");
        format!("arn:{partition}:states:{}:{}:stateMachine:{name}", self.region(), caller.account)
    }

    fn sfn(&self) -> Result<JsonClient, ApiError> {
        let service = self.service("states", "states", self.endpoints.sfn.as_ref())?;
        Ok(JsonClient { content_type: "application/x-amz-json-1.0", prefix: "AWSStepFunctions", service })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    execution_arn: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    executions: Vec<Item>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    execution_arn: String,
    name: String,
    status: String,
    start_date: f64,
    input: Option<String>,
    output: Option<String>,
    error: Option<String>,
    cause: Option<String>,
}

impl From<Item> for Execution {
    fn from(item: Item) -> Self {
        Self {
            arn: item.execution_arn,
            name: item.name,
            status: match item.status.as_str() {
                "RUNNING" | "PENDING_REDRIVE" => ExecutionStatus::Running,
                "SUCCEEDED" => ExecutionStatus::Succeeded,
                _ => ExecutionStatus::Failed,
            },
            #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
            started: item.start_date as i64,
            input: item.input,
            output: item.output,
            error: item.error,
            cause: item.cause,
        }
    }
}
