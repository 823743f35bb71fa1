//! What the tasks of one simulator share.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::sim::access_requests::AccessRequests;
use crate::sim::agent::{AgentConfig, Status};
use crate::sim::clock;
use crate::sim::config::SimConfig;
use crate::sim::faults::Faults;
use crate::sim::journal::{Journal, SimEvent};
use crate::sim::rng::Rng;
use crate::sim::sessions::{SessionState, Sessions};
use crate::sim::sigv4::Keyring;

/// The account of every ARN.
pub(super) const ACCOUNT: &str = "123456789012";

pub(super) struct Shared {
    pub config: SimConfig,
    pub address: SocketAddr,
    pub keyring: Mutex<Keyring>,
    pub agent: Mutex<AgentConfig>,
    pub sessions: Mutex<Sessions>,
    pub access_requests: Mutex<AccessRequests>,
    pub rng: Mutex<Rng>,
    pub journal: Journal,
    pub stop: CancellationToken,
    faults: Mutex<Faults>,
}

impl Shared {
    pub fn new(config: SimConfig, address: SocketAddr) -> Self {
        Self {
            address,
            keyring: Mutex::new(Keyring::new(config.credentials.clone())),
            agent: Mutex::new(config.agent.clone()),
            sessions: Mutex::default(),
            access_requests: Mutex::default(),
            rng: Mutex::new(Rng::new(config.seed)),
            journal: Journal::new(clock::now()),
            stop: CancellationToken::new(),
            faults: Mutex::new(config.faults.clone()),
            config,
        }
    }

    /// Spawns a task that ends with the simulator.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(task));
    }

    pub fn with_faults<T>(&self, use_them: impl FnOnce(&mut Faults) -> T) -> T {
        use_them(&mut lock(&self.faults))
    }

    pub fn note(&self, event: SimEvent) {
        self.journal.note(clock::now(), event);
    }

    pub fn set_state(&self, session: &str, state: SessionState) {
        lock(&self.sessions).set_state(session, state);
    }

    pub fn is_ended(&self, session: &str) -> bool {
        lock(&self.sessions).find(session).is_none_or(|session| session.info.end.is_some())
    }

    /// Marks a session as ended; a second call has no effect.
    pub fn end(&self, session: &str, status: Status, output: &str) {
        if lock(&self.sessions).end(session, status, output, clock::unix_s()) {
            self.note(SimEvent::Ended { session: session.to_owned(), status, output: output.to_owned() });
        }
    }

    /// Returns the ARN of the one principal.
    pub fn caller_arn(&self) -> String {
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/simulated/{}", self.config.principal)
    }

    pub fn target_of(&self, session: &str) -> String {
        lock(&self.sessions).find(session).map(|session| session.info.target.clone()).unwrap_or_default()
    }

    /// Returns the URL of the API, as `http://127.0.0.1:1234`.
    pub fn endpoint(&self) -> String {
        let scheme = if self.config.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.config.hostname, self.address.port())
    }

    /// Returns the URL of the websockets, without path.
    pub fn stream_endpoint(&self) -> String {
        self.endpoint().replacen("http", "ws", 1)
    }
}

/// Locks a mutex; its value stays valid even if a task panicked while it held the lock.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
