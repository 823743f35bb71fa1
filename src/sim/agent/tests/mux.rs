//! Multiplexed sessions, against frames written by hand.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const MIB: usize = 1 << 20;

fn syn(id: u8) -> Vec<u8> {
    vec![1, 0, 0, 0, id, 0, 0, 0]
}

fn fin(id: u8) -> Vec<u8> {
    vec![1, 1, 0, 0, id, 0, 0, 0]
}

fn psh(id: u8, data: &[u8]) -> Vec<u8> {
    let [low, high] = u16::try_from(data.len()).unwrap().to_le_bytes();
    [&[1, 2, low, high, id, 0, 0, 0], data].concat()
}

const NOP: [u8; 8] = [1, 3, 0, 0, 0, 0, 0, 0];

fn forward(host: &str) -> Value {
    json!({ "portNumber": "80", "localPortNumber": "0", "type": "LocalPortForwarding", "host": host })
}

fn dial(stream: u32) -> StreamAction {
    StreamAction::Dial { stream, host: None, port: 80 }
}

fn read(stream: u32) -> StreamAction {
    StreamAction::Read { stream, limit: 32_768 }
}

fn write(stream: u32, bytes: &[u8]) -> StreamAction {
    StreamAction::Write { stream, bytes: Bytes::copy_from_slice(bytes) }
}

fn close(stream: u32) -> StreamAction {
    StreamAction::Close { stream }
}

/// What the agent sent: the smux bytes of its Output messages, and where among them its flags were.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    bytes: Vec<u8>,
    flags: Vec<(usize, u8)>,
}

/// A client that numbers its messages.
struct MuxBench {
    bench: Bench,
    sequence: i64,
}

impl MuxBench {
    fn new(config: AgentConfig) -> Self {
        let properties =
            if config.properties["type"].is_null() { forward("") } else { config.properties.clone() };
        let mut bench = Bench::new(AgentConfig { properties, ..config });
        bench.handshake();
        assert_eq!(bench.agent.poll_action(), None);
        Self { bench, sequence: 0 }
    }

    /// A session without the pause between reads.
    fn quick() -> Self {
        Self::new(AgentConfig::default().unpaced())
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.sequence += 1;
        self.bench.data(self.sequence, bytes.as_ref());
    }

    fn send_all(&mut self, frames: &[Vec<u8>]) {
        self.send(frames.concat());
    }

    fn actions(&mut self) -> Vec<StreamAction> {
        std::iter::from_fn(|| self.bench.agent.poll_stream_action()).collect()
    }

    fn agent(&mut self) -> (&mut Agent, Instant) {
        (&mut self.bench.agent, self.bench.now)
    }

    fn connect(&mut self, stream: u32) {
        let (agent, now) = self.agent();
        agent.stream_connected(now, stream);
    }

    fn wrote(&mut self, stream: u32, count: usize) {
        let (agent, now) = self.agent();
        agent.stream_wrote(now, stream, count);
    }

    fn data(&mut self, stream: u32, data: &[u8]) {
        let (agent, now) = self.agent();
        agent.stream_data(now, stream, data);
    }

    /// Opens streams and connects them.
    fn open(&mut self, ids: &[u8]) {
        for id in ids {
            self.send(syn(*id));
            self.connect(u32::from(*id));
            assert_eq!(self.actions(), [dial(u32::from(*id)), read(u32::from(*id))]);
        }
        self.sent();
    }

    fn sent(&mut self) -> Sent {
        let mut sent = Sent::default();
        while let Some(frame) = self.bench.next() {
            match frame.payload_type {
                payload_type::OUTPUT => sent.bytes.extend_from_slice(&frame.payload),
                payload_type::FLAG => sent.flags.push((sent.bytes.len(), frame.payload[3])),
                _ => {}
            }
        }
        sent
    }

    fn acks(&mut self) -> usize {
        let frames = std::iter::from_fn(|| self.bench.next());
        frames.filter(|frame| frame.message_type == MessageKind::Acknowledge).count()
    }

