//! Why a machine could not be started, or a group not be lent. Words, hints and exit codes are `cli::report`'s.

use std::time::Duration;

use thiserror::Error;

use crate::aws::ApiError;

use super::decide::Step;
use super::person::Person;

/// Why a machine could not be started.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StartError {
    /// A call failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The state machine does not exist: install it.
    #[error("no state machine `{machine}` in {region}")]
    NoGuardian {
        /// Its name or ARN.
        machine: String,
        /// The region.
        region: String,
    },
    /// The configuration says `guardian = "none"`, and what is asked for needs one.
    #[error("`guardian = \"none\"`: {what} needs a guardian")]
    WithoutGuardian {
        /// What needs it.
        what: &'static str,
    },
    /// The execution failed.
    #[error("`{host}` could not be started: {error}: {cause}")]
    LifeFailed {
        /// The machine, as the user names it.
        host: String,
        /// The error's name, such as `fumidai.StartFailed`.
        error: String,
        /// The cause: untrusted.
        cause: String,
    },
    /// The instance is terminated.
    #[error("`{host}` is terminated")]
    Gone {
        /// The machine, as the user names it.
        host: String,
    },
    /// It runs, and its agent does not connect.
    #[error("`{host}` runs, but its agent is not connected")]
    NoAgent {
        /// The machine, as the user names it.
        host: String,
    },
    /// `start_timeout` is over.
    #[error("`{host}` could not be started within {} s: {}", after.as_secs(), reached(*step))]
    TimedOut {
        /// The machine, as the user names it.
        host: String,
        /// `start_timeout`.
        after: Duration,
        /// How far it got.
        step: Step,
    },
    /// Others are on the machine.
    #[error("{} on `{host}`", count(others))]
    InUse {
        /// The machine, as the user names it.
        host: String,
        /// Who.
        others: Vec<Person>,
    },
    /// No life watches the machine, so that there is nothing to extend.
    #[error("no life of the guardian watches `{host}`")]
    NoLife {
        /// The machine, as the user names it.
        host: String,
    },
    /// The task's container sleeps for `stop_after` of the life that ran it: a successor does not change that.
    #[error("the task of `{host}` ends itself at its `stop_after`, and cannot be extended")]
    TaskEndsItself {
        /// The machine, as the user names it.
        host: String,
    },
    /// CloudFormation could not create or delete the stack.
    #[error("the stack `fumidai` could not be changed: {status}")]
    StackFailed {
        /// Its status.
        status: String,
    },
    /// Neither a task nor an instance can be started.
    #[error("the target cannot be started")]
    NoTarget,
    /// A group cannot be lent.
    #[error(transparent)]
    Loan(#[from] LoanError),
}

/// Why a group cannot be lent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoanError {
    /// No interface has the address.
    #[error("no network interface of `{host}` found ({place})")]
    NoInterface {
        /// The machine, as the user names it.
        host: String,
        /// What was searched for.
        place: String,
    },
    /// No such group.
    #[error("no security group `{group}` in {vpc}")]
    NoGroup {
        /// The id or name.
        group: String,
        /// The VPC of the interface.
        vpc: String,
    },
    /// The group belongs to another VPC.
    #[error("security group `{group}` is in {vpc}, the interface of `{host}` is not")]
    OtherVpc {
        /// The id or name.
        group: String,
        /// The group's VPC.
        vpc: String,
        /// The machine, as the user names it.
        host: String,
    },
    /// The resource lacks the tag that allows the guardian to change it.
    #[error("`{resource}` is not tagged `fumidai:guarded = true`")]
    NotGuarded {
        /// The id.
        resource: String,
    },
}

fn count(others: &[Person]) -> String {
    match others {
        [_] => "1 session of others is".to_owned(),
        many => format!("{} sessions of others are", many.len()),
    }
}

fn reached(step: Step) -> &'static str {
    match step {
        Step::Stop => "it is still stopping",
        Step::Begin => "the guardian has not started it",
        Step::Boot => "it is still booting",
        Step::Agent => "it runs, but its agent is not connected",
        Step::TakeBack => "its security group is not taken back",
        Step::Group => "it has not got its security group",
    }
}
