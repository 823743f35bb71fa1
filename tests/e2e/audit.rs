//! The record: what `connect` and `forward` write, what `audit` shows of it, and what is said when it was touched.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fumidai::sim::ONLINE_TARGET;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::run::until;
use crate::services::echo;
use crate::stub::stub;
use crate::tools::search_path;

const PORT: u16 = 7777;

async fn bench() -> Bench {
    Bench::new().port(PORT, echo().await).start().await
}

impl Bench {
    fn record(&self) -> PathBuf {
        self.path("home/fumidai/audit.jsonl")
    }

    /// The rows of `audit show --json`.
    async fn rows(&self, args: &[&str]) -> Vec<Value> {
        let finished = self.fumidai(["audit", "show", "--json"]).args(args).finish().await.exits(0);
        serde_json::from_str(finished.text()).unwrap()
    }

    async fn verify(&self) -> String {
        let finished = self.fumidai(["audit", "verify"]).finish().await;
        if finished.status.success() { finished.text().to_owned() } else { finished.cause().to_owned() }
    }
}

#[tokio::test]
async fn a_session_is_recorded_from_its_start_to_its_end() {
    let bench = bench().await;
    bench.connect(PORT, &["--reason", "patch day"]).input("hello").finish().await.exits(0).silent();
    let rows = bench.rows(&[]).await;
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(row["session"], bench.session());
    for (key, value) in [
        ("event", json!("started")),
        ("state", json!("done")),
        ("target", json!(ONLINE_TARGET)),
        ("word", json!(ONLINE_TARGET)),
        ("address", json!("localhost:7777")),
        ("document", json!("AWS-StartSSHSession")),
        ("reason", json!("patch day")),
        ("sent", json!(5)),
        ("received", json!(5)),
        ("resumes", json!(0)),
        ("region", json!("eu-central-1")),
    ] {
        assert_eq!(row[key], value, "{key}: {row}");
    }
    assert!(row["access_key"].is_string() && row["user"].is_string(), "{row}");
    let table = bench.fumidai(["audit", "show", "PATCH"]).finish().await.exits(0).silent();
    let lines: Vec<&str> = table.text().lines().collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("STARTED") && lines[1].contains("patch day"),
        "{lines:?}"
    );
    assert!(row["caller"].as_str().is_some_and(|arn| arn.starts_with("arn:aws:sts::123456789012:")), "{row}");
    let by_word = bench.fumidai(["audit", "show", ONLINE_TARGET]).finish().await.exits(0).silent();
    assert_eq!(by_word.text(), table.text());
    assert!(bench.verify().await.starts_with("the record was not touched: "));
    let mode = fs::metadata(bench.record()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_session_of_a_forward_has_its_destination_and_resumes() {
    use fumidai::sim::faults::{CutKind, CutWhen};

    let bench = Bench::new()
        .port(PORT, echo().await)
        .faults(|faults| faults.cut(CutWhen::Bytes(300_000), CutKind::Reset, 1))
        .start()
        .await;
    let forward = bench.forward(&["-L", "0:7777"]).await;
    crate::forwarding::exchange(forward.dial().await, &crate::services::noise(1, 1 << 20)).await;
    forward.end().await;
    let rows = bench.rows(&[]).await;
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&row["address"], &row["resumes"]), (&json!("localhost:7777"), &json!(1)), "{row}");
    assert!(row["sent"].as_u64() >= Some(1 << 20) && row["received"].as_u64() >= Some(1 << 20), "{row}");
    assert_eq!(row["state"], "left");
    let text = fs::read_to_string(bench.record()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let resumed = lines.iter().find(|line| line["event"] == "resumed").unwrap_or_else(|| panic!("{text}"));
    assert!(resumed["why"].is_string() && resumed["outage_ms"].is_u64(), "{resumed}");
    let both = resumed["sent"].as_u64().unwrap() + resumed["received"].as_u64().unwrap();
    assert!(both > 0 && resumed["time"].is_string() && resumed["resumes"] == 1, "{resumed}");
    let table = bench.fumidai(["audit", "show"]).finish().await.exits(0);
    let columns: Vec<&str> = table.text().lines().next().unwrap().split_whitespace().collect();
    assert!(columns.contains(&"RESUMES"), "{columns:?}");
}

