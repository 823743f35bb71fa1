//! Standard input and output joined to a stream within the process, such as a channel of a built-in ssh hop.
//!
//! The same promises as for a session of its own: end of input is a half-close, and what was read is delivered; a vanished
//! reader or a signal is the end; what was received is written.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until};

use super::signals::Interrupt;
use super::stdio::{self, Output};
use super::{Outcome, SessionError};

/// Bytes that are read at once, either way.
const CHUNK: usize = 32 << 10;
/// Received data that standard output has not taken; beyond it the stream is not read.
const RECEIVED_LIMIT: usize = 1 << 20;

/// Joins them until the peer has ended the stream, or has been silent for `linger` after the end of input; that time begins
/// once what was sent is `delivered`, which is only waited for after its last byte.
///
/// # Errors
/// [`SessionError::Stdio`]; a stream that breaks has ended.
pub(crate) async fn join<S: AsyncRead + AsyncWrite>(
    stream: S,
    linger: Duration,
    delivered: impl Future<Output = ()>,
) -> Result<Outcome, SessionError> {
    let failed = |error| SessionError::Stdio { what: "standard input or output", error };
    let (mut input, mut output) = stdio::open().map_err(failed)?;
    let (mut reader, mut writer) = split(Box::pin(stream));
    let mut buffer = vec![0; CHUNK];
    let mut to_send = Bytes::new();
    let mut delivered = pin!(delivered);
    let (mut input_ended, mut is_shut, mut is_delivered, mut peer_ended) = (false, false, false, false);
    let mut heard = Instant::now();
    while !(peer_ended && is_shut) {
        let wants_input = !input_ended && to_send.is_empty();
        let takes_more = output.queued() < RECEIVED_LIMIT;
        if !takes_more {
            // Silence means nothing while nobody listens.
            heard = Instant::now();
        }
        tokio::select! {
            read = input.read(CHUNK), if wants_input => match read {
                Ok(0) => input_ended = true,
                Ok(length) => to_send = Bytes::copy_from_slice(input.bytes(length)),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => input_ended = true,
                Err(error) => return Err(SessionError::Stdio { what: "standard input", error }),
            },
            sent = send(&mut writer, &to_send), if !to_send.is_empty() || (input_ended && !is_shut) => match sent {
                Ok(0) => is_shut = true,
                Ok(length) => to_send.advance(length),
                // The peer takes nothing more; what it has said is still read.
                Err(_) => {
                    to_send.clear();
                    (input_ended, is_shut, is_delivered, heard) = (true, true, true, Instant::now());
                }
            },
            () = &mut delivered, if is_shut && !is_delivered => (is_delivered, heard) = (true, Instant::now()),
            read = reader.read(&mut buffer), if takes_more && !peer_ended => match read {
                // Nobody answers any more: of the input, what was read is sent, and no more is read.
                Ok(0) | Err(_) => (peer_ended, input_ended) = (true, true),
                Ok(length) => {
                    heard = Instant::now();
                    output.push(&buffer[..length]);
                }
            },
            written = output.write() => if let Some(end) = of_written(written) { return end },
            () = sleep_until(heard + linger), if is_delivered && !peer_ended && output.queued() == 0 => break,
        }
    }
    write_out(&mut output).await
}

/// Sends some of the bytes, or after the last of them the end, which is nothing.
async fn send<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        writer.shutdown().await?;
        return Ok(0);
    }
    match writer.write(bytes).await? {
        0 => Err(ErrorKind::WriteZero.into()),
        length => Ok(length),
    }
}

async fn write_out(output: &mut Output) -> Result<Outcome, SessionError> {
    while output.queued() > 0 {
        tokio::select! {
            written = output.write() => if let Some(end) = of_written(written) { return end },
        }
    }
    Ok(Outcome::Done)
}

/// What a failed write to standard output means.
fn of_written(written: io::Result<()>) -> Option<Result<Outcome, SessionError>> {
    match written {
        Ok(()) => None,
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            Some(Ok(Outcome::Interrupted(Interrupt::ReaderGone)))
        }
        Err(error) => Some(Err(SessionError::Stdio { what: "standard output", error })),
    }
}
