//! The agent of the tests, and the service between: frames by the channel's own codec, behaviour by script.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::channel::wire::SAFE_PAYLOAD;
use crate::channel::wire::{Frame, Header, MessageType, PayloadType};

use super::progress::Progress;

/// How many messages no client reads while it cannot answer them.
pub(super) const FLOOD_LIMIT: usize = 50_000;

/// What the agent leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// It sends nothing at all.
    Silent,
    /// It does not complete the handshake.
    Halfway,
    /// It acknowledges no data.
    Deaf,
    /// It does not acknowledge the terminate flag.
    Stubborn,
    /// The path to it breaks at a large message.
    Narrow,
}

/// The state of the agent, for all websockets one after another.
pub(super) struct State {
    pub fault: Fault,
    pub version: &'static str,
    /// How long it takes over each message that it answers.
    pub latency: Duration,
    /// The user's bytes, in order.
    pub received: Vec<u8>,
    /// What the websockets were opened with.
    pub tokens: Vec<String>,
    /// The terminate flag has arrived.
    pub flagged: bool,
    /// The service has closed the session.
    pub closed: bool,
    expected: i64,
    early: BTreeMap<i64, (PayloadType, Bytes)>,
    next: i64,
    unacknowledged: BTreeMap<i64, Bytes>,
    outbox: VecDeque<Bytes>,
    /// What is sent again and again, as soon as it is set, and nothing is read.
    flood: Option<Message>,
    /// How often it was sent.
    pub flooded: usize,
    link: Option<Link>,
}

/// The two ways in which a websocket goes wrong.
struct Link {
    cut: CancellationToken,
    stall: CancellationToken,
}

/// The agent.
#[derive(Clone)]
pub(super) struct Agent {
    pub state: Rc<RefCell<State>>,
    progress: Rc<Progress>,
    wake: Rc<tokio::sync::Notify>,
}

impl Agent {
    pub(super) fn new(progress: Rc<Progress>) -> Self {
        let state = State {
            fault: Fault::None,
            version: "3.3.987.0",
            latency: Duration::ZERO,
            received: Vec::new(),
            tokens: Vec::new(),
            flagged: false,
            closed: false,
            expected: 0,
            early: BTreeMap::new(),
            next: 0,
            unacknowledged: BTreeMap::new(),
            outbox: VecDeque::new(),
            flood: None,
            flooded: 0,
            link: None,
        };
        Self { state: Rc::new(RefCell::new(state)), progress, wake: Rc::default() }
    }

    /// Takes a websocket in place of the one before.
    pub(super) fn accept(&self, stream: DuplexStream) {
        let (cut, stall) = (CancellationToken::new(), CancellationToken::new());
        {
            let mut state = self.state.borrow_mut();
            state.link = Some(Link { cut: cut.clone(), stall: stall.clone() });
            state.outbox.clear();
        }
        let agent = self.clone();
        tokio::task::spawn_local(async move {
            let _ = cut.run_until_cancelled(agent.serve(stream, stall)).await;
            agent.progress.event();
        });
    }

