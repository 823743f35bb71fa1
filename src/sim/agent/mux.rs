//! The multiplexed session: the smux server between the data channel and the driver's connections.
//!
//! The client's bytes go into the smux reader's pipe; a full pipe blocks the agent's reader. The streams' bytes are read
//! from the other pipe in the agent's small paced reads, which limit a session however many streams it has.

use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;

use crate::sim::agent::config::KeepAlivePolicy;
use crate::sim::agent::message::{flag, payload_type};
use crate::sim::agent::port::{self, ForwardTarget};
use crate::sim::agent::read_pace::ReadPace;
use crate::sim::agent::record::Record;
use crate::sim::agent::smux::keep_alive::KeepAlive;
use crate::sim::agent::smux::{SmuxServer, StreamAction};
use crate::sim::agent::version::{FIRST_RESOLVING_ONCE, LAST_CLIENT_KEPT_ALIVE, compare};
use crate::sim::agent::{Agent, Moment, Phase, Status};

/// The state of a multiplexed session.
#[derive(Debug)]
pub(super) struct Multiplexed {
    pub session: SmuxServer,
    pub pace: ReadPace,
}

impl Agent {
    /// Returns the next action for the driver on a multiplexed session's connections.
    pub fn poll_stream_action(&mut self) -> Option<StreamAction> {
        self.stream_actions.pop_front()
    }

    /// Reports the addresses of the host; an empty list is a host that the simulator maps.
    pub fn host_resolved(&mut self, now: Instant, addresses: &[IpAddr]) {
        let Phase::Resolving { target, client_version } = &self.phase else { return };
        let (target, client_version) = (target.clone(), client_version.clone());
        match addresses.iter().find_map(|address| port::forbidden(&self.config, *address)) {
            Some(output) => self.finish(now, Status::Failed, output),
            None => self.multiplex(now, target, &client_version, true),
        }
    }

    /// Reports that the host was not found: every stream fails.
    pub fn host_unresolved(&mut self, now: Instant) {
        if let Phase::Resolving { target, client_version } = &self.phase {
            let (target, client_version) = (target.clone(), client_version.clone());
            self.multiplex(now, target, &client_version, false);
        }
    }

    /// Reports that a stream's destination is connected.
    pub fn stream_connected(&mut self, now: Instant, stream: u32) {
        self.with_session(now, |session, record| session.connected(stream, record));
    }

    /// Reports that a stream's dial failed.
    pub fn stream_failed(&mut self, now: Instant, stream: u32) {
        self.with_session(now, |session, record| session.failed(stream, record));
    }

    /// Reports bytes read from a stream's destination.
    pub fn stream_data(&mut self, now: Instant, stream: u32, data: &[u8]) {
        self.with_session(now, |session, record| session.data(stream, data, record));
    }

    /// Reports EOF of a stream's destination.
    pub fn stream_eof(&mut self, now: Instant, stream: u32) {
        self.with_session(now, |session, record| session.ended(stream, record));
    }

    /// Reports that reading or writing a stream's destination failed.
    pub fn stream_reset(&mut self, now: Instant, stream: u32) {
        self.with_session(now, |session, record| session.ended(stream, record));
    }

    /// Reports that `count` more bytes of a stream's pending write are written.
    pub fn stream_wrote(&mut self, now: Instant, stream: u32, count: usize) {
        self.with_session(now, |session, record| session.wrote(stream, count, record));
    }

    /// Reports whether the agent's socket is full; a multiplexed session sends no data meanwhile.
    pub fn set_congested(&mut self, now: Instant, congested: bool) {
        self.congested = congested;
        self.settle_streams(now);
    }

    /// Prepares a multiplexed session; newer agents first look the host up, once.
    pub(super) fn open_multiplexed(&mut self, now: Instant, target: ForwardTarget, client_version: String) {
        let looks_up = compare(&self.config.agent_version, FIRST_RESOLVING_ONCE).is_ge();
        match target.host.clone().filter(|_| looks_up) {
            Some(host) => {
                self.stream_actions.push_back(StreamAction::Resolve { host, port: target.port });
                self.phase = Phase::Resolving { target, client_version };
            }
            None => self.multiplex(now, target, &client_version, true),
        }
    }

