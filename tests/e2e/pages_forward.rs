//! The pages about programs that use a local port or a proxy: their settings, with the programs where they can be installed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use fumidai::sim::SimConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::forwarding::round_trip;
use crate::mariadb::lead_to;
use crate::page::{Page, connect};
use crate::run::PATIENCE;
use crate::services::{echo, serve};
use crate::tools::tool;

const EKS: &str = "0123456789abcdef0123456789abcdef.gr7.ap-northeast-1.eks.amazonaws.com";
const CACHE: &str = "master.orders-cache.abc123.apne1.cache.amazonaws.com";
const SEARCH: &str = "vpc-logs-abc123.ap-northeast-1.es.amazonaws.com";
const SQL_SERVER: &str = "billing.abc123.ap-northeast-1.rds.amazonaws.com";

/// The agent finds that host and port at this address.
fn host(name: &str, port: u16, address: SocketAddr) -> impl FnOnce(&mut SimConfig) {
    let place = (name.to_owned(), port);
    move |config| {
        config.hosts.insert(place, address);
    }
}

/// Answers each request with its head.
async fn mirror() -> SocketAddr {
    serve(|mut stream| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", head.len());
        let _ = stream.write_all(&[answer.into_bytes(), head].concat()).await;
        let _ = stream.shutdown().await;
    })
    .await
}

/// TLS with a certificate for that name before a service, and the certificate of its authority.
async fn tls_before(name: &str, service: SocketAddr) -> (SocketAddr, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate whose issuer has its own name as signed by itself.
    params.distinguished_name.push(DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serve(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let (Ok(mut inner), Ok(mut outer)) =
                (TcpStream::connect(service).await, acceptor.accept(stream).await)
            {
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            }
        }
    })
    .await;
    (address, authority.pem())
}

#[tokio::test]
async fn kubectl_checks_the_name_of_the_endpoint_by_a_forward_and_by_a_proxy() {
    let (api, authority) = tls_before(EKS, mirror().await).await;
    let page = Page::open("docs/with/kubernetes.md", host(EKS, 443, api)).await;
    let [forward, by_forward, proxy, by_proxy] = page.scripts();
    let authority = page.bench.write("authority.pem", authority);
    let kubeconfig = page.bench.write("kubeconfig", kubeconfig(&authority));
    let kubectl = |script: &str| page.run(script).env("KUBECONFIG", &kubeconfig).without("NO_PROXY");
    let listening = page.forward(&forward, 0).await;
    let said = kubectl(&by_forward).finish().await.exits(0);
    assert!(said.text().contains("GET /version HTTP/1.1"), "{}", said.text());
    assert!(said.text().contains("Authorization: Bearer simulated"), "{}", said.text());
    listening.end().await;
    let listening = page.forward(&proxy, 1).await;
    let said = kubectl(&by_proxy).finish().await.exits(0);
    assert_eq!(said.text().matches(&format!("Host: {EKS}\r\n")).count(), 2, "{}", said.text());
    listening.end().await;
    page.bench.settle().await;
}

/// What `aws eks update-kubeconfig` writes, with a token in place of a plugin.
fn kubeconfig(authority: &std::path::Path) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: orders\nclusters:\n- name: orders\n  cluster:\n    \
         server: https://{EKS}\n    certificate-authority: {}\ncontexts:\n- name: orders\n  context:\n    \
         cluster: orders\n    user: alice\nusers:\n- name: alice\n  user:\n    token: simulated\n",
        authority.display()
    )
}

#[tokio::test]
async fn curl_signs_for_the_name_of_the_domain_and_checks_its_certificate() {
    let (domain, authority) = tls_before(SEARCH, mirror().await).await;
    let page = Page::open("docs/with/opensearch.md", host(SEARCH, 443, domain)).await;
    let [forward, plain, signed] = page.scripts();
    let authority = page.bench.write("authority.pem", authority);
    let listening = page.forward(&forward, 0).await;
    for (script, is_signed) in [(plain, false), (signed, true)] {
        let said = page.run(&script).env("CURL_CA_BUNDLE", &authority).finish().await.exits(0).silent();
        assert!(said.text().contains(&format!("Host: {SEARCH}\r\n")), "{}", said.text());
        let scope = "/ap-northeast-1/es/aws4_request";
        assert_eq!(said.text().contains(scope), is_signed, "{}", said.text());
    }
    let unknown = page.run(&page.scripts::<3>()[1]).finish().await;
    assert_eq!(unknown.status.code(), Some(60), "the certificate is checked: {unknown:?}");
    listening.end().await;
    page.bench.settle().await;
}

#[tokio::test]
async fn redis_cli_speaks_plainly_and_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis");
    let server = crate::run::Run::new(&tool("redis-server")).args(["--port", "0", "--save", "", "--dir"]);
    let server = server.args([folder.path()]).args(["--unixsocket".as_ref(), socket.as_path()]).start();
    let is_up = async {
        while UnixStream::connect(&socket).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, is_up).await.expect("the server answers");
    let plain = lead_to(socket.clone()).await;
    let (encrypted, authority) = tls_before(CACHE, plain).await;
    for (number, service) in [(1, plain), (2, encrypted)] {
        let page = Page::open("docs/with/redis.md", host(CACHE, 6379, service)).await;
        let scripts: [String; 3] = page.scripts();
        let authority: PathBuf = page.bench.write("authority.pem", &authority);
        let listening = page.forward(&scripts[0], 0).await;
        let said = page.run(&scripts[number]).env("SSL_CERT_FILE", &authority).finish().await.exits(0);
        assert_eq!(said.text(), "PONG\n");
        listening.end().await;
        page.bench.settle().await;
    }
    drop(server);
}

#[tokio::test]
async fn forwards_for_programs_that_no_test_has_carry_bytes() {
    let echo = echo().await;
    let desktop = |config: &mut SimConfig| {
        config.ports.insert(3389, echo);
    };
    for page in [
        Page::open("docs/with/rdp.md", desktop).await,
        Page::open("docs/with/sql-server.md", host(SQL_SERVER, 1433, echo)).await,
    ] {
        let [forward] = page.scripts();
        let listening = page.forward(&forward, 0).await;
        round_trip(&mut connect(page.local[0]).await, b"a handshake").await;
        listening.end().await;
        page.bench.settle().await;
    }
}
