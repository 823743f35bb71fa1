//! The relay of one session: drives the agent, its destinations, both paths, and the attached client.
//!
//! Each session has one task. It passes messages on unchanged, except for [`Faults`](crate::sim::faults::Faults), and it
//! is the only driver of the [`Agent`].

mod destinations;
mod lifetime;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::sim::agent::message::{MessageKind, type_of};
use crate::sim::agent::{Agent, AgentConfig, Status};
use crate::sim::clock;
use crate::sim::connections::{ConnectionEvent, Connections};
use crate::sim::faults::{Absent, CutKind, CutWhen, PathFaults, SessionStep};
use crate::sim::journal::{Detach, SimEvent};
use crate::sim::link::Link;
use crate::sim::relay::lifetime::Lifetime;
use crate::sim::relay_handle::{AttachedClient, Control, Disconnect, Outgoing, RelayInputs};
use crate::sim::rng::Rng;
use crate::sim::service_message::{agent_step, channel_closed, client_step, publication};
use crate::sim::sessions::{SessionState, SharedAgent};
use crate::sim::shared::Shared;
use crate::sim::tcp_destination::{DestinationEvent, TcpDestination};

/// Bytes in transit to the agent at which the client is no longer read.
const MOST_TO_AGENT: usize = 8 * 1024 * 1024;
/// Bytes in transit to the client at which the destination is no longer read.
const MOST_TO_CLIENT: usize = 1024 * 1024;
/// Messages that may wait for the agent's blocked reader.
const MOST_BACKLOG: usize = 256;

pub(super) struct Relay {
    shared: Arc<Shared>,
    session: String,
    config: AgentConfig,
    inputs: RelayInputs,
    agent: SharedAgent,
    destination: TcpDestination,
    connections: Connections,
    /// The host and port of the last dial.
    dialled: (Option<String>, u16),
    lifetime: Lifetime,
    to_agent: Link,
    to_client: Link,
    rng: Rng,
    client: Option<AttachedClient>,
    waiting: VecDeque<Bytes>,
    /// The output of an ended session whose channel_closed is not sent yet.
    closing: Option<String>,
    ended: bool,
    /// The agent receives and sends nothing, by a fault.
    silent: bool,
    reached: HashSet<SessionStep>,
}

enum Wakeup {
    Control(Option<Control>),
    Message(Option<Bytes>),
    Destination(DestinationEvent),
    Connections(ConnectionEvent),
    Writable,
    Time,
}

impl Relay {
    pub fn new(
        shared: Arc<Shared>,
        config: AgentConfig,
        inputs: RelayInputs,
        agent: SharedAgent,
        mut rng: Rng,
    ) -> Self {
        let (to_agent, to_client) =
            shared.with_faults(|faults| (faults.to_agent.link, faults.to_client.link));
        Self {
            session: config.session_id.clone(),
            config,
            inputs,
            agent,
            destination: TcpDestination::default(),
            connections: Connections::new(),
            dialled: (None, 0),
            lifetime: Lifetime::new(clock::now()),
            to_agent: Link::new(to_agent, rng.next_u64()),
            to_client: Link::new(to_client, rng.next_u64()),
            rng,
            client: None,
            waiting: VecDeque::new(),
            closing: None,
            ended: false,
            silent: false,
            reached: HashSet::new(),
            shared,
        }
    }

    /// Runs until the session has ended and channel_closed is sent.
    pub async fn run(mut self) {
        if self.shared.config.agent_starts_early {
            self.start_agent();
        }
        loop {
            self.handle_timeouts();
            self.drain();
            if self.is_over() {
                return;
            }
            match self.wait().await {
                Wakeup::Control(None) | Wakeup::Message(None) => return,
                Wakeup::Control(Some(control)) => self.handle_control(control),
                Wakeup::Message(Some(message)) => self.handle_message_of_client(message),
                Wakeup::Destination(event) => self.handle_destination(event),
                Wakeup::Connections(event) => self.handle_connections(event),
                Wakeup::Writable | Wakeup::Time => {}
            }
        }
    }

    /// Called in every iteration, because a busy session may never wait for a timer.
    fn handle_timeouts(&mut self) {
        let now = clock::now();
        self.expire(now);
        self.with_agent(|agent| {
            if agent.poll_timeout().is_some_and(|at| at <= now) {
                agent.handle_timeout(now);
            }
        });
    }

    fn is_over(&self) -> bool {
        self.ended && self.closing.is_none()
    }

