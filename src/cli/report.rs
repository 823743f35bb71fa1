//! The only printer of errors, and the only place that knows exit codes and hints.
//!
//! Under ssh our last lines on standard error are all a user has, so they have a fixed form: details, then the cause in
//! one line that starts `fumidai: `, then at most two hints. The cause also goes to the log, since ssh may have sent
//! standard error to `/dev/null`. Other layers return typed errors, which become a [`Report`] here.

use std::io::Write;
use std::process::ExitCode;

use crate::aws::{ApiError, Meaning};
use crate::channel::Refusal;
use crate::config::ConfigError;
use crate::jump::JumpError;
use crate::names::ecs::EcsError;
use crate::names::lookup::LookupError;
use crate::names::{Candidate, Destination, ResolveError, Target, TargetError};
use crate::session::{SessionError, Step};
use crate::transport::DialError;

use super::chain::ChainError;
use super::stderr::Stderr;
use crate::escape::{cut, escape};

/// More hints than this bury the cause.
const MOST_HINTS: usize = 2;

/// What is told when the far side ended a session right after a probe of a larger message size.
const SMALLER_MESSAGES: &str = "the service may refuse large messages: try `--max-payload 1024`";

/// What is told where something does not exist.
const ELSEWHERE: &str =
    "is it in another region or account? `NAME--REGION`, `--region` and `--profile` say where";

/// A message is shown whole, AWS's longest included; what is longer was not written to be read.
const LONGEST_LINE: usize = 4096;

const CERTIFICATE_HINT: &str = "if a proxy of your company opens TLS, name its roots in `AWS_CA_BUNDLE`";

/// How a run ended, as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// Done.
    Done,
    /// An unexpected failure, or an AWS error that has no code here.
    Failure,
    /// The command line, or a variable that stands for a part of it.
    Usage,
    /// The config file, or a setting that is nowhere.
    Configuration,
    /// No usable credentials, or expired ones.
    Credentials,
    /// Denied by IAM, an SCP or a session policy.
    AccessDenied,
    /// No such target.
    NotFound,
    /// More than one such target.
    Ambiguous,
    /// The target is stopped or its agent is not connected.
    NotConnected,
    /// The remote port refused or could not be reached.
    RemotePort,
    /// A step took too long; the message says which.
    TimedOut,
    /// The session was cut and could not be resumed in the window.
    Lost,
    /// The far side ended the session before its time.
    EndedByFarSide,
    /// ssh authentication or a host key, on a built-in hop.
    SshAuth,
    /// Session encryption (KMS).
    Encryption,
    /// Ended by the signal of that number.
    Signal(u8),
}

impl ExitKind {
    /// Nobody reads our output any more: what SIGPIPE would have made of it, in silence.
    pub const READER_GONE: Self = Self::Signal(13);

    /// Returns the code that the process exits with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Credentials => 10,
            Self::AccessDenied => 11,
            Self::NotFound => 12,
            Self::Ambiguous => 13,
            Self::NotConnected => 14,
            Self::RemotePort => 15,
            Self::TimedOut => 16,
            Self::Lost => 17,
            Self::EndedByFarSide => 18,
            Self::SshAuth => 19,
            Self::Encryption => 20,
            Self::Signal(number) => 128_u8.saturating_add(number),
        }
    }
}

impl From<ExitKind> for ExitCode {
    fn from(kind: ExitKind) -> Self {
        Self::from(kind.code())
    }
}

/// What a session is called when it is told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionName<'a> {
    /// What it was opened to, if that was found.
    pub target: Option<&'a Target>,
    /// The machine, in the user's words.
    pub place: &'a str,
    /// The port there.
    pub port: u16,
    /// It carries a forward, and not one stream of ssh's.
    pub forward: bool,
}

/// What the user is told about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    details: Vec<String>,
    cause: String,
    hints: Vec<String>,
    exit: ExitKind,
}

impl Report {
    /// Starts from the cause: one sentence in lower case with the AWS error code where there is one.
    pub fn new(exit: ExitKind, cause: impl Into<String>) -> Self {
        Self { details: Vec::new(), cause: cause.into(), hints: Vec::new(), exit }
    }

    /// Adds a line that stands before the cause, such as one candidate of several.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Adds what the user can do; the first two are shown.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// Returns how the run ends with this report.
    pub fn exit(&self) -> ExitKind {
        self.exit
    }

