//! The protocol core against the simulated agent over an emulated link: seconds of virtual time in milliseconds.

#![allow(clippy::cast_possible_truncation, reason = "test arithmetic")]

mod captures;
mod model;
mod pair;

use std::time::Duration;

use fumidai::channel::{ChannelError, ChannelEvent, ChannelSettings, Pace, Refusal};
use fumidai::sim::agent::record::Fate;
use fumidai::sim::agent::{AgentConfig, Status};
use fumidai::sim::link::LinkConfig;
use fumidai::sim::rng::Rng;
use serde_json::json;

use pair::{Destination, Pair, pattern};

const MIB: usize = 1 << 20;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A delay in each direction.
fn delay(milliseconds: u64) -> LinkConfig {
    LinkConfig { delay: ms(milliseconds), ..LinkConfig::default() }
}

fn bad_link() -> LinkConfig {
    LinkConfig {
        delay: ms(10),
        jitter: ms(5),
        loss: 0.01,
        duplicate: 0.01,
        reorder: 0.05,
        reorder_depth: 50,
        ..LinkConfig::default()
    }
}

/// Runs for `time`; returns the bytes per second that the destination received.
fn upload_rate(pair: &mut Pair, time: Duration) -> f64 {
    let before = pair.written.len();
    pair.run(time);
    (pair.written.len() - before) as f64 / time.as_secs_f64()
}

#[test]
fn data_flows_both_ways() {
    let mut pair = Pair::new(1, delay(5), AgentConfig::default());
    pair.connect();
    let (up, down) = (pattern(100_000), pattern(50_000));
    pair.upload(&up);
    pair.download(&down);
    pair.run_until(|pair| pair.written.len() == 100_000 && pair.received.len() == 50_000);
    assert!(pair.written == up && pair.received == down);
    pair.run_until(|pair| pair.channel.is_flushed());
    assert_eq!(pair.agent.record().client_version.as_deref(), Some("1.2.764.0"));
    assert_eq!(pair.agent.record().digest_mismatches, 0);
}

#[test]
fn nothing_is_lost_on_a_bad_link() {
    for seed in 0..20 {
        let mut pair = Pair::new(seed, bad_link(), AgentConfig::default());
        let (up, down) = (pattern(2 * MIB), pattern(100_000));
        pair.upload(&up);
        pair.download(&down);
        pair.run_until(|pair| pair.written.len() >= up.len() && pair.received.len() >= down.len());
        assert!(pair.written == up && pair.received == down, "seed {seed}");
    }
}

#[test]
fn nothing_is_lost_whenever_the_link_is_cut() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut pair = Pair::new(seed, delay(10), AgentConfig::default());
        let (up, down) = (pattern(MIB), pattern(200_000));
        pair.upload(&up);
        pair.download(&down);
        for _ in 0..10 {
            pair.run(Duration::from_micros(rng.below(60_000)));
            pair.cut();
            pair.run(ms(rng.below(2_000)));
            pair.resume();
        }
        pair.run_until(|pair| pair.written.len() >= up.len() && pair.received.len() >= down.len());
        assert!(pair.written == up && pair.received == down, "seed {seed}");
        assert_eq!(pair.agent.record().count(Fate::Discarded), 0, "seed {seed}");
    }
}

#[test]
fn the_first_input_waits_until_the_agent_is_ready() {
    let agent = AgentConfig { complete_window: ms(5), not_ready_for: ms(40), ..AgentConfig::default() };
    let mut pair = Pair::new(1, LinkConfig::default(), agent);
    pair.upload(b"SSH-2.0-first\r\n");
    let begin = pair.now.instant;
    pair.run_until(|pair| !pair.written.is_empty());
    assert_eq!(pair.agent.record().count(Fate::Discarded), 0);
    assert!(pair.agent.record().count(Fate::NotReady) > 0, "the dial was still under way");
    let took = pair.now.instant - begin;
    assert!(took < ms(120), "the first resend comes early: {took:?}");
    assert_eq!(pair.written, b"SSH-2.0-first\r\n");
}

#[test]
fn a_repeated_handshake_request_gets_one_response() {
    for seed in 0..30 {
        let link = LinkConfig { loss: 0.3, duplicate: 0.3, ..delay(20) };
        let mut pair = Pair::new(seed, link, AgentConfig::default());
        pair.upload(b"hello");
        pair.run_until(|pair| pair.written == b"hello");
        let received = &pair.agent.record().received;
        let mut responses: Vec<_> =
            received.iter().filter(|one| one.payload_type == 6).map(|one| one.sequence).collect();
        responses.dedup();
        assert_eq!(responses, [0], "seed {seed}");
    }
}

