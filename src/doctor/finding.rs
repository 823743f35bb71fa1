//! One link of the chain, and what was found out about it.

use crate::bastion::Egress;
use crate::reach::ReachError;
use crate::transport::{ConnectError, TlsFault};

use super::limit::Late;

/// The kind of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The config file.
    Config,
    /// ssh on this machine.
    Ssh,
    /// The way to one of AWS's services.
    Network,
    /// The clock of this machine.
    Clock,
    /// The credentials.
    Credentials,
    /// What IAM allows the caller.
    Permissions,
    /// The name of the target.
    Name,
    /// The machine that a session is opened to.
    Machine,
    /// The role of its instance profile.
    Role,
    /// The way from its subnet to Systems Manager.
    Subnet,
    /// Its agent.
    Agent,
    /// A session.
    Session,
    /// A machine on the way.
    Hop,
    /// What is at the port.
    Port,
    /// What the session has measured.
    Path,
    /// A login with a key that is pushed.
    Login,
    /// The guardian of the bastion.
    Guardian,
    /// What was left behind.
    Leftovers,
    /// What failed before.
    Log,
}

impl Component {
    /// Returns the stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Ssh => "ssh",
            Self::Network => "network",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Permissions => "permissions",
            Self::Name => "name",
            Self::Machine => "machine",
            Self::Role => "role",
            Self::Subnet => "subnet",
            Self::Agent => "agent",
            Self::Session => "session",
            Self::Hop => "hop",
            Self::Port => "port",
            Self::Path => "path",
            Self::Login => "login",
            Self::Guardian => "guardian",
            Self::Leftovers => "leftovers",
            Self::Log => "log",
        }
    }
}

/// What was found out about one link.
#[derive(Debug)]
pub struct Finding {
    /// The kind of the link.
    pub component: Component,
    /// Which one: a host, a URL, a name.
    pub target: String,
    /// What was found.
    pub outcome: Outcome,
}

/// The result of a look.
#[derive(Debug)]
pub enum Outcome {
    /// It works; the text says how.
    Good(String),
    /// What happened before; it says nothing about now.
    Noted(String),
    /// It works now, and something will be in the way.
    Doubtful(Diagnosis),
    /// It is broken.
    Broken(Diagnosis),
    /// It was not looked at, since an earlier link is broken.
    Skipped,
    /// It could not be looked at; the text says why.
    Unknown(String),
}

impl Outcome {
    /// A link that was not looked at to its end.
    pub(super) fn late(late: Late) -> Self {
        Self::Unknown(late.to_string())
    }

    /// A broken link with an error.
    pub fn failed(error: ReachError) -> Self {
        Self::Broken(Diagnosis::Failed(Box::new(error)))
    }
}

impl Finding {
    /// Makes a finding.
    pub fn new(component: Component, target: impl Into<String>, outcome: Outcome) -> Self {
        Self { component, target: target.into(), outcome }
    }
}

/// What is wrong with a link.
#[derive(Debug)]
pub enum Diagnosis {
    /// An attempt failed.
    Failed(Box<ReachError>),
    /// ssh on this machine.
    Ssh(SshProblem),
    /// The way to AWS, and the clock.
    Network(NetworkProblem),
    /// The credentials end in so many minutes.
    EndsSoon(u64),
    /// The machine, its agent, its port.
    Machine(MachineProblem),
    /// The guardian and what it cares for.
    Bastion(BastionProblem),
    /// StartSession is denied, so that access will be requested, whose approval may not be for this document.
    AccessRequest(String),
    /// What was left behind.
    Leftover(Leftover),
    /// No policy allows these actions, or one denies them.
    NotAllowed(Vec<String>),
    /// It is in other regions.
    Elsewhere(Elsewhere),
}

/// What is wrong with ssh on this machine.
#[derive(Debug)]
pub enum SshProblem {
    /// There is no OpenSSH client.
    NoSsh,
    /// ssh does not use fumidai for this host, but this, or nothing.
    OtherProxyCommand(Option<String>),
    /// ssh gives up after these seconds, before the resume window of these seconds is over.
    AliveTooShort {
        /// ServerAliveInterval × (ServerAliveCountMax + 1).
        alive: u64,
        /// The resume window.
        window: u64,
    },
    /// ssh reads the files of another home folder than fumidai, which goes by `HOME`.
    OtherHome {
        /// The home folder of the password file, which ssh uses.
        of_ssh: String,
        /// `HOME`.
        variable: String,
    },
    /// The socket of ControlMaster has a path of so many bytes.
    LongControlPath(usize),
}

