//! Typed errors as what the user reads: the exit code, the cause, the hints. A hint is an imperative that can be typed.

use std::io::ErrorKind;

use crate::audit::{Touched, verdict};
use crate::aws::{ApiError, Meaning, Place};
use crate::channel::Refusal;
use crate::config::{ConfigError, Distrust, ValueError};
use crate::forward::BindError;
use crate::forward::plan::PlanError;
use crate::forward::registry::FatalFailure;
use crate::jump::JumpError;
use crate::jump::openssh::OpenSshError;
use crate::names::{Target, TargetError, TargetKind};
use crate::reach::{ReachError, SessionEnd, StoppedTarget};
use crate::route::RouteError;
use crate::running::{DefinitionError, SecretVariable};
use crate::session::{SessionError, Step};

use super::super::running::SupervisorError;
use super::super::ssh_files::InstallError;
use super::api::{credentials_hint, is_explicit_deny, of_api, shell_word};
use super::approval::of_approval;
use super::lookup::of_lookup;
use super::network::{NETWORK, of_dial};
use super::{ExitKind, LocalError, Report, UsageError, host_keys, keys, starting};

const SMALLER_MESSAGES: &str = "the service may refuse large messages: try `--max-payload 1024`";

impl From<&ReachError> for Report {
    fn from(error: &ReachError) -> Self {
        match error {
            ReachError::Aws(error) => of_api(error),
            ReachError::Lookup { error, region } => of_lookup(error, region),
            ReachError::LookupTimedOut { .. } => Self::new(ExitKind::TimedOut, error.to_string())
                .hint(NETWORK)
                .hint("use an id (`i-…`): it is not looked up"),
            ReachError::Stopped(stopped) => of_stopped(stopped),
            ReachError::NoTask { host } => Self::new(ExitKind::NotConnected, error.to_string())
                .hint(format!("run `fumidai bastion start {}`, or leave out `--no-start`", shell_word(host))),
            ReachError::NoReason => Self::new(ExitKind::Usage, error.to_string())
                .hint("give it: `--reason TEXT`, or for ssh the variable `FUMIDAI_REASON`"),
            ReachError::Start(error) => starting::of_start(error),
            ReachError::HopSettings(error) => of_ssh_config(error),
            ReachError::HostKeys(error) => host_keys::of_host_keys(error),
            ReachError::Session { error, to } => of_session(error, to),
            ReachError::Stdio { .. } => Self::new(ExitKind::Failure, error.to_string()),
            ReachError::Hop(error) => of_jump(error),
            ReachError::Key(error) => keys::of_key(error),
        }
    }
}

impl From<ReachError> for Report {
    fn from(error: ReachError) -> Self {
        Self::from(&error)
    }
}

impl From<FatalFailure> for Report {
    fn from(failure: FatalFailure) -> Self {
        Self::from(&*failure.error)
    }
}

fn of_ssh_config(error: &OpenSshError) -> Report {
    Report::new(ExitKind::Configuration, error.to_string())
}

