//! The ssh connection to a hop: key exchange, login, and direct-tcpip channels.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use russh::client::{self, Handle, Msg};
use russh::{Channel, Disconnect, Preferred, SshId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::abortable::AbortableStream;
use super::auth::Login;
use super::error::{Ending, HopStep, HostKeyFacts, JumpError};
use super::handler::{ClientHandler, Shared};
use super::host_key::HostKeys;
use super::pausable_timer::PausableTimer;
use super::prompt::Prompter;
use super::settings::HopSettings;
use super::stream::HopStream;

/// Receive window of a channel in bytes: 200 ms at 10 MB/s.
const WINDOW: u32 = 2 * 1024 * 1024;

/// Maximum packet size in bytes, as OpenSSH sends it.
const MAX_PACKET: u32 = 32 * 1024;

/// Packets of one channel that russh queues. Small, because the stream's receive buffer takes them at once.
const WAITING_PACKETS: usize = 8;

/// The originator that OpenSSH sends for a connection from its standard input.
const ORIGINATOR: (&str, u32) = ("127.0.0.1", 65535);

/// How long [`SshConnection::disconnect`] waits for a peer that has stopped reading.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A logged-in ssh connection to a hop. Its streams outlive it: dropping the last of them closes the connection.
pub struct SshConnection {
    name: String,
    login: LoginFacts,
    handle: Arc<Handle<ClientHandler>>,
    shared: Arc<Shared>,
    abort: CancellationToken,
    /// Time limit for opening a channel.
    connect_timeout: Duration,
}

/// How a hop was logged in to. The version is untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginFacts {
    /// The first line of the server, such as `SSH-2.0-OpenSSH_9.2`.
    pub version: String,
    /// Its host key, which was accepted.
    pub host_key: Option<Box<HostKeyFacts>>,
    /// The user.
    pub user: String,
    /// What the server accepted: `key ED25519 SHA256:… (FILE)`, `password`, `none`.
    pub method: String,
}

/// Exchanges keys with the sshd at the other end of a stream, and logs in. If the future fails or is dropped, the
/// stream is aborted.
///
/// # Errors
/// The host key is not accepted, authentication fails, a step times out, or the stream fails.
pub async fn connect<S>(
    stream: S,
    settings: &HopSettings,
    prompter: &dyn Prompter,
) -> Result<SshConnection, JumpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (timer, shared) = (PausableTimer::default(), Arc::new(Shared::new()));
    let abort = CancellationToken::new();
    let guard = abort.clone().drop_guard();
    let stream = AbortableStream::new(stream, &abort);
    let exchange = exchange_keys(stream, settings, prompter, &timer, &shared);
    let exchanged = timer.limit(settings.connect_timeout, exchange).await;
    let mut handle = exchanged.map_err(|_| JumpError::Timeout {
        hop: settings.name.clone(),
        step: HopStep::KeyExchange,
        after: settings.connect_timeout,
    })??;
    let method = Login::new(&mut handle, &shared, settings, prompter, &timer).run().await?;
    tracing::info!(hop = settings.name, user = settings.user, "logged in");
    guard.disarm();
    let handle = Arc::new(handle);
    Ok(SshConnection {
        name: settings.name.clone(),
        login: LoginFacts {
            version: shared.version.get().cloned().unwrap_or_default(),
            host_key: shared.host_key.get().cloned(),
            user: settings.user.clone(),
            method,
        },
        handle,
        shared,
        abort,
        connect_timeout: settings.connect_timeout,
    })
}

impl SshConnection {
    /// Returns how it was logged in to.
    pub fn login(&self) -> &LoginFacts {
        &self.login
    }

    /// Opens a TCP connection from the hop to `host`, which the hop resolves.
    ///
    /// # Errors
    /// The hop refuses or fails to connect, the request times out, or the ssh connection has ended.
    pub async fn open(&self, host: &str, port: u16) -> Result<HopStream, JumpError> {
        let (sender, opened) = oneshot::channel();
        let (hop, host) = (self.name.clone(), host.to_owned());
        tokio::spawn(open_channel(self.handle.clone(), self.shared.clone(), host.clone(), port, sender));
        match timeout(self.connect_timeout, opened).await {
            Ok(Ok(Ok(channel))) => Ok(HopStream::new(channel, self.shared.clone())),
            Ok(Ok(Err(OpenFailure::Refused(reason)))) => {
                Err(JumpError::ChannelRefused { hop, host, port, reason })
            }
            Ok(Ok(Err(OpenFailure::Ended)) | Err(_)) => {
                Err(JumpError::Ended { hop, ending: self.ended().await })
            }
            Err(_) => {
                let step = HopStep::Dial { host, port };
                Err(JumpError::Timeout { hop, step, after: self.connect_timeout })
            }
        }
    }

    /// Sends a keepalive request and waits for the reply, or for the end of the connection. The reply confirms that
    /// the hop has received everything that was sent before.
    pub async fn ping(&self) {
        // sshd answers requests in order. Any reply will do.
        let _ = self.handle.send_ping().await;
    }

