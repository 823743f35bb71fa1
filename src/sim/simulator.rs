//! A running simulator: one loopback listener for the API and the websockets.
//!
//! [`Simulator::start`] runs it on the current runtime, [`Simulator::spawn`] on a separate thread, for tests that block
//! while a real `ssh` runs. Dropping the simulator stops it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::sim::agent::{AgentConfig, Record};
use crate::sim::api;
use crate::sim::config::SimConfig;
use crate::sim::faults::{AgentLoss, CutKind, Faults};
use crate::sim::journal::{Journal, SimEvent};
use crate::sim::relay_handle::Control;
use crate::sim::server::{accept, tls_acceptor};
use crate::sim::sessions::{SessionInfo, SessionState};
use crate::sim::shared::{Shared, lock};
use crate::sim::sigv4::Credentials;

const NO_FILE: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

/// Variables that a child process must not have, because they override the simulator's endpoint or credentials.
pub const CLEARED_VARIABLES: [&str; 9] = [
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_CA_BUNDLE",
    "FUMIDAI_ENDPOINT_URL",
    "FUMIDAI_PROFILE",
    "FUMIDAI_REGION",
];

/// A running simulator.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Simulator {
    /// Starts a simulator on the current runtime; it accepts connections when this returns.
    ///
    /// # Errors
    /// The port cannot be bound, or the TLS identity is not valid.
    pub async fn start(config: SimConfig) -> io::Result<Self> {
        let acceptor = config.tls.as_ref().map(tls_acceptor).transpose()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
        let listener = TcpListener::bind(address).await;
        let listener = listener
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        let shared = Arc::new(Shared::new(config, listener.local_addr()?));
        shared.spawn(accept(shared.clone(), listener, acceptor));
        Ok(Self { shared, thread: None })
    }

    /// Starts a simulator on a separate thread.
    ///
    /// # Errors
    /// Those of [`Simulator::start`]; the thread or its runtime cannot be started.
    pub fn spawn(config: SimConfig) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut simulator = runtime.block_on(Self::start(config))?;
        let stop = simulator.shared.stop.clone();
        let thread = std::thread::Builder::new().name("fumidai-sim".to_owned());
        simulator.thread = Some(thread.spawn(move || {
            runtime.block_on(stop.cancelled());
            runtime.shutdown_background();
        })?);
        Ok(simulator)
    }

    /// Returns the API's address, as `http://127.0.0.1:1234`.
    pub fn endpoint(&self) -> String {
        self.shared.endpoint()
    }

    /// Returns the address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Returns the current credentials.
    pub fn credentials(&self) -> Credentials {
        lock(&self.shared.keyring).current().clone()
    }

    /// Replaces the credentials; the previous ones count as expired.
    pub fn rotate_credentials(&self, next: Credentials) {
        lock(&self.shared.keyring).rotate(next);
    }

    /// Returns the environment with which fumidai, the AWS CLI or an SDK uses this simulator. The caller must also remove
    /// [`CLEARED_VARIABLES`].
    pub fn environment(&self) -> Vec<(String, String)> {
        let credentials = self.credentials();
        let endpoint = self.endpoint();
        let mut environment = vec![
            ("AWS_ENDPOINT_URL_SSM", endpoint.clone()),
            // Calls of services that are not simulated are refused here, so that none reaches AWS.
            ("AWS_ENDPOINT_URL_EC2", endpoint.clone()),
            ("AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT", endpoint.clone()),
            ("AWS_ENDPOINT_URL_ECS", endpoint.clone()),
            ("AWS_ENDPOINT_URL_STS", endpoint.clone()),
            ("AWS_ENDPOINT_URL_IAM", endpoint.clone()),
            ("AWS_ENDPOINT_URL_SFN", endpoint.clone()),
            ("AWS_ENDPOINT_URL_CLOUDFORMATION", endpoint.clone()),
            ("AWS_ENDPOINT_URL_CLOUDTRAIL", endpoint.clone()),
            ("AWS_ENDPOINT_URL_REDSHIFT", endpoint.clone()),
            ("AWS_ENDPOINT_URL_REDSHIFT_SERVERLESS", endpoint.clone()),
            ("AWS_ENDPOINT_URL_SSMMESSAGES", endpoint),
            ("AWS_ACCESS_KEY_ID", credentials.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key),
            ("AWS_REGION", self.shared.config.region.clone()),
            ("AWS_DEFAULT_REGION", self.shared.config.region.clone()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", NO_FILE.to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", NO_FILE.to_owned()),
            ("NO_PROXY", "127.0.0.1,localhost".to_owned()),
        ];
        environment.extend(credentials.session_token.map(|token| ("AWS_SESSION_TOKEN", token)));
        environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Changes the faults; the change has effect at once.
    pub fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        self.shared.with_faults(change);
        for session in lock(&self.shared.sessions).iter() {
            let _ = session.relay.control.send(Control::FaultsChanged);
        }
    }

    /// Changes the agents of future sessions.
    pub fn change_agent(&self, change: impl FnOnce(&mut AgentConfig)) {
        change(&mut lock(&self.shared.agent));
    }

    /// Returns the journal.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// Waits for an event that satisfies the predicate; past events count.
    pub async fn wait_for(&self, predicate: impl Fn(&SimEvent) -> bool) -> SimEvent {
        self.shared.journal.wait_for(predicate).await
    }

    /// Does the same for a thread without a runtime; returns `None` after the timeout.
    pub fn wait_for_blocking(
        &self,
        timeout: Duration,
        predicate: impl Fn(&SimEvent) -> bool,
    ) -> Option<SimEvent> {
        self.shared.journal.wait_for_blocking(timeout, predicate)
    }

    /// Returns every session, the ended ones included.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        lock(&self.shared.sessions).iter().map(|session| session.info.clone()).collect()
    }

    /// Returns the sessions that have not ended.
    pub fn open_sessions(&self) -> Vec<SessionInfo> {
        self.sessions().into_iter().filter(|info| info.state != SessionState::Terminated).collect()
    }

    /// Returns the record of a session's agent.
    pub fn record(&self, session: &str) -> Option<Record> {
        lock(&self.shared.sessions).find(session).map(|session| session.record())
    }

    /// Cuts every client's websocket now.
    pub fn cut_all(&self, kind: CutKind) {
        for session in lock(&self.shared.sessions).iter() {
            let _ = session.relay.control.send(Control::Cut(kind));
        }
    }

    /// Ends a session as the service does on a timeout; `output` is the text for the client.
    pub fn end_session(&self, session: &str, output: &str) {
        api::end_session(&self.shared, session, output);
    }

    /// Stops the agent of a session without notice, as a restart of the agent does.
    pub fn lose_agent(&self, session: &str, loss: AgentLoss) {
        if let Some(session) = lock(&self.shared.sessions).find(session) {
            let _ = session.relay.control.send(Control::LoseAgent(loss));
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