fn of_session(failure: &SessionError, to: &SessionEnd) -> Report {
    let whole = failure.to_string();
    match failure {
        SessionError::Api(error) => of_session_call(error, to),
        SessionError::Approval(error) => of_approval(error, &to.subject),
        SessionError::Host(_) => Report::new(ExitKind::Failure, whole)
            .hint("for your own endpoint, set `AWS_ENDPOINT_URL_SSMMESSAGES` to its URL"),
        SessionError::Dial(error) => of_dial(error),
        SessionError::TimedOut { step, .. } => Report::new(ExitKind::TimedOut, whole).hint(step_hint(*step)),
        SessionError::Lost { suspected_size: Some(_), .. } => {
            Report::new(ExitKind::Lost, whole).hint(SMALLER_MESSAGES)
        }
        SessionError::Lost { suspected_size: None, credentials: Some(error), .. } => {
            Report::new(ExitKind::Lost, whole).hint(credentials_hint(error))
        }
        SessionError::Lost { suspected_size: None, credentials: None, .. } => {
            Report::new(ExitKind::Lost, whole)
        }
        SessionError::RemotePort(text) => of_remote_port(text, to),
        SessionError::Ended { reason, suspected_size } => {
            of_end(whole, &reason.to_string(), *suspected_size, to.is_forward)
        }
        SessionError::Refused(Refusal::Encryption { .. }) => Report::new(ExitKind::Encryption, whole),
        SessionError::Refused(Refusal::IgnoresHost(_)) => {
            Report::new(ExitKind::RemotePort, whole).hint("update the agent to 3.1.1188.0 or later")
        }
        SessionError::Mux(_) => Report::new(ExitKind::Failure, whole)
            .hint("this is a bug in fumidai or in the agent; please report it"),
        SessionError::Refused(
            Refusal::SessionType(_) | Refusal::UnknownAction(_) | Refusal::TooManyActions(_),
        )
        | SessionError::NotAPort => Report::new(ExitKind::Failure, whole)
            .hint("`--document` must name a document of type `Port` such as `AWS-StartSSHSession`"),
        SessionError::Panic(_) => {
            Report::new(ExitKind::Failure, whole).hint("this is a bug in fumidai; please report it")
        }
    }
}

fn of_remote_port(text: &str, to: &SessionEnd) -> Report {
    let SessionEnd { machine, port, .. } = to;
    let from = to.through.as_ref().map(|hop| format!(" from `{hop}`")).unwrap_or_default();
    let cause = format!("port {port} of `{machine}` cannot be reached{from}: {text}");
    let report = Report::new(ExitKind::RemotePort, cause);
    if text.contains("forbidden") {
        return report.hint(
            "use another address: agents do not forward to the instance metadata and to the VPC's resolver",
        ).hint("for a port of the target itself, leave out the host: `-L PORT:HOSTPORT`");
    }
    let asker = to.through.as_ref().unwrap_or(&to.subject);
    if text.contains("no such host") {
        return report
            .hint(format!("check the name `{machine}`: the resolver of `{asker}` does not know it"));
    }
    let report = report.hint(format!("check that something listens on port {port} there"));
    match &to.through {
        Some(hop) => report.hint(format!("check that `{hop}` can resolve and reach `{machine}`")),
        None => report,
    }
}

/// The error of a call that belongs to a session.
fn of_session_call(error: &ApiError, to: &SessionEnd) -> Report {
    let whole = error.to_string();
    match error.meaning() {
        Meaning::AccessDenied if !is_explicit_deny(error) && !error.is_of("AssumeRole") => {
            let subject = shell_word(&to.subject);
            Report::new(ExitKind::AccessDenied, whole).hint(format!(
                "run `fumidai explain {subject} --policy` to see the permissions that it needs"
            ))
        }
        Meaning::TargetNotConnected => not_connected(whole, to),
        Meaning::Other if whole.contains("advanced-instances tier") => Report::new(ExitKind::Failure, whole)
            .hint(
                "`mi-…` needs the advanced-instances tier: run `aws ssm update-service-setting --setting-id \
                 /ssm/managed-instance/activation-tier --setting-value advanced` (it costs money)",
            ),
        Meaning::Settings
        | Meaning::Credentials
        | Meaning::AccessDenied
        | Meaning::DoesNotExist
        | Meaning::Transient
        | Meaning::Other => of_api(error),
    }
}

