//! An emulated link, one direction of it: delay, jitter, a bottleneck, loss, duplicates and reordering, all seeded.
//!
//! A value without I/O: put messages in with [`Link::send`], take them out with [`Link::poll_deliver`], and look again at
//! [`Link::poll_timeout`]. Jitter alone never reorders, as no TCP connection does; `reorder` holds a message back until
//! later ones have passed it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sim::rng::Rng;

/// How long a held message waits for others to pass it at most.
const LONGEST_HOLD: Duration = Duration::from_millis(50);

/// What a link does to messages; the default does nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkConfig {
    /// How long every message travels.
    pub delay: Duration,
    /// At most so much longer, at random.
    pub jitter: Duration,
    /// The share of messages that vanish.
    pub loss: f64,
    /// The share of messages that arrive twice.
    pub duplicate: f64,
    /// The share of messages that are overtaken.
    pub reorder: f64,
    /// By how many messages at most.
    pub reorder_depth: u64,
    /// The bottleneck's speed in bytes per second; none is unlimited.
    pub bandwidth: Option<u64>,
    /// How many bytes may queue before the bottleneck; more are lost.
    pub queue_limit: Option<usize>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_depth: 0,
            bandwidth: None,
            queue_limit: None,
        }
    }
}

/// What a link has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Messages put in.
    pub sent: u64,
    /// Messages taken out.
    pub delivered: u64,
    /// Messages that vanished, by chance or because the queue was full.
    pub lost: u64,
    /// Messages delivered twice.
    pub duplicated: u64,
    /// Messages held back to be overtaken.
    pub held: u64,
    /// The most bytes that ever waited before the bottleneck.
    pub peak_queue: usize,
}

/// One direction of an emulated link.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    rng: Rng,
    /// Ordered by arrival.
    travelling: VecDeque<Travelling>,
    held: Vec<Held>,
    /// The end of transmission and size of each message not yet through the bottleneck, and their sum.
    queue: VecDeque<(Instant, usize)>,
    queued: usize,
    free_at: Option<Instant>,
    bytes: usize,
    stats: LinkStats,
}

#[derive(Debug)]
struct Travelling {
    arrives: Instant,
    message: Bytes,
    overtakers: u64,
}

#[derive(Debug)]
struct Held {
    until: Instant,
    message: Bytes,
    overtakers: u64,
}

