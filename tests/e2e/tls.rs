//! TLS with an authority of the user's own, and proxies.

use std::path::PathBuf;

use fumidai::sim::ONLINE_TARGET;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::authority::Authority;
use crate::bench::Bench;
use crate::run::Finished;
use crate::services::echo;
use crate::wiretap::Proxy;

const ECHO: u16 = 7;

/// A service at `https://localhost` and `wss://localhost`, and the file that its authority is in.
async fn bench() -> (Bench, PathBuf) {
    let authority = Authority::named("Example Inspection CA");
    let bench = Bench::new().port(ECHO, echo().await).tls(&authority, "localhost").start().await;
    let bundle = bench.write("authority.pem", authority.pem());
    (bench, bundle)
}

#[tokio::test]
async fn the_users_authority_is_trusted_for_both_connections() {
    let (bench, bundle) = bench().await;
    let connect = bench.connect(ECHO, &[]).env("AWS_CA_BUNDLE", &bundle);
    let finished = connect.input("over TLS").finish().await.exits(0).silent();
    assert_eq!(finished.text(), "over TLS");
    bench.settle().await;
}

#[tokio::test]
async fn the_bundle_of_a_profile_is_trusted_too() {
    let (bench, bundle) = bench().await;
    let profile = bench.write("config", format!("[profile work]\nca_bundle = {}\n", bundle.display()));
    let connect = bench.connect(ECHO, &[]).env("AWS_CONFIG_FILE", &profile).env("AWS_PROFILE", "work");
    let finished = connect.input("over TLS").finish().await.exits(0).silent();
    assert_eq!(finished.text(), "over TLS");
    bench.settle().await;
}

#[tokio::test]
async fn doctor_names_the_authority_and_its_action_mends_it() {
    let (bench, bundle) = bench().await;
    let rows = |finished: &Finished| -> Vec<Value> { serde_json::from_slice(&finished.stdout).unwrap() };
    let finished = bench.fumidai(["doctor", "--json", ONLINE_TARGET]).finish().await.exits(1);
    let links = rows(&finished);
    let broken = links.iter().find(|link| link["status"] == "broken").unwrap();
    assert_eq!(broken["component"], "network", "{broken}");
    for word in ["UnknownIssuer", "issued by Example Inspection CA", "`AWS_CA_BUNDLE`"] {
        assert!(broken.to_string().contains(word), "{word} is not in {broken}");
    }
    let doctor = bench.fumidai(["doctor", "--json", ONLINE_TARGET]).env("AWS_CA_BUNDLE", &bundle);
    let links = rows(&doctor.finish().await);
    let network = links.iter().find(|link| link["component"] == "network").unwrap();
    assert_eq!(network["status"], "ok", "{network}");
    assert!(
        network["detail"].as_str().unwrap().contains("Example Inspection CA, not by Amazon"),
        "{network}"
    );
    bench.settle().await;
}

#[tokio::test]
async fn an_unknown_authority_is_refused_with_a_hint() {
    let (bench, _) = bench().await;
    let finished = bench.connect(ECHO, &[]).finish().await.exits(1);
    let cause = "the endpoint for StartSession has a certificate that is not trusted: invalid peer certificate: \
                 UnknownIssuer";
    assert_eq!(finished.cause(), cause);
    assert!(finished.stderr.contains("set `AWS_CA_BUNDLE` to its root certificates"), "{}", finished.stderr);
    assert_eq!(bench.simulator.sessions().len(), 0);
}

#[tokio::test]
async fn a_bundle_that_is_not_there_is_a_setting() {
    let (bench, _) = bench().await;
    let connect = bench.connect(ECHO, &[]).env("AWS_CA_BUNDLE", "/nowhere/bundle.pem");
    let finished = connect.finish().await.exits(3);
    assert!(finished.cause().contains("/nowhere/bundle.pem"), "{}", finished.stderr);
}

#[tokio::test]
async fn api_and_websocket_go_through_the_proxy_with_its_password() {
    let (bench, bundle) = bench().await;
    let proxy = Proxy::start("alice", "s3cret!").await;
    let url = format!("http://alice:s3cret%21@{}", proxy.address);
    let connect = bench.connect(ECHO, &[]).env("AWS_CA_BUNDLE", &bundle).env("HTTPS_PROXY", &url);
    let finished = connect.without("NO_PROXY").input("through").finish().await.exits(0).silent();
    assert_eq!(finished.text(), "through");
    let target = format!("localhost:{}", bench.simulator.address().port());
    let requests = proxy.requests();
    assert!(
        requests.len() >= 2 && requests.iter().all(|request| *request == (target.clone(), true)),
        "{requests:?}"
    );
    bench.settle().await;
}

