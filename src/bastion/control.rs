//! What a user does with a bastion by hand: start, stop, extend, take a left group back.

use std::time::Duration;

use crate::aws::Access;
use crate::clock;
use crate::names::Target;
use crate::route::Wish;

use super::decide::Step;
use super::error::StartError;
use super::guardian::Guardian;
use super::life::{Key, LifeInput};
use super::person::Person;
use super::status::{BastionStatus, Lending};
use super::wait::Wait;
use super::{Bastion, seconds_now};

/// The limit of a life that is to end at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The longest life.
const LONGEST: i64 = 24 * 60 * 60;

impl Bastion {
    /// Starts the machine unless it can be connected to; returns whether it was started.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn start(&self, target: Option<&Target>) -> Result<bool, StartError> {
        let access = self.aws.access().await?;
        if let Some(target) = target
            && access.is_connected(target.id()).await?
        {
            self.prepare(target).await?;
            return Ok(false);
        }
        self.bring_up(target, clock::now()).await?;
        Ok(true)
    }

    /// Stops the machine, and waits until it is being stopped. Refuses while others are on it, unless `force`.
    ///
    /// # Errors
    /// [`StartError::InUse`], or any other.
    pub async fn stop(&self, access: &Access, status: &BastionStatus, force: bool) -> Result<(), StartError> {
        let (wish, host) = (&self.wish, self.wish.host.clone());
        let others = others(access, &status.people).await?;
        if !others.is_empty() && !force {
            return Err(StartError::InUse { host, others });
        }
        let Some(name) = &wish.guardian else {
            return Ok(access.stop_instance(status.target.as_deref().unwrap_or_default()).await?);
        };
        let guardian = Guardian::named(access, name).await?;
        let (key, input) = life(wish, status)?;
        let input = LifeInput { limit_seconds: AT_ONCE.as_secs(), stop: "always".to_owned(), ..input };
        let arn = guardian.begin(&key, input, &host, &self.on_life).await?;
        self.until_ended(&guardian, &arn, &host, Step::Stop).await
    }

    async fn until_ended(
        &self,
        guardian: &Guardian<'_>,
        arn: &str,
        host: &str,
        step: Step,
    ) -> Result<(), StartError> {
        let wait = Wait::patient(host, &self.on_life);
        while guardian.is_running(arn, host).await? {
            wait.next(step).await?;
        }
        Ok(())
    }

    /// Returns the end of the life that [`Self::extend`] would extend, in Unix seconds.
    ///
    /// # Errors
    /// [`StartError::TaskEndsItself`], [`StartError::WithoutGuardian`], [`StartError::NoLife`]
    pub fn end_to_extend(&self, status: &BastionStatus) -> Result<i64, StartError> {
        let (wish, host) = (&self.wish, || self.wish.host.clone());
        if wish.task.as_ref().is_some_and(|task| task.container.is_some()) {
            return Err(StartError::TaskEndsItself { host: host() });
        }
        Guardian::name_of(wish)?;
        status.lives.iter().map(super::Life::ends).max().ok_or_else(|| StartError::NoLife { host: host() })
    }

    /// Extends the life by a time, and those that lend its groups; returns the new end in Unix seconds.
    ///
    /// # Errors
    /// [`StartError::NoLife`], [`StartError::TaskEndsItself`], or any other.
    pub async fn extend(
        &self,
        access: &Access,
        status: &BastionStatus,
        by: Duration,
    ) -> Result<i64, StartError> {
        let wish = &self.wish;
        let ends = self.end_to_extend(status)?;
        let guardian = Guardian::of(access, wish).await?;
        let now = seconds_now();
        let seconds = (ends - now).max(0).saturating_add_unsigned(by.as_secs()).min(LONGEST);
        let limit = Duration::from_secs(seconds.unsigned_abs());
        let (key, input) = life(wish, status)?;
        guardian.begin(&key, input.succeeding(limit), &wish.host, &self.on_life).await?;
        for lending in status.groups.iter().filter(|lending| lending.life.is_some()) {
            let input = of_lending(wish, status, lending).succeeding(limit);
            let key = Key::of_group(&lending.interface, &lending.group);
            guardian.begin(&key, input, &lending.host, &self.on_life).await?;
        }
        Ok(now + seconds)
    }

    /// Takes back a group that no life will take back.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn take_back(
        &self,
        access: &Access,
        status: &BastionStatus,
        lending: &Lending,
    ) -> Result<(), StartError> {
        let guardian = Guardian::of(access, &self.wish).await?;
        let input = of_lending(&self.wish, status, lending).succeeding(AT_ONCE);
        let key = Key::of_group(&lending.interface, &lending.group);
        let arn = guardian.begin(&key, input, &lending.host, &self.on_life).await?;
        self.until_ended(&guardian, &arn, &lending.host, Step::TakeBack).await
    }
}

/// Returns key and input of a life of the machine.
fn life(wish: &Wish, status: &BastionStatus) -> Result<(Key, LifeInput), StartError> {
    match (&wish.task, &status.target) {
        (Some(task), _) => Ok((Key::of_task(&task.cluster, &wish.host), LifeInput::of_task(wish, task))),
        (None, Some(id)) => Ok((Key::of_instance(id), LifeInput::of_instance(wish, id))),
        (None, None) => Err(StartError::NoTarget),
    }
}

fn of_lending(wish: &Wish, status: &BastionStatus, lending: &Lending) -> LifeInput {
    let target = status.target.as_deref().unwrap_or_default();
    LifeInput::of_group(wish, target, &lending.interface, &lending.group)
}

async fn others(access: &Access, people: &[Person]) -> Result<Vec<Person>, StartError> {
    if people.is_empty() {
        return Ok(Vec::new());
    }
    let caller = access.caller().await?;
    Ok(people.iter().filter(|person| person.owner != caller.arn).cloned().collect())
}
