//! PURE: from what AWS reports about a machine to the next act.
//!
//! A start always wins: a machine that is being stopped is started again when it has stopped. Answers may be a minute old, so
//! a state is believed only as far as a wrong belief does no harm: a second life of a machine is harmless.

use std::time::Duration;

/// A life that is younger cannot be ending: the guardian looks twice, a minute apart, before it ends one.
pub(super) const YOUNG: Duration = Duration::from_secs(60);
/// EC2's and SSM's answers may be as old as this.
const STALE: Duration = Duration::from_secs(75);
/// An agent that has not connected this long after the launch is not coming.
const AGENT: Duration = Duration::from_secs(5 * 60);

/// The state of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It is starting.
    Pending,
    /// It runs.
    Running,
    /// It is being stopped.
    Stopping,
    /// It is stopped.
    Stopped,
    /// It is being terminated, or is.
    Terminated,
    /// EC2 does not say.
    Unknown,
}

impl InstanceState {
    /// Reads EC2's word.
    pub fn of(word: &str) -> Self {
        match word {
            "pending" => Self::Pending,
            "running" => Self::Running,
            "stopping" => Self::Stopping,
            "stopped" => Self::Stopped,
            "shutting-down" | "terminated" => Self::Terminated,
            _ => Self::Unknown,
        }
    }
}

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The machine stops first.
    Stop,
    /// The guardian starts the machine.
    Begin,
    /// The machine boots.
    Boot,
    /// The machine runs, its agent connects.
    Agent,
    /// The interface gets the group.
    Group,
    /// The group is taken back.
    TakeBack,
}

/// The life that this run has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mine {
    /// None yet.
    None,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// What is known about a machine.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its state.
    pub state: InstanceState,
    /// Its agent is connected; `None` is unknown.
    pub connected: Option<bool>,
    /// The age of the youngest life of others that runs.
    pub others: Option<Duration>,
    /// This run's life.
    pub mine: Mine,
    /// The time since the launch; `None` is unknown.
    pub launched: Option<Duration>,
    /// The time since the first look.
    pub waited: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Open a session.
    Open,
    /// Ask for a life.
    Begin,
    /// Look again later.
    Wait(Step),
    /// It does not exist any more.
    Gone,
    /// It runs, and nothing suggests that its agent will connect.
    NoAgent,
}

/// Decides about an instance that a session could not be opened to.
pub fn decide(facts: Facts) -> Act {
    match facts.state {
        InstanceState::Terminated => Act::Gone,
        InstanceState::Running if facts.connected != Some(false) => Act::Open,
        InstanceState::Running if is_hopeless(&facts) => Act::NoAgent,
        InstanceState::Running => Act::Wait(Step::Agent),
        InstanceState::Pending => Act::Wait(Step::Boot),
        InstanceState::Stopped | InstanceState::Stopping | InstanceState::Unknown => down(&facts),
    }
}

fn down(facts: &Facts) -> Act {
    let is_stopping = facts.state == InstanceState::Stopping;
    let is_joined = !is_stopping && facts.others.is_some_and(|age| age < YOUNG);
    match facts.mine {
        Mine::Running if is_stopping => Act::Wait(Step::Stop),
        Mine::Running => Act::Wait(Step::Begin),
        Mine::None | Mine::Ended
            if facts.state == InstanceState::Unknown && facts.connected == Some(true) =>
        {
            Act::Open
        }
        Mine::None | Mine::Ended if is_joined => Act::Wait(Step::Begin),
        Mine::None | Mine::Ended => Act::Begin,
    }
}

/// Nobody has started it lately.
fn is_hopeless(facts: &Facts) -> bool {
    let is_watched = facts.mine == Mine::Running || facts.others.is_some();
    let is_new = facts.launched.is_none_or(|age| age < AGENT);
    !is_watched && !is_new && facts.waited >= STALE
}

#[cfg(test)]
mod tests {
    use super::*;
    use InstanceState::*;

    const FACTS: Facts = Facts {
        state: Stopped,
        connected: None,
        others: None,
        mine: Mine::None,
        launched: None,
        waited: Duration::ZERO,
    };

    const OLD: Option<Duration> = Some(Duration::from_secs(600));

    #[test]
    fn a_stopped_machine_gets_one_life() {
        assert_eq!(decide(FACTS), Act::Begin);
        assert_eq!(decide(Facts { mine: Mine::Running, ..FACTS }), Act::Wait(Step::Begin));
        assert_eq!(decide(Facts { mine: Mine::Ended, ..FACTS }), Act::Begin);
    }

    #[test]
    fn a_young_life_of_others_is_joined_and_one_that_may_be_ending_is_not() {
        let others = |seconds| Facts { others: Some(Duration::from_secs(seconds)), ..FACTS };
        assert_eq!(decide(others(5)), Act::Wait(Step::Begin));
        assert_eq!(decide(others(90)), Act::Begin);
        assert_eq!(decide(Facts { state: Stopping, ..others(5) }), Act::Begin, "a start wins");
    }

    #[test]
    fn a_machine_that_is_stopping_is_waited_for() {
        let facts = Facts { state: Stopping, mine: Mine::Running, ..FACTS };
        assert_eq!(decide(facts), Act::Wait(Step::Stop));
    }

    #[test]
    fn a_running_machine_is_tried_when_its_agent_is_connected_or_unknown() {
        let running = Facts { state: Running, ..FACTS };
        assert_eq!(decide(running), Act::Open);
        assert_eq!(decide(Facts { connected: Some(true), ..running }), Act::Open);
        let waiting = Facts { connected: Some(false), ..running };
        assert_eq!(decide(waiting), Act::Wait(Step::Agent));
        assert_eq!(decide(Facts { launched: OLD, ..waiting }), Act::Wait(Step::Agent), "may be stale");
        let long = Facts { launched: OLD, waited: STALE, ..waiting };
        assert_eq!(decide(long), Act::NoAgent);
        assert_eq!(decide(Facts { mine: Mine::Running, ..long }), Act::Wait(Step::Agent));
        assert_eq!(decide(Facts { others: OLD, ..long }), Act::Wait(Step::Agent));
    }

    #[test]
    fn a_machine_that_ec2_hides_gets_a_life_unless_it_is_connected() {
        let hidden = Facts { state: Unknown, ..FACTS };
        assert_eq!(decide(hidden), Act::Begin);
        assert_eq!(decide(Facts { connected: Some(false), ..hidden }), Act::Begin);
        assert_eq!(decide(Facts { connected: Some(true), ..hidden }), Act::Open);
        let joined = Facts { mine: Mine::Running, connected: Some(false), ..hidden };
        assert_eq!(decide(joined), Act::Wait(Step::Begin));
    }

    #[test]
    fn a_terminated_machine_is_gone() {
        assert_eq!(decide(Facts { state: Terminated, mine: Mine::Running, ..FACTS }), Act::Gone);
    }
}
