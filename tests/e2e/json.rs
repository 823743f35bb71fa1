//! What programs get: the keys of docs/json.md, and failures as one line.

use std::collections::BTreeSet;
use std::fs;

use fumidai::sim::{OFFLINE_TARGET, ONLINE_TARGET};
use serde_json::Value;

use crate::bench::Bench;
use crate::forwarding::{Forward, dial, round_trip};
use crate::services::echo;

/// Adds the paths of all values: `a.b`, and `a[].b` for the elements of a list. Nulls and empty lists may have any below.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>, open: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                found.insert(below.clone());
                paths(value, &below, found, open);
            }
        }
        Value::Array(elements) => {
            if elements.is_empty() {
                open.insert(path.to_owned());
            }
            let below = if path.is_empty() { String::new() } else { format!("{path}[]") };
            elements.iter().for_each(|element| paths(element, &below, found, open));
        }
        Value::Null => {
            open.insert(path.to_owned());
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The keys of a section of docs/json.md, and whether each is always there.
fn documented(section: &str) -> Vec<(String, bool)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md")).unwrap();
    let (_, rest) =
        page.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let rest = rest.split("\n## ").next().unwrap();
    let rows = rest.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(key, meaning)| (key.to_owned(), !meaning.contains("not always"))).collect()
}

/// Sees that a value has the documented keys, and no others.
#[track_caller]
fn has_keys(section: &str, value: &Value) {
    let (mut found, mut open) = (BTreeSet::new(), BTreeSet::new());
    paths(value, "", &mut found, &mut open);
    let documented = documented(section);
    let is_known = |key: &&String| documented.iter().any(|(known, _)| known == *key);
    let unknown: Vec<&String> = found.iter().filter(|key| !is_known(key)).collect();
    assert!(unknown.is_empty(), "{section}: docs/json.md has no {unknown:#?}");
    let is_below = |key: &str| open.iter().any(|above| above.is_empty() || key.starts_with(above.as_str()));
    let gone = documented.iter().filter(|(key, always)| *always && !found.contains(key) && !is_below(key));
    let gone: Vec<_> = gone.collect();
    assert!(gone.is_empty(), "{section}: not there: {gone:?}");
}

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
