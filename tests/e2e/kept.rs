//! `up`, `down`, `status`, `logs` and `restart` of forwards that stay.
//!
//! A test machine has no user bus: `standin/systemd.py` plays systemctl, journalctl and loginctl. It really starts, restarts
//! and stops the processes, in an environment that has nothing of the shell's but what the unit carries. The unit itself is
//! read by systemd's own `systemd-analyze verify`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use fumidai::sim::ONLINE_TARGET;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::bench::Bench;
use crate::forwarding::{Forward, dial, round_trip};
use crate::run::{PATIENCE, Run, until};
use crate::services::echo;
use crate::tools::{search_path, tool};

const ECHO: u16 = 7;

/// A home with credentials in a file, forwards in the config file, and the stand-in before everything else on `PATH`.
struct Home {
    bench: Bench,
}

impl Home {
    async fn new() -> Self {
        let bench = Bench::new().port(ECHO, echo().await).start().await;
        let home = Self { bench };
        for name in ["bin", "runtime", "home/fumidai"] {
            fs::create_dir(home.bench.path(name)).unwrap();
        }
        fs::set_permissions(home.bench.path("runtime"), fs::Permissions::from_mode(0o700)).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/standin/systemd.py");
        for name in ["systemctl", "journalctl", "loginctl"] {
            symlink(script, home.bench.path("bin").join(name)).unwrap();
        }
        home.configure("0");
        home.bench.write("credentials", home.credentials());
        home
    }

    fn configure(&self, keepalive: &str) {
        let (own, target) = (self.bench.path("own.sock"), ONLINE_TARGET);
        let text = format!(
            "[defaults]\nresume_window = {keepalive}\n[forwards.orders-db]\ntarget = '{target}'\nlocal = 0\nremote = {ECHO}\n\
            [forwards.\"c++\"]\ntarget = '{target}'\nlocal = '{}'\nremote = {ECHO}\n",
            own.display()
        );
        self.bench.write("home/fumidai/config.toml", text);
    }

