//! The loop: drain everything to empty, wait, make one mutation, drain again.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::aws::{Access, Aws, Started};
use crate::channel::{self, Channel, Event, LARGEST_PAYLOAD, Mode, Now, Pace, Transmit};
use crate::transport::{Dialer, Incoming};

use super::clock::Clock;
use super::end::{LinkState, LocalEnd};
use super::ending::{Circumstances, Closing};
use super::link::{self, Link, LinkEvent};
use super::liveness::Liveness;
use super::path_cache::PathCache;
use super::repair::lost;
use super::resume::{AttemptError, Resume};
use super::{Failure, Note, Notes, Outcome, Settings, Step, random};
use crate::clock::wall;

/// How often the clocks are compared: a machine that has slept shall notice soon.
const SLEEP_CHECK: Duration = Duration::from_secs(5);

/// What a driver is made of.
pub(super) struct Parts<E> {
    pub aws: Rc<Aws>,
    pub dialer: Dialer,
    pub settings: Rc<Settings>,
    pub notes: Notes,
    pub end: E,
}

/// One session between its start and its end.
pub(super) struct Driver<E> {
    pub(super) parts: Parts<E>,
    pub(super) session_id: String,
    pub(super) stream_url: String,
    /// The credentials and endpoints that worked last.
    pub(super) access: Rc<Access>,
    pub(super) path: PathCache,
    pub(super) clock: Clock,
    pub(super) channel: Channel,
    pub(super) link: Link,
    pub(super) liveness: Liveness,
    pub(super) outage: Resume,
    pub(super) phase: Phase,
    pub(super) mode: Option<Mode>,
    pub(super) port_answered: bool,
    pub(super) resumed: bool,
    /// When the agent or the service last sent a message.
    pub(super) heard_at: Instant,
    /// When the websocket was opened, and how far the channel had come.
    pub(super) opened_at: (Instant, u64),
    /// Websockets in a row that died without progress while a large message was unacknowledged.
    pub(super) stillborn: u32,
    pub(super) closing: Option<Closing>,
    /// The session is no more at the service.
    pub(super) ended: bool,
    pub(super) last_error: Option<String>,
}

/// Whether data can flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting { deadline: Instant },
    Connected,
}

/// What the loop woke up for.
enum Wake<L> {
    Deadline,
    Link(LinkEvent),
    Local(L),
}

impl<E: LocalEnd> Driver<E> {
    pub(super) fn new(parts: Parts<E>, access: Rc<Access>, started: Started, deadline: Instant) -> Self {
        let clock = Clock::start(wall);
        let now = clock.now();
        let host = access.stream_hosts().check(&started.stream.url).map(|url| url.host()).unwrap_or_default();
        let path = PathCache::new(parts.settings.cache_dir.clone(), host);
        let settings = channel::Settings {
            max_payload: parts.settings.max_payload.unwrap_or(LARGEST_PAYLOAD),
            pace: Pace::default(),
            path: path.load(wall()),
            for_remote_host: parts.settings.for_remote_host,
        };
        let opening = link::open(access.clone(), parts.dialer.clone(), started.stream.clone());
        Self {
            session_id: started.session_id,
            stream_url: started.stream.url,
            access,
            path,
            clock,
            channel: Channel::new(now, settings, Box::new(random::fill)),
            link: Link::Opening(Box::pin(opening)),
            liveness: Liveness::new(now.instant, parts.settings.keepalive),
            outage: Resume::new(now.instant),
            phase: Phase::Connecting { deadline },
            mode: None,
            port_answered: false,
            resumed: false,
            heard_at: now.instant,
            opened_at: (now.instant, 0),
            stillborn: 0,
            closing: None,
            ended: false,
            last_error: None,
            parts,
        }
    }

    /// Runs until the session is over for us, and ends it at the service unless the far side has. Gives the local end
    /// back.
    pub(super) async fn run(mut self) -> (Result<Outcome, Failure>, E) {
        let result = loop {
            match self.turn().await {
                Ok(None) => {}
                Ok(Some(outcome)) => break Ok(outcome),
                Err(failure) => break Err(failure),
            }
        };
        self.parts.end.ending();
        let hurried = matches!(result, Ok(Outcome::Interrupted(_)));
        if !self.ended {
            self.leave(hurried).await;
        }
        if !hurried {
            self.parts.end.write_out().await;
        }
        (result, self.parts.end)
    }

