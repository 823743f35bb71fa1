//! The loop: drain everything to empty, wait, make one mutation, drain again.

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep_until;

use crate::aws::{Access, Aws, Started};
use crate::channel::{self, Channel, Event, LARGEST_PAYLOAD, Now, Pace, Transmit};
use crate::transport::{Dialer, Incoming};

use super::clock::{Clock, wall};
use super::ending::{Circumstances, Closing};
use super::link::{self, Link, LinkEvent};
use super::liveness::Liveness;
use super::path_cache::PathCache;
use super::repair::lost;
use super::resume::{AttemptError, Resume};
use super::signals::{Interrupt, Interrupts};
use super::stdio::{Input, Output};
use super::{Failure, Note, Notes, Outcome, Settings, Step, random};

/// Received data that standard output has not taken; beyond it the websocket is not read.
const RECEIVED_LIMIT: usize = 8 << 20;
/// Input is read in pieces of at least this many bytes of room: crumbs cost a system call each.
const ROOM: usize = 16 << 10;
/// How often the clocks are compared: a machine that has slept shall notice soon.
const SLEEP_CHECK: Duration = Duration::from_secs(5);
/// Silence on a websocket that was resumed means nothing for so long: the agent resends what was lost after a second.
const AFTER_RESUME: Duration = Duration::from_secs(3);

/// What a driver is made of.
pub(super) struct Parts<'a> {
    pub aws: &'a Aws,
    pub dialer: Dialer,
    pub settings: &'a Settings,
    pub notes: Notes,
    pub input: Input,
    pub output: Output,
    pub interrupts: Interrupts,
}

/// One session between its start and its end.
pub(super) struct Driver<'a> {
    pub(super) parts: Parts<'a>,
    pub(super) session_id: String,
    pub(super) stream_url: String,
    /// The credentials and endpoints that worked last.
    pub(super) access: Rc<Access>,
    pub(super) path: PathCache,
    pub(super) clock: Clock,
    pub(super) channel: Channel,
    pub(super) link: Link<'a>,
    pub(super) liveness: Liveness,
    pub(super) outage: Resume,
    pub(super) phase: Phase,
    pub(super) port_answered: bool,
    pub(super) resumed: bool,
    pub(super) input_ended: bool,
    /// When the websocket was opened, and how far the channel had come.
    pub(super) opened_at: (Instant, u64),
    /// Websockets in a row that died without progress while a large message was unacknowledged.
    pub(super) stillborn: u32,
    /// When the loop wanted to wake up at the latest.
    pub(super) wake_by: Instant,
    /// Since when our input has ended, everything is acknowledged and the peer is silent.
    pub(super) quiet_since: Option<Instant>,
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
enum Wake {
    Deadline,
    Interrupt(Interrupt),
    Link(LinkEvent),
    Input(std::io::Result<usize>),
    Output(std::io::Result<()>),
}

impl<'a> Driver<'a> {
    pub(super) fn new(parts: Parts<'a>, access: Rc<Access>, started: Started, deadline: Instant) -> Self {
        let clock = Clock::start();
        let now = clock.now();
        let host = access.stream_hosts().check(&started.stream.url).map(|url| url.host()).unwrap_or_default();
        let path = PathCache::new(parts.settings.cache_dir.clone(), host);
        let settings = channel::Settings {
            max_payload: parts.settings.max_payload.unwrap_or(LARGEST_PAYLOAD),
            pace: Pace::default(),
            path: path.load(wall()),
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
            port_answered: false,
            resumed: false,
            input_ended: false,
            opened_at: (now.instant, 0),
            stillborn: 0,
            wake_by: now.instant + SLEEP_CHECK,
            quiet_since: None,
            closing: None,
            ended: false,
            last_error: None,
            parts,
        }
    }

    /// Runs until the session is over for us, and ends it at the service unless the far side has.
    pub(super) async fn run(mut self) -> Result<Outcome, Failure> {
        let result = loop {
            match self.turn().await {
                Ok(None) => {}
                Ok(Some(outcome)) => break Ok(outcome),
                Err(failure) => break Err(failure),
            }
        };
        let hurried = matches!(result, Ok(Outcome::Interrupted(_)));
        if !self.ended {
            self.leave(hurried).await;
        }
        if !hurried {
            self.write_out().await;
        }
        result
    }

    /// One round of the loop.
    async fn turn(&mut self) -> Result<Option<Outcome>, Failure> {
        let wake = self.wait().await;
        let now = self.clock.now();
        if let Some(outcome) = self.mutate(now, wake)? {
            return Ok(Some(outcome));
        }
        self.expire(now)?;
        self.drain(now)?;
        self.finished(now)
    }

