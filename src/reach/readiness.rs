//! The first machine of a route: found, started when it is stopped, guarded while it is used.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::aws::Aws;
use crate::bastion::{Bastion, OnLife, Prepared};
use crate::clock;
use crate::names::{Target, TargetKind};
use crate::route::Route;

use super::ReachError;
use super::entry::{find_entry, in_time};

/// What a session is opened to, and what is done before and after that.
pub struct Readiness {
    aws: Rc<Aws>,
    route: Route,
    bastion: Rc<Bastion>,
    /// What the next session is opened to, and what was done for it.
    last: RefCell<Option<(Target, Prepared)>>,
    /// When the machine was first found to be down.
    down_since: Cell<Option<Instant>>,
    /// The user will be warned before the end of the machine's life.
    is_watched: Cell<bool>,
}

impl Readiness {
    /// Asks nothing yet.
    pub fn new(aws: Rc<Aws>, route: &Route, on_life: OnLife) -> Rc<Self> {
        let bastion = Rc::new(Bastion::new(aws.clone(), route, on_life));
        Rc::new(Self {
            aws,
            route: route.clone(),
            bastion,
            last: RefCell::default(),
            down_since: Cell::default(),
            is_watched: Cell::default(),
        })
    }

    /// Finds the target, and does what has to be done before a session is opened to it.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn target(&self, began: Instant) -> Result<Target, ReachError> {
        let target = match &self.bastion.wish().task {
            Some(_) => in_time(&self.aws, &self.route, began, self.find_task()).await?,
            None => find_entry(&self.aws, &self.route, began).await?,
        };
        let prepared = self.bastion.prepare(&target).await?;
        self.last.replace(Some((target.clone(), prepared)));
        Ok(target)
    }

    async fn find_task(&self) -> Result<Target, ReachError> {
        let access = self.aws.access().await?;
        let found = self.bastion.find_task(&access).await?;
        found.ok_or_else(|| ReachError::NoTask { host: self.bastion.wish().host.clone() })
    }

    /// Does what has to be done once a session is open.
    ///
    /// # Errors
    /// [`ReachError::Start`]
    pub async fn opened(&self) -> Result<(), ReachError> {
        self.down_since.set(None);
        let Some((target, prepared)) = self.last.take() else { return Ok(()) };
        if self.bastion.wish().is_guarded() && !self.is_watched.replace(true) {
            let (bastion, target) = (self.bastion.clone(), target.clone());
            tokio::task::spawn_local(async move { bastion.warn_before_the_end(target).await });
        }
        Ok(self.bastion.confirm(&target, prepared).await?)
    }

    /// Starts the machine if a session failed because it is down, and waits for it. Then the session can be tried again.
    ///
    /// # Errors
    /// The session's own error if nothing is to be started, else why it could not be started.
    pub async fn recover(&self, error: ReachError) -> Result<(), ReachError> {
        if !self.bastion.wish().start || !error.is_down() {
            return Err(error);
        }
        let last = self.last.take().map(|(target, _)| target);
        let target =
            if let ReachError::Stopped(stopped) = &error { Some(stopped.target.clone()) } else { last };
        let is_instance = target.as_ref().is_some_and(|target| target.kind() == TargetKind::Instance);
        if !is_instance && self.bastion.wish().task.is_none() {
            return Err(error);
        }
        let began = self.down_since.get().unwrap_or_else(clock::now);
        self.down_since.set(Some(began));
        let started = self.bastion.bring_up(target.as_ref(), began).await;
        if started.is_err() {
            self.down_since.set(None);
        }
        Ok(started.map(drop)?)
    }

    /// Returns how much longer a local client has to wait because the machine may be started first.
    pub fn patience(&self) -> Duration {
        let wish = self.bastion.wish();
        if wish.start { wish.timeout } else { Duration::ZERO }
    }

    /// Returns true if a session without connections has to end, so that the machine is stopped.
    pub fn is_guarded(&self) -> bool {
        self.bastion.wish().is_guarded()
    }
}
