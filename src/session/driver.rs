//! The loop: drain everything to empty, wait, make one mutation, drain again.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep_until;

use crate::aws::{Access, Aws, Meaning, Started, Stream};
use crate::channel::{self, Channel, Event, LARGEST_PAYLOAD, Now, Pace, Transmit};
use crate::transport::{Dialer, Incoming};

use super::clock::{Clock, wall};
use super::ending::{Circumstances, Closing};
use super::link::{self, Link, LinkEvent, Opened};
use super::liveness::{Liveness, Verdict};
use super::path_cache::PathCache;
use super::resume::{AttemptError, Next, Resume};
use super::signals::{Interrupt, Interrupts};
use super::start::{LEAVE, end};
use super::stdio::{Input, Output};
use super::{Failure, Note, Notes, Outcome, Settings, Step};

/// Received data that standard output has not taken; beyond it the websocket is not read.
const RECEIVED_LIMIT: usize = 8 << 20;
/// How long the terminate flag may go unconfirmed before the API is asked too.
const FLAG_PATIENCE: Duration = Duration::from_millis(500);
/// Input is read in pieces of at least this many bytes of room: crumbs cost a system call each.
const ROOM: usize = 16 << 10;
/// How often the clocks are compared: a machine that has slept shall notice soon.
const SLEEP_CHECK: Duration = Duration::from_secs(5);

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
    parts: Parts<'a>,
    session_id: String,
    stream_url: String,
    path: PathCache,
    clock: Clock,
    channel: Channel,
    link: Link<'a>,
    liveness: Liveness,
    outage: Resume,
    phase: Phase,
    port_answered: bool,
    input_ended: bool,
    /// Something has arrived since the websocket was opened, so the path works.
    link_proven: bool,
    /// Since when our input has ended, everything is acknowledged and the peer is silent.
    quiet_since: Option<Instant>,
    closing: Option<Closing>,
    /// The session is no more at the service.
    ended: bool,
    last_error: Option<String>,
}

