//! What was left behind: open sessions of this caller, groups on interfaces.

use tokio::time::timeout;

use crate::aws::Access;
use crate::bastion;
use crate::names::Target;
use crate::route::Wish;

use super::DEADLINE;
use super::finding::{BastionProblem, Component, Diagnosis, Finding, Outcome};

/// Looks for what nobody will clean up.
pub(super) async fn check(access: &Access, wish: &Wish, target: Option<&Target>) -> Vec<Finding> {
    let (sessions, groups) = tokio::join!(sessions(access), groups(access, wish, target));
    let mut findings = vec![sessions];
    findings.extend(groups);
    findings
}

async fn sessions(access: &Access) -> Finding {
    let ask = async {
        let caller = access.caller().await?;
        access.own_sessions(&caller).await
    };
    let outcome = match timeout(DEADLINE, ask).await {
        Ok(Ok(open)) if open.is_empty() => Outcome::Good("no session of yours is open".to_owned()),
        Ok(Ok(open)) => Outcome::Doubtful(Diagnosis::OpenSessions(open.len())),
        Ok(Err(error)) => Outcome::Unknown(error.to_string()),
        Err(_) => Outcome::Unknown("no answer in time".to_owned()),
    };
    Finding::new(Component::Leftovers, "sessions", outcome)
}

async fn groups(access: &Access, wish: &Wish, target: Option<&Target>) -> Vec<Finding> {
    if wish.loans.is_empty() || !wish.is_guarded() {
        return Vec::new();
    }
    let finding = |outcome| Finding::new(Component::Leftovers, "groups", outcome);
    let status = match timeout(DEADLINE, bastion::inspect(access, wish, target)).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return vec![finding(Outcome::Unknown(error.to_string()))],
        Err(_) => return vec![finding(Outcome::Unknown("no answer in time".to_owned()))],
    };
    let left = status.groups.iter().filter(|lending| lending.is_left());
    left.map(|lending| {
        let (group, interface) = (lending.group.clone(), lending.interface.clone());
        finding(Outcome::Doubtful(Diagnosis::Bastion(BastionProblem::GroupLeft { group, interface })))
    })
    .collect()
}