#[tokio::test]
async fn a_caller_whom_aws_does_not_name_is_unknown_and_delays_nothing() {
    use fumidai::sim::faults::{ApiEffect, ApiFault};

    let bench = bench().await;
    bench.simulator.change_faults(|faults| {
        let (operation, effect) = ("GetCallerIdentity".to_owned(), ApiEffect::Hang);
        faults.api.push(ApiFault { operation, effect, times: u32::MAX });
    });
    let finished = bench.connect(PORT, &[]).input("hello").finish().await.exits(0).silent();
    assert!(finished.took.as_secs() < 3, "it did not wait for the caller: {:?}", finished.took);
    let rows = bench.rows(&[]).await;
    assert_eq!((&rows[0]["state"], &rows[0]["caller"]), (&json!("done"), &Value::Null), "{rows:?}");
}

#[tokio::test]
async fn a_caller_who_is_known_late_has_a_line_of_its_own() {
    use fumidai::sim::faults::{ApiEffect, ApiFault};

    let bench = bench().await;
    bench.simulator.change_faults(|faults| {
        let operation = "GetCallerIdentity".to_owned();
        let effect = ApiEffect::Delay(std::time::Duration::from_millis(700));
        faults.api.push(ApiFault { operation, effect, times: 1 });
    });
    let mut connect = bench.connect(PORT, &[]).start();
    connect.round_trip(b"x").await;
    let has = |event: &str| fs::read_to_string(bench.record()).unwrap_or_default().contains(event);
    until("the caller is recorded", || has("\"event\":\"caller\"")).await;
    connect.signal(Signal::KILL);
    connect.finish().await;
    let rows = bench.rows(&[]).await;
    assert!(rows.len() == 1 && rows[0]["caller"].is_string(), "{rows:?}");
}

#[tokio::test]
async fn without_a_record_nothing_is_called_untouched() {
    let bench = bench().await;
    let text = bench.verify().await;
    assert_eq!(text, format!("no record exists at `{}`\n", bench.record().display()));
}

#[tokio::test]
async fn a_program_gets_whole_columns() {
    let bench = bench().await;
    let reason = "r".repeat(200);
    bench.connect(PORT, &["--reason", &reason]).input("x").finish().await.exits(0);
    let table = bench.fumidai(["audit", "show"]).finish().await.exits(0);
    assert!(table.text().contains(&reason), "{}", table.text());
}

#[tokio::test]
async fn a_session_that_is_not_started_is_a_failure() {
    let bench = Bench::new()
        .port(PORT, echo().await)
        .faults(|faults| faults.fail_api("StartSession", "AccessDeniedException", "no such right", 1))
        .start()
        .await;
    bench.connect(PORT, &[]).finish().await.exits(11);
    bench.connect(PORT, &[]).input("x").finish().await.exits(0);
    let rows = bench.rows(&["--failed"]).await;
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&row["state"], &row["event"]), (&json!("not-started"), &json!("not-started")));
    assert!(row["why"].as_str().unwrap().contains("no such right"), "{row}");
}

#[tokio::test]
async fn a_killed_process_leaves_a_session_without_an_end() {
    let bench = bench().await;
    let mut connect = bench.connect(PORT, &[]).start();
    connect.round_trip(b"x").await;
    until("the start is recorded", || bench.record().exists()).await;
    assert_eq!(bench.rows(&[]).await[0]["state"], "open");
    connect.signal(Signal::KILL);
    connect.finish().await;
    assert_eq!(bench.rows(&["--failed"]).await[0]["state"], "unknown");
}

