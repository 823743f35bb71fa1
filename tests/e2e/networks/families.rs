//! IPv6 alone, and hosts of which one address is dead. Where network namespaces are not permitted, or there is no IPv6,
//! these tests say so and see nothing.

use std::net::IpAddr;

use fumidai::sim::ONLINE_TARGET;
use futures_util::future::join_all;

use super::namespace::Namespace;
use super::parts::Part;
use super::{carries, secure};
use crate::bench::Bench;
use crate::run::Run;

/// Says something to an echo and hears it.
const ROUND_TRIP: &str = "bash -c 'exec 3<>/dev/tcp/::1/$FUMIDAI_PORT && printf hello >&3 && head -c 5 <&3'";
const CONNECT: [&str; 3] = ["connect", ONLINE_TARGET, "7"];

#[expect(clippy::print_stderr, reason = "what is not seen is said")]
fn is_permitted(namespace: Option<Namespace>) -> Option<Namespace> {
    if namespace.is_none() {
        eprintln!("there are no network namespaces or no IPv6 here: not tested");
    }
    namespace
}

/// The service at `host`, reachable at addresses of the machine.
async fn behind(namespace: &mut Namespace, host: &str, addresses: &[IpAddr]) -> Bench {
    let (bench, _) = secure(host).await;
    for address in addresses {
        namespace.lead(*address, bench.simulator.address()).await;
    }
    bench
}

fn trusting(run: Run, bench: &Bench) -> Run {
    run.env("AWS_CA_BUNDLE", bench.path("authority.pem")).without("NO_PROXY")
}

#[tokio::test]
async fn a_session_works_without_ipv4_directly_and_through_proxies() {
    let Some(mut namespace) = is_permitted(Namespace::with_ipv6_only()) else { return };
    let v6 = IpAddr::V6(namespace.v6);
    let bench = behind(&mut namespace, &format!("[{v6}]"), &[v6]).await;
    let run = || trusting(namespace.fumidai(&bench, &CONNECT, &[]), &bench);
    let http = Part::tinyproxy(v6, &bench.path(""), "alice", "s3cret").await;
    let socks = Part::microsocks(v6, Some(("alice", "s3cret"))).await;
    let by_socks = |scheme| run().env("ALL_PROXY", format!("{scheme}://alice:s3cret@{}", socks.address));
    // A literal of NO_PROXY, with its brackets: the proxy, where nothing listens, is not asked.
    let direct = run().env("HTTPS_PROXY", format!("http://[{v6}]:1")).env("NO_PROXY", format!("[{v6}]"));
    let by_http = run().env("HTTPS_PROXY", format!("http://alice:s3cret@{}", http.address));
    carries(&bench, [run(), direct, by_http, by_socks("socks5"), by_socks("socks5h")]).await;
}

#[tokio::test]
async fn forwards_listen_without_ipv4() {
    let Some(mut namespace) = is_permitted(Namespace::with_ipv6_only()) else { return };
    let v6 = IpAddr::V6(namespace.v6);
    let bench = behind(&mut namespace, &format!("[{v6}]"), &[v6]).await;
    for bind in ["0:7", "[::1]:0:7", "*:0:7"] {
        let args = ["forward", ONLINE_TARGET, "-q", "-L", bind, "--exec", ROUND_TRIP];
        let run = trusting(namespace.fumidai(&bench, &args, &[]), &bench);
        let finished = run.finish().await.exits(0);
        assert_eq!(finished.text(), "hello", "{bind}: {finished:?}");
    }
    bench.settle().await;
}

#[tokio::test]
async fn a_dead_address_of_a_host_does_not_keep_the_others_from_being_used() {
    let Some(mut namespace) = is_permitted(Namespace::new()) else { return };
    let (v4, v6) = (IpAddr::V4(namespace.v4), IpAddr::V6(namespace.v6));
    let (dead_v4, dead_v6) = (namespace.dead(v4), namespace.dead(v6));
    let host = "ssm.test";
    let mut benches = Vec::new();
    for addresses in [&[dead_v6, v4][..], &[dead_v4, v4], &[dead_v4, v6], &[dead_v6, dead_v4, v6]] {
        let live = *addresses.last().unwrap();
        let names: Vec<_> = addresses.iter().map(|address| (host, *address)).collect();
        benches.push((behind(&mut namespace, host, &[live]).await, names));
    }
    join_all(
        benches.iter().map(|(bench, names)| {
            carries(bench, [trusting(namespace.fumidai(bench, &CONNECT, names), bench)])
        }),
    )
    .await;
}
