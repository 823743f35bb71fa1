//! Events that do not end a command, as the lines that the user reads.

use std::path::Path;
use std::time::Duration;

use crate::audit::StoreError;
use crate::aws::{ApiError, ApprovalEvent};
use crate::bastion::{LifeEvent, Step};
use crate::forward::ForwardEvent;
use crate::session::{Notice, SHORT_PAUSE};

use super::api::{credentials_hint, shell_word};
use super::{ExitKind, Report};

/// Returns the note of `connect` about its session.
pub fn of_connect(notice: &Notice, port: u16) -> Option<String> {
    if *notice == Notice::FirstInputUnanswered {
        return Some(format!("no answer from port {port} yet: it may not be listening"));
    }
    of_link(notice)
}

/// Returns the note of `connect` about a port that sent nothing until the end.
pub fn of_silent_port(port: u16) -> String {
    format!("port {port} has not sent a byte: it may not be listening")
}

/// Returns the note of `connect` if it is run in a terminal.
pub fn of_connect_by_hand(word: &str) -> String {
    format!("`connect` carries bytes for ssh; to log in, run `ssh {word}`")
}

/// Returns the note about the link of a session; `None` if the event is about the port, or not noticeable.
pub fn of_link(notice: &Notice) -> Option<String> {
    match notice {
        Notice::CustomerMessage(text) => Some(text.clone()),
        Notice::FirstInputUnanswered | Notice::Approval(_) | Notice::Measured(_) | Notice::Recorded(_) => {
            None
        }
        Notice::LoginRefused { machine, user } => Some(format!(
            "if ssh said `Permission denied (publickey)`: `{user}` may not exist there, or its image may lack EC2 Instance Connect \
             (AuthorizedKeysCommand); run `fumidai doctor {}`",
            shell_word(machine)
        )),
        Notice::Retrying(cause) => Some(format!("{cause}; trying again")),
        Notice::Interrupted(cause) => Some(format!("link lost ({cause}), resuming")),
        Notice::CredentialsEnded { error, left } => {
            let (minutes, hint) = (left.as_secs().div_ceil(60), credentials_hint(error));
            Some(format!("link lost, and {error}: {hint}; resuming is tried for another {minutes} min"))
        }
        Notice::Resumed(after) if *after < SHORT_PAUSE => None,
        Notice::Resumed(after) => {
            Some(format!("reconnected after {} s, nothing lost", after.as_secs_f64().ceil()))
        }
    }
}

/// Returns the note about a bastion.
pub fn of_life(event: &LifeEvent) -> String {
    match event {
        LifeEvent::Waiting { host, step, since } => {
            format!("{host}: {}, {} s", step_text(*step), since.as_secs())
        }
        LifeEvent::Ready { host, after } => format!("{host} is up after {} s", after.as_secs()),
        LifeEvent::Began { host, life } => format!("{host}: the guardian's life {life} has begun"),
        LifeEvent::EndsSoon { host, left } => format!(
            "{host} will be stopped in {}: to go on, run `fumidai bastion extend {host} 1h`",
            minutes(*left)
        ),
    }
}

fn minutes(time: Duration) -> String {
    format!("{} min", time.as_secs().div_ceil(60))
}

fn step_text(step: Step) -> &'static str {
    match step {
        Step::Stop => "waiting until it has stopped",
        Step::Begin => "waiting for the guardian to start it",
        Step::Boot => "booting",
        Step::Agent => "waiting for its agent",
        Step::TakeBack => "waiting until its security group is taken back",
        Step::Group => "waiting for its security group",
    }
}

/// A failure that `forward` survives.
pub struct SurvivedFailure {
    /// The note, the hints, and the exit code that a command would have ended with.
    pub report: Report,
    /// The destination.
    pub remote: String,
}