    fn record(&self) -> &Record {
        self.bench.agent.record()
    }
}

#[test]
fn a_stream_carries_data_both_ways_however_its_frames_are_split() {
    let wire = [syn(3), psh(3, b"GET"), fin(3)].concat();
    for at in 1..wire.len() {
        let mut client = MuxBench::quick();
        client.send(&wire[..at]);
        client.send(&wire[at..]);
        assert_eq!(client.actions(), [dial(3)]);
        client.connect(3);
        assert_eq!(client.actions(), [read(3), write(3, b"GET")]);
        client.data(3, b"200");
        assert_eq!(client.actions(), [read(3)]);
        client.wrote(3, 3);
        assert_eq!(client.actions(), [close(3)], "its FIN was read before");
        assert_eq!(client.sent().bytes, [psh(3, b"200"), fin(3)].concat());
        assert_eq!((client.record().streams_opened, client.record().streams[&3].bytes_written), (1, 3));
    }
}

#[test]
fn streams_are_dialled_one_after_the_other_and_buffer_meanwhile() {
    let mut client = MuxBench::quick();
    client.send_all(&[syn(3), syn(5), psh(5, b"early"), syn(5)]);
    assert_eq!(client.actions(), [dial(3)]);
    client.connect(3);
    assert_eq!(client.actions(), [read(3), dial(5)]);
    client.connect(5);
    assert_eq!(client.actions(), [read(5), write(5, b"early")]);
    assert_eq!(client.record().streams_opened, 2, "a second SYN is ignored");
}

#[test]
fn a_refused_dial_is_a_flag_and_then_a_fin_and_the_next_stream_is_dialled() {
    let mut client = MuxBench::new(AgentConfig::default());
    client.send_all(&[syn(3), syn(5)]);
    let (agent, now) = client.agent();
    agent.stream_failed(now, 3);
    assert_eq!(client.actions(), [dial(3), dial(5)]);
    assert_eq!(client.sent(), Sent { bytes: fin(3), flags: vec![(0, 3)] });
    client.send_all(&[psh(3, b"unread"), fin(3)]);
    client.connect(5);
    assert_eq!(client.actions(), [read(5)]);
    assert_eq!((client.record().streams_refused, client.record().streams[&3].fin_sent), (1, true));
}

#[test]
fn a_fin_lets_the_buffer_be_written_and_the_destination_is_closed_both_ways() {
    let mut client = MuxBench::quick();
    client.open(&[3]);
    client.send_all(&[psh(3, b"one"), psh(3, b"two"), fin(3)]);
    assert_eq!(client.actions(), [write(3, b"one")]);
    client.wrote(3, 3);
    assert_eq!(client.actions(), [write(3, b"two")]);
    assert_eq!(client.sent().bytes, b"");
    client.wrote(3, 3);
    assert_eq!(client.actions(), [close(3)]);
    client.data(3, b"too late");
    assert_eq!(client.sent().bytes, fin(3));
}

#[test]
fn the_end_of_a_destination_is_a_fin_and_what_was_for_it_is_discarded() {
    let mut client = MuxBench::quick();
    client.open(&[3, 5]);
    client.send_all(&[psh(3, b"one"), psh(3, b"two")]);
    assert_eq!(client.actions(), [write(3, b"one")]);
    let (agent, now) = client.agent();
    agent.stream_eof(now, 3);
    assert_eq!(client.actions(), [close(3)]);
    client.send_all(&[psh(3, b"three"), fin(3)]);
    let (agent, now) = client.agent();
    agent.stream_reset(now, 5);
    assert_eq!(client.actions(), [close(5)]);
    assert_eq!(client.sent().bytes, [fin(3), fin(5)].concat());
    assert!(client.bench.ended().is_none(), "the session goes on");
}

