//! What happens to a bastion, as notes and the log show it.

use std::rc::Rc;
use std::time::Duration;

use super::decide::Step;

/// What happens to a bastion, for notes and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifeEvent {
    /// A machine is waited for: the step, and since when it is waited.
    Waiting {
        /// The machine, as the user names it.
        host: String,
        /// The step.
        step: Step,
        /// The time since the first look.
        since: Duration,
    },
    /// The machine can be connected to now.
    Ready {
        /// The machine, as the user names it.
        host: String,
        /// The time since the first look.
        after: Duration,
    },
    /// A life that watches it was started.
    Began {
        /// The machine, as the user names it.
        host: String,
        /// The execution's name.
        life: String,
    },
    /// The limit of the life is near: then it is stopped.
    EndsSoon {
        /// The machine, as the user names it.
        host: String,
        /// The time that is left.
        left: Duration,
    },
}

/// Called with each event.
pub type OnLife = Rc<dyn Fn(&LifeEvent)>;