    /// Returns the cause as it was given, for the audit and the log.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Returns the hints that are shown.
    pub fn hints(&self) -> impl Iterator<Item = &str> {
        self.hints.iter().take(MOST_HINTS).map(String::as_str)
    }

    /// Tells the log and the user, and returns the exit code. A standard error that is closed changes nothing.
    pub fn print(&self) -> ExitCode {
        tracing::error!(exit = self.exit.code(), "{}", self.cause);
        // `Stderr` never fails: whoever closed it does not want to know.
        let _ = Stderr.write_all(self.render().as_bytes());
        self.exit.into()
    }

    /// Writes the report as its lines; everything in it may be somebody else's text and is escaped.
    fn render(&self) -> String {
        let mut lines = String::new();
        let mut push = |prefix: &str, text: &str| {
            lines.push_str(prefix);
            lines.push_str(cut(escape(text).trim_end(), LONGEST_LINE).as_ref());
            lines.push('\n');
        };
        // The indent keeps a detail from ever starting like the cause.
        self.details.iter().for_each(|detail| push("  ", detail));
        push("fumidai: ", &self.cause);
        self.hints.iter().take(MOST_HINTS).for_each(|hint| push("fumidai: hint: ", hint));
        lines
    }
}

/// A layer that must not know of reports may hand one through.
impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Report {}

impl Report {
    /// What is told of a session that failed.
    pub(super) fn of_session(failure: &SessionError, name: &SessionName<'_>) -> Self {
        let SessionName { target, place, port, forward } = *name;
        let whole = failure.to_string();
        match failure {
            SessionError::Unprepared { error, .. } => match error.downcast_ref::<Self>() {
                Some(report) => report.clone(),
                None => Self::new(ExitKind::Failure, whole),
            },
            SessionError::Api(error) => Self::of_api(error, target),
            SessionError::Host(_) => Self::new(ExitKind::Failure, whole)
                .hint("for an endpoint of your own, name its host in `AWS_ENDPOINT_URL_SSMMESSAGES`"),
            SessionError::Dial(error) => Self::of_dial(error),
            SessionError::TimedOut { step, .. } => {
                Self::new(ExitKind::TimedOut, whole).hint(step_hint(*step))
            }
            SessionError::Lost { suspected_size: Some(_), .. } => {
                Self::new(ExitKind::Lost, whole).hint(SMALLER_MESSAGES)
            }
            SessionError::Lost { suspected_size: None, .. } => Self::new(ExitKind::Lost, whole),
            SessionError::RemotePort(text) => {
                Self::new(ExitKind::RemotePort, format!("port {port} of `{place}` cannot be reached: {text}"))
                    .hint(format!("is something listening on port {port} there?"))
            }
            SessionError::Ended { reason, suspected_size } => {
                Self::of_end(whole, reason, *suspected_size, forward)
            }
            SessionError::Refused(Refusal::Encryption { .. }) => Self::new(ExitKind::Encryption, whole),
            SessionError::Refused(Refusal::IgnoresHost(_)) => {
                Self::new(ExitKind::RemotePort, whole).hint("update the agent to 3.1.1188.0 or later")
            }
            SessionError::Mux(_) => Self::new(ExitKind::Failure, whole)
                .hint("this is a bug in fumidai or the agent; please report it"),
            SessionError::Refused(Refusal::SessionType(_) | Refusal::UnknownAction(_))
            | SessionError::NotAPort => Self::new(ExitKind::Failure, whole)
                .hint("`--document` must name a document of type `Port` such as `AWS-StartSSHSession`"),
            SessionError::Stdio { .. } => Self::new(ExitKind::Failure, whole),
            SessionError::Panic(_) => {
                Self::new(ExitKind::Failure, whole).hint("this is a bug in fumidai; please report it")
            }
        }
    }

