//! What ends a session from outside: signals, and a standard output without a reader.
//!
//! A signal that was ignored when the process started stays ignored, as in ssh: under `nohup`, SIGHUP ends nothing.

use std::io;

/// Why we must leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// A signal, by its number.
    Signal(u8),
    /// The reader of standard output has closed it.
    ReaderGone,
}

impl Interrupt {
    /// Returns true for what Ctrl-C and Ctrl-\ send: SIGINT and SIGQUIT.
    pub(crate) fn is_of_keys(self) -> bool {
        matches!(self, Self::Signal(INTERRUPT | QUIT))
    }
}

/// Signal numbers, the same on every Unix.
const INTERRUPT: u8 = 2;
const QUIT: u8 = 3;

#[cfg(unix)]
pub(crate) use self::unix::Interrupts;
#[cfg(windows)]
pub(crate) use self::windows::Interrupts;

#[cfg(unix)]
mod unix {
    use std::future::pending;
    use std::os::fd::AsFd;
    use std::thread;

    use rustix::event::{PollFd, PollFlags, poll};
    use tokio::signal::unix::{Signal, SignalKind, signal};
    use tokio::sync::oneshot;

    use super::super::ignored::Ignored;
    use super::{INTERRUPT, Interrupt, QUIT, io};

    /// Signal numbers, the same on every Unix.
    const HANGUP: u8 = 1;
    const TERMINATE: u8 = 15;

    /// The sources of interrupts, listened to from creation on.
    pub(crate) struct Interrupts {
        hangup: Source,
        interrupt: Source,
        quit: Source,
        terminate: Source,
        /// Listened to so that it does not stop us: a stopped ProxyCommand freezes its ssh.
        _stop: Option<Signal>,
        reader: ReaderWatch,
    }

    /// A signal that ends us, unless it was ignored when we started.
    struct Source(Option<Signal>);

    impl Source {
        async fn recv(&mut self) {
            match &mut self.0 {
                Some(signal) => {
                    signal.recv().await;
                }
                None => pending().await,
            }
        }
    }

    /// The watch over the reader of standard output, until it has ended.
    struct ReaderWatch(Option<oneshot::Receiver<()>>);

    impl ReaderWatch {
        /// Waits until standard output has no reader. Never returns if that cannot be observed.
        async fn gone(&mut self) {
            if let Some(watch) = &mut self.0 {
                let is_gone = watch.await.is_ok();
                self.0 = None;
                if is_gone {
                    return;
                }
            }
            pending().await
        }
    }

    impl Interrupts {
        /// Starts to listen, as a program in a pipe: if the reader of standard output exits, the session ends, and the
        /// terminal's stop key does not stop us.
        ///
        /// # Errors
        /// When the system refuses a signal handler.
        pub(crate) fn listen() -> io::Result<Self> {
            let stop = rustix::process::Signal::TSTP.as_raw();
            let stop = signal(SignalKind::from_raw(stop)).ok();
            Ok(Self { _stop: stop, reader: ReaderWatch(Some(watch_reader()?)), ..Self::signals()? })
        }

        /// Starts to listen to the signals that end a program.
        ///
        /// # Errors
        /// When the system refuses a signal handler.
        pub(crate) fn signals() -> io::Result<Self> {
            let ignored = Ignored::inherited();
            let listen = |number: u8| {
                let number = Some(number).filter(|number| !ignored.has(*number));
                let signal = number.map(|number| signal(SignalKind::from_raw(i32::from(number))));
                signal.transpose().map(Source)
            };
            Ok(Self {
                hangup: listen(HANGUP)?,
                interrupt: listen(INTERRUPT)?,
                quit: listen(QUIT)?,
                terminate: listen(TERMINATE)?,
                _stop: None,
                reader: ReaderWatch(None),
            })
        }

        /// Waits for the next interrupt.
        pub(crate) async fn next(&mut self) -> Interrupt {
            tokio::select! {
                () = self.hangup.recv() => Interrupt::Signal(HANGUP),
                () = self.interrupt.recv() => Interrupt::Signal(INTERRUPT),
                () = self.quit.recv() => Interrupt::Signal(QUIT),
                () = self.terminate.recv() => Interrupt::Signal(TERMINATE),
                () = self.reader.gone() => Interrupt::ReaderGone,
            }
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

    #[cfg(test)]
    mod tests {
        use futures_util::poll;

        use super::*;

        #[tokio::test(flavor = "current_thread")]
        async fn a_reader_that_is_gone_is_reported_once() {
            let (sender, receiver) = oneshot::channel();
            let mut watch = ReaderWatch(Some(receiver));
            sender.send(()).unwrap();
            watch.gone().await;
            assert!(poll!(Box::pin(watch.gone())).is_pending());
        }

        #[tokio::test(flavor = "current_thread")]
        async fn a_watch_that_ended_without_an_answer_is_not_asked_again() {
            let mut watch = ReaderWatch(Some(oneshot::channel().1));
            for _ in 0..2 {
                assert!(poll!(Box::pin(watch.gone())).is_pending());
            }
        }
    }
}

#[cfg(windows)]
mod windows {
    use tokio::signal::windows::{CtrlBreak, CtrlC, CtrlClose, ctrl_break, ctrl_c, ctrl_close};

    use super::{Interrupt, io};

    /// The sources of interrupts, listened to from creation on. A vanished reader shows when we write.
    pub(crate) struct Interrupts {
        c: CtrlC,
        break_: CtrlBreak,
        close: CtrlClose,
    }

    impl Interrupts {
        /// Starts to listen.
        ///
        /// # Errors
        /// When the system refuses a handler.
        pub(crate) fn listen() -> io::Result<Self> {
            Ok(Self { c: ctrl_c()?, break_: ctrl_break()?, close: ctrl_close()? })
        }

        /// The same: no other sources are known here.
        ///
        /// # Errors
        /// When the system refuses a handler.
        pub(crate) fn signals() -> io::Result<Self> {
            Self::listen()
        }

        /// Waits for the next interrupt, and names it by the signal of other systems.
        pub(crate) async fn next(&mut self) -> Interrupt {
            tokio::select! {
                _ = self.c.recv() => Interrupt::Signal(2),
                _ = self.break_.recv() => Interrupt::Signal(15),
                _ = self.close.recv() => Interrupt::Signal(1),
            }
        }
    }
}
