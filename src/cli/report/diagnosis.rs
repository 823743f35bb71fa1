//! What `doctor` found, in words: the detail, and the action that mends it.

use std::time::Duration;

use crate::bastion::Egress;
use crate::doctor::{
    AgentProblem, BastionProblem, Diagnosis, Elsewhere, Lacks, Leftover, MachineProblem, NetworkProblem,
    Outcome, SshProblem,
};
use crate::route::REMOTE_HOST_AGENT;
use crate::transport::{ConnectFault, TlsFault};

use super::super::duration;
use super::api::shell_word;
use super::network::{connect_hint, tls_hint};
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
        Outcome::Noted(text) => plain("noted", text),
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
        Diagnosis::Leftover(leftover) => of_leftover(leftover),
        Diagnosis::NotAllowed(actions) => broken(
            ExitKind::AccessDenied,
            format!("IAM's simulation denies {}", actions.join(", ")),
            &format!(
                "run `fumidai explain {} --policy` to see the permissions that it needs",
                shell_word(subject)
            ),
        ),
        Diagnosis::Elsewhere(elsewhere) => of_elsewhere(elsewhere, subject),
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
                None => "ssh has no ProxyCommand for it: ssh does not use fumidai".to_owned(),
            },
            "run `fumidai ssh-config --install`; its `Include` must come first in ~/.ssh/config",
        ),
        SshProblem::AliveTooShort { alive, window } => row(
            format!("ssh gives up after {alive} s, a cut link is resumed for {window} s"),
            "set `ServerAliveInterval 30` and `ServerAliveCountMax 30`",
        ),
        SshProblem::OtherHome { of_ssh, variable } => row(
            format!(
                "ssh reads {of_ssh}/.ssh, since it ignores `HOME`; fumidai reads the files in {variable}"
            ),
            "run ssh with `-F \"$HOME/.ssh/config\"`, or leave `HOME` as the password file has it",
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
        NetworkProblem::LocalUnreachable(error) => row(
            format!("no connection to this machine: {error}"),
            "start what is to listen there, or correct the setting of the endpoint (`AWS_ENDPOINT_URL`, `--endpoint-url`)",
        ),
        NetworkProblem::PrivateUnreachable { address, error } => row(
            format!("no connection to {address}, an address of a private network: {error}"),
            "connect to that network (VPN), or correct the DNS: only its VPC reaches a private endpoint",
        ),
        NetworkProblem::Proxy { proxy, error } => {
            row(format!("{proxy}: {error}"), connect_hint(error.fault()))
        }
        NetworkProblem::Portal(error) => row(error.clone(), connect_hint(ConnectFault::Portal)),
        NetworkProblem::Untrusted { error, issuer: Some(issuer), fault: TlsFault::Issuer } => row(
            format!("TLS failed: {error}; the certificate is issued by {issuer}, not by Amazon"),
            &format!(
                "if that is a proxy of your company, set `AWS_CA_BUNDLE` to a PEM file with the certificate of {issuer}"
            ),
        ),
        NetworkProblem::Untrusted { error, fault, .. } => {
            row(format!("TLS failed: {error}"), tls_hint(*fault))
        }
        NetworkProblem::NoRoots(error) => row(
            error.clone(),
            "install the system's certificates (Debian: `apt install ca-certificates`), or set `AWS_CA_BUNDLE`",
        ),
        NetworkProblem::NotAws(status) => row(
            format!("an answer that is not AWS's (a captive portal or a proxy?): HTTP {status}"),
            connect_hint(ConnectFault::Portal),
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
        MachineProblem::NotHere { region, others } => {
            Row { exit: ExitKind::NotFound, ..not_here(region, *others) }
        }
        MachineProblem::Role { role, denied } => of_role(role.as_deref(), denied),
        MachineProblem::Egress(egress) => {
            let setup =
                format!("`fumidai bastion setup {}` lists the ways and their prices", shell_word(subject));
            row(&of_egress(egress), &egress_action(egress, &setup))
        }
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
            &match seconds {
                Some(seconds) => format!(
                    "its agent has lost its connection; Systems Manager heard it last {} ago",
                    duration::words(Duration::from_secs(*seconds))
                ),
                None => "its agent has lost its connection".to_owned(),
            },
            "check that the machine is not overloaded and that the agent runs: `systemctl status amazon-ssm-agent`",
        ),
        AgentProblem::NoMessageChannel => row(
            "its agent reaches `ssm`, but has no connection to `ssmmessages`",
            "open the way from its subnet to `ssmmessages`: an endpoint, its security group, port 443; or restart the agent",
        ),
        AgentProblem::OldAgent { version, lacks } => of_old_agent(version, *lacks),
    }
}

