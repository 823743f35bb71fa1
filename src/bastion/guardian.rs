//! The guardian: lists its running lives, and asks for new ones.

use std::time::Duration;

use crate::aws::{Access, ApiError, Execution, ExecutionStatus, Meaning, NewExecution};
use crate::route::Wish;

use super::age;
use super::error::StartError;
use super::event::{LifeEvent, OnLife};
use super::life::{Key, Life, LifeInput};

/// The state machine, and who asks.
pub struct Guardian<'a> {
    access: &'a Access,
    name: String,
    machine: String,
    caller: String,
}

impl<'a> Guardian<'a> {
    /// Finds the state machine that a wish names, in the caller's account.
    ///
    /// # Errors
    /// There is none, or the account is unknown.
    pub async fn of(access: &'a Access, wish: &Wish) -> Result<Self, StartError> {
        Self::named(access, Self::name_of(wish)?).await
    }

    /// Returns the name of the state machine that is wished.
    ///
    /// # Errors
    /// [`StartError::WithoutGuardian`]
    pub fn name_of(wish: &Wish) -> Result<&str, StartError> {
        let what = if wish.loans.is_empty() { "stopping a bastion" } else { "`security_group`" };
        wish.guardian.as_deref().ok_or(StartError::WithoutGuardian { what })
    }

    /// Finds a state machine by name or ARN.
    ///
    /// # Errors
    /// The account is unknown.
    pub async fn named(access: &'a Access, name: &str) -> Result<Self, StartError> {
        let caller = access.caller().await?;
        let machine = access.state_machine_arn(name, &caller);
        Ok(Self { access, name: name.to_owned(), machine, caller: caller.arn })
    }

    /// Lists the running executions about `key`, the youngest first, without their inputs.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn running(&self, key: &Key) -> Result<Vec<Execution>, StartError> {
        let all = self.all().await?;
        Ok(all.into_iter().filter(|execution| key.is_of(&execution.name)).collect())
    }

    /// Lists all running executions, the youngest first, without their inputs.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn all(&self) -> Result<Vec<Execution>, StartError> {
        let listed = self.access.running_executions(&self.machine).await;
        listed.map_err(|error| self.error(error))
    }

    /// Lists the running lives about `key`, the youngest first.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn lives(&self, key: &Key) -> Result<Vec<Life>, StartError> {
        let mut lives = Vec::new();
        for execution in self.running(key).await? {
            lives.push(Life::of(self.access.describe_execution(&execution.arn).await?));
        }
        Ok(lives)
    }

    /// Returns the age of the youngest running life about `key`. If the caller may not list lives, there is none to join.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn youngest(&self, key: &Key) -> Result<Option<Duration>, StartError> {
        match self.running(key).await {
            Ok(lives) => Ok(lives.first().map(|life| age(life.started))),
            Err(StartError::Api(error)) if error.meaning() == Meaning::AccessDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts a life for a machine, and returns the execution's ARN.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn begin(
        &self,
        key: &Key,
        input: LifeInput,
        host: &str,
        on_life: &OnLife,
    ) -> Result<String, StartError> {
        let mut random = [0; 6];
        getrandom::fill(&mut random).expect("the system has a random source");
        let name = key.name(random, input.extends);
        let input = LifeInput { by: Some(self.caller.clone()), ..input };
        let input = serde_json::to_string(&input).expect("all keys are texts");
        let new = NewExecution { machine: self.machine.clone(), name: name.clone(), input };
        let arn = self.access.start_execution(&new).await.map_err(|error| self.error(error))?;
        on_life(&LifeEvent::Began { host: host.to_owned(), life: name });
        Ok(arn)
    }

    /// Returns whether a life still runs.
    ///
    /// # Errors
    /// It failed, or the service cannot be asked.
    pub async fn is_running(&self, arn: &str, host: &str) -> Result<bool, StartError> {
        let execution = match self.access.describe_execution(arn).await {
            // The service may not know yet what it has just started.
            Err(error) if error.has_code("ExecutionDoesNotExist") => return Ok(true),
            described => described?,
        };
        match execution.status {
            ExecutionStatus::Running => Ok(true),
            ExecutionStatus::Succeeded => Ok(false),
            ExecutionStatus::Failed => Err(StartError::LifeFailed {
                host: host.to_owned(),
                error: execution.error.unwrap_or_else(|| "stopped".to_owned()),
                cause: execution.cause.unwrap_or_else(|| "no cause was given".to_owned()),
            }),
        }
    }

    fn error(&self, error: ApiError) -> StartError {
        if error.has_code("StateMachineDoesNotExist") || error.has_code("StateMachineDeleting") {
            let region = self.access.region().to_owned();
            return StartError::NoGuardian { machine: self.name.clone(), region };
        }
        error.into()
    }
}
