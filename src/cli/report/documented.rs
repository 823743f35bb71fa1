//! Keeps docs/errors.md equal to the messages: each error and note has one row, and each row has an error or a note.
//!
//! A new variant does not compile without an arm in [`samples!`]. To document a variant, add a sample with the
//! placeholders below and a row with the same text. Text from elsewhere is `…`. Backticks and quotes are not compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::super::running::SupervisorError;
use super::super::ssh_files::InstallError;
use super::{ExitKind, LocalError, Report, UsageError, notes};
use crate::audit::{Fault, StoreError, Touched};
use crate::aws::files::FileProblem;
use crate::aws::files::ini::LineError;
use crate::aws::source::SourceError;
use crate::aws::{ApiError, ApprovalError, ApprovalEvent, Meaning, NoCode, Refused};
use crate::bastion::{LifeEvent, LoanError, Person, StartError, Step};
use crate::channel::{AgentVersion, ChannelError, Refusal};
use crate::config::{Config, ConfigError, Distrust, Environment, Flags, SpecError, ValueError};
use crate::forward::plan::PlanError;
use crate::forward::{Asked, Bind, BindError, ForwardEvent};
use crate::jump::openssh::OpenSshError;
use crate::jump::{CertificateFault, Ending, HopStep, HostKeyFacts, HostKeyFault, JumpError, KeyProblem};
use crate::jump::{LoginFailure, PromptError};
use crate::keys::KeyError;
use crate::mux::HeaderError;
use crate::names::ecs::EcsError;
use crate::names::lookup::LookupError;
use crate::names::{Candidate, Destination, Name, ResolveError, TargetError};
use crate::reach::{HostKeysError, ReachError, SessionEnd, StoppedTarget};
use crate::route::RouteError;
use crate::running::{DefinitionError, SecretVariable};
use crate::session::{self, Amounts, EarlyEnd, Fact, LossCause, Measured, Notice, SessionError};
use crate::transport::{
    ConnectError, ConnectFault, DialError, ForeignAnswer, HostError, ProxyProblem, ProxySettingError,
    TlsError, TlsFault,
};

/// Any number: `N` in the rows.
const N: u16 = 777;
/// `PORT` in the rows.
const PORT: u16 = 7777;
/// `LINE` and `COLUMN` in the rows.
const PLACE: (usize, usize) = (7771, 7772);
/// `ID` in the rows.
const ID: &str = "i-0123456789abcdef0";
/// `VERSION` in the rows.
const VERSION: &str = "3.0.0.0";

/// What stands in a row for a value that a sample cannot spell.
const PLACEHOLDERS: [(&str, &str); 10] = [
    ("7771", "LINE"),
    ("7772", "COLUMN"),
    ("7777", "PORT"),
    ("777", "N"),
    ("77", "N"),
    (ID, "ID"),
    (VERSION, "VERSION"),
    ("127.0.0.1:PORT", "BIND"),
    ("unexpected error: …", "…"),
    ("log in again (`aws sso login`, `aws configure`), or use another `--profile`", "HINT"),
];

/// Samples of an enum, at least one for each variant: `pattern => samples`.
macro_rules! samples {
    ($enum:ty { $($pattern:pat => $samples:expr $(,)?)+ }) => {{
        // Does not compile if a variant is missing.
        fn _covers(value: &$enum) {
            match value { $($pattern => {})+ }
        }
        let mut all: Vec<$enum> = Vec::new();
        $(for sample in $samples {
            assert!(matches!(sample, $pattern), "{}", stringify!($pattern));
            all.push(sample);
        })+
        all
    }};
}

fn text(word: &str) -> String {
    word.to_owned()
}

fn other() -> String {
    text("…")
}

fn system() -> io::Error {
    io::Error::other("…")
}

fn seconds() -> Duration {
    Duration::from_secs(N.into())
}

fn file() -> PathBuf {
    "FILE".into()
}

fn fact() -> Fact {
    Fact::Ended { session_id: other(), amounts: Amounts::default(), end: Err(other()), caller: None }
}

fn service(code: &str, operation: &'static str) -> ApiError {
    ApiError::Service { operation, code: text(code), message: other(), status: 400 }
}

fn service_errors() -> Vec<ApiError> {
    let classes = samples!(Meaning {
        Meaning::Settings => [Meaning::Settings],
        Meaning::Credentials => [Meaning::Credentials],
        Meaning::AccessDenied => [Meaning::AccessDenied],
        Meaning::TargetNotConnected => [Meaning::TargetNotConnected],
        Meaning::DoesNotExist => [Meaning::DoesNotExist],
        Meaning::Transient => [Meaning::Transient],
        Meaning::Other => [Meaning::Other],
    });
    let of_class = |class: Meaning| match class {
        // The service has no such error.
        Meaning::Settings | Meaning::DoesNotExist => vec![],
        Meaning::Credentials => {
            vec![service("ExpiredTokenException", "OPERATION"), service("RequestTimeTooSkewed", "OPERATION")]
        }
        Meaning::AccessDenied => {
            vec![service("AccessDeniedException", "OPERATION"), service("AccessDenied", "AssumeRole")]
        }
        Meaning::TargetNotConnected => vec![service("TargetNotConnected", "StartSession")],
        Meaning::Transient => vec![service("ThrottlingException", "OPERATION")],
        Meaning::Other => vec![
            service("InvalidDocument", "StartSession"),
            service("IncompleteAnswer", "StartSession"),
            service("UnreadableAnswer", "DescribeInstances"),
            service("ClusterNotFoundException", "ListTasks"),
            service("ServiceNotFoundException", "ListTasks"),
            service("BadRequest", "StartSession"),
            service("CODE", "OPERATION"),
        ],
    };
    classes.into_iter().flat_map(of_class).collect()
}

fn api_errors() -> Vec<ApiError> {
    samples!(ApiError {
        ApiError::NoRegion => [ApiError::NoRegion],
        // The SDK's own words.
        ApiError::Settings(_) => [],
        ApiError::File(_) => file_problems().into_iter().map(ApiError::File),
        ApiError::Proxy(_) => proxy_errors().into_iter().map(ApiError::Proxy),
        ApiError::Bundle { .. } => [ApiError::Bundle { file: file(), cause: other() }],
        ApiError::NotARegion { .. } => [ApiError::NotARegion { profile: text("NAME"), region: text("VALUE") }],
        ApiError::NoServices { .. } => {
            [ApiError::NoServices { profile: text("NAME"), services: text("SECTION") }]
        }
        ApiError::NoProfile(_) => [ApiError::NoProfile(text("NAME"))],
        ApiError::NoCredentials(_) => [ApiError::NoCredentials(other())],
        ApiError::NoneConfigured { .. } => [None, Some("KEY")]
            .map(|missing| ApiError::NoneConfigured { profile: text("NAME"), missing }),
        ApiError::Source(_) => source_errors().into_iter().map(ApiError::from),
        // The same cause as that of `NoCredentials`; only the hint differs.
        ApiError::NoLogin { .. } => [],
        ApiError::NoCode { .. } => samples!(NoCode {
            NoCode::NoTerminal => [NoCode::NoTerminal],
            NoCode::Forbidden => [NoCode::Forbidden],
            NoCode::NoAnswer => [NoCode::NoAnswer],
        })
        .into_iter()
        .map(|cause| ApiError::NoCode { profile: text("NAME"), serial: text("SERIAL"), cause }),
        ApiError::Service { .. } => service_errors(),
        // The same cause as that of `Service`; only the hint differs.
        ApiError::Rejected { .. } => [],
        ApiError::NoConnection { .. } => [ApiError::NoConnection {
            operation: "OPERATION",
            place: text("URL"),
            cause: format!("no connection within {N} s"),
        }],
        ApiError::Timeout { .. } => [ApiError::Timeout { operation: "OPERATION" }],
        ApiError::TooLong { .. } => [ApiError::TooLong { operation: "OPERATION" }],
        ApiError::Certificate { .. } => [ApiError::Certificate {
            operation: "OPERATION",
            cause: other(),
            fault: TlsFault::Issuer,
        }],
        ApiError::Network { .. } => {
            let network = |place: Option<&str>, cause| ApiError::Network {
                operation: "OPERATION",
                place: place.map(text),
                cause,
                fault: ConnectFault::Network,
            };
            let through = |error: ConnectError| network(Some("URL through proxy PROXY"), error.to_string());
            let mut all = vec![network(None, other()), network(Some("URL"), other())];
            all.extend(connect_errors().into_iter().map(through));
            all
        }
    })
}

