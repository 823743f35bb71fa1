//! The connections through the hops that all local clients of a forward share: opened at the first use, opened again when
//! lost, and a second one at most while a stream that is not read stalls the first.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::jump::{HopStream, JumpError};

use super::{HoldOff, HopConnection, Reach, ReachError};

/// The limit of connections at once.
const MOST_CONNECTIONS: usize = 2;

/// The pool.
pub struct HopPool {
    reach: Reach,
    /// With the times when they were opened.
    open: RefCell<Vec<(Instant, Rc<HopConnection>)>>,
    /// When the last attempt failed, and why.
    failed: RefCell<Option<(Instant, Rc<ReachError>)>>,
    /// Held by the caller that opens a connection.
    opening: Mutex<()>,
    hold_off: HoldOff,
}

impl HopPool {
    /// Opens nothing yet.
    pub fn new(reach: Reach) -> Rc<Self> {
        let hold_off = HoldOff::new(reach.route().config.session.connect_timeout);
        Rc::new(Self {
            reach,
            open: RefCell::default(),
            failed: RefCell::default(),
            opening: Mutex::default(),
            hold_off,
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
    pub async fn open(&self) -> Result<(), Rc<ReachError>> {
        self.connection().await.map(drop)
    }

    /// Opens a stream from the last hop. A connection that turns out to be lost is replaced once.
    ///
    /// # Errors
    /// [`ReachError`]
    pub async fn dial(&self, host: &str, port: u16) -> Result<HopStream, Rc<ReachError>> {
        let mut connection = self.connection().await?;
        let mut opened = connection.open(host, port).await;
        if let Err(JumpError::Ended { .. }) = opened {
            connection = self.connection().await?;
            opened = connection.open(host, port).await;
        }
        if let Err(JumpError::Timeout { .. }) = opened {
            connection.check().await;
        }
        opened.map_err(|error| Rc::new(error.into()))
    }

    /// Disconnects once `leave` is cancelled.
    pub async fn close_after(self: Rc<Self>, leave: CancellationToken) {
        leave.cancelled().await;
        let open = self.open.take();
        // The process is ending: errors of the sessions have no reader.
        let open = open.into_iter().filter_map(|(_, one)| Rc::into_inner(one));
        join_all(open.map(|one| one.close(true))).await;
    }

    /// Returns a connection. One caller opens it, the others wait for it; they share its failure too. If none can be
    /// opened now, a stalled connection is better than none.
    async fn connection(&self) -> Result<Rc<HopConnection>, Rc<ReachError>> {
        let asked = clock::now();
        if let Some(connection) = self.usable() {
            return Ok(connection);
        }
        let _opening = self.opening.lock().await;
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
        self.connect().await.or_else(|error| self.stalled().ok_or(error))
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
