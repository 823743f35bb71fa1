//! The HTTP client of the API calls. It connects as the websocket does: through the same proxies, with the same roots.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::header::PROXY_AUTHORIZATION;
use http::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

use crate::transport::{ConnectError, Connector, ForeignAnswer, Io, Proxy, Rationed};

use super::capped::capped;

type BoxError = Box<dyn Error + Send + Sync>;

/// How long a connection may be idle. After a change of network an older one may be dead without a sign, and a request on it
/// would wait for the time limit of the answer; a new one is open, or refused, at once.
const IDLE: Duration = Duration::from_secs(1);

/// The header with the token of IAM Identity Center, whose calls are not POST.
const SSO_TOKEN: &str = "x-amz-sso_bearer_token";

/// A request without an answer.
#[derive(Debug, Error)]
#[error("no answer from {place}")]
pub(super) struct RequestError {
    /// The endpoint, and the proxy without its login.
    pub place: String,
    source: BoxError,
}

/// A connection was not open in time.
#[derive(Debug, Error)]
#[error("no connection within {} s", .0.as_secs_f32())]
pub(super) struct ConnectTimeout(Duration);

/// The answer did not begin in time.
#[derive(Debug, Error)]
#[error("no answer within {} s", .0.as_secs_f32())]
struct ReadTimeout(Duration);

/// Creates the client. Its answers are limited in length.
pub(super) fn client(connector: Connector) -> SharedHttpClient {
    capped(SharedHttpClient::new(ApiClient { connector, pools: Mutex::default() }))
}

type Pool = Client<Opener, SdkBody>;

/// Makes a connector for each set of time limits; those with the same limit for connections share them.
struct ApiClient {
    connector: Connector,
    pools: Mutex<HashMap<Option<Duration>, Pool>>,
}

impl ApiClient {
    fn pool(&self, limit: Option<Duration>) -> Pool {
        let new = || {
            let opener = Opener { connector: self.connector.clone(), limit };
            let mut client = Client::builder(TokioExecutor::new());
            client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(opener)
        };
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.entry(limit).or_insert_with(new).clone()
    }
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClient").field("connector", &self.connector).finish_non_exhaustive()
    }
}

impl HttpClient for ApiClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let pool = self.pool(settings.connect_timeout());
        let connector = self.connector.clone();
        SharedHttpConnector::new(ApiConnector { connector, pool, limit: settings.read_timeout() })
    }
}

#[derive(Debug)]
struct ApiConnector {
    connector: Connector,
    pool: Pool,
    /// The time limit for an answer.
    limit: Option<Duration>,
}

impl HttpConnector for ApiConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let proxy = self.connector.proxy(request.uri());
        let place = place(request.uri(), proxy);
        if let Some(login) = login_of_request(request.uri(), proxy) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, login);
        }
        let (pool, limit) = (self.pool.clone(), self.limit);
        HttpConnectorFuture::new(async move {
            let answer = send(pool, request, limit).await.map_err(|error| refused(place, error))?;
            HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

async fn send(
    pool: Pool,
    request: Request<SdkBody>,
    limit: Option<Duration>,
) -> Result<Response<SdkBody>, BoxError> {
    let is_call = is_call(&request);
    let answer = pool.request(request);
    let answer = match limit {
        Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_| ReadTimeout(limit))??,
        None => answer.await?,
    };
    let status = answer.status();
    let foreign = ForeignAnswer::of(status.as_u16(), answer.headers()).filter(|_| is_call);
    match (status, foreign) {
        (StatusCode::PROXY_AUTHENTICATION_REQUIRED, _) | (StatusCode::UNAUTHORIZED, Some(_)) => {
            Err(ConnectError::login(status.as_u16(), answer.headers()).into())
        }
        (_, Some(foreign)) => Err(ConnectError::Foreign(foreign).into()),
        (_, None) => Ok(answer.map(SdkBody::from_body_1_x)),
    }
}

/// Returns true for calls of AWS's services. The metadata of a machine is read in other ways, and may answer with pages.
fn is_call(request: &Request<SdkBody>) -> bool {
    request.method() == Method::POST || request.headers().contains_key(SSO_TOKEN)
}

/// Adds where a request was sent, and whether the SDK may try again.
fn refused(place: String, source: BoxError) -> ConnectorError {
    let is_late = find::<ConnectTimeout>(source.as_ref()).is_some() || source.is::<ReadTimeout>();
    let is_permanent = find::<ConnectError>(source.as_ref()).is_some_and(ConnectError::is_permanent);
    let error = Box::new(RequestError { place, source });
    match (is_late, is_permanent) {
        (true, _) => ConnectorError::timeout(error),
        (false, true) => ConnectorError::other(error, None),
        (false, false) => ConnectorError::io(error),
    }
}

fn place(url: &Uri, proxy: Option<&Proxy>) -> String {
    let host = url.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let through = proxy.map(|proxy| format!(" through proxy {proxy}")).unwrap_or_default();
    format!("{}://{host}{through}", url.scheme_str().unwrap_or_default())
}

/// Returns true if a request is sent to the proxy as it is, with its whole URL, and not through a tunnel.
fn is_forwarded(url: &Uri, proxy: &Proxy) -> bool {
    proxy.is_http() && url.scheme_str() == Some("http")
}

fn login_of_request(url: &Uri, proxy: Option<&Proxy>) -> Option<http::HeaderValue> {
    proxy.filter(|proxy| is_forwarded(url, proxy))?.authorization()
}

/// Finds an error among the sources of another.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    error.downcast_ref().or_else(|| find(error.source()?))
}

