//! The command `explain`: what a target means, how it is reached, and what must be allowed for that.
//!
//! It asks AWS for what a name means and who calls, starts nothing, and needs no permission for an id. What cannot be
//! known, as without credentials, is told as unknown; only a name that cannot be found is a failure.

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::aws::{Access, Aws, Caller};
use crate::config::Config;
use crate::names::{Name, Target};

use super::args::ExplainArgs;
use super::chain::Chain;
use super::explanation::Explanation;
use super::locate;
use super::policy::Needs;
use super::report::{ExitKind, Report};
use super::stdout;
use super::way::open_aws;

/// Who calls is nice to know, and not worth a long wait.
const CALLER_TIMEOUT: Duration = Duration::from_secs(5);

/// What AWS told of the first hop, or of the target itself.
pub(super) struct Seen {
    /// What the session would be opened to.
    pub target: Target,
    /// The region.
    pub region: Option<String>,
    /// Who calls.
    pub caller: Option<Caller>,
    /// What is not known, and why.
    pub unknown: Vec<String>,
}

/// Runs the command.
pub(super) fn explain(config: &Config, args: &ExplainArgs) -> ExitCode {
    let chain = match Chain::new(&args.target, args.port, config) {
        Ok(chain) => chain,
        Err(error) => return Report::from(error).print(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Report::new(ExitKind::Failure, format!("cannot start: {error}")).print(),
    };
    let seen = runtime.block_on(see(&chain));
    runtime.shutdown_background();
    match seen {
        Ok(seen) => show(&chain, &seen, args),
        Err(report) => report.print(),
    }
}

fn show(chain: &Chain, seen: &Seen, args: &ExplainArgs) -> ExitCode {
    let explanation = Explanation::new(chain, seen);
    if args.policy {
        let needs = Needs {
            target: &seen.target,
            name: chain.entry.name(),
            documents: explanation.documents(),
            region: seen.region.as_deref(),
            caller: seen.caller.as_ref(),
        };
        return stdout::print(&json(&needs.policy()));
    }
    if args.json {
        return stdout::print(&json(&explanation));
    }
    stdout::print(&explanation.text())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("all keys are texts") + "\n"
}

async fn see(chain: &Chain) -> Result<Seen, Report> {
    let region = chain.config.aws.region.clone();
    let aws = match open_aws(&chain.config).await {
        Ok(aws) => aws,
        Err(report) => return without_aws(chain, region, report),
    };
    match aws.access().await {
        Ok(access) => ask(chain, &aws, &access).await,
        Err(error) => without_aws(chain, aws.region().await, Report::of_api(&error, None)),
    }
}

/// An id means itself, whatever AWS says.
fn without_aws(chain: &Chain, region: Option<String>, why: Report) -> Result<Seen, Report> {
    let Name::Id(target) = chain.entry.name() else { return Err(why) };
    let unknown = vec![format!("the caller: {}", why.cause())];
    Ok(Seen { target: target.clone(), region, caller: None, unknown })
}

async fn ask(chain: &Chain, aws: &Aws, access: &Access) -> Result<Seen, Report> {
    let within = chain.config.session.connect_timeout;
    let target = match chain.entry.name() {
        Name::Id(target) => target.clone(),
        Name::Container(_) | Name::Tag { .. } | Name::Address(_) | Name::Dns(_) | Name::Named(_) => {
            locate::find(aws, access, &chain.entry, within).await?
        }
    };
    let (caller, unknown) = match tokio::time::timeout(CALLER_TIMEOUT, access.caller()).await {
        Ok(Ok(caller)) => (Some(caller), Vec::new()),
        Ok(Err(error)) => (None, vec![format!("the caller: {error}")]),
        Err(_) => (None, vec![format!("the caller: no answer within {} s", CALLER_TIMEOUT.as_secs())]),
    };
    Ok(Seen { target, region: Some(access.region().to_owned()), caller, unknown })
}