fn of_old_agent(version: &str, lacks: Lacks) -> Row {
    let (detail, least) = match lacks {
        Lacks::OtherHosts => ("it cannot connect to other hosts", REMOTE_HOST_AGENT),
        Lacks::OtherHostsButSshd => {
            ("it cannot connect to other hosts, and the hop's sshd is used", REMOTE_HOST_AGENT)
        }
        Lacks::Multiplexing => ("each connection of a forward needs a session of its own", "3.1.0.0"),
    };
    broken(
        ExitKind::RemotePort,
        format!("the agent has version {version}: {detail}"),
        &format!("update the agent to {least} or later: run the document `AWS-UpdateSSMAgent`"),
    )
}

fn not_here(region: &str, others: Option<usize>) -> Row {
    let elsewhere = match others {
        Some(1) => ", nor in the 1 other region that has answered".to_owned(),
        Some(count) if count > 0 => format!(", nor in the {count} other regions that have answered"),
        Some(_) | None => String::new(),
    };
    broken(
        ExitKind::NotFound,
        format!("EC2 knows no such instance in {region} of this account{elsewhere}"),
        match others {
            Some(count) if count > 0 => "correct the id, or use the `--profile` of its account",
            Some(_) | None => {
                "correct the id, or name its region and account: `ID--REGION`, `--region`, `--profile`"
            }
        },
    )
}

fn of_elsewhere(elsewhere: &Elsewhere, subject: &str) -> Row {
    let found: Vec<String> =
        elsewhere.found.iter().map(|(region, id)| format!("in {region} ({id})")).collect();
    let region = elsewhere.found.first().map(|(region, _)| region.as_str()).unwrap_or_default();
    broken(
        ExitKind::NotFound,
        format!("it is not in {}, but {}", elsewhere.region, found.join(", ")),
        &format!("use `{}--{region}`, or `--region {region}`", shell_word(subject)),
    )
}

fn of_role(role: Option<&str>, denied: &[String]) -> Row {
    let attach = |role: &str| {
        let partition = role.split(':').nth(1).unwrap_or("aws");
        let name = role.rsplit('/').next().unwrap_or(role);
        format!(
            "run `aws iam attach-role-policy --role-name {} --policy-arn \
             arn:{partition}:iam::aws:policy/AmazonSSMManagedInstanceCore`",
            shell_word(name)
        )
    };
    match role {
        Some(role) => broken(
            ExitKind::NotConnected,
            format!("the role {role} does not allow its agent {}", denied.join(", ")),
            &attach(role),
        ),
        None => broken(
            ExitKind::NotConnected,
            "the instance profile has no role, so its agent may not register".to_owned(),
            "add a role with `AmazonSSMManagedInstanceCore` to the instance profile",
        ),
    }
}

