//! The loop: drain everything to empty, wait, make one mutation, drain again.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::coop::consume_budget;
use tokio::time::sleep_until;

use crate::aws::StartedSession;
use crate::channel::{self, AgentVersion, Channel, ChannelEvent, LARGEST_PAYLOAD, Mode, Now, Pace};
use crate::transport::WebsocketEvent;

use super::attempt::{Opened, Opener};
use super::clock::Clock;
use super::end::{LinkState, LocalSide};
use super::ending::{Circumstances, Closing};
use super::fact::Tally;
use super::leave::Leaving;
use super::link::{AfterLoss, GiveUp, Link, LinkEvent, Upkeep};
use super::link_error::LinkError;
use super::liveness::LinkVerdict;
use super::path_cache::PathCache;
use super::pause::Interruption;
use super::service::{ControlPlane, Dial};
use super::wakes::Wakes;
use super::{
    LossCause, LossHistory, Measured, Notice, OnNotice, Outcome, SessionError, SessionOptions, Step, random,
};

/// How often the clocks are compared: a machine that has slept shall notice soon.
const SLEEP_CHECK: Duration = Duration::from_secs(5);

/// What a driver is made of.
pub(super) struct Parts<C, D, E> {
    pub control: Rc<C>,
    pub dialer: D,
    pub settings: Rc<SessionOptions>,
    pub on_notice: OnNotice,
    pub path: PathCache,
    pub tally: Rc<Tally>,
    pub read_wall: fn() -> SystemTime,
    pub end: E,
}

/// One session between its start and its end.
pub(super) struct Driver<C: ControlPlane, D, E> {
    session_id: Rc<str>,
    settings: Rc<SessionOptions>,
    on_notice: OnNotice,
    path: PathCache,
    tally: Rc<Tally>,
    clock: Clock,
    wakes: Wakes,
    channel: Channel,
    link: Link<C, D>,
    phase: Phase,
    port_answered: bool,
    end: E,
}

/// Whether data can flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting { deadline: Instant },
    Connected(Mode),
}

/// What the loop woke up for.
enum Wake<A, L> {
    Deadline(Instant),
    Link(LinkEvent<A>),
    Local(L),
}

impl<C: ControlPlane, D: Dial<C::Access>, E: LocalSide> Driver<C, D, E> {
    /// Begins to open the stream of a session that has been started; data must be able to flow by `deadline`.
    pub(super) fn new(
        parts: Parts<C, D, E>,
        access: Rc<C::Access>,
        started: StartedSession,
        deadline: Instant,
    ) -> Self {
        let Parts { control, dialer, settings, on_notice, path, tally, read_wall, end } = parts;
        let clock = Clock::start(read_wall);
        let now = clock.now();
        let channel_settings = channel::ChannelSettings {
            max_payload: settings.max_payload.unwrap_or(LARGEST_PAYLOAD),
            pace: Pace::default(),
            path: path.load(clock.wall()),
            for_remote_host: settings.for_remote_host,
        };
        let session_id: Rc<str> = started.session_id.into();
        let opener = Opener { control, dialer, session_id: session_id.clone() };
        let upkeep = Upkeep { keepalive: settings.keepalive, resume_window: settings.resume_window };
        Self {
            session_id,
            settings,
            on_notice,
            path,
            tally,
            clock,
            wakes: Wakes::default(),
            channel: Channel::new(now, channel_settings, Box::new(random::fill)),
            link: Link::open(now.instant, opener, access, started.stream, upkeep),
            phase: Phase::Connecting { deadline },
            port_answered: false,
            end,
        }
    }

    /// Runs until the session is over for us, and ends it at the service unless the far side has. Returns the local end
    /// too.
    pub(super) async fn run(mut self) -> (Result<Outcome, SessionError>, E) {
        let result = loop {
            match self.turn().await {
                // A websocket full of tiny messages is always ready: the other tasks, signals and timers get their turn.
                Ok(None) => consume_budget().await,
                Ok(Some(outcome)) => break Ok(outcome),
                Err(error) => break Err(error),
            }
        };
        let result = result.map_err(|error| self.with_history(error));
        self.tell_path();
        let Self { clock, channel, link, mut end, .. } = self;
        end.ending();
        let hurried = matches!(result, Ok(Outcome::Left));
        if let Some(remains) = link.into_remains() {
            Leaving::new(clock, channel, &mut end, hurried).run(remains).await;
        }
        if !hurried {
            end.write_out().await;
        }
        (result, end)
    }

