//! Networks that people really have: proxies of several kinds, private endpoints, IPv6 alone, a captive portal. A session
//! works through each, also after a cut, or fails at once with the cause and the fix.
//!
//! tinyproxy, microsocks and socat are the real ones. A proxy that opens TLS and a captive portal are played here: mitmproxy
//! is a hundred packages, and a portal is one answer.

mod blocked;
mod endpoints;
mod families;
mod namespace;
mod opener;
mod parts;
mod portals;
mod proxies;

pub use self::namespace::ip;

use fumidai::sim::faults::CutKind;

use crate::authority::Authority;
use crate::bench::Bench;
use crate::run::{Finished, Run};
use crate::services::echo;

const ECHO: u16 = 7;

/// A service with TLS, and the authority that it and the parts of the network have in common.
async fn secure(host: &str) -> (Bench, Authority) {
    let authority = Authority::new();
    let bench = Bench::new().port(ECHO, echo().await).tls(&authority, host).start().await;
    bench.write("authority.pem", authority.pem());
    (bench, authority)
}

/// `fumidai connect` that trusts the authority and uses every proxy of its variables.
fn connect(bench: &Bench) -> Run {
    let bundle = bench.path("authority.pem");
    bench.connect(ECHO, &[]).env("AWS_CA_BUNDLE", bundle).without("NO_PROXY")
}

/// Sees data in both directions in each session, before and after a cut of all of them.
async fn carries<const N: usize>(bench: &Bench, connects: [Run; N]) {
    let mut connects = connects.map(Run::start);
    for connect in &mut connects {
        connect.round_trip(b"before").await;
    }
    bench.simulator.cut_all(CutKind::Reset);
    for connect in &mut connects {
        connect.round_trip(b"after").await;
    }
    for connect in connects {
        connect.close_and_finish().await.exits(0).silent();
    }
    bench.settle().await;
}

/// Sees a failure before any session, with its cause and its hint.
#[track_caller]
fn names(finished: &Finished, cause: &str, hint: &str) {
    assert!(finished.cause().contains(cause), "{}", finished.stderr);
    assert!(finished.stderr.contains(&format!("fumidai: hint: {hint}")), "{}", finished.stderr);
}
