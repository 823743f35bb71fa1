//! What an agent is told about its session, and the knobs that make it an older, slower or hostile one.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

/// Everything that an agent is given at its start; the default is a current agent in a plain ssh session.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The session it serves.
    pub session_id: String,
    /// The document's properties, echoed to the client unchanged; `host`, `portNumber` and `type` are read.
    pub properties: Value,
    /// The version it announces; it also decides whether there is smux, and which hosts are forwarded to and how.
    pub agent_version: String,
    /// The size of its reads of the destination, and so of its data messages.
    pub payload_size: usize,
    /// The mean time between two reads of the destination; zero is unpaced. The real agent sleeps 1 ms after each, and
    /// with the work around it was seen to reach 0.57 to 0.68 MB/s.
    pub read_interval: Duration,
    /// How long it waits for the answer to its handshake request.
    pub handshake_timeout: Duration,
    /// The time between sending HandshakeComplete and believing it; data that arrives in between is acknowledged and
    /// thrown away.
    pub complete_window: Duration,
    /// The time between the handshake's end and the dial; data gets no answer meanwhile.
    pub not_ready_for: Duration,
    /// How long the service does not learn of a refused port; a real agent needs 60 s.
    pub refusal_delay: Duration,
    /// An acknowledgement that returns sooner than this after the send finds nothing to delete.
    pub bookkeeping_delay: Duration,
    /// Whether duplicates are acknowledged again; agents before 3.2.1041.0 do not.
    pub acks_duplicates: bool,
    /// How often it looks for messages to send again.
    pub resend_interval: Duration,
    /// How many of the oldest messages it looks at then; the real agent looks at one.
    pub resend_depth: usize,
    /// How many unacknowledged messages it keeps; more are sent and forgotten.
    pub outgoing_capacity: usize,
    /// How many early messages it keeps; more are dropped.
    pub incoming_capacity: usize,
    /// Its smux server.
    pub mux: MuxConfig,
    /// Addresses it refuses to forward to; agents from 3.3.4851.0 refuse loopback, too.
    pub denied_hosts: Vec<String>,
    /// Frames that no honest agent sends.
    pub injections: Vec<Injection>,
    /// Whether the record keeps the payloads, too.
    pub records_payloads: bool,
    /// How many messages the record lists; its counters go on.
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
    /// The same agent without the pause between reads.
    #[must_use]
    pub fn unpaced(self) -> Self {
        Self { read_interval: Duration::ZERO, ..self }
    }

    /// The same agent mending losses quickly, for tests that lose more than the real one could mend in their time.
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
    /// Whether the session is kept alive, and ends without a sign of life.
    pub keep_alive: KeepAlivePolicy,
    /// How often a NOP is sent then.
    pub keep_alive_interval: Duration,
    /// How long nothing may come then.
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

/// Whether an agent keeps its smux sessions alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepAlivePolicy {
    /// For clients up to 1.2.331.0.
    #[default]
    ByVersion,
    /// For every client, as one release did.
    Always,
    /// For none.
    Never,
}

/// A raw message to send at a moment of the session, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// When.
    pub when: Moment,
    /// What; it is sent as it is.
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
    /// At least so many bytes of data were sent to the client.
    Sent(u64),
    /// At least so many bytes of data were written to the destination.
    Received(u64),
}