/// What is wrong with the way to AWS.
#[derive(Debug)]
pub enum NetworkProblem {
    /// The name of a host cannot be resolved.
    Unresolved(String),
    /// No connection to a host.
    Unreachable(String),
    /// A host has an address of a private network, where nothing answers.
    PrivateUnreachable {
        /// The address.
        address: String,
        /// What happened.
        error: String,
    },
    /// The proxy refuses the connection.
    Proxy {
        /// The proxy, without its password.
        proxy: String,
        /// Why.
        error: ConnectError,
    },
    /// A captive portal or a proxy answers in place of the host or the proxy.
    Portal(String),
    /// The certificate of a host is not accepted.
    Untrusted {
        /// Why.
        error: String,
        /// Who issued it: untrusted.
        issuer: Option<String>,
        /// What is wrong with it.
        fault: TlsFault,
    },
    /// This machine has no root certificates.
    NoRoots(String),
    /// What answered is not AWS: a captive portal, or another server.
    NotAws(u16),
    /// The clock is off by so many seconds.
    ClockOff(i64),
}

/// What is wrong with the machine.
#[derive(Debug)]
pub enum MachineProblem {
    /// Its agent.
    Agent(AgentProblem),
    /// EC2 knows no such instance in this region.
    NotHere {
        /// The region.
        region: String,
        /// How many other regions do not know it either; `None` is unknown.
        others: Option<usize>,
    },
    /// The role of the instance profile may not do what an agent does.
    Role {
        /// The ARN of the role; `None` if the profile has none.
        role: Option<String>,
        /// The actions.
        denied: Vec<String>,
    },
    /// Packets do not get to Systems Manager.
    Egress(Egress),
    /// The instance is not running.
    NotRunning(String),
    /// The port is open and says nothing.
    SilentPort(u16),
}

/// What is wrong with the care for a bastion.
#[derive(Debug)]
pub enum BastionProblem {
    /// The guardian is missing.
    NoGuardian(String),
    /// The guardian may not change these.
    NotGuarded(Vec<String>),
    /// It runs, and no session is open.
    Unused(String),
    /// A group was left on an interface.
    GroupLeft {
        /// The group.
        group: String,
        /// The interface.
        interface: String,
    },
}

/// What is wrong with the agent.
#[derive(Debug)]
pub enum AgentProblem {
    /// The instance has no instance profile, and its agent has never connected.
    NoInstanceProfile,
    /// Systems Manager does not know the machine: its agent has never connected.
    NeverConnected,
    /// The agent has been lost for so many seconds; `None` is unknown.
    AgentLost(Option<u64>),
    /// The agent reports to `ssm`, and has no connection to `ssmmessages`.
    NoMessageChannel,
    /// The agent is too old for what is asked of it.
    OldAgent {
        /// Its version.
        version: String,
        /// What it cannot do.
        lacks: Lacks,
    },
}

/// What an agent is too old for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// It cannot connect to other hosts, and nothing else leads on.
    OtherHosts,
    /// It cannot connect to other hosts; the hop's sshd is used.
    OtherHostsButSshd,
    /// Each connection of a forward is a session of its own.
    Multiplexing,
}

/// What was left behind.
#[derive(Debug)]
pub enum Leftover {
    /// So many sessions of this caller are open, which processes use or other machines started.
    OpenSessions(usize),
    /// The processes that started these sessions are gone.
    LeakedSessions(Vec<String>),
    /// Nothing listens on these unix sockets.
    StaleSockets(Vec<String>),
}

/// A target that is not in this region, and is in others.
#[derive(Debug)]
pub struct Elsewhere {
    /// The region that was asked first.
    pub region: String,
    /// The other regions, and the ids there.
    pub found: Vec<(String, String)>,
}
