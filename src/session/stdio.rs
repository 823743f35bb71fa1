//! Standard input and output as the tunnel's local ends: exact bytes, cancel-safe, and nothing left behind.
//!
//! Pipes and sockets are driven by the reactor, with O_NONBLOCK for our time only. A terminal keeps its flags, which
//! it shares with the shell, and gets a thread. Files and devices are read and written plainly: they never wait.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Standard input.
pub(crate) struct Input {
    source: platform::Source,
    buffer: Vec<u8>,
}

impl Input {
    /// Takes standard input.
    ///
    /// # Errors
    /// When the descriptor cannot be used.
    pub(crate) fn stdin() -> io::Result<Self> {
        Ok(Self { source: platform::Source::stdin()?, buffer: vec![0; CHUNK] })
    }

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

/// Standard output with what waits for it.
pub(crate) struct Output {
    sink: platform::Sink,
    queue: VecDeque<Bytes>,
    queued: usize,
}

impl Output {
    /// Takes standard output.
    ///
    /// # Errors
    /// When the descriptor cannot be used.
    pub(crate) fn stdout() -> io::Result<Self> {
        Ok(Self { sink: platform::Sink::stdout()?, queue: VecDeque::new(), queued: 0 })
    }

    /// Puts bytes behind those that wait.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Bytes that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }

    /// Writes some of what waits; waits for ever when nothing does. Dropping the future loses nothing.
    pub(crate) async fn write(&mut self) -> io::Result<()> {
        let Some(front) = self.queue.front_mut() else { return std::future::pending().await };
        let written = self.sink.write(front).await?;
        self.queued -= written;
        if written == front.len() {
            self.queue.pop_front();
        } else {
            *front = front.slice(written..);
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

    use bytes::Bytes;
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

    impl Source {
        pub(super) fn stdin() -> io::Result<Self> {
            let fd = io::stdin().as_fd().try_clone_to_owned()?;
            let (flags, kind) = (Flags::keep(&fd)?, kind(&fd)?);
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
        pub(super) fn stdout() -> io::Result<Self> {
            let fd = io::stdout().as_fd().try_clone_to_owned()?;
            let (flags, kind) = (Flags::keep(&fd)?, kind(&fd)?);
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

        pub(super) async fn write(&mut self, bytes: &Bytes) -> io::Result<usize> {
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

    use bytes::Bytes;

    use super::threads::{ThreadSink, ThreadSource};

    pub(super) struct Source(ThreadSource);
    pub(super) struct Sink(ThreadSink);

    impl Source {
        pub(super) fn stdin() -> io::Result<Self> {
            Ok(Self(ThreadSource::new(io::stdin())?))
        }

        pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer).await
        }
    }

    impl Sink {
        pub(super) fn stdout() -> io::Result<Self> {
            Ok(Self(ThreadSink::new(io::stdout())?))
        }

        pub(super) async fn write(&mut self, bytes: &Bytes) -> io::Result<usize> {
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
        pub(super) async fn write(&mut self, bytes: &Bytes) -> io::Result<usize> {
            let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
            if self.pending.is_none() {
                let slot = self.chunks.reserve().await.map_err(|_| gone())?;
                slot.send(bytes.clone());
                self.pending = Some(bytes.len());
            }
            self.written.recv().await.ok_or_else(gone)??;
            Ok(self.pending.take().unwrap_or_default())
        }
    }
}
