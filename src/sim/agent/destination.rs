//! The single destination of a plain or basic session.
//!
//! A plain session ends with its connection. A basic session does not report the end of its connection, and dials again
//! when the client's next data arrives.

use std::time::Instant;

use bytes::Bytes;

use crate::sim::agent::message::payload_type;
use crate::sim::agent::port::{self, ForwardTarget};
use crate::sim::agent::read_pace::ReadPace;
use crate::sim::agent::{Action, Agent, Moment, Phase, Status};

impl Agent {
    /// Returns whether the driver may read the destination now, at most [`Agent::payload_size`] bytes.
    pub fn ready_for_data(&self) -> bool {
        matches!(&self.phase, Phase::Connected { pace, .. } if pace.is_readable())
            && !self.outbound.is_paused()
    }

    /// Returns the size of one read of the destination.
    pub fn payload_size(&self) -> usize {
        self.config.payload_size
    }

    /// Reports that the destination is connected.
    pub fn destination_connected(&mut self, now: Instant) {
        if let Phase::Dialing { basic } = &mut self.phase {
            let basic = basic.take();
            self.phase = Phase::Connected { pace: ReadPace::new(now), basic };
            self.reach(Moment::Connected);
        } else if let Phase::Redialing { target, payload } = &self.phase {
            let (target, payload) = (target.clone(), payload.clone());
            self.phase = Phase::Connected { pace: ReadPace::new(now), basic: Some(target) };
            self.actions.push_back(Action::Write(payload));
        }
    }

    /// Reports that the dial failed; `why` reads like `dial tcp 127.0.0.1:22: connect: connection refused`.
    pub fn destination_failed(&mut self, now: Instant, why: &str) {
        if matches!(self.phase, Phase::Dialing { .. }) {
            // The real worker crashes here: nothing is flushed, and the service needs a minute to notice.
            let report_at = now + self.config.refusal_delay;
            self.phase = Phase::Dead { report_at, output: port::unreachable_port(why) };
            self.advance(now);
        } else if matches!(self.phase, Phase::Redialing { .. }) {
            self.finish(now, Status::Failed, String::new());
        }
    }

    /// Reports bytes read from the destination.
    pub fn destination_data(&mut self, now: Instant, data: &[u8]) {
        let Phase::Connected { pace, .. } = &mut self.phase else { return };
        pace.read(now, self.config.read_interval);
        for chunk in data.chunks(self.config.payload_size.max(1)) {
            self.send_output(now, Bytes::copy_from_slice(chunk));
        }
        self.reach(Moment::Sent(self.record.bytes_sent));
    }

    /// Reports EOF of the destination.
    pub fn destination_eof(&mut self, now: Instant) {
        self.destination_closed(now, Status::Success);
    }

    /// Reports that reading or writing the destination failed.
    pub fn destination_reset(&mut self, now: Instant) {
        self.destination_closed(now, Status::Failed);
    }

    /// Reports that `count` more bytes of the pending write are written.
    pub fn destination_wrote(&mut self, now: Instant, count: usize) {
        self.wrote(now, count);
        self.read_inbox(now);
    }

    /// Closes the destination, as the client requests.
    pub(super) fn disconnect(&mut self, now: Instant) {
        self.destination_closed(now, Status::Failed);
    }

    /// Dials again for a payload that arrived without a connection.
    pub(super) fn redial(&mut self, payload: Bytes) {
        if let Phase::Disconnected { target } = &self.phase {
            let target = target.clone();
            self.dial(target.clone());
            self.phase = Phase::Redialing { target, payload };
        }
    }

    pub(super) fn dial(&mut self, target: ForwardTarget) {
        let ForwardTarget { host, port } = target;
        self.actions.push_back(Action::Dial { host, port });
    }

    pub(super) fn send_output(&mut self, now: Instant, payload: Bytes) {
        self.record.bytes_sent += payload.len() as u64;
        self.send_stream(now, payload_type::OUTPUT, payload);
    }

    fn destination_closed(&mut self, now: Instant, status: Status) {
        let Phase::Connected { basic, .. } = &mut self.phase else { return };
        match basic.take() {
            None => self.finish(now, status, String::new()),
            Some(target) => {
                self.actions.push_back(Action::CloseDestination);
                self.phase = Phase::Disconnected { target };
                self.abort_write(now);
            }
        }
    }
}
