//! Bytes that a peer has sent and the client has not yet read.
//!
//! russh extends a channel's window when bytes arrive, not when they are read. If one channel's queue is full, russh
//! stops reading for all channels. Therefore each stream has a task that moves its bytes into a buffer of
//! [`CAPACITY`] bytes. A stream that is not read stops the whole hop only when its buffer is full; [`Stalls`] records
//! that.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::ReadBuf;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::handler::Shared;
use super::stalls::Stalls;

/// Capacity of one stream's buffer in bytes: two windows.
const CAPACITY: usize = 4 * 1024 * 1024;

/// Memory of a packet besides its payload, in bytes.
const OVERHEAD: usize = 64;

/// The buffer between the channel's task and the stream's reader.
#[derive(Default)]
pub(super) struct ReceiveBuffer {
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

/// Why no more bytes will arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer sent EOF.
    Finished,
    /// The connection was cut.
    Cut,
}

impl ReceiveBuffer {
    /// Reads into `buf`; returns the reason if no more bytes will arrive.
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

    /// Records the end; later calls have no effect.
    fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        wake(state);
    }

    async fn has_room(&self, stalls: &Stalls) {
        if self.lock().held < CAPACITY {
            return;
        }
        let _stalled = stalls.begin();
        while self.lock().held >= CAPACITY {
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

/// Moves a channel's packets into the buffer until the channel ends or the stream is dropped; then closes the
/// channel.
pub(super) async fn fill(
    buffer: Arc<ReceiveBuffer>,
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<Msg>,
    shared: Arc<Shared>,
    closed: CancellationToken,
    dropped: CancellationToken,
) {
    tokio::select! {
        () = take_all(&buffer, reader, &shared.stalls) => closed.cancel(),
        () = dropped.cancelled() => {}
    }
    let _ = writer.close().await;
}

async fn take_all(buffer: &ReceiveBuffer, mut reader: ChannelReadHalf, stalls: &Stalls) {
    loop {
        buffer.has_room(stalls).await;
        match reader.wait().await {
            Some(ChannelMsg::Data { data }) if !data.is_empty() => buffer.put(data),
            Some(ChannelMsg::Eof) => buffer.end(End::Finished),
            Some(ChannelMsg::Close) => return buffer.end(End::Finished),
            None => return buffer.end(End::Cut),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn read(buffer: &ReceiveBuffer, room: usize) -> (Vec<u8>, Option<End>) {
        let mut bytes = vec![0; room];
        let mut buf = ReadBuf::new(&mut bytes);
        let end = poll_fn(|cx| buffer.poll_read(cx, &mut buf)).await;
        (buf.filled().to_vec(), end)
    }

    #[tokio::test]
    async fn bytes_are_read_in_order_and_before_the_end() {
        let buffer = ReceiveBuffer::default();
        buffer.put(Bytes::from_static(b"hello"));
        buffer.put(Bytes::from_static(b"world"));
        buffer.end(End::Finished);
        buffer.end(End::Cut);
        for (room, expected) in [(3, "hel"), (9, "lo"), (9, "world")] {
            assert_eq!(read(&buffer, room).await, (expected.as_bytes().to_vec(), None));
        }
        assert_eq!(read(&buffer, 9).await, (Vec::new(), Some(End::Finished)));
        assert_eq!(buffer.lock().held, 0);
    }

    #[tokio::test]
    async fn a_full_buffer_waits_for_its_reader() {
        let (buffer, stalls) = (ReceiveBuffer::default(), Stalls::default());
        buffer.put(vec![7; CAPACITY].into());
        let read = async {
            assert!(stalls.longest().is_some());
            read(&buffer, CAPACITY).await.0.len()
        };
        let ((), length) = tokio::join!(buffer.has_room(&stalls), read);
        assert_eq!((length, stalls.longest()), (CAPACITY, None));
    }
}
