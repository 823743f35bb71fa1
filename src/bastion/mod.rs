//! The life of a bastion: it is started when it is needed, and stopped when no session is open on it.
//!
//! A state machine in AWS, the *guardian* (`contrib/guardian`), starts the instance or task, lends a security group, watches
//! who is on it, and undoes both at the end. One execution of it is one *life*. This layer asks for lives and waits until a
//! machine can be connected to; it keeps no state, so that a laptop that dies leaves nothing to clean up.
//!
//! `life` is the form of an execution, `decide` what to do next: both are pure, as is [`Wish`], what the configuration asks
//! for. `guardian` calls Step Functions; `start` and `loan` ask AWS, decide, and act until the goal is reached.

mod control;
mod decide;
mod egress;
mod error;
mod event;
mod guardian;
mod life;
mod limit;
mod loan;
mod person;
mod setup;
mod start;
mod starter;
mod status;
mod task;
mod wait;

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crate::aws::{Access, Aws};
use crate::clock;
use crate::names::Target;
use crate::route::{Route, Wish};

pub use self::decide::Step;
pub use self::egress::Egress;
pub use self::error::{LoanError, StartError};
pub use self::event::{LifeEvent, OnLife};
pub use self::life::Life;
pub use self::person::Person;
pub use self::setup::{STACK, Setup, SetupInstance, TEMPLATE, check, install, tag, uninstall, untag};
pub use self::starter::Starter;
pub use self::status::{BastionStatus, Lending, inspect};
pub use self::task::task_target;

use self::guardian::Guardian;
use self::life::{Key, LifeInput};
use self::loan::{Lender, Loaned};

/// The bastion of one route: what is asked for, and how it is reached.
pub struct Bastion {
    aws: Rc<Aws>,
    wish: Wish,
    on_life: OnLife,
}

impl Bastion {
    /// Takes what a route asks for beside its session.
    pub fn new(aws: Rc<Aws>, route: &Route, on_life: OnLife) -> Self {
        Self { aws, wish: Wish::of(route), on_life }
    }

    /// Returns what is asked for.
    pub fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Does what has to be done before a session is opened to a target: guards it, lends groups.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn prepare(&self, target: &Target) -> Result<Prepared, StartError> {
        let Wish { always, loans, .. } = &self.wish;
        if !always && loans.is_empty() {
            return Ok(Prepared::default());
        }
        let access = self.aws.access().await?;
        if access.is_connected(target.id()).await.is_ok_and(|connected| !connected) {
            // StartSession will say so.
            return Ok(Prepared::default());
        }
        let guardian = Guardian::of(&access, &self.wish).await?;
        if *always {
            self.guard(&guardian, target).await?;
        }
        let lender = self.lender(&access, &guardian, target);
        let mut loaned = Vec::new();
        for loan in loans {
            loaned.push(lender.ensure(loan).await?);
        }
        Ok(Prepared { loaned })
    }

    /// Makes sure that the groups are still there once the session is open: a life that ended in that moment did not see it.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn confirm(&self, target: &Target, prepared: Prepared) -> Result<(), StartError> {
        let joined: Vec<Loaned> = prepared.loaned.into_iter().filter(|loaned| loaned.is_joined).collect();
        if joined.is_empty() {
            return Ok(());
        }
        let access = self.aws.access().await?;
        let guardian = Guardian::of(&access, &self.wish).await?;
        let lender = self.lender(&access, &guardian, target);
        for loaned in joined {
            lender.keep(&loaned).await?;
        }
        Ok(())
    }

    fn lender<'a>(
        &'a self,
        access: &'a Access,
        guardian: &'a Guardian<'a>,
        target: &'a Target,
    ) -> Lender<'a> {
        Lender { access, guardian, wish: &self.wish, target, on_life: &self.on_life }
    }

    /// Starts a life of a machine that runs already, unless one watches it.
    async fn guard(&self, guardian: &Guardian<'_>, target: &Target) -> Result<(), StartError> {
        let key = Key::of_instance(target.id());
        if guardian.running(&key).await?.is_empty() {
            let input = LifeInput::of_instance(&self.wish, target.id());
            guardian.begin(&key, input, &self.wish.host, &self.on_life).await?;
        }
        Ok(())
    }

    /// Starts the machine and waits until `deadline` for its agent.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn bring_up(&self, target: Option<&Target>, began: Instant) -> Result<Target, StartError> {
        let access = self.aws.access().await?;
        match (&self.wish.task, target) {
            (Some(task), _) => start::task(&access, &self.wish, task, began, &self.on_life).await,
            (None, Some(target)) => {
                start::instance(&access, &self.wish, target.id(), began, &self.on_life).await?;
                Ok(target.clone())
            }
            (None, None) => Err(StartError::NoTarget),
        }
    }

    /// Finds the running task of a host that is one.
    ///
    /// # Errors
    /// ECS cannot be asked.
    pub async fn find_task(&self, access: &Access) -> Result<Option<Target>, StartError> {
        let Some(task) = &self.wish.task else { return Ok(None) };
        Ok(task::find(access, task, &self.wish.host).await?.target)
    }

    /// Waits for the moment when a user has to know that the machine will be stopped. Returns if no life watches it.
    pub async fn warn_before_the_end(&self, target: Target) {
        let told = limit::warning(&self.aws, &self.wish, &target).await;
        match told {
            Ok(Some(left)) => {
                (self.on_life)(&LifeEvent::EndsSoon { host: self.wish.host.clone(), left });
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the end of the bastion's life is unknown"),
        }
    }
}

/// What was done before a session is opened.
#[derive(Debug, Default)]
pub struct Prepared {
    loaned: Vec<Loaned>,
}

/// Returns the time in Unix seconds.
fn seconds_now() -> i64 {
    let now = clock::wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().try_into().unwrap_or(i64::MAX)
}

/// Returns the time since a Unix time; one in the future is now.
fn age(seconds: i64) -> Duration {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or_default());
    clock::wall().duration_since(then).unwrap_or_default()
}
