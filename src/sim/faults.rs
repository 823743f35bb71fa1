//! What goes wrong: a plain value, changeable while the simulator runs.
//!
//! Faults are orthogonal: a script of API answers and upgrade statuses, what either path does to messages, when and how
//! the client's websocket is cut, the service's limits and manners. The agent's own knobs are in
//! [`AgentConfig`](crate::sim::agent::AgentConfig).

use std::time::Duration;

use crate::sim::link::LinkConfig;

/// Everything that goes wrong; the default is a faultless service.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Scripted API answers; the first that matches an operation is used up.
    pub api: Vec<ApiFault>,
    /// Scripted answers to websocket upgrades, used up in order.
    pub upgrades: Vec<UpgradeFault>,
    /// The path from the client to the agent.
    pub to_agent: PathFaults,
    /// The path from the agent to the client.
    pub to_client: PathFaults,
    /// When and how the client's websocket is cut.
    pub cuts: Vec<Cut>,
    /// What the service does not put up with.
    pub limits: Limits,
    /// The agent says nothing any more once this step is reached.
    pub agent_silent_at: Option<SessionStep>,
    /// Pings are not answered; decided for a websocket when it is opened.
    pub never_pong: bool,
    /// What happens to messages for an absent client.
    pub absent: Absent,
    /// The service sends start_publication first.
    pub start_publication: bool,
    /// The header form of channel_closed.
    pub closed_form: ClosedForm,
    /// How long every dial of an agent takes, before it comes to connecting; an hour is a black hole.
    pub dial_delay: Duration,
    /// A session ends when its client has sent no data, size, flag or token for so long.
    pub idle_timeout: Option<Duration>,
    /// A session ends when it is so old.
    pub max_duration: Option<Duration>,
    /// A token works only once.
    pub single_use_tokens: bool,
    /// How long a token works.
    pub token_lifetime: Option<Duration>,
}

/// One scripted answer of the API.
#[derive(Clone, Debug)]
pub struct ApiFault {
    /// The operation's name, as `StartSession`.
    pub operation: String,
    /// What happens.
    pub effect: ApiEffect,
    /// How many times.
    pub times: u32,
}

/// What happens to an API call.
#[derive(Clone, Debug)]
pub enum ApiEffect {
    /// An error; names that say internal or unavailable are status 500, others 400.
    Error {
        /// The error's name.
        code: String,
        /// Its text.
        message: String,
    },
    /// The right answer, late.
    Delay(Duration),
    /// No answer at all.
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
    /// How many times.
    pub times: u32,
}

/// What one path does to messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathFaults {
    /// Delay, loss, duplicates, reordering, bandwidth.
    pub link: LinkConfig,
    /// The share of acknowledgements that vanish.
    pub lost_acks: f64,
    /// The share of stream messages whose digest is damaged.
    pub corrupt_digest: f64,
}

/// One scripted cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// When.
    pub when: CutWhen,
    /// How.
    pub how: CutKind,
    /// How many times.
    pub times: u32,
}

/// When a websocket is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutWhen {
    /// After so many raw bytes after the upgrade, both directions together; in the middle of a frame if need be.
    Bytes(u64),
    /// So long after it was opened.
    After(Duration),
    /// Before the message of this step is passed on; it is lost.
    Before(SessionStep),
    /// After the message of this step was passed on.
    Past(SessionStep),
}

/// How a websocket is cut; what is on its way is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutKind {
    /// By a TCP reset.
    Reset,
    /// By close code 1000 with the reason "Bye", as the service does about every hour.
    Bye,
    /// Not at all visibly: nothing is read or written any more.
    BlackHole,
}

/// A step of a session that a cut or a silence can be tied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionStep {
    /// The upgrade was answered; the token is awaited.
    Upgraded,
    /// The token was accepted.
    Opened,
    /// The agent's handshake request.
    HandshakeRequest,
    /// The client's handshake response.
    HandshakeResponse,
    /// The agent's end of the handshake.
    HandshakeComplete,
    /// Data from the client.
    ClientOutput,
    /// Data from the agent.
    AgentOutput,
    /// A flag from the client, as TerminateSession.
    ClientFlag,
    /// The service's channel_closed.
    ChannelClosed,
}

