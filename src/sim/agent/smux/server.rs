//! The server's half of a smux session: its streams, the loop that accepts and dials them, and their buffers.
//!
//! The agent offers it the client's bytes and takes its own with [`SmuxServer::take_output`]; the driver is asked for
//! connections by [`StreamAction`]s. Dials are one after the other, and one full buffer stops the reading of all streams,
//! as in the real agent.

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

/// What a multiplexed session asks of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAction {
    /// Look a name up, then call one of `host_resolved` and `host_unresolved`; all dials go where it led now.
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
        /// The remote host, or the target itself.
        host: Option<String>,
        /// The TCP port.
        port: u16,
    },
    /// Read once, then call one of `stream_data`, `stream_eof` and `stream_reset`.
    Read {
        /// The stream.
        stream: u32,
        /// At most so many bytes.
        limit: usize,
    },
    /// Write and report it by `stream_wrote`.
    Write {
        /// The stream.
        stream: u32,
        /// What.
        bytes: Bytes,
    },
    /// Close a stream's connection, both ways; nothing about it is to be reported any more.
    Close {
        /// The stream.
        stream: u32,
    },
}

/// A smux session on the agent's side.
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
    /// What is left of the receive buffer; the last frame may overdraw it.
    room: i64,
    broken: bool,
    keep_alive: Option<KeepAlive>,
    refusals: usize,
    actions: VecDeque<StreamAction>,
}

#[derive(Debug, Default)]
struct Stream {
    connected: bool,
    /// Its peer has closed it.
    finished: bool,
    buffer: VecDeque<Bytes>,
    /// Bytes of the write that is under way.
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

    /// Takes a message of the client's; says whether all of it could be written into the pipe.
    pub fn offer(&mut self, message: Bytes, record: &mut Record) -> bool {
        self.inlet.offer(message);
        self.read(record);
        !self.inlet.is_blocked()
    }

    /// Says whether the last message still waits for room.
    pub fn is_blocked(&self) -> bool {
        self.inlet.is_blocked()
    }

    /// Says whether there is something to send.
    pub fn has_output(&self) -> bool {
        !self.outlet.is_empty()
    }

    /// Takes at most so many bytes for the client.
    pub fn take_output(&mut self, limit: usize) -> Bytes {
        let bytes = self.outlet.take(limit);
        self.read_unblocked();
        bytes
    }

    /// Returns how many dials have failed since it was asked last; each is a flag to send before any more output.
    pub fn take_refusals(&mut self) -> usize {
        std::mem::take(&mut self.refusals)
    }

    /// Returns the next request to the driver.
    pub fn poll_action(&mut self) -> Option<StreamAction> {
        self.actions.pop_front()
    }

    /// Returns the streams that have a connection or a dial.
    pub fn connections(&self) -> impl Iterator<Item = u32> {
        let connected = self.streams.iter().filter(|(_, stream)| stream.connected).map(|(id, _)| *id);
        connected.chain(self.dialing)
    }

