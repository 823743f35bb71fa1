//! The way out of a session: the client that started it ends it at the service, and what was received is still written.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::task::coop::consume_budget;
use tokio::time::{sleep, sleep_until};

use crate::channel::{Channel, ChannelEvent, Now};
use crate::transport::{Websocket, WebsocketEvent};

use super::clock::Clock;
use super::end::LocalSide;
use super::link::{Remains, send_all};
use super::service::ControlPlane;

/// How long a session may take to be ended once the process wants to exit; a little less than the promised two seconds.
pub(super) const LEAVE: Duration = Duration::from_millis(1800);
/// How long the terminate flag may be unacknowledged before the API is called too.
const FLAG_PATIENCE: Duration = Duration::from_millis(500);
/// Between two calls of TerminateSession.
const RETRY: Duration = Duration::from_millis(250);

/// Ends a session by the API, first with the access that worked last, and repeats that until the caller drops it.
pub(super) async fn end_session<C: ControlPlane>(control: &C, known: &C::Access, session_id: &str) {
    let mut result = control.terminate_session(known, session_id).await;
    while let Err(error) = result {
        tracing::info!(session_id, %error, "cannot end the session");
        sleep(RETRY).await;
        result = match control.access().await {
            Ok(fresh) => control.terminate_session(&fresh, session_id).await,
            Err(error) => Err(error),
        };
    }
}

/// A session that is being ended by its own client.
pub(super) struct Leaving<'a, E> {
    clock: Clock,
    channel: Channel,
    websocket: Option<Websocket>,
    end: &'a mut E,
    /// What is still received is not wanted.
    hurried: bool,
    /// The agent was sent the terminate flag.
    flagged: bool,
    /// The session has ended at the service.
    ended: bool,
}

impl<'a, E: LocalSide> Leaving<'a, E> {
    pub(super) fn new(clock: Clock, channel: Channel, end: &'a mut E, hurried: bool) -> Self {
        Self { clock, channel, websocket: None, end, hurried, flagged: false, ended: false }
    }

    /// Ends the session at the service: by the flag if the agent can receive it, by the API if the flag is not
    /// acknowledged soon. Returns at the first confirmation, at the latest after 1.8 s.
    pub(super) async fn run<C: ControlPlane>(mut self, remains: Remains<C>) {
        let Remains { control, access, session_id, websocket } = remains;
        let begun = self.clock.now();
        let (leave_at, call_at) = (begun.instant + LEAVE, begun.instant + FLAG_PATIENCE);
        self.begin(begun, websocket);
        let mut api = pin!(end_session(&*control, &access, &session_id));
        loop {
            let now = self.clock.now();
            self.take_events(now);
            if self.ended || now.instant >= leave_at {
                return;
            }
            let calls = !self.may_be_acknowledged() || now.instant >= call_at;
            let next = if calls { leave_at } else { call_at };
            let deadline = self.channel.poll_timeout().map_or(next, |(at, _)| at.min(next));
            tokio::select! {
                () = &mut api, if calls => self.ended = true,
                () = self.step(deadline) => {}
            }
            consume_budget().await;
        }
    }

    fn begin(&mut self, now: Now, websocket: Option<Websocket>) {
        self.websocket = websocket;
        self.flagged = self.channel.terminate();
        if self.hurried {
            self.end.forget();
        }
        self.transmit(now);
    }

    /// Returns true if the flag can reach the agent before the API would be called.
    fn may_be_acknowledged(&self) -> bool {
        self.flagged && self.websocket.is_some() && !self.channel.is_termination_queued_behind_data()
    }

    /// Waits for one thing and acts on it.
    async fn step(&mut self, deadline: Instant) {
        let reads = !self.channel.owes_too_much();
        let incoming = async {
            match &mut self.websocket {
                Some(websocket) => websocket.next(reads).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            incoming = incoming => match incoming {
                Ok(WebsocketEvent::Message(message)) => self.channel.handle_frame(self.clock.now(), &message),
                Ok(WebsocketEvent::Pong | WebsocketEvent::Ping | WebsocketEvent::Flushed) => {}
                Err(_) => self.lose_link(),
            },
            () = self.end.write() => {}
            () = sleep_until(deadline.into()) => {}
        }
        let now = self.clock.now();
        self.channel.handle_timeout(now);
        self.transmit(now);
    }

    fn transmit(&mut self, now: Now) {
        if let Some(websocket) = &mut self.websocket
            && send_all(now, &mut self.channel, websocket).is_err()
        {
            self.lose_link();
        }
    }

    fn lose_link(&mut self) {
        self.websocket = None;
        self.channel.detach(self.clock.now());
    }

    fn take_events(&mut self, now: Now) {
        self.ended |= self.channel.is_termination_acknowledged();
        while let Some(event) = self.channel.poll_event() {
            match event {
                ChannelEvent::Closed { .. } => self.ended = true,
                // If the local end cannot take it, no other part of the program can.
                ChannelEvent::Data(bytes) if !self.hurried => drop(self.end.receive(now, bytes)),
                ChannelEvent::Data(_)
                | ChannelEvent::PortRefused
                | ChannelEvent::Connected { .. }
                | ChannelEvent::FirstInputUnanswered
                | ChannelEvent::SizeProven(_)
                | ChannelEvent::SizeRefused(_)
                | ChannelEvent::SizeOutdated
                | ChannelEvent::Dropped(_)
                | ChannelEvent::Failed(_) => {}
            }
        }
    }
}