/// Returns the failure that an event reports; `None` for the events of a link.
pub fn of_forward(event: &ForwardEvent, remote: &str, target: &str) -> Option<SurvivedFailure> {
    let failure = |report| Some(SurvivedFailure { report, remote: remote.to_owned() });
    match event {
        ForwardEvent::Refused { from } => failure(Report::new(
            ExitKind::RemotePort,
            format!("connection from {from}: {remote} refused it, or {target} cannot reach it"),
        )),
        ForwardEvent::TimedOut { from, after } => failure(Report::new(
            ExitKind::TimedOut,
            format!("connection from {from}: no session to {target} within {} s", after.as_secs()),
        )),
        ForwardEvent::SessionFailed { error, connections } => failure(
            Report::from(&**error).map_cause(|cause| format!("{remote}: {cause}{}", reset(*connections))),
        ),
        ForwardEvent::DialFailed { from, to, error } => {
            let report = Report::from(&**error).map_cause(|cause| format!("connection from {from}: {cause}"));
            Some(SurvivedFailure { report, remote: format!("{}:{}", to.host, to.port) })
        }
        ForwardEvent::NameFailed { error } => {
            failure(Report::from(&**error).map_cause(|cause| format!("{target}: {cause}")))
        }
        ForwardEvent::Life(_) | ForwardEvent::Session(_) => None,
    }
}

/// Returns how many connections a lost session has reset.
fn reset(connections: usize) -> String {
    match connections {
        0 => String::new(),
        1 => "; 1 connection was reset".to_owned(),
        many => format!("; {many} connections were reset"),
    }
}

/// Returns the note of `init` about what it has written.
pub fn of_written(file: &Path) -> String {
    format!("added to `{}`", file.display())
}

/// Returns the note of `init` that all is there.
pub fn of_nothing_to_add(file: &Path) -> String {
    format!("`{}` has all of that already", file.display())
}

/// What keeps forwards of systemd running without a login.
pub const LINGER: &str =
    "systemd ends them with your last login: run `loginctl enable-linger` to keep them, from each boot on";

/// There is nothing to show or to stop.
pub const NOTHING_UP: &str = "no forward is up: `fumidai up NAME` starts one";

/// Returns the note of `up` about a forward.
pub fn of_up(name: &str, local: &str) -> String {
    format!("{name} is up, listening on {local}")
}

/// Returns the note of `down` about a forward.
pub fn of_down(name: &str) -> String {
    format!("{name} is down")
}

/// Returns the note of `restart` about a forward.
pub fn of_restart(name: &str) -> String {
    format!("{name} was restarted")
}

/// Returns the question whether to log in, without its choices.
pub fn of_login_offer(profile: &str, command: &str) -> String {
    format!("profile `{profile}` is not logged in: run `{command}` now?")
}

/// Returns the note about a login that failed.
pub fn of_failed_login(command: &str, why: &str) -> String {
    format!("`{command}` failed: {why}")
}

/// Returns the note about an access request.
pub fn of_approval(event: &ApprovalEvent) -> String {
    match event {
        ApprovalEvent::Requested { id, target } => {
            format!("access to {target} is requested: {id}; waiting for its approval")
        }
        ApprovalEvent::Waiting { id, since } => {
            format!("access request {id}: waiting for its approval, {} s", since.as_secs())
        }
        ApprovalEvent::Approved { id, valid } => {
            let valid = valid.map(|valid| format!(", for {}", minutes(valid))).unwrap_or_default();
            format!("access request {id} is approved{valid}")
        }
        ApprovalEvent::Left { id } => format!(
            "access request {id} stays pending; to go on with it, use `--access-request {id}`, or for ssh \
             `FUMIDAI_ACCESS_REQUEST={id}`"
        ),
    }
}

/// Returns the note of `forward` about a listener.
pub fn of_listener(local: &str, remote: &str, target: &str) -> String {
    format!("listening on {local}, forwarding to {remote} through {target}")
}

/// Returns the warning about a listener that is not bound to loopback.
pub fn of_wide_listener(local: &str) -> String {
    format!("warning: {local} accepts connections from other machines")
}

/// Returns the note about a record that cannot be written.
pub fn of_unwritten_record(error: &StoreError) -> String {
    format!("the audit record cannot be written: {error}")
}

/// Returns the note of `audit show` if it prints no row.
pub fn of_empty_record(file: &Path) -> String {
    format!("no session in `{}` passes the filters", file.display())
}

/// Returns what `audit verify` prints without a record.
pub fn of_no_record(file: &Path) -> String {
    format!("no record exists at `{}`", file.display())
}

/// Returns what `sessions end` prints of a session that has ended.
pub fn of_ended_session(id: &str) -> String {
    format!("{id} has ended")
}

