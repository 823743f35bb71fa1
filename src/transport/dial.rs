//! Opens a websocket to a stream URL: TCP or proxy, TLS, signed upgrade.
//!
//! The connection is opened by the [`Connector`], as for API calls. The upgrade is signed with SigV4 for service
//! `ssmmessages` over the empty payload, in headers, as in the official client from 1.2.764.0 on (docs/protocol.md).

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::Uri;
use thiserror::Error;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use super::connect::Connector;
use super::connect_error::{ConnectError, ConnectFault};
use super::foreign::ForeignAnswer;
use super::host::StreamUrl;
use super::io::Io;
use super::tls::{TlsError, TlsFault};
use super::websocket::Websocket;

/// The time limit for TCP or the proxy's tunnel.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit for TLS and the upgrade.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(15);
/// Query parameters that mark a presigned URL.
const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// What the upgrade request is signed with.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Credentials, resolved for this dial.
    pub credentials: Credentials,
    /// The session's region.
    pub region: String,
}

/// Why the websocket could not be opened, by step.
#[derive(Debug, Error)]
pub enum DialError {
    /// The host or the proxy could not be reached.
    #[error("cannot connect to {host}: {cause}")]
    Connect {
        /// The host, and the proxy if one is used.
        host: String,
        /// The error of the system or the proxy.
        cause: String,
        /// What mends it.
        fault: ConnectFault,
    },
    /// TLS cannot be set up on this machine: correct its root certificates or the bundle.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The TLS handshake with the host failed, most often because its certificate was rejected.
    #[error("TLS with {host}: {cause}")]
    Certificate {
        host: String,
        /// The error of the TLS library.
        cause: String,
        /// What mends it.
        fault: TlsFault,
    },
    /// The upgrade request could not be signed.
    #[error("cannot sign the upgrade request: {0}")]
    Sign(String),
    /// Another server answered the upgrade in place of the host.
    #[error("a captive portal or proxy answered the upgrade to a websocket in place of {host}: {answer}")]
    Foreign {
        host: String,
        /// What it answered.
        answer: ForeignAnswer,
    },
    /// The host answered the upgrade with another status than 101.
    #[error("the upgrade to a websocket was refused with HTTP {status}{}{text}", if text.is_empty() { "" } else { ": " })]
    Refused {
        status: u16,
        /// The beginning of the body: untrusted text.
        text: String,
    },
    /// The host closed the connection, or its response is not a websocket upgrade.
    #[error("the upgrade to a websocket failed: {0}")]
    Upgrade(String),
    /// A step reached its time limit.
    #[error("timed out in step `{0}`")]
    Timeout(&'static str),
}

/// Opens websockets.
#[derive(Clone, Debug)]
pub struct Dialer {
    connector: Connector,
}

impl Dialer {
    /// Creates a dialer that connects by `connector`.
    pub fn new(connector: Connector) -> Self {
        Self { connector }
    }

    /// Opens a websocket to `url`, which is sent unchanged.
    ///
    /// # Errors
    /// [`DialError`] by step; each step has a time limit.
    pub async fn dial(
        &self,
        url: &StreamUrl,
        signer: &Signer,
        now: SystemTime,
    ) -> Result<Websocket, DialError> {
        let request = upgrade_request(url, signer, now)?;
        let tcp = with_limit("connect", CONNECT_TIMEOUT, self.connect(url)).await?;
        with_limit("upgrade", UPGRADE_TIMEOUT, async {
            let stream = self.encrypt(url, tcp).await?;
            Websocket::upgrade(request, stream).await.map_err(|error| upgrade_error(url, error))
        })
        .await
    }

    async fn connect(&self, url: &StreamUrl) -> Result<Box<dyn Io>, DialError> {
        let destination = http_uri(url)?;
        let host = match self.connector.proxy(&destination) {
            Some(proxy) => format!("{} through proxy {proxy}", url.host()),
            None => url.host(),
        };
        self.connector.connect(&destination).await.map_err(|error| dial_error(host, error))
    }

