//! The pools of a proxy, one for each destination, and what serves the connections of a listener.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;

use super::connection::{ClientConnection, Unopened};
use super::listener::{Accepted, Listener};
use super::proxy::{self, Asked};
use super::{HopDialer, Pool, Traffic};

/// Makes the pool of a destination.
type Make = Box<dyn Fn(&Asked) -> Rc<Pool>>;

/// The pools.
pub struct Pools {
    make: Make,
    most: usize,
    /// How long a local client waits for its turn.
    open_timeout: Duration,
    pools: RefCell<HashMap<Asked, Rc<Pool>>>,
}

impl Pools {
    /// Keeps at most `most` destinations at once; the one that has been idle for longest is closed for another.
    pub fn new(make: Make, most: usize, open_timeout: Duration) -> Rc<Self> {
        Rc::new(Self { make, most, open_timeout, pools: RefCell::default() })
    }

    /// Reads where the local client wants to go, and gives its connection to the pool for that.
    async fn serve(self: Rc<Self>, mut socket: tokio::net::TcpStream, from: String) {
        let (asked, answer) = match proxy::read_request(&mut socket).await {
            Ok(request) => request,
            Err(error) => return proxy::turn_away(socket, &from, &error).await,
        };
        let accepted = clock::now();
        let connection = ClientConnection::new(socket, from, Some(answer));
        match timeout_at((accepted + self.open_timeout).into(), self.pool_of(&asked)).await {
            Ok(pool) => pool.take(connection, accepted),
            Err(_) => {
                tracing::info!(?asked, "no destination became idle in time");
                connection.reject(Unopened::Failed).await;
            }
        }
    }

    async fn pool_of(&self, asked: &Asked) -> Rc<Pool> {
        loop {
            if let Some(pool) = self.find_or_make(asked) {
                return pool;
            }
            let busy: Vec<Rc<Pool>> = self.pools.borrow().values().cloned().collect();
            select_all(busy.iter().map(|pool| Box::pin(pool.changed()))).await;
        }
    }

    fn find_or_make(&self, asked: &Asked) -> Option<Rc<Pool>> {
        let mut pools = self.pools.borrow_mut();
        pools.retain(|other, pool| pool.is_open() || pool.is_held_off() || other == asked);
        let known = pools.get(asked).cloned();
        if let Some(pool) = known.as_ref().filter(|pool| pool.is_open()) {
            return Some(pool.clone());
        }
        if pools.values().filter(|pool| pool.is_open()).count() >= self.most {
            let idle = pools.iter().filter(|(_, pool)| pool.is_open() && pool.is_idle());
            let longest = idle.min_by_key(|(_, pool)| pool.idle_since()).map(|(asked, _)| asked.clone())?;
            pools.remove(&longest)?.close_idle();
        }
        let pool = known.unwrap_or_else(|| (self.make)(asked));
        pools.insert(asked.clone(), pool.clone());
        Some(pool)
    }
}

/// What serves the connections of a listener.
#[derive(Clone)]
pub enum Upstream {
    /// The sessions to one destination.
    Pool(Rc<Pool>),
    /// A proxy: the sessions to the destination that each client asks for.
    Pools(Rc<Pools>),
    /// A hop, which makes a connection for each.
    Hop(HopDialer),
}

impl Upstream {
    /// Takes a listener's connections until `leave` is cancelled.
    pub async fn serve(
        self,
        listener: &Listener,
        traffic: &Traffic,
        leave: CancellationToken,
        tasks: TaskTracker,
    ) {
        loop {
            let (accepted, from) = tokio::select! {
                accepted = listener.accept(&traffic.half_closed) => accepted,
                () = leave.cancelled() => return,
            };
            let now = clock::now();
            traffic.accepted.set(traffic.accepted.get() + 1);
            match (&self, accepted) {
                (Self::Pool(pool), Accepted::Tcp(socket)) => {
                    pool.take(ClientConnection::new(socket, from, None), now)
                }
                #[cfg(unix)]
                (Self::Pool(pool), Accepted::Unix(socket)) => {
                    pool.take(ClientConnection::new(socket, from, None), now)
                }
                (Self::Pools(pools), Accepted::Tcp(socket)) => {
                    spawn(&tasks, &leave, pools.clone().serve(socket, from));
                }
                (Self::Hop(dialer), Accepted::Tcp(socket)) => {
                    spawn(&tasks, &leave, dialer.clone().serve_tcp(socket, from));
                }
                #[cfg(unix)]
                (Self::Hop(dialer), Accepted::Unix(socket)) => {
                    spawn(&tasks, &leave, dialer.clone().serve(socket, from));
                }
                // A proxy listens on TCP only.
                #[cfg(unix)]
                (Self::Pools(_), Accepted::Unix(_)) => {}
            }
        }
    }
}

fn spawn(tasks: &TaskTracker, leave: &CancellationToken, work: impl Future<Output = ()> + 'static) {
    let leave = leave.clone();
    tasks.spawn_local(async move { leave.run_until_cancelled_owned(work).await });
}