    /// Adds since when the session was lost, and what was tried.
    fn with_history(&self, error: SessionError) -> SessionError {
        let SessionError::Lost { cause, suspected_size, credentials, .. } = error else { return error };
        let now = self.clock.now().instant;
        let history = self.link.loss(now).map(|(lasted, attempts)| {
            let since = self.clock.wall().checked_sub(lasted).unwrap_or_else(|| self.clock.wall());
            LossHistory { since, lasted, attempts }
        });
        SessionError::Lost { cause, suspected_size, credentials, history }
    }

    fn tell_path(&self) {
        if let Phase::Connected(_) = self.phase {
            let (round_trip, message_size) = (self.channel.round_trip_time(), self.channel.message_size());
            (self.on_notice)(&Notice::Measured(Measured { round_trip, message_size }));
        }
    }

    /// One round of the loop.
    async fn turn(&mut self) -> Result<Option<Outcome>, SessionError> {
        let wake = self.wait().await;
        let now = self.clock.now();
        self.wakes.woke(if let Wake::Deadline(at) = &wake { Some(*at) } else { None });
        match wake {
            Wake::Deadline(_) => {}
            Wake::Link(LinkEvent::Incoming(incoming)) => self.incoming(now, incoming),
            Wake::Link(LinkEvent::Opened(opened)) => self.opened(now, opened),
            Wake::Link(LinkEvent::Failed(error)) => self.lost(now, error)?,
            Wake::Local(event) => {
                if let Some(outcome) = self.end.handle(now, event, &mut self.channel)? {
                    return Ok(Some(outcome));
                }
            }
        }
        self.expire(now)?;
        self.drain(now)?;
        self.finished(now)
    }

    async fn wait(&mut self) -> Wake<C::Access, E::Event> {
        let deadline = self.deadline(self.clock.now().instant);
        self.clock.plan_wake(deadline);
        let reads = self.end.takes_more() && !self.channel.owes_too_much();
        let room = self.channel.capacity();
        tokio::select! {
            event = self.link.next(reads) => Wake::Link(event),
            event = self.end.next(room) => Wake::Local(event),
            () = sleep_until(deadline.into()) => Wake::Deadline(deadline),
        }
    }

    /// The next moment at which something has to be done.
    fn deadline(&self, now: Instant) -> Instant {
        let mut deadline = now + SLEEP_CHECK;
        let mut consider = |at: Option<Instant>| deadline = at.map_or(deadline, |at| at.min(deadline));
        consider(self.channel.poll_timeout().map(|(at, _)| at));
        let link = self.link.deadline(self.channel.has_gap());
        if self.is_closing() {
            // Afterwards only the reader is waited for, whose progress is an event.
            consider(link.filter(|at| *at > now || self.end.is_written_out()));
            return deadline;
        }
        consider(link);
        if let Phase::Connecting { deadline } = self.phase {
            consider(Some(deadline));
        }
        consider(self.end.poll_timeout());
        deadline
    }

    fn is_closing(&self) -> bool {
        self.link.closing().is_some()
    }

    fn incoming(&mut self, now: Now, incoming: WebsocketEvent) {
        self.link.heard(now.instant, &incoming);
        if let WebsocketEvent::Message(message) = incoming {
            self.channel.handle_frame(now, &message);
        }
    }

    fn opened(&mut self, now: Now, opened: Opened<C::Access>) {
        if let Some(Interruption { cause, length }) = self.link.opened(now, opened, &mut self.channel) {
            tracing::info!(session_id = &*self.session_id, outage = ?length, "resumed");
            self.tally.sent(self.channel.written());
            let fact = self.tally.resumed(&self.session_id, cause, length);
            (self.on_notice)(&Notice::Recorded(fact));
            (self.on_notice)(&Notice::Resumed(length));
        }
    }

