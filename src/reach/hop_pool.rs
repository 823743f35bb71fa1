//! The connections through the hops that all local clients of a forward share: opened at the first use, opened again when
//! lost, and a second one at most while a stream that is not read stalls the first.

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
    connections: Mutex<Connections>,
    hold_off: HoldOff,
}

#[derive(Default)]
struct Connections {
    /// With the times when they were opened.
    open: Vec<(Instant, Rc<HopConnection>)>,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, Rc<ReachError>)>,
}

impl HopPool {
    /// Opens nothing yet.
    pub fn new(reach: Reach) -> Rc<Self> {
        let hold_off = HoldOff::new(reach.route().config.session.connect_timeout);
        Rc::new(Self { reach, connections: Mutex::default(), hold_off })
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
        let open = std::mem::take(&mut self.connections.lock().await.open);
        // The process is ending: errors of the sessions have no reader.
        let open = open.into_iter().filter_map(|(_, one)| Rc::into_inner(one));
        join_all(open.map(|one| one.close(true))).await;
    }

    /// Returns a connection. One caller opens it, the others wait for it; they share its failure too.
    async fn connection(&self) -> Result<Rc<HopConnection>, Rc<ReachError>> {
        let asked = clock::now();
        let mut connections = self.connections.lock().await;
        self.forget_lost(&mut connections.open);
        let free = connections.open.iter().find(|(_, one)| !one.is_stalled());
        let any = connections.open.first().filter(|_| connections.open.len() >= MOST_CONNECTIONS);
        if let Some((_, connection)) = free.or(any) {
            return Ok(connection.clone());
        }
        if let Some((_, error)) = connections.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        if let Some(until) = self.hold_off.until() {
            sleep_until(until.into()).await;
        }
        match self.reach.connect_hops().await {
            Ok(connection) => {
                self.hold_off.succeeded();
                let connection = Rc::new(connection);
                connections.open.push((clock::now(), connection.clone()));
                Ok(connection)
            }
            Err(error) => {
                self.hold_off.failed(clock::now());
                let error = Rc::new(error);
                connections.failed = Some((clock::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn forget_lost(&self, open: &mut Vec<(Instant, Rc<HopConnection>)>) {
        let now = clock::now();
        for (opened, _) in open.extract_if(.., |(_, one)| one.is_lost()) {
            self.hold_off.lost(opened, now);
        }
    }
}