fn foreign(location: Option<String>) -> ForeignAnswer {
    ForeignAnswer { status: N, location }
}

fn connect_errors() -> Vec<ConnectError> {
    samples!(ConnectError {
        // As without a proxy.
        ConnectError::Network(_) => [],
        ConnectError::Login { .. } => [vec![], vec![text("SCHEME")]].map(|schemes| ConnectError::Login { status: N, schemes }),
        ConnectError::Refused(_) => [ConnectError::Refused(N)],
        ConnectError::SocksLogin(_) => [ConnectError::SocksLogin(other())],
        ConnectError::SocksForbidden => [ConnectError::SocksForbidden],
        ConnectError::Foreign(_) => [None, Some(text("URL"))].map(foreign).map(ConnectError::Foreign),
        ConnectError::NotHttp => [ConnectError::NotHttp],
        ConnectError::Closed => [ConnectError::Closed],
        ConnectError::NotTls => [ConnectError::NotTls],
        ConnectError::ProxyTls(_) => [ConnectError::ProxyTls(other())],
        // These have rows of their own.
        ConnectError::Tls(_) => [],
        ConnectError::Setup(_) => [],
    })
}

fn file_problems() -> Vec<FileProblem> {
    let lines = samples!(LineError {
        LineError::NotUtf8 => [LineError::NotUtf8],
        LineError::NoSection => [LineError::NoSection],
        LineError::OpenHeader => [LineError::OpenHeader],
        LineError::NoDelimiter => [LineError::NoDelimiter],
        LineError::NoName => [LineError::NoName],
    });
    samples!(FileProblem {
        FileProblem::Unreadable { .. } => [FileProblem::Unreadable { file: file(), cause: other() }],
        FileProblem::Utf16 { .. } => [FileProblem::Utf16 { file: file() }],
        FileProblem::Line { .. } => {
            lines.iter().map(|cause| FileProblem::Line { file: file(), line: PLACE.0, cause: *cause })
        }
    })
}

fn proxy_errors() -> Vec<ProxySettingError> {
    let problems = samples!(ProxyProblem {
        ProxyProblem::NotAUrl => [ProxyProblem::NotAUrl],
        ProxyProblem::Quotes => [ProxyProblem::Quotes],
        ProxyProblem::Character(_) => [ProxyProblem::Character('C')],
        ProxyProblem::Scheme => [ProxyProblem::Scheme],
    });
    problems.into_iter().map(|problem| ProxySettingError { name: "VARIABLE", problem }).collect()
}

fn source_errors() -> Vec<SourceError> {
    use SourceError::*;
    let (profile, source_profile) = (|| text("NAME"), || text("SOURCE"));
    samples!(SourceError {
        // These have rows of their own.
        File(_) => [],
        HalfEnvironment => [HalfEnvironment],
        HalfKeys { .. } => [HalfKeys { profile: profile(), file: file(), missing: "KEY", present: "KEY" }],
        NoSourceProfile { .. } => {
            [NoSourceProfile { profile: profile(), source_profile: source_profile() }]
        }
        EmptySourceProfile { .. } => {
            [EmptySourceProfile { profile: profile(), source_profile: source_profile() }]
        }
        Loop { .. } => [Loop { profile: profile(), source_profile: source_profile() }],
        NoSource(_) => [NoSource(profile())],
        TwoSources(_) => [TwoSources(profile())],
        UnknownSource { .. } => [UnknownSource { profile: profile(), value: text("VALUE") }],
        NoEnvironment(_) => [NoEnvironment(profile())],
        NoSsoSession { .. } => [NoSsoSession { profile: profile(), session: text("SESSION") }],
        NoSsoSetting { .. } => [NoSsoSetting { profile: profile(), key: "KEY" }],
        SsoConflict { .. } => [SsoConflict { profile: profile(), key: "KEY" }],
        NoRoleArn(_) => [NoRoleArn(profile())],
        OpenQuote(_) => [OpenQuote(profile())],
    })
}

fn target_errors() -> Vec<TargetError> {
    let id = || text("ID");
    samples!(TargetError {
        TargetError::Empty { .. } => [TargetError::Empty { text: text("TEXT") }],
        TargetError::NoUser { .. } => [TargetError::NoUser { text: text("TEXT") }],
        TargetError::IdLength { .. } => [TargetError::IdLength { id: id(), prefix: "PREFIX", count: N.into() }],
        TargetError::IdCharacter { .. } => [TargetError::IdCharacter { id: id(), prefix: "PREFIX", found: 'C' }],
        TargetError::Container { .. } => [TargetError::Container { id: text("NAME") }],
        TargetError::SageMaker { .. } => [TargetError::SageMaker { id: id() }],
        TargetError::Tag { .. } => [TargetError::Tag { name: text("NAME") }],
        TargetError::NearMiss { .. } => [TargetError::NearMiss { name: text("NAME"), meant: id() }],
    })
}

fn route_errors() -> Vec<RouteError> {
    let cycle = |by_flag| RouteError::Cycle { cycle: ["A", "B", "A"].map(text).to_vec(), by_flag };
    samples!(RouteError {
        RouteError::Target(_) => target_errors().into_iter().map(RouteError::Target),
        RouteError::Cycle { .. } => [cycle(true), cycle(false)],
        RouteError::NotTheFirstHop { .. } => [RouteError::NotTheFirstHop { host: text("NAME"), hop: text("HOP") }],
        RouteError::SessionBehindHop { .. } => {
            [RouteError::SessionBehindHop { host: text("NAME"), hop: text("HOP") }]
        }
        RouteError::NoAddress { .. } => [RouteError::NoAddress { word: text("NAME"), hop: text("HOP") }],
    })
}

fn plan_errors() -> Vec<PlanError> {
    samples!(PlanError {
        PlanError::TargetCount(_) => [PlanError::TargetCount(N.into())],
        PlanError::NoForwards => [PlanError::NoForwards],
        PlanError::Nothing { .. } => [PlanError::Nothing { known: vec![] }],
        PlanError::Unknown { .. } => [PlanError::Unknown { name: text("NAME"), nearest: None }],
        PlanError::Route(_) => route_errors().into_iter().map(PlanError::Route),
    })
}