    async fn serve(&self, stream: DuplexStream, stall: CancellationToken) {
        let mut websocket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        loop {
            if stall.is_cancelled() {
                return pending().await;
            }
            let latency = self.state.borrow().latency;
            if !latency.is_zero() && !self.state.borrow().outbox.is_empty() {
                sleep(latency).await;
            }
            let flood = self.state.borrow_mut().flood.take();
            if let Some(message) = flood {
                return self.serve_flood(websocket, message).await;
            }
            while let Some(frame) = self.next_frame() {
                self.progress.event();
                if websocket.feed(Message::Binary(frame)).await.is_err() {
                    return;
                }
            }
            if websocket.flush().await.is_err() {
                return;
            }
            tokio::select! {
                message = websocket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.opened(&text),
                    Some(Ok(Message::Binary(frame))) => self.take(&Frame::parse(&frame).unwrap()),
                    Some(Ok(Message::Ping(_))) => {
                        self.progress.event();
                        let _ = websocket.flush().await;
                    }
                    Some(Ok(Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                    Some(Err(_)) | None => return,
                },
                () = self.wake.notified() => {}
                () = stall.cancelled() => {}
            }
            self.progress.event();
        }
    }

    /// Sends a message as often as the client reads it, up to a number that is a fault of the client.
    async fn serve_flood(&self, mut websocket: WebSocketStream<DuplexStream>, message: Message) {
        for _ in 0..FLOOD_LIMIT {
            if websocket.feed(message.clone()).await.is_err() {
                return;
            }
            self.state.borrow_mut().flooded += 1;
            self.progress.event();
        }
        pending().await
    }

    fn next_frame(&self) -> Option<Bytes> {
        self.state.borrow_mut().outbox.pop_front()
    }

    /// The data channel is opened: begins the handshake, or resends what is unacknowledged.
    fn opened(&self, text: &str) {
        let opening: Value = serde_json::from_str(text).unwrap();
        let is_first = {
            let mut state = self.state.borrow_mut();
            state.tokens.push(opening["TokenValue"].as_str().unwrap().to_owned());
            let again: Vec<Bytes> = state.unacknowledged.values().cloned().collect();
            state.outbox.extend(again);
            state.tokens.len() == 1
        };
        if is_first && self.state.borrow().fault != Fault::Silent {
            let session_type = json!({"ActionType": "SessionType", "ActionParameters":
                {"SessionType": "Port", "Properties": {"portNumber": "22"}}});
            let version = self.state.borrow().version;
            let request = json!({"AgentVersion": version, "RequestedClientActions": [session_type]});
            self.enter(PayloadType::HandshakeRequest, request.to_string().as_bytes(), true);
        }
    }

    fn take(&self, frame: &Frame) {
        match frame.message_type {
            MessageType::Acknowledge => {
                let body: Value = serde_json::from_slice(&frame.payload).unwrap();
                let number = body["AcknowledgedMessageSequenceNumber"].as_i64().unwrap();
                self.state.borrow_mut().unacknowledged.remove(&number);
            }
            MessageType::InputStreamData => self.take_data(frame),
            MessageType::OutputStreamData
            | MessageType::ChannelClosed
            | MessageType::StartPublication
            | MessageType::PausePublication
            | MessageType::Unknown => panic!("a client does not send {frame:?}"),
        }
    }

    fn take_data(&self, frame: &Frame) {
        let payload_type = frame.payload_type.unwrap();
        let fault = self.state.borrow().fault;
        if fault == Fault::Narrow && frame.payload.len() > SAFE_PAYLOAD {
            return self.cut();
        }
        let is_unacknowledged = match payload_type {
            PayloadType::Output | PayloadType::Size => fault == Fault::Deaf,
            PayloadType::Flag => matches!(fault, Fault::Stubborn | Fault::Deaf),
            PayloadType::HandshakeResponse
            | PayloadType::None
            | PayloadType::HandshakeRequest
            | PayloadType::HandshakeComplete
            | PayloadType::Other(_) => false,
        };
        self.state.borrow_mut().early.insert(frame.sequence_number, (payload_type, frame.payload.clone()));
        if !is_unacknowledged {
            self.acknowledge(frame.sequence_number);
        }
        loop {
            let expected = self.state.borrow().expected;
            let ready = self.state.borrow_mut().early.remove(&expected);
            let Some((payload_type, payload)) = ready else { break };
            self.state.borrow_mut().expected += 1;
            self.deliver(payload_type, &payload);
        }
        let expected = self.state.borrow().expected;
        self.state.borrow_mut().early.retain(|number, _| *number > expected);
    }

    fn deliver(&self, payload_type: PayloadType, payload: &[u8]) {
        let mut state = self.state.borrow_mut();
        match payload_type {
            PayloadType::Output => state.received.extend_from_slice(payload),
            PayloadType::Flag => state.flagged = true,
            PayloadType::HandshakeResponse if state.fault != Fault::Halfway => {
                drop(state);
                self.enter(PayloadType::HandshakeComplete, b"{}", true);
            }
            PayloadType::HandshakeResponse
            | PayloadType::Size
            | PayloadType::None
            | PayloadType::HandshakeRequest
            | PayloadType::HandshakeComplete
            | PayloadType::Other(_) => {}
        }
    }

    fn acknowledge(&self, number: i64) {
        let body = json!({ "AcknowledgedMessageType": "input_stream_data", "AcknowledgedMessageId": "x",
            "AcknowledgedMessageSequenceNumber": number, "IsSequentialMessage": true });
        let frame = frame(MessageType::Acknowledge, 0, PayloadType::None, body.to_string().as_bytes());
        self.put(frame);
    }

    /// Sends the user's bytes in messages as large as the agent's.
    pub(super) fn send(&self, bytes: &[u8]) {
        for chunk in bytes.chunks(1024) {
            self.enter(PayloadType::Output, chunk, true);
        }
    }

    /// Numbers a message that gets lost on its way; [`Self::resend`] brings it.
    pub(super) fn lose(&self, bytes: &[u8]) -> i64 {
        self.enter(PayloadType::Output, bytes, false)
    }

    pub(super) fn resend(&self, number: i64) {
        let frame = self.state.borrow().unacknowledged[&number].clone();
        self.put(frame);
    }

    fn enter(&self, payload_type: PayloadType, payload: &[u8], arrives: bool) -> i64 {
        let number = {
            let mut state = self.state.borrow_mut();
            let number = state.next;
            state.next += 1;
            let frame = frame(MessageType::OutputStreamData, number, payload_type, payload);
            state.unacknowledged.insert(number, frame);
            number
        };
        if arrives {
            self.resend(number);
        }
        number
    }

    /// From now on the service sends pings only, and reads nothing, until it is given up.
    pub(super) fn flood_pings(&self) {
        self.flood_unread(Message::Ping(Bytes::from_static(&[7; 125])));
    }

    /// From now on the agent sends one acknowledged message only, and reads nothing, until its websocket is given up.
    pub(super) fn flood_duplicates(&self) {
        let duplicate = frame(MessageType::OutputStreamData, 0, PayloadType::HandshakeRequest, b"{}");
        self.flood_unread(Message::Binary(duplicate));
    }

    fn flood_unread(&self, message: Message) {
        let mut state = self.state.borrow_mut();
        (state.flood, state.flooded) = (Some(message), 0);
        self.wake.notify_one();
    }

    /// Sends messages that are no frames, all at once.
    pub(super) fn flood(&self, count: usize) {
        (0..count).for_each(|_| self.put(Bytes::from_static(b"x")));
    }

    /// The service closes the session.
    pub(super) fn close(&self, output: &str) {
        self.state.borrow_mut().closed = true;
        let body = json!({ "MessageType": "channel_closed", "Output": output }).to_string();
        self.put(frame(MessageType::ChannelClosed, 0, PayloadType::None, body.as_bytes()));
    }

    fn put(&self, frame: Bytes) {
        self.state.borrow_mut().outbox.push_back(frame);
        self.wake.notify_one();
    }

    /// The connection breaks.
    pub(super) fn cut(&self) {
        if let Some(link) = &self.state.borrow().link {
            link.cut.cancel();
        }
    }

    /// Nothing passes any more, and no end notices.
    pub(super) fn stall(&self) {
        if let Some(link) = &self.state.borrow().link {
            link.stall.cancel();
        }
    }

    /// Returns true if the client has acknowledged everything.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.state.borrow().unacknowledged.is_empty()
    }
}

fn frame(
    message_type: MessageType,
    sequence_number: i64,
    payload_type: PayloadType,
    payload: &[u8],
) -> Bytes {
    let message_id = Uuid::from_u128(sequence_number.cast_unsigned().into());
    Header { message_type, sequence_number, flags: 0, created_date: 1, message_id, payload_type }
        .encode(payload)
}
