//! A channel and an agent joined by two emulated links, on virtual time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use fumidai::channel::{Channel, ChannelEvent, ChannelSettings, Now, Transmit};
use fumidai::sim::agent::{Action, Agent, AgentConfig, Status};
use fumidai::sim::link::{Link, LinkConfig};
use fumidai::sim::rng::Rng;

/// Messages to the agent above this size are dropped.
pub type SizeLimit = Option<usize>;

/// How the agent's destination takes bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Destination {
    /// Takes them at once.
    Fast,
    /// Takes this many bytes per second.
    Slow(f64),
    /// Refuses the connection.
    Refused,
}

/// A channel and an agent, the links between them, and what either end received.
pub struct Pair {
    pub now: Now,
    pub channel: Channel,
    pub agent: Agent,
    pub up: Link,
    pub down: Link,
    pub size_limit: SizeLimit,
    /// The bytes that the user has received.
    pub received: Vec<u8>,
    /// The bytes that the destination has received.
    pub written: Vec<u8>,
    pub events: Vec<ChannelEvent>,
    /// Times and sizes of the messages that the client sent, acknowledgements included.
    pub sent: Vec<(Instant, usize)>,
    pub ended: Option<(Status, String)>,
    to_write: VecDeque<u8>,
    to_send: VecDeque<u8>,
    destination: Destination,
    dial: Option<Instant>,
    writing: Option<(Instant, Bytes)>,
    stalled_until: Option<Instant>,
    attached: bool,
    agent_is_attached: bool,
}

impl Pair {
    pub fn new(seed: u64, link: LinkConfig, agent: AgentConfig) -> Self {
        Self::with(seed, link, agent, ChannelSettings::default(), Destination::Fast)
    }

