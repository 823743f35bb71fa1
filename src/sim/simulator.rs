//! A running simulator: one loopback listener for the API and the websockets.
//!
//! [`Simulator::start`] runs it on the current runtime, [`Simulator::spawn`] on a thread of its own, for tests that block
//! while a real `ssh` runs. Dropping it stops everything.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::sim::agent::{AgentConfig, Record};
use crate::sim::api::{self, Answer};
use crate::sim::config::{SimConfig, TlsIdentity};
use crate::sim::faults::{AgentLoss, CutKind, Faults};
use crate::sim::gateway;
use crate::sim::http::{read_request, respond};
use crate::sim::journal::{Event, Journal};
use crate::sim::mailbox::Control;
use crate::sim::sessions::{SessionInfo, SessionState};
use crate::sim::shared::{Shared, lock};
use crate::sim::sigv4::Credentials;
use crate::sim::tap::Tap;

const JSON: &str = "application/x-amz-json-1.1";
const NO_FILE: &str = if cfg!(windows) { "NUL" } else { "/dev/null" };

/// Variables that would lead a child process past the simulator.
pub const CLEARED_VARIABLES: [&str; 6] = [
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_CA_BUNDLE",
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
    /// Starts a simulator on the current runtime; it serves when this returns.
    ///
    /// # Errors
    /// The port cannot be had, or the TLS identity is not usable.
    pub async fn start(config: SimConfig) -> io::Result<Self> {
        let acceptor = config.tls.as_ref().map(acceptor).transpose()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, config.port)).await?;
        let shared = Arc::new(Shared::new(config, listener.local_addr()?));
        let serving = accept(shared.clone(), listener, acceptor);
        tokio::spawn(shared.stop.clone().run_until_cancelled_owned(serving));
        Ok(Self { shared, thread: None })
    }

    /// Starts a simulator on a thread of its own.
    ///
    /// # Errors
    /// Those of [`Simulator::start`], and those of starting a thread with a runtime.
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

    /// Returns the credentials in force.
    pub fn credentials(&self) -> Credentials {
        lock(&self.shared.keyring).current().clone()
    }

    /// Accepts other credentials from now on; the ones before are answered as expired.
    pub fn rotate_credentials(&self, next: Credentials) {
        lock(&self.shared.keyring).rotate(next);
    }

    /// Returns the environment that leads fumidai, the AWS CLI or an SDK here; see also [`CLEARED_VARIABLES`].
    pub fn environment(&self) -> Vec<(String, String)> {
        let credentials = self.credentials();
        let endpoint = self.endpoint();
        let mut environment = vec![
            ("AWS_ENDPOINT_URL_SSM", endpoint.clone()),
            // Nothing may leave the machine: other services are refused here.
            ("AWS_ENDPOINT_URL_EC2", endpoint.clone()),
            ("AWS_ENDPOINT_URL_ECS", endpoint.clone()),
            ("AWS_ENDPOINT_URL_STS", endpoint.clone()),
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

    /// Returns what goes wrong at present.
    pub fn faults(&self) -> Faults {
        self.shared.with_faults(|faults| faults.clone())
    }

    /// Changes what goes wrong, at once.
    pub fn change_faults(&self, change: impl FnOnce(&mut Faults)) {
        self.shared.with_faults(change);
        for session in lock(&self.shared.sessions).iter() {
            let _ = session.relay.control.send(Control::Reconsider);
        }
    }

    /// Changes the agents of the sessions that are started from now on, their version for one.
    pub fn change_agent(&self, change: impl FnOnce(&mut AgentConfig)) {
        change(&mut lock(&self.shared.agent));
    }

    /// Returns the list of what happened.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// Waits until an event satisfies the predicate, past events included.
    pub async fn wait_for(&self, predicate: impl Fn(&Event) -> bool) -> Event {
        self.shared.journal.wait_for(predicate).await
    }

    /// The same for a thread without a runtime; `None` when the time is up.
    pub fn wait_for_blocking(&self, timeout: Duration, predicate: impl Fn(&Event) -> bool) -> Option<Event> {
        self.shared.journal.wait_for_blocking(timeout, predicate)
    }

    /// Returns every session, the ended ones included.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        lock(&self.shared.sessions).iter().map(|session| session.info.clone()).collect()
    }

    /// Returns the sessions that nobody has ended: what a client leaks.
    pub fn open_sessions(&self) -> Vec<SessionInfo> {
        self.sessions().into_iter().filter(|info| info.state != SessionState::Terminated).collect()
    }

    /// Returns what the agent of a session saw so far.
    pub fn record(&self, session: &str) -> Option<Record> {
        lock(&self.shared.sessions).find(session).map(|session| session.record())
    }

    /// Cuts every client's websocket now.
    pub fn cut_all(&self, kind: CutKind) {
        for session in lock(&self.shared.sessions).iter() {
            let _ = session.relay.control.send(Control::Cut(kind));
        }
    }

    /// Ends a session as the service does on a timeout, with a text for the client.
    pub fn end_session(&self, session: &str, output: &str) {
        api::end_session(&self.shared, session, output);
    }

    /// Lets the agent of a session die, as a restart does; the session does not outlive it.
    pub fn lose_agent(&self, session: &str, loss: AgentLoss) {
        if let Some(session) = lock(&self.shared.sessions).find(session) {
            let _ = session.relay.control.send(Control::LoseAgent(loss));
        }
    }

    /// Sends raw bytes to the client of a session as one binary message.
    pub fn inject(&self, session: &str, message: Bytes) {
        if let Some(session) = lock(&self.shared.sessions).find(session) {
            let _ = session.relay.control.send(Control::Inject(message));
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

fn acceptor(identity: &TlsIdentity) -> io::Result<TlsAcceptor> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let certificates =
        CertificateDer::pem_slice_iter(identity.certificates_pem.as_bytes()).collect::<Result<_, _>>();
    let certificates = certificates.map_err(|error| invalid(format!("certificates: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes());
    let key = key.map_err(|error| invalid(format!("private key: {error}")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key));
    Ok(TlsAcceptor::from(Arc::new(config.map_err(|error| invalid(error.to_string()))?)))
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let serving = serve(shared.clone(), stream, acceptor.clone());
        let stop: CancellationToken = shared.stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a connection broke");
            }
        }));
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, acceptor: Option<TlsAcceptor>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut tap = match acceptor {
        Some(acceptor) => Tap::tls(acceptor.accept(stream).await?),
        None => Tap::plain(stream),
    };
    let mut buffer = BytesMut::new();
    while let Some(request) = read_request(&mut tap, &mut buffer).await? {
        if gateway::wants(&request) {
            return gateway::serve(&shared, tap, buffer, request).await;
        }
        match api::answer(&shared, &request) {
            Answer::Send { status, body, after } => {
                tokio::time::sleep(after).await;
                let headers =
                    [("content-type", JSON), ("x-amzn-requestid", "00000000-0000-4000-8000-000000000000")];
                respond(&mut tap, status, &headers, body.as_bytes()).await?;
            }
            Answer::Hang => std::future::pending().await,
            Answer::Disconnect => return Ok(()),
        }
        if request.has_token("connection", "close") {
            break;
        }
    }
    Ok(())
}
