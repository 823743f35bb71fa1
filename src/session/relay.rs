//! Joins a local end to a remote one until both directions have ended.
//!
//! Each direction has one buffer. It reads, writes all of it, and only then reads on: a slow reader holds up its own
//! direction, loses nothing, and does not count as silence. An end of file is passed on as a half-close. The relay does
//! not know sessions, hops or signals: who wants to leave drops it, and a local socket is then reset.

mod direction;
mod peer_watch;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Sleep, sleep_until, timeout};

use crate::clock;

use self::direction::{Direction, DirectionState, Passed};
use self::peer_watch::PeerWatch;

/// How long a local client may take to close its side after the end of the remote one.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// The local side of a relay.
pub(crate) trait LocalStream: AsyncRead + AsyncWrite + Unpin {
    /// Decides what the peer sees when this is dropped, at the latest at the end of the process: a reset, as far as
    /// there is one, or an end in order.
    fn reset_on_drop(&self, _reset: bool) {}

    /// Returns what is known of the local client, without waiting.
    fn peer(&self) -> Peer {
        Peer::Unknown
    }
}

/// What is known of a local client.
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "only Linux reports what becomes of a client")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process has its end open; it may have ended its output.
    Open,
    /// No process has its end open.
    Closed,
    /// Its end is not on this machine, or does not exist any more.
    Missing,
    /// The system does not tell.
    Unknown,
}

/// What a relay allows its ends.
pub(crate) struct RelayPolicy<'a> {
    /// How long the remote end may be silent after the local end of file; `None` if it ends by itself.
    pub linger: Option<Duration>,
    /// That silence counts from when this resolves. It is polled from the local end of file on.
    pub delivered: Pin<Box<dyn Future<Output = ()> + 'a>>,
    /// How long the local end may be silent after the remote end of file.
    pub farewell: Duration,
    /// After its end of file, the local client is watched, and one that has closed ends the relay. For a client that was
    /// not [`Peer::Missing`] or [`Peer::Unknown`] at first.
    pub watches_peer: bool,
    /// Ends the relay. It is polled from the local end of file on.
    pub dismissed: Pin<Box<dyn Future<Output = ()> + 'a>>,
    /// A local end that takes nothing more ends the relay. Otherwise what it still sends is passed on.
    pub needs_reader: bool,
    /// Called with the bytes that were passed on.
    pub meter: &'a dyn Fn(Way, usize),
}

/// One of the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the local end to the remote one.
    Up,
    /// From the remote end to the local one.
    Down,
}

/// How a relay ended.
#[derive(Debug)]
pub(crate) enum RelayEnd {
    /// Both ends have ended in order, the silent one has had its time, or the local client needs no answer.
    Finished,
    /// The local end failed while it was read.
    LocalRead(io::Error),
    /// The local end took nothing more.
    LocalWrite(io::Error),
    /// The remote end failed, behind what was received of it. The local end was reset.
    Remote(io::Error),
}

/// Passes on what both ends send until both have ended, or one has failed or been silent for too long.
pub(crate) async fn relay<L, R>(local: L, remote: R, policy: RelayPolicy<'_>) -> RelayEnd
where
    L: LocalStream,
    R: AsyncRead + AsyncWrite + Unpin,
{
    local.reset_on_drop(true);
    let mut relay = Relay::new(local, remote, policy);
    let end = poll_fn(|cx| relay.poll(cx)).await;
    relay.local.reset_on_drop(!matches!(end, RelayEnd::Finished));
    end
}

/// Ends a local connection in order. It reads to the end of file first: closing a socket that has unread data in it
/// would take back what the local client has not read yet.
pub(crate) async fn close<L: LocalStream>(mut local: L) {
    let mut input = Direction::new(DirectionState::Discarding);
    let drain = async {
        local.shutdown().await?;
        poll_fn(|cx| input.poll(cx, &mut local, &mut tokio::io::sink(), |_| {})).await;
        io::Result::Ok(())
    };
    // A client that has closed needs no time, and one that has not has had it.
    let _ = timeout(FAREWELL, drain).await;
    local.reset_on_drop(false);
}

struct Relay<'a, L, R> {
    local: L,
    remote: R,
    up: Direction,
    down: Direction,
    policy: RelayPolicy<'a>,
    is_delivered: bool,
    /// When something last happened, as far as a time limit depends on it.
    moved_at: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    peer_watch: PeerWatch,
    /// Why the local end takes nothing more.
    deaf: Option<io::Error>,
}

