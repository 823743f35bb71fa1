//! What `doctor` found, in words: the detail, and the action that mends it.

use crate::doctor::{
    AgentProblem, BastionProblem, Diagnosis, MachineProblem, NetworkProblem, Outcome, SshProblem,
};

use super::{ExitKind, Report};

/// One row of the table.
pub struct Row {
    /// The stable name of the outcome.
    pub status: &'static str,
    /// What was found.
    pub detail: String,
    /// What mends it.
    pub action: Option<String>,
    /// The exit code of a broken link.
    pub exit: ExitKind,
}

/// Words an outcome. `subject` is what was typed.
pub fn of(outcome: &Outcome, subject: &str) -> Row {
    let plain =
        |status, detail: &str| Row { status, detail: detail.to_owned(), action: None, exit: ExitKind::Done };
    match outcome {
        Outcome::Good(text) => plain("ok", text),
        Outcome::Skipped => plain("skipped", "an earlier link is broken"),
        Outcome::Unknown(text) => plain("unknown", text),
        Outcome::Doubtful(diagnosis) => {
            Row { status: "warning", exit: ExitKind::Done, ..words(diagnosis, subject) }
        }
        Outcome::Broken(diagnosis) => words(diagnosis, subject),
    }
}

fn words(diagnosis: &Diagnosis, subject: &str) -> Row {
    match diagnosis {
        Diagnosis::Failed(error) => of_report(&Report::from(&**error)),
        Diagnosis::Ssh(problem) => of_ssh(problem),
        Diagnosis::Network(problem) => of_network(problem),
        Diagnosis::EndsSoon(minutes) => broken(
            ExitKind::Credentials,
            format!("they end in {minutes} min; a session that is cut later cannot be resumed"),
            "log in again first",
        ),
        Diagnosis::Machine(problem) => of_machine(problem, subject),
        Diagnosis::Bastion(problem) => of_bastion(problem, subject),
        Diagnosis::AccessRequest(document) => broken(
            ExitKind::AccessDenied,
            format!(
                "StartSession is denied: `connect` will request access; by AWS's policy an approval is for \
                 `SSM-SessionManagerRunShell` only, not for `{document}`"
            ),
            "ask an administrator whether `ssm:StartSession` on that document can be allowed to you instead",
        ),
        Diagnosis::OpenSessions(count) => broken(
            ExitKind::Failure,
            format!("{count} sessions of yours are open, also those in use"),
            "a session that no client uses ends by its idle time-out",
        ),
    }
}

fn broken(exit: ExitKind, detail: String, action: &str) -> Row {
    Row { status: "broken", detail, action: Some(action.to_owned()), exit }
}

fn of_ssh(problem: &SshProblem) -> Row {
    let row = |detail: String, action: &str| broken(ExitKind::Configuration, detail, action);
    match problem {
        SshProblem::NoSsh => row(
            "there is no OpenSSH client on PATH".to_owned(),
            "install it (Debian: `apt install openssh-client`)",
        ),
        SshProblem::OtherProxyCommand(command) => row(
            match command {
                Some(command) => format!("ssh uses another ProxyCommand for it: {command}"),
                None => "ssh has no ProxyCommand for it".to_owned(),
            },
            "run `fumidai ssh-config --install`; its `Include` must come first in ~/.ssh/config",
        ),
        SshProblem::AliveTooShort { alive, window } => row(
            format!("ssh gives up after {alive} s, a cut link is resumed for {window} s"),
            "set `ServerAliveInterval 30` and `ServerAliveCountMax 30`",
        ),
        SshProblem::LongControlPath(length) => row(
            format!("the socket of ControlPath has a path of {length} bytes, the system allows about 103"),
            "set `ControlPath ~/.ssh/control-%C`",
        ),
    }
}