#[tokio::test]
async fn api_and_websocket_go_through_a_socks_proxy() {
    let (bench, bundle) = bench().await;
    for (scheme, host) in [("socks5", "127.0.0.1"), ("socks5h", "localhost")] {
        let proxy = Proxy::socks().await;
        let url = format!("{scheme}://{}", proxy.address);
        let connect = bench.connect(ECHO, &[]).env("AWS_CA_BUNDLE", &bundle).env("ALL_PROXY", &url);
        let finished = connect.without("NO_PROXY").input("through").finish().await.exits(0).silent();
        assert_eq!(finished.text(), "through");
        let requests = proxy.requests();
        let target = (format!("{host}:{}", bench.simulator.address().port()), true);
        let (named, count) = (requests.contains(&target), requests.len());
        assert!(count >= 2 && (named || scheme == "socks5"), "{requests:?}");
    }
    bench.settle().await;
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_with_what_it_wants_and_without_the_password() {
    let (bench, bundle) = bench().await;
    let proxy = Proxy::start("alice", "right").await;
    let url = format!("http://alice:wr0ng@{}", proxy.address);
    let connect = bench.connect(ECHO, &["-vvv"]).env("AWS_CA_BUNDLE", &bundle).env("HTTPS_PROXY", &url);
    let finished = connect.without("NO_PROXY").finish().await.exits(1);
    let cause = format!(
        "cannot reach the endpoint for StartSession, https://localhost:{} through proxy http://{}: \
         the proxy asks for a login (HTTP 407, by Basic)",
        bench.simulator.address().port(),
        proxy.address
    );
    assert_eq!(finished.cause(), cause);
    assert!(finished.stderr.contains("HTTPS_PROXY"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("wr0ng"), "{}", finished.stderr);
    assert_eq!(proxy.requests().len(), 1, "a login that is refused is not tried again");
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_a_time_out_with_its_address() {
    let (bench, bundle) = bench().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://me:s3cret@{}", silent.local_addr().unwrap());
    let connect = bench.connect(ECHO, &[]).env("AWS_CA_BUNDLE", &bundle).env("ALL_PROXY", &url);
    let finished = connect.without("NO_PROXY").finish().await.exits(16);
    let place = format!("through proxy {}: no connection within ", url.replace("me:s3cret@", ""));
    assert!(finished.cause().contains(&place), "{}", finished.stderr);
}

#[tokio::test]
async fn a_proxy_variable_that_cannot_be_read_is_an_error_before_anything_is_sent() {
    let (bench, bundle) = bench().await;
    for value in
        ["'http://127.0.0.1:1'", " http://127.0.0.1:1", "http://CORP\\alice:s3cret@127.0.0.1:1", "ftp://a"]
    {
        let connect = bench.connect(ECHO, &[]).env("AWS_CA_BUNDLE", &bundle).env("https_proxy", value);
        let finished = connect.without("NO_PROXY").finish().await.exits(2);
        assert!(finished.cause().starts_with("`https_proxy` in the environment "), "{}", finished.stderr);
        assert!(!finished.stderr.contains("s3cret"), "{}", finished.stderr);
    }
    assert_eq!(bench.simulator.sessions().len(), 0);
}

#[tokio::test]
async fn hosts_of_no_proxy_are_reached_directly() {
    let (bench, bundle) = bench().await;
    let port = bench.simulator.address().port();
    let (with_port, other_port) = (format!("localhost:{port}"), format!("localhost:{}", port ^ 1));
    for (list, is_direct) in [
        ("example.com,localhost", true),
        ("example.com .LOCALHOST", true),
        (&with_port, true),
        ("*", true),
        (&other_port, false),
        ("127.0.0.0/8,[::1],host", false),
    ] {
        let proxy = Proxy::start("alice", "right").await;
        let url = format!("http://alice:right@{}", proxy.address);
        let connect = bench.connect(ECHO, &[]).env("AWS_CA_BUNDLE", &bundle).env("HTTPS_PROXY", &url);
        let finished = connect.env("NO_PROXY", list).input("here").finish().await.exits(0).silent();
        assert_eq!(finished.text(), "here");
        assert_eq!(proxy.requests().is_empty(), is_direct, "{list}");
    }
    bench.settle().await;
}