fn not_connected(whole: String, to: &SessionEnd) -> Report {
    let place = to.place.as_ref().map(place).unwrap_or_default();
    let report = Report::new(ExitKind::NotConnected, whole);
    if to.is_stopped {
        return stopped_hints(report, &to.subject, place.trim_start());
    }
    let kind = to.target.as_ref().map(Target::kind);
    if kind == Some(TargetKind::Container) {
        return report
            .hint(format!("check that the task runs and was started with execute-command{place}"))
            .hint(
                "use `ecs:CLUSTER/SERVICE/CONTAINER`: it finds the running task, and names what is missing",
            );
    }
    let doubt = to.target.as_ref().and_then(Target::unusual_form);
    report.hint(format!("check that the machine runs, and that its agent is online{place}")).hint(
        doubt.unwrap_or_else(|| {
            let subject = shell_word(&to.subject);
            format!("run `fumidai doctor {subject}`: it finds out which of the many causes it is")
        }),
    )
}

/// ` in REGION of account ACCOUNT (profile PROFILE)`, as far as it is known.
fn place(place: &Place) -> String {
    let region = place.region.as_ref().map(|region| format!(" in {region}"));
    let account = place.account.as_ref().map(|account| format!(" of account {account}"));
    let profile = match &place.profile {
        Some(profile) => format!(" (profile `{profile}`)"),
        None => " (no profile named)".to_owned(),
    };
    format!("{}{}{profile}", region.unwrap_or_default(), account.unwrap_or_default())
}

fn of_jump(error: &JumpError) -> Report {
    let whole = error.to_string();
    match error {
        JumpError::Auth(failure) => {
            let report = Report::new(ExitKind::SshAuth, whole);
            let report = failure.problems.iter().fold(report, |report, one| report.detail(one.to_string()));
            report.hint(match &failure.disconnected {
                Some(_) => "set `IdentitiesOnly yes` for the hop in ssh_config, so that fewer keys are tried",
                None => "run `ssh -v` to the hop to see the keys that it is offered",
            })
        }
        JumpError::HostKeyUnknown { facts } => Report::new(ExitKind::SshAuth, whole).hint(format!(
            "compare it, then log in to `{}` by ssh once, or set `StrictHostKeyChecking accept-new` for it",
            facts.hop
        )),
        JumpError::HostKeyChanged { facts, .. } => Report::new(ExitKind::SshAuth, whole)
            .hint("ask the administrator of the hop: the connection may be intercepted")
            .hint(format!("if the hop was reinstalled, run `ssh-keygen -R {}`", shell_word(&facts.host))),
        JumpError::HostKeyOfSource { facts, .. } => Report::new(ExitKind::SshAuth, whole)
            .hint("do not connect unless you know why: another machine may answer in its place")
            .hint(format!(
                "if its keys were replaced, run `fumidai host-keys --renew {}`",
                shell_word(&facts.hop)
            )),
        JumpError::KnownHostsCommand { .. } => Report::new(ExitKind::SshAuth, whole)
            .hint("run the command of `KnownHostsCommand` in ssh_config by hand to see why"),
        JumpError::HostKeyRevoked { .. } => {
            Report::new(ExitKind::SshAuth, whole).hint("do not connect; ask the administrator of the hop")
        }
        JumpError::HostKeyRefused { .. } => Report::new(ExitKind::SshAuth, whole)
            .hint("check `HostKeyAlgorithms`, `RequiredRSASize` and `RevokedHostKeys` in ssh_config"),
        JumpError::HostCertificate { .. } => {
            Report::new(ExitKind::SshAuth, whole).hint("ask who signs the host keys")
        }
        JumpError::ChannelRefused { hop, host, port, .. } => Report::new(ExitKind::RemotePort, whole)
            .hint(format!("check that `{hop}` can reach {host}:{port}"))
            .hint(format!("check that `AllowTcpForwarding` is on in the sshd_config of `{hop}`")),
        JumpError::Protocol { .. } => {
            Report::new(ExitKind::Failure, whole).hint("check that sshd listens on that port")
        }
        JumpError::Io { .. } | JumpError::Ended { .. } => Report::new(ExitKind::Lost, whole),
        JumpError::Timeout { .. } => {
            Report::new(ExitKind::TimedOut, whole).hint("use `--connect-timeout` to wait longer")
        }
    }
}