#[test]
fn a_full_receive_buffer_blocks_the_whole_reader() {
    let mut config = AgentConfig::default().unpaced();
    (config.mux.receive_buffer, config.mux.pipe) = (MIB, 64 << 10);
    let mut client = MuxBench::new(config);
    client.open(&[3, 5]);
    let before = client.sequence;
    for _ in 0..40 {
        client.send(psh(3, &[7; 32_760]));
    }
    client.send(psh(5, b"behind it"));
    client.bench.stream(client.sequence + 1, payload_type::SIZE, b"{}");
    let accepted = client.acks() as i64;
    assert!((33..40).contains(&accepted), "{accepted} messages of 32 KiB are in buffer and pipe");
    assert_eq!(client.actions().len(), 1, "one of them is being written");
    assert_eq!(client.bench.agent.backlog() as i64, 42 - accepted - 1, "one of them is blocked in its write");
    for _ in 0..40 {
        client.wrote(3, 32_760);
    }
    assert_eq!(accepted + client.acks() as i64, 42);
    assert!(client.actions().contains(&write(5, b"behind it")));
    assert_eq!((client.record().sizes, client.sequence - before), (1, 41));
    assert_eq!(client.record().streams[&3].bytes_written, 40 * 32_760);
}

#[test]
fn a_full_accept_backlog_blocks_it_too() {
    let mut config = AgentConfig::default();
    (config.mux.accept_backlog, config.mux.pipe) = (2, 8);
    let mut client = MuxBench::new(config);
    for id in [3, 5, 7, 9, 11] {
        client.send(syn(id));
    }
    assert_eq!(client.acks(), 4, "one is dialled, two wait, one is in the pipe");
    client.connect(3);
    assert_eq!(client.acks(), 1);
    assert_eq!(client.record().streams_opened, 4);
}

#[test]
fn bytes_that_are_not_smux_close_the_streams_but_not_the_session() {
    let mut client = MuxBench::quick();
    client.open(&[3]);
    client.send(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.actions(), [close(3)]);
    assert_eq!(client.sent().bytes, fin(3));
    client.send(syn(5));
    assert_eq!((client.actions(), client.acks()), (Vec::new(), 1));
    assert!(client.record().smux_broken);
    let sequence = client.sequence + 1;
    client.bench.flag(sequence, flag::TERMINATE_SESSION);
    assert_eq!(client.acks(), 1);
}

#[test]
fn nops_are_counted_and_not_answered_and_the_longest_frame_is_taken() {
    let mut client = MuxBench::quick();
    client.open(&[3]);
    client.send([NOP, NOP].concat());
    client.send(psh(3, &[9; 65_535]));
    assert!(client.actions() == [write(3, &[9; 65_535])]);
    assert_eq!((client.sent().bytes, client.record().nops), (Vec::new(), 2));
}

#[test]
fn all_streams_together_leave_in_paced_messages_of_1024_bytes() {
    let mut client = MuxBench::new(AgentConfig::default());
    client.open(&[3, 5]);
    client.data(3, &[3; 2000]);
    client.data(5, &[5; 2000]);
    let mut sent = Vec::new();
    for _ in 0..8 {
        let messages: Vec<usize> =
            std::iter::from_fn(|| client.bench.next()).map(|frame| frame.payload.len()).collect();
        sent.push(messages);
        client.bench.wait(1);
    }
    let lengths: Vec<usize> = sent.concat();
    assert_eq!(lengths, [1024, 1024, 1024, 944]);
    assert!(sent.iter().all(|messages| messages.len() <= 1), "{sent:?}");
}