#[test]
fn an_agent_that_never_acknowledges_duplicates_does_not_stop_the_stream() {
    for seed in 0..10 {
        let mut pair = Pair::new(seed, LinkConfig { loss: 0.02, ..delay(10) }, old_agent());
        let up = pattern(3 * MIB);
        pair.upload(&up);
        pair.run_until(|pair| pair.written.len() >= up.len());
        assert!(pair.written == up, "seed {seed}");
    }
}

/// An agent that acknowledges each message once only.
fn old_agent() -> AgentConfig {
    AgentConfig { agent_version: "3.2.985.0".to_owned(), acks_duplicates: false, ..AgentConfig::default() }
}

#[test]
fn a_cut_that_loses_a_window_of_acknowledgements_stalls_an_old_agent_for_seconds_only() {
    for round_trip in [2, 50, 200] {
        let mut pair = Pair::new(1, delay(round_trip / 2), old_agent());
        let up = pattern(12 * MIB);
        pair.upload(&up);
        pair.run_until(|pair| pair.written.len() > 2 * MIB);
        pair.cut_after_losing_acknowledgements();
        let before = pair.written.len();
        pair.resume();
        let resumed = pair.now.instant;
        pair.run_until(|pair| pair.written.len() > before + MIB);
        let stall = pair.now.instant - resumed;
        assert!(stall < Duration::from_secs(4), "{stall:?} at {round_trip} ms");
        pair.run_until(|pair| pair.written.len() >= up.len() && pair.channel.is_flushed());
        assert!(pair.written == up);
    }
}

#[test]
fn the_end_of_a_stall_does_not_resend_the_window() {
    for round_trip in [2, 50, 200] {
        let (link, destination) = (delay(round_trip / 2), Destination::Slow(20e6));
        let settings = ChannelSettings::default();
        let mut pair = Pair::with(1, link, AgentConfig::default(), settings, destination);
        let up = pattern(24 * MIB);
        pair.upload(&up);
        for part in 1..6 {
            pair.run_until(|pair| pair.written.len() > part * 4 * MIB);
            pair.stall(Duration::from_secs(part as u64 * 2));
        }
        pair.run_until(|pair| pair.written.len() >= up.len());
        let sent = pair.sent_bytes();
        assert!(sent < up.len() + up.len() / 20, "{sent} bytes sent for {} at {round_trip} ms", up.len());
    }
}

#[test]
fn a_fast_path_is_filled() {
    let mut pair = Pair::new(1, delay(50), AgentConfig::default());
    pair.connect();
    pair.upload(&pattern(400 * MIB));
    pair.run(Duration::from_secs(4));
    let rate = upload_rate(&mut pair, Duration::from_secs(5));
    assert!(rate > 0.95 * 900.0 * 32_648.0, "{:.1} MB/s", rate / 1e6);
}

#[test]
fn a_bottleneck_queues_at_most_a_round_trip_and_a_tenth_of_a_second() {
    for round_trip in [4, 20, 60, 200] {
        let link = LinkConfig { bandwidth: Some(125_000), ..delay(round_trip / 2) };
        let mut pair = Pair::new(1, link, AgentConfig::default());
        pair.connect();
        pair.upload(&pattern(16 * MIB));
        pair.run(Duration::from_secs(60));
        let queued = Duration::from_secs_f64(pair.up.stats().peak_queue as f64 / 125_000.0);
        assert!(queued <= ms(round_trip + 100), "{queued:?} at a round trip of {round_trip} ms");
        let rate = pair.written.len() as f64 / 60.0;
        assert!(rate > 0.8 * 125_000.0 * 1024.0 / 1144.0, "{rate:.0} B/s at {round_trip} ms");
    }
}

#[test]
fn a_keystroke_during_an_upload_is_not_stuck_behind_it() {
    let link = LinkConfig { bandwidth: Some(1_000_000), ..delay(25) };
    let mut pair = Pair::new(1, link, AgentConfig::default());
    pair.connect();
    pair.upload(&pattern(64 * MIB));
    pair.run(Duration::from_secs(5));
    let sent = pair.up.queued(pair.now.instant);
    assert!(sent as f64 / 1e6 <= 0.15, "{sent} bytes wait before the bottleneck");
}

