//! One byte stream as a session's local end: standard input and output, joined to the one connection of a session.
//!
//! In a plain session its bytes are the session's; in a multiplexed one they are those of its only stream. End of input
//! is a half-close: what the peer still says is written until it has been silent for a while.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::channel::{AgentVersion, Channel, Mode, Now};
use crate::mux::{Mux, MuxEvent, StreamId};

use super::end::{LinkState, LocalEnd, SIGN_OF_LIFE};
use super::signals::{Interrupt, Interrupts};
use super::stdio::{Input, Output};
use super::{Outcome, SessionError};

/// Received data that standard output has not taken; beyond it the websocket is not read.
const RECEIVED_LIMIT: usize = 8 << 20;
/// Input is read in pieces of at least this many bytes of room: crumbs cost a system call each.
const ROOM: usize = 16 << 10;
/// Silence on a websocket that was resumed means nothing for so long: the agent resends what was lost after a second.
const AFTER_RESUME: Duration = Duration::from_secs(3);

/// The end.
pub(super) struct Pipe {
    input: Input,
    output: Output,
    interrupts: Interrupts,
    /// How long the peer may be silent once our input has ended and is acknowledged.
    linger: Duration,
    carrier: Carrier,
    input_ended: bool,
    /// The peer has closed its stream.
    peer_ended: bool,
    /// Since when our input has ended, everything is acknowledged and the peer is silent.
    quiet_since: Option<Instant>,
    /// When the silence has lasted long enough.
    over_at: Option<Instant>,
    /// When an old agent wants a sign of life.
    next_sign: Option<Instant>,
}

/// What the bytes are put into.
enum Carrier {
    /// Not known yet: nothing is read.
    Unknown,
    Plain,
    Stream(Box<Mux>, StreamId),
}

/// What happens at this end.
pub(super) enum Event {
    Interrupt(Interrupt),
    Input(io::Result<usize>),
    Output(io::Result<()>),
}

impl Pipe {
    pub(super) fn new(input: Input, output: Output, interrupts: Interrupts, linger: Duration) -> Self {
        Self {
            input,
            output,
            interrupts,
            linger,
            carrier: Carrier::Unknown,
            input_ended: false,
            peer_ended: false,
            quiet_since: None,
            over_at: None,
            next_sign: None,
        }
    }

    fn take_input(&mut self, length: usize, channel: &mut Channel) {
        let bytes = self.input.bytes(length);
        match &mut self.carrier {
            Carrier::Unknown => debug_assert!(false, "nothing is read yet"),
            Carrier::Plain => {
                let taken = channel.write(bytes);
                debug_assert_eq!(taken, length, "no more is read than the channel takes");
            }
            Carrier::Stream(mux, stream) => mux.write(*stream, Bytes::copy_from_slice(bytes)),
        }
    }

    fn take_stream_events(&mut self) -> Result<(), SessionError> {
        let Carrier::Stream(mux, _) = &mut self.carrier else { return Ok(()) };
        while let Some(event) = mux.poll_event() {
            match event {
                MuxEvent::Data(_, bytes) => self.output.push(&bytes),
                MuxEvent::Closed(_) => self.peer_ended = true,
                MuxEvent::Refused(_) => {
                    return Err(SessionError::RemotePort("the agent could not connect to it".to_owned()));
                }
                MuxEvent::Broken(error) => return Err(SessionError::Mux(error)),
            }
        }
        Ok(())
    }

    fn backlog(&self) -> usize {
        match &self.carrier {
            Carrier::Unknown | Carrier::Plain => 0,
            Carrier::Stream(mux, _) => mux.backlog(),
        }
    }

    /// When a silence since then has lasted long enough to end the session.
    fn silent_at(&self, since: Instant, link: LinkState) -> Instant {
        let lingered = since + self.linger;
        link.resumed_at.map_or(lingered, |resumed| lingered.max(resumed + AFTER_RESUME))
    }
}

impl LocalEnd for Pipe {
    type Event = Event;

    async fn next(&mut self, room: usize) -> Event {
        let room = room.saturating_sub(self.backlog());
        let wants_input = !self.input_ended && room >= ROOM && !matches!(self.carrier, Carrier::Unknown);
        tokio::select! {
            interrupt = self.interrupts.next() => Event::Interrupt(interrupt),
            read = self.input.read(room), if wants_input => Event::Input(read),
            written = self.output.write() => Event::Output(written),
        }
    }

