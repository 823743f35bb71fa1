//! The simulator's listener: TCP or TLS, and HTTP by hyper.
//!
//! Each request is an API call (`api`) or the upgrade of a data channel ([`gateway`]). The faults that
//! cut a connection at a byte are below hyper, in [`FaultStream`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::sim::api::{self, Reply};
use crate::sim::config::TlsIdentity;
use crate::sim::fault_stream::FaultStream;
use crate::sim::gateway;
use crate::sim::shared::Shared;

const LONGEST_BODY: usize = 1024 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Builds the TLS server configuration of an identity.
///
/// # Errors
/// The certificates or the key cannot be parsed, or do not belong together.
pub(super) fn tls_acceptor(identity: &TlsIdentity) -> io::Result<TlsAcceptor> {
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

/// Accepts connections; never returns.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let serving = serve(shared.clone(), stream, acceptor.clone());
        shared.spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a connection failed");
            }
        });
    }
}

async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    let stream = match acceptor {
        Some(acceptor) => FaultStream::tls(acceptor.accept(stream).await?),
        None => FaultStream::plain(stream),
    };
    let service = service_fn(move |request| respond(shared.clone(), request));
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await?)
}

/// Answers one request; an error closes the connection without an answer.
async fn respond(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
    if gateway::is_data_channel(&request) {
        return Ok(gateway::upgrade(&shared, request));
    }
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY).collect().await?.to_bytes();
    match api::answer(&shared, &head, &body) {
        Reply::Send { response, after } => {
            tokio::time::sleep(after).await;
            Ok(response)
        }
        Reply::Hang => std::future::pending().await,
        Reply::Disconnect => Err("the scripted disconnect".into()),
    }
}
