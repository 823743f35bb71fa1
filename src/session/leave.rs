//! The way out of a session: who started it ends it, and what was received is still written.

use std::time::Duration;

use tokio::time::sleep_until;

use crate::aws::{Access, Aws};
use crate::channel::{ChannelEvent, Now};

use super::driver::Driver;
use super::end::LocalEnd;
use super::link::LinkEvent;

/// How long we stay to end a session once we want to leave; a little less than the two seconds that we promise.
pub(super) const LEAVE: Duration = Duration::from_millis(1800);
/// How long the terminate flag may go unconfirmed before the API is asked too.
const FLAG_PATIENCE: Duration = Duration::from_millis(500);
/// Between two tries to end a session by the API.
const RETRY: Duration = Duration::from_millis(250);

/// Ends a session by the API, first with the access that worked last, and tries for as long as the caller has time.
pub(super) async fn end(aws: &Aws, known: &Access, session_id: &str) {
    let mut result = known.terminate_session(session_id).await;
    while let Err(error) = result {
        tracing::info!(session_id, %error, "cannot end the session");
        tokio::time::sleep(RETRY).await;
        result = match aws.access().await {
            Ok(fresh) => fresh.terminate_session(session_id).await,
            Err(error) => Err(error),
        };
    }
}

impl<E: LocalEnd> Driver<E> {
    /// Ends the session at the service: by the flag if the agent can hear it, by the API if that is not confirmed
    /// soon. Returns at the first confirmation, at the latest after two seconds. Somebody who is `hurried` does not
    /// want what still comes.
    pub(super) async fn leave(&mut self, hurried: bool) {
        let begun = self.clock.now();
        let (leave_at, ask_at) = (begun.instant + LEAVE, begun.instant + FLAG_PATIENCE);
        let (aws, access, session_id) =
            (self.parts.aws.clone(), self.access.clone(), self.session_id.clone());
        let mut api = Box::pin(end(&aws, &access, &session_id));
        let flagged = self.channel.terminate();
        let mut linked = self.link.websocket().is_some() && self.drain_to_link(begun).is_ok();
        if hurried {
            self.parts.end.forget();
        }
        loop {
            let now = self.clock.now();
            self.take_last_events(now, hurried);
            let now = now.instant;
            if self.ended || now >= leave_at {
                return;
            }
            let heard = flagged && linked && !self.channel.is_termination_queued_behind_data();
            let asks = !heard || now >= ask_at;
            let next = if asks { leave_at } else { ask_at };
            let deadline = self.channel.poll_timeout().map_or(next, |(at, _)| at.min(next));
            tokio::select! {
                () = &mut api, if asks => self.ended = true,
                event = self.link.next(true), if linked => match event {
                    LinkEvent::Incoming(incoming) => self.incoming(self.clock.now(), incoming),
                    LinkEvent::Opened(_) | LinkEvent::Failed(_) => linked = false,
                },
                () = self.parts.end.write() => {}
                () = sleep_until(deadline.into()) => {}
            }
            let now = self.clock.now();
            self.channel.handle_timeout(now);
            linked = linked && self.drain_to_link(now).is_ok();
        }
    }

    fn take_last_events(&mut self, now: Now, hurried: bool) {
        self.ended |= self.channel.is_termination_acknowledged();
        while let Some(event) = self.channel.poll_event() {
            match event {
                ChannelEvent::Closed { .. } => self.ended = true,
                // What the end cannot take has nobody left to be told of it.
                ChannelEvent::Data(bytes) if !hurried => drop(self.parts.end.receive(now, bytes)),
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
