//! A real session: through the hops to the port, and the first bytes from there.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::aws::Aws;
use crate::bastion::OnLife;
use crate::config::Environment;
use crate::reach::{Greeting, Reach};
use crate::route::Route;
use crate::session::OnNotice;

use super::finding::{Component, Diagnosis, Finding, MachineProblem, Outcome};

/// A server that speaks first does so within this time.
const GREETING: Duration = Duration::from_secs(3);

/// Opens a session as `connect` does, but pushes no key to the goal, and ends it. Nothing is started, unless `--start` says so.
pub(super) async fn check(
    aws: Rc<Aws>,
    route: &Route,
    environment: &Environment,
    tasks: &TaskTracker,
    on_notice: OnNotice,
    on_life: OnLife,
) -> Vec<Finding> {
    let (name, port) = (route.goal.label().to_owned(), route.goal.port);
    let mut route = route.clone();
    route.config.start_by_flag.get_or_insert(false);
    let limit = limit(&route);
    let hops = route.hops.len();
    let reach = Reach::new(aws, route, environment.clone(), on_notice, on_life, tasks.clone());
    let session = |outcome| Finding::new(Component::Session, name.as_str(), outcome);
    let connection = match timeout(limit, reach.connect_without_key()).await {
        Ok(Ok((connection, _))) => connection,
        Ok(Err(error)) => return vec![session(Outcome::failed(error))],
        Err(_) => return vec![session(Outcome::Unknown(format!("not open within {} s", limit.as_secs())))],
    };
    let opened = match hops {
        0 => "opened".to_owned(),
        1 => "opened, through 1 hop".to_owned(),
        many => format!("opened, through {many} hops"),
    };
    let mut findings = vec![session(Outcome::Good(opened))];
    let port_finding = |outcome| Finding::new(Component::Port, format!("{name}:{port}"), outcome);
    findings.push(match connection.greeting(GREETING).await {
        Ok(Greeting::Bytes { first, after }) => {
            port_finding(Outcome::Good(format!("{} after {} ms", kind(&first), after.as_millis())))
        }
        Ok(Greeting::Silence) => {
            port_finding(Outcome::Doubtful(Diagnosis::Machine(MachineProblem::SilentPort(port))))
        }
        Err(error) => port_finding(Outcome::failed(error)),
    });
    findings
}

/// Returns the time for a session, with that for a machine that is started first.
pub(super) fn limit(route: &Route) -> Duration {
    let session = &route.config.session;
    match route.config.start_by_flag {
        Some(true) => session.connect_timeout + session.start_timeout,
        Some(false) | None => session.connect_timeout,
    }
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