fn of_network(problem: &NetworkProblem) -> Row {
    let row = |detail: String, action: &str| broken(ExitKind::Failure, detail, action);
    match problem {
        NetworkProblem::Unresolved(error) => row(
            format!("its name cannot be resolved: {error}"),
            "check the DNS and, for a private endpoint, its private DNS name",
        ),
        NetworkProblem::Unreachable(error) => row(
            format!("no connection: {error}"),
            "allow this host in the firewall, or set `HTTPS_PROXY`; docs/security.md lists the hosts",
        ),
        NetworkProblem::Untrusted(error) => row(
            format!("TLS failed: {error}"),
            "if a proxy of your company intercepts TLS, set `AWS_CA_BUNDLE` to its root certificates",
        ),
        NetworkProblem::NotAws(status) => row(
            format!("not AWS answered, but a page that leads elsewhere (HTTP {status})"),
            "log in to the network in a browser (captive portal), or correct the proxy",
        ),
        NetworkProblem::ClockOff(seconds) => Row {
            exit: ExitKind::Credentials,
            ..row(
                format!(
                    "it is {} s {} AWS's clock",
                    seconds.abs(),
                    if *seconds > 0 { "behind" } else { "ahead of" }
                ),
                "set this machine's clock, such as by NTP",
            )
        },
    }
}

fn of_machine(problem: &MachineProblem, subject: &str) -> Row {
    let row = |detail: &str, action: &str| broken(ExitKind::NotConnected, detail.to_owned(), action);
    match problem {
        MachineProblem::NotHere(region) => Row {
            exit: ExitKind::NotFound,
            ..row(
                &format!("EC2 knows no such instance in {region} of this account"),
                "correct the id, or name its region and account: `ID--REGION`, `--region`, `--profile`",
            )
        },
        MachineProblem::NotRunning(state) => row(
            &format!("the instance is {state}"),
            &format!("run `fumidai bastion start {subject}`, or set `start = true` for it"),
        ),
        MachineProblem::SilentPort(port) => Row {
            exit: ExitKind::RemotePort,
            ..row(
                &format!("port {port} is silent: its server waits for the client, or nothing listens there"),
                "check that something listens there; `fumidai forward` reports a refused port at once",
            )
        },
        MachineProblem::Agent(problem) => of_agent(problem),
    }
}

fn of_agent(problem: &AgentProblem) -> Row {
    let row = |detail: &str, action: &str| broken(ExitKind::NotConnected, detail.to_owned(), action);
    match problem {
        AgentProblem::NoInstanceProfile => row(
            "the instance has no instance profile, so its agent may not register",
            "attach an instance profile whose role has `AmazonSSMManagedInstanceCore`",
        ),
        AgentProblem::NeverConnected => row(
            "Systems Manager does not know it: its agent is not installed, not allowed, or has no way out",
            "check the agent, `AmazonSSMManagedInstanceCore` in its role, and its subnet's route to `ssm` and `ssmmessages`",
        ),
        AgentProblem::AgentLost(seconds) => row(
            &format!("its agent was heard last {} min ago", seconds / 60),
            "check that the machine is not overloaded and that the agent runs: `systemctl status amazon-ssm-agent`",
        ),
        AgentProblem::NoMessageChannel => row(
            "its agent reaches `ssm`, but has no connection to `ssmmessages`",
            "open the way from its subnet to `ssmmessages`: an endpoint, its security group, port 443; or restart the agent",
        ),
        AgentProblem::OldAgent(version) => row(
            &format!("the agent has version {version}, which cannot connect to other hosts"),
            "update the agent to 3.1.1188.0 or later",
        ),
    }
}

fn of_bastion(problem: &BastionProblem, subject: &str) -> Row {
    let row = |detail: String, action: &str| broken(ExitKind::Configuration, detail, action);
    let setup = format!("run `fumidai bastion setup {subject}`");
    match problem {
        BastionProblem::NoGuardian(region) => row(format!("no such state machine in {region}"), &setup),
        BastionProblem::NotGuarded(resources) => row(
            format!(
                "it may not change {}: the tag `fumidai:guarded = true` is missing",
                resources.join(", ")
            ),
            &setup,
        ),
        BastionProblem::GroupLeft { group, interface } => row(
            format!("{interface} has {group}, and nothing takes it back"),
            &format!("run `fumidai bastion status --fix {subject}`"),
        ),
    }
}

/// Words a report as a broken link.
pub fn of_report(report: &Report) -> Row {
    let action: Vec<String> = report.hints().map(str::to_owned).collect();
    Row {
        status: "broken",
        detail: report.cause().to_owned(),
        action: (!action.is_empty()).then(|| action.join("; ")),
        exit: report.exit(),
    }
}