    fn handle(
        &mut self,
        _now: Now,
        event: Event,
        channel: &mut Channel,
    ) -> Result<Option<Outcome>, SessionError> {
        match event {
            Event::Interrupt(interrupt) => return Ok(Some(Outcome::Interrupted(interrupt))),
            Event::Input(Ok(0)) => self.input_ended = true,
            Event::Input(Err(error)) if error.kind() == ErrorKind::ConnectionReset => self.input_ended = true,
            Event::Input(Ok(length)) => self.take_input(length, channel),
            Event::Input(Err(error)) => return Err(SessionError::Stdio { what: "standard input", error }),
            Event::Output(Ok(())) => {}
            Event::Output(Err(error))
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                return Ok(Some(Outcome::Interrupted(Interrupt::ReaderGone)));
            }
            Event::Output(Err(error)) => return Err(SessionError::Stdio { what: "standard output", error }),
        }
        Ok(None)
    }

    fn connected(&mut self, now: Now, mode: Mode, agent: &AgentVersion) -> Result<(), SessionError> {
        let multiplexed = mode == Mode::Multiplexed;
        self.next_sign = (multiplexed && agent.wants_keepalive()).then(|| now.instant + SIGN_OF_LIFE);
        self.carrier = match mode {
            Mode::Single => Carrier::Plain,
            Mode::Multiplexed => {
                let mut mux = Box::new(Mux::default());
                let stream = mux.open();
                Carrier::Stream(mux, stream)
            }
        };
        Ok(())
    }

    fn receive(&mut self, _now: Now, bytes: Bytes) -> Result<(), SessionError> {
        self.quiet_since = None;
        match &mut self.carrier {
            Carrier::Unknown | Carrier::Plain => self.output.push(&bytes),
            Carrier::Stream(mux, _) => mux.handle_data(bytes),
        }
        self.take_stream_events()
    }

    fn refused(&mut self) {
        if let Carrier::Stream(mux, _) = &mut self.carrier {
            mux.handle_refusal();
        }
    }

    fn feed(&mut self, now: Now, channel: &mut Channel, link: LinkState) -> bool {
        let Carrier::Stream(mux, _) = &mut self.carrier else { return false };
        if self.next_sign.is_some_and(|at| now.instant >= at) {
            // At the end of input it would break the silence that is waited for.
            self.next_sign = (!self.input_ended).then(|| now.instant + SIGN_OF_LIFE);
            if link.is_up && !self.input_ended {
                mux.keep_alive();
            }
        }
        let mut fed = false;
        while channel.send_room() > 0
            && let Some(frame) = mux.poll_frame()
        {
            channel.write(&frame);
            fed = true;
        }
        channel.set_backlog(mux.backlog());
        fed
    }

    fn finished(
        &mut self,
        now: Now,
        channel: &Channel,
        link: LinkState,
    ) -> Result<Option<Outcome>, SessionError> {
        let is_written_out = self.is_written_out();
        if self.peer_ended && is_written_out {
            return Ok(Some(Outcome::Done));
        }
        let said = self.input_ended && self.backlog() == 0 && channel.is_flushed() && link.connected;
        // What the peer still says may be on its way while the link is down or a message is missing.
        let heard = link.is_up && !channel.has_gap() && is_written_out;
        if !said || !heard {
            (self.quiet_since, self.over_at) = (None, None);
            return Ok(None);
        }
        let since = *self.quiet_since.get_or_insert(now.instant);
        let over_at = self.silent_at(since, link);
        self.over_at = Some(over_at);
        Ok((now.instant >= over_at).then_some(Outcome::Done))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.over_at, self.next_sign].into_iter().flatten().min()
    }

    fn takes_more(&self) -> bool {
        self.output.queued() < RECEIVED_LIMIT
    }

    fn is_written_out(&self) -> bool {
        self.output.queued() == 0
    }

    fn may_send(&self) -> bool {
        !self.input_ended
    }

    fn patience(&self) -> Option<Duration> {
        None
    }

    fn ending(&mut self) {}

    fn forget(&mut self) {
        self.output.clear();
    }

    async fn write(&mut self) {
        write(&mut self.output).await;
    }

    async fn write_out(&mut self) {
        while self.output.queued() > 0 {
            tokio::select! {
                _ = self.interrupts.next() => return,
                () = write(&mut self.output) => {}
            }
        }
    }
}

async fn write(output: &mut Output) {
    if output.write().await.is_err() {
        output.clear();
    }
}
