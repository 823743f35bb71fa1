//! Secrets: tokens, keys and payload are not where other users could read them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use fumidai::sim::SimConfig;
use fumidai::sim::faults::CutKind;
use fumidai::sim::sigv4::Credentials;

use crate::bench::Bench;
use crate::run::Run;
use crate::services::echo;
use crate::wiretap::Recorder;

const ECHO: u16 = 7;
const SECRET_KEY: &str = "simulated/very+secret+key";
const SESSION_TOKEN: &str = "IQoJb3JpZ2luSESSIONTOKEN";
const PAYLOAD: &str = "pAyLoAdThatNobodyMaySee";

async fn bench() -> Bench {
    let with_token = |config: &mut SimConfig| {
        config.credentials = Credentials {
            access_key_id: "ASIAFUMIDAI".to_owned(),
            secret_access_key: SECRET_KEY.to_owned(),
            session_token: Some(SESSION_TOKEN.to_owned()),
        };
    };
    Bench::new().port(ECHO, echo().await).configure(with_token).start().await
}

/// Checks a text that other users could read.
fn check(what: &str, text: &str, token: &str) {
    for secret in [SECRET_KEY, SESSION_TOKEN, PAYLOAD, token] {
        assert!(!text.contains(secret), "{what} shows `{secret}`");
    }
    // Nor the token's beginning, nor the payload as numbers.
    assert!(!text.contains(&token[..16]), "{what} shows the beginning of the token");
    let numbers: Vec<String> = PAYLOAD.bytes().take(8).map(|byte| byte.to_string()).collect();
    assert!(!text.contains(&numbers.join(", ")), "{what} shows the payload as numbers");
}

#[tokio::test]
async fn the_loudest_log_holds_no_secret() {
    let bench = bench().await;
    let recorder = Recorder::start(bench.simulator.address()).await;
    let log = bench.path("fumidai.log");
    let options = ["-vvv", "--log-file", log.to_str().unwrap()];
    let connect = bench.connect(ECHO, &options).env("RUST_LOG", "trace");
    let endpoint = format!("http://{}", recorder.address);
    let mut connect = connect.env("AWS_ENDPOINT_URL_SSM", endpoint).start();
    connect.round_trip(PAYLOAD.as_bytes()).await;
    bench.simulator.cut_all(CutKind::Reset);
    connect.round_trip(PAYLOAD.as_bytes()).await;
    let command_line = fs::read(format!("/proc/{}/cmdline", connect.id())).unwrap();
    let finished = connect.close_and_finish().await.exits(0);
    let token = recorder.string("TokenValue");
    assert!(token.len() > 16, "{token}");
    check("the command line", &String::from_utf8_lossy(&command_line), &token);
    check("standard error", &finished.stderr, &token);
    let text = fs::read_to_string(&log).unwrap();
    check("the log", &text, &token);
    assert!(finished.stderr.contains("resumed") && text.contains("resumed"), "there is a log");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    bench.settle().await;
}

#[tokio::test]
async fn the_default_log_is_for_its_owner_only() {
    let bench = bench().await;
    bench.fumidai(["connect", "i-0fedcba9876543210"]).finish().await.exits(14);
    let mode = fs::metadata(bench.path("home/fumidai/fumidai.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn names(environment: &[u8]) -> BTreeSet<String> {
    let entries = environment.split(|byte| *byte == 0 || *byte == b'\n');
    let entries = entries.map(String::from_utf8_lossy).filter(|entry| !entry.is_empty());
    entries.map(|entry| entry.split('=').next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn children_get_no_more_than_fumidai_was_given() {
    let bench = bench().await;
    let keys = format!(
        r#"{{"Version":1,"AccessKeyId":"ASIAFUMIDAI","SecretAccessKey":"{SECRET_KEY}","SessionToken":"{SESSION_TOKEN}"}}"#
    );
    let keys = bench.write("keys", keys);
    let seen = bench.path("environment");
    let process = format!("sh -c 'cat /proc/self/environ > {}; cat {}'", seen.display(), keys.display());
    let script = bench.write("process.sh", format!("{process}\n"));
    let profile = format!("[profile work]\ncredential_process = sh {}\n", script.display());
    let profile = bench.write("config", profile);
    let with_profile = |run: Run| {
        let run = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
            .iter()
            .fold(run, |run, name| run.without(name));
        run.env("AWS_CONFIG_FILE", &profile).env("AWS_PROFILE", "work")
    };
    let mut connect = with_profile(bench.connect(ECHO, &[])).start();
    connect.round_trip(b"hello").await;
    let given = names(&fs::read(format!("/proc/{}/environ", connect.id())).unwrap());
    connect.close_and_finish().await.exits(0).silent();
    let shells_own = ["PWD", "OLDPWD", "SHLVL", "_"].map(str::to_owned);
    let child = names(&fs::read(&seen).unwrap());
    let added: Vec<_> = child.difference(&given).filter(|name| !shells_own.contains(name)).collect();
    assert!(child.contains("AWS_PROFILE") && added.is_empty(), "{added:?}");
    let text = fs::read_to_string(&seen).unwrap();
    assert!(!text.contains(SECRET_KEY) && !text.contains(SESSION_TOKEN));
    bench.settle().await;
}
