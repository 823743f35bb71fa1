//! The link of one session to the service: opened, watched, lost and opened again, or closed by the service.
//!
//! Owns the websocket, or the work to get one, and everything that decides about it: liveness, the outage, the attempts.
//! It attaches the channel and detaches it; what it cannot decide alone, it returns to the driver.

use std::future::pending;
use std::mem::replace;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::aws::{ApiError, StreamAddress};
use crate::channel::{Channel, Now, Transmit};
use crate::transport::{Lost, Websocket, WebsocketEvent};

use super::attempt::{Attempt, Opened, Opener, StreamSource};
use super::ending::Closing;
use super::link_error::LinkError;
use super::liveness::{LinkVerdict, Liveness};
use super::outage::{Next, Outage};
use super::pause::{Interruption, Pause};
use super::random;
use super::resume_rate::ResumeRate;
use super::service::{ControlPlane, Dial};

/// A websocket that lived for so long was a working one.
const LIFE: Duration = Duration::from_secs(5);
/// So many websockets in a row that are lost at once, with a large message unacknowledged, were lost because of it.
const SHORT_LIVES: u32 = 6;

/// The link of one session.
pub(super) struct Link<C: ControlPlane, D> {
    opener: Opener<C, D>,
    keepalive: Duration,
    resume_window: Duration,
    /// What the latest websocket was opened with.
    source: StreamSource<C::Access>,
    outage: Outage,
    resume_rate: ResumeRate,
    resumed_at: Option<Instant>,
    /// Websockets in a row that were lost without progress while a large message was unacknowledged.
    short_lives: u32,
    last_error: Option<String>,
    pause: Option<Pause>,
    state: State<C::Access>,
}

enum State<A> {
    /// A websocket is being opened.
    Opening(Attempt<A>),
    Up(Up),
    /// The service has closed the session. The end of the transfer may still arrive while there is a websocket.
    Closing(Closing, Option<Websocket>),
    /// There is no websocket and there will not be another.
    GivenUp {
        session_exists: bool,
    },
}

/// An open websocket, and how it does.
struct Up {
    websocket: Websocket,
    liveness: Liveness,
    opened_at: Instant,
    /// How far the channel was when it was opened.
    progress: u64,
    /// When the agent or the service last sent a message.
    heard_at: Instant,
}

/// How a link is kept.
#[derive(Clone, Copy)]
pub(super) struct Upkeep {
    pub keepalive: Duration,
    pub resume_window: Duration,
}

/// What the link yields.
pub(super) enum LinkEvent<A> {
    Incoming(WebsocketEvent),
    Opened(Opened<A>),
    Failed(LinkError),
}

/// What follows from the loss of a websocket, or from a failed attempt to open one.
pub(super) enum AfterLoss {
    /// The next attempt is under way.
    Reopening {
        was_up: bool,
        cause: String,
        /// The credentials have ended, which is found for the first time in this outage, and the time that is left.
        ended: Option<(ApiError, Duration)>,
    },
    /// The service had closed the session: nothing is opened again.
    Closing,
    GivenUp(GiveUp),
}

/// Why no websocket is opened again.
pub(super) enum GiveUp {
    /// The answer is final.
    Failed(LinkError),
    /// Every websocket is lost to a message of this size.
    MessageSize(usize),
}

/// What is left of a link, for ending the session.
pub(super) struct Remains<C: ControlPlane> {
    pub control: Rc<C>,
    pub access: Rc<C::Access>,
    pub session_id: Rc<str>,
    pub websocket: Option<Websocket>,
}