impl<'a, L: LocalStream, R: AsyncRead + AsyncWrite + Unpin> Relay<'a, L, R> {
    fn new(local: L, remote: R, policy: RelayPolicy<'a>) -> Self {
        Self {
            local,
            remote,
            up: Direction::new(DirectionState::Reading),
            down: Direction::new(DirectionState::Reading),
            policy,
            is_delivered: false,
            moved_at: clock::now(),
            timer: None,
            peer_watch: PeerWatch::default(),
            deaf: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        while let Poll::Ready(end) = self.poll_directions(cx) {
            if let Some(end) = end {
                return Poll::Ready(end);
            }
        }
        if self.poll_unneeded(cx).is_ready() {
            return Poll::Ready(RelayEnd::Finished);
        }
        self.poll_limit(cx)
    }

    /// Ready when what the remote end sends has no reader, although nothing has failed.
    fn poll_unneeded(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.up.step != DirectionState::Ended {
            return Poll::Pending;
        }
        let is_dismissed = self.policy.dismissed.as_mut().poll(cx).is_ready();
        match self.policy.watches_peer {
            _ if is_dismissed => Poll::Ready(()),
            true => self.peer_watch.poll_closed(cx, &self.local),
            false => Poll::Pending,
        }
    }

    /// Moves what can be moved. Ready is one change of a direction's state, or the end.
    fn poll_directions(&mut self, cx: &mut Context<'_>) -> Poll<Option<RelayEnd>> {
        let Self { local, remote, up, down, policy, .. } = self;
        let mut has_moved = false;
        let mut count = |way, bytes| {
            has_moved = true;
            (policy.meter)(way, bytes);
        };
        let upward = up.poll(cx, local, remote, |bytes| count(Way::Up, bytes));
        let downward = down.poll(cx, remote, local, |bytes| count(Way::Down, bytes));
        if has_moved && self.limit().is_some() {
            self.moved_at = clock::now();
        }
        let end = match (upward, downward) {
            (Poll::Pending, Poll::Pending) => return Poll::Pending,
            (Poll::Ready(up), Poll::Pending) => self.after_up(up),
            (Poll::Pending, Poll::Ready(down)) => self.after_down(down),
            (Poll::Ready(up), Poll::Ready(down)) => self.after_down(down).or_else(|| self.after_up(up)),
        };
        self.moved_at = clock::now();
        Poll::Ready(end)
    }

    fn after_up(&mut self, passed: Passed) -> Option<RelayEnd> {
        match passed {
            Passed::End if self.down.step == DirectionState::Ended => Some(RelayEnd::Finished),
            Passed::End => self.deaf.take().map(RelayEnd::LocalWrite),
            Passed::ReadFailed(error) => Some(RelayEnd::LocalRead(error)),
            // What the remote end has sent is still delivered.
            Passed::WriteFailed(_) => {
                self.up.step = if self.down.step == DirectionState::Ended {
                    DirectionState::Discarding
                } else {
                    DirectionState::Stopped
                };
                None
            }
        }
    }

    fn after_down(&mut self, passed: Passed) -> Option<RelayEnd> {
        match passed {
            Passed::End => {
                if self.up.step == DirectionState::Stopped {
                    self.up.step = DirectionState::Discarding;
                }
                (self.up.step == DirectionState::Ended).then_some(RelayEnd::Finished)
            }
            Passed::ReadFailed(error) => Some(RelayEnd::Remote(error)),
            Passed::WriteFailed(error) => {
                let is_last = matches!(self.up.step, DirectionState::Ended | DirectionState::Stopped);
                if is_last || self.policy.needs_reader {
                    return Some(RelayEnd::LocalWrite(error));
                }
                self.down.step = DirectionState::Discarding;
                self.deaf = Some(error);
                None
            }
        }
    }

    /// How long nothing may move now.
    fn limit(&self) -> Option<Duration> {
        match (self.up.step, self.down.step) {
            (DirectionState::Reading | DirectionState::Discarding, DirectionState::Ended) => {
                Some(self.policy.farewell)
            }
            (DirectionState::Ended | DirectionState::Stopped, DirectionState::Reading) => self.policy.linger,
            _ => None,
        }
    }

    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        if self.up.step == DirectionState::Ended && !self.is_delivered {
            ready!(self.policy.delivered.as_mut().poll(cx));
            (self.is_delivered, self.moved_at) = (true, clock::now());
        }
        let Some(limit) = self.limit() else { return Poll::Pending };
        loop {
            let due = self.moved_at + limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due.into())));
            // A timer that fires too early costs less than one that is set anew with every byte.
            if timer.deadline() > due.into() {
                timer.as_mut().reset(due.into());
            }
            ready!(timer.as_mut().poll(cx));
            if clock::now() >= due {
                return Poll::Ready(RelayEnd::Finished);
            }
            timer.as_mut().reset(due.into());
        }
    }
}

#[cfg(test)]
mod tests;