/// Words how packets get from a subnet to Systems Manager, or why they do not.
pub fn of_egress(egress: &Egress) -> String {
    match egress {
        Egress::Endpoints(endpoints) => format!("by interface endpoints: {}", endpoints.join(", ")),
        Egress::Gateway(gateway) => format!("by {gateway}"),
        Egress::NoPublicAddress { subnet, gateway } => {
            format!("{subnet} has a route to {gateway}, but the instance has no public address")
        }
        Egress::BlackHole { table, gateway } => {
            format!("the default route of {table} leads to {gateway}, which does not exist any more")
        }
        Egress::Missing { subnet, services } => format!(
            "{subnet} has no way to {}: no endpoint, no NAT gateway, no internet gateway",
            services.join(" and ")
        ),
        Egress::Closed { endpoint, service, groups } => format!(
            "the endpoint {endpoint} for {service} has no security group that admits port 443: {}",
            groups.join(", ")
        ),
    }
}

fn egress_action(egress: &Egress, setup: &str) -> String {
    match egress {
        Egress::Closed { groups, .. } => {
            let group = groups.first().map(String::as_str).unwrap_or("GROUP");
            format!(
                "run `aws ec2 authorize-security-group-ingress --group-id {group} --protocol tcp --port 443 --cidr CIDR` \
                 with the addresses of the VPC as CIDR"
            )
        }
        Egress::Missing { services, .. } => {
            format!(
                "make interface endpoints for {} with private DNS, or a NAT gateway; {setup}",
                services.join(" and ")
            )
        }
        Egress::BlackHole { table, .. } => {
            format!("make a NAT gateway, and replace the route `0.0.0.0/0` of {table} by one to it")
        }
        Egress::NoPublicAddress { .. } | Egress::Endpoints(_) | Egress::Gateway(_) => {
            format!("give it a public address, or route the subnet to a NAT gateway; {setup}")
        }
    }
}

fn of_leftover(leftover: &Leftover) -> Row {
    let row = |detail: String, action: &str| broken(ExitKind::Failure, detail, action);
    match leftover {
        Leftover::OpenSessions(count) => row(
            match count {
                1 => "1 session of yours is open; it may be in use".to_owned(),
                _ => format!("{count} sessions of yours are open, also those in use"),
            },
            "run `fumidai sessions` to see which process has each",
        ),
        Leftover::LeakedSessions(ids) => row(
            match ids.as_slice() {
                [id] => format!("1 session is open whose process is gone: {id}"),
                _ => format!("{} sessions are open whose process is gone: {}", ids.len(), ids.join(", ")),
            },
            "run `fumidai sessions end --leaked`",
        ),
        Leftover::StaleSockets(paths) => row(
            format!("nothing listens on {}", paths.join(", ")),
            &format!("run `rm {}`; a forward replaces its socket by itself", paths.join(" ")),
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
        BastionProblem::Unused(state) => row(
            format!("the machine is {state} for its life, and no session is open to it"),
            &format!("wait: its guardian stops it; or run `fumidai bastion stop {}`", shell_word(subject)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_programs_has_each_status() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md");
        let page = std::fs::read_to_string(page).expect("the page");
        let (_, section) = page.split_once("\n## doctor\n").expect("the section");
        let line = section.lines().find(|line| line.starts_with("| `status` |")).expect("the row");
        let problem = || Diagnosis::Leftover(Leftover::OpenSessions(1));
        for outcome in [
            Outcome::Good(String::new()),
            Outcome::Skipped,
            Outcome::Unknown(String::new()),
            Outcome::Noted(String::new()),
            Outcome::Doubtful(problem()),
            Outcome::Broken(problem()),
        ] {
            let status = of(&outcome, "web").status;
            assert!(line.contains(&format!("`{status}`")), "{status}: {line}");
        }
    }

    #[test]
    fn one_session_that_was_left_is_not_a_plural() {
        let detail = |leftover| of_leftover(&leftover).detail;
        let leaked =
            |ids: &[&str]| detail(Leftover::LeakedSessions(ids.iter().map(|id| (*id).to_owned()).collect()));
        assert_eq!(leaked(&["me-1"]), "1 session is open whose process is gone: me-1");
        assert_eq!(leaked(&["me-1", "me-2"]), "2 sessions are open whose process is gone: me-1, me-2");
        assert_eq!(detail(Leftover::OpenSessions(1)), "1 session of yours is open; it may be in use");
    }
}