fn of_stopped(stopped: &StoppedTarget) -> Report {
    let StoppedTarget { destination, target, region } = stopped;
    let id = target.id();
    let cause = format!("`{destination}` is stopped ({id} in {region})");
    stopped_hints(Report::new(ExitKind::NotConnected, cause), &destination.to_string(), "")
}

fn stopped_hints(report: Report, name: &str, place: &str) -> Report {
    let it_is = if place.is_empty() { String::new() } else { format!("it is stopped {place}: ") };
    report
        .hint(format!("{it_is}run `fumidai bastion start {}`, or use `--start`", shell_word(name)))
        .hint("set `start = true` for it in the config file to start it whenever it is needed")
}

fn of_end(whole: String, reason: &str, suspected_size: Option<usize>, is_forward: bool) -> Report {
    let report = Report::new(ExitKind::EndedByFarSide, whole);
    let was_idle = reason.contains("timed out due to inactivity");
    match (suspected_size, was_idle, is_forward) {
        (Some(_), ..) => report.hint(SMALLER_MESSAGES),
        (None, true, true) => report.hint("use `--hold` to keep a session with open connections active"),
        (None, true, false) => {
            report.hint("set `ServerAliveInterval 30` in ssh_config to keep the session active")
        }
        (None, false, _) => report,
    }
}

fn step_hint(step: Step) -> &'static str {
    match step {
        Step::Start | Step::Open => NETWORK,
        Step::HandshakeRequest | Step::HandshakeComplete => {
            "the agent on the target may be overloaded or stopped; use `--connect-timeout` to wait longer"
        }
    }
}

impl From<ConfigError> for Report {
    fn from(error: ConfigError) -> Self {
        let cause = error.to_string();
        match error {
            // A region is a setting of AWS's files too, where the same text is a wrong configuration.
            ConfigError::Unreadable { .. }
            | ConfigError::Invalid { .. }
            | ConfigError::Variable { source: ValueError::NotARegion(_), .. } => {
                Self::new(ExitKind::Configuration, cause)
            }
            ConfigError::Untrusted { place, why: Distrust::Writable, .. } => {
                Self::new(ExitKind::Configuration, cause)
                    .hint(format!("run `chmod go-w {}`", place.display()))
            }
            ConfigError::Untrusted { place, why: Distrust::Owner(_), .. } => {
                let hint =
                    format!("run `sudo chown \"$(id -u)\" {}`, if its contents are yours", place.display());
                Self::new(ExitKind::Configuration, cause).hint(hint)
            }
            ConfigError::Variable { .. } => Self::new(ExitKind::Usage, cause),
        }
    }
}

impl From<RouteError> for Report {
    fn from(error: RouteError) -> Self {
        let cause = error.to_string();
        match error {
            RouteError::Target(error) => error.into(),
            RouteError::Cycle { by_flag: true, .. } => Self::new(ExitKind::Usage, cause)
                .hint("name other hops: no machine can be reached through itself"),
            RouteError::Cycle { by_flag: false, .. } => Self::new(ExitKind::Configuration, cause),
            RouteError::NotTheFirstHop { .. } => {
                Self::new(ExitKind::Configuration, cause).hint("write `route = \"ssh\"`, or remove `route`")
            }
            RouteError::SessionBehindHop { .. } => {
                Self::new(ExitKind::Configuration, cause).hint(host_keys::SOURCES_BEHIND_HOP)
            }
            RouteError::NoAddress { .. } => Self::new(ExitKind::Usage, cause)
                .hint("add it to the config file, with `address` as the hop sees it"),
        }
    }
}