fn value_errors() -> Vec<ValueError> {
    use ValueError::*;
    samples!(ValueError {
        Empty => [Empty],
        NotUnicode => [NotUnicode],
        NotText => [NotText],
        NotADuration => [NotADuration],
        Zero => [Zero],
        TooLong => [TooLong],
        NotAPayload => [NotAPayload],
        NotARegion(_) => [NotARegion(text("VALUE"))],
        NotATarget(_) => [NotATarget(other())],
        NotAUrl => [NotAUrl],
        ReasonTooLong(_) => [ReasonTooLong(N.into())],
        NotAColor => [NotAColor],
        NotASwitch => [NotASwitch],
        NotAUser => [NotAUser],
        NotAPort => [NotAPort],
        NotARoute => [NotARoute],
        NotAHop => [NotAHop],
        NotALocalEnd => [NotALocalEnd],
        NotARemoteEnd => [NotARemoteEnd],
        NotAbsolute => [NotAbsolute],
        NotAStop => [NotAStop],
        NotAKeyKind => [NotAKeyKind],
        GraceTooShort => [GraceTooShort],
        LimitTooLong => [LimitTooLong],
        NotAGuardian => [NotAGuardian],
        NotAnAccessRequest => [NotAnAccessRequest],
        NotAGroup => [NotAGroup],
        NotAHostKeySource => [NotAHostKeySource],
        NotATask => [NotATask],
        NotAToken => [NotAToken],
        NotAPlaceholder(_) => [NotAPlaceholder(text("NAME"))],
    })
}

fn spec_errors() -> Vec<SpecError> {
    samples!(SpecError {
        SpecError::Local => [SpecError::Local],
        SpecError::Dynamic => [SpecError::Dynamic],
        SpecError::RemoteSocket => [SpecError::RemoteSocket],
        SpecError::RemotePort => [SpecError::RemotePort],
        SpecError::LocalPort => [SpecError::LocalPort],
    })
}

fn config_errors() -> Vec<ConfigError> {
    let invalid = |message| ConfigError::Invalid { file: file(), line: PLACE.0, column: PLACE.1, message };
    samples!(ConfigError {
        ConfigError::Unreadable { .. } => [ConfigError::Unreadable { file: file(), source: system() }],
        ConfigError::Untrusted { .. } => samples!(Distrust {
            Distrust::Writable => [Distrust::Writable],
            Distrust::Owner(_) => [Distrust::Owner(N.into())],
        })
        .into_iter()
        .map(|why| ConfigError::Untrusted { file: file(), place: "PATH".into(), why }),
        ConfigError::Invalid { .. } => file_faults().into_iter().map(invalid),
        // The causes have separate rows.
        ConfigError::Variable { .. } => {
            value_errors().into_iter().map(|source| ConfigError::Variable { name: "VARIABLE", source })
        }
    })
}

/// What is wrong in these config files, with their words replaced.
fn file_faults() -> Vec<String> {
    let via = "[hosts.A]\nvia = 'B'\n[hosts.B]\nvia = 'A'\n";
    [
        ("x = 1", vec![("`x`", "TABLE")]),
        ("hots = 1", vec![("`hots`", "TABLE"), ("`hosts`", "TABLE")]),
        ("[defaults]\nbanana = 1", vec![("`banana`", "KEY")]),
        ("[hosts.a]\ncompression = 1", vec![("`compression`", "KEY")]),
        ("[hosts.a]\nproxyjump = 'b'", vec![("`proxyjump`", "KEY"), ("`via`", "KEY")]),
        ("[defaults]\nkeepaliv = 1", vec![("`keepaliv`", "KEY"), ("`keepalive`", "KEY")]),
        ("region = 'eu-west-1'", vec![("`region`", "KEY"), ("[defaults]", "TABLE")]),
        ("[defaults]\nvia = 'a'", vec![("`via`", "KEY"), ("[hosts.NAME]", "TABLE"), ("[defaults]", "TABLE")]),
        ("[hosts.\"-a\"]", vec![("hosts", "TABLE")]),
        (via, vec![]),
        ("[hosts.NAME]\nvia = 'HOP'\nhost_keys = 'session'", vec![]),
        ("[hosts.NAME]\ntarget = 'ecs:a/b'\nhost_keys = 'console'", vec![]),
        ("[hosts.NAME]\ntarget = 'ecs:a/b'\nkey = 'push'", vec![]),
        ("[forwards.a]\nlocal = '1'\nremote = '2'", vec![("[forwards.a]", "TABLE"), ("target", "KEY")]),
        ("hosts = 1", vec![("hosts", "TABLE")]),
        ("[defaults]\nregion = '!'", vec![("`region`", "`KEY`"), ("'!'", "VALUE")]),
    ]
    .into_iter()
    .map(|(text, words)| words.iter().fold(fault_of(text), |fault, (word, name)| fault.replace(word, name)))
    .map(|fault| match fault.split_once("the valid ones are ") {
        Some((start, _)) => format!("{start}the valid ones are …"),
        None => fault,
    })
    .chain(["not valid UTF-8".to_owned(), other()])
    .collect()
}

fn fault_of(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("config.toml");
    std::fs::write(&path, text).expect("a file");
    let flags = Flags { config_file: Some(path), ..Flags::default() };
    match Config::resolve(flags, &Environment::default()) {
        Err(ConfigError::Invalid { message, .. }) => message,
        other => panic!("{text}: {other:?}"),
    }
}

fn resolve_errors() -> Vec<ResolveError> {
    let one = Candidate { id: text("ID"), name: None, address: None, state: None };
    samples!(ResolveError {
        ResolveError::NotFound { .. } => [ResolveError::NotFound { name: text("NAME"), near: vec![], other_case: None }],
        ResolveError::Ambiguous { .. } => {
            [ResolveError::Ambiguous { name: text("NAME"), candidates: vec![one; N.into()] }]
        }
    })
}

fn ecs_errors() -> Vec<EcsError> {
    let (cluster, task, container) = (|| text("CLUSTER"), || text("TASK"), || text("NAME"));
    let (service, status) = (|| text("SERVICE"), || text("STATUS"));
    samples!(EcsError {
        EcsError::NoSuchTask { .. } => [EcsError::NoSuchTask { cluster: cluster(), task: task() }],
        EcsError::NothingRuns { .. } => [EcsError::NothingRuns { cluster: cluster(), service: service() }],
        EcsError::NotRunning { .. } => [EcsError::NotRunning { task: task(), status: status() }],
        EcsError::NoExecuteCommand { .. } => [EcsError::NoExecuteCommand { task: task() }],
        EcsError::NoSuchContainer { .. } => {
            [EcsError::NoSuchContainer { task: task(), container: container(), known: vec![] }]
        }
        EcsError::WhichContainer { .. } => {
            [EcsError::WhichContainer { task: task(), known: vec![container(); N.into()] }]
        }
        EcsError::NoAgent { .. } => {
            [EcsError::NoAgent { task: task(), container: container(), status: status() }]
        }
        EcsError::NoRuntimeId { .. } => [EcsError::NoRuntimeId { task: task(), container: container() }],
    })
}

