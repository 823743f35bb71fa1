//! Any list of things that happen to a session: two queues of bytes are the model.
//!
//! A list that once failed is kept by name in [`REGRESSIONS`], and is run with the generated ones.

use std::time::Duration;

use fumidai::channel::ChannelEvent;
use fumidai::sim::agent::AgentConfig;
use fumidai::sim::link::LinkConfig;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::pair::{Pair, pattern};

/// How long a session may need for the rest once everything works.
const LIMIT: Duration = Duration::from_secs(600);

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// The user sends so many bytes.
    Upload(usize),
    /// The destination sends so many bytes.
    Download(usize),
    /// Milliseconds pass.
    Pass(u64),
    /// The websocket is lost, and opened again after milliseconds.
    Cut(u64),
    /// The same, after the acknowledgements of everything in transit are lost.
    CutBehindAcknowledgements(u64),
    /// The client's websocket is lost and not opened again yet.
    Detach,
    /// It is opened again.
    Resume,
    /// The destination takes nothing for milliseconds.
    Stall(u64),
    /// The agent's own websocket is lost while milliseconds pass.
    CutOfAgent(u64),
    /// From now on messages are lost, duplicated and reordered, in percent.
    Upset { loss: u8, duplicate: u8, reorder: u8 },
    /// Everything passes again.
    Calm,
}

fn op() -> impl Strategy<Value = Op> {
    let time = || prop_oneof![0..20u64, 20..2000u64, 2000..20_000u64];
    prop_oneof![
        6 => (1..200_000usize).prop_map(Op::Upload),
        3 => (1..20_000usize).prop_map(Op::Download),
        6 => time().prop_map(Op::Pass),
        3 => time().prop_map(Op::Cut),
        2 => time().prop_map(Op::CutBehindAcknowledgements),
        1 => Just(Op::Detach),
        2 => Just(Op::Resume),
        2 => time().prop_map(Op::Stall),
        1 => (0..50u64).prop_map(Op::CutOfAgent),
        2 => (0..30u8, 0..30u8, 0..30u8)
            .prop_map(|(loss, duplicate, reorder)| Op::Upset { loss, duplicate, reorder }),
        2 => Just(Op::Calm),
    ]
}

/// One session and what the model knows of it.
struct Session {
    pair: Pair,
    calm: LinkConfig,
    up: Vec<u8>,
    down: Vec<u8>,
    is_detached: bool,
    /// The agent may write a message twice when its own websocket is cut (docs/protocol.md).
    may_double: bool,
}

impl Session {
    fn new(delay: u64, reacknowledges: bool) -> Self {
        let old = AgentConfig { agent_version: "3.2.985.0".to_owned(), ..AgentConfig::default() };
        let agent = if reacknowledges { AgentConfig::default() } else { old };
        let agent = AgentConfig { acks_duplicates: reacknowledges, ..agent.quick_to_resend() };
        let calm = LinkConfig { delay: Duration::from_millis(delay), ..LinkConfig::default() };
        let mut pair = Pair::new(delay, calm, agent);
        pair.connect();
        Self { pair, calm, up: Vec::new(), down: Vec::new(), is_detached: false, may_double: false }
    }

    fn apply(&mut self, op: Op) {
        let ms = Duration::from_millis;
        match op {
            Op::Upload(length) => {
                let bytes = pattern(length);
                self.pair.upload(&bytes);
                self.up.extend(bytes);
            }
            Op::Download(length) => {
                let bytes = pattern(length);
                self.pair.download(&bytes);
                self.down.extend(bytes);
            }
            Op::Pass(time) => self.pair.run(ms(time)),
            Op::Cut(_) | Op::CutBehindAcknowledgements(_) | Op::Detach if self.is_detached => {}
            Op::Cut(time) => {
                self.pair.cut();
                self.pair.run(ms(time));
                self.pair.resume();
            }
            Op::CutBehindAcknowledgements(time) => {
                self.pair.cut_after_losing_acknowledgements();
                self.pair.run(ms(time));
                self.pair.resume();
            }
            Op::Detach => {
                self.pair.cut();
                self.is_detached = true;
            }
            Op::Resume => self.resume(),
            Op::Stall(time) => self.pair.stall(ms(time)),
            Op::CutOfAgent(time) => {
                self.may_double = true;
                self.pair.cut_of_agent(ms(time));
            }
            Op::Upset { loss, duplicate, reorder } => self.upset(loss, duplicate, reorder),
            Op::Calm => self.set_links(self.calm),
        }
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.is_detached) {
            self.pair.resume();
        }
    }

    fn upset(&mut self, loss: u8, duplicate: u8, reorder: u8) {
        let share = |percent: u8| f64::from(percent) / 100.0;
        self.set_links(LinkConfig {
            loss: share(loss),
            duplicate: share(duplicate),
            reorder: share(reorder),
            reorder_depth: 20,
            ..self.calm
        });
    }

    fn set_links(&mut self, link: LinkConfig) {
        self.pair.up.set_config(link);
        self.pair.down.set_config(link);
    }

    /// Everything works again: everything arrives, once and in order, and is known to.
    fn finish(mut self) {
        self.apply(Op::Calm);
        self.resume();
        let (up, down) = (self.up.len(), self.down.len());
        self.pair.run_until_within(LIMIT, |pair| {
            pair.written.len() >= up && pair.received.len() >= down && pair.channel.is_flushed()
        });
        assert!(self.pair.received == self.down, "the client received something else");
        if !self.may_double {
            assert!(self.pair.written == self.up, "the destination received something else");
        }
        assert_eq!(self.pair.channel.arrived(), up as u64);
        assert_eq!(self.pair.count(|event| matches!(event, ChannelEvent::Failed(_))), 0);
    }
}

fn run(delay: u64, reacknowledges: bool, ops: &[Op]) {
    let mut session = Session::new(delay, reacknowledges);
    ops.iter().for_each(|op| session.apply(*op));
    session.finish();
}

/// Lists that once failed: the delay, whether the agent acknowledges duplicates, and what happens.
const REGRESSIONS: [(&str, u64, bool, &[Op]); 2] = [
    (
        "a window of acknowledgements is lost with a websocket",
        25,
        false,
        &[Op::Upload(2_000_000), Op::Pass(1000), Op::CutBehindAcknowledgements(0), Op::Upload(2_000_000)],
    ),
    (
        "the only acknowledgement is lost with a websocket, and nothing follows",
        0,
        false,
        &[Op::Upload(1), Op::CutBehindAcknowledgements(0)],
    ),
];

#[test]
fn what_once_failed_works() {
    for (_name, delay, reacknowledges, ops) in REGRESSIONS {
        run(delay, reacknowledges, ops);
    }
}

#[test]
fn nothing_is_lost_repeated_or_left_waiting_whatever_happens() {
    let config = Config { cases: 150, failure_persistence: None, ..Config::default() };
    let session = (0..60u64, any::<bool>(), proptest::collection::vec(op(), 1..25));
    TestRunner::new(config)
        .run(&session, |(delay, reacknowledges, ops)| {
            run(delay, reacknowledges, &ops);
            Ok(())
        })
        .unwrap();
}
