//! Proxies that let everything pass: with a login, with TLS, by SOCKS; and one that opens TLS.

use std::net::{IpAddr, Ipv4Addr};

use super::opener::Opener;
use super::parts::Part;
use super::{ECHO, carries, connect, names, secure};
use crate::bench::Bench;
use crate::services::echo;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn an_http_proxy_with_a_login_carries_a_session_with_tls_and_without() {
    let (bench, _) = secure("localhost").await;
    let proxy = Part::tinyproxy(HERE, &bench.path(""), "alice", "s3cret").await;
    let url = format!("http://alice:s3cret@{}", proxy.address);
    let encrypted = carries(&bench, [connect(&bench).env("HTTPS_PROXY", &url)]);
    // The calls are forwarded with their whole URL, the websocket goes through a tunnel.
    let plain = Bench::new().port(ECHO, echo().await).start().await;
    let forwarded = carries(&plain, [connect(&plain).without("AWS_CA_BUNDLE").env("HTTP_PROXY", &url)]);
    tokio::join!(encrypted, forwarded);
}

#[tokio::test]
async fn an_http_proxy_rejects_a_wrong_password_and_the_fix_is_named() {
    let (bench, _) = secure("localhost").await;
    let proxy = Part::tinyproxy(HERE, &bench.path(""), "alice", "s3cret").await;
    for login in ["alice:wrong@", ""] {
        let url = format!("http://{login}{}", proxy.address);
        let finished = connect(&bench).env("HTTPS_PROXY", &url).finish().await.exits(1);
        // tinyproxy answers a wrong login with 401.
        let cause = format!("through proxy http://{}: the proxy asks for a login (HTTP 40", proxy.address);
        names(&finished, &cause, "write `USER:PASSWORD@` before the proxy's host in `HTTPS_PROXY`");
    }
    assert!(bench.simulator.sessions().is_empty());
}

#[tokio::test]
async fn a_proxy_with_tls_carries_a_session_if_its_authority_is_trusted() {
    let (bench, authority) = secure("localhost").await;
    let inner = Part::tinyproxy(HERE, &bench.path(""), "alice", "s3cret").await;
    let identity = authority.certify(&["localhost"]);
    let file = bench.write("proxy.pem", format!("{}{}", identity.key_pem, identity.certificates_pem));
    let proxy = Part::tls(&file, inner.address).await;
    let url = format!("https://alice:s3cret@localhost:{}", proxy.address.port());
    carries(&bench, [connect(&bench).env("HTTPS_PROXY", &url)]).await;
    let untrusting = connect(&bench).without("AWS_CA_BUNDLE").env("HTTPS_PROXY", &url);
    let finished = untrusting.finish().await.exits(1);
    names(
        &finished,
        "TLS with the proxy: invalid peer certificate: UnknownIssuer",
        "check scheme, host and port",
    );
}

#[tokio::test]
async fn a_socks_proxy_with_a_login_carries_a_session_and_rejects_a_wrong_password() {
    let (bench, _) = secure("localhost").await;
    let proxy = Part::microsocks(HERE, Some(("alice", "s3cret"))).await;
    let by = |scheme| connect(&bench).env("ALL_PROXY", format!("{scheme}://alice:s3cret@{}", proxy.address));
    carries(&bench, [by("socks5"), by("socks5h")]).await;
    let sessions = bench.simulator.sessions().len();
    for (login, cause) in [("alice:wrong@", "name or password rejected"), ("", "none is set")] {
        let url = format!("socks5h://{login}{}", proxy.address);
        let finished = connect(&bench).env("ALL_PROXY", &url).finish().await.exits(1);
        let cause = format!("the proxy asks for a login (SOCKS: {cause})");
        names(&finished, &cause, "write `USER:PASSWORD@` before the proxy's host");
    }
    assert_eq!(bench.simulator.sessions().len(), sessions);
}

#[tokio::test]
async fn a_proxy_that_opens_tls_needs_its_authority() {
    let (bench, service) = secure("localhost").await;
    let opener = Opener::start(service.connector()).await;
    let url = format!("http://{}", opener.address);
    // The service's own authority is not that of the certificates that the proxy makes.
    let finished = connect(&bench).env("HTTPS_PROXY", &url).finish().await.exits(1);
    names(&finished, "invalid peer certificate: UnknownIssuer", "if a proxy of your company intercepts TLS");
    let bundle = bench.write("company.pem", opener.authority.pem());
    carries(&bench, [connect(&bench).env("AWS_CA_BUNDLE", bundle).env("HTTPS_PROXY", &url)]).await;
}