fn lookup_errors() -> Vec<LookupError> {
    let denied = |code, operation| Box::new(service(code, operation));
    samples!(LookupError {
        LookupError::Resolve { .. } => {
            resolve_errors().into_iter().map(|error| LookupError::Resolve { error, unseen: None })
        }
        LookupError::Ecs(_) => ecs_errors().into_iter().map(LookupError::Ecs),
        LookupError::Api(_) => api_errors().into_iter().map(LookupError::Api),
        LookupError::Denied { .. } => [LookupError::Denied {
            ec2: denied("UnauthorizedOperation", "DescribeInstances"),
            ssm: denied("AccessDeniedException", "DescribeInstanceInformation"),
        }],
    })
}

fn ssh_config_errors() -> Vec<OpenSshError> {
    let name = || text("HOP");
    samples!(OpenSshError {
        OpenSshError::Run { .. } => [OpenSshError::Run { program: "ssh".into(), source: system() }],
        OpenSshError::Refused { .. } => [OpenSshError::Refused { name: name(), message: other() }],
        OpenSshError::Value { .. } => [OpenSshError::Value { name: name(), key: "KEY" }],
        OpenSshError::Unsupported { .. } => [OpenSshError::Unsupported { name: name(), key: "KEY" }],
    })
}

fn dial_errors() -> Vec<DialError> {
    let host = || text("HOST");
    samples!(DialError {
        DialError::Connect { .. } => [DialError::Connect {
            host: host(),
            cause: other(),
            fault: ConnectFault::Network,
        }],
        DialError::Tls(_) => samples!(TlsError {
            TlsError::NoRoots(_) => [TlsError::NoRoots(other())],
            TlsError::Config(_) => [TlsError::Config(rustls::Error::General(other()))],
        })
        .into_iter()
        .map(DialError::Tls),
        DialError::Certificate { .. } => [DialError::Certificate {
            host: host(),
            cause: other(),
            fault: TlsFault::Issuer,
        }],
        DialError::Foreign { .. } => {
            [None, Some(text("URL"))].map(|to| DialError::Foreign { host: host(), answer: foreign(to) })
        }
        DialError::Sign(_) => [DialError::Sign(other())],
        DialError::Refused { .. } => [403, N].map(|status| DialError::Refused { status, text: other() }),
        DialError::Upgrade(_) => [DialError::Upgrade(other())],
        DialError::Timeout(_) => ["connect", "upgrade"].map(DialError::Timeout),
    })
}

fn host_errors() -> Vec<HostError> {
    samples!(HostError {
        HostError::Unreadable => [HostError::Unreadable],
        HostError::UserInfo => [HostError::UserInfo],
        HostError::Scheme { .. } => [HostError::Scheme { scheme: text("SCHEME"), host: text("HOST") }],
        HostError::Host(_) => [HostError::Host(text("HOST"))],
    })
}

fn refusals() -> Vec<Refusal> {
    samples!(Refusal {
        Refusal::Encryption { .. } => [Refusal::Encryption { key: text("KEY") }],
        Refusal::SessionType(_) => [Refusal::SessionType(text("KIND"))],
        Refusal::IgnoresHost(_) => [Refusal::IgnoresHost(AgentVersion::parse(VERSION))],
        Refusal::TooManyActions(_) => [Refusal::TooManyActions(N.into())],
        Refusal::UnknownAction(_) => [Refusal::UnknownAction(text("ACTION"))],
    })
}

/// The errors of the protocol, which the session turns into its own.
fn channel_errors() -> Vec<SessionError> {
    samples!(ChannelError {
        ChannelError::HandshakeRequestTimeout => [ChannelError::HandshakeRequestTimeout],
        ChannelError::HandshakeCompleteTimeout => [ChannelError::HandshakeCompleteTimeout],
        ChannelError::Refused(_) => refusals().into_iter().map(ChannelError::Refused),
        ChannelError::NotAPort => [ChannelError::NotAPort],
        ChannelError::Gap { .. } => [ChannelError::Gap { missing: N.into() }],
    })
    .into_iter()
    .map(SessionError::from)
    .map(|mut error| {
        if let SessionError::TimedOut { after, .. } = &mut error {
            // The time limit of the command in place of that of the protocol.
            *after = seconds();
        }
        error
    })
    .collect()
}

fn loss_causes() -> Vec<LossCause> {
    samples!(LossCause {
        LossCause::NotResumed { .. } => [LossCause::NotResumed { window: seconds(), last: other() }],
        LossCause::Ended => [LossCause::Ended],
        LossCause::Gap { .. } => [LossCause::Gap { missing: N.into() }],
        LossCause::Unacknowledged(_) => [LossCause::Unacknowledged(seconds())],
        LossCause::MessageSize(_) => [LossCause::MessageSize(N.into())],
        LossCause::Link(_) => [LossCause::Link(other())],
    })
}

fn early_ends() -> Vec<EarlyEnd> {
    samples!(EarlyEnd {
        EarlyEnd::Message(_) => [EarlyEnd::Message(other())],
        EarlyEnd::BeforeData => [EarlyEnd::BeforeData],
        EarlyEnd::Incomplete => [EarlyEnd::Incomplete],
        EarlyEnd::OpenConnections => [EarlyEnd::OpenConnections],
        EarlyEnd::MidTransfer => [EarlyEnd::MidTransfer],
    })
}

fn session_errors() -> Vec<SessionError> {
    let timed_out = |step, last| SessionError::TimedOut { step, after: seconds(), last };
    let smux = samples!(HeaderError {
        HeaderError::Version(_) => [HeaderError::Version(77)],
        HeaderError::Command(_) => [HeaderError::Command(77)],
    });
    let steps = samples!(session::Step {
        session::Step::Start => [session::Step::Start],
        session::Step::Open => [session::Step::Open],
        session::Step::HandshakeRequest => [session::Step::HandshakeRequest],
        session::Step::HandshakeComplete => [session::Step::HandshakeComplete],
    });
    samples!(SessionError {
        SessionError::Api(_) => api_errors().into_iter().map(SessionError::Api),
        // The caller's own settings and credentials have the rows of their errors.
        SessionError::Approval(_) => approval_errors().into_iter().map(SessionError::from),
        SessionError::Host(_) => host_errors().into_iter().map(SessionError::Host),
        SessionError::Dial(_) => dial_errors().into_iter().map(SessionError::Dial),
        SessionError::TimedOut { .. } => {
            steps.into_iter().map(|step| timed_out(step, (step == session::Step::Open).then(other)))
        }
        SessionError::Lost { .. } => {
            loss_causes().into_iter().map(|cause| SessionError::Lost { cause, suspected_size: None, credentials: None, history: None })
        }
        SessionError::RemotePort(_) => [SessionError::RemotePort(other())],
        SessionError::Ended { .. } => {
            early_ends().into_iter().map(|reason| SessionError::Ended { reason, suspected_size: None })
        }
        SessionError::Refused(_) => refusals().into_iter().map(SessionError::Refused),
        SessionError::Mux(_) => smux.into_iter().map(SessionError::Mux),
        SessionError::NotAPort => [SessionError::NotAPort],
        SessionError::Panic(_) => [SessionError::Panic(other())],
    })
}