#[tokio::test]
async fn several_processes_share_one_record() {
    let bench = bench().await;
    let runs = (0..6).map(|_| bench.connect(PORT, &[]).input("x").finish());
    for finished in futures_util::future::join_all(runs).await {
        finished.exits(0).silent();
    }
    let verified = bench.verify().await;
    assert!(verified.starts_with("the record was not touched: "), "{verified}");
    let text = fs::read_to_string(bench.record()).unwrap();
    for event in ["started", "ended"] {
        assert_eq!(text.matches(&format!("\"event\":\"{event}\"")).count(), 6, "{text}");
    }
    assert_eq!(bench.rows(&[]).await.len(), 6);
}

#[tokio::test]
async fn a_touched_line_is_named() {
    let bench = bench().await;
    for _ in 0..2 {
        bench.connect(PORT, &[]).input("x").finish().await.exits(0);
    }
    // The caller may be known with the start or later, which is a line more.
    let text = fs::read_to_string(bench.record()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let [last, of] = [lines.len() - 1, lines.len()];
    let at = 1 + lines.iter().position(|line| line.contains("\"end\":\"done\"")).unwrap();
    let touched = format!("the record was touched at {}", bench.record().display());
    let changed = text.replacen("\"end\":\"done\"", "\"end\":\"left\"", 1);
    for (text, cause) in [
        (changed, format!("{touched}:{at}: its text was changed")),
        (
            format!("{}\n{}\n", lines[0], lines[last]),
            format!("{touched}:2: lines 2 to {last} are missing before it"),
        ),
        (format!("{}\n", lines[0]), format!("{touched}:1: lines 2 to {of} are missing behind it")),
        (format!("x\n{text}"), format!("{touched}:1: it is not a line of a record")),
    ] {
        fs::write(bench.record(), text).unwrap();
        let finished = bench.fumidai(["audit", "verify"]).finish().await.exits(1);
        assert_eq!(finished.cause(), cause);
    }
}

#[tokio::test]
async fn a_full_disk_breaks_no_session_and_is_said_once() {
    let bench = bench().await;
    fs::create_dir_all(bench.path("home/fumidai")).unwrap();
    symlink("/dev/full", bench.record()).unwrap();
    // `connect` says it in the log only: its standard error is ssh's.
    bench.connect(PORT, &[]).input("x").finish().await.exits(0).silent();
    let log = fs::read_to_string(bench.path("home/fumidai/fumidai.log")).unwrap();
    assert_eq!(log.matches("the audit record cannot be written").count(), 1, "{log}");
    let forward = bench.forward(&["-L", "0:7777"]).await;
    crate::forwarding::round_trip(&mut forward.dial().await, b"x").await;
    let finished = forward.end().await;
    assert_eq!(
        finished.stderr.matches("the audit record cannot be written").count(),
        1,
        "{}",
        finished.stderr
    );
    bench.settle().await;
}

/// CloudTrail's answers: a session of ours, and one of somebody else.
async fn cloudtrail(ours: String) -> std::net::SocketAddr {
    let event = |name: &str, record: Value| {
        let source = "ssm.amazonaws.com";
        let mut record = record;
        record["eventSource"] = source.into();
        record["eventTime"] = "2026-11-02T10:00:00Z".into();
        record["sourceIPAddress"] = "198.51.100.7".into();
        record["userIdentity"] = json!({ "arn": "arn:aws:sts::1:assumed-role/ops/bob" });
        json!({ "EventName": name, "EventSource": source, "CloudTrailEvent": record.to_string() })
    };
    stub(move |request| {
        assert!(request.contains("CloudTrail_20131101.LookupEvents"), "{request}");
        let second = request.contains("\"NextToken\"");
        let events = match (request.contains("\"StartSession\""), second) {
            (true, false) => {
                let record = json!({ "responseElements": { "sessionId": ours } });
                return (
                    200,
                    json!({ "Events": [event("StartSession", record)], "NextToken": "2" }).to_string(),
                );
            }
            (true, true) => vec![event(
                "StartSession",
                json!({
                    "requestParameters": { "target": "i-0aaaaaaaaaaaaaaaa", "reason": "debugging" },
                    "responseElements": { "sessionId": "bob-2" },
                }),
            )],
            (false, _) => Vec::new(),
        };
        (200, json!({ "Events": events }).to_string())
    })
    .await
}

#[tokio::test]
async fn cloudtrail_adds_the_sessions_of_others_and_the_addresses() {
    let bench = bench().await;
    bench.connect(PORT, &[]).input("x").finish().await.exits(0);
    let trail = format!("http://{}", cloudtrail(bench.session()).await);
    let show = || bench.fumidai(["audit", "show", "--cloudtrail"]).env("AWS_ENDPOINT_URL_CLOUDTRAIL", &trail);
    let finished = show().args(["--json"]).finish().await.exits(0);
    let rows: Vec<Value> = serde_json::from_str(finished.text()).unwrap();
    let [bob, ours] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&bob["session"], &bob["state"]), (&json!("bob-2"), &json!("elsewhere")));
    assert_eq!(ours["trail"]["from"], "198.51.100.7");
    let table = show().finish().await.exits(0);
    assert!(table.text().contains("debugging") && table.text().contains("198.51.100.7"), "{}", table.text());
}