impl Link {
    /// Makes an empty link.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::new(seed),
            travelling: VecDeque::new(),
            held: Vec::new(),
            queue: VecDeque::new(),
            queued: 0,
            free_at: None,
            bytes: 0,
            stats: LinkStats::default(),
        }
    }

    /// Changes what happens to the messages that are sent from now on.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// Puts a message in.
    pub fn send(&mut self, now: Instant, message: Bytes) {
        self.stats.sent += 1;
        let lost = self.rng.chance(self.config.loss);
        let duplicated = self.rng.chance(self.config.duplicate);
        let late = self.rng.chance(self.config.reorder);
        let depth = 1 + self.rng.below(self.config.reorder_depth);
        let jitter = self.config.jitter.mul_f64(self.rng.below(1_000_000) as f64 / 1e6);
        let Some(departs) = self.pass_bottleneck(now, message.len()) else {
            self.stats.lost += 1;
            return;
        };
        if lost {
            self.stats.lost += 1;
            return;
        }
        let overtakers = if late && self.config.reorder_depth > 0 { depth } else { 0 };
        self.stats.held += u64::from(overtakers > 0);
        let arrives = departs + self.config.delay + jitter;
        self.travel(arrives, message.clone(), overtakers);
        if duplicated {
            self.stats.duplicated += 1;
            self.travel(arrives, message, 0);
        }
    }

    /// Takes out the next message that has arrived.
    pub fn poll_deliver(&mut self, now: Instant) -> Option<Bytes> {
        loop {
            if let Some(at) = self.held.iter().position(|held| held.overtakers == 0 || held.until <= now) {
                return Some(self.deliver_held(at));
            }
            let first = self.travelling.front().filter(|first| first.arrives <= now)?;
            let hold = first.overtakers > 0;
            let first = self.travelling.pop_front()?;
            if !hold {
                for held in &mut self.held {
                    held.overtakers -= 1;
                }
                return Some(self.deliver(first.message));
            }
            let until = first.arrives + LONGEST_HOLD;
            self.held.push(Held { until, message: first.message, overtakers: first.overtakers });
        }
    }

    /// Returns when there may be something to take out.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let travelling = self.travelling.front().map(|first| first.arrives);
        let held = self.held.iter().map(|held| held.until).min();
        travelling.into_iter().chain(held).min()
    }

    /// Loses everything that is on its way, as a cut does.
    pub fn cut(&mut self) {
        self.stats.lost += (self.travelling.len() + self.held.len()) as u64;
        self.travelling.clear();
        self.held.clear();
        self.queue.clear();
        (self.queued, self.bytes, self.free_at) = (0, 0, None);
    }

    /// Returns how many bytes wait before the bottleneck.
    pub fn queued(&mut self, now: Instant) -> usize {
        while let Some((_, size)) = self.queue.pop_front_if(|(departed, _)| *departed <= now) {
            self.queued -= size;
        }
        self.queued
    }

    /// Returns how many bytes are on their way, the queue included.
    pub fn in_flight(&self) -> usize {
        self.bytes
    }

    /// Returns what happened so far.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Returns when the message is through the bottleneck, or `None` if its queue is full.
    fn pass_bottleneck(&mut self, now: Instant, size: usize) -> Option<Instant> {
        let Some(bandwidth) = self.config.bandwidth.filter(|bandwidth| *bandwidth > 0) else {
            return Some(now);
        };
        let queued = self.queued(now) + size;
        if self.config.queue_limit.is_some_and(|limit| queued > limit) {
            return None;
        }
        let start = self.free_at.map_or(now, |free_at| free_at.max(now));
        let departs = start + Duration::from_secs_f64(size as f64 / bandwidth as f64);
        self.free_at = Some(departs);
        self.queue.push_back((departs, size));
        self.queued = queued;
        self.stats.peak_queue = self.stats.peak_queue.max(queued);
        Some(departs)
    }

    fn travel(&mut self, arrives: Instant, message: Bytes, overtakers: u64) {
        let arrives = self.travelling.back().map_or(arrives, |last| last.arrives.max(arrives));
        self.bytes += message.len();
        self.travelling.push_back(Travelling { arrives, message, overtakers });
    }

    fn deliver_held(&mut self, at: usize) -> Bytes {
        let held = self.held.remove(at);
        self.deliver(held.message)
    }

    fn deliver(&mut self, message: Bytes) -> Bytes {
        self.bytes -= message.len();
        self.stats.delivered += 1;
        message
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a starting point for virtual time")]

    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn numbered(count: u32) -> impl Iterator<Item = Bytes> {
        (0..count).map(|n| Bytes::copy_from_slice(&n.to_be_bytes()))
    }

    fn drain(link: &mut Link, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| link.poll_deliver(now))
            .map(|m| u32::from_be_bytes(m.as_ref().try_into().unwrap()))
            .collect()
    }

    #[test]
    fn a_plain_link_delivers_in_order_after_its_delay() {
        let start = Instant::now();
        let mut link = Link::new(LinkConfig { delay: ms(20), jitter: ms(10), ..LinkConfig::default() }, 1);
        numbered(50).for_each(|message| link.send(start, message));
        assert_eq!(link.poll_deliver(start + ms(19)), None);
        assert!(link.poll_timeout().unwrap() >= start + ms(20));
        assert_eq!(drain(&mut link, start + ms(30)), (0..50).collect::<Vec<_>>());
        assert_eq!((link.in_flight(), link.poll_timeout()), (0, None));
    }

    #[test]
    fn loss_and_duplicates_follow_their_probabilities_and_seed() {
        let start = Instant::now();
        let run = |seed| {
            let mut link = Link::new(LinkConfig { loss: 0.1, duplicate: 0.1, ..LinkConfig::default() }, seed);
            numbered(1000).for_each(|message| link.send(start, message));
            (drain(&mut link, start), link.stats())
        };
        let (first, stats) = run(5);
        assert_eq!(run(5).0, first);
        assert_ne!(run(6).0, first);
        assert!((60..140).contains(&stats.lost) && (60..140).contains(&stats.duplicated), "{stats:?}");
        assert_eq!(stats.delivered, 1000 - stats.lost + stats.duplicated);
    }

    #[test]
    fn reordering_is_bounded_by_its_depth_and_loses_nothing() {
        let start = Instant::now();
        let mut link = Link::new(LinkConfig { reorder: 0.2, reorder_depth: 5, ..LinkConfig::default() }, 3);
        numbered(200).for_each(|message| link.send(start, message));
        let mut got = drain(&mut link, start);
        got.extend(drain(&mut link, start + LONGEST_HOLD));
        assert_ne!(got, (0..200).collect::<Vec<_>>());
        for (at, n) in got.iter().enumerate() {
            let overtaken = got[..at].iter().filter(|other| *other > n).count();
            assert!(overtaken <= 10, "{n} was overtaken by {overtaken}");
        }
        got.sort_unstable();
        assert_eq!(got, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn a_bottleneck_spreads_messages_and_counts_its_queue() {
        let start = Instant::now();
        let mut link = Link::new(
            LinkConfig { bandwidth: Some(4000), queue_limit: Some(40), ..LinkConfig::default() },
            1,
        );
        numbered(11).for_each(|message| link.send(start, message));
        assert_eq!(link.stats().lost, 1, "the queue holds ten");
        assert_eq!((link.queued(start), link.stats().peak_queue), (40, 40));
        assert_eq!(drain(&mut link, start + ms(5)).len(), 5);
        assert_eq!(link.queued(start + ms(5)), 20);
    }

    #[test]
    fn a_cut_loses_what_is_on_its_way() {
        let start = Instant::now();
        let mut link = Link::new(LinkConfig { delay: ms(5), ..LinkConfig::default() }, 1);
        numbered(3).for_each(|message| link.send(start, message));
        link.cut();
        assert_eq!(link.poll_deliver(start + ms(9)), None);
        assert_eq!((link.stats().lost, link.in_flight()), (3, 0));
    }
}