fn approval_errors() -> Vec<ApprovalError> {
    let answers = [
        "AccessDeniedException",
        "ResourceNotFoundException",
        "ServiceQuotaExceededException",
        "ThrottlingException",
        "ValidationException",
        "UnknownOperationException",
    ];
    let ways = samples!(Refused {
        Refused::Rejected => [Refused::Rejected],
        Refused::Revoked => [Refused::Revoked],
        Refused::Expired => [Refused::Expired],
    });
    let errors = samples!(ApprovalError {
        ApprovalError::Own(_) => [ApprovalError::Own(ApiError::NoRegion)],
        ApprovalError::NoReason => [ApprovalError::NoReason],
        ApprovalError::NotTaken { .. } => answers.map(|code| ApprovalError::NotTaken {
            target: text("TARGET"),
            error: service(code, "StartAccessRequest"),
        }),
        ApprovalError::Unknown { .. } => ["AccessDeniedException", "ResourceNotFoundException"]
            .map(|code| ApprovalError::Unknown { id: text("ID"), error: service(code, "GetAccessToken") }),
        ApprovalError::Refused { .. } => {
            ways.into_iter().map(|how| ApprovalError::Refused { id: text("ID"), how })
        }
        ApprovalError::Pending { .. } => [ApprovalError::Pending { id: text("ID"), after: seconds() }],
        ApprovalError::Document { .. } => [ApprovalError::Document {
            id: text("ID"),
            document: text("DOCUMENT"),
            error: service("AccessDeniedException", "StartSession"),
        }],
    });
    errors.into_iter().filter(|error| !matches!(error, ApprovalError::Own(_))).collect()
}

fn approval_events() -> Vec<ApprovalEvent> {
    let id = || text("ID");
    samples!(ApprovalEvent {
        ApprovalEvent::Requested { .. } => {
            [ApprovalEvent::Requested { id: id(), target: text("TARGET") }]
        }
        ApprovalEvent::Waiting { .. } => [ApprovalEvent::Waiting { id: id(), since: seconds() }],
        ApprovalEvent::Approved { .. } => [None, Some(Duration::from_secs(60 * u64::from(N)))]
            .map(|valid| ApprovalEvent::Approved { id: id(), valid }),
        ApprovalEvent::Left { .. } => [ApprovalEvent::Left { id: id() }],
    })
}

fn key_problems() -> Vec<KeyProblem> {
    let key = || text("KEY");
    samples!(KeyProblem {
        KeyProblem::TooOpen(_) => [KeyProblem::TooOpen(file())],
        KeyProblem::Unreadable { .. } => [KeyProblem::Unreadable { file: file(), reason: other() }],
        KeyProblem::Malformed(_) => [KeyProblem::Malformed(file())],
        KeyProblem::NoPublicKey(_) => [KeyProblem::NoPublicKey(file())],
        KeyProblem::Locked { .. } => samples!(PromptError {
            PromptError::NoTerminal => [PromptError::NoTerminal],
            PromptError::Forbidden => [PromptError::Forbidden],
            PromptError::Dismissed => [PromptError::Dismissed],
        })
        .iter()
        .map(PromptError::to_string)
        .chain([other()])
        .map(|reason| KeyProblem::Locked { file: file(), reason }),
        KeyProblem::NeedsToken(_) => [KeyProblem::NeedsToken(file())],
        KeyProblem::NotAllowed(_) => [KeyProblem::NotAllowed(key())],
        KeyProblem::WeakRsa(_) => [KeyProblem::WeakRsa(key())],
        KeyProblem::Agent { .. } => [KeyProblem::Agent { socket: "SOCKET".into(), reason: other() }],
        KeyProblem::AgentRefused(_) => [KeyProblem::AgentRefused(key())],
        KeyProblem::AgentSignature(_) => [KeyProblem::AgentSignature(key())],
    })
}

fn login_failure() -> Box<LoginFailure> {
    let [hop, user] = ["HOP", "USER"].map(text);
    Box::new(LoginFailure {
        hop,
        user,
        tried: vec![other()],
        offered: vec![other()],
        problems: vec![],
        disconnected: None,
    })
}

fn host_key() -> Box<HostKeyFacts> {
    let [hop, host, kind, fingerprint] = ["HOP", "HOST", "TYPE", "FINGERPRINT"].map(text);
    Box::new(HostKeyFacts { hop, host, kind, fingerprint })
}

fn host_key_faults() -> Vec<HostKeyFault> {
    samples!(HostKeyFault {
        HostKeyFault::Kind => [HostKeyFault::Kind],
        HostKeyFault::Short { .. } => [HostKeyFault::Short { bits: N.into(), least: N.into() }],
        HostKeyFault::RevocationUnknown { .. } => {
            [HostKeyFault::RevocationUnknown { file: file(), reason: other() }]
        }
    })
}

fn certificate_faults() -> Vec<CertificateFault> {
    use CertificateFault::*;
    samples!(CertificateFault {
        NotForHosts => [NotForHosts],
        NotYetValid => [NotYetValid],
        Expired => [Expired],
        OtherHost { .. } => [OtherHost { name: text("HOST"), principals: vec![other()] }],
        NoHost => [NoHost],
        CriticalOptions => [CriticalOptions],
        Signature => [Signature],
        WeakSignature => [WeakSignature],
    })
}

fn jump_errors() -> Vec<JumpError> {
    let (hop, facts) = (|| text("HOP"), host_key);
    let revoked = |line| JumpError::HostKeyRevoked { facts: facts(), file: file(), line };
    let endings = samples!(Ending {
        Ending::Closed => [Ending::Closed],
        Ending::Disconnected(_) => [Ending::Disconnected(other())],
        Ending::Failed(_) => [Ending::Failed(other())],
    });
    let steps = samples!(HopStep {
        HopStep::KeyExchange => [HopStep::KeyExchange],
        HopStep::Login => [HopStep::Login],
        HopStep::Dial { .. } => [HopStep::Dial { host: text("HOST"), port: PORT }],
    });
    samples!(JumpError {
        JumpError::Auth(_) => [JumpError::Auth(login_failure())],
        JumpError::HostKeyUnknown { .. } => [JumpError::HostKeyUnknown { facts: facts() }],
        JumpError::HostKeyChanged { .. } => {
            [JumpError::HostKeyChanged { facts: facts(), file: file(), line: PLACE.0 }]
        }
        JumpError::HostKeyOfSource { .. } => [JumpError::HostKeyOfSource {
            facts: facts(),
            source_of_keys: text("SOURCE"),
            known: vec![text("TYPE FINGERPRINT")],
        }],
        JumpError::KnownHostsCommand { .. } => {
            [JumpError::KnownHostsCommand { hop: hop(), reason: other() }]
        }
        JumpError::HostKeyRevoked { .. } => [revoked(None), revoked(Some(PLACE.0))],
        JumpError::HostKeyRefused { .. } => {
            host_key_faults().into_iter().map(|fault| JumpError::HostKeyRefused { facts: facts(), fault })
        }
        JumpError::HostCertificate { .. } => {
            certificate_faults().into_iter().map(|fault| JumpError::HostCertificate { facts: facts(), fault })
        }
        JumpError::ChannelRefused { .. } => {
            [JumpError::ChannelRefused { hop: hop(), host: text("HOST"), port: PORT, reason: other() }]
        }
        // The same words as those of `Io`, with another exit code: prose below the table.
        JumpError::Protocol { .. } => [],
        JumpError::Io { .. } => [JumpError::Io { hop: hop(), source: system() }],
        JumpError::Ended { .. } => endings.into_iter().map(|ending| JumpError::Ended { hop: hop(), ending }),
        JumpError::Timeout { .. } => {
            steps.into_iter().map(|step| JumpError::Timeout { hop: hop(), step, after: seconds() })
        }
    })
}

