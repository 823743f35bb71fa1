//! What `doctor` finds out: the chain from this machine to the goal, link by link, up to the first that is broken.
//!
//! The links of one stage are looked at side by side, each with a deadline, and all have one; a stage is skipped if an
//! earlier one has a broken link. Nothing here asks a question or changes anything but the session that it opens and ends: a machine that is
//! down is started if `--start` says so, and else left alone. Facts are typed; `cli::report` words them.

mod access;
mod agent;
mod elsewhere;
mod finding;
mod hops;
mod leftovers;
mod limit;
mod log;
mod login;
mod machine;
mod network;
mod permissions;
mod session;
mod ssh;

use std::rc::Rc;

use tokio_util::task::TaskTracker;

use crate::aws::{Access, Aws};
use crate::bastion::OnLife;
use crate::config::{Config, Environment};
use crate::names::Target;
use crate::reach::{ReachError, find_machine};
use crate::route::{Route, Wish};
use crate::session::OnNotice;

use self::agent::Needs;
use self::limit::Limit;

pub use self::finding::{
    AgentProblem, BastionProblem, Component, Diagnosis, Elsewhere, Finding, Lacks, Leftover, MachineProblem,
    NetworkProblem, Outcome, SshProblem,
};
pub use self::ssh::parse_version;

/// What is examined.
pub struct Subject {
    /// The word of the command line.
    pub word: String,
    /// The way to it; `None` examines what all targets have in common.
    pub route: Option<Route>,
    /// ssh is used to reach it.
    pub is_for_ssh: bool,
    /// It is a forward.
    pub is_forward: bool,
}

/// What an examination needs of the process.
pub struct Surroundings<'a> {
    /// The configuration without a host's.
    pub config: &'a Config,
    /// The environment.
    pub environment: &'a Environment,
    /// Counts the tasks that end sessions.
    pub tasks: &'a TaskTracker,
    /// Receives the events of the session.
    pub on_notice: OnNotice,
    /// Receives the events of a bastion.
    pub on_life: OnLife,
}

/// The links of one stage, and whether a later stage makes sense.
struct Chain {
    findings: Vec<Finding>,
    is_broken: bool,
    limit: Limit,
}

impl Chain {
    fn new(limit: Limit) -> Self {
        Self { findings: Vec::new(), is_broken: false, limit }
    }

    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.is_broken |= matches!(finding.outcome, Outcome::Broken(_));
            self.findings.push(finding);
        }
    }

    /// Adds links that are not looked at: an earlier one is broken, or the time is over.
    fn skip(&mut self, components: &[Component]) {
        let late = self.limit.over().filter(|_| !self.is_broken);
        let outcome = || late.map_or(Outcome::Skipped, Outcome::late);
        self.findings.extend(components.iter().map(|component| Finding::new(*component, "", outcome())));
    }
}

/// The machine of a session.
struct Found {
    /// `None` is a task that does not run.
    target: Option<Target>,
    is_up: bool,
}

/// Examines a subject. What this machine has of it comes first and last, so that it is there whatever is broken.
pub async fn examine(
    subject: &Subject,
    aws: Result<Aws, ReachError>,
    around: &Surroundings<'_>,
) -> Vec<Finding> {
    let mut chain = Chain::new(Limit::start());
    let file = around.config.file.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
    chain.add([Finding::new(Component::Config, file, Outcome::Good("valid".to_owned()))]);
    of_aws(&mut chain, subject, aws, around).await;
    chain.add(leftovers::sockets(around.config));
    chain.add(log::check(around.config.log.file.as_deref(), &subject.word));
    chain.findings
}