    /// What is told of a hop that could not be used.
    pub(super) fn of_jump(error: &JumpError) -> Self {
        let whole = error.to_string();
        let login = |report: Self| report.hint("`ssh -v` to the hop shows what it offers and takes");
        match error {
            JumpError::Auth(failure) => {
                let report = Self::new(ExitKind::SshAuth, whole);
                let report =
                    failure.problems.iter().fold(report, |report, one| report.detail(one.to_string()));
                match &failure.hung_up {
                    Some(_) => report.hint("`IdentitiesOnly yes` for the hop in ssh_config tries fewer keys"),
                    None => login(report),
                }
            }
            JumpError::HostKeyUnknown { facts } => Self::new(ExitKind::SshAuth, whole).hint(format!(
                "compare it, and log in to `{}` by ssh once, or `StrictHostKeyChecking accept-new` for it",
                facts.hop
            )),
            JumpError::HostKeyChanged { facts, .. } => Self::new(ExitKind::SshAuth, whole)
                .hint("somebody may be in between: ask whoever runs the hop")
                .hint(format!("if it was installed anew: `ssh-keygen -R {}`", shell_word(&facts.host))),
            JumpError::HostKeyRevoked { .. } => {
                Self::new(ExitKind::SshAuth, whole).hint("do not connect: ask whoever runs the hop")
            }
            JumpError::HostKeyRefused { .. } => Self::new(ExitKind::SshAuth, whole)
                .hint("`HostKeyAlgorithms`, `RequiredRSASize` and `RevokedHostKeys` in ssh_config say what is accepted"),
            JumpError::HostCertificate { .. } => {
                Self::new(ExitKind::SshAuth, whole).hint("ask whoever signs the keys of your hosts")
            }
            JumpError::ChannelRefused { hop, host, port, .. } => Self::new(ExitKind::RemotePort, whole).hint(
                format!("is {host}:{port} open for `{hop}`, and `AllowTcpForwarding` on in its sshd_config?"),
            ),
            JumpError::Protocol { .. } => {
                Self::new(ExitKind::Failure, whole).hint("is it an sshd that answers on that port?")
            }
            JumpError::Io { .. } | JumpError::Ended { .. } => Self::new(ExitKind::Lost, whole),
            JumpError::Timeout { .. } => {
                Self::new(ExitKind::TimedOut, whole).hint("`--connect-timeout` sets how long to wait")
            }
        }
    }

    pub(super) fn of_api(error: &ApiError, target: Option<&Target>) -> Self {
        let whole = error.to_string();
        match error.meaning() {
            Meaning::Settings if matches!(error, ApiError::NoRegion) => {
                Self::new(ExitKind::Configuration, whole)
                    .hint("set `--region`, `AWS_REGION` or `region` in the profile or the config file")
            }
            Meaning::Settings => Self::new(ExitKind::Configuration, whole)
                .hint("see `AWS_CA_BUNDLE` and `ca_bundle` in the profile"),
            Meaning::Credentials => Self::new(ExitKind::Credentials, whole).hint(credentials_hint(error)),
            Meaning::AccessDenied => Self::new(ExitKind::AccessDenied, whole)
                .hint("ask for the permission that the message names; contrib/iam has the least policy"),
            Meaning::TargetNotConnected => {
                let report = Self::new(ExitKind::NotConnected, whole)
                    .hint("is the instance running, its agent online, and this its account and region?");
                match target.and_then(Target::doubt) {
                    Some(doubt) => report.hint(doubt),
                    None => report.hint(
                        "its role needs `AmazonSSMManagedInstanceCore`, its subnet a way to Systems Manager",
                    ),
                }
            }
            Meaning::Transient if matches!(error, ApiError::Service { .. }) => {
                Self::new(ExitKind::Failure, whole).hint("it was tried four times; try again later")
            }
            Meaning::Transient if matches!(error, ApiError::Certificate { .. }) => {
                Self::new(ExitKind::Failure, whole).hint(CERTIFICATE_HINT)
            }
            Meaning::Transient => {
                let timed_out = matches!(error, ApiError::Timeout { .. });
                Self::new(if timed_out { ExitKind::TimedOut } else { ExitKind::Failure }, whole)
                    .hint("check the network, `HTTPS_PROXY` and the endpoint settings")
            }
            Meaning::Other if error.has_code("InvalidDocument") => Self::new(ExitKind::Failure, whole)
                .hint("`--document` must name a session document of this account and region"),
            Meaning::Other
                if error.has_code("ClusterNotFoundException")
                    || error.has_code("ServiceNotFoundException") =>
            {
                Self::new(ExitKind::NotFound, whole).hint(ELSEWHERE)
            }
            Meaning::DoesNotExist | Meaning::Other => Self::new(ExitKind::Failure, whole),
        }
    }