fn reach_errors() -> Vec<ReachError> {
    let destination = || "NAME".parse::<Destination>().expect("a name");
    let target = || {
        let destination: Destination = ID.parse().expect("an id");
        let Name::Id(target) = destination.name() else { panic!("{destination:?}") };
        target.clone()
    };
    let to = || SessionEnd {
        target: Some(target()),
        machine: text("TARGET"),
        port: PORT,
        through: None,
        is_forward: false,
        subject: text("TARGET"),
        entry: None,
        place: None,
        is_stopped: false,
    };
    let stopped = || SessionEnd { is_stopped: true, ..to() };
    samples!(ReachError {
        ReachError::Aws(_) => api_errors().into_iter().map(ReachError::Aws),
        ReachError::Lookup { .. } => {
            lookup_errors().into_iter().map(|error| ReachError::Lookup { error, region: text("REGION") })
        }
        ReachError::LookupTimedOut { .. } => [ReachError::LookupTimedOut { after: seconds() }],
        ReachError::Stopped(_) => {
            let stopped =
                StoppedTarget { destination: destination(), target: target(), region: text("REGION") };
            [ReachError::Stopped(Box::new(stopped))]
        }
        ReachError::Stdio { .. } => ["standard input or output", "standard input", "standard output"]
            .map(|what| ReachError::Stdio { what, error: system() }),
        ReachError::HopSettings(_) => ssh_config_errors().into_iter().map(ReachError::HopSettings),
        ReachError::HostKeys(_) => host_keys_errors().into_iter().map(ReachError::HostKeys),
        ReachError::Session { .. } => session_errors()
            .into_iter()
            .chain(channel_errors())
            .map(|error| to().error(error))
            .chain([SessionEnd { through: Some(text("HOP")), ..to() }.error(SessionError::RemotePort(other()))])
            .chain([stopped().error(SessionError::Api(service("TargetNotConnected", "StartSession")))]),
        ReachError::NoReason => [ReachError::NoReason],
        ReachError::NoTask { .. } => [ReachError::NoTask { host: text("NAME") }],
        ReachError::Start(_) => start_errors().into_iter().map(ReachError::Start),
        ReachError::Hop(_) => jump_errors().into_iter().map(ReachError::Hop),
        ReachError::Key(_) => key_errors().into_iter().map(ReachError::Key),
    })
}

fn key_errors() -> Vec<KeyError> {
    let target = || text("TARGET");
    let agent = KeyProblem::Agent { socket: "SOCKET".into(), reason: other() };
    samples!(KeyError {
        KeyError::Aws(_) => api_errors().into_iter().map(KeyError::Aws),
        KeyError::Lookup { .. } => {
            lookup_errors().into_iter().map(|error| KeyError::Lookup { error, region: text("REGION") })
        }
        KeyError::Push { .. } => [
            "AuthException",
            "AccessDeniedException",
            "InvalidArgsException",
            "EC2InstanceNotFoundException",
            "EC2InstanceStateInvalidException",
            "EC2InstanceUnavailableException",
            "ThrottlingException",
            "ServiceException",
        ]
        .map(|code| KeyError::Push {
            error: Box::new(ApiError::Service {
                operation: "SendSSHPublicKey",
                code: text(code),
                message: other(),
                status: if code == "ServiceException" { 500 } else { 400 },
            }),
            machine: target(),
            user: text("USER"),
            instance: text(ID),
        }),
        KeyError::NoUser { .. } => [KeyError::NoUser { machine: target() }],
        KeyError::NotAnInstance { .. } => {
            [KeyError::NotAnInstance { machine: target(), id: text("mi-…") }]
        }
        KeyError::NoKeeper { .. } => [KeyError::NoKeeper { machine: target() }],
        KeyError::Agent(_) => [KeyError::Agent(agent)],
        KeyError::File { .. } => [KeyError::File { file: file(), source: system() }],
        KeyError::Generate(_) => [KeyError::Generate(system())],
        KeyError::NoOwnKey { .. } => [KeyError::NoOwnKey { machine: target(), problems: Vec::new() }],
        KeyError::LoginRefused { .. } => [KeyError::LoginRefused { failure: login_failure() }],
    })
}

fn host_keys_errors() -> Vec<HostKeysError> {
    let (host, id) = (|| text("NAME"), || text("ID"));
    samples!(HostKeysError {
        HostKeysError::BehindHop { .. } => [HostKeysError::BehindHop { host: host(), hop: text("HOP") }],
        HostKeysError::NotAnInstance { .. } => [HostKeysError::NotAnInstance { host: host() }],
        HostKeysError::NoConsole { .. } => [HostKeysError::NoConsole { id: id() }],
        HostKeysError::NoKeysOnConsole { .. } => [HostKeysError::NoKeysOnConsole { id: id() }],
        HostKeysError::NoParameter { .. } => {
            [HostKeysError::NoParameter { name: host(), region: text("REGION") }]
        }
        HostKeysError::NoKeysInParameter { .. } => [HostKeysError::NoKeysInParameter { name: host() }],
        HostKeysError::Call { .. } => {
            let error = || Box::new(service("AccessDeniedException", "OPERATION"));
            [HostKeysError::Call { error: error(), host: host(), action: "ACTION" }]
        }
        HostKeysError::Target(_) => target_errors().into_iter().map(HostKeysError::Target),
    })
}

fn start_steps() -> Vec<Step> {
    samples!(Step {
        Step::Stop => [Step::Stop],
        Step::Begin => [Step::Begin],
        Step::Boot => [Step::Boot],
        Step::Agent => [Step::Agent],
        Step::Group => [Step::Group],
        Step::TakeBack => [Step::TakeBack],
    })
}

fn start_errors() -> Vec<StartError> {
    let host = || text("NAME");
    let steps = start_steps();
    let person = Person { owner: other(), session: other(), since: 0, reason: None };
    samples!(StartError {
        StartError::Api(_) => [StartError::Api(service("AccessDeniedException", "OPERATION"))],
        StartError::NoGuardian { .. } => [StartError::NoGuardian { machine: host(), region: text("REGION") }],
        StartError::WithoutGuardian { .. } => [StartError::WithoutGuardian { what: "…" }],
        StartError::LifeFailed { .. } => [
            StartError::LifeFailed { host: host(), error: text("CODE"), cause: other() },
        ],
        StartError::Gone { .. } => [StartError::Gone { host: host() }],
        StartError::NoAgent { .. } => [StartError::NoAgent { host: host() }],
        StartError::TimedOut { .. } => {
            steps.into_iter().map(|step| StartError::TimedOut { host: host(), after: seconds(), step })
        }
        StartError::InUse { .. } => [StartError::InUse { host: host(), others: vec![person; N.into()] }],
        StartError::NoLife { .. } => [StartError::NoLife { host: host() }],
        StartError::TaskEndsItself { .. } => [StartError::TaskEndsItself { host: host() }],
        StartError::StackFailed { .. } => [StartError::StackFailed { status: other() }],
        StartError::NoTarget => [StartError::NoTarget],
        StartError::Loan(_) => loan_errors().into_iter().map(StartError::Loan),
    })
}

