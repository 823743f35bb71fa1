//! The hops one by one: who leads on, the host key, the login.

use crate::jump::{JumpError, LoginFacts};
use crate::reach::{ReachError, ReachedSoFar};
use crate::route::Route;

use super::finding::{Component, Finding, Outcome};

/// Methods that need an answer of the user.
const ASKING: [&str; 2] = ["password", "keyboard-interactive"];

/// Returns the number of the hop that comes after those that were logged in to; `None` if no session was opened.
pub(super) fn next(route: &Route, progress: &ReachedSoFar) -> Option<usize> {
    let next = progress.session_end? + progress.logged_in.len();
    (!route.hops.is_empty()).then_some(next.min(route.hops.len()))
}

/// Returns the hops that lead on.
pub(super) fn good(route: &Route, progress: &ReachedSoFar) -> Vec<Finding> {
    let first = progress.session_end.unwrap_or_default();
    let by_agent = (0..first.min(route.hops.len())).map(|number| {
        let to = route.machine(number + 1).label();
        finding(route, number, Outcome::Good(format!("its agent connects to {to}, no login")))
    });
    let logged_in = progress.logged_in.iter().enumerate();
    let logged_in =
        logged_in.map(|(number, login)| finding(route, first + number, Outcome::Good(of_login(login))));
    by_agent.chain(logged_in).collect()
}

fn of_login(login: &LoginFacts) -> String {
    let LoginFacts { version, host_key, user, method } = login;
    let key = host_key.as_ref().map(|key| format!("host key {} {} is accepted, ", key.kind, key.fingerprint));
    format!("{version}, {}{user} logs in by {method}", key.unwrap_or_default())
}

/// Returns the hops from that number on, which were not reached.
pub(super) fn skipped(route: &Route, from: usize) -> Vec<Finding> {
    (from..route.hops.len()).map(|number| finding(route, number, Outcome::Skipped)).collect()
}

/// A login that needs an answer was not tried to its end.
pub(super) fn refused(error: ReachError) -> Outcome {
    if let ReachError::Hop(JumpError::Auth(failure)) = &error
        && failure.offered.iter().any(|method| ASKING.contains(&method.as_str()))
    {
        return Outcome::Unknown(format!("{failure}; it was not tried with a question to you"));
    }
    Outcome::failed(error)
}

/// Makes the finding of a hop.
pub(super) fn finding(route: &Route, number: usize, outcome: Outcome) -> Finding {
    Finding::new(Component::Hop, route.machine(number).label(), outcome)
}
