//! Watches a local client that has ended its output: the system does not report that it closes its socket after that.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::{LocalStream, Peer};

/// A client that closes sends its end of file a moment before its socket loses its owner.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Pauses double up to this one.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The watch.
#[derive(Default)]
pub(super) struct PeerWatch {
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl PeerWatch {
    /// Ready when the client, whose end existed before, has closed.
    pub fn poll_closed<L: LocalStream>(&mut self, cx: &mut Context<'_>, local: &L) -> Poll<()> {
        loop {
            if let Some((_, timer)) = &mut self.pause {
                ready!(timer.as_mut().poll(cx));
            }
            if matches!(local.peer(), Peer::Closed | Peer::Missing) {
                return Poll::Ready(());
            }
            let next = self.pause.take().map_or(FIRST_PAUSE, |(pause, _)| (pause * 2).min(LONGEST_PAUSE));
            self.pause = Some((next, Box::pin(sleep(next))));
        }
    }
}