fn loan_errors() -> Vec<LoanError> {
    let (host, group, vpc) = (|| text("NAME"), || text("GROUP"), || text("VPC"));
    samples!(LoanError {
        LoanError::NoInterface { .. } => [LoanError::NoInterface { host: host(), place: other() }],
        LoanError::NoGroup { .. } => [LoanError::NoGroup { group: group(), vpc: vpc() }],
        LoanError::OtherVpc { .. } => [LoanError::OtherVpc { group: group(), vpc: vpc(), host: host() }],
        LoanError::NotGuarded { .. } => [LoanError::NotGuarded { resource: text("ID") }],
    })
}

fn install_errors() -> Vec<InstallError> {
    samples!(InstallError {
        InstallError::NotOurs { .. } => [InstallError::NotOurs { file: file() }],
        InstallError::Path { .. } => [InstallError::Path { file: file() }],
        InstallError::NotAFile { .. } => [InstallError::NotAFile { file: file() }],
        InstallError::Io { .. } => [InstallError::Io { file: file(), source: system() }],
    })
}

fn local_errors() -> Vec<LocalError> {
    samples!(LocalError {
        LocalError::Runtime(_) => [LocalError::Runtime(system())],
        LocalError::Signals(_) => [LocalError::Signals(system())],
        LocalError::Descriptors(_) => [LocalError::Descriptors(system())],
        LocalError::ConfigPath { .. } => [LocalError::ConfigPath { file: file() }],
        LocalError::Stdout(_) => [LocalError::Stdout(system())],
        LocalError::ReadyFd { .. } => [LocalError::ReadyFd { fd: N.into(), source: system() }],
        LocalError::Exec { .. } => [LocalError::Exec { command: text("COMMAND"), source: system() }],
        LocalError::ConfigWrite { .. } => [LocalError::ConfigWrite { file: file(), source: system() }],
        LocalError::NoHome => [LocalError::NoHome],
        LocalError::Record(_) => [LocalError::Record(StoreError { file: file(), source: system() })],
        LocalError::NoState => [LocalError::NoState],
        LocalError::NoSession { .. } => [LocalError::NoSession { id: text("ID"), region: text("REGION") }],
        LocalError::Page { .. } => [LocalError::Page { file: file(), source: system() }],
        LocalError::OwnPath(_) => [LocalError::OwnPath(system())],
    })
}

fn supervisor_errors() -> Vec<SupervisorError> {
    let name = || text("NAME");
    let command = || text("COMMAND");
    let definitions = samples!(DefinitionError {
        DefinitionError::NotOurs { .. } => [DefinitionError::NotOurs { file: file() }],
        DefinitionError::Io { .. } => [DefinitionError::Io { file: file(), source: system() }],
    });
    samples!(SupervisorError {
        SupervisorError::None(_) => [SupervisorError::None(other())],
        SupervisorError::Failed { .. } => [
            SupervisorError::Failed { command: command(), said: other(), name: None },
            SupervisorError::Failed { command: command(), said: other(), name: Some(name()) },
        ],
        SupervisorError::NotUp { .. } => [SupervisorError::NotUp { name: name() }],
        SupervisorError::Keys { .. } => [SupervisorError::Keys { name: name() }],
        SupervisorError::Secret(_) => [SupervisorError::Secret(SecretVariable { name: "VARIABLE" })],
        SupervisorError::SecretFlag => [SupervisorError::SecretFlag],
        SupervisorError::Path(_) => [SupervisorError::Path("PATH".into())],
        SupervisorError::NoFolder => [SupervisorError::NoFolder],
        SupervisorError::Definition(_) => definitions.into_iter().map(SupervisorError::Definition),
    })
}

fn touched() -> Vec<Touched> {
    let (first, last) = (N.into(), N.into());
    let faults = samples!(Fault {
        Fault::NotALine => [Fault::NotALine],
        Fault::Changed => [Fault::Changed],
        Fault::Missing { .. } => [Fault::Missing { first, last }],
        Fault::OutOfPlace { .. } => [Fault::OutOfPlace { seq: first, before: last }],
        Fault::Replaced => [Fault::Replaced],
        Fault::CutOff { .. } => [Fault::CutOff { first, last }],
        Fault::OtherHead => [Fault::OtherHead],
    });
    faults.into_iter().map(|fault| Touched { file: file(), line: PLACE.0, fault }).collect()
}

fn usage_errors() -> Vec<UsageError> {
    samples!(UsageError {
        UsageError::ViaForEveryHost => [UsageError::ViaForEveryHost],
        UsageError::PasswordForEveryHost => [UsageError::PasswordForEveryHost],
        UsageError::NotConfirmed => [UsageError::NotConfirmed],
        // clap's words; prose above the table.
        UsageError::CommandLine { .. } => [],
        UsageError::Dismissed => [UsageError::Dismissed],
        UsageError::NothingToAskOn { .. } => [UsageError::NothingToAskOn { flag: "FLAG" }],
        UsageError::NoInput { .. } => [UsageError::NoInput { flag: "FLAG" }],
        UsageError::NoPage { .. } => [UsageError::NoPage { command: text("COMMAND"), word: text("WORD") }],
        UsageError::Taken { .. } => [UsageError::Taken { table: "TABLE", name: text("NAME") }],
        UsageError::NoUser => [UsageError::NoUser],
        UsageError::NoExec => [UsageError::NoExec],
        UsageError::NotForToken { .. } => {
            [UsageError::NotForToken { name: text("NAME"), missing: "KEY" }]
        }
        UsageError::NoSession => [UsageError::NoSession],
        UsageError::ExecBeforeName { .. } => [UsageError::ExecBeforeName { name: text("NAME") }],
        UsageError::NoPort { .. } => [UsageError::NoPort { host: text("HOST") }],
        UsageError::NotAPort { .. } => [UsageError::NotAPort { host: text("HOST"), port: text("VALUE") }],
        UsageError::NotADatabase { .. } => {
            [UsageError::NotADatabase { name: text("NAME"), nearest: None }]
        }
        UsageError::PortOfForward { .. } => [UsageError::PortOfForward { name: text("NAME") }],
    })
}

/// Every report that a command can end with.
fn reports() -> Vec<Report> {
    let bind = Bind::Host(text("127.0.0.1"), PORT);
    let bind = BindError { bind, source: system() };
    let mut reports = vec![Report::from(bind)];
    reports.extend(config_errors().into_iter().map(Report::from));
    reports.extend(plan_errors().into_iter().map(Report::from));
    reports.extend(reach_errors().into_iter().map(Report::from));
    reports.extend(install_errors().into_iter().map(Report::from));
    reports.extend(local_errors().into_iter().map(Report::from));
    reports.extend(usage_errors().into_iter().map(Report::from));
    reports.extend(supervisor_errors().into_iter().map(Report::from));
    reports.extend(touched().into_iter().map(Report::from));
    reports
}

/// A stand-in for any error: its tables say the rest.
fn any_error() -> Rc<ReachError> {
    Rc::new(ReachError::Aws(ApiError::Settings(other())))
}