    /// What is told of a name that could not be made a target in `region`.
    pub(super) fn of_lookup(error: &LookupError, region: &str) -> Self {
        let whole = error.to_string();
        match error {
            LookupError::Api(error) => Self::of_api(error, None),
            LookupError::Ecs(error) => Self::of_ecs(error),
            LookupError::Denied { .. } => Self::new(ExitKind::AccessDenied, whole)
                .hint("allow `ec2:DescribeInstances` or `ssm:DescribeInstanceInformation`")
                .hint("an id needs neither: write `i-…` or `mi-…`"),
            LookupError::Resolve { error: ResolveError::Ambiguous { candidates, .. }, .. } => {
                let report = Self::new(ExitKind::Ambiguous, format!("{whole} in {region}"))
                    .hint("write the id of the one you mean");
                candidates.iter().fold(report, |report, one| report.detail(candidate_line(one)))
            }
            LookupError::Resolve { error: ResolveError::NotFound { near, .. }, unseen } => {
                let mut report = Self::new(ExitKind::NotFound, format!("{whole} in {region}"));
                if !near.is_empty() {
                    let near: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
                    report = report.hint(format!("did you mean {}?", near.join(", ")));
                }
                match unseen {
                    Some(error) => report.hint(format!("not all could be seen: {error}")),
                    None => report.hint(ELSEWHERE),
                }
            }
        }
    }

    fn of_ecs(error: &EcsError) -> Self {
        let whole = error.to_string();
        let listed = |names: &[String]| format!("it has {}", names.join(", "));
        match error {
            EcsError::NoSuchTask { .. } => Self::new(ExitKind::NotFound, whole).hint(ELSEWHERE),
            EcsError::NoSuchContainer { known, .. } => {
                Self::new(ExitKind::NotFound, whole).hint(listed(known))
            }
            EcsError::WhichContainer { known, .. } => {
                let report = Self::new(ExitKind::Ambiguous, whole)
                    .hint("name the container: `ecs:CLUSTER/SERVICE/CONTAINER`");
                known.iter().fold(report, |report, name| report.detail(name))
            }
            EcsError::NothingRuns { .. } => Self::new(ExitKind::NotConnected, whole)
                .hint("is its desired count zero, or do its tasks fail to start?"),
            EcsError::NotRunning { .. } | EcsError::NoRuntimeId { .. } => {
                Self::new(ExitKind::NotConnected, whole).hint("it may still be starting; try again")
            }
            EcsError::NoExecuteCommand { .. } => Self::new(ExitKind::NotConnected, whole).hint(
                "`aws ecs update-service --enable-execute-command --force-new-deployment` starts tasks with it",
            ),
            EcsError::NoAgent { .. } => Self::new(ExitKind::NotConnected, whole)
                .hint("the task's role needs `ssmmessages:*Channel`, its network a way to Systems Manager"),
        }
    }

    /// What is told of a target that EC2 says is stopped.
    pub(super) fn of_stopped(destination: &Destination, target: &Target, region: &str) -> Self {
        let id = target.id();
        Self::new(ExitKind::NotConnected, format!("`{destination}` is stopped ({id} in {region})"))
            .hint(format!("start it: `aws ec2 start-instances --region {region} --instance-ids {id}`"))
    }

    fn of_dial(error: &DialError) -> Self {
        let whole = error.to_string();
        match error {
            DialError::Refused { status: 403, .. } => Self::new(ExitKind::AccessDenied, whole).hint(
                "the caller needs `ssmmessages:OpenDataChannel` on the session, and a clock that is right",
            ),
            DialError::Certificate { .. } => Self::new(ExitKind::Failure, whole).hint(CERTIFICATE_HINT),
            DialError::Timeout(_) => Self::new(ExitKind::TimedOut, whole),
            DialError::Connect { .. }
            | DialError::Proxy(_)
            | DialError::Tls(_)
            | DialError::Sign(_)
            | DialError::Refused { .. }
            | DialError::Upgrade(_) => {
                Self::new(ExitKind::Failure, whole).hint("check the network, `HTTPS_PROXY` and `NO_PROXY`")
            }
        }
    }

    fn of_end(whole: String, reason: &str, suspected_size: Option<usize>, forward: bool) -> Self {
        let report = Self::new(ExitKind::EndedByFarSide, whole);
        if suspected_size.is_some() {
            return report.hint(SMALLER_MESSAGES);
        }
        if forward && reason.contains("timed out due to inactivity") {
            return report.hint("`--hold` keeps a session with open connections from being idle");
        }
        if reason.contains("timed out due to inactivity") {
            return report.hint("`ServerAliveInterval 30` in ssh_config keeps a session from being idle");
        }
        report
    }
}