impl<C: ControlPlane, D: Dial<C::Access>> Link<C, D> {
    /// Begins to open the stream of a session that has just been started.
    pub(super) fn open(
        now: Instant,
        opener: Opener<C, D>,
        access: Rc<C::Access>,
        stream: StreamAddress,
        upkeep: Upkeep,
    ) -> Self {
        let source = StreamSource { access: access.clone(), url: stream.url.clone() };
        Self {
            state: State::Opening(opener.first(access, stream)),
            opener,
            keepalive: upkeep.keepalive,
            resume_window: upkeep.resume_window,
            source,
            outage: Outage::first(now),
            resume_rate: ResumeRate::default(),
            resumed_at: None,
            short_lives: 0,
            last_error: None,
            pause: None,
        }
    }

    /// Waits for what the link yields; reads only if `read`. Dropping the future loses nothing.
    pub(super) async fn next(&mut self, read: bool) -> LinkEvent<C::Access> {
        let websocket = match &mut self.state {
            State::Opening(attempt) => {
                return attempt.await.map_or_else(LinkEvent::Failed, LinkEvent::Opened);
            }
            State::Up(up) => &mut up.websocket,
            State::Closing(_, Some(websocket)) => websocket,
            State::Closing(_, None) | State::GivenUp { .. } => return pending().await,
        };
        match websocket.next(read).await {
            Ok(incoming) => LinkEvent::Incoming(incoming),
            Err(Lost(cause)) => LinkEvent::Failed(LinkError::Lost(cause)),
        }
    }

    /// Sends what the channel has to send, as far as the websocket has room.
    pub(super) fn transmit(&mut self, now: Now, channel: &mut Channel) -> Result<(), LinkError> {
        let Some(websocket) = self.websocket() else { return Ok(()) };
        send_all(now, channel, websocket).map_err(|Lost(cause)| LinkError::Lost(cause))
    }

    /// Queues a ping.
    pub(super) fn ping(&mut self) -> Result<(), LinkError> {
        let Some(websocket) = self.websocket() else { return Ok(()) };
        websocket.ping().map_err(|Lost(cause)| LinkError::Lost(cause))
    }

    fn websocket(&mut self) -> Option<&mut Websocket> {
        match &mut self.state {
            State::Up(up) => Some(&mut up.websocket),
            State::Closing(_, websocket) => websocket.as_mut(),
            State::Opening(_) | State::GivenUp { .. } => None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Opening(_))
    }

    /// The end of the session, once the service has closed it.
    pub(super) fn closing(&self) -> Option<&Closing> {
        if let State::Closing(closing, _) = &self.state { Some(closing) } else { None }
    }

    /// When the latest websocket was opened, if the session was resumed with it.
    pub(super) fn resumed_at(&self) -> Option<Instant> {
        self.resumed_at
    }

    /// Takes what went wrong last.
    pub(super) fn take_last_error(&mut self) -> Option<String> {
        self.last_error.take()
    }

    /// Returns how long there has been no working websocket, if an established session waits for one.
    pub(super) fn outage(&self, now: Instant) -> Option<Duration> {
        let waits = self.is_opening() && self.outage.is_established();
        waits.then(|| now.saturating_duration_since(self.outage.since()))
    }

    /// Returns how long ago a session that worked was lost, and how many attempts to resume it have failed; `None` if none was
    /// made.
    pub(super) fn loss(&self, now: Instant) -> Option<(Duration, u32)> {
        let attempts = self.outage.attempts_to_resume()?;
        Some((now.saturating_duration_since(self.outage.since()), attempts))
    }

    /// Takes a fresh websocket and attaches the channel to it. Returns the outage that is over, if it was one.
    pub(super) fn opened(
        &mut self,
        now: Now,
        opened: Opened<C::Access>,
        channel: &mut Channel,
    ) -> Option<Interruption> {
        let outage = self.outage(now.instant);
        let pause = self.pause.take().map(|pause| pause.over(now.instant));
        let Opened { websocket, token, source } = opened;
        self.source = source;
        self.resumed_at = outage.map(|_| now.instant);
        self.state = State::Up(Up {
            websocket,
            liveness: Liveness::new(now.instant, self.keepalive),
            opened_at: now.instant,
            progress: channel.progress(),
            heard_at: now.instant,
        });
        channel.attach(now, token.reveal());
        outage.map(|length| pause.unwrap_or_else(|| Interruption { cause: String::new(), length }))
    }

