//! `fumidai sessions`: which of my sessions has a process, and the end of those that were left behind.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::run::{Run, until};
use crate::services::echo;

const PORT: u16 = 7777;

fn sessions(bench: &Bench, args: &[&str]) -> Run {
    bench.fumidai(["sessions"]).args(args)
}

async fn listed(bench: &Bench) -> Vec<Value> {
    let finished = sessions(bench, &["--json"]).finish().await.exits(0);
    serde_json::from_str(finished.text()).unwrap()
}

#[tokio::test]
async fn a_session_that_was_left_behind_is_found_and_ended() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let none = sessions(&bench, &[]).finish().await.exits(0);
    assert!(none.stderr.contains("you have no open session in eu-central-1"), "{}", none.stderr);
    let mut killed = bench.connect(PORT, &["--reason", "patch day"]).start();
    killed.round_trip(b"x").await;
    let mut living = bench.connect(PORT, &[]).start();
    living.round_trip(b"x").await;
    let lines = || std::fs::read_to_string(bench.path("home/fumidai/audit.jsonl")).unwrap_or_default();
    until("both are recorded", || lines().matches("\"event\":\"started\"").count() == 2).await;
    killed.signal(Signal::KILL);
    killed.finish().await;
    let found = listed(&bench).await;
    let state = |pid: Option<u32>| {
        let held = |row: &&Value| row.get("pid").and_then(Value::as_u64) == pid.map(u64::from);
        found.iter().find(held).unwrap_or_else(|| panic!("{found:?}")).clone()
    };
    let (left, held) = (state(None), state(Some(living.id())));
    assert_eq!((&left["state"], &left["reason"]), (&json!("leaked"), &json!("patch day")));
    assert_eq!(held["state"], "held");
    let table = sessions(&bench, &["list"]).finish().await.exits(0).silent();
    assert!(table.text().starts_with("SESSION") && table.text().contains("leaked"), "{}", table.text());
    let ended = sessions(&bench, &["end", "--leaked"]).finish().await.exits(0).silent();
    assert_eq!(ended.text(), format!("{} has ended\n", left["session"].as_str().unwrap()));
    assert_eq!(listed(&bench).await.len(), 1);
    let again = sessions(&bench, &["end", "--leaked"]).finish().await.exits(0);
    assert!(again.stderr.contains("no session of this machine was left behind"), "{}", again.stderr);
    let id = held["session"].as_str().unwrap();
    sessions(&bench, &["end", id]).finish().await.exits(0);
    living.finish().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_session_of_another_machine_is_not_taken_for_a_leak() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let mut connect = bench.connect(PORT, &[]).env("XDG_STATE_HOME", bench.path("elsewhere")).start();
    connect.round_trip(b"x").await;
    assert_eq!(listed(&bench).await[0]["state"], "elsewhere");
    sessions(&bench, &["end", "--leaked"]).finish().await.exits(0);
    connect.round_trip(b"y").await;
    connect.close_and_finish().await.exits(0);
    bench.settle().await;
}

#[tokio::test]
async fn a_session_in_a_shared_record_is_another_machines() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let mut killed = bench.connect(PORT, &[]).start();
    killed.round_trip(b"x").await;
    let file = bench.path("home/fumidai/audit.jsonl");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    until("it is recorded", || lines().contains("\"caller\":")).await;
    killed.signal(Signal::KILL);
    killed.finish().await;
    assert_eq!(listed(&bench).await[0]["state"], "leaked");
    let own = lines();
    let named = own.replacen("\"name\":\"", "\"name\":\"another-", 1);
    let unnamed = own.replacen("\"machine\":", "\"unknown\":", 1);
    for other in [named, unnamed] {
        assert_ne!(other, own);
        std::fs::write(&file, other).unwrap();
        assert_eq!(listed(&bench).await[0]["state"], "elsewhere");
        let end = sessions(&bench, &["end", "--leaked"]).finish().await.exits(0);
        assert!(end.stderr.contains("no session of this machine was left behind"), "{}", end.stderr);
    }
    std::fs::write(&file, own).unwrap();
    sessions(&bench, &["end", "--leaked"]).finish().await.exits(0);
    bench.settle().await;
}

#[tokio::test]
async fn what_is_to_be_ended_must_be_named() {
    let bench = Bench::new().start().await;
    let none = sessions(&bench, &["end"]).finish().await.exits(2);
    assert!(none.cause() == "no session is named" && none.stderr.contains("--leaked"), "{}", none.stderr);
    sessions(&bench, &["end", "x", "--leaked"]).finish().await.exits(2);
}

#[tokio::test]
async fn an_id_without_an_open_session_is_not_found() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    bench.connect(PORT, &[]).input("x").finish().await.exits(0);
    for id in ["no-such", &bench.session()] {
        let finished = sessions(&bench, &["end", id]).finish().await.exits(12);
        assert_eq!(finished.cause(), format!("no open session `{id}` in eu-central-1"));
    }
}

#[tokio::test]
async fn without_the_permission_to_look_a_session_is_asked_to_end() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    let mut connect = bench.connect(PORT, &[]).start();
    connect.round_trip(b"x").await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("DescribeSessions", "AccessDeniedException", "no such right", 1);
    });
    let id = bench.session();
    let finished = sessions(&bench, &["end", &id]).finish().await.exits(0).silent();
    assert!(finished.text().starts_with(&format!("{id} was asked to end; ")), "{}", finished.text());
    connect.finish().await;
    bench.settle().await;
}