    /// The link, or an attempt to open it, has failed.
    fn lost(&mut self, now: Now, error: LinkError) -> Result<(), SessionError> {
        match self.link.lost(now, error, &mut self.channel) {
            AfterLoss::Closing => {}
            AfterLoss::Reopening { was_up, cause, ended } => {
                if let Some((error, left)) = ended {
                    (self.on_notice)(&Notice::CredentialsEnded { error, left });
                }
                if !self.is_connected() && !was_up {
                    (self.on_notice)(&Notice::Retrying(cause));
                }
            }
            AfterLoss::GivenUp(GiveUp::Failed(error)) => {
                return Err(error.into_session_error(|| self.suspected_size(now)));
            }
            AfterLoss::GivenUp(GiveUp::MessageSize(size)) => {
                self.path.refused(self.clock.wall(), size);
                let cause = LossCause::MessageSize(size);
                return Err(SessionError::Lost {
                    cause,
                    suspected_size: Some(size),
                    credentials: None,
                    history: None,
                });
            }
        }
        Ok(())
    }

    /// Acts on the deadlines that have passed.
    fn expire(&mut self, now: Now) -> Result<(), SessionError> {
        self.channel.set_reading(now, self.end.takes_more());
        self.channel.handle_timeout(now);
        self.check_sleep(now)?;
        self.check_link(now)?;
        self.check_agent(now)?;
        if self.is_closing() {
            return Ok(());
        }
        self.check_start(now)?;
        self.check_outage(now)
    }

    /// After sleep the websocket is dead and what was begun is stale: starts over at once.
    fn check_sleep(&mut self, now: Now) -> Result<(), SessionError> {
        let Some(slept) = self.clock.slept() else { return Ok(()) };
        tracing::info!(?slept, "the machine has slept");
        if self.link.wake_up() {
            return self.lost(now, LinkError::Lost("the machine has slept".to_owned()));
        }
        Ok(())
    }

    fn check_link(&mut self, now: Now) -> Result<(), SessionError> {
        let verdict = self.link.judge(now.instant, self.end.takes_more(), &self.channel);
        let failed = match verdict {
            LinkVerdict::Fine => None,
            LinkVerdict::Ping => self.link.ping().err(),
            LinkVerdict::Dead(why) => Some(LinkError::Lost(why.to_owned())),
        };
        failed.map_or(Ok(()), |error| self.lost(now, error))
    }

    /// An agent that acknowledges nothing may not exist any more although the service answers: a fresh link shows
    /// whether the session is over. This cannot go on for longer than a link may be lost.
    fn check_agent(&mut self, now: Now) -> Result<(), SessionError> {
        let stall = self.end.ack_timeout().zip(self.channel.stalled_since());
        let Some((timeout, since)) = stall else { return Ok(()) };
        if !self.link.is_agent_silent(now.instant, since, timeout) {
            return Ok(());
        }
        let window = self.settings.resume_window.max(timeout);
        if now.instant >= since + window {
            return Err(SessionError::lost(LossCause::Unacknowledged(window)));
        }
        self.lost(now, LinkError::Lost("the agent acknowledges nothing".to_owned()))
    }

    fn check_start(&mut self, now: Now) -> Result<(), SessionError> {
        match self.phase {
            Phase::Connecting { deadline } if now.instant >= deadline => Err(self.timed_out()),
            Phase::Connecting { .. } | Phase::Connected(_) => Ok(()),
        }
    }

    fn timed_out(&mut self) -> SessionError {
        let step = match (self.link.is_opening(), self.channel.has_handshake_request()) {
            (true, _) => Step::Open,
            (false, false) => Step::HandshakeRequest,
            (false, true) => Step::HandshakeComplete,
        };
        let last = self.link.take_last_error();
        SessionError::TimedOut { step, after: self.settings.connect_timeout, last }
    }

    fn check_outage(&mut self, now: Now) -> Result<(), SessionError> {
        if let Some(cause) = self.link.long_pause(now.instant) {
            (self.on_notice)(&Notice::Interrupted(cause));
        }
        let window = self.settings.resume_window;
        if self.link.outage(now.instant).is_none_or(|outage| outage < window) {
            return Ok(());
        }
        let last = self.link.take_last_error().unwrap_or_default();
        let credentials = self.link.take_ended_credentials().map(Box::new);
        let cause = LossCause::NotResumed { window, last };
        Err(SessionError::Lost { cause, suspected_size: None, credentials, history: None })
    }