/// Opens the connections of a pool.
#[derive(Clone, Debug)]
struct Opener {
    connector: Connector,
    /// The time limit for one connection.
    limit: Option<Duration>,
}

type Opening = Pin<Box<dyn Future<Output = Result<TokioIo<ApiStream>, BoxError>> + Send>>;

impl Service<Uri> for Opener {
    type Response = TokioIo<ApiStream>;
    type Error = BoxError;
    type Future = Opening;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Opening {
        let Self { connector, limit } = self.clone();
        Box::pin(async move {
            let opening = open(&connector, &url);
            let stream = match limit {
                Some(limit) => {
                    tokio::time::timeout(limit, opening).await.map_err(|_| ConnectTimeout(limit))??
                }
                None => opening.await?,
            };
            Ok(TokioIo::new(stream))
        })
    }
}

async fn open(connector: &Connector, url: &Uri) -> Result<ApiStream, ConnectError> {
    if let Some(proxy) = connector.proxy(url).filter(|proxy| is_forwarded(url, proxy)) {
        let stream = connector.connect_to(proxy).await?;
        return Ok(ApiStream { stream: Rationed::new(stream), is_forwarded: true });
    }
    let mut stream = connector.connect(url).await?;
    if url.scheme_str() == Some("https") {
        stream = connector.encrypt(url.host().unwrap_or_default(), stream).await?;
    }
    Ok(ApiStream { stream: Rationed::new(stream), is_forwarded: false })
}

/// A connection of a pool.
struct ApiStream {
    stream: Rationed<Box<dyn Io>>,
    /// Whether an HTTP proxy reads the requests. They carry the whole URL then.
    is_forwarded: bool,
}

impl Connection for ApiStream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_forwarded)
    }
}