#[tokio::test]
async fn the_page_is_read_in_a_browser_and_loads_nothing() {
    let bench = bench().await;
    bench.connect(PORT, &["--reason", "<b>patch & day</b>"]).input("hello").finish().await.exits(0);
    bench.simulator.change_faults(|faults| {
        faults.fail_api("StartSession", "AccessDeniedException", "no such right", 1);
    });
    bench.connect(PORT, &[]).finish().await.exits(11);
    let page = bench.path("page.html");
    let report = bench.fumidai(["audit", "report", "--html"]).args([&page]);
    report.finish().await.exits(0).silent();
    let text = fs::read_to_string(&page).unwrap();
    for word in ["src=", "href=", "url(", "@import", "http://", "https://"] {
        assert!(!text.contains(word), "{word}");
    }
    let Some(chromium) = chromium() else { return };
    let shown = browse(&bench, &chromium, "page.html").await;
    for part in [
        "<h2>Timeline (UTC)</h2>",
        "&lt;b&gt;patch &amp; day&lt;/b&gt;",
        "no such right",
        "the record was not touched: ",
    ] {
        assert!(shown.text.contains(part), "{part}: {}", shown.text);
    }
    assert_eq!(shown.loaded, [""; 0]);
    // What a page does load is seen.
    bench.write("other.html", "<img src='http://127.0.0.1:9/x.png'>");
    let other = browse(&bench, &chromium, "other.html").await;
    assert_eq!(other.loaded, ["http://127.0.0.1:9/x.png"]);
}

/// A page in a browser.
struct Shown {
    text: String,
    /// The addresses that the page, and not the browser itself, has loaded.
    loaded: Vec<String>,
}

async fn browse(bench: &Bench, chromium: &Path, page: &str) -> Shown {
    let net_log = bench.path(&format!("{page}.json"));
    let browser = bench.run(chromium).args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--dump-dom",
        &format!("--user-data-dir={}", bench.path(&format!("{page}.profile")).display()),
        &format!("--log-net-log={}", net_log.display()),
        &format!("file://{}", bench.path(page).display()),
    ]);
    let text = browser.finish().await.exits(0).text().to_owned();
    let log: Value = serde_json::from_str(&fs::read_to_string(net_log).unwrap()).unwrap();
    let events = log["events"].as_array().unwrap().iter().map(|event| &event["params"]);
    // A page from a file has an origin without a name.
    let of_page = events.filter(|event| event["initiator"] == "null");
    let loaded = of_page.filter_map(|event| Some(event["url"].as_str()?.to_owned())).collect();
    Shown { text, loaded }
}

/// Finds the browser; without one, only the page's text is checked.
fn chromium() -> Option<PathBuf> {
    let path = search_path();
    path.split(':').map(|folder| PathBuf::from(folder).join("chromium")).find(|path| path.is_file())
}