#[test]
fn messages_are_paced() {
    let settings = ChannelSettings { max_payload: 1024, ..ChannelSettings::default() };
    let mut pair = Pair::with(1, delay(20), AgentConfig::default(), settings, Destination::Fast);
    pair.connect();
    let begin = pair.now.instant;
    pair.upload(&pattern(20 * MIB));
    pair.run(Duration::from_secs(10));
    let sent = pair.sent.iter().filter(|(at, _)| *at > begin).count();
    assert!((8_000..=9_100).contains(&sent), "{sent} messages in 10 s");
    let times: Vec<_> = pair.sent.iter().map(|(at, _)| *at).collect();
    let most = times.iter().enumerate().map(|(at, first)| {
        times[at..].iter().take_while(|time| **time < *first + Duration::from_secs(1)).count()
    });
    assert!(most.max().unwrap() <= 995, "the bucket and one second of refill");
}

#[test]
fn a_download_at_full_rate_leaves_room_for_an_upload() {
    let mut pair = Pair::new(
        1,
        delay(20),
        AgentConfig { read_interval: Duration::from_micros(1050), ..AgentConfig::default() },
    );
    pair.connect();
    pair.download(&pattern(20 * MIB));
    pair.upload(&pattern(20 * MIB));
    pair.run(Duration::from_secs(5));
    let before = (pair.received.len(), pair.written.len());
    pair.run(Duration::from_secs(5));
    let (down, up) = (pair.received.len() - before.0, pair.written.len() - before.1);
    assert!(down > 4 * MIB, "{down} bytes down: acknowledgements never wait");
    assert!(up >= 40 * 1024, "{up} bytes up: ten messages a second always pass");
}

#[test]
fn larger_messages_are_proven_without_user_data_in_them() {
    let mut pair = Pair::new(1, delay(10), AgentConfig::default());
    pair.connect();
    let up = pattern(32 * MIB);
    pair.upload(&up);
    pair.run_until(|pair| pair.written.len() >= up.len());
    assert!(pair.written == up);
    let proven: Vec<_> = pair
        .events
        .iter()
        .filter_map(|event| if let ChannelEvent::SizeProven(size) = event { Some(*size) } else { None })
        .collect();
    assert_eq!(proven, [4_096, 16_384, 32_768]);
    let probes: Vec<_> = pair
        .agent
        .record()
        .received
        .iter()
        .filter(|one| one.payload_type == 3)
        .map(|one| one.length + 120)
        .collect();
    assert_eq!(probes, [4_096, 16_384, 32_768]);
    assert_eq!(pair.sent.iter().map(|(_, size)| *size).max(), Some(32_768));
}

#[test]
fn a_path_that_drops_large_messages_costs_no_byte_and_two_probes() {
    let mut pair = Pair::new(1, delay(10), AgentConfig::default());
    pair.size_limit = Some(2_048);
    pair.connect();
    let up = pattern(150 * MIB);
    pair.upload(&up);
    pair.run(Duration::from_secs(150));
    assert!(pair.written.len() > 100 * MIB, "{} bytes", pair.written.len());
    assert!(up.starts_with(&pair.written));
    let large = pair.sent.iter().filter(|(_, size)| *size > 2_048).count();
    assert_eq!(large, 2, "one try, and one more after a minute");
    assert_eq!(pair.count(|event| *event == ChannelEvent::SizeRefused(4_096)), 1);
}

#[test]
fn a_path_that_is_cut_by_large_messages_costs_no_byte() {
    let mut pair = Pair::new(1, delay(10), AgentConfig::default());
    pair.connect();
    let up = pattern(8 * MIB);
    pair.upload(&up);
    let mut cuts = 0;
    while pair.written.len() < up.len() {
        pair.run(ms(1));
        let oversized = pair.sent.drain(..).any(|(_, size)| size > 2_048);
        if oversized {
            pair.cut();
            pair.run(ms(100));
            pair.resume();
            cuts += 1;
        }
        assert!(cuts <= 2, "{:?} {:?}", pair.events, pair.now);
    }
    assert!(pair.written == up);
}

#[test]
fn the_configured_maximum_is_kept() {
    let settings = ChannelSettings { max_payload: 1024, ..ChannelSettings::default() };
    let mut pair = Pair::with(1, delay(10), AgentConfig::default(), settings, Destination::Fast);
    let up = pattern(2 * MIB);
    pair.upload(&up);
    pair.run_until(|pair| pair.written.len() >= up.len());
    assert_eq!(pair.sent.iter().map(|(_, size)| *size).max(), Some(1144));
}

#[test]
fn a_slow_destination_is_not_flooded_with_duplicates() {
    let destination = Destination::Slow(100_000.0);
    let mut pair = Pair::with(1, delay(10), AgentConfig::default(), ChannelSettings::default(), destination);
    pair.connect();
    let up = pattern(6 * MIB);
    pair.upload(&up);
    pair.run_until(|pair| pair.written.len() >= up.len());
    assert!(pair.written == up);
    let sent: usize = pair.sent.iter().map(|(_, size)| *size).sum();
    assert!(sent < up.len() * 5 / 4, "{sent} bytes sent for {}", up.len());
}