impl From<PlanError> for Report {
    fn from(error: PlanError) -> Self {
        let cause = error.to_string();
        match error {
            PlanError::Route(error) => error.into(),
            PlanError::TargetCount(_) => Self::new(ExitKind::Usage, cause),
            PlanError::Nothing { known } if !known.is_empty() => {
                let report = Self::new(ExitKind::Usage, cause);
                let report = known.into_iter().fold(report, Self::detail);
                report.hint("run `fumidai forward NAME` for one of these, or `fumidai forward --all`")
            }
            PlanError::NoForwards | PlanError::Nothing { .. } => {
                Self::new(ExitKind::Usage, cause).hint("use `-L PORT:HOST:HOSTPORT` and a target")
            }
            PlanError::Unknown { nearest: Some(known), .. } => {
                Self::new(ExitKind::Configuration, cause).hint(format!("did you mean `{known}`?"))
            }
            PlanError::Unknown { nearest: None, .. } => Self::new(ExitKind::Configuration, cause)
                .hint("for a target, add what to forward: `-L PORT:HOST:HOSTPORT`"),
        }
    }
}

impl From<BindError> for Report {
    fn from(error: BindError) -> Self {
        let report = Self::new(ExitKind::Failure, error.to_string());
        let kind = error.source.kind();
        if kind == ErrorKind::AddrInUse {
            return report.hint("use another port, or port 0 for a free one");
        }
        if kind == ErrorKind::PermissionDenied {
            return report.hint("use a port from 1024 on: lower ones need root");
        }
        report
    }
}

impl From<InstallError> for Report {
    fn from(error: InstallError) -> Self {
        let report = Self::new(ExitKind::Failure, error.to_string());
        match error {
            InstallError::NotOurs { .. } => report.hint("move that file away, or remove it, and try again"),
            InstallError::Path { .. } => {
                report.hint("run `fumidai ssh-config`, and put what it prints into a file that ssh reads")
            }
            InstallError::NotAFile { .. } => report
                .hint("replace it by a regular file, or use `fumidai ssh-config`, which prints the text"),
            InstallError::Io { source, .. } if source.kind() != ErrorKind::PermissionDenied => report,
            InstallError::Io { .. } => report
                .hint("check that you own and may write that file and its folder: `ls -ld ~ ~/.ssh`")
                .hint("use `fumidai ssh-config`, which prints the text, and keep it elsewhere"),
        }
    }
}

impl From<LocalError> for Report {
    fn from(error: LocalError) -> Self {
        let is_missing = matches!(error, LocalError::NoSession { .. });
        let exit = if is_missing { ExitKind::NotFound } else { ExitKind::Failure };
        let report = Self::new(exit, error.to_string());
        match error {
            LocalError::ReadyFd { .. } => {
                report.hint("the descriptor must be open for writing in this process")
            }
            LocalError::Descriptors(_) => {
                report.hint("allow more open files: `ulimit -n 1024`, or close some")
            }
            LocalError::Record(_) => report
                .hint("check the permissions: the file and its folder must be yours, mode 0600 and 0700"),
            LocalError::NoSession { .. } => report
                .hint("run `fumidai sessions` to see the open ones")
                .hint("if it is in another region or account, use `--region` or `--profile`"),
            LocalError::NoState => report.hint("set `HOME`, or `XDG_STATE_HOME` to a folder of yours"),
            LocalError::Page { .. } => report.hint("write the page to another folder: `--html FILE`"),
            LocalError::ConfigPath { .. } => report.hint("rename that file, or set `FUMIDAI_CONFIG`"),
            LocalError::ConfigWrite { .. }
            | LocalError::Runtime(_)
            | LocalError::Signals(_)
            | LocalError::Stdout(_)
            | LocalError::Exec { .. }
            | LocalError::NoHome
            | LocalError::OwnPath(_) => report,
        }
    }
}