#[test]
fn a_destination_is_not_read_ahead_of_a_slow_link_and_streams_take_turns() {
    let mut config = AgentConfig::default().unpaced();
    config.mux.pipe = 64 << 10;
    let mut client = MuxBench::new(config);
    client.open(&[3, 5]);
    let (agent, now) = client.agent();
    agent.set_congested(now, true);
    let mut reads = vec![3, 5];
    let mut given = 0;
    while let Some(stream) = reads.pop() {
        client.data(stream, &[1; 32_768]);
        given += 32_768;
        let actions = client.actions();
        reads.extend([3, 5].into_iter().filter(|stream| actions.contains(&read(*stream))));
    }
    assert!(given <= (64 << 10) + 2 * 32_768, "the pipe and a frame of each stream, not {given}");
    let (agent, now) = client.agent();
    agent.set_congested(now, false);
    assert_eq!(client.actions(), [read(5), read(3)]);
    assert_eq!(client.sent().bytes.len(), given + given / 32_768 * 8);
}

#[test]
fn a_pause_holds_the_streams_back() {
    let mut client = MuxBench::quick();
    client.open(&[3]);
    client.bench.control(MessageKind::PausePublication, String::new());
    client.data(3, b"held");
    assert_eq!(client.sent().bytes, b"");
    client.bench.acknowledge(1);
    assert_eq!(client.sent().bytes, psh(3, b"held"));
}

#[test]
fn terminate_closes_every_stream_and_flushes() {
    let mut client = MuxBench::quick();
    client.open(&[3]);
    client.data(3, b"tail");
    client.send(syn(5));
    client.actions();
    let sequence = client.sequence + 1;
    client.bench.flag(sequence, flag::DISCONNECT_TO_PORT);
    assert_eq!(client.actions(), [], "the flag has no effect here");
    client.bench.flag(sequence + 1, flag::TERMINATE_SESSION);
    assert_eq!(client.actions(), [close(3), close(5)]);
    assert_eq!(client.bench.ended(), None, "the tail is not acknowledged");
    client.bench.wait(2_000);
    assert_eq!(client.bench.ended(), Some((Status::Success, String::new())));
}

#[test]
fn a_session_of_an_old_client_is_kept_alive_and_times_out() {
    let mut bench = Bench::new(AgentConfig { properties: forward(""), ..AgentConfig::default() });
    bench.handshake_with("1.2.331.0");
    bench.data(1, &NOP);
    bench.wait(10_000);
    let nop = std::iter::from_fn(|| bench.next()).find(|frame| frame.payload_type == payload_type::OUTPUT);
    assert_eq!(nop.unwrap().payload, &NOP[..]);
    bench.wait(49_000);
    assert_eq!(bench.ended(), None);
    bench.wait(3_100);
    assert_eq!(bench.ended(), Some((Status::Failed, String::new())));

    let mut client = MuxBench::new(AgentConfig::default());
    client.bench.wait(120_000);
    assert_eq!((client.sent().bytes, client.bench.ended()), (Vec::new(), None));
}

#[test]
fn a_host_is_looked_up_once_and_if_it_is_not_found_every_stream_fails() {
    let resolve = StreamAction::Resolve { host: "db".to_owned(), port: 80 };
    let config = AgentConfig { properties: forward("db"), ..AgentConfig::default() };
    let mut client = MuxBench::new(config.clone());
    client.bench.data(1, &syn(3));
    assert_eq!((client.actions(), client.acks()), (vec![resolve.clone()], 0));
    let (agent, now) = client.agent();
    agent.host_resolved(now, &[IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))]);
    client.send_all(&[syn(3)]);
    assert_eq!(client.actions(), [StreamAction::Dial { stream: 3, host: Some("db".to_owned()), port: 80 }]);

    let mut client = MuxBench::new(config);
    assert_eq!(client.actions(), [resolve]);
    let (agent, now) = client.agent();
    agent.host_unresolved(now);
    client.send_all(&[syn(3), syn(5)]);
    let sent = client.sent();
    assert_eq!(client.actions(), []);
    assert_eq!(sent.flags, [(0, 3), (0, 3)]);
    assert_eq!(sent.bytes, [fin(3), fin(5)].concat());
}

