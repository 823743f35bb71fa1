//! Examinations on paused time, with services that never answer, or late.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::*;
use crate::aws::Prompts;
use crate::clock;
use crate::config::Flags;
use crate::reach::open_aws;

const TARGET: &str = "i-0123456789abcdef0";
const KEYS: &str = "[p]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = x\n";
/// Shorter than the limit of a check, and three of them are longer than the whole.
const SLOW: Duration = Duration::from_secs(4);
const CALLER: &str = "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/a</Arn>\
    <UserId>A</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>";

/// What an examination found, and how long it took.
struct Examined {
    findings: Vec<Finding>,
    took: Duration,
}

impl Examined {
    fn of(&self, component: Component) -> Vec<&Outcome> {
        let findings = self.findings.iter().filter(|finding| finding.component == component);
        findings.map(|finding| &finding.outcome).collect()
    }

    /// Why the only link of a kind is unknown.
    fn unknown(&self, component: Component) -> &str {
        let [Outcome::Unknown(why)] = self.of(component)[..] else { panic!("{:#?}", self.findings) };
        why
    }
}

fn credentials(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("credentials");
    fs::write(&path, text).expect("a file");
    path
}

async fn examine_at(url: &str, profile: &str) -> Examined {
    let folder = tempfile::tempdir().expect("a folder");
    let file = credentials(&folder, profile);
    let environment = Environment::of([
        ("AWS_PROFILE", "p"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", url),
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().expect("a text")),
        ("AWS_CONFIG_FILE", "/dev/null"),
    ]);
    let config = Config::resolve(Flags::default(), &environment);
    let config = config.expect("valid");
    let route = Route::new(TARGET, Some(5432), &config).expect("a target");
    let subject = Subject { word: TARGET.into(), route: Some(route), is_for_ssh: false, is_forward: false };
    let tasks = TaskTracker::new();
    let around = Surroundings {
        config: &config,
        environment: &environment,
        tasks: &tasks,
        on_notice: Rc::new(|_| ()),
        on_life: Rc::new(|_| ()),
    };
    let began = clock::now();
    let findings = examine(&subject, open_aws(&config, Prompts::default()), &around).await;
    Examined { findings, took: clock::now() - began }
}

/// Answers each request after a time: who the caller is, a session, and nothing else.
async fn answer(mut stream: TcpStream, after: Duration, session: String) {
    let mut request = vec![0; 1 << 16];
    while let Ok(length @ 1..) = stream.read(&mut request).await {
        sleep(after).await;
        let request = String::from_utf8_lossy(&request[..length]);
        let (status, body) = match &request {
            one if one.contains("GetCallerIdentity") => ("200 OK", CALLER),
            one if one.contains("AmazonSSM.StartSession") => ("200 OK", session.as_str()),
            _ => ("400 X", "{}"),
        };
        let head =
            format!("HTTP/1.1 {status}\r\nx-amzn-RequestId: 1\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all((head + body).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Examines with services that answer after a time; nothing answers at the address of the stream.
async fn examine_answering(after: Duration) -> Examined {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let stream = silent.local_addr().expect("bound");
    let session = serde_json::json!({
        "SessionId": "a-1", "TokenValue": "t", "StreamUrl": format!("ws://{stream}/v1/data-channel/a-1"),
    });
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let serve = async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(answer(stream, after, session.to_string()));
        }
    };
    let examine = async {
        tokio::select! {
            () = serve => panic!("it listens"),
            examined = examine_at(&url, KEYS) => examined,
        }
    };
    let examined = LocalSet::new().run_until(examine).await;
    assert!(examined.took <= Duration::from_secs(9), "{:?}", examined.took);
    examined
}

#[tokio::test(start_paused = true)]
async fn services_that_never_answer_are_named_within_the_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let role = "[p]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = s\n[s]\naws_access_key_id = A\n\
                aws_secret_access_key = x\n";
    for (profile, credentials) in [(KEYS, "no answer within 5 s"), (role, "not finished within 9 s")] {
        let examined = LocalSet::new().run_until(examine_at(&url, profile)).await;
        assert!(examined.took <= Duration::from_secs(9), "{:?}", examined.took);
        let first = examined.findings.iter().find(|one| matches!(one.outcome, Outcome::Broken(_)));
        assert_eq!(first.map(|one| one.component), Some(Component::Network), "{:#?}", examined.findings);
        let of_credentials = format!("{:?}", examined.of(Component::Credentials));
        assert!(of_credentials.contains(credentials), "{of_credentials}");
        for component in [Component::Machine, Component::Session] {
            assert!(matches!(examined.of(component)[..], [Outcome::Skipped]), "{:#?}", examined.findings);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn links_behind_late_answers_are_not_finished() {
    let examined = examine_answering(SLOW).await;
    assert!(
        matches!(examined.of(Component::Credentials)[..], [Outcome::Good(_)]),
        "{:#?}",
        examined.findings
    );
    assert_eq!(examined.unknown(Component::Session), "not finished within 7 s");
    assert_eq!(examined.unknown(Component::Leftovers), "not finished within 9 s");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_never_upgraded_is_left_in_time_to_end_its_session() {
    let examined = examine_answering(Duration::ZERO).await;
    assert_eq!(examined.unknown(Component::Session), "not finished within 7 s");
    assert_eq!(examined.took, Duration::from_secs(7));
}