    async fn wait(&mut self) -> Wakeup {
        let (reads, backlog, agent_timeout) = self.with_agent(|agent| {
            let reads = agent.ready_for_data().then(|| agent.payload_size());
            (reads, agent.backlog(), agent.poll_timeout())
        });
        let reads = reads.filter(|_| !self.is_congested());
        let takes_messages = backlog < MOST_BACKLOG && self.to_agent.in_flight() < MOST_TO_AGENT;
        let blocked =
            self.client.as_ref().filter(|client| client.outgoing.capacity() < 2).map(|c| c.outgoing.clone());
        let to_client = self.to_client.poll_timeout().filter(|_| blocked.is_none());
        let expiry = self.expiry().map(|(at, _)| at);
        let deadlines = [agent_timeout, self.to_agent.poll_timeout(), to_client, expiry];
        let deadline = deadlines.into_iter().flatten().min();
        tokio::select! {
            biased;
            control = self.inputs.control.recv() => Wakeup::Control(control),
            event = self.destination.next(reads) => Wakeup::Destination(event),
            event = self.connections.next() => Wakeup::Connections(event),
            message = self.inputs.messages.recv(), if takes_messages => Wakeup::Message(message),
            () = writable(blocked.as_ref()), if blocked.is_some() => Wakeup::Writable,
            () = clock::sleep_until(deadline) => Wakeup::Time,
        }
    }

    fn handle_control(&mut self, control: Control) {
        match control {
            Control::Attach(client) => self.attach(client),
            Control::Detach { client, why } => {
                if self.client.as_ref().is_some_and(|current| current.id == client) {
                    self.detach(why);
                }
            }
            Control::Cut(kind) => self.cut(kind),
            Control::Terminate { output } => self.terminate(output),
            Control::LoseAgent(loss) => self.lose_agent(loss),
            // The next iteration reads the faults.
            Control::FaultsChanged => {}
        }
    }

    fn attach(&mut self, client: AttachedClient) {
        if let Some(old) = self.client.replace(client) {
            old.disconnect.send_replace(Some(Disconnect::Replaced));
            self.note(|session| SimEvent::Detached { session, why: Detach::Replaced });
        }
        self.lifetime.input(clock::now());
        self.shared.set_state(&self.session, SessionState::Connected);
        let (start_first, absent) =
            self.shared.with_faults(|faults| (faults.start_publication, faults.absent));
        if start_first {
            self.send_to_client(publication(MessageKind::StartPublication));
        }
        if absent == Absent::Pause {
            self.publish(MessageKind::StartPublication);
        }
        self.start_agent();
        self.reach(SessionStep::Opened);
    }

    fn start_agent(&mut self) {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if agent.is_none() && !self.shared.is_ended(&self.session) {
            *agent =
                Some(Agent::new(clock::now(), clock::unix_ms(), self.config.clone(), self.rng.next_u64()));
        }
    }

    fn detach(&mut self, why: Detach) {
        self.client = None;
        self.note(|session| SimEvent::Detached { session, why });
        self.shared.set_state(&self.session, SessionState::Disconnected);
        if self.shared.with_faults(|faults| faults.absent) == Absent::Pause {
            self.publish(MessageKind::PausePublication);
        }
    }

    fn cut(&mut self, kind: CutKind) {
        if let Some(client) = &self.client {
            client.disconnect.send_replace(Some(Disconnect::Cut(kind)));
            self.drop_in_transit(kind);
        }
    }

    fn drop_in_transit(&mut self, kind: CutKind) {
        self.to_agent.cut();
        self.to_client.cut();
        self.detach(Detach::Cut(kind));
    }

    fn handle_message_of_client(&mut self, message: Bytes) {
        let faults = self.shared.with_faults(|faults| faults.to_agent);
        self.to_agent.set_config(faults.link);
        if type_of(&message) == MessageKind::InputStreamData.as_str() {
            self.lifetime.input(clock::now());
        }
        if let Some(message) = self.apply_faults(message, &faults) {
            self.to_agent.send(clock::now(), message);
        }
    }

    /// Delivers all messages that are due.
    fn drain(&mut self) {
        let now = clock::now();
        while let Some(message) = self.to_agent.poll_deliver(now) {
            self.deliver_to_agent(now, &message);
        }
        while self.drain_to_client(now) {}
        if self.to_client.in_flight() == 0 && self.waiting.is_empty() && self.can_deliver() {
            self.close_channel();
        }
    }

    /// Delivers the agent's messages to the client; returns whether a congested path has become free.
    fn drain_to_client(&mut self, now: Instant) -> bool {
        let congested = self.is_congested();
        self.with_agent(|agent| agent.set_congested(now, congested));
        self.drain_agent(now);
        while self.can_deliver()
            && let Some(message) = self.waiting.pop_front().or_else(|| self.to_client.poll_deliver(now))
        {
            self.deliver_to_client(message);
        }
        congested && !self.is_congested()
    }

    fn is_congested(&self) -> bool {
        self.to_client.in_flight() >= MOST_TO_CLIENT
    }