#[test]
fn a_host_with_a_forbidden_address_fails_the_session() {
    let mut client = MuxBench::new(AgentConfig { properties: forward("db"), ..AgentConfig::default() });
    let (agent, now) = client.agent();
    agent.host_resolved(now, &[IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))]);
    let output = "Forwarding to IP address 169.254.169.254 is forbidden.".to_owned();
    assert_eq!(client.bench.ended(), Some((Status::Failed, output)));
}

#[test]
fn an_agent_that_crashes_sends_nothing() {
    let mut client = MuxBench::quick();
    client.open(&[3]);
    client.data(3, b"lost");
    client.bench.agent.crash();
    client.send(syn(5));
    client.bench.wait(5_000);
    assert_eq!((client.actions(), client.bench.next(), client.bench.ended()), (Vec::new(), None, None));
}

/// The destinations of a session, which carry out requests in any order.
#[derive(Default)]
struct Destinations {
    requested: Vec<StreamAction>,
    received: std::collections::BTreeMap<u32, Vec<u8>>,
    closed: Vec<u32>,
}

impl Destinations {
    /// Carries out one request, or part of it.
    fn act(&mut self, client: &mut MuxBench, rng: &mut Rng) {
        self.requested.extend(client.actions());
        if self.requested.is_empty() {
            return;
        }
        let at = rng.below(self.requested.len() as u64) as usize;
        match self.requested.swap_remove(at) {
            StreamAction::Resolve { .. } => panic!("there is no host"),
            StreamAction::Dial { stream, .. } => client.connect(stream),
            StreamAction::Read { stream, .. } => client.data(stream, &[stream as u8; 700]),
            StreamAction::Write { stream, bytes } => {
                let count = 1 + rng.below(bytes.len() as u64) as usize;
                self.received.entry(stream).or_default().extend_from_slice(&bytes[..count]);
                if count < bytes.len() {
                    self.requested.push(StreamAction::Write { stream, bytes: bytes.slice(count..) });
                }
                client.wrote(stream, count);
            }
            StreamAction::Close { stream } => {
                self.closed.push(stream);
                self.requested.retain(|action| {
                    !matches!(action, StreamAction::Read { stream: other, .. }
                        | StreamAction::Write { stream: other, .. } if *other == stream)
                });
            }
        }
    }
}

#[test]
fn in_any_order_every_destination_gets_its_bytes_and_every_stream_its_fin() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut config = AgentConfig::default().unpaced();
        (config.mux.receive_buffer, config.mux.pipe) = (4_000, 100);
        let mut client = MuxBench::new(config);
        let ids: Vec<u8> = (0..6).map(|n| 3 + 2 * n).collect();
        let mut wire: Vec<u8> = ids.iter().flat_map(|id| syn(*id)).collect();
        let mut expected = std::collections::BTreeMap::<u32, Vec<u8>>::new();
        for _ in 0..60 {
            let id = ids[rng.below(6) as usize];
            let data: Vec<u8> = (0..=rng.below(900)).map(|_| rng.below(256) as u8).collect();
            wire.extend(psh(id, &data));
            expected.entry(u32::from(id)).or_default().extend(data);
        }
        wire.extend(ids.iter().flat_map(|id| fin(*id)));
        let mut destinations = Destinations::default();
        while !wire.is_empty() {
            let length = (1 + rng.below(1500) as usize).min(wire.len());
            client.send(wire.drain(..length).collect::<Vec<_>>());
            for _ in 0..rng.below(8) {
                destinations.act(&mut client, &mut rng);
            }
        }
        for _ in 0..20_000 {
            destinations.act(&mut client, &mut rng);
        }
        assert!(destinations.received == expected, "seed {seed}");
        destinations.closed.sort_unstable();
        assert_eq!(
            destinations.closed,
            ids.iter().map(|id| u32::from(*id)).collect::<Vec<_>>(),
            "seed {seed}"
        );
        assert!(client.record().streams.values().all(|stream| stream.fin_sent && stream.fin_received));
    }
}
