//! The time that an examination takes: a limit for each check, and one for all of them.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::clock;
use crate::config::Config;

/// Time for one check.
const CHECK: Duration = Duration::from_secs(5);
/// Time for all checks, so that the command ends within 10 s.
const WHOLE: Duration = Duration::from_secs(9);
/// Sessions are left so long before the end of the whole: then they are ended at the service.
const ENDING: Duration = Duration::from_secs(2);

/// The limit of all checks, by the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    began: Instant,
    length: Duration,
}

impl Limit {
    /// Begins now.
    pub fn start() -> Self {
        Self { began: clock::now(), length: WHOLE }
    }

    /// Excludes the start of a machine by `--start`.
    pub fn excluding_start(self, config: &Config) -> Self {
        match config.start_by_flag {
            Some(true) => {
                let session = &config.session;
                Self { length: self.length + session.connect_timeout + session.start_timeout, ..self }
            }
            Some(false) | None => self,
        }
    }

    /// The limit of what opens a session.
    pub fn of_sessions(self) -> Self {
        Self { length: self.length.saturating_sub(ENDING), ..self }
    }

    /// Runs a check.
    ///
    /// # Errors
    /// It has no result in time.
    pub fn check<T>(self, work: impl Future<Output = T>) -> impl Future<Output = Result<T, Late>> {
        self.at_most(CHECK, work)
    }

    /// Runs what has no shorter limit.
    ///
    /// # Errors
    /// It has no result in time.
    pub fn whole<T>(self, work: impl Future<Output = T>) -> impl Future<Output = Result<T, Late>> {
        self.at_most(self.length, work)
    }

    /// Runs what has a limit of its own.
    ///
    /// # Errors
    /// It has no result in time.
    pub fn at_most<T>(
        self,
        most: Duration,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Late>> {
        // The futures of the SDK are large.
        let work = Box::pin(work);
        async move {
            let rest = self.rest();
            let late = if most < rest { Late::Check(most) } else { Late::Whole(self.length) };
            timeout(most.min(rest), work).await.map_err(|_| late)
        }
    }

    /// Returns why nothing more is looked at, if the time is over.
    pub fn over(self) -> Option<Late> {
        self.rest().is_zero().then_some(Late::Whole(self.length))
    }

    fn rest(self) -> Duration {
        self.length.saturating_sub(clock::now().saturating_duration_since(self.began))
    }
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// One check, which had so much time.
    Check(Duration),
    /// All of them, which had so much time.
    Whole(Duration),
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::Whole(limit) => write!(f, "not finished within {} s", limit.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::config::{Environment, Flags};

    #[tokio::test(start_paused = true)]
    async fn checks_in_sequence_end_with_the_whole() {
        let limit = Limit::start();
        let late = [
            limit.check(pending::<()>()).await.expect_err("it never ends"),
            limit.check(pending::<()>()).await.expect_err("it never ends"),
            limit.check(pending::<()>()).await.expect_err("it never ends"),
        ];
        assert_eq!(late, [Late::Check(CHECK), Late::Whole(WHOLE), Late::Whole(WHOLE)]);
        assert_eq!(clock::now() - limit.began, WHOLE);
        assert_eq!(limit.over(), Some(Late::Whole(WHOLE)));
        assert_eq!(late.map(|late| late.to_string())[1], "not finished within 9 s");
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_left_before_the_whole_ends() {
        let limit = Limit::start();
        let late = limit.of_sessions().whole(pending::<()>()).await;
        assert_eq!(late, Err(Late::Whole(WHOLE - ENDING)));
        assert_eq!((limit.over(), limit.rest()), (None, ENDING));
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_of_a_machine_does_not_count() {
        let mut config = Config::resolve(Flags::default(), &Environment::default()).expect("valid");
        let starting = config.session.connect_timeout + config.session.start_timeout;
        assert_eq!(Limit::start().excluding_start(&config).rest(), WHOLE);
        config.start_by_flag = Some(true);
        assert_eq!(Limit::start().excluding_start(&config).rest(), WHOLE + starting);
    }
}