    async fn encrypt(&self, url: &StreamUrl, tcp: Box<dyn Io>) -> Result<Box<dyn Io>, DialError> {
        if !url.is_encrypted() {
            return Ok(tcp);
        }
        let stream = self.connector.encrypt(&url.host(), tcp).await;
        stream.map_err(|error| dial_error(url.host(), error))
    }
}

fn dial_error(host: String, error: ConnectError) -> DialError {
    let (cause, fault, tls_fault) = (error.to_string(), error.fault(), error.tls_fault());
    match (error, tls_fault) {
        (ConnectError::Setup(error), _) => DialError::Tls(error),
        (_, Some(fault)) => DialError::Certificate { host, cause, fault },
        (_, None) => DialError::Connect { host, cause, fault },
    }
}

async fn with_limit<T>(
    step: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    tokio::time::timeout(limit, work).await.map_err(|_| DialError::Timeout(step))?
}

/// Returns the URL for proxies and connectors: `https` for `wss`, with an explicit port.
fn http_uri(url: &StreamUrl) -> Result<Uri, DialError> {
    let (scheme, default) = if url.is_encrypted() { ("https", 443) } else { ("http", 80) };
    let authority = format!("{}:{}", url.host(), url.uri().port_u16().unwrap_or(default));
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query("/")
        .build()
        .map_err(|error| dial_error(url.host(), ConnectError::network(&error)))
}

fn upgrade_request(
    url: &StreamUrl,
    signer: &Signer,
    now: SystemTime,
) -> Result<http::Request<()>, DialError> {
    let failed = |error: &dyn std::fmt::Display| DialError::Sign(error.to_string());
    let host = host_header(url);
    let mut request = http::Request::builder()
        .uri(url.uri())
        .header(http::header::HOST, &host)
        .header(http::header::CONNECTION, "Upgrade")
        .header(http::header::UPGRADE, "websocket")
        .header(http::header::SEC_WEBSOCKET_VERSION, "13")
        .header(http::header::SEC_WEBSOCKET_KEY, generate_key())
        .header(http::header::USER_AGENT, concat!("fumidai/", env!("CARGO_PKG_VERSION")))
        .body(())
        .map_err(|error| failed(&error))?;
    if is_presigned(url) {
        return Ok(request);
    }
    let identity = signer.credentials.clone().into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&signer.region)
        .name("ssmmessages")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let headers = [("host", host.as_str())];
    let signable =
        SignableRequest::new("GET", url.uri().to_string(), headers.into_iter(), SignableBody::Bytes(&[]))
            .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &parameters).map_err(|error| failed(&error))?.into_parts();
    instructions.apply_to_request_http1x(&mut request);
    Ok(request)
}

/// Returns the Host header that is signed and sent, without the scheme's default port.
fn host_header(url: &StreamUrl) -> String {
    let default = if url.is_encrypted() { 443 } else { 80 };
    match url.uri().port_u16() {
        Some(port) if port != default => format!("{}:{port}", url.host()),
        Some(_) | None => url.host(),
    }
}

fn is_presigned(url: &StreamUrl) -> bool {
    let query = url.uri().query().unwrap_or_default();
    query.split('&').any(|pair| PRESIGNED.contains(&pair.split('=').next().unwrap_or_default()))
}

fn upgrade_error(url: &StreamUrl, error: tungstenite::Error) -> DialError {
    let tungstenite::Error::Http(response) = error else {
        return DialError::Upgrade(error.to_string());
    };
    let status = response.status().as_u16();
    if let Some(answer) = ForeignAnswer::of(status, response.headers()) {
        return DialError::Foreign { host: url.host(), answer };
    }
    let body = response.body().as_deref().unwrap_or_default();
    let text = String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned();
    DialError::Refused { status, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::StreamHosts;

    fn url(text: &str) -> StreamUrl {
        let hosts = StreamHosts {
            region: "eu-west-1".to_owned(),
            suffixes: vec!["amazonaws.com".to_owned()],
            configured: vec!["http://127.0.0.1".to_owned()],
        };
        hosts.check(text).unwrap()
    }

    fn signer(token: Option<&str>) -> Signer {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            token.map(str::to_owned),
            None,
            "test",
        );
        Signer { credentials, region: "eu-west-1".to_owned() }
    }

    const STREAM: &str = "wss://ssmmessages.eu-west-1.amazonaws.com/v1/data-channel/a@b-0c?role=publish_subscribe&cell-number=AA+/B==";

    #[test]
    fn the_upgrade_is_signed_over_host_date_and_token_and_the_url_is_unchanged() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (token, signed) in
            [(None, "host;x-amz-date"), (Some("T"), "host;x-amz-date;x-amz-security-token")]
        {
            let request = upgrade_request(&url(STREAM), &signer(token), now).unwrap();
            let authorization = request.headers()["authorization"].to_str().unwrap();
            let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/eu-west-1/ssmmessages/aws4_request";
            assert!(authorization.starts_with(scope), "{authorization}");
            assert!(authorization.contains(&format!("SignedHeaders={signed},")), "{authorization}");
            assert_eq!(request.headers()["host"], "ssmmessages.eu-west-1.amazonaws.com");
            assert_eq!(request.headers()["x-amz-date"], "20231114T221320Z");
            assert_eq!(request.headers().contains_key("x-amz-security-token"), token.is_some());
            assert!(!request.headers().contains_key("x-amz-content-sha256"));
            assert_eq!(request.uri().to_string(), STREAM);
        }
    }

    #[test]
    fn a_presigned_url_is_not_signed_again() {
        let presigned = url(&format!("{STREAM}&X-Amz-Signature=00"));
        let request = upgrade_request(&presigned, &signer(None), SystemTime::UNIX_EPOCH).unwrap();
        assert!(!request.headers().contains_key("authorization"));
    }

    #[test]
    fn the_host_header_omits_the_schemes_default_port() {
        assert_eq!(host_header(&url("ws://127.0.0.1:4566/x")), "127.0.0.1:4566");
        assert_eq!(host_header(&url("ws://127.0.0.1:80/x")), "127.0.0.1");
        assert_eq!(
            host_header(&url("wss://ssmmessages.eu-west-1.amazonaws.com:443/x")),
            "ssmmessages.eu-west-1.amazonaws.com"
        );
    }
}
