//! Starts a machine and waits until a session can be opened to it.

use std::time::{Duration, Instant};

use crate::aws::{Access, Filter, Meaning};
use crate::clock;
use crate::config::TaskSettings;
use crate::names::Target;
use crate::route::Wish;

use super::decide::{Act, Facts, InstanceState, Mine, Step, YOUNG, decide};
use super::error::StartError;
use super::guardian::Guardian;
use super::life::{Key, LifeInput};
use super::{LifeEvent, OnLife, age, pause, task};

/// One machine that is being started.
struct Start<'a> {
    access: &'a Access,
    wish: &'a Wish,
    /// `None` starts instances by EC2.
    guardian: Option<Guardian<'a>>,
    key: Key,
    began: Instant,
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
        start.wait(step).await?;
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
        start.wait(step).await?;
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
        Ok(Self { access, wish, guardian, key, began, on_life, mine: None })
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
            waited: clock::now().saturating_duration_since(self.began),
        })
    }

    async fn is_connected(&self, id: &str) -> Result<Option<bool>, StartError> {
        match self.access.is_connected(id).await {
            Ok(connected) => Ok(Some(connected)),
            Err(error) if error.meaning() == Meaning::AccessDenied => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the age of the youngest life of others; if the caller may not list lives, there is none to join.
    async fn youngest(&self) -> Result<Option<Duration>, StartError> {
        let Some(guardian) = self.guardian.as_ref().filter(|_| self.mine.is_none()) else { return Ok(None) };
        match guardian.running(&self.key).await {
            Ok(lives) => Ok(lives.first().map(|life| age(life.started))),
            Err(StartError::Api(error)) if error.meaning() == Meaning::AccessDenied => Ok(None),
            Err(error) => Err(error),
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
        let arn = guardian.begin_arn(&self.key, input).await?;
        let life = arn.rsplit(':').next().unwrap_or_default().to_owned();
        self.mine = Some(arn);
        (self.on_life)(&LifeEvent::Began { host: self.wish.host.clone(), life });
        Ok(Step::Begin)
    }

    fn ready(&self) {
        let after = clock::now().saturating_duration_since(self.began);
        (self.on_life)(&LifeEvent::Ready { host: self.wish.host.clone(), after });
    }

    async fn wait(&self, step: Step) -> Result<(), StartError> {
        let (host, after) = (&self.wish.host, self.wish.timeout);
        if clock::now() >= self.began + after {
            return Err(StartError::TimedOut { host: host.clone(), after, step });
        }
        pause(|| {
            let since = clock::now().saturating_duration_since(self.began);
            (self.on_life)(&LifeEvent::Waiting { host: host.clone(), step, since });
        })
        .await;
        Ok(())
    }
}