    /// Returns when `handle_timeout` has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.keep_alive.as_ref().map(KeepAlive::poll_timeout)
    }

    /// Does what is due; false if the session has timed out.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let Some(keep_alive) = &mut self.keep_alive else { return true };
        match keep_alive.handle_timeout(now, self.room > 0) {
            Due::Nothing => {}
            Due::Nop => self.outlet.write(SmuxCommand::Nop, 0),
            Due::TimedOut => return false,
        }
        true
    }

    /// Takes the news that a stream's dial has succeeded.
    pub fn connected(&mut self, id: u32, record: &mut Record) {
        if self.dialing.take_if(|dialing| *dialing == id).is_none() {
            return;
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.connected = true;
            self.actions.push_back(StreamAction::Read { stream: id, limit: MOST_DATA });
            self.write_on(id, record);
        }
        self.accept(record);
        self.read(record);
    }

    /// Takes the news that a stream's dial has failed.
    pub fn failed(&mut self, id: u32, record: &mut Record) {
        if self.dialing.take_if(|dialing| *dialing == id).is_some() {
            self.refuse(id, record);
            self.accept(record);
            self.read(record);
        }
    }

    /// Takes bytes that were read for a stream.
    pub fn data(&mut self, id: u32, data: &[u8], record: &mut Record) {
        if self.is_connected(id) && !data.is_empty() {
            record.stream(id).bytes_read += data.len() as u64;
            self.outlet.write_data(id, data);
            self.read_unblocked();
        }
    }

    /// Takes the end of a stream's connection, orderly or not: what is buffered for it is lost.
    pub fn ended(&mut self, id: u32, record: &mut Record) {
        if self.is_connected(id) {
            self.close(id, record);
            self.read(record);
        }
    }

    /// Takes the news that `count` more bytes of a stream's pending write are done.
    pub fn wrote(&mut self, id: u32, count: usize, record: &mut Record) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let count = count.min(stream.writing);
        stream.writing -= count;
        record.stream(id).bytes_written += count as u64;
        self.write_on(id, record);
        self.read(record);
    }

    fn is_connected(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|stream| stream.connected)
    }

    /// Reads frames as long as there is room for their data.
    fn read(&mut self, record: &mut Record) {
        while !self.broken && self.room > 0 && !self.backlog_is_full() {
            match self.inlet.take() {
                Ok(Some(frame)) => self.take(frame, record),
                Ok(None) => return,
                Err(_) => self.break_off(record),
            }
        }
    }

    fn backlog_is_full(&mut self) -> bool {
        self.unaccepted.len() >= self.accept_backlog && self.inlet.peek() == Some(SmuxCommand::Syn)
    }

    fn take(&mut self, frame: SmuxFrame, record: &mut Record) {
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.hear();
        }
        match frame {
            SmuxFrame::Syn(id) => self.open(id, record),
            SmuxFrame::Fin(id) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.finished = true;
                    record.stream(id).fin_received = true;
                    self.write_on(id, record);
                }
            }
            SmuxFrame::Psh(id, data) => {
                if let Some(stream) = self.streams.get_mut(&id).filter(|_| !data.is_empty()) {
                    self.room -= data.len() as i64;
                    stream.buffer.push_back(data);
                    self.write_on(id, record);
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

    /// Dials for the next stream, unless a dial is under way.
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

    /// Writes the next of a stream's buffers to its destination, and closes it after the last.
    fn write_on(&mut self, id: u32, record: &mut Record) {
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

    /// Sends a stream's FIN and forgets it, with its connection and whatever is buffered.
    fn close(&mut self, id: u32, record: &mut Record) {
        let Some(stream) = self.streams.remove(&id) else { return };
        let buffered: usize = stream.buffer.iter().map(Bytes::len).sum();
        self.room += buffered as i64;
        self.outlet.forget(id);
        self.outlet.write(SmuxCommand::Fin, id);
        record.stream(id).fin_sent = true;
        if stream.connected {
            // The real agent finishes a write that is under way first; here it is called off.
            self.actions.retain(|action| !is_about(action, id));
            self.actions.push_back(StreamAction::Close { stream: id });
        }
    }

    /// Nothing is read or accepted any more; every stream ends once its buffer is written.
    fn break_off(&mut self, record: &mut Record) {
        self.broken = true;
        record.smux_broken = true;
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.write_on(id, record);
        }
    }

    fn read_unblocked(&mut self) {
        while let Some(id) = self.outlet.next_unblocked() {
            self.actions.push_back(StreamAction::Read { stream: id, limit: MOST_DATA });
        }
    }
}

/// Says whether an action became pointless with the end of that stream.
fn is_about(action: &StreamAction, id: u32) -> bool {
    match action {
        StreamAction::Read { stream, .. } | StreamAction::Write { stream, .. } => *stream == id,
        StreamAction::Resolve { .. } | StreamAction::Dial { .. } | StreamAction::Close { .. } => false,
    }
}
