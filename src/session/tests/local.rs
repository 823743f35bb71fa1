//! The local end of the tests: bytes that are sent, and a reader that may be slow or paused.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::{sleep_until, timeout_at};

use crate::channel::{AgentVersion, Channel, Mode, Now};
use crate::clock;
use crate::session::end::{LinkState, LocalSide};
use crate::session::{Outcome, SessionError};

use super::progress::Progress;

/// Beyond it the websocket is not read.
const RECEIVED_LIMIT: usize = 32 << 10;
/// What the reader takes at once.
const CHUNK: usize = 4 << 10;
/// A session whose loop has had so many turns is interrupted at none.
pub(super) const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Takes a chunk at every such time; zero is as fast as it can.
    Every(Duration),
    Paused,
}

/// What the test and the end share.
pub(super) struct Local {
    /// Bytes to send.
    pub input: BytesMut,
    /// Nothing follows: the session may end once all of it is acknowledged.
    pub input_ended: bool,
    pub reader: Reader,
    /// Bytes that the reader has taken.
    pub written: Vec<u8>,
    pub connected: bool,
    pub ack_timeout: Option<Duration>,
    pub leaves: bool,
    pub interrupted: bool,
    /// The turn of the loop that is interrupted.
    pub interrupt_at: u64,
    /// The most that waited for the reader.
    pub most_unwritten: usize,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            input: BytesMut::new(),
            input_ended: false,
            reader: Reader::Every(Duration::ZERO),
            written: Vec::new(),
            connected: false,
            ack_timeout: None,
            leaves: false,
            interrupted: false,
            interrupt_at: NEVER,
            most_unwritten: 0,
        }
    }
}

/// The end.
pub(super) struct TestEnd {
    local: Rc<RefCell<Local>>,
    progress: Rc<Progress>,
    unwritten: BytesMut,
    write_at: Instant,
}

pub(super) enum Event {
    Leave,
    Input(Bytes),
    Written,
}

impl TestEnd {
    pub(super) fn new(local: Rc<RefCell<Local>>, progress: Rc<Progress>) -> Self {
        Self { local, progress, unwritten: BytesMut::new(), write_at: clock::now() }
    }

    /// When the reader takes the next chunk.
    fn next_write(&self) -> Option<Instant> {
        let is_paused = self.local.borrow().reader == Reader::Paused;
        (!is_paused && !self.unwritten.is_empty()).then_some(self.write_at)
    }

    fn write_chunk(&mut self) {
        let mut local = self.local.borrow_mut();
        let chunk = self.unwritten.split_to(CHUNK.min(self.unwritten.len()));
        local.written.extend_from_slice(&chunk);
        if let Reader::Every(pause) = local.reader {
            self.write_at = clock::now() + pause;
        }
    }

    fn ready(&mut self, room: usize) -> Option<Event> {
        if std::mem::take(&mut self.local.borrow_mut().leaves) {
            self.local.borrow_mut().interrupted = true;
            return Some(Event::Leave);
        }
        if self.next_write().is_some_and(|at| clock::now() >= at) {
            self.write_chunk();
            return Some(Event::Written);
        }
        let mut local = self.local.borrow_mut();
        let length = if local.connected { room.min(local.input.len()) } else { 0 };
        let bytes = local.input.split_to(length);
        (!bytes.is_empty()).then(|| Event::Input(bytes.freeze()))
    }

    /// Waits until something may have changed.
    async fn changed(&self) {
        match self.next_write() {
            Some(at) => drop(timeout_at(at.into(), self.progress.changed()).await),
            None => self.progress.changed().await,
        }
    }
}

impl LocalSide for TestEnd {
    type Event = Event;

    /// Every turn begins with a call, whether or not it is polled.
    fn next(&mut self, room: usize) -> impl Future<Output = Event> {
        if self.progress.turn() == self.local.borrow().interrupt_at {
            self.local.borrow_mut().leaves = true;
        }
        async move {
            loop {
                if let Some(event) = self.ready(room) {
                    self.progress.event();
                    return event;
                }
                self.changed().await;
            }
        }
    }

    fn handle(
        &mut self,
        _now: Now,
        event: Event,
        channel: &mut Channel,
    ) -> Result<Option<Outcome>, SessionError> {
        match event {
            Event::Leave => return Ok(Some(Outcome::Left)),
            Event::Input(bytes) => assert_eq!(channel.write(&bytes), bytes.len(), "there was room"),
            Event::Written => {}
        }
        Ok(None)
    }

    fn connected(&mut self, _now: Now, _mode: Mode, _agent: &AgentVersion) -> Result<(), SessionError> {
        self.local.borrow_mut().connected = true;
        self.progress.event();
        Ok(())
    }

    fn receive(&mut self, _now: Now, mut bytes: Bytes) -> Result<(), SessionError> {
        while bytes.has_remaining() {
            let length = bytes.len();
            self.unwritten.extend_from_slice(&bytes.split_to(length));
        }
        let mut local = self.local.borrow_mut();
        local.most_unwritten = local.most_unwritten.max(self.unwritten.len());
        Ok(())
    }

    fn refused(&mut self) {}

    fn feed(&mut self, _now: Now, _channel: &mut Channel, _link: LinkState) -> bool {
        false
    }

    fn finished(
        &mut self,
        _now: Now,
        channel: &Channel,
        link: LinkState,
    ) -> Result<Option<Outcome>, SessionError> {
        let has_sent = self.local.borrow().input_ended && self.local.borrow().input.is_empty();
        let is_over = has_sent && channel.is_flushed() && link.connected && link.is_up;
        Ok((is_over && self.is_written_out()).then_some(Outcome::Done))
    }

    fn ending(&mut self) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn takes_more(&self) -> bool {
        self.unwritten.len() < RECEIVED_LIMIT
    }

    fn is_written_out(&self) -> bool {
        self.unwritten.is_empty()
    }

    fn may_send(&self) -> bool {
        !self.local.borrow().input_ended
    }

    fn ack_timeout(&self) -> Option<Duration> {
        self.local.borrow().ack_timeout
    }

    fn forget(&mut self) {
        self.unwritten.clear();
    }

    fn write(&mut self) -> impl Future<Output = ()> {
        self.progress.turn();
        async move {
            loop {
                if self.next_write().is_some_and(|at| clock::now() >= at) {
                    self.progress.event();
                    return self.write_chunk();
                }
                self.changed().await;
            }
        }
    }

    async fn write_out(&mut self) {
        while !self.unwritten.is_empty() {
            match self.next_write() {
                Some(at) => {
                    sleep_until(at.into()).await;
                    self.write_chunk();
                }
                None => self.changed().await,
            }
        }
    }
}
