//! Waiting for AWS: looks at intervals, a report before each look, and a limit.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::clock;

use super::decide::Step;
use super::error::StartError;
use super::event::{LifeEvent, OnLife};

/// Pause between two looks.
const POLL: Duration = Duration::from_secs(1);

/// Waiting for one machine.
pub(super) struct Wait<'a> {
    /// The machine, as the user names it.
    host: &'a str,
    began: Instant,
    /// `None` waits as long as it takes.
    limit: Option<Duration>,
    on_life: &'a OnLife,
}

impl<'a> Wait<'a> {
    /// Waits until `limit` after `began`.
    pub fn until(host: &'a str, began: Instant, limit: Duration, on_life: &'a OnLife) -> Self {
        Self { host, began, limit: Some(limit), on_life }
    }

    /// Waits as long as it takes.
    pub fn patient(host: &'a str, on_life: &'a OnLife) -> Self {
        Self { host, began: clock::now(), limit: None, on_life }
    }

    /// Returns the time since the beginning.
    pub fn waited(&self) -> Duration {
        clock::now().saturating_duration_since(self.began)
    }

    /// Pauses before the next look, and reports the step.
    ///
    /// # Errors
    /// [`StartError::TimedOut`]
    pub async fn next(&self, step: Step) -> Result<(), StartError> {
        if let Some(after) = self.limit.filter(|limit| self.waited() >= *limit) {
            return Err(StartError::TimedOut { host: self.host.to_owned(), after, step });
        }
        sleep(POLL).await;
        let (host, since) = (self.host.to_owned(), self.waited());
        (self.on_life)(&LifeEvent::Waiting { host, step, since });
        Ok(())
    }
}