/// What the service does not put up with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Client messages per second; the websocket is closed when it is exceeded for 2 s.
    pub messages_per_second: Option<u32>,
    /// The longest message from a client.
    pub message_size: Option<usize>,
    /// What happens to a longer one.
    pub oversized: Oversized,
}

/// What happens to a message that is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oversized {
    /// The websocket is closed.
    #[default]
    Close,
    /// It vanishes.
    Drop,
}

/// What happens to messages for an absent client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    /// They vanish.
    #[default]
    Drop,
    /// They wait.
    Queue,
    /// They vanish, and the agent gets pause_publication, and start_publication on the client's return.
    Pause,
}

/// What a client sees of its agent's death.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentLoss {
    /// The service says at once that the session is over, and not why.
    #[default]
    Closed,
    /// Nothing at all.
    Silent,
}

/// The header form of channel_closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClosedForm {
    /// Header length 112 and NUL padding, as seen from the service.
    #[default]
    Service,
    /// Header length 116 and space padding.
    Agent,
}

impl Faults {
    /// Adds an API error that is answered so many times.
    pub fn fail_api(&mut self, operation: &str, code: &str, message: &str, times: u32) {
        let effect = ApiEffect::Error { code: code.to_owned(), message: message.to_owned() };
        self.api.push(ApiFault { operation: operation.to_owned(), effect, times });
    }

    /// Adds a cut.
    pub fn cut(&mut self, when: CutWhen, how: CutKind, times: u32) {
        self.cuts.push(Cut { when, how, times });
    }

    /// Gives both paths the same link.
    pub fn set_link(&mut self, link: LinkConfig) {
        self.to_agent.link = link;
        self.to_client.link = link;
    }

    /// Uses up the next scripted answer to an API call.
    pub(super) fn take_api(&mut self, operation: &str) -> Option<ApiEffect> {
        let fault = self.api.iter_mut().find(|fault| fault.operation == operation && fault.times > 0)?;
        fault.times -= 1;
        Some(fault.effect.clone())
    }

    /// Uses up the next scripted answer to an upgrade.
    pub(super) fn take_upgrade(&mut self) -> Option<u16> {
        let fault = self.upgrades.iter_mut().find(|fault| fault.times > 0)?;
        fault.times -= 1;
        Some(fault.status)
    }

    /// Uses up a cut that is due at exactly this moment.
    pub(super) fn take_cut(&mut self, when: CutWhen) -> Option<CutKind> {
        let cut = self.cuts.iter_mut().find(|cut| cut.when == when && cut.times > 0)?;
        cut.times -= 1;
        Some(cut.how)
    }

    /// Uses up the cut by bytes for a new websocket.
    pub(super) fn take_byte_cut(&mut self) -> Option<(u64, CutKind)> {
        self.cuts.iter_mut().filter(|cut| cut.times > 0).find_map(|cut| match cut.when {
            CutWhen::Bytes(bytes) => {
                cut.times -= 1;
                Some((bytes, cut.how))
            }
            CutWhen::After(_) | CutWhen::Before(_) | CutWhen::Past(_) => None,
        })
    }

    /// Returns the cut by age for a new websocket; it is used up when it happens.
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
    fn scripts_are_used_up_in_order() {
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
    fn cuts_happen_as_often_as_they_say() {
        let mut faults = Faults::default();
        faults.cut(CutWhen::Bytes(1000), CutKind::Reset, 1);
        faults.cut(CutWhen::Before(SessionStep::ChannelClosed), CutKind::Bye, 1);
        assert_eq!(faults.take_byte_cut(), Some((1000, CutKind::Reset)));
        assert_eq!(faults.take_byte_cut(), None);
        assert_eq!(faults.take_cut(CutWhen::Past(SessionStep::ChannelClosed)), None);
        assert_eq!(faults.take_cut(CutWhen::Before(SessionStep::ChannelClosed)), Some(CutKind::Bye));
    }
}