    fn can_deliver(&self) -> bool {
        let waits = self.shared.with_faults(|faults| faults.absent) == Absent::Queue
            && !self.shared.is_ended(&self.session);
        self.client.as_ref().map_or(!waits, |client| client.outgoing.capacity() >= 2)
    }

    fn deliver_to_agent(&mut self, now: Instant, message: &Bytes) {
        let step = client_step(message);
        if step.is_some_and(|step| self.cut_at(CutWhen::Before(step))) {
            return;
        }
        if !self.silent {
            self.with_agent(|agent| agent.handle_message(now, message));
        }
        if let Some(step) = step {
            self.reach(step);
            self.cut_at(CutWhen::Past(step));
        }
    }

    fn drain_agent(&mut self, now: Instant) {
        let faults = self.shared.with_faults(|faults| faults.to_client);
        self.to_client.set_config(faults.link);
        while let Some(message) = self.with_agent(Agent::poll_transmit) {
            if type_of(&message) != "agent_session_state"
                && !self.silent
                && let Some(message) = self.apply_faults(message, &faults)
            {
                self.to_client.send(now, message);
            }
        }
        self.perform_actions();
    }

    fn end(&mut self, status: Status, output: String) {
        self.shared.end(&self.session, status, &output);
        if !self.ended {
            self.ended = true;
            self.closing = Some(output);
        }
    }

    fn deliver_to_client(&mut self, message: Bytes) {
        let step = agent_step(&message).filter(|_| self.client.is_some());
        let Some(step) = step else { return self.send_to_client(message) };
        if self.cut_at(CutWhen::Before(step)) {
            return;
        }
        self.send_to_client(message);
        self.reach(step);
        self.cut_past(step);
    }

    fn close_channel(&mut self) {
        let Some(output) = self.closing.take() else { return };
        if self.client.is_none() || self.cut_at(CutWhen::Before(SessionStep::ChannelClosed)) {
            return;
        }
        let form = self.shared.with_faults(|faults| faults.closed_form);
        let target = self.shared.target_of(&self.session);
        let message = channel_closed(self.rng.uuid(), &self.session, &target, &output, form);
        self.send_to_client(message);
        self.reach(SessionStep::ChannelClosed);
        self.cut_past(SessionStep::ChannelClosed);
    }

    fn send_to_client(&mut self, message: Bytes) {
        if let Some(client) = &self.client {
            // The channel is full only if the websocket has just closed, and then the message is lost.
            let _ = client.outgoing.try_send(Outgoing::Message(message));
        }
    }

    fn reach(&mut self, step: SessionStep) {
        if self.reached.insert(step) {
            self.note(|session| SimEvent::Reached { session, step });
        }
        if self.shared.with_faults(|faults| faults.agent_silent_at) == Some(step) {
            self.silent = true;
        }
    }

    fn cut_at(&mut self, when: CutWhen) -> bool {
        let cut =
            self.client.is_some().then(|| self.shared.with_faults(|faults| faults.take_cut(when))).flatten();
        if let Some(kind) = cut {
            self.cut(kind);
        }
        cut.is_some()
    }

    /// Cuts once the queued messages are written.
    fn cut_past(&mut self, step: SessionStep) {
        let Some(client) = &self.client else { return };
        if let Some(kind) = self.shared.with_faults(|faults| faults.take_cut(CutWhen::Past(step))) {
            let _ = client.outgoing.try_send(Outgoing::Cut(kind));
            self.drop_in_transit(kind);
        }
    }

    fn apply_faults(&mut self, message: Bytes, faults: &PathFaults) -> Option<Bytes> {
        let lost = self.rng.chance(faults.lost_acks);
        let corrupt = self.rng.chance(faults.corrupt_digest);
        match type_of(&message) {
            "acknowledge" if lost => None,
            "input_stream_data" | "output_stream_data" if corrupt => {
                let mut damaged = message.to_vec();
                damaged[80] ^= 0xff;
                Some(damaged.into())
            }
            _ => Some(message),
        }
    }

    fn publish(&mut self, message_type: MessageKind) {
        let now = clock::now();
        let message = publication(message_type);
        self.with_agent(|agent| agent.handle_message(now, &message));
    }

    fn with_agent<T: Default>(&self, update: impl FnOnce(&mut Agent) -> T) -> T {
        let mut agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        agent.as_mut().map(update).unwrap_or_default()
    }

    fn note(&self, event: impl FnOnce(String) -> SimEvent) {
        self.shared.note(event(self.session.clone()));
    }
}

async fn writable(outgoing: Option<&mpsc::Sender<Outgoing>>) {
    match outgoing {
        // Two permits, because a cut may follow a message. The websocket's task reports a closed channel.
        Some(outgoing) => {
            if outgoing.reserve_many(2).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        None => std::future::pending().await,
    }
}
