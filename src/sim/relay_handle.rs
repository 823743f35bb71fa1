//! The channels between a session's relay, the gateway's websockets and the API.

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::sim::faults::{AgentLoss, CutKind};
use crate::sim::journal::Detach;

const CAPACITY: usize = 256;

/// The senders to a relay.
#[derive(Clone, Debug)]
pub(super) struct RelayHandle {
    pub control: mpsc::UnboundedSender<Control>,
    pub messages: mpsc::Sender<Bytes>,
}

/// The relay's receivers.
#[derive(Debug)]
pub(super) struct RelayInputs {
    pub control: mpsc::UnboundedReceiver<Control>,
    pub messages: mpsc::Receiver<Bytes>,
}

impl RelayHandle {
    pub fn channel() -> (Self, RelayInputs) {
        let (control, control_inputs) = mpsc::unbounded_channel();
        let (messages, message_inputs) = mpsc::channel(CAPACITY);
        (Self { control, messages }, RelayInputs { control: control_inputs, messages: message_inputs })
    }
}

/// A request to a relay.
#[derive(Debug)]
pub(super) enum Control {
    /// A client has opened its websocket.
    Attach(AttachedClient),
    /// A client's websocket is closed.
    Detach { client: u64, why: Detach },
    /// Cut the client's websocket now.
    Cut(CutKind),
    /// End the session; `output` is the text for the client.
    Terminate { output: String },
    /// Stop the agent without notice.
    LoseAgent(AgentLoss),
    /// Look at the faults again: they have changed.
    FaultsChanged,
}

/// The relay's end of a client's websocket.
#[derive(Debug)]
pub(super) struct AttachedClient {
    pub id: u64,
    pub outgoing: mpsc::Sender<Outgoing>,
    pub disconnect: watch::Sender<Option<Disconnect>>,
}

/// What is written to a client's websocket, in order.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A binary message.
    Message(Bytes),
    /// A cut, once everything before it is written.
    Cut(CutKind),
}

/// A request to close a client's websocket at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disconnect {
    /// Cut it.
    Cut(CutKind),
    /// Close it: a newer websocket has replaced it.
    Replaced,
}
