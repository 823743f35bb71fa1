//! What ends a session from outside: signals, and a standard output that nobody reads any more.

use std::io;

/// Why we must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// A signal, by its number.
    Signal(u8),
    /// Nobody reads our standard output.
    ReaderGone,
}

#[cfg(unix)]
pub(crate) use self::unix::Interrupts;
#[cfg(windows)]
pub(crate) use self::windows::Interrupts;

#[cfg(unix)]
mod unix {
    use std::os::fd::AsFd;
    use std::thread;

    use rustix::event::{PollFd, PollFlags, poll};
    use tokio::signal::unix::{Signal, SignalKind, signal};
    use tokio::sync::oneshot;

    use super::{Interrupt, io};

    /// Signal numbers, the same on every Unix.
    const HANGUP: u8 = 1;
    const INTERRUPT: u8 = 2;
    const TERMINATE: u8 = 15;

    /// The sources of interrupts, listened to from creation on.
    pub(crate) struct Interrupts {
        hangup: Signal,
        interrupt: Signal,
        terminate: Signal,
        /// Listened to so that it does not stop us: a stopped ProxyCommand freezes its ssh.
        _stop: Option<Signal>,
        reader_gone: Option<oneshot::Receiver<()>>,
    }

    impl Interrupts {
        /// Starts to listen.
        ///
        /// # Errors
        /// When the system refuses a signal handler.
        pub(crate) fn listen() -> io::Result<Self> {
            let listen = |number: u8| signal(SignalKind::from_raw(i32::from(number)));
            let stop = rustix::process::Signal::TSTP.as_raw();
            Ok(Self {
                hangup: listen(HANGUP)?,
                interrupt: listen(INTERRUPT)?,
                terminate: listen(TERMINATE)?,
                _stop: signal(SignalKind::from_raw(stop)).ok(),
                reader_gone: Some(watch_reader()?),
            })
        }

        /// Waits for the next interrupt.
        pub(crate) async fn next(&mut self) -> Interrupt {
            let reader_gone = async {
                let told = match &mut self.reader_gone {
                    Some(gone) => gone.await.is_ok(),
                    None => false,
                };
                if !told {
                    std::future::pending::<()>().await;
                }
            };
            let interrupt = tokio::select! {
                _ = self.hangup.recv() => Interrupt::Signal(HANGUP),
                _ = self.interrupt.recv() => Interrupt::Signal(INTERRUPT),
                _ = self.terminate.recv() => Interrupt::Signal(TERMINATE),
                () = reader_gone => Interrupt::ReaderGone,
            };
            if interrupt == Interrupt::ReaderGone {
                self.reader_gone = None;
            }
            interrupt
        }
    }

    /// Tells when standard output has no reader. With no event asked for, `poll` returns for an error or a hang-up
    /// only, and for a file never; the thread ends with the process.
    fn watch_reader() -> io::Result<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let watch = move || loop {
            let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
            match poll(&mut fds, None) {
                Ok(_) if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
                    let _ = sender.send(());
                    return;
                }
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => return,
            }
        };
        thread::Builder::new().name("stdout watch".to_owned()).spawn(watch)?;
        Ok(receiver)
    }
}

#[cfg(windows)]
mod windows {
    use super::{Interrupt, io};

    /// The source of interrupts: Ctrl-C. A vanished reader shows when we write.
    pub(crate) struct Interrupts(());

    impl Interrupts {
        /// Starts to listen.
        ///
        /// # Errors
        /// Never on this platform.
        pub(crate) fn listen() -> io::Result<Self> {
            Ok(Self(()))
        }

        /// Waits for the next interrupt.
        pub(crate) async fn next(&mut self) -> Interrupt {
            match tokio::signal::ctrl_c().await {
                Ok(()) => Interrupt::Signal(2),
                Err(_) => std::future::pending().await,
            }
        }
    }
}
