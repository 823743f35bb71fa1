//! The faults of the service: a plain value, which can change while the simulator runs.
//!
//! Faults are independent: scripted API answers and upgrade statuses, faults of either path, cuts of the client's
//! websocket, and limits of the service. Options of the agent are in [`AgentConfig`](crate::sim::agent::AgentConfig).

use std::time::Duration;

use crate::sim::link::LinkConfig;

/// The faults of the service; the default has none.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Scripted API answers; the first that matches an operation is used.
    pub api: Vec<ApiFault>,
    /// Scripted answers to websocket upgrades, used in order.
    pub upgrades: Vec<UpgradeFault>,
    /// The path from the client to the agent.
    pub to_agent: PathFaults,
    /// The path from the agent to the client.
    pub to_client: PathFaults,
    /// The cuts of the client's websocket.
    pub cuts: Vec<Cut>,
    /// The limits of the service.
    pub limits: Limits,
    /// The agent sends nothing after this step.
    pub agent_silent_at: Option<SessionStep>,
    /// Pings are not answered; read when a websocket is opened.
    pub never_pong: bool,
    /// The service sends messages of one byte without a pause; read when a websocket is opened.
    pub flood: bool,
    /// What happens to messages while no client is attached.
    pub absent: Absent,
    /// The service sends start_publication first.
    pub start_publication: bool,
    /// The header form of channel_closed.
    pub closed_form: ClosedForm,
    /// The delay of every dial of an agent; an hour is a black hole.
    pub dial_delay: Duration,
    /// A session ends when its client has sent no data, size, flag or token for this time.
    pub idle_timeout: Option<Duration>,
    /// A session ends at this age.
    pub max_duration: Option<Duration>,
    /// A token is valid once only.
    pub single_use_tokens: bool,
    /// How long a token is valid.
    pub token_lifetime: Option<Duration>,
}

/// One scripted answer of the API.
#[derive(Clone, Debug)]
pub struct ApiFault {
    /// The operation, such as `StartSession`.
    pub operation: String,
    /// The effect.
    pub effect: ApiEffect,
    /// The number of times.
    pub times: u32,
}

/// The effect on an API call.
#[derive(Clone, Debug)]
pub enum ApiEffect {
    /// An error; the status is 500 for names with `Internal` or `Unavailable`, else 400.
    Error {
        /// The error code.
        code: String,
        /// The message.
        message: String,
    },
    /// The correct answer after a delay.
    Delay(Duration),
    /// No answer.
    Hang,
    /// The connection is closed without an answer.
    Disconnect,
    /// ResumeSession only: an answer without a token, as for an ended session.
    EmptyToken,
    /// ResumeSession only: a new StreamUrl, after which the old one is refused.
    NewStreamUrl,
}

/// One scripted answer to a websocket upgrade.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeFault {
    /// The HTTP status.
    pub status: u16,
    /// The number of times.
    pub times: u32,
}

/// The faults of one path.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathFaults {
    /// Delay, loss, duplicates, reordering, bandwidth.
    pub link: LinkConfig,
    /// The share of acknowledgements that are lost.
    pub lost_acks: f64,
    /// The share of stream messages with a damaged digest.
    pub corrupt_digest: f64,
}

/// One scripted cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// When the cut happens.
    pub when: CutWhen,
    /// How the websocket is cut.
    pub how: CutKind,
    /// The number of times.
    pub times: u32,
}

/// When a websocket is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutWhen {
    /// This many raw bytes after the upgrade, both directions together; in the middle of a frame if need be.
    Bytes(u64),
    /// This long after it was opened.
    After(Duration),
    /// Before the message of this step is passed on; the message is lost.
    Before(SessionStep),
    /// After the message of this step was passed on.
    Past(SessionStep),
}

/// How a websocket is cut; messages in transit are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// By a TCP reset.
    Reset,
    /// By close code 1000 with the reason "Bye", as the service does about every hour.
    Bye,
    /// The connection stays open, but nothing is read or written.
    BlackHole,
}

/// A step of a session, at which a fault can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionStep {
    /// The upgrade is answered; the token is awaited.
    Upgraded,
    /// The token is accepted.
    Opened,
    /// The agent's handshake request.
    HandshakeRequest,
    /// The client's handshake response.
    HandshakeResponse,
    /// The agent's HandshakeComplete.
    HandshakeComplete,
    /// Data from the client.
    ClientOutput,
    /// Data from the agent.
    AgentOutput,
    /// A flag from the client, such as TerminateSession.
    ClientFlag,
    /// The service's channel_closed.
    ChannelClosed,
}

