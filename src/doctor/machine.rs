//! The machine that a session is opened to: which of the many meanings of `TargetNotConnected` it is.

use std::time::SystemTime;

use tokio::time::timeout;

use crate::aws::{Access, ApiError, Filter, Instance, ManagedNode, NodeFilter};
use crate::bastion;
use crate::clock;
use crate::names::{Target, TargetKind};
use crate::route::Wish;

use super::DEADLINE;
use super::finding::{AgentProblem, BastionProblem, Component, Diagnosis, Finding, MachineProblem, Outcome};

/// What AWS reports of a machine; a part that it does not report has a reason.
struct Facts {
    instance: Result<Option<Instance>, String>,
    node: Result<Option<ManagedNode>, String>,
    connected: Result<bool, String>,
}

/// Asks EC2 and Systems Manager side by side. Returns whether the machine runs, as far as that is known.
pub(super) async fn check(access: &Access, target: &Target, wish: &Wish) -> (Vec<Finding>, bool) {
    let facts = ask(access, target).await;
    let mut findings = Vec::new();
    if target.kind() == TargetKind::Instance {
        findings.push(Finding::new(
            Component::Machine,
            target.id(),
            of_instance(&facts, access.region(), wish),
        ));
    }
    let is_up = match &facts.instance {
        Ok(Some(instance)) => instance.state == "running",
        Ok(None) => target.kind() != TargetKind::Instance,
        Err(_) => true,
    };
    if is_up {
        findings.push(Finding::new(Component::Agent, target.id(), of_agent(&facts, target.kind())));
    }
    if wish.is_guarded() {
        findings.extend(of_guardian(access, wish, target).await);
    }
    (findings, is_up)
}

async fn ask(access: &Access, target: &Target) -> Facts {
    let id = target.id();
    let filters = [Filter::new("instance-id", id)];
    let filter = NodeFilter::Id(id.to_owned());
    let (instance, node, connected) = tokio::join!(
        within(access.describe_instances(&filters)),
        within(access.describe_instance_information(Some(&filter))),
        within(access.is_connected(id)),
    );
    Facts {
        instance: instance.map(|found| found.into_iter().next()),
        node: node.map(|found| found.into_iter().next()),
        connected,
    }
}

async fn within<T>(call: impl Future<Output = Result<T, ApiError>>) -> Result<T, String> {
    match timeout(DEADLINE, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

fn of_instance(facts: &Facts, region: &str, wish: &Wish) -> Outcome {
    match &facts.instance {
        Err(error) => Outcome::Unknown(error.clone()),
        Ok(None) => Outcome::Broken(Diagnosis::Machine(MachineProblem::NotHere(region.to_owned()))),
        Ok(Some(instance)) if instance.state == "running" => Outcome::Good("running".to_owned()),
        Ok(Some(instance)) if wish.start => {
            Outcome::Good(format!("{}; `connect` starts it, and so does `--start` here", instance.state))
        }
        Ok(Some(instance)) => {
            Outcome::Broken(Diagnosis::Machine(MachineProblem::NotRunning(instance.state.clone())))
        }
    }
}

fn of_agent(facts: &Facts, kind: TargetKind) -> Outcome {
    let node = facts.node.as_ref().ok().and_then(Option::as_ref);
    let version = node.and_then(|node| node.agent_version.clone());
    let has_profile = !matches!(&facts.instance, Ok(Some(instance)) if instance.profile.is_none());
    let is_managed = matches!(kind, TargetKind::Instance | TargetKind::ManagedInstance);
    match (&facts.connected, &facts.node) {
        (Ok(true), _) => of_version(version),
        (Ok(false), Ok(None)) if is_managed && !has_profile => {
            Outcome::Broken(agent(AgentProblem::NoInstanceProfile))
        }
        (Ok(false), Ok(None)) if is_managed => Outcome::Broken(agent(AgentProblem::NeverConnected)),
        (Ok(false), Ok(Some(node))) if node.ping.as_deref() == Some("Online") => {
            Outcome::Broken(agent(AgentProblem::NoMessageChannel))
        }
        (Ok(false), Ok(Some(node))) => Outcome::Broken(agent(AgentProblem::AgentLost(since(node.last_ping)))),
        (Ok(false), _) => Outcome::Broken(agent(AgentProblem::NeverConnected)),
        (Err(error), _) => Outcome::Unknown(error.clone()),
    }
}

/// The first agent that connects to other hosts (docs/protocol.md).
const REMOTE_HOST: [u32; 4] = [3, 1, 1188, 0];

fn of_version(version: Option<String>) -> Outcome {
    let Some(version) = version else { return Outcome::Good("connected".to_owned()) };
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    match numbers.as_slice() < REMOTE_HOST.as_slice() {
        true => Outcome::Doubtful(agent(AgentProblem::OldAgent(version))),
        false => Outcome::Good(format!("connected, version {version}")),
    }
}

fn since(last_ping: Option<i64>) -> u64 {
    let then = SystemTime::UNIX_EPOCH
        + std::time::Duration::from_secs(last_ping.unwrap_or_default().try_into().unwrap_or_default());
    clock::wall().duration_since(then).unwrap_or_default().as_secs()
}

async fn of_guardian(access: &Access, wish: &Wish, target: &Target) -> Vec<Finding> {
    let name = wish.guardian.clone().unwrap_or_default();
    let finding = |outcome| Finding::new(Component::Guardian, name.as_str(), outcome);
    let setup = match timeout(DEADLINE, bastion::check(access, wish, Some(target))).await {
        Ok(Ok(setup)) => setup,
        Ok(Err(error)) => return vec![finding(Outcome::Unknown(error.to_string()))],
        Err(_) => return vec![finding(Outcome::Unknown("no answer in time".to_owned()))],
    };
    let mut findings = vec![finding(match setup.has_guardian {
        Some(true) => Outcome::Good("installed".to_owned()),
        Some(false) => {
            Outcome::Broken(Diagnosis::Bastion(BastionProblem::NoGuardian(access.region().to_owned())))
        }
        None => Outcome::Unknown(setup.unknown.join("; ")),
    })];
    if !setup.untagged.is_empty() {
        findings
            .push(finding(Outcome::Broken(Diagnosis::Bastion(BastionProblem::NotGuarded(setup.untagged)))));
    }
    findings
}

fn agent(problem: AgentProblem) -> Diagnosis {
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
            let outcome = of_agent(&facts, TargetKind::Instance);
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
    fn an_old_agent_is_a_doubt() {
        assert!(matches!(
            of_version(Some("3.1.1080.0".into())),
            Outcome::Doubtful(Diagnosis::Machine(MachineProblem::Agent(AgentProblem::OldAgent(_))))
        ));
        assert!(matches!(of_version(Some("3.3.40.0".into())), Outcome::Good(_)));
        assert!(matches!(of_version(None), Outcome::Good(_)));
    }
}
