//! The assertion of every test here: the loop never wakes up twice without progress.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::clock;

/// Turns that a new moment may have without an event: one for a deadline, one for what was due meanwhile.
const TURNS_OF_A_MOMENT: i64 = 2;

/// Counts turns of the loop against what may cause them: events, and time that has passed.
pub(super) struct Progress {
    moment: Cell<Instant>,
    /// Turns that are accounted for and have not happened yet.
    credit: Cell<i64>,
    turns: Cell<u64>,
    changed: Notify,
}

impl Progress {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            moment: Cell::new(clock::now()),
            credit: Cell::new(TURNS_OF_A_MOMENT),
            turns: Cell::new(0),
            changed: Notify::new(),
        })
    }

    /// Something happens that the loop wakes up for.
    pub(super) fn event(&self) {
        self.credit.set(self.credit.get() + 1);
        self.changed.notify_waiters();
    }

    /// The loop is about to wait. Returns the number of the turn.
    pub(super) fn turn(&self) -> u64 {
        let now = clock::now();
        if now != self.moment.replace(now) {
            self.credit.set(self.credit.get() + TURNS_OF_A_MOMENT);
        }
        self.credit.set(self.credit.get() - 1);
        assert!(self.credit.get() >= 0, "the loop woke up twice without progress");
        self.turns.set(self.turns.get() + 1);
        self.turns.get()
    }

    pub(super) fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// Waits for the next event.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
