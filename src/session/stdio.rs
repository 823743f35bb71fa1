//! Standard input and output as one stream: exact bytes, and nothing left behind.
//!
//! Pipes and sockets are driven by the reactor, with O_NONBLOCK for our time only. A terminal keeps its flags, which
//! it shares with the shell, and gets a thread. Files and devices are read and written plainly: they never wait.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::relay::LocalStream;

/// Standard input and output.
pub(crate) struct Stdio {
    input: platform::Source,
    output: platform::Sink,
}

impl Stdio {
    /// Takes both.
    ///
    /// # Errors
    /// When a descriptor cannot be used.
    pub(crate) fn open() -> io::Result<Self> {
        let (input, output) = platform::open()?;
        Ok(Self { input, output })
    }
}

impl LocalStream for Stdio {}

impl AsyncRead for Stdio {
    /// The peer of a socket may reset it when it has nothing more to send: for us its input has ended.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.input.poll_read(cx, buf));
        Poll::Ready(read.or_else(|error| match error.kind() == ErrorKind::ConnectionReset {
            true => Ok(()),
            false => Err(error),
        }))
    }
}

impl AsyncWrite for Stdio {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.output.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_flush(cx)
    }

    /// Standard output ends with the process.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(unix)]
mod platform {
    use std::fs::File;
    use std::io::{self, IsTerminal, Read, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream as StdUnixStream;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    use tokio::net::UnixStream;
    use tokio::net::unix::pipe;

    use super::threads::{ThreadSink, ThreadSource};

    pub(super) struct Source {
        end: SourceEnd,
        _flags: StatusFlags,
    }

    enum SourceEnd {
        Pipe(pipe::Receiver),
        Socket(UnixStream),
        Plain(File),
        Terminal(ThreadSource),
    }

    pub(super) struct Sink {
        end: SinkEnd,
        _flags: StatusFlags,
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
        let flags = (StatusFlags::keep(&input)?, StatusFlags::keep(&output)?);
        Ok((Source::new(input, flags.0)?, Sink::new(output, flags.1)?))
    }

    impl Source {
        fn new(fd: OwnedFd, flags: StatusFlags) -> io::Result<Self> {
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

        pub(super) fn poll_read(
            &mut self,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            match &mut self.end {
                SourceEnd::Pipe(pipe) => Pin::new(pipe).poll_read(cx, buf),
                SourceEnd::Socket(socket) => Pin::new(socket).poll_read(cx, buf),
                SourceEnd::Plain(file) => {
                    let length = retry(|| file.read(buf.initialize_unfilled()))?;
                    buf.advance(length);
                    Poll::Ready(Ok(()))
                }
                SourceEnd::Terminal(thread) => thread.poll_read(cx, buf),
            }
        }
    }

    impl Sink {
        fn new(fd: OwnedFd, flags: StatusFlags) -> io::Result<Self> {
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

        pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            match &mut self.end {
                SinkEnd::Pipe(pipe) => Pin::new(pipe).poll_write(cx, bytes),
                SinkEnd::Socket(socket) => Pin::new(socket).poll_write(cx, bytes),
                SinkEnd::Plain(file) => Poll::Ready(retry(|| file.write(bytes))),
                SinkEnd::Terminal(thread) => thread.poll_write(cx, bytes),
            }
        }

        pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match &mut self.end {
                SinkEnd::Pipe(_) | SinkEnd::Socket(_) | SinkEnd::Plain(_) => Poll::Ready(Ok(())),
                SinkEnd::Terminal(thread) => thread.poll_flush(cx),
            }
        }
    }

    /// A descriptor's flags as they were: put back at the end, for the processes that share them.
    pub(super) struct StatusFlags {
        fd: OwnedFd,
        flags: OFlags,
    }

    impl StatusFlags {
        fn keep(fd: &OwnedFd) -> io::Result<Self> {
            let fd = fd.try_clone()?;
            let flags = fcntl_getfl(&fd)?;
            Ok(Self { fd, flags })
        }
    }

    impl Drop for StatusFlags {
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
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::threads::{ThreadSink, ThreadSource};

    pub(super) struct Source(ThreadSource);
    pub(super) struct Sink(ThreadSink);

    pub(super) fn open() -> io::Result<(Source, Sink)> {
        Ok((Source(ThreadSource::new(io::stdin())?), Sink(ThreadSink::new(io::stdout())?)))
    }

    impl Source {
        pub(super) fn poll_read(
            &mut self,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.0.poll_read(cx, buf)
        }
    }

    impl Sink {
        pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.poll_write(cx, bytes)
        }

        pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.poll_flush(cx)
        }
    }
}

