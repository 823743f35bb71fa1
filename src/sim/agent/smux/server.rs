//! The server's half of a smux session: the streams, their dials and their buffers.
//!
//! The agent passes in the client's bytes and takes the output with [`SmuxServer::take_output`]. The driver carries out
//! [`StreamAction`]s. Streams are dialled one after the other, and a full buffer blocks all streams, as in the real
//! agent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use crate::sim::agent::config::MuxConfig;
use crate::sim::agent::port::ForwardTarget;
use crate::sim::agent::record::Record;
use crate::sim::agent::smux::frame::{MOST_DATA, SmuxCommand};
use crate::sim::agent::smux::inlet::{Inlet, SmuxFrame};
use crate::sim::agent::smux::keep_alive::{Due, KeepAlive};
use crate::sim::agent::smux::outlet::Outlet;

/// A request of a multiplexed session to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAction {
    /// Look a host up, then call one of `host_resolved` and `host_unresolved`. All dials use the result.
    Resolve {
        /// The name.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// Connect for a stream, then call one of `stream_connected` and `stream_failed`.
    Dial {
        /// The stream.
        stream: u32,
        /// The remote host; `None` is the target.
        host: Option<String>,
        /// The TCP port.
        port: u16,
    },
    /// Read once, then call one of `stream_data`, `stream_eof` and `stream_reset`.
    Read {
        /// The stream.
        stream: u32,
        /// The most bytes to read.
        limit: usize,
    },
    /// Write, then call `stream_wrote`.
    Write {
        /// The stream.
        stream: u32,
        /// The bytes.
        bytes: Bytes,
    },
    /// Close a stream's connection, both ways, and report no more events of it.
    Close {
        /// The stream.
        stream: u32,
    },
}

/// The agent's side of a smux session.
#[derive(Debug)]
pub struct SmuxServer {
    target: ForwardTarget,
    resolved: bool,
    accept_backlog: usize,
    inlet: Inlet,
    outlet: Outlet,
    streams: BTreeMap<u32, Stream>,
    unaccepted: VecDeque<u32>,
    dialing: Option<u32>,
    /// The free space of the receive buffer; negative after a last frame that exceeds it.
    room: i64,
    broken: bool,
    keep_alive: Option<KeepAlive>,
    refusals: usize,
    actions: VecDeque<StreamAction>,
}

#[derive(Debug, Default)]
struct Stream {
    connected: bool,
    /// The client has closed it.
    finished: bool,
    buffer: VecDeque<Bytes>,
    /// Bytes of the pending write.
    writing: usize,
}

impl SmuxServer {
    /// Starts a session; without `resolved` every dial fails.
    pub fn new(
        config: &MuxConfig,
        target: ForwardTarget,
        resolved: bool,
        keep_alive: Option<KeepAlive>,
    ) -> Self {
        Self {
            target,
            resolved,
            accept_backlog: config.accept_backlog,
            inlet: Inlet::new(config.pipe),
            outlet: Outlet::new(config.pipe),
            streams: BTreeMap::new(),
            unaccepted: VecDeque::new(),
            dialing: None,
            room: i64::try_from(config.receive_buffer).unwrap_or(i64::MAX),
            broken: false,
            keep_alive,
            refusals: 0,
            actions: VecDeque::new(),
        }
    }

    /// Writes a message of the client into the pipe; returns whether all of it is written.
    pub fn offer(&mut self, message: Bytes, record: &mut Record) -> bool {
        self.inlet.offer(message);
        self.read(record);
        !self.inlet.is_blocked()
    }

    /// Returns whether part of the last message waits for space.
    pub fn is_blocked(&self) -> bool {
        self.inlet.is_blocked()
    }

    /// Returns whether there is output to send.
    pub fn has_output(&self) -> bool {
        !self.outlet.is_empty()
    }

    /// Removes and returns at most `limit` bytes of output.
    pub fn take_output(&mut self, limit: usize) -> Bytes {
        let bytes = self.outlet.take(limit);
        self.read_unblocked();
        bytes
    }

    /// Returns the number of failed dials since the last call; a flag must be sent for each before more output.
    pub fn take_refusals(&mut self) -> usize {
        std::mem::take(&mut self.refusals)
    }

    /// Returns the next action for the driver.
    pub fn poll_action(&mut self) -> Option<StreamAction> {
        self.actions.pop_front()
    }

    /// Returns the streams that have a connection or a dial.
    pub fn connections(&self) -> impl Iterator<Item = u32> {
        let connected = self.streams.iter().filter(|(_, stream)| stream.connected).map(|(id, _)| *id);
        connected.chain(self.dialing)
    }

