//! What programs get: the keys of docs/json.md, and failures as one line.

use fumidai::sim::{OFFLINE_TARGET, ONLINE_TARGET};
use serde_json::Value;

use crate::bench::Bench;
use crate::documented_keys::has_keys;
use crate::forwarding::{Forward, dial, round_trip};
use crate::services::echo;

async fn output(bench: &Bench, words: &str) -> Value {
    let finished = bench.fumidai(words.split_whitespace()).finish().await.exits(0);
    serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{words}: {error}"))
}

#[tokio::test]
async fn the_output_of_each_command_has_the_documented_keys() {
    let bench = Bench::new().port(7, echo().await).start().await;
    let forward = Forward::start(bench.forward_command(["-L", "0:7"]), 1).await;
    round_trip(&mut dial(&forward.local[0]).await, b"x").await;
    let mut offline = Forward::start(bench.fumidai(["forward", OFFLINE_TARGET, "-L", "0:7"]), 1).await;
    let _client = dial(&offline.local[0]).await;
    has_keys("forward", &offline.event().await);
    for (section, words) in [
        ("list", "list --json"),
        ("explain", &format!("explain {ONLINE_TARGET} --json")),
        ("status", "status --json"),
        ("sessions", "sessions --json"),
        ("audit show", "audit show --json"),
        ("audit verify", "audit verify --json"),
    ] {
        has_keys(section, &output(&bench, words).await);
    }
    let doctor = bench.fumidai(["doctor", ONLINE_TARGET, "--json"]).finish().await;
    has_keys("doctor", &serde_json::from_slice(&doctor.stdout).unwrap());
    forward.end().await;
    offline.end().await;
}

#[tokio::test]
async fn a_failure_is_one_line_for_programs() {
    let bench = Bench::new().start().await;
    for (words, code) in [
        ("explain nosuch --json", 12),
        ("forward nosuch --json", 3),
        ("status nosuch --json", 3),
        ("list --json --nosuch", 2),
        ("list --json --keepalive 0", 2),
        ("list --json --config /nosuch", 3),
    ] {
        let failed = bench.fumidai(words.split_whitespace()).finish().await.exits(code);
        let line = failed.stderr.strip_suffix('\n').unwrap();
        let error: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{words}: {error}: {line}"));
        assert_eq!(error["error"]["code"], code, "{words}");
        has_keys("Failures", &error);
    }
}

#[tokio::test]
async fn a_broken_link_of_doctor_is_its_answer_and_no_failure() {
    let bench = Bench::new().start().await;
    let answer = bench.fumidai(["doctor", "nosuch", "--json"]).finish().await.exits(12).silent();
    let links: Value = serde_json::from_slice(&answer.stdout).unwrap();
    has_keys("doctor", &links);
    let links = links.as_array().unwrap();
    assert!(links.iter().any(|link| link["status"] == "broken"), "{links:?}");
}
