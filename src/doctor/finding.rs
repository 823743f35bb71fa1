//! One link of the chain, and what was found out about it.

use crate::reach::ReachError;

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
    /// The name of the target.
    Name,
    /// The machine that a session is opened to.
    Machine,
    /// Its agent.
    Agent,
    /// A session.
    Session,
    /// What is at the port.
    Port,
    /// A login with a key that is pushed.
    Login,
    /// The guardian of the bastion.
    Guardian,
    /// What was left behind.
    Leftovers,
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
            Self::Name => "name",
            Self::Machine => "machine",
            Self::Agent => "agent",
            Self::Session => "session",
            Self::Port => "port",
            Self::Login => "login",
            Self::Guardian => "guardian",
            Self::Leftovers => "leftovers",
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
    /// So many sessions of this caller are open.
    OpenSessions(usize),
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
    /// TLS with a host failed.
    Untrusted(String),
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
    NotHere(String),
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
    /// The agent has been lost for so many seconds.
    AgentLost(u64),
    /// The agent reports to `ssm`, and has no connection to `ssmmessages`.
    NoMessageChannel,
    /// The agent is too old to connect to other hosts.
    OldAgent(String),
}
