//! The connections through the hops that all local clients of a forward share: opened at the first use, opened again when
//! lost, and a second one at most while a stream that is not read stalls the first.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::jump::{HopStream, JumpError};

use super::{HoldOff, HopConnection, Reach, ReachError};

/// The limit of connections at once.
const MOST_CONNECTIONS: usize = 2;
/// Connections through a bastion without streams are closed after this time, so that the bastion is stopped.
const IDLE: Duration = Duration::from_secs(60);
/// The same for machines that nothing stops.
const UNUSED: Duration = Duration::from_secs(300);

/// The pool.
pub struct HopPool {
    reach: Reach,
    /// With the times when they were opened.
    open: RefCell<Vec<(Instant, Rc<HopConnection>)>>,
    /// When the last attempt failed, and why.
    failed: RefCell<Option<(Instant, Rc<ReachError>)>>,
    /// Held while a connection is opened.
    opening: Arc<Mutex<()>>,
    /// Everything is to end.
    leave: CancellationToken,
    hold_off: HoldOff,
    use_count: watch::Sender<usize>,
}

/// A stream from the last hop.
pub struct PooledStream {
    stream: HopStream,
    _in_use: InUse,
}

/// Counts a stream until it is dropped.
struct InUse(watch::Sender<usize>);

impl InUse {
    fn count(counter: &watch::Sender<usize>) -> Self {
        counter.send_modify(|count| *count += 1);
        Self(counter.clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl AsyncRead for PooledStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PooledStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl HopPool {
    /// Opens nothing yet. Connections are closed once `leave` is cancelled.
    pub fn new(reach: Reach, leave: CancellationToken) -> Rc<Self> {
        let hold_off = HoldOff::new(reach.route().config.session.connect_timeout);
        Rc::new(Self {
            reach,
            open: RefCell::default(),
            failed: RefCell::default(),
            opening: Arc::default(),
            leave,
            hold_off,
            use_count: watch::Sender::new(0),
        })
    }

    /// Asks ssh for the settings of all hops, so that an error in ssh_config is reported before the first connection.
    ///
    /// # Errors
    /// [`ReachError::HopSettings`]
    pub async fn check_settings(&self) -> Result<(), ReachError> {
        self.reach.check_settings().await
    }

    /// Connects through the hops unless that is done.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn open(self: &Rc<Self>) -> Result<(), Rc<ReachError>> {
        self.connection().await.map(drop)
    }

    /// Opens a stream from the last hop. A connection that turns out to be lost is replaced once.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn dial(self: &Rc<Self>, host: &str, port: u16) -> Result<PooledStream, Rc<ReachError>> {
        let _in_use = InUse::count(&self.use_count);
        let mut connection = self.connection().await?;
        let mut opened = connection.open(host, port).await;
        if let Err(JumpError::Ended { .. }) = opened {
            connection = self.connection().await?;
            opened = connection.open(host, port).await;
        }
        if let Err(JumpError::Timeout { .. }) = opened {
            connection.check().await;
        }
        let stream = opened.map_err(|error| Rc::new(error.into()))?;
        Ok(PooledStream { stream, _in_use })
    }

    /// Disconnects at the end, and also if there has been no stream for some time.
    pub async fn close_in_time(self: Rc<Self>) {
        let limit = self.idle_limit();
        while let Some(limit) = limit.filter(|_| !self.leave.is_cancelled()) {
            tokio::select! {
                () = self.idle(limit) => self.close_all().await,
                () = self.leave.cancelled() => {}
            }
        }
        self.leave.cancelled().await;
        self.close_all().await;
    }

    /// Returns when the connections are closed that have no stream.
    fn idle_limit(&self) -> Option<Duration> {
        let usual = if self.reach.is_guarded() { IDLE } else { UNUSED };
        let limit = self.reach.route().config.session.idle_close.unwrap_or(usual);
        (limit > Duration::ZERO).then_some(limit)
    }

    /// Waits until there are connections, and no stream has been open for so long.
    async fn idle(&self, limit: Duration) {
        let mut uses = self.use_count.subscribe();
        loop {
            let is_idle = *uses.borrow_and_update() == 0 && !self.open.borrow().is_empty();
            tokio::select! {
                () = sleep(limit), if is_idle => return,
                // The pool has the sender itself.
                _ = uses.changed() => {}
            }
        }
    }

    async fn close_all(&self) {
        let open = self.open.take();
        // The process is ending: errors of the sessions have no reader.
        let open = open.into_iter().filter_map(|(_, one)| Rc::into_inner(one));
        join_all(open.map(|one| one.close(true))).await;
    }

    /// Returns a connection. One caller opens it, the others wait for it; they share its failure too. If none can be
    /// opened now, a stalled connection is better than none.
    async fn connection(self: &Rc<Self>) -> Result<Rc<HopConnection>, Rc<ReachError>> {
        let asked = clock::now();
        if let Some(connection) = self.usable() {
            return Ok(connection);
        }
        let opening = self.opening.clone().lock_owned().await;
        if let Some(connection) = self.usable() {
            return Ok(connection);
        }
        if let Some(error) = self.failed_since(asked) {
            return self.stalled().ok_or(error);
        }
        if let Some(until) = self.hold_off.until() {
            if let Some(connection) = self.stalled().filter(|_| self.hold_off.is_active(asked)) {
                return Ok(connection);
            }
            sleep_until(until.into()).await;
        }
        self.connect_detached(opening).await.or_else(|error| self.stalled().ok_or(error))
    }

    /// Connects in a task of its own: if the caller's client leaves, the attempt goes on, so that its result counts for the
    /// next caller and for the pause.
    async fn connect_detached(
        self: &Rc<Self>,
        opening: OwnedMutexGuard<()>,
    ) -> Result<Rc<HopConnection>, Rc<ReachError>> {
        let pool = self.clone();
        let attempt = self.reach.spawn(async move {
            let _opening = opening;
            tokio::select! {
                connected = pool.connect() => Some(connected),
                () = pool.leave.cancelled() => None,
            }
        });
        match attempt.await {
            Ok(Some(connected)) => connected,
            // The process is ending, and with it the caller.
            Ok(None) | Err(_) => pending().await,
        }
    }

    async fn connect(&self) -> Result<Rc<HopConnection>, Rc<ReachError>> {
        match self.reach.connect_hops().await {
            Ok(connection) => {
                self.hold_off.succeeded();
                let connection = Rc::new(connection);
                self.open.borrow_mut().push((clock::now(), connection.clone()));
                Ok(connection)
            }
            Err(error) => {
                let (now, error) = (clock::now(), Rc::new(error));
                self.hold_off.failed(now);
                self.failed.replace(Some((now, error.clone())));
                Err(error)
            }
        }
    }

    /// Returns a connection that is not stalled, or any if there may be no more. Forgets those that are lost.
    fn usable(&self) -> Option<Rc<HopConnection>> {
        let mut open = self.open.borrow_mut();
        for (opened, _) in open.extract_if(.., |(_, one)| one.is_lost()) {
            self.hold_off.lost(opened, clock::now());
        }
        let free = open.iter().find(|(_, one)| !one.is_stalled());
        let any = open.first().filter(|_| open.len() >= MOST_CONNECTIONS);
        free.or(any).map(|(_, one)| one.clone())
    }

    fn stalled(&self) -> Option<Rc<HopConnection>> {
        self.open.borrow().iter().find(|(_, one)| !one.is_lost()).map(|(_, one)| one.clone())
    }

    fn failed_since(&self, asked: Instant) -> Option<Rc<ReachError>> {
        let failed = self.failed.borrow();
        failed.as_ref().filter(|(at, _)| *at >= asked).map(|(_, error)| error.clone())
    }
}