impl From<SupervisorError> for Report {
    fn from(error: SupervisorError) -> Self {
        const FOREGROUND: &str = "run `fumidai forward NAME`, which stays in the foreground";
        let report = Self::new(ExitKind::Failure, error.to_string());
        match error {
            SupervisorError::None(_) => report.hint(FOREGROUND).hint(
                "log in as that user, not by `su` or `sudo`: systemd's user instance begins with a login",
            ),
            SupervisorError::Failed { name: Some(name), .. } => {
                let name = shell_word(&name);
                report.hint(format!("run `fumidai logs {name}`: it has the cause"))
            }
            SupervisorError::Failed { name: None, .. } => report,
            SupervisorError::NotUp { name } => report.hint(format!("run `fumidai up {}`", shell_word(&name))),
            SupervisorError::Keys { .. } => Self { exit: ExitKind::Credentials, ..report }
                .hint("name a profile: `--profile NAME`, or `profile` in the config file")
                .hint(FOREGROUND),
            SupervisorError::Secret(SecretVariable { name }) => report.hint(format!(
                "unset `{name}` here, and set it in `~/.config/environment.d/` (macOS: `launchctl setenv`)"
            )),
            SupervisorError::SecretFlag => report.hint("set `endpoint_url` in the config file"),
            SupervisorError::Definition(DefinitionError::NotOurs { .. }) => {
                report.hint("move that file away, or remove it, and try again")
            }
            SupervisorError::Path(_)
            | SupervisorError::NoFolder
            | SupervisorError::Definition(DefinitionError::Io { .. }) => report,
        }
    }
}

impl From<Touched> for Report {
    fn from(touched: Touched) -> Self {
        Self::new(ExitKind::Failure, verdict(&Err(touched)))
            .hint("compare it with AWS's own: run `fumidai audit show --cloudtrail`")
            .hint("to begin a new record, move the files `audit*` of that folder to another one")
    }
}

impl From<UsageError> for Report {
    fn from(error: UsageError) -> Self {
        let report = Self::new(ExitKind::Usage, error.to_string());
        match error {
            UsageError::ViaForEveryHost => {
                report.hint("write `via` for the hosts of the config file that need it")
            }
            UsageError::PasswordForEveryHost => {
                report.hint("set `AWS_ENDPOINT_URL`, or `endpoint_url` in the config file")
            }
            UsageError::NotConfirmed => report.hint("answer `y` on a terminal, or use `--yes`"),
            UsageError::CommandLine { .. } => {
                report.hint("run `fumidai COMMAND --help` to see the valid forms")
            }
            UsageError::Dismissed => report.hint("run `fumidai init` again, or give the answers by flags"),
            UsageError::NothingToAskOn { .. } | UsageError::NoInput { .. } => {
                report.hint("run `fumidai init --help`: every question is a flag too")
            }
            UsageError::NoPage { command, .. } => {
                let hint = format!("run `fumidai {command} --help` to see its commands");
                report.hint(hint)
            }
            UsageError::Taken { table: "forwards", .. } => {
                report.hint("use another name: `--forward-name NAME`")
            }
            UsageError::Taken { .. } => report.hint("use another name: `--name NAME`"),
            UsageError::NoUser => report.hint("name the database user: `--user USER`"),
            UsageError::NoExec => report
                .hint("write the command behind `--exec`")
                .hint("or add `exec = \"…\"` to `[forwards.NAME]`, and run `fumidai forward NAME --exec`"),
            UsageError::NotForToken { missing, .. } => report.hint(format!(
                "add `{missing}` to the forward; a token needs the database's own host and a user"
            )),
            UsageError::PortOfForward { .. } => report,
            UsageError::NoSession => report
                .hint("write the ids that `fumidai sessions` lists")
                .hint("run `fumidai sessions end --leaked` to end those whose process is gone"),
            UsageError::ExecBeforeName { name } => {
                report.hint(format!("write the name first: `fumidai forward {} --exec`", shell_word(&name)))
            }
            UsageError::NotAPort { host, .. } | UsageError::NoPort { host } => report.hint(format!(
                "write the database's own port: `{}:3306` for MySQL, `{}:5432` for PostgreSQL",
                shell_word(&host),
                shell_word(&host)
            )),
            UsageError::NotADatabase { nearest: Some(known), .. } => {
                report.hint(format!("did you mean `{known}`?"))
            }
            UsageError::NotADatabase { nearest: None, .. } => report
                .hint("write the database's own name and port: `HOST:PORT`")
                .hint("run `fumidai forward` without a name to see the forwards of the config file"),
        }
    }
}

