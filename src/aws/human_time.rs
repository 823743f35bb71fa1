//! The time that answers of humans take: deadlines of a start are extended by it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::clock;

/// Measures how long humans are waited for. Clones measure together.
#[derive(Clone, Debug, Default)]
pub struct HumanTime(Arc<watch::Sender<Waits>>);

#[derive(Debug, Default)]
struct Waits {
    /// The waits that have not ended, and since when there is one.
    open: usize,
    since: Option<Instant>,
    /// The times that are over, each from its begin to its end.
    past: Vec<(Instant, Instant)>,
}

impl Waits {
    /// Returns the time after `began` that is over.
    fn spent_since(&self, began: Instant) -> Duration {
        let spent = |(from, to): &(Instant, Instant)| to.saturating_duration_since((*from).max(began));
        self.past.iter().map(spent).sum()
    }
}

impl HumanTime {
    /// Begins a wait, which lasts until the guard is dropped.
    pub(super) fn begin(&self) -> HumanWait {
        self.0.send_modify(|waits| {
            waits.open += 1;
            waits.since.get_or_insert_with(clock::now);
        });
        HumanWait(self.clone())
    }

    /// Returns true while a human is waited for.
    pub fn is_open(&self) -> bool {
        self.0.borrow().since.is_some()
    }

    /// Returns how long humans were waited for after `began`.
    pub fn spent_since(&self, began: Instant) -> Duration {
        self.0.borrow().spent_since(began)
    }

    /// Waits until so long after `began`, not counting the time of humans.
    pub async fn wait_until(&self, began: Instant, after: Duration) {
        let mut changes = self.0.subscribe();
        loop {
            let (is_open, spent) = {
                let waits = changes.borrow_and_update();
                (waits.since.is_some(), waits.spent_since(began))
            };
            tokio::select! {
                () = sleep_until((began + after + spent).into()), if !is_open => return,
                _ = changes.changed() => {}
            }
        }
    }
}

/// Marks that a human is waited for until it is dropped.
pub(super) struct HumanWait(HumanTime);

impl Drop for HumanWait {
    fn drop(&mut self) {
        self.0.0.send_modify(|waits| {
            waits.open -= 1;
            if let Some(since) = waits.since.take_if(|_| waits.open == 0) {
                waits.past.push((since, clock::now()));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test(flavor = "current_thread")]
    async fn a_deadline_is_extended_by_the_time_of_an_answer() {
        let (time, start) = (HumanTime::default(), clock::now());
        let answer = async {
            let _wait = time.begin();
            tokio::time::sleep(SHORT).await;
        };
        let after = SHORT / 3;
        tokio::join!(answer, time.wait_until(start, after));
        let spent = time.spent_since(start);
        assert!(spent >= SHORT && clock::now() - start >= spent + after);
        assert!(!time.is_open());
    }

    #[test]
    fn a_wait_before_a_start_does_not_extend_its_deadline() {
        let time = HumanTime::default();
        drop(time.begin());
        assert_eq!(time.spent_since(clock::now()), Duration::ZERO);
    }

    #[test]
    fn two_waits_at_once_count_once() {
        let (time, start) = (HumanTime::default(), clock::now());
        let (one, two) = (time.begin(), time.begin());
        drop(one);
        assert!(time.is_open());
        drop(two);
        assert!(!time.is_open() && time.0.borrow().past.len() == 1);
        assert!(time.spent_since(start) <= clock::now() - start);
    }
}
