//! Carries out the agent's requests to its destinations, and reports the results to it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::sim::agent::{Action, Agent, StreamAction};
use crate::sim::clock;
use crate::sim::connections::ConnectionEvent;
use crate::sim::journal::SimEvent;
use crate::sim::relay::Relay;
use crate::sim::tcp_destination::{Address, DestinationEvent};

impl Relay {
    pub(super) fn handle_destination(&mut self, event: DestinationEvent) {
        let now = clock::now();
        match event {
            DestinationEvent::Connected => {
                self.note_dial(None, None);
                self.with_agent(|agent| agent.destination_connected(now));
            }
            DestinationEvent::Failed(why) => {
                self.note_dial(None, Some(why.clone()));
                self.with_agent(|agent| agent.destination_failed(now, &why));
            }
            DestinationEvent::Data(data) => self.with_agent(|agent| agent.destination_data(now, &data)),
            DestinationEvent::Eof => self.with_agent(|agent| agent.destination_eof(now)),
            DestinationEvent::Reset => self.with_agent(|agent| agent.destination_reset(now)),
            DestinationEvent::Wrote(count) => self.with_agent(|agent| agent.destination_wrote(now, count)),
        }
    }

    pub(super) fn handle_connections(&mut self, event: ConnectionEvent) {
        let now = clock::now();
        match event {
            ConnectionEvent::Resolved(addresses) if addresses.is_empty() => {
                self.with_agent(|agent| agent.host_unresolved(now));
            }
            ConnectionEvent::Resolved(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
                self.with_agent(|agent| agent.host_resolved(now, &addresses));
            }
            ConnectionEvent::Stream(stream, event) => self.handle_stream(stream, event),
        }
    }

    fn handle_stream(&mut self, stream: u32, event: DestinationEvent) {
        let now = clock::now();
        match event {
            DestinationEvent::Connected => {
                self.note_dial(Some(stream), None);
                self.with_agent(|agent| agent.stream_connected(now, stream));
            }
            DestinationEvent::Failed(why) => {
                self.note_dial(Some(stream), Some(why));
                self.connections.close(stream);
                self.with_agent(|agent| agent.stream_failed(now, stream));
            }
            DestinationEvent::Data(data) => self.with_agent(|agent| agent.stream_data(now, stream, &data)),
            DestinationEvent::Eof => self.with_agent(|agent| agent.stream_eof(now, stream)),
            DestinationEvent::Reset => self.with_agent(|agent| agent.stream_reset(now, stream)),
            DestinationEvent::Wrote(count) => self.with_agent(|agent| agent.stream_wrote(now, stream, count)),
        }
    }

    /// Carries out the pending actions of the agent.
    pub(super) fn perform_actions(&mut self) {
        while let Some(action) = self.with_agent(Agent::poll_stream_action) {
            self.perform_on_stream(action);
        }
        while let Some(action) = self.with_agent(Agent::poll_action) {
            self.perform(action);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial { host, port } => {
                let (address, delay) = self.prepare_dial(host, port);
                self.destination.dial(address, delay);
            }
            Action::Write(bytes) => self.destination.write(bytes),
            Action::CloseDestination => self.destination.close(),
            Action::Ended { status, output } => {
                self.close_destinations();
                self.end(status, output);
            }
        }
    }

    fn perform_on_stream(&mut self, action: StreamAction) {
        match action {
            StreamAction::Resolve { host, port } => self.resolve(host, port),
            StreamAction::Dial { stream, host, port } => {
                let (address, delay) = self.prepare_dial(host, port);
                self.connections.dial(stream, address, delay);
            }
            StreamAction::Read { stream, limit } => self.connections.read(stream, limit),
            StreamAction::Write { stream, bytes } => self.connections.write(stream, bytes),
            StreamAction::Close { stream } => self.connections.close(stream),
        }
    }

    fn prepare_dial(&mut self, host: Option<String>, port: u16) -> (Address, Duration) {
        let address = self.shared.config.address_of(host.as_deref(), port);
        self.dialled = (host, port);
        (address, self.shared.with_faults(|faults| faults.dial_delay))
    }

    /// Looks a host up; a host in the simulator's configuration needs no lookup.
    fn resolve(&mut self, host: String, port: u16) {
        match self.shared.config.address_of(Some(&host), port) {
            Address::Named(host, port) => self.connections.resolve(host, port),
            Address::Mapped(_) | Address::Resolved(_) => {
                let now = clock::now();
                self.with_agent(|agent| agent.host_resolved(now, &[]));
            }
        }
    }

    pub(super) fn close_destinations(&mut self) {
        self.destination.close();
        self.connections.close_all();
    }

    fn note_dial(&self, stream: Option<u32>, error: Option<String>) {
        let (host, port) = self.dialled.clone();
        self.note(|session| SimEvent::Dialed { session, stream, host, port, error });
    }
}
