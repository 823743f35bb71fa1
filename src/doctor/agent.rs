//! The agent: which of the many meanings of `TargetNotConnected` it is, and whether it is new enough.

use std::time::{Duration, SystemTime};

use crate::aws::{Instance, ManagedNode};
use crate::channel::AgentVersion;
use crate::clock;
use crate::names::TargetKind;
use crate::route::{DialedBy, Route};

use super::finding::{AgentProblem, Diagnosis, Lacks, MachineProblem, Outcome};

/// What AWS reports of a machine; a part that it does not report has a reason.
pub(super) struct Facts {
    pub instance: Result<Option<Instance>, String>,
    pub node: Result<Option<ManagedNode>, String>,
    pub connected: Result<bool, String>,
}

impl Facts {
    /// Returns true if the agent is not connected.
    pub fn is_cut_off(&self) -> bool {
        matches!(self.connected, Ok(false))
    }
}

/// What is asked of the agent beside a session to its own machine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Needs {
    /// Who connects to the next machine.
    pub next: Option<DialedBy>,
    /// Several connections share a session.
    pub is_forward: bool,
}

impl Needs {
    pub fn of(route: &Route, is_forward: bool) -> Self {
        Self { next: route.hops.first().map(|hop| hop.next), is_forward }
    }
}

/// Words the state of the agent.
pub(super) fn of(facts: &Facts, kind: TargetKind, needs: Needs) -> Outcome {
    let node = facts.node.as_ref().ok().and_then(Option::as_ref);
    let has_profile = !matches!(&facts.instance, Ok(Some(instance)) if instance.profile.is_none());
    let is_managed = matches!(kind, TargetKind::Instance | TargetKind::ManagedInstance);
    match (&facts.connected, &facts.node) {
        (Ok(true), _) => of_connected(node, needs),
        (Ok(false), Ok(None)) if is_managed && !has_profile => {
            Outcome::Broken(problem(AgentProblem::NoInstanceProfile))
        }
        (Ok(false), Ok(None)) if is_managed => Outcome::Broken(problem(AgentProblem::NeverConnected)),
        (Ok(false), Ok(Some(node))) if node.ping.as_deref() == Some("Online") => {
            Outcome::Broken(problem(AgentProblem::NoMessageChannel))
        }
        (Ok(false), Ok(Some(node))) => Outcome::Broken(problem(AgentProblem::AgentLost(since(node)))),
        (Ok(false), _) => Outcome::Broken(problem(AgentProblem::NeverConnected)),
        (Err(error), _) => Outcome::Unknown(error.clone()),
    }
}

fn of_connected(node: Option<&ManagedNode>, needs: Needs) -> Outcome {
    let version = node.and_then(|node| node.agent_version.clone());
    match version.as_deref().and_then(|version| lacks(version, needs)) {
        Some(lacks) => {
            let diagnosis = problem(AgentProblem::OldAgent { version: version.unwrap_or_default(), lacks });
            if lacks == Lacks::OtherHosts { Outcome::Broken(diagnosis) } else { Outcome::Doubtful(diagnosis) }
        }
        None => {
            let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
            Outcome::Good(format!("connected{version}"))
        }
    }
}

/// Returns what an agent is too old for.
fn lacks(version: &str, needs: Needs) -> Option<Lacks> {
    let version = AgentVersion::parse(version);
    let connects = version.supports_remote_host();
    match needs.next {
        Some(DialedBy::Agent) if !connects => Some(Lacks::OtherHosts),
        Some(DialedBy::AgentElseSshd) if !connects => Some(Lacks::OtherHostsButSshd),
        Some(DialedBy::Sshd) => None,
        Some(DialedBy::Agent | DialedBy::AgentElseSshd) | None => {
            (needs.is_forward && !version.supports_smux()).then_some(Lacks::Multiplexing)
        }
    }
}

fn since(node: &ManagedNode) -> Option<u64> {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(node.last_ping?.try_into().ok()?);
    Some(clock::wall().duration_since(then).unwrap_or_default().as_secs())
}

fn problem(problem: AgentProblem) -> Diagnosis {
    Diagnosis::Machine(MachineProblem::Agent(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(state: &str, profile: Option<&str>, node: Option<&str>, connected: bool) -> Facts {
        let instance =
            Instance { state: state.into(), profile: profile.map(str::to_owned), ..Instance::default() };
        let node = node.map(|ping| ManagedNode { ping: Some(ping.into()), ..ManagedNode::default() });
        Facts { instance: Ok(Some(instance)), node: Ok(node), connected: Ok(connected) }
    }

    #[test]
    fn each_meaning_of_not_connected_has_its_own_diagnosis() {
        let diagnosis = |facts: Facts| {
            let outcome = of(&facts, TargetKind::Instance, Needs::default());
            let Outcome::Broken(diagnosis) = outcome else { panic!("{outcome:?}") };
            diagnosis
        };
        assert!(matches!(
            diagnosis(facts("running", None, None, false)),
            Diagnosis::Machine(MachineProblem::Agent(AgentProblem::NoInstanceProfile))
        ));
        assert!(matches!(
            diagnosis(facts("running", Some("p"), None, false)),
            Diagnosis::Machine(MachineProblem::Agent(AgentProblem::NeverConnected))
        ));
        assert!(matches!(
            diagnosis(facts("running", Some("p"), Some("ConnectionLost"), false)),
            Diagnosis::Machine(MachineProblem::Agent(AgentProblem::AgentLost(_)))
        ));
        assert!(matches!(
            diagnosis(facts("running", Some("p"), Some("Online"), false)),
            Diagnosis::Machine(MachineProblem::Agent(AgentProblem::NoMessageChannel))
        ));
    }

    #[test]
    fn an_agent_is_too_old_only_for_what_is_asked_of_it() {
        let lacks = |version: &str, next, is_forward| lacks(version, Needs { next, is_forward });
        assert_eq!(lacks("3.1.1080.0", None, false), None);
        assert_eq!(lacks("3.1.1080.0", Some(DialedBy::Agent), false), Some(Lacks::OtherHosts));
        assert_eq!(lacks("3.1.1080.0", Some(DialedBy::AgentElseSshd), false), Some(Lacks::OtherHostsButSshd));
        assert_eq!(lacks("3.1.1080.0", Some(DialedBy::Sshd), true), None);
        assert_eq!(lacks("3.0.196.0", None, true), Some(Lacks::Multiplexing));
        assert_eq!(lacks("3.3.40.0", Some(DialedBy::Agent), true), None);
    }
}