/// Returns what `sessions end` prints if it may not see whether there was such a session.
pub fn of_asked_to_end(id: &str) -> String {
    format!("{id} was asked to end; whether it was open is unknown without `ssm:DescribeSessions`")
}

/// Returns the note of `sessions` if there is none.
pub fn of_no_sessions(region: &str) -> String {
    format!("you have no open session in {region}")
}

/// Returns the note of `sessions end --leaked` if there is none.
pub fn of_no_leaked_sessions(region: &str) -> String {
    format!("no session of this machine was left behind in {region}")
}

/// Returns the note of `token redshift` about the user to log in as.
pub fn of_database_user(user: &str) -> String {
    format!("log in as `{user}`")
}

/// Returns the warning about a variable that programs other than MySQL's read.
pub fn of_mysql_pwd() -> String {
    "warning: MySQL calls `MYSQL_PWD` insecure: other processes of this user can read it".to_owned()
}

/// Returns the note about lines that standard error did not take.
pub fn of_dropped_lines(lines: usize) -> String {
    let lines = if lines == 1 { "1 line was".to_owned() } else { format!("{lines} lines were") };
    format!("{lines} dropped: standard error was not read")
}

/// Returns the note of `list` if it prints no machine; `seen` is their number before the filters.
pub fn of_empty_list(seen: usize, region: &str) -> String {
    match seen {
        0 => format!("no machines in {region}; try another `--region` or `--profile`"),
        1 => format!("the one machine in {region} does not pass the filters"),
        _ => format!("none of the {seen} machines in {region} passes the filters"),
    }
}

/// Returns the note of `list` if one of the services did not answer.
pub fn of_incomplete_list(missing: &ApiError) -> String {
    format!("the list is incomplete: {missing}")
}

/// Returns the note of `list` about the age of its cache.
pub fn of_cached_list(age: Duration) -> String {
    format!("cached {} s ago; use `--no-cache` to ask AWS", age.as_secs())
}

/// Returns the warning of `ssh-config` if ssh reads another ssh_config than the one of `HOME`.
#[cfg(any(unix, test))]
pub fn of_other_home(home: &Path, config: &Path) -> String {
    let (home, config) = (home.display(), config.display());
    format!("`HOME` is `{home}`, but ssh reads `{config}`: use `ssh -F {home}/.ssh/config`")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aws::ApiError;
    use crate::aws::source::LoginKind;

    #[test]
    fn only_a_pause_that_a_user_notices_is_told() {
        assert_eq!(of_link(&Notice::Resumed(Duration::from_secs(2))), None);
        let told = of_link(&Notice::Resumed(Duration::from_millis(3200)));
        assert_eq!(told.as_deref(), Some("reconnected after 4 s, nothing lost"));
    }

    #[test]
    fn ended_credentials_name_the_command_and_the_time_that_is_left() {
        let error = ApiError::NoLogin {
            profile: "prod".into(),
            kind: LoginKind::Sso,
            cause: "the token has expired".into(),
        };
        let text = of_link(&Notice::CredentialsEnded { error, left: Duration::from_secs(830) });
        assert_eq!(
            text.as_deref(),
            Some(
                "link lost, and no usable AWS credentials: the token has expired: run `aws sso login --profile prod`; \
                 resuming is tried for another 14 min"
            )
        );
    }

    #[test]
    fn one_of_a_kind_is_not_a_plural() {
        assert_eq!(of_dropped_lines(1), "1 line was dropped: standard error was not read");
        assert_eq!(of_dropped_lines(2), "2 lines were dropped: standard error was not read");
        assert_eq!(of_empty_list(1, "eu-north-1"), "the one machine in eu-north-1 does not pass the filters");
    }

    #[test]
    fn every_event_of_a_life_has_words() {
        let host = || "bastion".to_owned();
        let texts = [
            LifeEvent::Waiting { host: host(), step: Step::Boot, since: Duration::from_millis(12_900) },
            LifeEvent::Ready { host: host(), after: Duration::from_secs(61) },
            LifeEvent::EndsSoon { host: host(), left: Duration::from_secs(541) },
        ]
        .map(|event| of_life(&event));
        assert_eq!(
            texts,
            [
                "bastion: booting, 12 s",
                "bastion is up after 61 s",
                "bastion will be stopped in 10 min: to go on, run `fumidai bastion extend bastion 1h`",
            ]
        );
    }
}
