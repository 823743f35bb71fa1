//! What was left behind: sessions of processes that are gone, groups on interfaces, lives without use, sockets.

use std::collections::HashSet;
use std::path::Path;

use crate::audit::{Fate, Store, rows};
use crate::aws::{Access, ActiveSession};
use crate::bastion::{self, BastionStatus};
use crate::config::{Config, Environment, Forward, LocalEnd};
use crate::forward::is_leftover_socket;
use crate::names::Target;
use crate::route::Wish;

use super::finding::{BastionProblem, Component, Diagnosis, Finding, Leftover, Outcome};
use super::limit::Limit;

/// Looks for what nothing will clean up.
pub(super) async fn check(
    access: &Access,
    wish: &Wish,
    target: Option<&Target>,
    environment: &Environment,
    limit: Limit,
) -> Vec<Finding> {
    let (sessions, bastion) =
        tokio::join!(sessions(access, environment, limit), of_bastion(access, wish, target, limit));
    sessions.into_iter().chain(bastion).collect()
}

async fn sessions(access: &Access, environment: &Environment, limit: Limit) -> Vec<Finding> {
    let finding = |outcome| Finding::new(Component::Leftovers, "sessions", outcome);
    let ask = async {
        let caller = access.caller().await?;
        access.own_sessions(&caller).await
    };
    let open = match limit.check(ask).await {
        Ok(Ok(open)) => open,
        Ok(Err(error)) => return vec![finding(Outcome::Unknown(error.to_string()))],
        Err(late) => return vec![finding(Outcome::late(late))],
    };
    let gone = of_gone_processes(environment);
    let (leaked, others): (Vec<ActiveSession>, Vec<ActiveSession>) =
        open.into_iter().partition(|session| gone.contains(&session.id));
    let leftover = |leftover| finding(Outcome::Doubtful(Diagnosis::Leftover(leftover)));
    let mut findings = Vec::new();
    if !leaked.is_empty() {
        let ids = leaked.into_iter().map(|session| session.id).collect();
        findings.push(leftover(Leftover::LeakedSessions(ids)));
    }
    if !others.is_empty() {
        findings.push(leftover(Leftover::OpenSessions(others.len())));
    }
    if findings.is_empty() {
        findings.push(finding(Outcome::Good("no session of yours is open".to_owned())));
    }
    findings
}

/// Returns the sessions of the record whose process on this machine is gone.
fn of_gone_processes(environment: &Environment) -> HashSet<String> {
    let store = environment.folders.state.as_ref().map(|state| Store::new(state.join("fumidai")));
    let Some(Ok(contents)) = store.map(|store| store.read()) else { return HashSet::new() };
    let gone = rows(contents.entries()).into_iter().filter(|row| row.fate() == Fate::Gone);
    gone.filter_map(|row| row.start.session).collect()
}

async fn of_bastion(access: &Access, wish: &Wish, target: Option<&Target>, limit: Limit) -> Vec<Finding> {
    if !wish.is_guarded() {
        return Vec::new();
    }
    let unknown = |text: String| vec![Finding::new(Component::Leftovers, "bastion", Outcome::Unknown(text))];
    match limit.check(bastion::inspect(access, wish, target)).await {
        Ok(Ok(status)) => groups(&status).chain(unused(&status)).collect(),
        Ok(Err(error)) => unknown(error.to_string()),
        Err(late) => unknown(late.to_string()),
    }
}

fn groups(status: &BastionStatus) -> impl Iterator<Item = Finding> {
    status.groups.iter().filter(|lending| lending.is_left()).map(|lending| {
        let (group, interface) = (lending.group.clone(), lending.interface.clone());
        let problem = BastionProblem::GroupLeft { group, interface };
        Finding::new(Component::Leftovers, "groups", Outcome::Doubtful(Diagnosis::Bastion(problem)))
    })
}

/// A life without a session ends after its grace time; until then the machine costs money.
fn unused(status: &BastionStatus) -> Option<Finding> {
    let is_unused = !status.lives.is_empty() && status.people.is_empty() && status.unknown.is_empty();
    let state = status.state.clone().filter(|state| is_unused && state == "running")?;
    let outcome = Outcome::Doubtful(Diagnosis::Bastion(BastionProblem::Unused(state)));
    Some(Finding::new(Component::Leftovers, "lives", outcome))
}

/// Looks for unix sockets of the config file's forwards that nothing listens on.
pub(super) fn sockets(config: &Config) -> Option<Finding> {
    let stale = config.forwards.values().filter_map(socket).filter(|path| is_leftover_socket(path));
    let stale: Vec<String> = stale.map(|path| path.display().to_string()).collect();
    let outcome = |stale| Outcome::Doubtful(Diagnosis::Leftover(Leftover::StaleSockets(stale)));
    (!stale.is_empty()).then(|| Finding::new(Component::Leftovers, "sockets", outcome(stale)))
}

fn socket(forward: &Forward) -> Option<&Path> {
    if let LocalEnd::Socket(path) = &forward.local { Some(path) } else { None }
}