    async fn wait(&mut self) -> Wake {
        let deadline = self.deadline(self.clock.now().instant);
        self.wake_by = deadline;
        let read = self.reads();
        let room = if self.input_ended { 0 } else { self.channel.capacity() };
        let wants_input = room >= ROOM;
        let Parts { input, output, interrupts, .. } = &mut self.parts;
        tokio::select! {
            interrupt = interrupts.next() => Wake::Interrupt(interrupt),
            event = self.link.next(read) => Wake::Link(event),
            read = input.read(room), if wants_input => Wake::Input(read),
            written = output.write() => Wake::Output(written),
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
        consider(self.quiet_since.map(|since| self.silent_at(since)));
        let closing = self.closing.as_ref().map(|closing| closing.deadline(self.channel.has_gap()));
        consider(closing.filter(|at| *at > now || self.parts.output.queued() == 0));
        deadline
    }

    fn resume_deadline(&self) -> Instant {
        self.outage.since() + self.parts.settings.resume_window
    }

    /// Received data is bounded: a reader that is too slow stops the websocket.
    pub(super) fn reads(&self) -> bool {
        self.parts.output.queued() < RECEIVED_LIMIT
    }

    fn mutate(&mut self, now: Now, wake: Wake) -> Result<Option<Outcome>, Failure> {
        match wake {
            Wake::Deadline => {}
            Wake::Interrupt(interrupt) => return Ok(Some(Outcome::Interrupted(interrupt))),
            Wake::Link(LinkEvent::Incoming(incoming)) => self.incoming(now, incoming),
            Wake::Link(LinkEvent::Opened(opened)) => self.opened(now, opened),
            Wake::Link(LinkEvent::Failed(error)) => self.lost(now, error)?,
            Wake::Input(Ok(0)) => self.input_ended = true,
            Wake::Input(Err(error)) if error.kind() == ErrorKind::ConnectionReset => self.input_ended = true,
            Wake::Input(Ok(length)) => {
                let taken = self.channel.write(self.parts.input.bytes(length));
                debug_assert_eq!(taken, length, "no more is read than the channel takes");
            }
            Wake::Input(Err(error)) => return Err(Failure::Stdio { what: "standard input", error }),
            Wake::Output(Ok(())) => {}
            Wake::Output(Err(error))
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                return Ok(Some(Outcome::Interrupted(Interrupt::ReaderGone)));
            }
            Wake::Output(Err(error)) => return Err(Failure::Stdio { what: "standard output", error }),
        }
        Ok(None)
    }

    pub(super) fn incoming(&mut self, now: Now, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => {
                self.liveness.heard();
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
        self.drain_or_lose(now)
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
            Event::Connected { agent, customer_message } => {
                tracing::debug!(session_id = self.session_id, %agent, "connected");
                self.phase = Phase::Connected;
                self.outage = Resume::new(now.instant);
                if !customer_message.is_empty() {
                    tracing::info!(customer_message);
                    (self.parts.notes)(&Note::CustomerMessage(customer_message));
                }
            }
            Event::Data(bytes) => self.data(bytes),
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

    fn data(&mut self, bytes: Bytes) {
        self.port_answered = true;
        self.quiet_since = None;
        self.parts.output.push(&bytes);
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
            if !over || self.parts.output.queued() > 0 {
                return Ok(None);
            }
            let circumstances = self.circumstances();
            return self.closing.take().map(|closing| closing.verdict(circumstances)).transpose();
        }
        let said = self.input_ended && self.channel.is_flushed() && self.phase == Phase::Connected;
        // What the peer still says may be on its way while the link is down or a message is missing.
        let heard =
            matches!(self.link, Link::Up(_)) && !self.channel.has_gap() && self.parts.output.queued() == 0;
        if !said || !heard {
            self.quiet_since = None;
            return Ok(None);
        }
        let since = *self.quiet_since.get_or_insert(now.instant);
        Ok((now.instant >= self.silent_at(since)).then_some(Outcome::Done))
    }

    /// When a silence since then has lasted long enough to end the session.
    fn silent_at(&self, since: Instant) -> Instant {
        let lingered = since + self.parts.settings.linger;
        if self.resumed { lingered.max(self.opened_at.0 + AFTER_RESUME) } else { lingered }
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            connected: self.phase == Phase::Connected,
            port_answered: self.port_answered,
            gap: self.channel.has_gap(),
        }
    }
}