#[test]
fn a_refused_port_is_reported_by_the_agent_and_suspected_before() {
    let agent = AgentConfig { refusal_delay: Duration::from_secs(60), ..AgentConfig::default() };
    let mut pair = Pair::with(1, delay(10), agent, ChannelSettings::default(), Destination::Refused);
    pair.upload(b"SSH-2.0-x\r\n");
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.count(|event| *event == ChannelEvent::FirstInputUnanswered), 1);
    pair.run_until(|pair| pair.ended.is_some());
    let (status, output) = pair.ended.as_ref().unwrap();
    assert_eq!(*status, Status::Failed);
    assert!(output.contains("Unable to connect to specified port"), "{output}");
}

#[test]
fn a_terminate_flag_ends_the_session_and_is_acknowledged() {
    let mut pair = Pair::new(1, delay(10), AgentConfig::default());
    pair.upload(b"hello");
    pair.run_until(|pair| pair.channel.is_flushed() && !pair.written.is_empty());
    assert!(pair.channel.terminate());
    assert!(!pair.channel.is_termination_queued_behind_data());
    pair.run_until_within(ms(200), |pair| pair.channel.is_termination_acknowledged());
    assert!(pair.agent.record().terminated);
    assert_eq!(pair.ended.as_ref().unwrap().0, Status::Success);
}

#[test]
fn no_flag_is_sent_that_the_agent_could_not_process() {
    let mut early = Pair::new(1, delay(10), AgentConfig::default());
    assert!(!early.channel.terminate(), "the handshake is not complete");
    let old = AgentConfig { agent_version: "2.3.701.0".to_owned(), ..AgentConfig::default() };
    let mut pair = Pair::new(1, delay(10), old);
    pair.connect();
    assert!(!pair.channel.terminate(), "the agent is too old");
    let mut cut = Pair::new(1, delay(10), AgentConfig::default());
    cut.connect();
    cut.cut();
    assert!(!cut.channel.terminate(), "there is no websocket");
}

#[test]
fn an_agent_that_would_ignore_the_host_is_refused_with_a_reason() {
    let properties = json!({ "host": "db", "portNumber": "80", "type": "LocalPortForwarding" });
    let agent = AgentConfig { properties, agent_version: "3.1.1080.0".to_owned(), ..AgentConfig::default() };
    let settings = ChannelSettings { for_remote_host: true, ..ChannelSettings::default() };
    let mut pair = Pair::with(1, delay(10), agent, settings, Destination::Fast);
    pair.run_until(|pair| pair.ended.is_some());
    let refused = |event: &ChannelEvent| matches!(event, ChannelEvent::Failed(ChannelError::Refused(Refusal::IgnoresHost(agent))) if agent.to_string() == "3.1.1080.0");
    assert!(pair.events.iter().any(refused), "{:?}", pair.events);
    assert!(pair.ended.as_ref().unwrap().1.contains("failed on client with status 2"), "{:?}", pair.ended);
}

#[test]
fn an_agent_that_sends_nothing_times_out() {
    let mut pair = Pair::new(1, LinkConfig { loss: 1.0, ..delay(10) }, AgentConfig::default());
    pair.run(Duration::from_secs(29));
    assert!(pair.events.is_empty());
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.events, [ChannelEvent::Failed(ChannelError::HandshakeRequestTimeout)]);
}

#[test]
fn a_gap_that_never_closes_ends_the_session() {
    let agent = AgentConfig { outgoing_capacity: 2, ..AgentConfig::default() };
    let mut pair = Pair::new(1, delay(200), agent);
    pair.connect();
    pair.run(Duration::from_secs(1));
    // Three messages are in transit when the middle one is lost, and the agent keeps only two.
    pair.download(&pattern(20 * 1024));
    pair.run(ms(10));
    pair.down.cut();
    pair.run(Duration::from_secs(100));
    assert_eq!(pair.count(|event| matches!(event, ChannelEvent::Failed(_))), 0);
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.count(|event| matches!(event, ChannelEvent::Failed(ChannelError::Gap { .. }))), 1);
}

#[test]
fn an_unpaced_agent_does_not_overrun_the_client() {
    let pace = Pace::default();
    let settings = ChannelSettings { pace, ..ChannelSettings::default() };
    let mut pair = Pair::with(3, bad_link(), AgentConfig::default().unpaced(), settings, Destination::Fast);
    let down = pattern(4 * MIB);
    pair.download(&down);
    pair.run_until_within(Duration::from_secs(3000), |pair| pair.received.len() >= down.len());
    assert!(pair.received == down);
}
