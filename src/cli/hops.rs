//! The command `connect` to a goal that is behind hops.
//!
//! Behind one hop, its agent can dial the goal: one session, no sshd on the hop, no login there. Else a ladder of ssh
//! logins leads to it.

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio_util::task::TaskTracker;

use crate::aws::Aws;
use crate::clock;
use crate::config::Environment;
use crate::jump::HopStream;
use crate::names::route::{Document, Edge};
use crate::session::{self, Interrupts, Outcome};

use super::chain::Chain;
use super::connect::{exit_of, notes};
use super::ladder::{Fall, Ladder, Top, asks_for_sshd, explain_fall_back, find, of_fall, request};
use super::report::{ExitKind, Report};
use super::way::{open_aws, session_settings};

/// ssh is gone when our input ends; what its server still says is said by then.
const LINGER: Duration = Duration::from_secs(1);

/// Joins stdin and stdout to the goal of a chain that has hops.
pub(super) fn connect(chain: Chain, environment: &Environment) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Report::new(ExitKind::Failure, format!("cannot start: {error}")).print(),
    };
    let result = LocalSet::new().block_on(&runtime, run(chain, environment));
    // A thread may sit in a read of the terminal for ever.
    runtime.shutdown_background();
    match result {
        Ok(outcome) => exit_of(outcome),
        Err(report) => report.print(),
    }
}

async fn run(chain: Chain, environment: &Environment) -> Result<Outcome, Report> {
    let aws = Rc::new(open_aws(&chain.config).await?);
    let edge = chain.hops.first().map_or(Edge::Ssh, |step| step.onward);
    if chain.hops.len() == 1 && edge != Edge::Ssh {
        match by_agent(&aws, &chain).await {
            Err(Fall::Session { failure, .. }) if edge.falls_back() && asks_for_sshd(&failure) => {
                explain_fall_back(&failure, &chain);
            }
            Err(fall) => return Err(of_fall(&fall, &chain)),
            Ok(outcome) => return Ok(outcome),
        }
    }
    by_sshd(aws, chain, environment).await
}

/// The hop's agent dials the goal.
async fn by_agent(aws: &Rc<Aws>, chain: &Chain) -> Result<Outcome, Fall> {
    let config = &chain.config;
    let mut settings = session_settings(config, clock::now(), LINGER);
    let target = find(aws, chain).await?;
    let goal = &chain.goal;
    let document = Document::to_host(goal.dialled(), goal.port);
    settings.for_remote_host = document.host().is_some();
    tracing::info!(hop = chain.entry.to_string(), goal = goal.label(), "the hop's agent dials");
    let request = request(target, document, config);
    let notes = notes(config.log.verbosity, goal.port);
    let ended = session::connect(aws.clone(), &request, settings, notes).await;
    ended.map_err(|failure| Fall::Session { failure, to: 1 })
}

/// The last hop's sshd dials the goal.
async fn by_sshd(aws: Rc<Aws>, chain: Chain, environment: &Environment) -> Result<Outcome, Report> {
    let cannot = |error| Report::new(ExitKind::Failure, format!("cannot listen to signals: {error}"));
    let mut interrupts = Interrupts::listen().map_err(cannot)?;
    let notes = notes(chain.config.log.verbosity, chain.goal.port);
    let linger = chain.config.session.linger.unwrap_or(LINGER);
    let sessions = TaskTracker::new();
    let work = async {
        let ladder = Ladder::new(aws, chain, environment, notes, sessions.clone()).await?;
        let reached = reach(&ladder).await.map_err(|fall| of_fall(&fall, ladder.chain()))?;
        Ok::<_, Report>((ladder, reached))
    };
    let (ladder, (top, stream)) = tokio::select! {
        reached = work => reached?,
        interrupt = interrupts.next() => {
            sessions.close();
            sessions.wait().await;
            return Ok(Outcome::Interrupted(interrupt));
        }
    };
    let joined = session::join(stream, linger, top.delivered(), &mut interrupts).await;
    let lost = top.lost();
    let in_order = matches!(joined, Ok(Outcome::Done));
    let left = top.leave(in_order).await;
    let fall = match (joined, left, lost) {
        (Ok(Outcome::Done), Err(fall), _) => fall,
        (Ok(Outcome::Done), Ok(()), Some(lost)) => Fall::Hop(lost),
        (Ok(outcome), ..) => return Ok(outcome),
        (Err(failure), ..) => Fall::Session { failure, to: 0 },
    };
    Err(of_fall(&fall, ladder.chain()))
}

/// Climbs, and connects to the goal from the top.
async fn reach(ladder: &Ladder) -> Result<(Top, HopStream), Fall> {
    let goal = &ladder.chain().goal;
    let top = ladder.climb().await?;
    match top.open(goal.dialled(), goal.port).await {
        Ok(stream) => Ok((top, stream)),
        Err(error) => Err(top.leave(true).await.err().unwrap_or(Fall::Hop(error))),
    }
}