    /// Returns why the link is lost, once it has been lost for longer than a short pause.
    pub(super) fn long_pause(&mut self, now: Instant) -> Option<String> {
        self.pause.as_mut()?.report(now)
    }

    /// Takes why the last attempt found no usable credentials.
    pub(super) fn take_ended_credentials(&mut self) -> Option<ApiError> {
        self.pause.as_mut()?.take_credentials()
    }

    /// The handshake is complete: what is lost from now on is resumed.
    pub(super) fn establish(&mut self, now: Instant) {
        self.outage.establish(now);
    }

    /// Something has arrived.
    pub(super) fn heard(&mut self, now: Instant, incoming: &WebsocketEvent) {
        let is_message = match incoming {
            WebsocketEvent::Message(_) => true,
            WebsocketEvent::Pong | WebsocketEvent::Ping => false,
            WebsocketEvent::Flushed => return,
        };
        match &mut self.state {
            State::Up(up) => {
                up.liveness.heard();
                up.heard_at = if is_message { now } else { up.heard_at };
            }
            State::Closing(closing, _) if is_message => closing.heard(now),
            State::Closing(..) | State::Opening(_) | State::GivenUp { .. } => {}
        }
    }

    /// Judges whether an open link is alive; while the caller does not read, nothing is concluded.
    pub(super) fn judge(&mut self, now: Instant, reads: bool, channel: &Channel) -> LinkVerdict {
        let State::Up(up) = &mut self.state else { return LinkVerdict::Fine };
        if !reads {
            up.liveness.suspend(now);
        }
        up.liveness.judge(now, channel.is_waiting(), channel.round_trip_time())
    }

    /// Returns true if the agent has neither acknowledged nor sent anything since `since`, for `ack_timeout`.
    pub(super) fn is_agent_silent(&self, now: Instant, since: Instant, ack_timeout: Duration) -> bool {
        matches!(&self.state, State::Up(up) if now >= since.max(up.heard_at) + ack_timeout)
    }

    /// Acts on the end of a sleep: an attempt is begun anew. Returns true if an open websocket has to be given up.
    pub(super) fn wake_up(&mut self) -> bool {
        if self.is_opening() && self.outage.is_established() {
            self.state = State::Opening(self.opener.again(&self.source, Duration::ZERO));
        }
        self.websocket().is_some()
    }

    /// The service has closed the session: nothing is opened again, what is under way may still arrive.
    pub(super) fn close(&mut self, mut closing: Closing) {
        let websocket = match replace(&mut self.state, State::GivenUp { session_exists: false }) {
            State::Up(up) => Some(up.websocket),
            State::Closing(first, websocket) => {
                closing = first;
                websocket
            }
            State::Opening(_) | State::GivenUp { .. } => None,
        };
        if websocket.is_none() {
            closing.link_lost();
        }
        self.state = State::Closing(closing, websocket);
    }

    /// The websocket, or the attempt to open one, has failed: detaches the channel and decides what follows.
    pub(super) fn lost(&mut self, now: Now, error: LinkError, channel: &mut Channel) -> AfterLoss {
        let lost = replace(&mut self.state, State::GivenUp { session_exists: true });
        let was_up = matches!(lost, State::Up(_));
        let fatal_size =
            if let State::Up(up) = &lost { self.judge_life(now.instant, up, channel) } else { None };
        channel.detach(now);
        if let State::Closing(mut closing, _) = lost {
            closing.link_lost();
            self.state = State::Closing(closing, None);
            return AfterLoss::Closing;
        }
        let cause = error.to_string();
        let (session_id, what) =
            (&*self.opener.session_id, if was_up { "link lost" } else { "cannot open the link" });
        tracing::info!(session_id, cause, "{what}");
        match fatal_size {
            Some(size) => AfterLoss::GivenUp(GiveUp::MessageSize(size)),
            None => {
                let ended = self.note_pause(now.instant, &error);
                self.reopen(now.instant, error, was_up, cause, ended)
            }
        }
    }

