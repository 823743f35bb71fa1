//! Starts a machine and waits until a session can be opened to it.

use std::time::{Duration, Instant};

use crate::aws::{Access, Filter, Meaning};
use crate::config::TaskSettings;
use crate::names::Target;
use crate::route::Wish;

use super::decide::{Act, Facts, InstanceState, Mine, Step, YOUNG, decide};
use super::error::StartError;
use super::event::{LifeEvent, OnLife};
use super::guardian::Guardian;
use super::life::{Key, LifeInput};
use super::wait::Wait;
use super::{age, task};

/// One machine that is being started.
struct Start<'a> {
    access: &'a Access,
    wish: &'a Wish,
    /// `None` starts instances by EC2.
    guardian: Option<Guardian<'a>>,
    key: Key,
    wait: Wait<'a>,
    on_life: &'a OnLife,
    /// The execution that this run has asked for.
    mine: Option<String>,
}

/// Starts an instance and waits for its agent, until `start_timeout` after `began`.
pub(super) async fn instance(
    access: &Access,
    wish: &Wish,
    id: &str,
    began: Instant,
    on_life: &OnLife,
) -> Result<(), StartError> {
    let mut start = Start::new(access, wish, Key::of_instance(id), began, on_life).await?;
    let mut is_first = true;
    loop {
        let facts = start.look(id).await?;
        let step = match decide(facts) {
            // The service has just refused a session: the next one is asked for a moment later.
            Act::Open if is_first => Step::Agent,
            Act::Open => {
                start.ready();
                return Ok(());
            }
            Act::Begin => start.begin_instance(id, facts.state).await?,
            Act::Wait(step) => step,
            Act::Gone => return Err(StartError::Gone { host: wish.host.clone() }),
            Act::NoAgent => return Err(StartError::NoAgent { host: wish.host.clone() }),
        };
        start.wait.next(step).await?;
        is_first = false;
    }
}

/// Starts a task and waits for its agent, until `start_timeout` after `began`.
pub(super) async fn task(
    access: &Access,
    wish: &Wish,
    settings: &TaskSettings,
    began: Instant,
    on_life: &OnLife,
) -> Result<Target, StartError> {
    let key = Key::of_task(&settings.cluster, &wish.host);
    let mut start = Start::new(access, wish, key, began, on_life).await?;
    let mut is_first = true;
    loop {
        let found = task::find(access, settings, &wish.host).await?;
        if let Some(target) = found.target.filter(|_| !is_first) {
            start.ready();
            return Ok(target);
        }
        is_first = false;
        let is_running = start.mine().await? == Mine::Running;
        let step = match found.exists {
            true => Step::Agent,
            false if is_running || start.joins_young().await? => Step::Begin,
            false => start.begin(LifeInput::of_task(wish, settings)).await?,
        };
        start.wait.next(step).await?;
    }
}

impl<'a> Start<'a> {
    async fn new(
        access: &'a Access,
        wish: &'a Wish,
        key: Key,
        began: Instant,
        on_life: &'a OnLife,
    ) -> Result<Self, StartError> {
        let guardian = match &wish.guardian {
            Some(name) => Some(Guardian::named(access, name).await?),
            None if wish.task.is_some() => return Err(StartError::WithoutGuardian { what: "`task`" }),
            None => None,
        };
        let wait = Wait::until(&wish.host, began, wish.timeout, on_life);
        Ok(Self { access, wish, guardian, key, wait, on_life, mine: None })
    }

    /// Asks AWS about an instance. What the caller may not see is unknown.
    async fn look(&self, id: &str) -> Result<Facts, StartError> {
        let instance = match self.access.describe_instances(&[Filter::new("instance-id", id)]).await {
            Ok(found) => found.into_iter().next(),
            Err(error) if error.meaning() == Meaning::AccessDenied => None,
            Err(error) => return Err(error.into()),
        };
        let state = instance.as_ref().map_or(InstanceState::Unknown, |one| InstanceState::of(&one.state));
        let may_be_connected = matches!(state, InstanceState::Running | InstanceState::Unknown);
        let connected = if may_be_connected { self.is_connected(id).await? } else { Some(false) };
        Ok(Facts {
            state,
            connected,
            others: if connected == Some(true) { None } else { self.youngest().await? },
            mine: self.mine().await?,
            launched: instance.and_then(|one| one.launched).map(age),
            waited: self.wait.waited(),
        })
    }

    async fn is_connected(&self, id: &str) -> Result<Option<bool>, StartError> {
        match self.access.is_connected(id).await {
            Ok(connected) => Ok(Some(connected)),
            Err(error) if error.meaning() == Meaning::AccessDenied => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the age of the youngest life of others.
    async fn youngest(&self) -> Result<Option<Duration>, StartError> {
        match self.guardian.as_ref().filter(|_| self.mine.is_none()) {
            Some(guardian) => guardian.youngest(&self.key).await,
            None => Ok(None),
        }
    }

    async fn joins_young(&self) -> Result<bool, StartError> {
        Ok(self.youngest().await?.is_some_and(|age| age < YOUNG))
    }

    async fn mine(&self) -> Result<Mine, StartError> {
        let (Some(guardian), Some(arn)) = (&self.guardian, &self.mine) else { return Ok(Mine::None) };
        match guardian.is_running(arn, &self.wish.host).await {
            Ok(true) => Ok(Mine::Running),
            Ok(false) => Ok(Mine::Ended),
            Err(StartError::Api(error)) if error.meaning() == Meaning::AccessDenied => Ok(Mine::Running),
            Err(error) => Err(error),
        }
    }

    async fn begin_instance(&mut self, id: &str, state: InstanceState) -> Result<Step, StartError> {
        let step = if state == InstanceState::Stopping { Step::Stop } else { Step::Begin };
        if self.guardian.is_some() {
            self.begin(LifeInput::of_instance(self.wish, id)).await?;
            return Ok(step);
        }
        match self.access.start_instance(id).await {
            // It is stopping: the next look tries again.
            Err(error) if error.has_code("IncorrectInstanceState") => Ok(step),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(step),
        }
    }

    async fn begin(&mut self, input: LifeInput) -> Result<Step, StartError> {
        let what = "starting it";
        let guardian = self.guardian.as_ref().ok_or(StartError::WithoutGuardian { what })?;
        self.mine = Some(guardian.begin(&self.key, input, &self.wish.host, self.on_life).await?);
        Ok(Step::Begin)
    }

    fn ready(&self) {
        let (host, after) = (self.wish.host.clone(), self.wait.waited());
        (self.on_life)(&LifeEvent::Ready { host, after });
    }
}