    /// Returns when `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.keep_alive.as_ref().map(KeepAlive::poll_timeout)
    }

    /// Handles expired timers; returns false if the session has timed out.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let Some(keep_alive) = &mut self.keep_alive else { return true };
        match keep_alive.handle_timeout(now, self.room > 0) {
            Due::Nothing => {}
            Due::Nop => self.outlet.write(SmuxCommand::Nop, 0),
            Due::TimedOut => return false,
        }
        true
    }

    /// Reports that a stream's destination is connected.
    pub fn connected(&mut self, id: u32, record: &mut Record) {
        if self.dialing.take_if(|dialing| *dialing == id).is_none() {
            return;
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.connected = true;
            self.actions.push_back(StreamAction::Read { stream: id, limit: MOST_DATA });
            self.write_next(id, record);
        }
        self.accept(record);
        self.read(record);
    }

    /// Reports that a stream's dial failed.
    pub fn failed(&mut self, id: u32, record: &mut Record) {
        if self.dialing.take_if(|dialing| *dialing == id).is_some() {
            self.refuse(id, record);
            self.accept(record);
            self.read(record);
        }
    }

    /// Reports bytes read from a stream's destination.
    pub fn data(&mut self, id: u32, data: &[u8], record: &mut Record) {
        if self.is_connected(id) && !data.is_empty() {
            record.stream(id).bytes_read += data.len() as u64;
            self.outlet.write_data(id, data);
            self.read_unblocked();
        }
    }

    /// Reports that a stream's destination is closed or failed; its buffer is discarded.
    pub fn ended(&mut self, id: u32, record: &mut Record) {
        if self.is_connected(id) {
            self.close(id, record);
            self.read(record);
        }
    }

    /// Reports that `count` more bytes of a stream's pending write are written.
    pub fn wrote(&mut self, id: u32, count: usize, record: &mut Record) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let count = count.min(stream.writing);
        stream.writing -= count;
        record.stream(id).bytes_written += count as u64;
        self.write_next(id, record);
        self.read(record);
    }

    fn is_connected(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|stream| stream.connected)
    }

    /// Reads frames while the buffer has space.
    fn read(&mut self, record: &mut Record) {
        while !self.broken && self.room > 0 && !self.backlog_is_full() {
            match self.inlet.take() {
                Ok(Some(frame)) => self.take(frame, record),
                Ok(None) => return,
                Err(_) => self.stop_reading(record),
            }
        }
    }

    fn backlog_is_full(&mut self) -> bool {
        self.unaccepted.len() >= self.accept_backlog && self.inlet.peek() == Some(SmuxCommand::Syn)
    }

    fn take(&mut self, frame: SmuxFrame, record: &mut Record) {
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.frame_received();
        }
        match frame {
            SmuxFrame::Syn(id) => self.open(id, record),
            SmuxFrame::Fin(id) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.finished = true;
                    record.stream(id).fin_received = true;
                    self.write_next(id, record);
                }
            }
            SmuxFrame::Psh(id, data) => {
                if let Some(stream) = self.streams.get_mut(&id).filter(|_| !data.is_empty()) {
                    self.room -= data.len() as i64;
                    stream.buffer.push_back(data);
                    self.write_next(id, record);
                }
            }
            SmuxFrame::Nop => record.nops += 1,
        }
    }

    fn open(&mut self, id: u32, record: &mut Record) {
        if self.streams.contains_key(&id) {
            return;
        }
        record.streams_opened += 1;
        record.stream(id);
        self.streams.insert(id, Stream::default());
        self.unaccepted.push_back(id);
        self.accept(record);
    }

    /// Dials for the next stream, unless a dial is in progress.
    fn accept(&mut self, record: &mut Record) {
        while !self.broken
            && self.dialing.is_none()
            && let Some(id) = self.unaccepted.pop_front()
        {
            if !self.resolved {
                self.refuse(id, record);
                continue;
            }
            self.dialing = Some(id);
            let ForwardTarget { host, port } = self.target.clone();
            self.actions.push_back(StreamAction::Dial { stream: id, host, port });
        }
    }

    fn refuse(&mut self, id: u32, record: &mut Record) {
        record.streams_refused += 1;
        self.refusals += 1;
        self.close(id, record);
    }

    /// Writes the next buffer of a stream to its destination; closes the stream after the last one.
    fn write_next(&mut self, id: u32, record: &mut Record) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.connected) else { return };
        if stream.writing > 0 {
            return;
        }
        if let Some(bytes) = stream.buffer.pop_front() {
            stream.writing = bytes.len();
            self.room += bytes.len() as i64;
            self.actions.push_back(StreamAction::Write { stream: id, bytes });
        } else if stream.finished || self.broken {
            self.close(id, record);
        }
    }

    /// Sends a stream's FIN, closes its connection and discards its buffer.
    fn close(&mut self, id: u32, record: &mut Record) {
        let Some(stream) = self.streams.remove(&id) else { return };
        let buffered: usize = stream.buffer.iter().map(Bytes::len).sum();
        self.room += buffered as i64;
        self.outlet.forget(id);
        self.outlet.write(SmuxCommand::Fin, id);
        record.stream(id).fin_sent = true;
        if stream.connected {
            // The real agent first completes the pending write; here it is cancelled.
            self.actions.retain(|action| !is_obsolete(action, id));
            self.actions.push_back(StreamAction::Close { stream: id });
        }
    }

    /// Stops reading and accepting; every stream is closed once its buffer is written.
    fn stop_reading(&mut self, record: &mut Record) {
        self.broken = true;
        record.smux_broken = true;
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.write_next(id, record);
        }
    }

    fn read_unblocked(&mut self) {
        while let Some(id) = self.outlet.next_unblocked() {
            self.actions.push_back(StreamAction::Read { stream: id, limit: MOST_DATA });
        }
    }
}

/// Returns whether the end of the stream makes an action obsolete.
fn is_obsolete(action: &StreamAction, id: u32) -> bool {
    match action {
        StreamAction::Read { stream, .. } | StreamAction::Write { stream, .. } => *stream == id,
        StreamAction::Resolve { .. } | StreamAction::Dial { .. } | StreamAction::Close { .. } => false,
    }
}