    fn credentials(&self) -> String {
        let environment = self.bench.simulator.environment();
        let value = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let line = |key: &str, name: &str| value(name).map(|value| format!("{key} = {value}\n"));
        let keys = [
            line("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
            line("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
            line("aws_session_token", "AWS_SESSION_TOKEN"),
        ];
        format!("[default]\n{}", keys.into_iter().flatten().collect::<String>())
    }

    fn prepare(&self, run: Run) -> Run {
        let path = format!("{}:{}", self.bench.path("bin").display(), search_path());
        let run = run.env("PATH", path).env("XDG_RUNTIME_DIR", self.bench.path("runtime"));
        run.env("AWS_SHARED_CREDENTIALS_FILE", self.bench.path("credentials"))
    }

    /// `fumidai` without credentials in variables.
    fn fumidai(&self, words: &str) -> Run {
        let run = self.prepare(self.bench.fumidai(words.split_whitespace()));
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
            .into_iter()
            .fold(run, Run::without)
    }

    async fn done(&self, words: &str) -> String {
        let finished = self.fumidai(words).finish().await.exits(0);
        format!("{}{}", finished.text(), finished.stderr)
    }

    async fn status(&self, words: &str) -> Vec<Value> {
        let finished = self.fumidai(&format!("status --json {words}")).finish().await.exits(0).silent();
        serde_json::from_slice(&finished.stdout).unwrap()
    }

    /// The row of a forward.
    async fn row(&self, name: &str) -> Value {
        let mut rows = self.status(name).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    /// Waits for a row.
    async fn until_row(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let row = self.row(name).await;
                if is_so(&row) {
                    return row;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the row in time")
    }

    async fn systemctl(&self, words: &str) {
        let run = self.bench.run(&self.bench.path("bin/systemctl")).args(words.split_whitespace());
        self.prepare(run).finish().await.exits(0);
    }

    fn units(&self) -> PathBuf {
        self.bench.path("home/systemd/user")
    }

    fn left(&self) -> Vec<PathBuf> {
        let of = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten();
        let sockets = self.bench.path("runtime/fumidai/forwards");
        of(self.units()).chain(of(sockets)).map(|entry| entry.unwrap().path()).collect()
    }

    /// The processes of the stand-in, and those that it runs.
    fn alive(&self) -> Vec<u64> {
        let states = fs::read_dir(self.bench.path("runtime/standin")).into_iter().flatten();
        let states = states.map(|entry| entry.unwrap().path());
        let states = states.filter(|path| path.extension().is_some_and(|end| end == "state"));
        let facts = states.map(|path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap());
        let pids = facts.flat_map(|facts| ["keeper", "main"].map(|key| facts[key].as_u64().unwrap()));
        pids.filter(|pid| *pid > 0 && test_kill_process(pid_of(*pid)).is_ok()).collect()
    }
}

fn pid_of(pid: u64) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

fn local(row: &Value) -> String {
    row["listeners"][0]["local"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_forward_that_is_up_survives_kills_and_a_reboot_until_it_is_down() {
    let home = Home::new().await;
    assert_eq!(home.row("orders-db").await["state"], "down");
    let said = home.done("up orders-db").await;
    assert!(said.contains("orders-db is up") && said.contains("loginctl enable-linger"), "{said}");

    let row = home.row("orders-db").await;
    assert_eq!(
        (&row["state"], &row["autostart"], &row["sessions"]),
        (&"listening".into(), &true.into(), &0.into())
    );
    let mut client = dial(&local(&row)).await;
    round_trip(&mut client, b"hello").await;
    let row = home.row("orders-db").await;
    assert_eq!((&row["state"], &row["sessions"]), (&"connected".into(), &1.into()));
    assert_eq!(row["connections"], serde_json::json!({ "open": 1, "total": 1 }));
    assert_eq!(row["bytes"], serde_json::json!({ "sent": 5, "received": 5 }));
    let table = home.done("status").await;
    assert!(table.contains("orders-db") && table.contains("at login") && table.contains("down"), "{table}");
    assert!(home.done("logs orders-db").await.contains("listening on 127.0.0.1:"));

    // Once more changes nothing for the client.
    home.done("up orders-db").await;
    round_trip(&mut client, b"still here").await;

    kill_process(pid_of(row["pid"].as_u64().unwrap()), Signal::KILL).unwrap();
    let is_other =
        |before: Value| move |now: &Value| now["state"] == "listening" && now["pid"] != before["pid"];
    let row = home.until_row("orders-db", is_other(row)).await;
    home.systemctl("reboot").await;
    let row = home.until_row("orders-db", is_other(row)).await;
    home.done("restart").await;
    let row = home.until_row("orders-db", is_other(row)).await;
    round_trip(&mut dial(&local(&row)).await, b"again").await;

    let said = home.done("down").await;
    assert!(said.contains("orders-db is down"), "{said}");
    assert_eq!(home.row("orders-db").await["state"], "down");
    assert_eq!((home.left(), home.alive()), (vec![], vec![]));
    // That of the killed process: `fumidai sessions end --leaked` ends it.
    until("one session is left", || home.bench.simulator.open_sessions().len() == 1).await;
}

#[tokio::test]
async fn the_unit_is_valid_and_carries_what_the_shell_had_but_no_secret() {
    let home = Home::new().await;
    home.fumidai("up c++ --now-only --region us-east-1 --keepalive 7")
        .env("FUMIDAI_REASON", "a 'ticket' $5 100%")
        .finish()
        .await
        .exits(0);
    let unit = home.units().join("fumidai-forward@c\\x2b\\x2b.service");
    let verify =
        home.prepare(home.bench.run(&tool("systemd-analyze"))).args(["--user", "verify"]).args([&unit]);
    verify.finish().await.exits(0).silent();
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("\"--region\" \"us-east-1\" \"--keepalive\" \"7\" \"c++\""), "{text}");
    assert!(text.contains("Environment=\"FUMIDAI_REASON=a 'ticket' $5 100%%\""), "{text}");
    assert!(!text.contains("aws_secret") && !text.contains("AWS_SECRET_ACCESS_KEY"), "{text}");
    assert_eq!(fs::metadata(&unit).unwrap().permissions().mode() & 0o777, 0o600);
    let row = home.row("c++").await;
    assert_eq!((&row["state"], &row["autostart"]), (&"listening".into(), &false.into()));

    // It is not started by a reboot; other flags replace it.
    home.systemctl("reboot").await;
    assert_eq!(home.row("c++").await["state"], "stopped");
    home.done("up c++").await;
    assert!(!fs::read_to_string(&unit).unwrap().contains("keepalive"));
    assert_eq!(home.row("c++").await["autostart"], true);
    home.done("down c++").await;
    assert_eq!((home.left(), home.alive()), (vec![], vec![]));
}

/// `FUMIDAI_TEST_ROUNDS=100` has a hundred rounds.
#[tokio::test]
async fn kills_of_up_and_down_leave_nothing_that_down_does_not_mend() {
    let rounds = std::env::var("FUMIDAI_TEST_ROUNDS").map_or(5, |count| count.parse().unwrap());
    let home = Home::new().await;
    let mut seed: u64 = 7;
    for round in 0..rounds {
        for words in ["up", "down", "up orders-db"] {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let running = home.fumidai(words).start();
            tokio::time::sleep(Duration::from_millis(seed >> 33 & 0xff)).await;
            running.signal(Signal::KILL);
            running.finish().await;
        }
        if round % 4 == 1 {
            home.done("up").await;
            let rows = home.status("").await;
            assert!(rows.iter().all(|row| row["state"] == "listening"), "{rows:?}");
        }
        if round % 3 == 2 {
            home.done("down").await;
            home.status("").await;
            assert_eq!((home.left(), home.alive()), (vec![], vec![]), "round {round}");
        }
    }
    home.done("down").await;
    home.status("").await;
    assert_eq!((home.left(), home.alive()), (vec![], vec![]));
}

#[tokio::test]
async fn a_forward_by_hand_is_shown_beside_what_hangs_and_what_was_left() {
    let home = Home::new().await;
    let by_name = Forward::start(home.fumidai("forward orders-db c++"), 2).await;
    let by_target = Forward::start(home.fumidai(&format!("forward {ONLINE_TARGET} -L 0:{ECHO}")), 1).await;
    let sockets = home.bench.path("runtime/fumidai/forwards");
    drop(UnixListener::bind(sockets.join("1-0.sock")).unwrap());
    let _hangs = UnixListener::bind(sockets.join("2-0.sock")).unwrap();
    let rows = home.status("").await;
    let shown: Vec<(Value, &Value)> = rows.iter().map(|row| (row["names"].clone(), &row["state"])).collect();
    let names = |names: &[&str]| serde_json::json!(names);
    let [listening, hung] = ["listening", "not-answering"].map(Value::from);
    assert_eq!(
        shown,
        [(names(&["orders-db", "c++"]), &listening), (names(&[]), &hung), (names(&[]), &listening)]
    );
    assert_eq!(rows[0]["listeners"].as_array().unwrap().len(), 2);
    assert_eq!(local(&rows[2]), by_target.local[0]);
    assert!(!sockets.join("1-0.sock").exists());
    for forward in [by_name, by_target] {
        forward.end().await;
    }
    assert_eq!(fs::read_dir(&sockets).unwrap().count(), 1, "their sockets are gone");
}

#[tokio::test]
async fn a_failure_that_a_restart_does_not_mend_is_shown_and_not_repeated() {
    let home = Home::new().await;
    home.done("up orders-db").await;
    home.bench.write("home/fumidai/config.toml", "[forwards.orders-db]\n");
    let other = home.bench.write("other.toml", "");
    let config = format!("--config {}", other.display());
    let failed = home.fumidai(&format!("restart {config}")).finish().await.exits(1);
    assert!(
        failed.cause().starts_with("`systemctl --user restart fumidai-forward@orders-db.service` has failed")
    );
    assert!(failed.stderr.contains("hint: run `fumidai logs orders-db`"), "{}", failed.stderr);
    let row = home.row(&format!("orders-db {config}")).await;
    assert_eq!((&row["state"], &row["last_error"]["exit"]), (&"failed".into(), &3.into()));
    let table = home.done(&format!("status {config}")).await;
    assert!(table.contains("    last error: configuration (exit 3)"), "{table}");
    assert!(home.done(&format!("logs orders-db {config}")).await.contains("needs `target`"));
    home.done(&format!("down {config}")).await;
    assert_eq!((home.left(), home.alive()), (vec![], vec![]));
}

#[tokio::test]
async fn what_a_supervisor_would_not_have_is_refused() {
    let home = Home::new().await;
    let up = || home.fumidai("up orders-db");
    let keys =
        up().env("AWS_ACCESS_KEY_ID", "AKIA").env("AWS_SECRET_ACCESS_KEY", "s").finish().await.exits(10);
    assert!(
        keys.cause().contains("forward `orders-db` would sign with `AWS_ACCESS_KEY_ID`"),
        "{}",
        keys.stderr
    );
    let proxy = up().env("HTTPS_PROXY", "http://me:s3cret@127.0.0.1:1").finish().await.exits(1);
    assert!(proxy.cause().contains("`HTTPS_PROXY` has a password") && !proxy.stderr.contains("s3cret"));
    let reason = up().env("FUMIDAI_REQUIRE_REASON", "true").finish().await.exits(2);
    assert!(reason.stderr.contains("--reason TEXT"), "{}", reason.stderr);
    home.fumidai("up order-db").finish().await.exits(3);
    fs::create_dir_all(home.units()).unwrap();
    let own = home.units().join("fumidai-forward@orders-db.service");
    fs::write(&own, "mine").unwrap();
    let refused = up().finish().await.exits(1);
    assert!(refused.cause().contains("is not a file that `fumidai up` wrote"), "{}", refused.stderr);
    let said = home.done("down orders-db").await;
    assert!(said.contains("forward `orders-db` is not up"), "{said}");
    assert_eq!(fs::read_to_string(&own).unwrap(), "mine");
}

#[tokio::test]
async fn without_a_supervisor_the_foreground_is_named() {
    let home = Home::new().await;
    home.bench.write("runtime/no-bus", "");
    for words in ["up orders-db", "down", "restart"] {
        let failed = home.fumidai(words).finish().await.exits(1);
        let cause = "no supervisor runs here: systemctl: Failed to connect to bus: No medium found";
        assert_eq!(failed.cause(), cause);
        assert!(failed.stderr.contains("hint: run `fumidai forward NAME`"), "{}", failed.stderr);
    }
    assert_eq!(home.left(), Vec::<PathBuf>::new());
    assert_eq!(home.row("orders-db").await["state"], "down");
    fs::remove_file(home.bench.path("bin/systemctl")).unwrap();
    let nowhere = home.fumidai("up").env("PATH", home.bench.path("bin")).finish().await.exits(1);
    assert!(nowhere.cause().starts_with("no supervisor runs here: systemctl: "), "{}", nowhere.stderr);
}

#[tokio::test]
async fn a_supervisor_that_restarts_every_failure_gets_none_that_lasts() {
    let home = Home::new().await;
    for (supervisor, code) in [("launchd", 0), ("task-scheduler", 0), ("systemd", 3)] {
        let ended = home.fumidai(&format!("forward --supervisor {supervisor} nosuch")).finish().await;
        assert!(ended.exits(code).cause().contains("the config file has no `[forwards.nosuch]`"));
    }
}
