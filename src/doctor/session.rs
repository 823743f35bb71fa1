//! A real session: through the hops to the port, and the first bytes from there.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::aws::Aws;
use crate::config::AccessRequest;
use crate::reach::{Greeting, Reach, ReachError, ReachedSoFar};
use crate::route::Route;
use crate::session::{Measured, Notice, OnNotice};

use super::finding::{Component, Diagnosis, Finding, MachineProblem, Outcome};
use super::limit::{Late, Limit};
use super::{Surroundings, hops};

/// A server that speaks first does so within this time.
const GREETING: Duration = Duration::from_secs(3);

/// Opens a session as `connect` does, but pushes no key to the goal, and ends it. No access is requested, and nothing is started
/// unless `--start` says so.
pub(super) async fn check(
    aws: Rc<Aws>,
    route: &Route,
    around: &Surroundings<'_>,
    limit: Limit,
) -> Vec<Finding> {
    let mut route = route.clone();
    route.config.start_by_flag.get_or_insert(false);
    let requested = std::mem::replace(&mut route.config.session.access_request, AccessRequest::Off);
    let measured: Rc<Cell<Option<Measured>>> = Rc::default();
    let on_notice = measuring(around.on_notice.clone(), measured.clone());
    let (environment, tasks) = (around.environment.clone(), around.tasks.clone());
    let reach = Reach::new(aws, route.clone(), environment, on_notice, around.on_life.clone(), tasks);
    let reach = reach.only_looking();
    let attempt = limit.at_most(opening(&route), reach.connect_without_key()).await;
    let progress = reach.progress();
    let mut findings = match attempt {
        Ok(Ok((connection, _))) => {
            let mut findings = opened(&route, &progress);
            findings.push(match limit.whole(connection.greeting(GREETING)).await {
                Ok(greeting) => of_port(&route, greeting),
                Err(late) => port(&route, Outcome::late(late)),
            });
            findings
        }
        Ok(Err(error)) if requested != AccessRequest::Off && error.is_denied_start() => requestable(&route),
        Ok(Err(error)) => failed(&route, &progress, error),
        Err(late) => of_late(&route, &progress, late),
    };
    let path =
        measured.get().map(|path| Finding::new(Component::Path, route.entry.to_string(), of_path(&path)));
    findings.extend(path);
    findings
}

/// Keeps what the session has measured, and hands every notice on.
fn measuring(on_notice: OnNotice, measured: Rc<Cell<Option<Measured>>>) -> OnNotice {
    Rc::new(move |notice| {
        if let Notice::Measured(path) = notice {
            measured.set(Some(*path));
        }
        on_notice(notice);
    })
}

/// Returns the time for a session, with that for a machine that is started first.
pub(super) fn opening(route: &Route) -> Duration {
    let session = &route.config.session;
    match route.config.start_by_flag {
        Some(true) => session.connect_timeout + session.start_timeout,
        Some(false) | None => session.connect_timeout,
    }
}

fn of_session(route: &Route, outcome: Outcome) -> Finding {
    Finding::new(Component::Session, route.goal.label(), outcome)
}

fn opened(route: &Route, progress: &ReachedSoFar) -> Vec<Finding> {
    let mut findings = vec![of_session(route, Outcome::Good("opened".to_owned()))];
    findings.extend(hops::good(route, progress));
    findings
}

/// The start is denied, and `connect` would request access then.
fn requestable(route: &Route) -> Vec<Finding> {
    let document = route.documents().into_iter().next_back().map(|document| document.name);
    let diagnosis = Diagnosis::AccessRequest(document.unwrap_or_default());
    let mut findings = vec![of_session(route, Outcome::Doubtful(diagnosis))];
    findings.extend(hops::skipped(route, 0));
    findings
}

/// An error behind an open session is one of the next hop, or of the goal.
fn failed(route: &Route, progress: &ReachedSoFar, error: ReachError) -> Vec<Finding> {
    let Some(next) = hops::next(route, progress).filter(|_| is_of_hop(&error)) else {
        let mut findings = vec![of_session(route, Outcome::failed(error))];
        findings.extend(hops::skipped(route, 0));
        return findings;
    };
    let mut findings = opened(route, progress);
    if next < route.hops.len() {
        findings.push(hops::finding(route, next, hops::refused(error)));
        findings.extend(hops::skipped(route, next + 1));
    } else {
        findings.push(of_port(route, Err(error)));
    }
    findings
}

fn of_late(route: &Route, progress: &ReachedSoFar, late: Late) -> Vec<Finding> {
    let text = || Outcome::late(late);
    let Some(next) = hops::next(route, progress) else { return vec![of_session(route, text())] };
    let mut findings = opened(route, progress);
    if next < route.hops.len() {
        findings.push(hops::finding(route, next, text()));
        findings.extend(hops::skipped(route, next + 1));
    }
    findings
}

fn is_of_hop(error: &ReachError) -> bool {
    matches!(
        error,
        ReachError::Hop(_) | ReachError::Key(_) | ReachError::HopSettings(_) | ReachError::HostKeys(_)
    )
}

fn of_port(route: &Route, greeting: Result<Greeting, ReachError>) -> Finding {
    port(
        route,
        match greeting {
            Ok(Greeting::Bytes { first, after }) => {
                Outcome::Good(format!("{} after {} ms", kind(&first), after.as_millis()))
            }
            Ok(Greeting::Silence) => {
                Outcome::Doubtful(Diagnosis::Machine(MachineProblem::SilentPort(route.goal.port)))
            }
            Err(error) => Outcome::failed(error),
        },
    )
}

fn port(route: &Route, outcome: Outcome) -> Finding {
    let goal = &route.goal;
    Finding::new(Component::Port, format!("{}:{}", goal.label(), goal.port), outcome)
}

fn of_path(path: &Measured) -> Outcome {
    let Measured { round_trip, message_size } = path;
    Outcome::Good(format!(
        "the agent answers after {} ms; messages of {message_size} bytes pass",
        round_trip.as_millis()
    ))
}

/// Names what speaks by its first bytes.
fn kind(first: &[u8]) -> String {
    if first.starts_with(b"SSH-") {
        let line = first.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        return format!("sshd ({})", String::from_utf8_lossy(line));
    }
    // A packet of MySQL: three bytes of length, a number, the version of the protocol.
    if first.get(3) == Some(&0) && first.get(4) == Some(&10) {
        return "MySQL or MariaDB".to_owned();
    }
    "a server that speaks first".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_by_their_greeting() {
        assert_eq!(kind(b"SSH-2.0-OpenSSH_9.2\r\n"), "sshd (SSH-2.0-OpenSSH_9.2)");
        assert_eq!(kind(&[0x5a, 0, 0, 0, 10, b'8']), "MySQL or MariaDB");
        assert_eq!(kind(b"220 mail"), "a server that speaks first");
    }
}