    /// One round of the loop.
    async fn turn(&mut self) -> Result<Option<Outcome>, Failure> {
        let wake = self.wait().await;
        let now = self.clock.now();
        match wake {
            Wake::Deadline => {}
            Wake::Link(LinkEvent::Incoming(incoming)) => self.incoming(now, incoming),
            Wake::Link(LinkEvent::Opened(opened)) => self.opened(now, opened),
            Wake::Link(LinkEvent::Failed(error)) => self.lost(now, error)?,
            Wake::Local(event) => {
                if let Some(outcome) = self.parts.end.handle(now, event, &mut self.channel)? {
                    return Ok(Some(outcome));
                }
            }
        }
        self.expire(now)?;
        self.drain(now)?;
        self.finished(now)
    }

    async fn wait(&mut self) -> Wake<E::Event> {
        let deadline = self.deadline(self.clock.now().instant);
        self.clock.plan_wake(deadline);
        let read = self.reads();
        let room = self.channel.capacity();
        tokio::select! {
            event = self.link.next(read) => Wake::Link(event),
            event = self.parts.end.next(room) => Wake::Local(event),
            () = sleep_until(deadline.into()) => Wake::Deadline,
        }
    }

    /// The next moment at which something has to be done.
    fn deadline(&self, now: Instant) -> Instant {
        let mut deadline = now + SLEEP_CHECK;
        let mut consider = |at: Option<Instant>| deadline = at.map_or(deadline, |at| at.min(deadline));
        consider(self.channel.poll_timeout().map(|(at, _)| at));
        match &self.link {
            Link::Up(_) => consider(Some(self.liveness.deadline())),
            Link::Opening(_) if self.phase == Phase::Connected => consider(Some(self.resume_deadline())),
            Link::Opening(_) => {}
        }
        if let Phase::Connecting { deadline } = self.phase {
            consider(Some(deadline));
        }
        consider(self.parts.end.poll_timeout().filter(|_| self.closing.is_none()));
        let closing = self.closing.as_ref().map(|closing| closing.deadline(self.channel.has_gap()));
        consider(closing.filter(|at| *at > now || self.parts.end.is_written_out()));
        deadline
    }

    fn resume_deadline(&self) -> Instant {
        self.outage.since() + self.parts.settings.resume_window
    }

    /// Received data is bounded: a reader that is too slow stops the websocket.
    pub(super) fn reads(&self) -> bool {
        self.parts.end.takes_more()
    }

