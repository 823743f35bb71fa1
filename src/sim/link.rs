//! One direction of an emulated link: delay, jitter, a bottleneck, loss, duplicates and reordering, all seeded.
//!
//! It does no I/O: call [`Link::send`], then [`Link::poll_deliver`] until it returns `None`, and again at
//! [`Link::poll_timeout`]. Jitter alone never reorders messages, as on TCP; `reorder` delays a message until later ones
//! have overtaken it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::sim::rng::Rng;

/// The longest time that a held message waits to be overtaken.
const LONGEST_HOLD: Duration = Duration::from_millis(50);

/// The properties of a link; the default is an ideal link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkConfig {
    /// The delay of every message.
    pub delay: Duration,
    /// The maximum of a random extra delay.
    pub jitter: Duration,
    /// The share of messages that are lost.
    pub loss: f64,
    /// The share of messages that are duplicated.
    pub duplicate: f64,
    /// The share of messages that are reordered.
    pub reorder: f64,
    /// The maximum number of messages that overtake one.
    pub reorder_depth: u64,
    /// The bandwidth in bytes per second; `None` is unlimited.
    pub bandwidth: Option<u64>,
    /// The bytes that may queue at the bottleneck; more are lost.
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

/// The counters of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Messages sent.
    pub sent: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages lost, at random or because the queue was full.
    pub lost: u64,
    /// Messages duplicated.
    pub duplicated: u64,
    /// Messages held to be overtaken.
    pub held: u64,
    /// The maximum of bytes queued at the bottleneck.
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
    /// Makes a link without messages.
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

    /// Returns the properties.
    pub fn config(&self) -> LinkConfig {
        self.config
    }

    /// Changes the properties for messages that are sent later.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// Sends a message.
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

    /// Returns the next message that has arrived.
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

    /// Returns when `poll_deliver` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let travelling = self.travelling.front().map(|first| first.arrives);
        let held = self.held.iter().map(|held| held.until).min();
        travelling.into_iter().chain(held).min()
    }

    /// Drops all messages in transit.
    pub fn cut(&mut self) {
        self.stats.lost += (self.travelling.len() + self.held.len()) as u64;
        self.travelling.clear();
        self.held.clear();
        self.queue.clear();
        (self.queued, self.bytes, self.free_at) = (0, 0, None);
    }

    /// Returns the bytes queued at the bottleneck.
    pub fn queued(&mut self, now: Instant) -> usize {
        while let Some((_, size)) = self.queue.pop_front_if(|(departed, _)| *departed <= now) {
            self.queued -= size;
        }
        self.queued
    }

    /// Returns the bytes in transit, including the queue.
    pub fn in_flight(&self) -> usize {
        self.bytes
    }

    /// Returns the counters.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Returns when the message has passed the bottleneck, or `None` if the queue is full.
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
    fn a_cut_drops_the_messages_in_transit() {
        let start = Instant::now();
        let mut link = Link::new(LinkConfig { delay: ms(5), ..LinkConfig::default() }, 1);
        numbered(3).for_each(|message| link.send(start, message));
        link.cut();
        assert_eq!(link.poll_deliver(start + ms(9)), None);
        assert_eq!((link.stats().lost, link.in_flight()), (3, 0));
    }
}