fn candidate_line(candidate: &Candidate) -> String {
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let Candidate { id, name, address, state } = candidate;
    format!("{id}  {}  {}  {}", shown(name), shown(address), shown(state))
}

fn credentials_hint(error: &ApiError) -> String {
    match error {
        ApiError::NoLogin { profile, .. } => format!("`aws sso login --profile {}`", shell_word(profile)),
        ApiError::NoCode { profile, .. } => format!(
            "`aws sts get-caller-identity --profile {}` in a terminal asks for it, and its cache is used here",
            shell_word(profile)
        ),
        ApiError::NoProfile(_) => "`aws configure list-profiles` names those that are there".to_owned(),
        ApiError::NoRegion
        | ApiError::Settings(_)
        | ApiError::NoCredentials(_)
        | ApiError::Service { .. }
        | ApiError::Timeout { .. }
        | ApiError::Certificate { .. }
        | ApiError::Network { .. } => {
            "log in again (`aws sso login`, `aws configure`), or choose another `--profile`".to_owned()
        }
    }
}

/// Quotes a word for a command that is to be copied.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@+=".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn step_hint(step: Step) -> &'static str {
    match step {
        Step::Start | Step::Open => "check the network, `HTTPS_PROXY` and the endpoint settings",
        Step::HandshakeRequest | Step::HandshakeComplete => {
            "the agent on the target may be overloaded or stopped; `--connect-timeout` sets how long to wait"
        }
    }
}

impl From<ConfigError> for Report {
    fn from(error: ConfigError) -> Self {
        let cause = error.to_string();
        match error {
            ConfigError::Unreadable { .. } | ConfigError::Invalid { .. } => {
                Self::new(ExitKind::Configuration, cause)
            }
            ConfigError::Variable { .. } => Self::new(ExitKind::Usage, cause),
        }
    }
}

impl From<ChainError> for Report {
    fn from(error: ChainError) -> Self {
        let cause = error.to_string();
        match error {
            ChainError::Target(error) => error.into(),
            ChainError::Circle { by_flag: true, .. } => {
                Self::new(ExitKind::Usage, cause).hint("a machine cannot be reached through itself")
            }
            ChainError::Circle { by_flag: false, .. } | ChainError::Lacking { .. } => {
                Self::new(ExitKind::Configuration, cause)
            }
            ChainError::NotTheFirstHop { .. } => Self::new(ExitKind::Configuration, cause)
                .hint("behind another hop only `route = \"ssh\"` leads on; without `route` it is chosen"),
            ChainError::NoAddress { .. } => Self::new(ExitKind::Usage, cause)
                .hint("name it in the config file, with `address` as the hop sees it"),
        }
    }
}