/// Whether data can flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
    pub(super) fn new(parts: Parts<'a>, access: Access, started: Started, deadline: Instant) -> Self {
        let clock = Clock::start();
        let now = clock.now();
        let host = access.stream_hosts().check(&started.stream.url).map(|url| url.host()).unwrap_or_default();
        let path = PathCache::new(parts.settings.cache_dir.clone(), host);
        let settings = channel::Settings {
            max_payload: parts.settings.max_payload.unwrap_or(LARGEST_PAYLOAD),
            pace: Pace::default(),
            path: path.load(wall()),
        };
        let opening = link::open(access, parts.dialer.clone(), started.stream.clone());
        Self {
            session_id: started.session_id,
            stream_url: started.stream.url,
            path,
            clock,
            channel: Channel::new(now, settings, Box::new(fill_random)),
            link: Link::Opening(Box::pin(opening)),
            liveness: Liveness::new(now.instant, parts.settings.keepalive),
            outage: Resume::new(now.instant),
            phase: Phase::Connecting { deadline },
            port_answered: false,
            input_ended: false,
            link_proven: false,
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
        if !self.ended {
            let hurried = matches!(result, Ok(Outcome::Interrupted(_)));
            self.leave(hurried).await;
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
        consider(self.quiet_since.map(|since| since + self.parts.settings.linger));
        consider(self.closing.as_ref().map(|closing| closing.deadline(self.channel.has_gap())));
        deadline
    }

    fn resume_deadline(&self) -> Instant {
        self.outage.since() + self.parts.settings.resume_window
    }

    /// Received data is bounded: a reader that is too slow stops the websocket.
    fn reads(&self) -> bool {
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

    fn incoming(&mut self, now: Now, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => {
                self.liveness.heard();
                self.link_proven = true;
                self.channel.handle_frame(now, &message);
                if let Some(closing) = &mut self.closing {
                    closing.heard(now.instant);
                }
            }
            Incoming::Pong => {
                self.liveness.answered();
                self.link_proven = true;
            }
            Incoming::Ping => self.liveness.heard(),
            Incoming::Flushed => {}
        }
    }

    fn opened(&mut self, now: Now, opened: Opened) {
        let Opened { websocket, stream: Stream { url, token } } = opened;
        self.stream_url = url;
        self.link = Link::Up(websocket);
        self.link_proven = false;
        self.liveness = Liveness::new(now.instant, self.parts.settings.keepalive);
        self.channel.attach(now, token.reveal());
        if self.phase == Phase::Connected {
            let outage = now.instant.saturating_duration_since(self.outage.since());
            tracing::info!(session_id = self.session_id, ?outage, "resumed");
            (self.parts.notes)(&Note::Resumed(outage));
        }
    }

    /// The link, or an attempt to open it, has failed.
    fn lost(&mut self, now: Now, error: AttemptError) -> Result<(), Failure> {
        if let Some(closing) = &mut self.closing {
            closing.link_gone();
            self.channel.detach(now);
            self.link = Link::Opening(Box::pin(std::future::pending()));
            return Ok(());
        }
        if self.link.websocket().is_some() {
            self.channel.detach(now);
            if self.link_proven {
                self.outage = Resume::new(now.instant);
            }
            if self.phase == Phase::Connected {
                tracing::info!(session_id = self.session_id, cause = %error, "link lost");
                (self.parts.notes)(&Note::Interrupted(error.to_string()));
            }
        } else {
            tracing::info!(session_id = self.session_id, %error, "cannot open the link");
            if self.phase != Phase::Connected {
                (self.parts.notes)(&Note::Retrying(error.to_string()));
            }
        }
        let established = self.phase == Phase::Connected;
        self.last_error = Some(error.to_string());
        if established && self.parts.settings.resume_window.is_zero() {
            return Err(self.failure_lost(now, error.to_string()));
        }
        match self.outage.after(error, established, random_fraction()) {
            Next::RetryAfter(delay) => {
                self.link = Link::Opening(self.attempt(delay));
                Ok(())
            }
            Next::GiveUp(error) => {
                self.ended = error.says_gone();
                Err(self.final_failure(now, error))
            }
        }
    }

    fn attempt(&self, delay: Duration) -> link::Attempt<'a> {
        let (aws, dialer) = (self.parts.aws, self.parts.dialer.clone());
        let (session_id, url) = (self.session_id.clone(), self.stream_url.clone());
        Box::pin(async move { link::reopen(aws, dialer, &session_id, url, delay).await })
    }

    /// Acts on the deadlines that have passed.
    fn expire(&mut self, now: Now) -> Result<(), Failure> {
        self.channel.handle_timeout(now);
        if let Some(slept) = self.clock.slept() {
            tracing::info!(?slept, "the machine has slept");
            if self.link.websocket().is_some() {
                self.lost(now, AttemptError::Lost("the machine has slept".to_owned()))?;
            }
        }
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
            return Err(self.failure_lost(now, format!("not resumed within {window} s: {last}")));
        }
        Ok(())
    }

    fn check_link(&mut self, now: Now) -> Result<(), Failure> {
        if !self.reads() {
            self.liveness.suspend(now.instant);
        }
        let (waiting, round_trip) = (self.channel.is_waiting(), self.channel.round_trip_time());
        let Some(websocket) = self.link.websocket() else { return Ok(()) };
        match self.liveness.judge(now.instant, waiting, round_trip) {
            Verdict::Fine => Ok(()),
            Verdict::Ping => match websocket.ping() {
                Ok(()) => Ok(()),
                Err(error) => self.lost(now, AttemptError::Lost(error.0)),
            },
            Verdict::Dead(why) => self.lost(now, AttemptError::Lost(why.to_owned())),
        }
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

    fn drain_to_link(&mut self, now: Now) -> Result<(), AttemptError> {
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
                self.closing.get_or_insert_with(|| Closing::new(now.instant, output));
            }
            Event::Failed(failure) => return Err(self.channel_failure(now, failure)),
        }
        Ok(())
    }

    fn data(&mut self, bytes: Bytes) {
        self.port_answered = true;
        self.quiet_since = None;
        self.parts.output.push(bytes);
    }

    fn channel_failure(&self, now: Now, failure: channel::Failure) -> Failure {
        let timed_out = |step| Failure::TimedOut { step, after: Duration::from_secs(30), last: None };
        match failure {
            channel::Failure::HandshakeRequestTimeout => timed_out(Step::HandshakeRequest),
            channel::Failure::HandshakeCompleteTimeout => timed_out(Step::HandshakeComplete),
            channel::Failure::Refused(refusal) => Failure::Refused(refusal),
            channel::Failure::NotAPort => Failure::NotAPort,
            channel::Failure::Gap { missing } => {
                self.failure_lost(now, format!("message {missing} of the agent did not arrive for 120 s"))
            }
        }
    }

    /// What a final answer to an attempt means for the user.
    fn final_failure(&self, now: Now, error: AttemptError) -> Failure {
        match error {
            AttemptError::Api(error) if error.meaning() == Meaning::AccessDenied => Failure::Api(error),
            AttemptError::Api(error) => self.failure_lost(now, error.to_string()),
            AttemptError::Gone => self.failure_lost(now, "it has ended meanwhile".to_owned()),
            AttemptError::Host(error) => Failure::Host(error),
            AttemptError::Dial(error) => Failure::Dial(error),
            AttemptError::Lost(cause) => self.failure_lost(now, cause),
        }
    }

    fn failure_lost(&self, now: Now, cause: String) -> Failure {
        Failure::Lost { cause, suspected_size: self.suspected_size(now) }
    }

    /// The message size that is to blame if the far side has just ended the session in the middle of a transfer; later
    /// sessions will not try it.
    fn suspected_size(&self, now: Now) -> Option<usize> {
        let busy = !self.input_ended && !self.channel.is_flushed();
        let suspect = self.channel.suspected_size(now).filter(|_| busy)?;
        self.path.refused(wall(), suspect);
        Some(suspect)
    }

    /// Tells whether everything is over, once all that can be done now is done.
    fn finished(&mut self, now: Now) -> Result<Option<Outcome>, Failure> {
        if let Some(closing) = &self.closing {
            let over = now.instant >= closing.deadline(self.channel.has_gap());
            if !over || self.parts.output.queued() > 0 {
                return Ok(None);
            }
            let circumstances = self.circumstances(now);
            return self.closing.take().map(|closing| closing.verdict(circumstances)).transpose();
        }
        let said = self.input_ended && self.channel.is_flushed() && self.phase == Phase::Connected;
        if !said || self.parts.output.queued() > 0 {
            self.quiet_since = None;
            return Ok(None);
        }
        let since = *self.quiet_since.get_or_insert(now.instant);
        Ok((now.instant >= since + self.parts.settings.linger).then_some(Outcome::Done))
    }

    fn circumstances(&self, now: Now) -> Circumstances {
        Circumstances {
            connected: self.phase == Phase::Connected,
            port_answered: self.port_answered,
            gap: self.channel.has_gap(),
            suspected_size: self.suspected_size(now),
        }
    }

    /// Ends the session at the service: by the flag if the agent can hear it, by the API if that is not confirmed
    /// soon. Returns at the first confirmation, at the latest after two seconds; what was received is still written
    /// unless somebody waits for us to go.
    async fn leave(&mut self, hurried: bool) {
        let begun = self.clock.now();
        let (leave_at, ask_at) = (begun.instant + LEAVE, begun.instant + FLAG_PATIENCE);
        let (aws, session_id) = (self.parts.aws, self.session_id.clone());
        let mut api = Box::pin(end(aws, &session_id));
        let flagged = self.channel.terminate();
        let mut linked = self.link.websocket().is_some() && self.drain_to_link(begun).is_ok();
        if hurried {
            self.parts.output.clear();
        }
        loop {
            self.ended |= self.channel.is_termination_acknowledged();
            let now = self.clock.now().instant;
            if now >= leave_at || (self.ended && self.parts.output.queued() == 0) {
                return;
            }
            let heard = flagged && linked && !self.channel.is_termination_queued_behind_data();
            let asks = !self.ended && (!heard || now >= ask_at);
            let next = if asks || self.ended { leave_at } else { ask_at };
            let deadline = self.channel.poll_timeout().map_or(next, |(at, _)| at.min(next));
            tokio::select! {
                () = &mut api, if asks => self.ended = true,
                event = self.link.next(true), if linked => match event {
                    LinkEvent::Incoming(incoming) => self.incoming(self.clock.now(), incoming),
                    LinkEvent::Opened(_) | LinkEvent::Failed(_) => linked = false,
                },
                written = self.parts.output.write() => {
                    if written.is_err() {
                        self.parts.output.clear();
                    }
                }
                () = sleep_until(deadline.into()) => {}
            }
            let now = self.clock.now();
            self.channel.handle_timeout(now);
            linked = linked && self.drain_to_link(now).is_ok();
            while let Some(event) = self.channel.poll_event() {
                self.ended |= matches!(event, Event::Closed { .. });
            }
        }
    }
}

/// The system's source and not the TLS library's, which takes 60 ms to seed: identifiers need no more.
fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system has a random source");
}

/// A random number from 0 to 1.
fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    fill_random(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