/// The limits of the service.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Client messages per second; the websocket is closed when they are exceeded for 2 s.
    pub messages_per_second: Option<u32>,
    /// The longest message from a client.
    pub message_size: Option<usize>,
    /// What happens to a longer message.
    pub oversized: Oversized,
}

/// What happens to a message that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversized {
    /// The websocket is closed.
    #[default]
    Close,
    /// The message is dropped.
    Drop,
}

/// What happens to messages while no client is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    /// They are dropped.
    #[default]
    Drop,
    /// They are queued.
    Queue,
    /// They are dropped, and the agent receives pause_publication, then start_publication when a client is attached.
    Pause,
}

/// How the loss of an agent shows to its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentLoss {
    /// The service ends the session at once, without a reason.
    #[default]
    Closed,
    /// Nothing is sent.
    Silent,
}

/// The header form of channel_closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClosedForm {
    /// Header length 112 and NUL padding, as observed from the service.
    #[default]
    Service,
    /// Header length 116 and space padding.
    Agent,
}

impl Faults {
    /// Adds an API error that is returned `times` times.
    pub fn fail_api(&mut self, operation: &str, code: &str, message: &str, times: u32) {
        let effect = ApiEffect::Error { code: code.to_owned(), message: message.to_owned() };
        self.api.push(ApiFault { operation: operation.to_owned(), effect, times });
    }

    /// Adds a cut.
    pub fn cut(&mut self, when: CutWhen, how: CutKind, times: u32) {
        self.cuts.push(Cut { when, how, times });
    }

    /// Sets the link of both paths.
    pub fn set_link(&mut self, link: LinkConfig) {
        self.to_agent.link = link;
        self.to_client.link = link;
    }

    /// Takes the next scripted answer to an API call.
    pub(super) fn take_api(&mut self, operation: &str) -> Option<ApiEffect> {
        let fault = self.api.iter_mut().find(|fault| fault.operation == operation && fault.times > 0)?;
        fault.times -= 1;
        Some(fault.effect.clone())
    }

    /// Takes the next scripted answer to an upgrade.
    pub(super) fn take_upgrade(&mut self) -> Option<u16> {
        let fault = self.upgrades.iter_mut().find(|fault| fault.times > 0)?;
        fault.times -= 1;
        Some(fault.status)
    }

    /// Takes a cut that is due at exactly this moment.
    pub(super) fn take_cut(&mut self, when: CutWhen) -> Option<CutKind> {
        let cut = self.cuts.iter_mut().find(|cut| cut.when == when && cut.times > 0)?;
        cut.times -= 1;
        Some(cut.how)
    }

    /// Takes the cut by bytes for a new websocket.
    pub(super) fn take_byte_cut(&mut self) -> Option<(u64, CutKind)> {
        self.cuts.iter_mut().filter(|cut| cut.times > 0).find_map(|cut| match cut.when {
            CutWhen::Bytes(bytes) => {
                cut.times -= 1;
                Some((bytes, cut.how))
            }
            CutWhen::After(_) | CutWhen::Before(_) | CutWhen::Past(_) => None,
        })
    }

    /// Returns the age at which a new websocket is cut; the cut is taken when it happens.
    pub(super) fn next_timed_cut(&self) -> Option<Duration> {
        self.cuts.iter().filter(|cut| cut.times > 0).find_map(|cut| match cut.when {
            CutWhen::After(age) => Some(age),
            CutWhen::Bytes(_) | CutWhen::Before(_) | CutWhen::Past(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripted_answers_are_used_in_order() {
        let mut faults = Faults::default();
        faults.fail_api("StartSession", "ThrottlingException", "slow down", 2);
        faults.upgrades.push(UpgradeFault { status: 403, times: 1 });
        assert!(faults.take_api("ResumeSession").is_none());
        assert!(faults.take_api("StartSession").is_some());
        assert!(faults.take_api("StartSession").is_some());
        assert!(faults.take_api("StartSession").is_none());
        assert_eq!((faults.take_upgrade(), faults.take_upgrade()), (Some(403), None));
    }

    #[test]
    fn cuts_happen_the_scripted_number_of_times() {
        let mut faults = Faults::default();
        faults.cut(CutWhen::Bytes(1000), CutKind::Reset, 1);
        faults.cut(CutWhen::Before(SessionStep::ChannelClosed), CutKind::Bye, 1);
        assert_eq!(faults.take_byte_cut(), Some((1000, CutKind::Reset)));
        assert_eq!(faults.take_byte_cut(), None);
        assert_eq!(faults.take_cut(CutWhen::Past(SessionStep::ChannelClosed)), None);
        assert_eq!(faults.take_cut(CutWhen::Before(SessionStep::ChannelClosed)), Some(CutKind::Bye));
    }
}
