//! The machine that a session is opened to: does it exist, does it run, who watches it.

use crate::aws::{Access, ApiError, Filter, NodeFilter};
use crate::bastion::{self, Egress};
use crate::names::{Name, Target, TargetKind};
use crate::route::Wish;

use super::agent::{self, Facts, Needs};
use super::elsewhere;
use super::finding::{BastionProblem, Component, Diagnosis, Elsewhere, Finding, MachineProblem, Outcome};
use super::limit::Limit;
use super::permissions;

/// What was found out about the machine.
pub(super) struct Examined {
    pub findings: Vec<Finding>,
    /// The machine runs, as far as that is known.
    pub is_up: bool,
}

/// Asks EC2 and Systems Manager side by side, and about the way from one to the other if the agent is not connected.
pub(super) async fn check(
    access: &Access,
    target: &Target,
    wish: &Wish,
    needs: Needs,
    limit: Limit,
) -> Examined {
    let facts = ask(access, target, limit).await;
    let mut findings = Vec::new();
    if target.kind() == TargetKind::Instance {
        findings.push(Finding::new(
            Component::Machine,
            target.id(),
            of_instance(&facts, access, target, wish, limit).await,
        ));
    }
    let is_up = match &facts.instance {
        Ok(Some(instance)) => instance.state == "running",
        Ok(None) => target.kind() != TargetKind::Instance,
        Err(_) => true,
    };
    if is_up {
        if facts.is_cut_off() {
            findings.extend(of_surroundings(access, &facts, limit).await);
        }
        findings.extend(elsewhere_of_node(access, target, &facts, limit).await);
        findings.push(Finding::new(Component::Agent, target.id(), agent::of(&facts, target.kind(), needs)));
    }
    if wish.is_guarded() {
        findings.extend(of_guardian(access, wish, target, limit).await);
    }
    Examined { findings, is_up }
}

async fn ask(access: &Access, target: &Target, limit: Limit) -> Facts {
    let id = target.id();
    let filters = [Filter::new("instance-id", id)];
    let filter = NodeFilter::Id(id.to_owned());
    let (instance, node, connected) = tokio::join!(
        within(limit, access.describe_instances(&filters)),
        within(limit, access.describe_instance_information(Some(&filter))),
        within(limit, access.is_connected(id)),
    );
    Facts {
        instance: instance.map(|found| found.into_iter().next()),
        node: node.map(|found| found.into_iter().next()),
        connected,
    }
}

async fn within<T>(limit: Limit, call: impl Future<Output = Result<T, ApiError>>) -> Result<T, String> {
    limit.check(call).await.map_err(|late| late.to_string())?.map_err(|error| error.to_string())
}

async fn of_instance(facts: &Facts, access: &Access, target: &Target, wish: &Wish, limit: Limit) -> Outcome {
    match &facts.instance {
        Err(error) => Outcome::Unknown(error.clone()),
        Ok(None) => not_here(access, target, limit).await,
        Ok(Some(instance)) if instance.state == "running" => Outcome::Good("running".to_owned()),
        Ok(Some(instance)) if wish.start => {
            Outcome::Good(format!("{}; `connect` starts it, and so does `--start` here", instance.state))
        }
        Ok(Some(instance)) => {
            Outcome::Broken(Diagnosis::Machine(MachineProblem::NotRunning(instance.state.clone())))
        }
    }
}

async fn not_here(access: &Access, target: &Target, limit: Limit) -> Outcome {
    let search = elsewhere::search(access, &Name::Id(target.clone()), limit).await.unwrap_or_default();
    let region = access.region().to_owned();
    if search.found.is_empty() {
        let problem = MachineProblem::NotHere { region, others: search.without };
        return Outcome::Broken(Diagnosis::Machine(problem));
    }
    Outcome::Broken(Diagnosis::Elsewhere(Elsewhere { region, found: search.found }))
}

/// A managed node that Systems Manager does not know here may be registered in another region.
async fn elsewhere_of_node(access: &Access, target: &Target, facts: &Facts, limit: Limit) -> Option<Finding> {
    if target.kind() != TargetKind::ManagedInstance || !matches!(facts.node, Ok(None)) {
        return None;
    }
    let found = elsewhere::search(access, &Name::Id(target.clone()), limit).await?.found;
    let elsewhere = || Elsewhere { region: access.region().to_owned(), found: found.clone() };
    let finding =
        || Finding::new(Component::Machine, target.id(), Outcome::Broken(Diagnosis::Elsewhere(elsewhere())));
    (!found.is_empty()).then(finding)
}

/// Looks at what an agent needs: the role of the instance, and the way out of its subnet.
async fn of_surroundings(access: &Access, facts: &Facts, limit: Limit) -> Vec<Finding> {
    let Ok(Some(instance)) = &facts.instance else { return Vec::new() };
    let Some(profile) = &instance.profile else { return Vec::new() };
    let (role, egress) = tokio::join!(
        permissions::of_role(access, profile, limit),
        within(limit, Egress::of(access, instance))
    );
    let subnet = instance.subnet.clone().unwrap_or_default();
    let outcome = match egress {
        Ok(None) => return vec![role],
        Ok(Some(Egress::Gateway(gateway))) => {
            Outcome::Good(format!("its way to Systems Manager is {gateway}"))
        }
        Ok(Some(Egress::Endpoints(endpoints))) => {
            Outcome::Good(format!("its way to Systems Manager is {}", endpoints.join(", ")))
        }
        Ok(Some(egress)) => Outcome::Broken(Diagnosis::Machine(MachineProblem::Egress(egress))),
        Err(error) => Outcome::Unknown(format!("its way to Systems Manager was not looked at: {error}")),
    };
    vec![role, Finding::new(Component::Subnet, subnet, outcome)]
}

async fn of_guardian(access: &Access, wish: &Wish, target: &Target, limit: Limit) -> Vec<Finding> {
    let name = wish.guardian.clone().unwrap_or_default();
    let finding = |outcome| Finding::new(Component::Guardian, name.as_str(), outcome);
    let setup = match limit.check(bastion::check(access, wish, Some(target))).await {
        Ok(Ok(setup)) => setup,
        Ok(Err(error)) => return vec![finding(Outcome::Unknown(error.to_string()))],
        Err(late) => return vec![finding(Outcome::late(late))],
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