/// Ends that only a blocking thread can serve. The threads are never joined: one may never return from its read.
mod threads {
    use std::io::{self, Read, Write};
    use std::task::{Context, Poll, ready};
    use std::thread;

    use bytes::Bytes;
    use tokio::io::ReadBuf;
    use tokio::sync::mpsc::{self, Receiver, Sender};

    /// What a thread takes at once.
    const CHUNK: usize = 64 << 10;

    pub(super) struct ThreadSource {
        chunks: Receiver<io::Result<Bytes>>,
        rest: Bytes,
    }

    pub(super) struct ThreadSink {
        chunks: Sender<Bytes>,
        written: Receiver<io::Result<()>>,
        /// The thread has a chunk that it has not reported yet.
        is_writing: bool,
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

        pub(super) fn poll_read(
            &mut self,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.rest.is_empty() {
                self.rest = ready!(self.chunks.poll_recv(cx)).transpose()?.unwrap_or_default();
            }
            let taken = self.rest.split_to(self.rest.len().min(buf.remaining()));
            buf.put_slice(&taken);
            Poll::Ready(Ok(()))
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
            Ok(Self { chunks, written, is_writing: false })
        }

        /// Hands bytes to the thread, once it has written those before; their failure is reported here.
        pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            ready!(self.poll_flush(cx))?;
            let chunk = Bytes::copy_from_slice(&bytes[..bytes.len().min(CHUNK)]);
            let length = chunk.len();
            // The queue is empty: the thread has reported everything that it was given.
            self.chunks.try_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.is_writing = true;
            Poll::Ready(Ok(length))
        }

        pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.is_writing {
                return Poll::Ready(Ok(()));
            }
            let result = ready!(self.written.poll_recv(cx));
            self.is_writing = false;
            Poll::Ready(result.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into())))
        }
    }

    #[cfg(test)]
    mod tests {
        use std::future::poll_fn;

        use super::*;

        /// Fails its first write.
        struct Stumbling(Option<io::ErrorKind>);

        impl Write for Stumbling {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.take().map_or(Ok(bytes.len()), |kind| Err(kind.into()))
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        #[tokio::test]
        async fn a_failed_write_is_reported_once_and_the_next_one_works() {
            let mut sink = ThreadSink::new(Stumbling(Some(io::ErrorKind::Other))).unwrap();
            assert_eq!(poll_fn(|cx| sink.poll_write(cx, b"one")).await.unwrap(), 3);
            assert_eq!(poll_fn(|cx| sink.poll_flush(cx)).await.unwrap_err().kind(), io::ErrorKind::Other);
            assert_eq!(poll_fn(|cx| sink.poll_write(cx, b"two")).await.unwrap(), 3);
            poll_fn(|cx| sink.poll_flush(cx)).await.unwrap();
        }

        #[tokio::test]
        async fn a_source_is_read_in_pieces_of_any_size() {
            let mut source = ThreadSource::new(&b"hello"[..]).unwrap();
            let mut received = Vec::new();
            loop {
                let mut room = [0; 2];
                let mut buf = ReadBuf::new(&mut room);
                poll_fn(|cx| source.poll_read(cx, &mut buf)).await.unwrap();
                if buf.filled().is_empty() {
                    break;
                }
                received.extend_from_slice(buf.filled());
            }
            assert_eq!(received, b"hello");
        }
    }
}
