//! Asks an sshd for its host key: the key exchange alone, without a login.

use std::sync::Arc;
use std::time::Duration;

use russh::client;
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{Preferred, compression};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::abortable::AbortableStream;
use super::algorithms::key_algorithms;
use super::allowed::Allowed;
use super::error::{Ending, HopStep, JumpError};
use super::handler::{ClientHandler, Shared};
use super::hop::{config, failure};

/// Returns the first allowed host key that the sshd at the other end of a stream has, the preferred type first. The sshd
/// has proved by a signature that it has the private key. The stream is closed then.
///
/// # Errors
/// The peer is not an sshd with an allowed key, does not answer within `limit`, or the stream fails.
pub async fn scan<S>(stream: S, hop: &str, allowed: &Allowed, limit: Duration) -> Result<PublicKey, JumpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let abort = CancellationToken::new();
    let _guard = abort.clone().drop_guard();
    let exchanged = timeout(limit, exchange(AbortableStream::new(stream, &abort), hop, allowed)).await;
    exchanged.unwrap_or_else(|_| {
        Err(JumpError::Timeout { hop: hop.to_owned(), step: HopStep::KeyExchange, after: limit })
    })
}

async fn exchange<S>(stream: S, hop: &str, allowed: &Allowed) -> Result<PublicKey, JumpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, mut keys) = mpsc::channel(1);
    let handler = ClientHandler { shared: Arc::new(Shared::new()), host_keys: sender };
    let connecting = client::connect_stream(Arc::new(config(preferred(allowed))), stream, handler);
    tokio::pin!(connecting);
    tokio::select! {
        // russh asks about the key after it has checked the signature.
        Some((offered, _verdict)) = keys.recv() => Ok(plain(offered)),
        connected = &mut connecting => Err(match connected {
            Err(error) => failure(hop, error),
            Ok(_) => JumpError::Ended { hop: hop.to_owned(), ending: Ending::Closed },
        }),
    }
}

fn preferred(allowed: &Allowed) -> Preferred {
    Preferred {
        key: key_algorithms(allowed).collect::<Vec<_>>().into(),
        host_key_certificates: (&[]).into(),
        compression: (&[compression::NONE]).into(),
        ..Preferred::DEFAULT
    }
}

fn plain(offered: PublicKeyOrCertificate) -> PublicKey {
    match offered {
        PublicKeyOrCertificate::PublicKey { key, .. } => PublicKey::from(key.key_data().clone()),
        PublicKeyOrCertificate::Certificate(certificate) => PublicKey::from(certificate.public_key().clone()),
    }
}