    pub fn with(
        seed: u64,
        link: LinkConfig,
        agent: AgentConfig,
        settings: ChannelSettings,
        destination: Destination,
    ) -> Self {
        let now = start();
        let mut rng = Rng::new(seed);
        let random = move |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| *byte = rng.below(256) as u8);
        let mut channel = Channel::new(now, settings, Box::new(random));
        channel.attach(now, "token");
        Self {
            now,
            channel,
            agent: Agent::new(now.instant, now.unix_ms, agent, seed + 1),
            up: Link::new(link, seed + 2),
            down: Link::new(link, seed + 3),
            size_limit: None,
            received: Vec::new(),
            written: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
            ended: None,
            to_write: VecDeque::new(),
            to_send: VecDeque::new(),
            destination,
            dial: None,
            writing: None,
            stalled_until: None,
            attached: true,
            agent_is_attached: true,
        }
    }

    /// Sends bytes of the user, as fast as the channel takes them.
    pub fn upload(&mut self, bytes: &[u8]) {
        self.to_write.extend(bytes);
    }

    /// Sends bytes of the destination, as fast as the agent reads them.
    pub fn download(&mut self, bytes: &[u8]) {
        self.to_send.extend(bytes);
    }

    /// Cuts the websocket; the messages in transit are lost.
    pub fn cut(&mut self) {
        self.attached = false;
        self.up.cut();
        self.down.cut();
        self.channel.detach(self.now);
    }

    /// Cuts the websocket after the acknowledgements of everything in transit have been lost.
    pub fn cut_after_losing_acknowledgements(&mut self) {
        let link = self.down.config();
        self.down.cut();
        self.down.set_config(LinkConfig { loss: 1.0, ..link });
        self.run(Duration::from_millis(150));
        self.cut();
        self.down.set_config(link);
    }

    /// The agent's own websocket is lost for a time, with the messages in transit; the client does not notice.
    pub fn cut_of_agent(&mut self, time: Duration) {
        self.agent.detach(self.now.instant);
        self.agent_is_attached = false;
        self.up.cut();
        self.run(time);
        self.agent_is_attached = true;
        self.agent.attach(self.now.instant);
    }

    /// The destination takes nothing for a time, beginning with the next write.
    pub fn stall(&mut self, time: Duration) {
        self.stalled_until = Some(self.now.instant + time);
    }

    /// Returns the bytes of all messages that the client has sent.
    pub fn sent_bytes(&self) -> usize {
        self.sent.iter().map(|(_, size)| size).sum()
    }

    /// Opens a new websocket.
    pub fn resume(&mut self) {
        self.attached = true;
        self.channel.attach(self.now, "another token");
    }

    pub fn connect(&mut self) {
        self.run_until(|pair| {
            pair.events.iter().any(|event| matches!(event, ChannelEvent::Connected { .. }))
        });
    }

    /// Runs for a time.
    pub fn run(&mut self, time: Duration) {
        let end = self.now.instant + time;
        self.settle();
        while self.now.instant < end {
            self.advance(end);
            self.settle();
        }
    }

    /// Runs until `done`, for at most 10 minutes of virtual time.
    pub fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        self.run_until_within(Duration::from_secs(600), done);
    }

    pub fn run_until_within(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now.instant + limit;
        self.settle();
        while !done(self) {
            assert!(
                self.now.instant < end,
                "stuck: {} of {} written, {} received, {} to send",
                self.written.len(),
                self.written.len() + self.to_write.len(),
                self.received.len(),
                self.to_send.len()
            );
            self.advance(end);
            self.settle();
        }
    }

    pub fn count(&self, wanted: impl Fn(&ChannelEvent) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }

    /// Delivers everything that is due now.
    fn settle(&mut self) {
        while self.settle_once() {}
    }

    /// Advances the time to the next timeout.
    fn advance(&mut self, end: Instant) {
        let next = [
            self.channel.poll_timeout().map(|(at, _)| at).filter(|_| self.attached),
            self.agent.poll_timeout(),
            self.up.poll_timeout(),
            self.down.poll_timeout(),
            self.dial,
            self.writing.as_ref().map(|(at, _)| *at),
        ];
        let next = next.into_iter().flatten().min().unwrap_or(end).min(end);
        let passed = next.saturating_duration_since(self.now.instant).max(Duration::from_micros(1));
        self.now = later(self.now, passed);
        self.channel.handle_timeout(self.now);
        self.agent.handle_timeout(self.now.instant);
    }

    /// Runs all parts once; returns false if none had work.
    fn settle_once(&mut self) -> bool {
        let mut progress = self.feed();
        while let Some(transmit) = self.channel.poll_transmit(self.now) {
            progress = true;
            if let Transmit::Binary(frame) = transmit {
                self.sent.push((self.now.instant, frame.len()));
                if self.size_limit.is_none_or(|limit| frame.len() <= limit) {
                    self.up.send(self.now.instant, frame);
                }
            }
        }
        while let Some(event) = self.channel.poll_event() {
            progress = true;
            if let ChannelEvent::Data(bytes) = event {
                self.received.extend_from_slice(&bytes);
            } else {
                self.events.push(event);
            }
        }
        while let Some(message) = self.agent.poll_transmit() {
            progress = true;
            if self.attached {
                self.down.send(self.now.instant, message);
            }
        }
        while let Some(action) = self.agent.poll_action() {
            progress = true;
            self.act(action);
        }
        progress |= self.destination();
        progress | self.deliver()
    }

    fn feed(&mut self) -> bool {
        let before = self.to_write.len();
        while !self.to_write.is_empty() && self.channel.capacity() > 0 {
            let (front, _) = self.to_write.as_slices();
            let taken = self.channel.write(&front[..front.len().min(64 << 10)]);
            self.to_write.drain(..taken);
        }
        before != self.to_write.len()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { .. } => self.dial = Some(self.now.instant + Duration::from_millis(1)),
            Action::Write(bytes) => {
                let time = match self.destination {
                    Destination::Fast | Destination::Refused => Duration::ZERO,
                    Destination::Slow(rate) => Duration::from_secs_f64(bytes.len() as f64 / rate),
                };
                let at = self.now.instant + time;
                self.writing = Some((self.stalled_until.map_or(at, |until| until.max(at)), bytes));
            }
            Action::CloseDestination => {}
            Action::Ended { status, output } => self.ended = Some((status, output)),
        }
    }

    fn destination(&mut self) -> bool {
        let now = self.now.instant;
        let mut progress = false;
        if self.dial.take_if(|at| *at <= now).is_some() {
            progress = true;
            if self.destination == Destination::Refused {
                self.agent.destination_failed(now, "dial tcp 127.0.0.1:22: connect: connection refused");
            } else {
                self.agent.destination_connected(now);
            }
        }
        if let Some((_, bytes)) = self.writing.take_if(|(at, _)| *at <= now) {
            progress = true;
            self.written.extend_from_slice(&bytes);
            self.agent.destination_wrote(now, bytes.len());
        }
        while self.agent.ready_for_data() && !self.to_send.is_empty() {
            progress = true;
            let length = self.to_send.len().min(self.agent.payload_size());
            let chunk: Vec<u8> = self.to_send.drain(..length).collect();
            self.agent.destination_data(now, &chunk);
        }
        progress
    }

    fn deliver(&mut self) -> bool {
        let mut progress = false;
        while let Some(message) = self.up.poll_deliver(self.now.instant) {
            progress = true;
            if self.agent_is_attached {
                self.agent.handle_message(self.now.instant, &message);
            }
        }
        while let Some(message) = self.down.poll_deliver(self.now.instant) {
            progress = true;
            self.channel.handle_frame(self.now, &message);
        }
        progress
    }
}

/// Returns bytes without short repetitions, so that a reordering or a gap shows.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut rng = Rng::new(99);
    (0..length).map(|_| rng.below(256) as u8).collect()
}

pub fn later(now: Now, passed: Duration) -> Now {
    let unix_ms = now.unix_ms + u64::try_from(passed.as_millis()).expect("tests are short");
    Now { instant: now.instant + passed, unix_ms }
}

#[expect(clippy::disallowed_methods, reason = "a starting point for virtual time")]
pub fn start() -> Now {
    Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 }
}
