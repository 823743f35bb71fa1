//! What a peer has sent and nobody has read yet.
//!
//! russh opens a channel's window again when bytes arrive, not when they are read, and waits for the slowest reader of
//! all. So each stream has a task that takes its bytes at once, up to [`MOST`]: a stream that stalls for longer than
//! that makes its hop wait, which [`Stalls`] tells, a shorter one only itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::ReadBuf;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::watcher::Shared;
use crate::clock;

/// What a stalled stream may hold, in bytes: two windows.
const MOST: usize = 4 * 1024 * 1024;

/// What a small packet costs beside its bytes.
const OVERHEAD: usize = 64;

/// Bytes on their way to a reader.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    taken: Notify,
}

#[derive(Default)]
struct State {
    packets: VecDeque<Bytes>,
    held: usize,
    end: Option<End>,
    reader: Option<Waker>,
}

/// Why there is nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer said so.
    Finished,
    /// The connection is gone.
    Cut,
}

impl Inbox {
    /// Fills a buffer; returns why it stays empty.
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Option<End>> {
        let mut state = self.lock();
        let Some(mut packet) = state.packets.pop_front() else {
            if state.end.is_none() {
                state.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            return Poll::Ready(state.end);
        };
        let length = packet.len().min(buf.remaining());
        buf.put_slice(&packet.split_to(length));
        state.held -= length;
        if packet.has_remaining() {
            state.packets.push_front(packet);
        } else {
            state.held -= OVERHEAD;
        }
        drop(state);
        self.taken.notify_one();
        Poll::Ready(None)
    }

    fn put(&self, packet: Bytes) {
        let mut state = self.lock();
        state.held += packet.len() + OVERHEAD;
        state.packets.push_back(packet);
        wake(state);
    }

    /// The first end is kept.
    fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        wake(state);
    }

    async fn has_room(&self, stalls: &Stalls) {
        if self.lock().held < MOST {
            return;
        }
        let _stalled = stalls.begin();
        while self.lock().held >= MOST {
            self.taken.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let reader = state.reader.take();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// The streams of a hop that are full: all others wait for their readers.
#[derive(Default)]
pub(super) struct Stalls(Mutex<Full>);

#[derive(Default)]
struct Full {
    streams: usize,
    since: Option<Instant>,
}

/// While this lives, a stream is full.
struct Stalled<'a>(&'a Stalls);

impl Stalls {
    fn begin(&self) -> Stalled<'_> {
        self.change(|full| {
            full.streams += 1;
            full.since.get_or_insert_with(clock::now);
        });
        Stalled(self)
    }

    /// Tells for how long there has been one at all times, if there is.
    pub fn longest(&self) -> Option<Duration> {
        self.change(|full| full.since).map(|since| clock::now() - since)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Full) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.change(|full| {
            full.streams -= 1;
            full.since = full.since.filter(|_| full.streams > 0);
        });
    }
}

/// Takes a channel's packets until its end, or until its stream is dropped; then closes it.
pub(super) async fn fill(
    inbox: Arc<Inbox>,
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
    shared: Arc<Shared>,
    closed: CancellationToken,
    dropped: CancellationToken,
) {
    tokio::select! {
        () = take_all(&inbox, reader, &shared.stalls) => closed.cancel(),
        () = dropped.cancelled() => {}
    }
    let _ = writer.close().await;
}

async fn take_all(inbox: &Inbox, mut reader: ChannelReadHalf, stalls: &Stalls) {
    loop {
        inbox.has_room(stalls).await;
        match reader.wait().await {
            Some(ChannelMsg::Data { data }) if !data.is_empty() => inbox.put(data),
            Some(ChannelMsg::Eof) => inbox.end(End::Finished),
            Some(ChannelMsg::Close) => return inbox.end(End::Finished),
            None => return inbox.end(End::Cut),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn read(inbox: &Inbox, room: usize) -> (Vec<u8>, Option<End>) {
        let mut bytes = vec![0; room];
        let mut buf = ReadBuf::new(&mut bytes);
        let end = poll_fn(|cx| inbox.poll_read(cx, &mut buf)).await;
        (buf.filled().to_vec(), end)
    }

    #[tokio::test]
    async fn bytes_come_in_order_and_before_the_end() {
        let inbox = Inbox::default();
        inbox.put(Bytes::from_static(b"hello"));
        inbox.put(Bytes::from_static(b"world"));
        inbox.end(End::Finished);
        inbox.end(End::Cut);
        for (room, expected) in [(3, "hel"), (9, "lo"), (9, "world")] {
            assert_eq!(read(&inbox, room).await, (expected.as_bytes().to_vec(), None));
        }
        assert_eq!(read(&inbox, 9).await, (Vec::new(), Some(End::Finished)));
        assert_eq!(inbox.lock().held, 0);
    }

    #[tokio::test]
    async fn a_full_inbox_waits_for_its_reader() {
        let (inbox, stalls) = (Inbox::default(), Stalls::default());
        inbox.put(vec![7; MOST].into());
        let read = async {
            assert!(stalls.longest().is_some());
            read(&inbox, MOST).await.0.len()
        };
        let ((), length) = tokio::join!(inbox.has_room(&stalls), read);
        assert_eq!((length, stalls.longest()), (MOST, None));
    }
}
