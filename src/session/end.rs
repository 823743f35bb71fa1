//! The local end of a session: what its bytes are joined to.
//!
//! The driver owns time, link and protocol and is the same for all; an end owns what is read and written on this side,
//! and decides when the session is over for it: [`Streams`](super::streams::Streams), and the one of the driver's tests.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::channel::{AgentVersion, Channel, Mode, Now};

use super::{Outcome, SessionError};

/// What an end may want to know of the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkState {
    /// The handshake is complete.
    pub connected: bool,
    /// A websocket is open.
    pub is_up: bool,
    /// When it was opened, if it is not the first.
    pub resumed_at: Option<Instant>,
}

/// One kind of local end.
pub(crate) trait LocalSide {
    /// What happens here.
    type Event;

    /// Waits for what happens here, while the channel takes `room` bytes; dropping the future loses nothing.
    async fn next(&mut self, room: usize) -> Self::Event;

    /// Acts on what has happened; an outcome ends the session.
    fn handle(
        &mut self,
        now: Now,
        event: Self::Event,
        channel: &mut Channel,
    ) -> Result<Option<Outcome>, SessionError>;

    /// Data can flow; it is what `mode` says.
    fn connected(&mut self, now: Now, mode: Mode, agent: &AgentVersion) -> Result<(), SessionError>;

    /// Takes bytes of the agent.
    fn receive(&mut self, now: Now, bytes: Bytes) -> Result<(), SessionError>;

    /// The agent could not connect one of several streams.
    fn refused(&mut self);

    /// Does what is due and writes what waits into the channel, as far as it has room; returns true if it wrote.
    fn feed(&mut self, now: Now, channel: &mut Channel, link: LinkState) -> bool;

    /// Returns the outcome if the session is over for this end, once all that can be done now is done.
    fn finished(
        &mut self,
        now: Now,
        channel: &Channel,
        link: LinkState,
    ) -> Result<Option<Outcome>, SessionError>;

    /// The session is about to end: nothing more begins in it.
    fn ending(&mut self);

    /// When there is something to do without anything happening.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Returns true if it takes more of what is received.
    fn takes_more(&self) -> bool;

    /// Returns true if all that was received has been handed on.
    fn is_written_out(&self) -> bool;

    /// Returns true if it may have more to send.
    fn may_send(&self) -> bool;

    /// How long an agent may acknowledge and say nothing before the link is opened anew, to see whether the session is
    /// still there; `None` leaves that to the user of the end.
    fn ack_timeout(&self) -> Option<Duration>;

    /// Forgets what was received and not handed on.
    fn forget(&mut self);

    /// Hands on some of what was received; never returns if there is nothing. What fails is forgotten.
    async fn write(&mut self);

    /// Hands on all that was received, however slow the reader is, unless something from outside ends us.
    async fn write_out(&mut self);
}