    pub(super) fn incoming(&mut self, now: Now, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => {
                self.liveness.heard();
                self.heard_at = now.instant;
                self.channel.handle_frame(now, &message);
                if let Some(closing) = &mut self.closing {
                    closing.heard(now.instant);
                }
            }
            Incoming::Pong | Incoming::Ping => self.liveness.heard(),
            Incoming::Flushed => {}
        }
    }

    /// Acts on the deadlines that have passed.
    fn expire(&mut self, now: Now) -> Result<(), Failure> {
        self.channel.set_reading(now, self.reads());
        self.channel.handle_timeout(now);
        self.check_sleep(now)?;
        self.check_link(now)?;
        self.check_agent(now)?;
        if let Phase::Connecting { deadline } = self.phase
            && now.instant >= deadline
            && self.closing.is_none()
        {
            return Err(self.timed_out());
        }
        let outage = self.phase == Phase::Connected && matches!(self.link, Link::Opening(_));
        if outage && self.closing.is_none() && now.instant >= self.resume_deadline() {
            let window = self.parts.settings.resume_window.as_secs();
            let last = self.last_error.take().unwrap_or_default();
            return Err(lost(format!("not resumed within {window} s: {last}")));
        }
        Ok(())
    }

    fn timed_out(&mut self) -> Failure {
        let step = match (&self.link, self.channel.has_agent_spoken()) {
            (Link::Opening(_), _) => Step::Open,
            (Link::Up(_), false) => Step::HandshakeRequest,
            (Link::Up(_), true) => Step::HandshakeComplete,
        };
        Failure::TimedOut { step, after: self.parts.settings.connect_timeout, last: self.last_error.take() }
    }

    /// Empties the channel: events to us, messages to the websocket.
    fn drain(&mut self, now: Now) -> Result<(), Failure> {
        self.drain_or_lose(now)?;
        while let Some(event) = self.channel.poll_event() {
            self.event(now, event)?;
        }
        if self.closing.is_none() {
            self.feed(now)?;
        }
        self.drain_or_lose(now)
    }

    /// Lets the local end write what the channel takes, as long as that leaves at once.
    fn feed(&mut self, now: Now) -> Result<(), Failure> {
        let link = self.link_state();
        while self.parts.end.feed(now, &mut self.channel, link) {
            self.drain_or_lose(now)?;
        }
        Ok(())
    }

    fn link_state(&self) -> LinkState {
        LinkState {
            connected: self.phase == Phase::Connected,
            is_up: matches!(self.link, Link::Up(_)),
            resumed_at: self.resumed.then_some(self.opened_at.0),
        }
    }

    fn drain_or_lose(&mut self, now: Now) -> Result<(), Failure> {
        match self.drain_to_link(now) {
            Ok(()) => Ok(()),
            Err(error) => self.lost(now, error),
        }
    }

    pub(super) fn drain_to_link(&mut self, now: Now) -> Result<(), AttemptError> {
        while let Some(websocket) = self.link.websocket().filter(|websocket| websocket.has_room())
            && let Some(transmit) = self.channel.poll_transmit(now)
        {
            let sent = match transmit {
                Transmit::Text(text) => websocket.send_text(text),
                Transmit::Binary(frame) => websocket.send_binary(frame),
            };
            sent.map_err(|lost| AttemptError::Lost(lost.0))?;
        }
        Ok(())
    }

    fn event(&mut self, now: Now, event: Event) -> Result<(), Failure> {
        match event {
            Event::Connected { agent, mode, customer_message } => {
                tracing::debug!(session_id = self.session_id, %agent, ?mode, "connected");
                self.phase = Phase::Connected;
                self.mode = Some(mode);
                self.parts.end.connected(now, mode, &agent)?;
                self.outage = Resume::new(now.instant);
                if !customer_message.is_empty() {
                    tracing::info!(customer_message);
                    (self.parts.notes)(&Note::CustomerMessage(customer_message));
                }
            }
            Event::Data(bytes) => {
                self.port_answered = true;
                self.parts.end.receive(now, bytes)?;
            }
            Event::PortRefused => self.parts.end.refused(),
            Event::FirstInputUnanswered => {
                tracing::info!(session_id = self.session_id, "the first input is not acknowledged");
                (self.parts.notes)(&Note::FirstInputUnanswered);
            }
            Event::SizeProven(size) => {
                tracing::debug!(size, "message size proven");
                self.path.proven(wall(), size);
            }
            Event::SizeRefused(size) => {
                tracing::info!(size, "message size refused by the path");
                self.path.refused(wall(), size);
            }
            Event::SizeOutdated => {
                tracing::info!("the path does not carry the message size of earlier sessions");
                self.path.outdated(wall());
            }
            Event::Dropped(dropped) => tracing::debug!(?dropped, "message dropped"),
            Event::Closed { output } => {
                self.ended = true;
                if self.closing.is_none() {
                    let suspected_size = self.suspected_size(now);
                    self.closing = Some(Closing::new(now.instant, output, suspected_size));
                }
            }
            Event::Failed(failure) => return Err(self.channel_failure(failure)),
        }
        Ok(())
    }

    fn channel_failure(&self, failure: channel::Failure) -> Failure {
        let timed_out = |step| Failure::TimedOut { step, after: Duration::from_secs(30), last: None };
        match failure {
            channel::Failure::HandshakeRequestTimeout => timed_out(Step::HandshakeRequest),
            channel::Failure::HandshakeCompleteTimeout => timed_out(Step::HandshakeComplete),
            channel::Failure::Refused(refusal) => Failure::Refused(refusal),
            channel::Failure::NotAPort => Failure::NotAPort,
            channel::Failure::Gap { missing } => {
                lost(format!("message {missing} of the agent did not arrive for 120 s"))
            }
        }
    }

    /// Tells whether everything is over, once all that can be done now is done.
    fn finished(&mut self, now: Now) -> Result<Option<Outcome>, Failure> {
        if let Some(closing) = &self.closing {
            let over = now.instant >= closing.deadline(self.channel.has_gap());
            if !over || !self.parts.end.is_written_out() {
                return Ok(None);
            }
            let circumstances = self.circumstances();
            return self.closing.take().map(|closing| closing.verdict(circumstances)).transpose();
        }
        let link = self.link_state();
        self.parts.end.finished(now, &self.channel, link)
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            connected: self.phase == Phase::Connected,
            port_answered: self.port_answered || self.mode == Some(Mode::Multiplexed),
            gap: self.channel.has_gap(),
        }
    }
}