impl From<TargetError> for Report {
    fn from(error: TargetError) -> Self {
        let report = Self::new(ExitKind::Usage, error.to_string());
        match error {
            TargetError::NearMiss { meant, .. } => report.hint(format!("did you mean `{meant}`?")),
            TargetError::Container { .. } => {
                report.hint("RUNTIME is the runtime id that `aws ecs describe-tasks` shows")
            }
            TargetError::IdLength { id, .. } | TargetError::IdCharacter { id, .. } if is_worded(&id) => {
                report.hint(format!("if it is the value of the Name tag, use {}", tag_of(&id)))
            }
            TargetError::Empty { .. }
            | TargetError::Tag { .. }
            | TargetError::NoUser { .. }
            | TargetError::SageMaker { .. }
            | TargetError::IdLength { .. }
            | TargetError::IdCharacter { .. } => report.hint("use the form `[USER@]TARGET[--REGION]`"),
        }
    }
}

/// Returns true if what follows the prefix of an id has letters that no id has.
fn is_worded(id: &str) -> bool {
    let rest = id.split_once('-').map_or(id, |(_, rest)| rest);
    rest.chars().any(|c| c.is_alphabetic() && !c.is_ascii_hexdigit())
}

fn tag_of(name: &str) -> String {
    format!("`{}`", shell_word(&format!("tag:Name={name}")))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::names::Destination;

    #[test]
    fn a_wrong_file_is_configuration_and_a_wrong_variable_is_usage() {
        let file = ConfigError::Invalid {
            file: PathBuf::from("c.toml"),
            line: 2,
            column: 3,
            message: "unknown key `x`".into(),
        };
        let report = Report::from(file);
        assert_eq!(report.exit(), ExitKind::Configuration);
        assert_eq!(report.render(), "fumidai: c.toml:2:3: unknown key `x`\n");
        let variable = ConfigError::Variable { name: "AWS_ENDPOINT_URL", source: ValueError::NotAUrl };
        assert_eq!(Report::from(variable).exit(), ExitKind::Usage);
    }

    #[test]
    fn a_target_that_is_none_is_usage_with_a_hint() {
        for (text, hint) in [
            ("I-0123", "did you mean `i-0123`?"),
            ("i-0123.us-east-1", "did you mean `i-0123--us-east-1`?"),
            ("i-am-a-host", "if it is the value of the Name tag, use `tag:Name=i-am-a-host`"),
            ("i-prod web", "if it is the value of the Name tag, use `'tag:Name=i-prod web'`"),
            ("i-01-23", "use the form `[USER@]TARGET[--REGION]`"),
            ("ecs:a", "RUNTIME is the runtime id"),
            ("tag:web", "use the form `[USER@]TARGET[--REGION]`"),
            ("i-", "use the form `[USER@]TARGET[--REGION]`"),
        ] {
            let report = Report::from(text.parse::<Destination>().expect_err(text));
            assert_eq!(report.exit(), ExitKind::Usage);
            assert!(report.render().contains(&format!("\nfumidai: hint: {hint}")), "{}", report.render());
        }
    }

    fn end(id: &str) -> SessionEnd {
        let destination: Destination = id.parse().expect(id);
        let crate::names::Name::Id(target) = destination.name() else { panic!("{id}") };
        SessionEnd {
            target: Some(target.clone()),
            machine: id.into(),
            port: 22,
            through: None,
            is_forward: false,
            subject: id.into(),
            entry: Some(target.clone()),
            is_stopped: false,
            place: Some(Place {
                profile: Some("prod".into()),
                region: Some("eu-west-1".into()),
                account: Some("123456789012".into()),
            }),
        }
    }

    fn service(code: &str, message: &str) -> ApiError {
        ApiError::Service {
            operation: "StartSession",
            code: code.into(),
            message: message.into(),
            status: 400,
        }
    }

    fn rendered(error: ApiError, id: &str) -> String {
        of_session(&SessionError::Api(error), &end(id)).render()
    }

    #[test]
    fn a_target_that_is_not_connected_is_placed() {
        let text = rendered(service("TargetNotConnected", "not connected"), "i-0123456789abcdef0");
        let place = "in eu-west-1 of account 123456789012 (profile `prod`)";
        assert!(text.contains(&format!("agent is online {place}\n")), "{text}");
        let text = rendered(service("TargetNotConnected", "not connected"), "ecs:a_b_c-1");
        assert!(text.contains("the task runs and was started with execute-command in eu-west-1"), "{text}");
        assert!(!text.contains("AmazonSSMManagedInstanceCore"), "{text}");
        let text = rendered(service("TargetNotConnected", "not connected"), "i-prod");
        assert!(text.contains("use `tag:Name=i-prod`"), "{text}");
    }

    #[test]
    fn a_denial_has_the_hint_that_helps() {
        let text = rendered(service("AccessDeniedException", "no policy allows it"), "i-0123456789abcdef0");
        assert!(text.contains("hint: run `fumidai explain i-0123456789abcdef0 --policy`"), "{text}");
        let denied = "with an explicit deny in a service control policy";
        let text = rendered(service("AccessDeniedException", denied), "i-0123456789abcdef0");
        assert!(text.contains("adding one does not help") && !text.contains("--policy"), "{text}");
        let role = ApiError::Service {
            operation: "AssumeRole",
            code: "AccessDenied".into(),
            message: "no".into(),
            status: 403,
        };
        assert!(rendered(role, "i-0123").contains("trust policy"));
    }

    #[test]
    fn a_wrong_clock_and_a_missing_tier_are_called_that() {
        for error in [
            service(
                "InvalidSignatureException",
                "Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z",
            ),
            service("InvalidSignatureException", "Signature not yet current: 2026 is still later than 2025"),
            service("RequestTimeTooSkewed", "m"),
        ] {
            let report = of_session(&SessionError::Api(error), &end("i-0123456789abcdef0"));
            assert_eq!(report.exit(), ExitKind::Credentials);
            assert!(report.render().contains("set this machine's clock"), "{}", report.render());
        }
        let wrong_key = service("InvalidSignatureException", "The request signature does not match");
        assert!(!rendered(wrong_key, "i-0123456789abcdef0").contains("clock"));
        let tier = "Enable advanced-instances tier to use Session Manager with your on-premises instances";
        let text = rendered(service("BadRequest", tier), "mi-0123456789abcdef0");
        assert!(text.contains("hint: `mi-…` needs the advanced-instances tier: run `aws ssm "), "{text}");
    }

    #[test]
    fn a_destination_that_cannot_be_reached_is_named_with_its_hint() {
        let to = SessionEnd {
            machine: "nosuch.internal".into(),
            port: 80,
            through: Some("web".into()),
            is_forward: true,
            subject: "web".into(),
            ..end("i-0123")
        };
        let text = |text: &str| of_session(&SessionError::RemotePort(text.into()), &to).render();
        let unknown = text("lookup nosuch.internal on 10.0.0.2:53: no such host");
        assert!(
            unknown.starts_with("fumidai: port 80 of `nosuch.internal` cannot be reached from `web`: "),
            "{unknown}"
        );
        assert!(
            unknown.contains("hint: check the name `nosuch.internal`: the resolver of `web`"),
            "{unknown}"
        );
        let forbidden = text("Forwarding to IP address 169.254.169.254 is forbidden.");
        assert!(forbidden.contains("hint: use another address"), "{forbidden}");
        assert!(!forbidden.contains("listens"), "{forbidden}");
    }
}