impl AsyncRead for ApiStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ApiStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::sync::Arc;

    use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
    use http_body_util::BodyExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::transport::tests::{LittleProxy, ProxyRequest, identity};
    use crate::transport::{Bundle, Proxies, Roots};

    /// Sends a request with a proxy for all hosts; returns the body.
    async fn get(proxy: &str, url: &str) -> Result<Vec<u8>, ConnectorError> {
        send_by(Roots::default(), proxy, url, HttpConnectorSettings::builder().build()).await
    }

    async fn send_by(
        roots: Roots,
        proxy: &str,
        url: &str,
        settings: HttpConnectorSettings,
    ) -> Result<Vec<u8>, ConnectorError> {
        let proxies = Proxies::new(&[("ALL_PROXY", OsString::from(proxy))]).expect("valid");
        let client = client(Connector::new(Arc::new(roots), Arc::new(proxies)));
        let components = RuntimeComponentsBuilder::for_tests().build().expect("components");
        let request = HttpRequest::get(url).expect("a request");
        let answer = client.http_connector(&settings, &components).call(request).await?;
        Ok(answer.into_body().collect().await.expect("a body").to_bytes().to_vec())
    }

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        (listener, port)
    }

    #[tokio::test]
    async fn a_request_without_tls_goes_to_an_http_proxy_with_its_url_and_login() {
        let proxy = LittleProxy::start(Some("me:s3cret"), None).await;
        let variable = format!("http://me:s3cret@127.0.0.1:{}", proxy.port);
        assert_eq!(get(&variable, "http://ssm.example/path").await.expect("an answer"), b"from proxy");
        let asked = ProxyRequest { to: "http://ssm.example/path".to_owned(), is_allowed: true };
        assert_eq!(proxy.asked(), [asked]);
    }

    #[tokio::test]
    async fn requests_go_through_socks_proxies() {
        for (scheme, host) in [("socks5", "localhost"), ("socks5h", "ssm.example")] {
            let proxy = LittleProxy::start(Some("me:s3cret"), None).await;
            let variable = format!("{scheme}://me:s3cret@127.0.0.1:{}", proxy.port);
            let body = get(&variable, &format!("http://{host}/")).await.expect("an answer");
            assert_eq!(body, b"from far end");
            let by_name = ProxyRequest { to: format!("{host}:80"), is_allowed: true };
            assert_eq!(proxy.asked() == [by_name], scheme == "socks5h", "{:?}", proxy.asked());
        }
    }

    #[tokio::test]
    async fn an_error_names_the_endpoint_and_the_proxy_without_the_login() {
        let proxy = LittleProxy::start(Some("me:right"), None).await;
        let (closed, closed_port) = listener().await;
        drop(closed);
        let login = "the proxy asks for a login (HTTP 407, by Negotiate or NTLM)";
        for (port, endpoint, words) in [
            (proxy.port, "https://ssm.example", login),
            (proxy.port, "http://ssm.example", login),
            (closed_port, "https://ssm.example", "Connection refused"),
        ] {
            let error = get(&format!("http://me:s3cret@127.0.0.1:{port}"), endpoint).await;
            let error = error.expect_err("no answer");
            let request = find::<RequestError>(&error).expect("the endpoint and the proxy");
            assert_eq!(request.place, format!("{endpoint} through proxy http://127.0.0.1:{port}"));
            let cause = find::<ConnectError>(&error).expect("a cause").to_string();
            assert!(cause.contains(words), "{cause}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
            assert_eq!(error.is_io(), port == closed_port, "a login that is refused is not tried again");
        }
    }

    #[tokio::test]
    async fn a_host_with_an_unknown_certificate_gets_no_request_also_through_a_proxy() {
        let (server, pem) = identity("ssm.example");
        let (_, other) = identity("ssm.example");
        for (pem, is_trusted) in [(pem, true), (other, false)] {
            let proxy = LittleProxy::with_far_end(server.clone()).await;
            let roots = Roots::new(Some(Bundle::parse(pem.as_bytes()).expect("a certificate")));
            let variable = format!("socks5h://127.0.0.1:{}", proxy.port);
            let settings = HttpConnectorSettings::builder().build();
            let answer = format!("{:?}", send_by(roots, &variable, "https://ssm.example", settings).await);
            assert_eq!(answer == format!("Ok({:?})", b"from far end"), is_trusted, "{answer}");
            assert_eq!(answer.contains("InvalidCertificate"), !is_trusted, "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_limits_of_the_sdk_hold() {
        let (_silent, port) = listener().await;
        let limit = Duration::from_secs(3);
        let connect = HttpConnectorSettings::builder().connect_timeout(limit).build();
        let read = HttpConnectorSettings::builder().read_timeout(limit).build();
        for (settings, is_connecting) in [(connect, true), (read, false)] {
            let variable = format!("http://127.0.0.1:{port}");
            let answer = send_by(Roots::default(), &variable, "https://ssm.example", settings).await;
            let error = answer.expect_err("silence");
            assert!(error.is_timeout(), "{error:?}");
            assert_eq!(find::<ConnectTimeout>(&error).is_some(), is_connecting, "{error:?}");
        }
    }
}