    /// Aborts the connection to a hop that has stopped answering.
    pub fn abort(&self) {
        self.shared.end(Ending::Failed("the hop does not answer".to_owned()));
        self.abort.cancel();
    }

    /// Returns for how long one stream's full receive buffer has blocked all others, if one does.
    pub fn stalled_for(&self) -> Option<Duration> {
        self.shared.stalls.longest()
    }

    /// Waits until the connection has ended, and returns the reason.
    pub async fn ended(&self) -> Ending {
        self.shared.ended.cancelled().await;
        self.shared.ending().cloned().unwrap_or(Ending::Closed)
    }

    /// Returns how the connection has ended as an error, or `None` while it is open.
    pub fn lost(&self) -> Option<JumpError> {
        let ending = self.ended().now_or_never()?;
        Some(JumpError::Ended { hop: self.name.clone(), ending })
    }

    /// Sends a disconnect message and ends the connection, at the latest after half a second. Streams that are still
    /// open fail.
    pub async fn disconnect(self) {
        self.shared.end(Ending::Closed);
        let disconnect = async {
            if self.handle.disconnect(Disconnect::ByApplication, "", "").await.is_ok() {
                self.shared.ended.cancelled().await;
            }
        };
        let _ = timeout(DISCONNECT_TIMEOUT, disconnect).await;
        self.abort.cancel();
    }
}

impl std::fmt::Debug for SshConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshConnection").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a channel could not be opened.
enum OpenFailure {
    /// The hop refused, with this reason.
    Refused(String),
    Ended,
}

/// Opens a channel without a time limit, and closes it if the caller has stopped waiting.
async fn open_channel(
    handle: Arc<Handle<ClientHandler>>,
    shared: Arc<Shared>,
    host: String,
    port: u16,
    opened: oneshot::Sender<Result<Channel<Msg>, OpenFailure>>,
) {
    let (address, from) = ORIGINATOR;
    let result = match handle.channel_open_direct_tcpip(host, port.into(), address, from).await {
        Ok(channel) => Ok(channel),
        Err(russh::Error::ChannelOpenFailure(failure)) => {
            let described = shared.refusal(&failure).await;
            let reason = if described.is_empty() { failure.description().to_owned() } else { described };
            Err(OpenFailure::Refused(reason))
        }
        Err(_) => Err(OpenFailure::Ended),
    };
    if let Err(Ok(late)) = opened.send(result) {
        let _ = late.close().await;
    }
}

/// Runs the key exchange. russh asks about the host key in its own task; the verification runs here, where the
/// prompter can be borrowed.
async fn exchange_keys<S>(
    stream: S,
    settings: &HopSettings,
    prompter: &dyn Prompter,
    timer: &PausableTimer,
    shared: &Arc<Shared>,
) -> Result<Handle<ClientHandler>, JumpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host_keys = HostKeys::read(settings).await?;
    let (sender, mut questions) = mpsc::channel(1);
    let handler = ClientHandler { shared: shared.clone(), host_keys: sender };
    let config = Arc::new(config(host_keys.preferred()));
    let connecting = client::connect_stream(config, stream, handler);
    tokio::pin!(connecting);
    loop {
        tokio::select! {
            connected = &mut connecting => return connected.map_err(|error| failure(&settings.name, error)),
            Some((key, verdict)) = questions.recv() => {
                let _paused = timer.pause();
                host_keys.verify(&key, prompter).await?;
                let _ = shared.host_key.set(host_keys.describe(&key));
                let _ = verdict.send(true);
            }
        }
    }
}

pub(super) fn config(preferred: Preferred) -> client::Config {
    let name = concat!("SSH-2.0-fumidai_", env!("CARGO_PKG_VERSION"));
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(name)),
        window_size: WINDOW,
        maximum_packet_size: MAX_PACKET,
        channel_buffer_size: WAITING_PACKETS,
        preferred,
        // The session below checks its own link, and resumes it for longer than ssh keepalives would wait.
        keepalive_interval: None,
        inactivity_timeout: None,
        ..client::Config::default()
    }
}

pub(super) fn failure(hop: &str, error: russh::Error) -> JumpError {
    let hop = hop.to_owned();
    if let russh::Error::IO(source) = error {
        return JumpError::Io { hop, source };
    }
    JumpError::Protocol { hop, source: error }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::SystemTime;

    use super::*;
    use crate::jump::{LocalUser, NoPrompter};

    fn assert_send(_: &impl Send) {}

    #[test]
    fn futures_can_be_spawned() {
        let local = LocalUser {
            home: Path::new("/home/me"),
            user: "me",
            agent: None,
            clock: || SystemTime::UNIX_EPOCH,
            variable: &|_| None,
        };
        let settings = HopSettings::new("me", "app", 22, &local);
        assert_send(&connect(tokio::io::duplex(1).0, &settings, &NoPrompter));
        let _ = |hop: &SshConnection| {
            assert_send(&hop.open("app", 22));
            assert_send(&hop.ended());
        };
    }
}