    /// Writes a payload to the smux reader; returns whether all of it is written.
    pub(super) fn offer_to_streams(&mut self, payload: Bytes) -> bool {
        let Phase::Multiplexed(multiplexed) = &mut self.phase else { return true };
        multiplexed.session.offer(payload, &mut self.record)
    }

    /// Handles expired timers of a multiplexed session.
    pub(super) fn advance_streams(&mut self, now: Instant) {
        let Phase::Multiplexed(multiplexed) = &mut self.phase else { return };
        multiplexed.pace.handle_timeout(now);
        if multiplexed.session.handle_timeout(now) {
            self.settle_streams(now);
        } else {
            self.finish(now, Status::Failed, String::new());
        }
    }

    /// Sends the output of the streams, and continues reading once a blocked message is written.
    pub(super) fn settle_streams(&mut self, now: Instant) {
        loop {
            self.send_refusals(now);
            self.pump(now);
            let Phase::Multiplexed(multiplexed) = &mut self.phase else { return };
            while let Some(action) = multiplexed.session.poll_action() {
                self.stream_actions.push_back(action);
            }
            if multiplexed.session.is_blocked() || !self.is_writing() {
                return;
            }
            self.wrote(now, usize::MAX);
            self.read_inbox(now);
        }
    }

    /// Closes all connections.
    pub(super) fn close_streams(&mut self) {
        self.stream_actions.clear();
        if let Phase::Multiplexed(multiplexed) = &self.phase {
            let connections = multiplexed.session.connections();
            self.stream_actions.extend(connections.map(|stream| StreamAction::Close { stream }));
        }
    }

    fn multiplex(&mut self, now: Instant, target: ForwardTarget, client_version: &str, resolved: bool) {
        let mux = &self.config.mux;
        let keeps_alive = match mux.keep_alive {
            KeepAlivePolicy::ByVersion => compare(client_version, LAST_CLIENT_KEPT_ALIVE).is_le(),
            KeepAlivePolicy::Always => true,
            KeepAlivePolicy::Never => false,
        };
        let keep_alive =
            keeps_alive.then(|| KeepAlive::new(now, mux.keep_alive_interval, mux.keep_alive_timeout));
        let session = SmuxServer::new(mux, target, resolved, keep_alive);
        self.phase = Phase::Multiplexed(Box::new(Multiplexed { session, pace: ReadPace::new(now) }));
        self.reach(Moment::Connected);
    }

    fn with_session(&mut self, now: Instant, update: impl FnOnce(&mut SmuxServer, &mut Record)) {
        if let Phase::Multiplexed(multiplexed) = &mut self.phase {
            update(&mut multiplexed.session, &mut self.record);
            self.settle_streams(now);
        }
    }

    /// Sends a flag for every failed dial, before the FIN that is in the pipe.
    fn send_refusals(&mut self, now: Instant) {
        let Phase::Multiplexed(multiplexed) = &mut self.phase else { return };
        for _ in 0..multiplexed.session.take_refusals() {
            let flag = Bytes::copy_from_slice(&flag::CONNECT_TO_PORT_ERROR.to_be_bytes());
            self.send_stream(now, payload_type::FLAG, flag);
        }
    }

    /// Sends the streams' output, as far as the pace allows.
    fn pump(&mut self, now: Instant) {
        while !self.congested && !self.outbound.is_paused() {
            let Phase::Multiplexed(multiplexed) = &mut self.phase else { return };
            if !multiplexed.pace.is_readable() || !multiplexed.session.has_output() {
                return;
            }
            let payload = multiplexed.session.take_output(self.config.payload_size.max(1));
            multiplexed.pace.read(now, self.config.read_interval);
            self.send_output(now, payload);
            self.reach(Moment::Sent(self.record.bytes_sent));
        }
    }
}