impl From<TargetError> for Report {
    fn from(error: TargetError) -> Self {
        let report = Self::new(ExitKind::Usage, error.to_string());
        match error {
            TargetError::NearMiss { meant, .. } => report.hint(format!("did you mean `{meant}`?")),
            TargetError::Container { .. } => {
                report.hint("RUNTIME is the container's runtime id, as `aws ecs describe-tasks` shows it")
            }
            TargetError::Empty { .. }
            | TargetError::Tag { .. }
            | TargetError::NoUser { .. }
            | TargetError::IdLength { .. }
            | TargetError::IdCharacter { .. } => report.hint("the form is `[USER@]TARGET[--REGION]`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::ValueError;
    use crate::names::Destination;

    #[test]
    fn the_cause_stands_after_details_and_before_hints() {
        let report = Report::new(ExitKind::Ambiguous, "`web` is 2 instances")
            .detail("i-1 a")
            .detail("fumidai: i-2 b")
            .hint("write the id")
            .hint("or the region")
            .hint("a third");
        let lines = "  i-1 a\n  fumidai: i-2 b\nfumidai: `web` is 2 instances\n\
                     fumidai: hint: write the id\nfumidai: hint: or the region\n";
        assert_eq!(report.render(), lines);
        assert_eq!(report.exit(), ExitKind::Ambiguous);
    }

    #[test]
    fn foreign_text_stays_on_its_line_and_is_escaped() {
        let report = Report::new(ExitKind::Failure, "the agent said: \x1b[2Jbye\nfumidai: all is well\n");
        assert_eq!(report.render(), "fumidai: the agent said: \\x1b[2Jbye fumidai: all is well\n");
        let long = Report::new(ExitKind::Failure, "x".repeat(1 << 20));
        assert!(long.render().len() < 5000);
    }

    #[test]
    fn every_exit_has_the_code_of_the_table() {
        use ExitKind::*;
        for (kind, code) in [
            (Done, 0),
            (Failure, 1),
            (Usage, 2),
            (Configuration, 3),
            (Credentials, 10),
            (AccessDenied, 11),
            (NotFound, 12),
            (Ambiguous, 13),
            (NotConnected, 14),
            (RemotePort, 15),
            (TimedOut, 16),
            (Lost, 17),
            (EndedByFarSide, 18),
            (SshAuth, 19),
            (Encryption, 20),
            (Signal(1), 129),
            (Signal(15), 143),
        ] {
            assert_eq!(kind.code(), code);
        }
    }

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
        let variable = ConfigError::Variable { name: "AWS_REGION", source: ValueError::NotARegion };
        assert_eq!(Report::from(variable).exit(), ExitKind::Usage);
    }

    #[test]
    fn a_target_that_is_none_is_usage_with_a_hint() {
        for (text, hint) in [
            ("I-0123", "did you mean `i-0123`?"),
            ("ecs:a", "RUNTIME is the container's runtime id"),
            ("tag:web", "the form is `[USER@]TARGET[--REGION]`"),
            ("i-", "the form is `[USER@]TARGET[--REGION]`"),
        ] {
            let report = Report::from(text.parse::<Destination>().expect_err(text));
            assert_eq!(report.exit(), ExitKind::Usage);
            assert!(report.render().contains(&format!("\nfumidai: hint: {hint}")), "{}", report.render());
        }
    }

    fn denied(operation: &'static str) -> ApiError {
        ApiError::Service {
            operation,
            code: "UnauthorizedOperation".into(),
            message: "no".into(),
            status: 403,
        }
    }

    #[test]
    fn an_ambiguous_name_lists_its_candidates_before_the_cause() {
        let one = |id: &str, name: Option<&str>| Candidate {
            id: id.into(),
            name: name.map(str::to_owned),
            address: Some("10.0.0.1".into()),
            state: Some("running".into()),
        };
        let candidates = vec![one("i-1", Some("web\nfumidai: \u{202e}")), one("i-2", None)];
        let error = ResolveError::Ambiguous { name: "web".into(), candidates };
        let report = Report::of_lookup(&LookupError::Resolve { error, unseen: None }, "eu-west-1");
        assert_eq!(report.exit(), ExitKind::Ambiguous);
        assert_eq!(
            report.render(),
            "  i-1  web fumidai: \\u{202e}  10.0.0.1  running\n  i-2  -  10.0.0.1  running\n\
             fumidai: `web` is 2 instances in eu-west-1\nfumidai: hint: write the id of the one you mean\n"
        );
    }

    #[test]
    fn an_unknown_name_suggests_and_says_what_was_not_seen() {
        let error = ResolveError::NotFound { name: "wbe".into(), near: vec!["web".into(), "wb".into()] };
        let unseen = Some(Box::new(denied("DescribeInstances")));
        let report = Report::of_lookup(&LookupError::Resolve { error, unseen }, "eu-west-1");
        assert_eq!(report.exit(), ExitKind::NotFound);
        assert_eq!(
            report.render(),
            "fumidai: nothing is called `wbe` in eu-west-1\nfumidai: hint: did you mean `web`, `wb`?\n\
             fumidai: hint: not all could be seen: UnauthorizedOperation when calling DescribeInstances: no\n"
        );
    }

    #[test]
    fn two_denied_calls_name_both_actions() {
        let [ec2, ssm] =
            ["DescribeInstances", "DescribeInstanceInformation"].map(|name| Box::new(denied(name)));
        let report = Report::of_lookup(&LookupError::Denied { ec2, ssm }, "eu-west-1");
        assert_eq!(report.exit(), ExitKind::AccessDenied);
        for words in
            ["calling DescribeInstances", "calling DescribeInstanceInformation", "an id needs neither"]
        {
            assert!(report.render().contains(words), "{}", report.render());
        }
    }
}
