//! Receives russh's callbacks: the host key, channel refusals, and the end of the connection.
//!
//! russh calls [`ClientHandler`] in its own task. [`Shared`] makes the results available to other tasks.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use russh::Names;
use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::{Ending, HostKeyFacts};
use super::stalls::Stalls;

/// A host key to verify, and the channel for the result.
pub(super) type HostKeyQuestion = (PublicKeyOrCertificate, oneshot::Sender<bool>);

/// The state of a connection, shared with russh's task.
pub(super) struct Shared {
    /// Cancelled when the connection ends.
    pub ended: CancellationToken,
    ending: OnceLock<Ending>,
    refusals: Mutex<Vec<Refusal>>,
    refused: tokio::sync::Notify,
    /// The first line of the server.
    pub version: OnceLock<String>,
    /// The host key that was accepted.
    pub host_key: OnceLock<Box<HostKeyFacts>>,
    /// Streams whose full receive buffers block the others.
    pub stalls: Stalls,
}

struct Refusal {
    code: u32,
    description: String,
}

/// Handles russh's callbacks.
pub(super) struct ClientHandler {
    pub shared: Arc<Shared>,
    pub host_keys: mpsc::Sender<HostKeyQuestion>,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            ended: CancellationToken::new(),
            ending: OnceLock::new(),
            refusals: Mutex::default(),
            refused: tokio::sync::Notify::new(),
            version: OnceLock::new(),
            host_key: OnceLock::new(),
            stalls: Stalls::default(),
        }
    }

    /// Returns how the connection ended, or `None` while it is open.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }

    /// Records how the connection ended; later calls have no effect.
    pub fn end(&self, ending: Ending) {
        let _ = self.ending.set(ending);
    }

    /// Returns the server's description of a refused channel, of which russh returns only the code. Two simultaneous
    /// refusals with the same code may swap descriptions.
    pub async fn refusal(&self, failure: &ChannelOpenFailure) -> String {
        loop {
            let noted = self.refused.notified();
            if let Some(description) = self.take_refusal(failure.code()) {
                return description;
            }
            tokio::select! {
                () = noted => {}
                () = self.ended.cancelled() => return String::new(),
            }
        }
    }

    fn take_refusal(&self, code: u32) -> Option<String> {
        let mut refusals = lock(&self.refusals);
        let place = refusals.iter().position(|refusal| refusal.code == code)?;
        Some(refusals.remove(place).description)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for ClientHandler {
    /// Records the end. russh drops the handler before the channels' queues, so that a stream that reaches its end
    /// finds the reason here.
    fn drop(&mut self) {
        self.shared.end(Ending::Failed("the stream was cut".to_owned()));
        self.shared.ended.cancel();
    }
}

impl Handler for ClientHandler {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let (verdict, answer) = oneshot::channel();
        let key = match key {
            PublicKeyOrCertificate::PublicKey { key, hash_alg } => {
                PublicKeyOrCertificate::PublicKey { key: key.clone(), hash_alg: *hash_alg }
            }
            PublicKeyOrCertificate::Certificate(certificate) => certificate.clone().into(),
        };
        if self.host_keys.send((key, verdict)).await.is_err() {
            return Ok(false);
        }
        Ok(answer.await.unwrap_or(false))
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        _names: &Names,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let version = String::from_utf8_lossy(session.remote_sshid()).trim_end().to_owned();
        let _ = self.shared.version.set(version);
        Ok(())
    }

    async fn auth_banner(&mut self, banner: &str, _session: &mut Session) -> Result<(), russh::Error> {
        tracing::info!(?banner, "received a banner");
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _channel: ChannelId,
        reason: ChannelOpenFailure,
        description: &str,
        _language: &str,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        let refusal = Refusal { code: reason.code(), description: description.to_owned() };
        lock(&self.shared.refusals).push(refusal);
        self.shared.refused.notify_waiters();
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<russh::Error>) -> Result<(), russh::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(message) => {
                self.shared.end(Ending::Disconnected(message.message));
                Ok(())
            }
            DisconnectReason::Error(error) => {
                self.shared.end(Ending::Failed(error.to_string()));
                Err(error)
            }
        }
    }

    // A hop must not open channels to the client. Dropping the handle refuses them.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _connected_address: &str,
        _connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        _reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        Ok(())
    }
}
