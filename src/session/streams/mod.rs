//! The byte streams of one session: the driver's local end, and the handles of those who use it.
//!
//! A [`Handle`] opens [`Stream`]s; [`Streams`] is driven by the session. They share one [`State`] behind a lock, so a
//! stream needs no task: its calls change the state and wake the driver, and the driver wakes readers and writers. smux
//! has no flow control, and a plain session carries one stream only. So what a stream may have unsent is limited by
//! credit, and received data that is not read stops the websocket. No byte is dropped, and a slow reader is not reset.

mod carrier;
mod openings;
mod slot;
mod state;
mod stream;
mod upkeep;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::channel::{AgentVersion, Channel, Mode, Now};

use super::end::{LinkState, LocalSide};
use super::{Outcome, SessionError};

use self::slot::Phase;
use self::state::State;
pub use self::stream::{Handle, Request, Stream, StreamError};

/// How the streams of a session are treated.
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions {
    /// How long the peer may be silent after a stream's end of input, before the stream is closed.
    pub linger: Duration,
    /// How long an opening may wait for the agent; `None` is without limit.
    pub open_timeout: Option<Duration>,
    /// How long an agent may acknowledge nothing before the link is opened anew, to see whether the session still
    /// exists; `None` leaves that to the user of the stream.
    pub ack_timeout: Option<Duration>,
    /// Received and unread bytes of one stream beyond which the websocket is not read.
    pub unread_limit: usize,
    /// Keeps the session from ending for want of input while a stream is open.
    pub hold: bool,
    /// A session without streams ends itself after this time.
    pub idle_limit: Option<Duration>,
    /// The session ends with its first stream.
    pub is_single: bool,
}

impl StreamOptions {
    /// The usual `ack_timeout`.
    pub const ACK_TIMEOUT: Duration = Duration::from_secs(60);
    /// The usual `unread_limit` of one stream among several.
    pub const UNREAD_LIMIT: usize = 4 << 20;
}

/// What the opener of streams must know of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionStatus {
    /// Data can flow now.
    pub is_up: bool,
    /// Data could flow once.
    pub was_up: bool,
    /// Streams that it carries, and openings that wait for it.
    pub live: usize,
    /// Something waits to be sent, or to be acknowledged.
    pub is_busy: bool,
    /// It makes no progress.
    pub is_stalled: bool,
    /// It cannot take another stream.
    pub is_full: bool,
    /// The destination has refused a stream.
    pub was_refused: bool,
    /// It gets no more streams and ends with the last.
    pub is_retired: bool,
    /// It gets no more streams, since it is about to end.
    pub is_ending: bool,
}

impl SessionStatus {
    /// Returns whether nothing needs the session.
    pub(crate) fn is_unused(self) -> bool {
        self.live == 0 && !self.is_busy
    }
}

/// The streams as the driver sees them. Dropping it fails every stream, as [`Self::release`] does.
pub(crate) struct Streams {
    shared: Arc<Shared>,
    leave: CancellationToken,
}

/// What became of the streams of a session that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Released {
    /// Streams that were open and have failed.
    pub broken: usize,
    /// Openings that no other session is to be tried for.
    pub turned_away: usize,
}

impl Released {
    fn count(&mut self, was: Phase, end: Result<(), StreamError>) {
        match was {
            Phase::Open => self.broken += usize::from(end.is_err()),
            Phase::Waiting | Phase::Trial(_) => {
                self.turned_away += usize::from(end == Err(StreamError::Lost))
            }
            Phase::Closed(_) => {}
        }
    }
}

/// What the driver, the handle and the streams share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// A stream has changed the state.
    changed: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic is reported by the session; its streams must still be released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens at this end.
pub(crate) enum Event {
    Leave,
    Changed,
}

impl Streams {
    /// Makes the local end of a session, and the handle that opens its streams. Cancelling `leave` ends the session.
    pub(crate) fn new(
        now: Instant,
        options: StreamOptions,
        status: watch::Sender<SessionStatus>,
        leave: CancellationToken,
    ) -> (Handle, Self) {
        status.send_modify(|status| status.is_retired |= options.is_single);
        let state = Mutex::new(State::new(now, options, status));
        let shared = Arc::new(Shared { state, changed: Notify::new() });
        (Handle::new(shared.clone()), Self { shared, leave })
    }

    /// Lets go of everything, since the session is over, in order or not. What was received can still be read. Behind
    /// it streams fail, since they have not ended; only the stream of a plain session ends in order with its session.
    /// An opening for which `is_wanted` holds, given its time, fails with [`StreamError::Elsewhere`].
    pub(crate) fn release(self, in_order: bool, is_wanted: impl Fn(Instant) -> bool) -> Released {
        self.shared.lock().release(in_order, is_wanted)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.shared.lock().release(false, |_| false);
    }
}

impl LocalSide for Streams {
    type Event = Event;

    async fn next(&mut self, _room: usize) -> Event {
        tokio::select! {
            () = self.leave.cancelled() => Event::Leave,
            () = self.shared.changed.notified() => Event::Changed,
        }
    }

    fn handle(
        &mut self,
        _now: Now,
        event: Event,
        _channel: &mut Channel,
    ) -> Result<Option<Outcome>, SessionError> {
        match event {
            Event::Leave => Ok(Some(Outcome::Left)),
            // The driver feeds after every event, and that is where changes are acted on.
            Event::Changed => Ok(None),
        }
    }

    fn connected(&mut self, now: Now, mode: Mode, agent: &AgentVersion) -> Result<(), SessionError> {
        self.shared.lock().connected(now.instant, mode, agent);
        Ok(())
    }

    fn receive(&mut self, _now: Now, bytes: Bytes) -> Result<(), SessionError> {
        self.shared.lock().receive(bytes)
    }

    fn refused(&mut self) {
        self.shared.lock().refused();
    }

    fn feed(&mut self, now: Now, channel: &mut Channel, link: LinkState) -> bool {
        self.shared.lock().feed(now.instant, channel, link)
    }

    fn finished(
        &mut self,
        now: Now,
        channel: &Channel,
        link: LinkState,
    ) -> Result<Option<Outcome>, SessionError> {
        Ok(self.shared.lock().is_finished(now.instant, channel, link).then_some(Outcome::Done))
    }

    fn ending(&mut self) {
        self.shared.lock().ending();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.shared.lock().poll_timeout()
    }

    fn takes_more(&self) -> bool {
        self.shared.lock().takes_more()
    }

    /// What was received stays with the streams, whose readers take it when they like.
    fn is_written_out(&self) -> bool {
        true
    }

    fn may_send(&self) -> bool {
        self.shared.lock().may_send()
    }

    fn ack_timeout(&self) -> Option<Duration> {
        self.shared.lock().ack_timeout()
    }

    fn forget(&mut self) {}

    async fn write(&mut self) {
        std::future::pending().await
    }

    async fn write_out(&mut self) {}
}

#[cfg(test)]
mod tests;