    /// Notes since when an established link is lost. Returns the credentials' error the first time, and the time left.
    fn note_pause(&mut self, now: Instant, error: &LinkError) -> Option<(ApiError, Duration)> {
        if !self.outage.is_established() {
            return None;
        }
        let pause = self.pause.get_or_insert_with(|| Pause::new(now, error.to_string()));
        let ended = pause.attempt_failed(error.ended_credentials())?;
        let until = self.outage.since() + self.resume_window;
        Some((ended, until.saturating_duration_since(now)))
    }

    fn reopen(
        &mut self,
        now: Instant,
        error: LinkError,
        was_up: bool,
        cause: String,
        ended: Option<(ApiError, Duration)>,
    ) -> AfterLoss {
        self.last_error = Some(cause.clone());
        if self.outage.is_established() && self.resume_window.is_zero() {
            return AfterLoss::GivenUp(GiveUp::Failed(LinkError::Lost(cause)));
        }
        match self.outage.after(error, random::fraction()) {
            Next::RetryAfter(delay) => {
                let delay = self.resume_rate.plan(now, delay);
                self.state = State::Opening(self.opener.again(&self.source, delay));
                AfterLoss::Reopening { was_up, cause, ended }
            }
            Next::GiveUp(error) => {
                self.state = State::GivenUp { session_exists: !error.is_of_ended_session() };
                AfterLoss::GivenUp(GiveUp::Failed(error))
            }
        }
    }

    /// Judges the life of a websocket that is lost. After a working one the outage begins now. If too many in a row did
    /// not work, and a large message is what they have in common, returns its size: the path refuses it.
    fn judge_life(&mut self, now: Instant, up: &Up, channel: &Channel) -> Option<usize> {
        if channel.progress() != up.progress || now >= up.opened_at + LIFE {
            self.outage.restart(now);
            self.short_lives = 0;
            return None;
        }
        let size = channel.oversized()?;
        self.short_lives += 1;
        (self.short_lives >= SHORT_LIVES).then_some(size)
    }

    /// When something has to be done about the link.
    pub(super) fn deadline(&self, has_gap: bool) -> Option<Instant> {
        match &self.state {
            State::Opening(_) if self.outage.is_established() => {
                let window = self.outage.since() + self.resume_window;
                let report_at = self.pause.as_ref().and_then(Pause::deadline);
                Some(report_at.map_or(window, |at| window.min(at)))
            }
            State::Up(up) => Some(up.liveness.deadline()),
            State::Closing(closing, _) => Some(closing.deadline(has_gap)),
            State::Opening(_) | State::GivenUp { .. } => None,
        }
    }

    /// Takes the link apart, unless the session does not exist any more.
    pub(super) fn into_remains(self) -> Option<Remains<C>> {
        let websocket = match self.state {
            State::Up(up) => Some(up.websocket),
            State::Opening(_) | State::GivenUp { session_exists: true } => None,
            State::Closing(..) | State::GivenUp { session_exists: false } => return None,
        };
        let Opener { control, session_id, .. } = self.opener;
        Some(Remains { control, access: self.source.access, session_id, websocket })
    }
}

/// Sends what the channel has to send, as far as the websocket has room.
pub(super) fn send_all(now: Now, channel: &mut Channel, websocket: &mut Websocket) -> Result<(), Lost> {
    while websocket.has_room()
        && let Some(transmit) = channel.poll_transmit(now)
    {
        match transmit {
            Transmit::Text(text) => websocket.send_text(text)?,
            Transmit::Binary(frame) => websocket.send_binary(frame)?,
        }
    }
    Ok(())
}
