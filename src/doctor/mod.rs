//! What `doctor` finds out: the chain from this machine to the goal, link by link, up to the first that is broken.
//!
//! The links of one stage are looked at side by side, each with a deadline; a stage is skipped if an earlier one has a
//! broken link. Nothing here asks a question or changes anything but the session that it opens and ends: a machine that is
//! down is started if `--start` says so, and else left alone. Facts are typed; `cli::report` words them.

mod access;
mod finding;
mod leftovers;
mod login;
mod machine;
mod network;
mod session;
mod ssh;

use std::rc::Rc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::aws::{Access, Aws};
use crate::bastion::OnLife;
use crate::config::{Config, Environment};
use crate::names::Target;
use crate::reach::{ReachError, find_machine};
use crate::route::{Route, Wish};
use crate::session::OnNotice;

pub use self::finding::{
    AgentProblem, BastionProblem, Component, Diagnosis, Finding, MachineProblem, NetworkProblem, Outcome,
    SshProblem,
};
pub use self::ssh::parse_version;

/// Time for one link: the whole takes at most some of them.
const DEADLINE: Duration = Duration::from_secs(5);

/// What is examined.
pub struct Subject {
    /// The word of the command line.
    pub word: String,
    /// The way to it; `None` examines what all targets have in common.
    pub route: Option<Route>,
    /// ssh is used to reach it.
    pub is_for_ssh: bool,
}

/// The links of one stage, and whether a later stage makes sense.
struct Chain {
    findings: Vec<Finding>,
    is_broken: bool,
}

impl Chain {
    fn add(&mut self, findings: Vec<Finding>) {
        self.is_broken |= findings.iter().any(|finding| matches!(finding.outcome, Outcome::Broken(_)));
        self.findings.extend(findings);
    }

    /// Returns true if AWS's settings are wrong, so that no call can be made.
    fn lacks_region(&self) -> bool {
        let is_settings = |finding: &Finding| finding.component == Component::Credentials;
        self.is_broken && self.findings.iter().any(is_settings)
    }

    fn skip(&mut self, components: &[Component]) {
        let skipped = |component: &Component| Finding::new(*component, "", Outcome::Skipped);
        self.findings.extend(components.iter().map(skipped));
    }
}

/// The machine of a session.
struct Found {
    /// `None` is a task that does not run.
    target: Option<Target>,
    is_up: bool,
}

/// Examines a subject; the events of its session go to `on_notice`, those of a bastion to `on_life`.
pub async fn examine(
    subject: &Subject,
    config: &Config,
    environment: &Environment,
    aws: Result<Aws, ReachError>,
    tasks: &TaskTracker,
    on_notice: OnNotice,
    on_life: OnLife,
) -> Vec<Finding> {
    let mut chain = Chain { findings: Vec::new(), is_broken: false };
    let file = config.file.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
    chain.add(vec![Finding::new(Component::Config, file, Outcome::Good("valid".to_owned()))]);
    chain.add(ssh::check(subject, config).await);
    let aws = match aws {
        Ok(aws) => Rc::new(aws),
        Err(error) => {
            chain.add(vec![Finding::new(Component::Credentials, "", Outcome::failed(error))]);
            chain.skip(&[Component::Network, Component::Machine, Component::Session]);
            return chain.findings;
        }
    };
    let config = subject.route.as_ref().map_or(config, |route| &route.config);
    let wish = subject.route.as_ref().map_or_else(|| Wish::of_guardian(config), Wish::of);
    chain.add(network::check(&aws, &wish).await);
    if chain.lacks_region() {
        chain.skip(&[Component::Machine, Component::Session]);
        return chain.findings;
    }
    let access = match access::check(&aws).await {
        (findings, Some(access)) => {
            chain.add(findings);
            access
        }
        (findings, None) => {
            chain.add(findings);
            chain.skip(&[Component::Machine, Component::Session]);
            return chain.findings;
        }
    };
    let Some(route) = &subject.route else {
        chain.add(leftovers::check(&access, &wish, None).await);
        return chain.findings;
    };
    if chain.is_broken {
        chain.skip(&[Component::Machine, Component::Session]);
        return chain.findings;
    }
    let found = of_target(&mut chain, &aws, &access, route, &wish).await;
    let can_be_up = found.is_up || route.config.start_by_flag == Some(true);
    if chain.is_broken || !can_be_up {
        chain.skip(&[Component::Session]);
    } else {
        let (notice, life) = (on_notice.clone(), on_life.clone());
        chain.add(session::check(aws.clone(), route, environment, tasks, notice, life).await);
        if !chain.is_broken && subject.is_for_ssh {
            chain.add(Vec::from_iter(login::check(aws, route, environment, tasks, on_notice, on_life).await));
        }
    }
    chain.add(leftovers::check(&access, &wish, found.target.as_ref()).await);
    chain.findings
}

async fn of_target(chain: &mut Chain, aws: &Aws, access: &Access, route: &Route, wish: &Wish) -> Found {
    let target = match find_machine(aws, access, route).await {
        Ok(target) => target,
        Err(error) => {
            chain.add(vec![Finding::new(Component::Name, &wish.host, Outcome::failed(error))]);
            return Found { target: None, is_up: false };
        }
    };
    let id = target.as_ref().map_or("a task that does not run", Target::id).to_owned();
    chain.add(vec![Finding::new(Component::Name, &wish.host, Outcome::Good(id))]);
    let Some(target) = target else { return Found { target, is_up: false } };
    let (findings, is_up) = machine::check(access, &target, wish).await;
    chain.add(findings);
    Found { target: Some(target), is_up }
}
