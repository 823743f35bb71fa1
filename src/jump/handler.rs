//! Hears what a hop says on its own: its host key, why it refused, the end of everything.
//!
//! russh runs a connection in a task of its own and tells a [`ClientHandler`] there; [`Shared`] is what the others see of it.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::Ending;
use super::receive_buffer::Stalls;

/// A host key, and where the verdict goes.
pub(super) type HostKeyQuestion = (PublicKeyOrCertificate, oneshot::Sender<bool>);

/// What is known of a connection.
pub(super) struct Shared {
    /// Cancelled at its end.
    pub ended: CancellationToken,
    ending: OnceLock<Ending>,
    refusals: Mutex<Vec<Refusal>>,
    refused: tokio::sync::Notify,
    /// Which streams keep the others waiting.
    pub stalls: Stalls,
}

struct Refusal {
    code: u32,
    description: String,
}

/// Our ears in russh's task.
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
            stalls: Stalls::default(),
        }
    }

    /// How it ended, if it has.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }

    /// The first word on the end is kept.
    pub fn end(&self, ending: Ending) {
        let _ = self.ending.set(ending);
    }

    /// Returns the server's words for a refusal that russh has told the code of. Two refusals at the same moment for
    /// the same cause may swap their words.
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
    /// russh drops it before it drops what our streams read from, so that they know the end when they see it.
    fn drop(&mut self) {
        self.shared.end(Ending::Failed("it was cut".to_owned()));
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

    async fn auth_banner(&mut self, banner: &str, _session: &mut Session) -> Result<(), russh::Error> {
        tracing::info!(?banner, "the hop greets");
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
            DisconnectReason::ReceivedDisconnect(said) => {
                self.shared.end(Ending::Disconnected(said.message));
                Ok(())
            }
            DisconnectReason::Error(error) => {
                self.shared.end(Ending::Failed(error.to_string()));
                Err(error)
            }
        }
    }

    // A hop has no business opening channels to us; to drop the handle is to refuse.

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
