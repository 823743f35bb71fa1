//! The link's life: opened, watched, lost, and got back; and what it means when it cannot be.

use std::time::Duration;

use crate::aws::{Meaning, Stream};
use crate::channel::Now;

use super::driver::{Driver, Phase};
use super::end::LocalEnd;
use super::link::{self, Link, Opened};
use super::liveness::{Liveness, Verdict};
use super::resume::{AttemptError, Next, Resume};
use super::{Failure, Note, random};
use crate::clock::wall;

/// A websocket that lived for so long was a working one.
const LIFE: Duration = Duration::from_secs(5);
/// So many websockets in a row that die at once, with a large message unacknowledged, died of it.
const STILLBORN: u32 = 6;

impl<E: LocalEnd> Driver<E> {
    pub(super) fn opened(&mut self, now: Now, opened: Opened) {
        let Opened { websocket, stream: Stream { url, token }, access } = opened;
        self.stream_url = url;
        self.access = access;
        self.link = Link::Up(websocket);
        self.opened_at = (now.instant, self.channel.progress());
        self.liveness = Liveness::new(now.instant, self.parts.settings.keepalive);
        self.channel.attach(now, token.reveal());
        if self.phase == Phase::Connected {
            self.resumed = true;
            let outage = now.instant.saturating_duration_since(self.outage.since());
            tracing::info!(session_id = self.session_id, ?outage, "resumed");
            (self.parts.notes)(&Note::Resumed(outage));
        }
    }

    /// The link, or an attempt to open it, has failed.
    pub(super) fn lost(&mut self, now: Now, error: AttemptError) -> Result<(), Failure> {
        if let Some(closing) = &mut self.closing {
            closing.link_gone();
            self.channel.detach(now);
            self.link = Link::Opening(Box::pin(std::future::pending()));
            return Ok(());
        }
        if self.link.websocket().is_some() {
            self.judge_life(now)?;
            self.channel.detach(now);
            if self.phase == Phase::Connected {
                tracing::info!(session_id = self.session_id, cause = %error, "link lost");
                (self.parts.notes)(&Note::Interrupted(error.to_string()));
            }
        } else {
            tracing::info!(session_id = self.session_id, %error, "cannot open the link");
            if self.phase != Phase::Connected {
                (self.parts.notes)(&Note::Retrying(error.to_string()));
            }
        }
        let established = self.phase == Phase::Connected;
        self.last_error = Some(error.to_string());
        if established && self.parts.settings.resume_window.is_zero() {
            return Err(lost(error.to_string()));
        }
        match self.outage.after(error, established, random::fraction()) {
            Next::RetryAfter(delay) => {
                self.link = Link::Opening(self.attempt(delay));
                Ok(())
            }
            Next::GiveUp(error) => {
                self.ended = error.says_gone();
                Err(self.final_failure(now, error))
            }
        }
    }

    /// Tells whether the websocket that is lost was a working one: then the outage begins now. If too many in a row
    /// were not, and a large message is what they have in common, the path has come to refuse its size.
    fn judge_life(&mut self, now: Now) -> Result<(), Failure> {
        let (opened, progress) = self.opened_at;
        if self.channel.progress() != progress || now.instant >= opened + LIFE {
            self.outage = Resume::new(now.instant);
            self.stillborn = 0;
            return Ok(());
        }
        let Some(size) = self.channel.oversized() else { return Ok(()) };
        self.stillborn += 1;
        if self.stillborn < STILLBORN {
            return Ok(());
        }
        self.path.refused(wall(), size);
        let cause = format!("every connection dies of a message of {size} bytes");
        Err(Failure::Lost { cause, suspected_size: Some(size) })
    }

    fn attempt(&self, delay: Duration) -> link::Attempt {
        let (aws, dialer) = (self.parts.aws.clone(), self.parts.dialer.clone());
        let (session_id, url) = (self.session_id.clone(), self.stream_url.clone());
        Box::pin(async move { link::reopen(&aws, dialer, &session_id, url, delay).await })
    }

    /// After sleep the websocket is dead and whatever was begun is stale: start over at once.
    pub(super) fn check_sleep(&mut self, now: Now) -> Result<(), Failure> {
        let Some(slept) = self.clock.slept() else { return Ok(()) };
        tracing::info!(?slept, "the machine has slept");
        if self.link.websocket().is_some() {
            self.lost(now, AttemptError::Lost("the machine has slept".to_owned()))?;
        } else if self.phase == Phase::Connected && self.closing.is_none() {
            self.link = Link::Opening(self.attempt(Duration::ZERO));
        }
        Ok(())
    }

    pub(super) fn check_link(&mut self, now: Now) -> Result<(), Failure> {
        if !self.reads() {
            self.liveness.suspend(now.instant);
        }
        let (waiting, round_trip) = (self.channel.is_waiting(), self.channel.round_trip_time());
        let Some(websocket) = self.link.websocket() else { return Ok(()) };
        match self.liveness.judge(now.instant, waiting, round_trip) {
            Verdict::Fine => Ok(()),
            Verdict::Ping => match websocket.ping() {
                Ok(()) => Ok(()),
                Err(error) => self.lost(now, AttemptError::Lost(error.0)),
            },
            Verdict::Dead(why) => self.lost(now, AttemptError::Lost(why.to_owned())),
        }
    }

    /// An agent that acknowledges nothing may be gone although the service is there: a fresh link tells, if the session
    /// is over; and it cannot go on so for longer than a link may be lost.
    pub(super) fn check_agent(&mut self, now: Now) -> Result<(), Failure> {
        let silence = self.parts.end.patience().zip(self.channel.stalled_since());
        let Some((patience, since)) = silence.filter(|_| self.closing.is_none()) else { return Ok(()) };
        if now.instant < since.max(self.heard_at).max(self.opened_at.0) + patience {
            return Ok(());
        }
        let window = self.parts.settings.resume_window.max(patience);
        if now.instant >= since + window {
            return Err(lost(format!("the agent has acknowledged nothing for {} s", window.as_secs())));
        }
        self.lost(now, AttemptError::Lost("the agent acknowledges nothing".to_owned()))
    }

    /// What a final answer to an attempt means for the user.
    fn final_failure(&self, now: Now, error: AttemptError) -> Failure {
        match error {
            AttemptError::Api(error) if error.meaning() == Meaning::AccessDenied => Failure::Api(error),
            AttemptError::Api(error) if error.meaning() == Meaning::DoesNotExist => {
                Failure::Lost { cause: error.to_string(), suspected_size: self.suspected_size(now) }
            }
            AttemptError::Gone => {
                let cause = "it has ended meanwhile".to_owned();
                Failure::Lost { cause, suspected_size: self.suspected_size(now) }
            }
            AttemptError::Api(error) => lost(error.to_string()),
            AttemptError::Host(error) => Failure::Host(error),
            AttemptError::Dial(error) => Failure::Dial(error),
            AttemptError::Lost(cause) => lost(cause),
        }
    }

    /// The message size that is to blame if the far side has just ended the session in the middle of a transfer; later
    /// sessions will not try it.
    pub(super) fn suspected_size(&self, now: Now) -> Option<usize> {
        let busy = self.parts.end.may_send() && !self.channel.is_flushed();
        let suspect = self.channel.suspected_size(now).filter(|_| busy)?;
        self.path.refused(wall(), suspect);
        Some(suspect)
    }
}

pub(super) fn lost(cause: String) -> Failure {
    Failure::Lost { cause, suspected_size: None }
}