/// Walks the chain from ssh to the port.
async fn of_aws(
    chain: &mut Chain,
    subject: &Subject,
    aws: Result<Aws, ReachError>,
    around: &Surroundings<'_>,
) {
    let route = subject.route.as_ref();
    let config = route.map_or(around.config, |route| &route.config);
    let wish = route.map_or_else(|| Wish::of_guardian(config), Wish::of);
    let aws = match aws {
        Ok(aws) => Rc::new(aws),
        Err(error) => {
            chain.add(ssh::check(subject, around, chain.limit).await);
            chain.add([Finding::new(Component::Credentials, "", Outcome::failed(error))]);
            return chain.skip(&[Component::Network, Component::Machine, Component::Session]);
        }
    };
    let limit = chain.limit;
    let (ssh, network, (credentials, access)) = tokio::join!(
        ssh::check(subject, around, limit),
        network::check(&aws, route, &wish, limit),
        access::check(&aws, limit),
    );
    chain.add(ssh);
    // Without a region, both say so.
    let has_region = network.iter().all(|finding| finding.component != Component::Credentials);
    chain.add(network);
    chain.add(credentials.into_iter().filter(|_| has_region));
    let Some(access) = access.filter(|_| has_region) else {
        return chain.skip(&[Component::Machine, Component::Session]);
    };
    let Some(route) = route else {
        return chain.add(leftovers::check(&access, &wish, None, around.environment, limit).await);
    };
    if chain.is_broken {
        return chain.skip(&[Component::Machine, Component::Session]);
    }
    let found = of_target(chain, &aws, &access, subject, route, &wish).await;
    let can_be_up = found.is_up || route.config.start_by_flag == Some(true);
    // Before the session of this examination is open.
    let leftovers = leftovers::check(&access, &wish, found.target.as_ref(), around.environment, limit).await;
    if chain.is_broken || !can_be_up {
        chain.skip(&[Component::Session]);
    } else {
        let limit = limit.excluding_start(&route.config).of_sessions();
        chain.add(Box::pin(session::check(aws.clone(), route, around, limit)).await);
        if !chain.is_broken && subject.is_for_ssh {
            chain.add(Box::pin(login::check(aws, route, around, limit)).await);
        }
    }
    chain.add(leftovers);
}

async fn of_target(
    chain: &mut Chain,
    aws: &Aws,
    access: &Access,
    subject: &Subject,
    route: &Route,
    wish: &Wish,
) -> Found {
    let limit = chain.limit;
    let target = match limit.whole(find_machine(aws, access, route)).await {
        Ok(Ok(target)) => target,
        Ok(Err(error)) => {
            let outcome = not_found(access, route, error, limit).await;
            chain.add([Finding::new(Component::Name, &wish.host, outcome)]);
            return Found { target: None, is_up: false };
        }
        Err(late) => {
            chain.add([Finding::new(Component::Name, &wish.host, Outcome::late(late))]);
            chain.skip(&[Component::Machine]);
            return Found { target: None, is_up: false };
        }
    };
    let id = target.as_ref().map_or("a task that does not run", Target::id).to_owned();
    chain.add([Finding::new(Component::Name, &wish.host, Outcome::Good(id))]);
    let Some(target) = target else { return Found { target, is_up: false } };
    let needs = Needs::of(route, subject.is_forward);
    let (examined, permissions) = tokio::join!(
        machine::check(access, &target, wish, needs, limit),
        permissions::of_caller(access, &target, limit),
    );
    chain.add(permissions);
    chain.add(examined.findings);
    Found { target: Some(target), is_up: examined.is_up }
}

/// A name that is not found here may be one of another region.
async fn not_found(access: &Access, route: &Route, error: ReachError, limit: Limit) -> Outcome {
    if !error.is_wrong_name() {
        return Outcome::failed(error);
    }
    match elsewhere::search(access, route.entry.name(), limit).await {
        Some(search) if !search.found.is_empty() => {
            let region = access.region().to_owned();
            Outcome::Broken(Diagnosis::Elsewhere(Elsewhere { region, found: search.found }))
        }
        Some(_) | None => Outcome::failed(error),
    }
}

#[cfg(test)]
mod tests;
