//! The configuration of an agent: its session, and the options that make it older, slower or hostile.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

/// The configuration of an agent; the default is a current agent in a plain ssh session.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The session's identifier.
    pub session_id: String,
    /// The document's properties, echoed to the client unchanged; `host`, `portNumber` and `type` are read.
    pub properties: Value,
    /// The version it sends; it also decides whether the agent has smux and to which hosts it forwards.
    pub agent_version: String,
    /// The size of one read of the destination, and of one data message.
    pub payload_size: usize,
    /// The mean time between two reads of the destination; zero is unpaced. The real agent sleeps 1 ms after each read;
    /// 0.57 to 0.68 MB/s were measured.
    pub read_interval: Duration,
    /// How long it waits for the handshake response.
    pub handshake_timeout: Duration,
    /// The time between sending HandshakeComplete and accepting data; earlier data is acknowledged and discarded.
    pub complete_window: Duration,
    /// The time between the end of the handshake and the dial; data is not acknowledged meanwhile.
    pub not_ready_for: Duration,
    /// The time until a refused port is reported to the service; a real agent needs 60 s.
    pub refusal_delay: Duration,
    /// An acknowledgement that arrives sooner than this after the send is ignored.
    pub bookkeeping_delay: Duration,
    /// Whether duplicates are acknowledged again; agents before 3.2.1041.0 do not.
    pub acks_duplicates: bool,
    /// The interval between two scans for overdue messages.
    pub resend_interval: Duration,
    /// How many of the oldest messages a scan looks at; the real agent looks at one.
    pub resend_depth: usize,
    /// How many unacknowledged messages it keeps; more are sent once and not kept.
    pub outgoing_capacity: usize,
    /// How many out-of-order messages it keeps; more are dropped.
    pub incoming_capacity: usize,
    /// The smux server.
    pub mux: MuxConfig,
    /// Addresses it refuses to forward to; agents from 3.3.4851.0 refuse loopback, too.
    pub denied_hosts: Vec<String>,
    /// Raw messages to send, which no real agent sends.
    pub injections: Vec<Injection>,
    /// Whether the record keeps payloads.
    pub records_payloads: bool,
    /// How many messages the record lists; its counters have no limit.
    pub record_capacity: usize,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            session_id: "simulated-0123456789abcdef0".to_owned(),
            properties: json!({ "portNumber": "22" }),
            agent_version: "3.3.987.0".to_owned(),
            payload_size: 1024,
            read_interval: Duration::from_micros(1600),
            handshake_timeout: Duration::from_secs(15),
            complete_window: Duration::ZERO,
            not_ready_for: Duration::ZERO,
            refusal_delay: Duration::ZERO,
            bookkeeping_delay: Duration::ZERO,
            acks_duplicates: true,
            resend_interval: Duration::from_millis(100),
            resend_depth: 1,
            outgoing_capacity: 100_000,
            incoming_capacity: 100_000,
            mux: MuxConfig::default(),
            denied_hosts: ["169.254.169.254", "fd00:ec2::254", "169.254.169.253", "fd00:ec2::253"]
                .map(str::to_owned)
                .to_vec(),
            injections: Vec::new(),
            records_payloads: false,
            record_capacity: 200_000,
        }
    }
}

impl AgentConfig {
    /// Removes the pause between reads.
    #[must_use]
    pub fn unpaced(self) -> Self {
        Self { read_interval: Duration::ZERO, ..self }
    }

    /// Makes resends quick, for tests that lose more messages than the real agent could resend in time.
    #[must_use]
    pub fn quick_to_resend(self) -> Self {
        Self { resend_interval: Duration::from_millis(10), resend_depth: usize::MAX, ..self }
    }
}

/// The smux server of multiplexed sessions; the default is the real agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MuxConfig {
    /// Bytes that all streams together may buffer for their destinations before the smux reader stops.
    pub receive_buffer: usize,
    /// Bytes in the pipe between smux and data channel, in each direction: the kernel's buffer of a Unix socket.
    pub pipe: usize,
    /// Opened streams that may wait for their dial before the smux reader stops.
    pub accept_backlog: usize,
    /// Whether the session sends NOPs, and ends if it receives no frame.
    pub keep_alive: KeepAlivePolicy,
    /// The interval between NOPs.
    pub keep_alive_interval: Duration,
    /// How long no frame may arrive.
    pub keep_alive_timeout: Duration,
}

impl Default for MuxConfig {
    fn default() -> Self {
        Self {
            receive_buffer: 4 << 20,
            pipe: 208 << 10,
            accept_backlog: 1024,
            keep_alive: KeepAlivePolicy::ByVersion,
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(30),
        }
    }
}

/// For which clients an agent sends smux keep-alives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepAlivePolicy {
    /// For clients up to 1.2.331.0.
    #[default]
    ByVersion,
    /// For every client, as one release did.
    Always,
    /// For no client.
    Never,
}

/// A raw message that is sent once, at a moment of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// When it is sent.
    pub when: Moment,
    /// The message, unchanged.
    pub message: Bytes,
}

/// A moment in an agent's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the handshake request.
    Opened,
    /// After the handshake request.
    Requested,
    /// After HandshakeComplete.
    Completed,
    /// The destination is connected.
    Connected,
    /// At least this many bytes of data were sent to the client.
    Sent(u64),
    /// At least this many bytes of data were written to the destination.
    Received(u64),
}