fn forward_events() -> Vec<ForwardEvent> {
    let from = || text("ADDRESS");
    samples!(ForwardEvent {
        ForwardEvent::Refused { .. } => [ForwardEvent::Refused { from: from() }],
        ForwardEvent::TimedOut { .. } => [ForwardEvent::TimedOut { from: from(), after: seconds() }],
        ForwardEvent::SessionFailed { .. } => {
            [0, 1, N.into()].map(|connections| ForwardEvent::SessionFailed { error: any_error(), connections })
        }
        ForwardEvent::DialFailed { .. } => {
            let to = Asked { host: text("HOST"), port: PORT };
            [ForwardEvent::DialFailed { from: from(), to, error: any_error() }]
        }
        ForwardEvent::NameFailed { .. } => [ForwardEvent::NameFailed { error: any_error() }],
        ForwardEvent::Life(_) => life_events().into_iter().map(ForwardEvent::Life),
        ForwardEvent::Session(_) => notices().into_iter().map(ForwardEvent::Session),
    })
}

fn life_events() -> Vec<LifeEvent> {
    let host = || text("NAME");
    let steps = start_steps();
    samples!(LifeEvent {
        LifeEvent::Waiting { .. } => {
            steps.into_iter().map(|step| LifeEvent::Waiting { host: host(), step, since: seconds() })
        }
        LifeEvent::Ready { .. } => [LifeEvent::Ready { host: host(), after: seconds() }],
        LifeEvent::Began { .. } => [LifeEvent::Began { host: host(), life: other() }],
        LifeEvent::EndsSoon { .. } => {
            [LifeEvent::EndsSoon { host: host(), left: Duration::from_secs(60 * u64::from(N)) }]
        }
    })
}

fn notices() -> Vec<Notice> {
    samples!(Notice {
        Notice::CustomerMessage(_) => [Notice::CustomerMessage(other())],
        Notice::FirstInputUnanswered => [Notice::FirstInputUnanswered],
        Notice::Retrying(_) => [Notice::Retrying(other())],
        Notice::Interrupted(_) => [Notice::Interrupted(other())],
        Notice::CredentialsEnded { .. } => {
            let left = Duration::from_secs(60 * u64::from(N));
            [Notice::CredentialsEnded { error: ApiError::NoCredentials(other()), left }]
        }
        Notice::Resumed(_) => [Notice::Resumed(seconds())],
        Notice::Approval(_) => approval_events().into_iter().map(Notice::Approval),
        Notice::Measured(_) => {
            [Notice::Measured(Measured { round_trip: Duration::from_secs(1), message_size: 1 })]
        }
        Notice::LoginRefused { .. } => {
            [Notice::LoginRefused { machine: text("TARGET"), user: text("USER") }]
        }
        Notice::Recorded(_) => [Notice::Recorded(fact())],
    })
}

/// Every note that a command can print while it runs.
fn printed_notes() -> Vec<String> {
    let (remote, target, region) = ("REMOTE", "TARGET", "REGION");
    let mut all = vec![
        notes::of_listener("LOCAL", remote, target),
        notes::of_wide_listener("LOCAL"),
        notes::of_empty_list(0, region),
        notes::of_empty_list(N.into(), region),
        notes::of_incomplete_list(&ApiError::Settings(other())),
        notes::of_cached_list(seconds()),
        notes::of_written(&file()),
        notes::of_nothing_to_add(&file()),
        notes::of_up("NAME", "LOCAL"),
        notes::of_down("NAME"),
        notes::of_restart("NAME"),
        notes::LINGER.to_owned(),
        notes::NOTHING_UP.to_owned(),
        notes::of_silent_port(PORT),
        notes::of_connect_by_hand("TARGET"),
        notes::of_dropped_lines(N.into()),
        notes::of_no_sessions(region),
        notes::of_database_user("USER"),
        notes::of_mysql_pwd(),
        notes::of_login_offer("NAME", "COMMAND"),
        notes::of_failed_login("COMMAND", "…"),
        notes::of_no_leaked_sessions(region),
        notes::of_empty_record(&file()),
        notes::of_unwritten_record(&StoreError { file: file(), source: system() }),
        format!("warning: {}", notes::of_other_home(Path::new("HOME"), Path::new("FILE"))),
    ];
    all.extend(life_events().iter().map(notes::of_life));
    all.extend(approval_events().iter().map(notes::of_approval));
    all.extend(notices().iter().filter_map(|notice| notes::of_connect(notice, PORT)));
    let failures = forward_events();
    let failures = failures.iter().filter_map(|event| notes::of_forward(event, remote, target));
    all.extend(failures.map(|failure| failure.report.cause().to_owned()));
    all.extend(key_problems().iter().map(KeyProblem::to_string));
    all.extend(value_errors().iter().map(ValueError::to_string));
    all.extend(spec_errors().iter().map(SpecError::to_string));
    all
}

/// Returns the form in which messages and rows are compared.
fn comparable(message: &str) -> String {
    let named = PLACEHOLDERS.iter().fold(message.to_owned(), |text, (value, name)| text.replace(value, name));
    let named = value_errors().iter().fold(named, |text, error| {
        let value =
            PLACEHOLDERS.iter().fold(error.to_string(), |text, (value, name)| text.replace(value, name));
        // Only behind the name of a key or variable.
        text.replace(&format!("KEY` {value}"), "KEY` …")
            .replace(&format!("environment {value}"), "environment …")
    });
    named.chars().filter(|letter| !"`\"'\\".contains(*letter)).collect::<String>().trim().to_owned()
}

/// A row of docs/errors.md; the exit code is that of its table, if it has any.
struct Row {
    message: String,
    exit: Option<u8>,
}

fn rows() -> Vec<Row> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, messages) = page.split_once("\n## Messages\n").expect("the section");
    let cells = messages.lines().filter_map(|line| line.strip_prefix("| ")).map(|line| line.split(" | "));
    let rows = cells.map(|mut cells| (cells.next().unwrap_or_default(), cells.next().unwrap_or_default()));
    let rows = rows.filter(|(message, _)| message.contains('`'));
    rows.map(|(message, next)| Row { message: comparable(message), exit: next.trim().parse().ok() }).collect()
}

#[test]
fn the_page_of_errors_has_one_row_for_each_message() {
    let mut expected: BTreeMap<String, Option<ExitKind>> = BTreeMap::new();
    for report in reports() {
        let cause = comparable(report.cause());
        let before = expected.insert(cause.clone(), Some(report.exit()));
        assert!(before.is_none_or(|exit| exit == Some(report.exit())), "two exit codes: {cause}");
    }
    expected.extend(printed_notes().iter().map(|note| (comparable(note), None)));
    let rows = rows();
    let mut faults = Vec::new();
    for (message, exit) in &expected {
        let exit = exit.map(ExitKind::code);
        match rows.iter().filter(|row| row.message == *message).collect::<Vec<_>>()[..] {
            [row] if row.exit == exit => {}
            [row] => faults.push(format!("exit {exit:?}, not {:?}: {message}", row.exit)),
            [] => faults.push(format!("no row, exit {exit:?}: {message}")),
            _ => faults.push(format!("several rows: {message}")),
        }
    }
    let known: BTreeSet<&str> = expected.keys().map(String::as_str).collect();
    let stale = rows.iter().filter(|row| !known.contains(&*row.message));
    faults.extend(stale.map(|row| format!("no message has this row: {}", row.message)));
    assert!(faults.is_empty(), "docs/errors.md:\n{}", faults.join("\n"));
}
