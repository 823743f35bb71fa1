//! Standard input and output as the tunnel's local ends: exact bytes, cancel-safe, and nothing left behind.
//!
//! Pipes and sockets are driven by the reactor, with O_NONBLOCK for our time only. A terminal keeps its flags, which
//! it shares with the shell, and gets a thread. Files and devices are read and written plainly: they never wait.

use std::collections::VecDeque;
use std::io;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Takes standard input and output.
///
/// # Errors
/// When a descriptor cannot be used.
pub(crate) fn open() -> io::Result<(Input, Output)> {
    let (source, sink) = platform::open()?;
    let input = Input { source, buffer: vec![0; CHUNK] };
    Ok((input, Output { sink, chunks: VecDeque::new(), written: 0, queued: 0 }))
}

/// Standard input.
pub(crate) struct Input {
    source: platform::Source,
    buffer: Vec<u8>,
}

impl Input {
    /// Reads up to `limit` bytes, which [`Self::bytes`] then shows; 0 is the end. Dropping the future loses nothing.
    pub(crate) async fn read(&mut self, limit: usize) -> io::Result<usize> {
        let limit = limit.min(self.buffer.len());
        self.source.read(&mut self.buffer[..limit]).await
    }

    /// What the last read gave.
    pub(crate) fn bytes(&self, length: usize) -> &[u8] {
        &self.buffer[..length]
    }
}

/// Standard output with what waits for it, copied together: what arrives in crumbs shall not cost more than its bytes.
pub(crate) struct Output {
    sink: platform::Sink,
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that are written.
    written: usize,
    queued: usize,
}

impl Output {
    /// Puts bytes behind those that wait.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) {
        self.queued += bytes.len();
        while !bytes.is_empty() {
            let room = self.chunks.back().map_or(0, |chunk| CHUNK - chunk.len());
            if room == 0 {
                self.chunks.push_back(Vec::with_capacity(CHUNK));
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(chunk) = self.chunks.back_mut() {
                chunk.extend_from_slice(now);
            }
            bytes = later;
        }
    }

    /// Bytes that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        (self.written, self.queued) = (0, 0);
    }

    /// Writes some of what waits; waits for ever when nothing does. Dropping the future loses nothing.
    pub(crate) async fn write(&mut self) -> io::Result<()> {
        let Some(front) = self.chunks.front() else { return std::future::pending().await };
        let count = self.sink.write(&front[self.written..]).await?;
        self.written += count;
        self.queued -= count;
        if self.written == front.len() {
            self.written = 0;
            self.chunks.pop_front();
        }
        Ok(())
    }
}

#[cfg(unix)]
mod platform {
    use std::fs::File;
    use std::io::{self, IsTerminal, Read, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream as StdUnixStream;

    use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::net::unix::pipe;

    use super::threads::{ThreadSink, ThreadSource};

    pub(super) struct Source {
        end: SourceEnd,
        _flags: Flags,
    }

    enum SourceEnd {
        Pipe(pipe::Receiver),
        Socket(UnixStream),
        Plain(File),
        Terminal(ThreadSource),
    }

    pub(super) struct Sink {
        end: SinkEnd,
        _flags: Flags,
    }

    enum SinkEnd {
        Pipe(pipe::Sender),
        Socket(UnixStream),
        Plain(File),
        Terminal(ThreadSink),
    }

    /// Takes both ends; their flags are read before either is changed, since the ends may be one and the same socket.
    pub(super) fn open() -> io::Result<(Source, Sink)> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        let flags = (Flags::keep(&input)?, Flags::keep(&output)?);
        Ok((Source::new(input, flags.0)?, Sink::new(output, flags.1)?))
    }

    impl Source {
        fn new(fd: OwnedFd, flags: Flags) -> io::Result<Self> {
            let kind = kind(&fd)?;
            let end = if io::stdin().is_terminal() {
                SourceEnd::Terminal(ThreadSource::new(io::stdin())?)
            } else if kind.is_fifo() {
                SourceEnd::Pipe(pipe::Receiver::from_owned_fd(fd)?)
            } else if kind.is_socket() {
                SourceEnd::Socket(socket(fd)?)
            } else {
                SourceEnd::Plain(File::from(fd))
            };
            Ok(Self { end, _flags: flags })
        }

        pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match &mut self.end {
                SourceEnd::Pipe(pipe) => pipe.read(buffer).await,
                SourceEnd::Socket(socket) => socket.read(buffer).await,
                SourceEnd::Plain(file) => retry(|| file.read(buffer)),
                SourceEnd::Terminal(thread) => thread.read(buffer).await,
            }
        }
    }

    impl Sink {
        fn new(fd: OwnedFd, flags: Flags) -> io::Result<Self> {
            let kind = kind(&fd)?;
            let end = if io::stdout().is_terminal() {
                SinkEnd::Terminal(ThreadSink::new(io::stdout())?)
            } else if kind.is_fifo() {
                SinkEnd::Pipe(pipe::Sender::from_owned_fd(fd)?)
            } else if kind.is_socket() {
                SinkEnd::Socket(socket(fd)?)
            } else {
                SinkEnd::Plain(File::from(fd))
            };
            Ok(Self { end, _flags: flags })
        }

        pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match &mut self.end {
                SinkEnd::Pipe(pipe) => pipe.write(bytes).await,
                SinkEnd::Socket(socket) => socket.write(bytes).await,
                SinkEnd::Plain(file) => retry(|| file.write(bytes)),
                SinkEnd::Terminal(thread) => thread.write(bytes).await,
            }
        }
    }

    /// A descriptor's flags as they were: put back at the end, for whoever shares them.
    pub(super) struct Flags {
        fd: OwnedFd,
        flags: OFlags,
    }

    impl Flags {
        fn keep(fd: &OwnedFd) -> io::Result<Self> {
            let fd = fd.try_clone()?;
            let flags = fcntl_getfl(&fd)?;
            Ok(Self { fd, flags })
        }
    }

    impl Drop for Flags {
        fn drop(&mut self) {
            let _ = fcntl_setfl(&self.fd, self.flags);
        }
    }

    fn kind(fd: &OwnedFd) -> io::Result<FileType> {
        Ok(FileType::from_raw_mode(fstat(fd)?.st_mode))
    }

    /// A stream socket of any family: only reads and writes are asked of it.
    fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
        let socket = StdUnixStream::from(fd);
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket)
    }

    fn retry(mut work: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            match work() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::io;

    use super::threads::{ThreadSink, ThreadSource};

    pub(super) struct Source(ThreadSource);
    pub(super) struct Sink(ThreadSink);

    pub(super) fn open() -> io::Result<(Source, Sink)> {
        Ok((Source(ThreadSource::new(io::stdin())?), Sink(ThreadSink::new(io::stdout())?)))
    }

    impl Source {
        pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer).await
        }
    }

    impl Sink {
        pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes).await
        }
    }
}

/// Ends that only a blocking thread can serve. The threads are never joined: one may sit in a read for ever.
mod threads {
    use std::io::{self, Read, Write};
    use std::thread;

    use bytes::Bytes;
    use tokio::sync::mpsc::{self, Receiver, Sender};

    pub(super) struct ThreadSource {
        chunks: Receiver<io::Result<Bytes>>,
        rest: Bytes,
    }

    pub(super) struct ThreadSink {
        chunks: Sender<Bytes>,
        written: Receiver<io::Result<()>>,
        pending: Option<usize>,
    }

    impl ThreadSource {
        pub(super) fn new(mut source: impl Read + Send + 'static) -> io::Result<Self> {
            let (sender, chunks) = mpsc::channel(1);
            let work = move || {
                let mut buffer = [0; 8192];
                loop {
                    let read =
                        source.read(&mut buffer).map(|length| Bytes::copy_from_slice(&buffer[..length]));
                    let last = read.as_ref().map_or(true, Bytes::is_empty);
                    if sender.blocking_send(read).is_err() || last {
                        return;
                    }
                }
            };
            thread::Builder::new().name("stdin".to_owned()).spawn(work)?;
            Ok(Self { chunks, rest: Bytes::new() })
        }

        pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.rest.is_empty() {
                self.rest = self.chunks.recv().await.transpose()?.unwrap_or_default();
            }
            let taken = self.rest.split_to(self.rest.len().min(buffer.len()));
            buffer[..taken.len()].copy_from_slice(&taken);
            Ok(taken.len())
        }
    }

    impl ThreadSink {
        pub(super) fn new(mut sink: impl Write + Send + 'static) -> io::Result<Self> {
            let (chunks, mut queue) = mpsc::channel::<Bytes>(1);
            let (done, written) = mpsc::channel(1);
            let work = move || {
                while let Some(chunk) = queue.blocking_recv() {
                    let result = sink.write_all(&chunk).and_then(|()| sink.flush());
                    if done.blocking_send(result).is_err() {
                        return;
                    }
                }
            };
            thread::Builder::new().name("stdout".to_owned()).spawn(work)?;
            Ok(Self { chunks, written, pending: None })
        }

        /// Hands `bytes` over and waits until they are written; a dropped wait is taken up by the next call.
        pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
            if self.pending.is_none() {
                let slot = self.chunks.reserve().await.map_err(|_| gone())?;
                slot.send(Bytes::copy_from_slice(bytes));
                self.pending = Some(bytes.len());
            }
            self.written.recv().await.ok_or_else(gone)??;
            Ok(self.pending.take().unwrap_or_default())
        }
    }
}
