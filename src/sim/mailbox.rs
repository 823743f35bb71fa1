//! The channels between a relay, the gateway's websockets and the API.

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::sim::faults::{AgentLoss, CutKind};
use crate::sim::journal::Detach;

const CHANNEL: usize = 256;

/// What others use to reach a relay.
#[derive(Clone, Debug)]
pub(super) struct RelayHandle {
    pub control: mpsc::UnboundedSender<Control>,
    pub messages: mpsc::Sender<Bytes>,
}

/// The relay's ends of these.
#[derive(Debug)]
pub(super) struct RelayInputs {
    pub control: mpsc::UnboundedReceiver<Control>,
    pub messages: mpsc::Receiver<Bytes>,
}

impl RelayHandle {
    pub fn channel() -> (Self, RelayInputs) {
        let (control, control_inputs) = mpsc::unbounded_channel();
        let (messages, message_inputs) = mpsc::channel(CHANNEL);
        (Self { control, messages }, RelayInputs { control: control_inputs, messages: message_inputs })
    }
}

/// An order to a relay.
#[derive(Debug)]
pub(super) enum Control {
    /// A client has opened its websocket.
    Attach(Client),
    /// A client's websocket is gone.
    Detach { client: u64, why: Detach },
    /// Cut the client's websocket now.
    Cut(CutKind),
    /// End the session, with a text for the client.
    Terminate { output: String },
    /// The agent dies.
    LoseAgent(AgentLoss),
    /// The faults have changed.
    Reconsider,
    /// Send this to the client as it is.
    Inject(Bytes),
}

/// The relay's end of a client's websocket.
#[derive(Debug)]
pub(super) struct Client {
    pub id: u64,
    pub outgoing: mpsc::Sender<Outgoing>,
    pub order: watch::Sender<Option<Order>>,
}

/// What is written to a client's websocket, in order.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A binary message.
    Message(Bytes),
    /// A cut, once everything before it was written.
    Cut(CutKind),
}

/// What a client's websocket is told out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Be cut.
    Cut(CutKind),
    /// Leave; a newer one has come.
    Replaced,
}