    /// Empties the channel: events to us, messages to the websocket.
    fn drain(&mut self, now: Now) -> Result<(), SessionError> {
        self.transmit(now)?;
        while let Some(event) = self.channel.poll_event() {
            self.event(now, event)?;
        }
        if !self.is_closing() {
            self.feed(now)?;
        }
        self.tally.sent(self.channel.written());
        self.transmit(now)
    }

    /// Lets the local end write what the channel takes, as long as that leaves at once.
    fn feed(&mut self, now: Now) -> Result<(), SessionError> {
        let link = self.link_state();
        while self.end.feed(now, &mut self.channel, link) {
            self.transmit(now)?;
        }
        Ok(())
    }

    fn link_state(&self) -> LinkState {
        LinkState {
            connected: self.is_connected(),
            is_up: self.link.is_up(),
            resumed_at: self.link.resumed_at(),
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected(_))
    }

    fn transmit(&mut self, now: Now) -> Result<(), SessionError> {
        match self.link.transmit(now, &mut self.channel) {
            Ok(()) => Ok(()),
            Err(error) => self.lost(now, error),
        }
    }

    fn event(&mut self, now: Now, event: ChannelEvent) -> Result<(), SessionError> {
        match event {
            ChannelEvent::Connected { agent, mode, customer_message } => {
                self.connected(now, &agent, mode, customer_message)?;
            }
            ChannelEvent::Data(bytes) => {
                self.port_answered = true;
                self.tally.received(bytes.len());
                self.end.receive(now, bytes)?;
            }
            ChannelEvent::PortRefused => self.end.refused(),
            ChannelEvent::FirstInputUnanswered => {
                tracing::info!(session_id = &*self.session_id, "the first input is not acknowledged");
                (self.on_notice)(&Notice::FirstInputUnanswered);
            }
            ChannelEvent::SizeProven(size) => self.path.proven(self.clock.wall(), size),
            ChannelEvent::SizeRefused(size) => self.path.refused(self.clock.wall(), size),
            ChannelEvent::SizeOutdated => self.path.outdated(self.clock.wall()),
            ChannelEvent::Dropped(dropped) => tracing::debug!(?dropped, "message dropped"),
            ChannelEvent::Closed { output } => self.closed(now, output),
            ChannelEvent::Failed(failure) => return Err(failure.into()),
        }
        Ok(())
    }

    /// The handshake is complete.
    fn connected(
        &mut self,
        now: Now,
        agent: &AgentVersion,
        mode: Mode,
        customer_message: String,
    ) -> Result<(), SessionError> {
        tracing::debug!(session_id = &*self.session_id, %agent, ?mode, "connected");
        self.phase = Phase::Connected(mode);
        self.link.establish(now.instant);
        if !customer_message.is_empty() {
            tracing::info!(customer_message);
            (self.on_notice)(&Notice::CustomerMessage(customer_message));
        }
        self.end.connected(now, mode, agent)
    }

    /// The service has closed the session.
    fn closed(&mut self, now: Now, output: String) {
        if !self.is_closing() {
            let suspected_size = self.suspected_size(now);
            self.link.close(Closing::new(now.instant, output, suspected_size));
        }
    }

    /// The message size that is to blame if the far side has just ended the session in the middle of a transfer; later
    /// sessions will not try it.
    fn suspected_size(&self, now: Now) -> Option<usize> {
        let busy = self.end.may_send() && !self.channel.is_flushed();
        let suspect = self.channel.suspected_size(now).filter(|_| busy)?;
        self.path.refused(self.clock.wall(), suspect);
        Some(suspect)
    }

    /// Returns the outcome if everything is over, once all that can be done now is done.
    fn finished(&mut self, now: Now) -> Result<Option<Outcome>, SessionError> {
        let Some(closing) = self.link.closing() else {
            let link = self.link_state();
            return self.end.finished(now, &self.channel, link);
        };
        let is_over = now.instant >= closing.deadline(self.channel.has_gap());
        if !is_over || !self.end.is_written_out() {
            return Ok(None);
        }
        closing.verdict(self.circumstances()).map(Some)
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            connected: self.is_connected(),
            port_answered: self.port_answered || self.phase == Phase::Connected(Mode::Multiplexed),
            gap: self.channel.has_gap(),
        }
    }
}
