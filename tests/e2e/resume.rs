//! What follows a cut, by what the service answers to ResumeSession and to the next upgrade.

use std::time::Duration;

use fumidai::sim::config::dummy_credentials;
use fumidai::sim::faults::{ApiEffect, ApiFault, CutKind, UpgradeFault};
use fumidai::sim::{Faults, SimEvent};

use crate::bench::Bench;
use crate::run::{Finished, Running};
use crate::services::echo;

const ECHO: u16 = 7;

async fn bench() -> Bench {
    Bench::new().port(ECHO, echo().await).start().await
}

/// A session in which something has been said already.
async fn talking(bench: &Bench, options: &[&str]) -> Running {
    let mut connect = bench.connect(ECHO, options).start();
    connect.round_trip(b"before").await;
    connect
}

/// Sets up what goes wrong, then cuts.
fn cut(bench: &Bench, faults: impl FnOnce(&mut Faults)) {
    bench.simulator.change_faults(faults);
    bench.simulator.cut_all(CutKind::Reset);
}

fn script(faults: &mut Faults, effect: ApiEffect, times: u32) {
    faults.api.push(ApiFault { operation: "ResumeSession".to_owned(), effect, times });
}

/// Cuts a session that cannot be resumed; how it ends.
async fn fails(bench: &Bench, options: &[&str], faults: impl FnOnce(&mut Faults)) -> Finished {
    let connect = talking(bench, options).await;
    cut(bench, faults);
    let finished = connect.finish().await;
    bench.settle().await;
    finished
}

/// Cuts a session that is resumed, and ends it.
async fn recovers(bench: &Bench, faults: impl FnOnce(&mut Faults)) {
    let mut connect = talking(bench, &[]).await;
    cut(bench, faults);
    connect.round_trip(b"after").await;
    connect.close_and_finish().await.exits(0).silent();
    bench.settle().await;
}

fn is_call(event: &SimEvent, name: &str, code: Option<&str>) -> bool {
    matches!(event, SimEvent::Api { operation, error, .. } if operation == name && error.as_deref() == code)
}

#[tokio::test]
async fn a_session_that_is_gone_is_final() {
    let bench = bench().await;
    let connect = talking(&bench, &[]).await;
    let session = bench.session();
    bench.simulator.change_faults(|faults| {
        faults.fail_api(
            "ResumeSession",
            "DoesNotExistException",
            &format!("Session {session} is not there"),
            1,
        );
    });
    bench.simulator.cut_all(CutKind::Reset);
    let finished = connect.finish().await.exits(17);
    assert!(finished.cause().starts_with("session lost: DoesNotExistException"), "{}", finished.stderr);
    assert_eq!(bench.simulator.journal().calls("ResumeSession"), 1);
}

#[tokio::test]
async fn an_answer_without_a_token_is_final() {
    let bench = bench().await;
    let connect = talking(&bench, &[]).await;
    cut(&bench, |faults| script(faults, ApiEffect::EmptyToken, 1));
    let finished = connect.finish().await.exits(17);
    let cause = finished.cause();
    assert!(
        cause.starts_with("session lost: it has ended meanwhile; the connection was lost at "),
        "{cause}"
    );
    assert!(cause.ends_with(" s: 1"), "{cause}");
    assert_eq!(bench.simulator.journal().calls("ResumeSession"), 1);
}

#[tokio::test]
async fn faults_of_the_service_are_outlasted() {
    let bench = bench().await;
    recovers(&bench, |faults| {
        faults.fail_api("ResumeSession", "InternalServerError", "try again", 2);
        faults.fail_api("ResumeSession", "ThrottlingException", "Rate exceeded", 1);
        script(faults, ApiEffect::Disconnect, 1);
        faults.upgrades.push(UpgradeFault { status: 503, times: 1 });
        faults.upgrades.push(UpgradeFault { status: 403, times: 1 });
    })
    .await;
    assert!(bench.simulator.journal().calls("ResumeSession") >= 7);
}

#[tokio::test]
async fn a_denial_is_tried_three_times_and_shown_whole() {
    let bench = bench().await;
    let message = format!("User: arn:aws:iam::123456789012:user/alice is not authorized {}", "x".repeat(600));
    let finished =
        fails(&bench, &[], |faults| faults.fail_api("ResumeSession", "AccessDeniedException", &message, 9))
            .await
            .exits(11);
    assert_eq!(finished.cause(), format!("AccessDeniedException when calling ResumeSession: {message}"));
    assert_eq!(bench.simulator.journal().calls("ResumeSession"), 3);
}

#[tokio::test]
async fn a_new_stream_url_is_honoured() {
    let bench = bench().await;
    recovers(&bench, |faults| script(faults, ApiEffect::NewStreamUrl, 1)).await;
    let refused = |event: &SimEvent| matches!(event, SimEvent::Upgrade { status, .. } if *status != 101);
    assert_eq!(bench.simulator.journal().count(refused), 0);
}

#[tokio::test]
async fn the_resume_window_ends() {
    let bench = bench().await;
    let failing = |faults: &mut Faults| faults.fail_api("ResumeSession", "InternalServerError", "no", 1000);
    let finished = fails(&bench, &["--resume-window", "2"], failing).await.exits(17);
    let cause = "session lost: not resumed within 2 s: InternalServerError when calling ResumeSession: no";
    let (why, history) = finished.cause().split_once("; ").unwrap();
    assert_eq!(why, cause);
    // Since when, how long, and how often it was tried.
    assert!(history.starts_with("the connection was lost at 20"), "{history}");
    let (_, tried) = history.split_once("Z; attempts to resume it in ").unwrap();
    let (seconds, attempts) = tried.split_once(" s: ").unwrap();
    assert!(seconds.parse::<u64>().unwrap() >= 2 && attempts.parse::<u32>().unwrap() >= 1, "{history}");
    assert!(finished.took >= Duration::from_secs(2));
}

#[tokio::test]
async fn no_resume_is_tried_without_a_window() {
    let bench = bench().await;
    fails(&bench, &["--resume-window", "0"], |_| {}).await.exits(17);
    assert_eq!(bench.simulator.journal().calls("ResumeSession"), 0);
}

/// The environment without keys, which are in a profile's file instead.
fn talk_with_profile(bench: &Bench, number: u32) -> crate::run::Run {
    let path = write_profile(bench, number);
    let run = bench.connect(ECHO, &[]).without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    run.env("AWS_SHARED_CREDENTIALS_FILE", path).env("AWS_PROFILE", "work")
}

fn write_profile(bench: &Bench, number: u32) -> std::path::PathBuf {
    let keys = dummy_credentials(number);
    let text = format!(
        "[work]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        keys.access_key_id, keys.secret_access_key
    );
    bench.write("credentials", text)
}

#[tokio::test]
async fn credentials_that_were_rotated_are_read_afresh() {
    let bench = bench().await;
    let mut connect = talk_with_profile(&bench, 1).start();
    connect.round_trip(b"before").await;
    bench.simulator.rotate_credentials(dummy_credentials(2));
    write_profile(&bench, 2);
    bench.simulator.cut_all(CutKind::Bye);
    connect.round_trip(b"after").await;
    let journal = bench.simulator.journal();
    assert_eq!(journal.count(|event| matches!(event, SimEvent::Api { error: Some(_), .. })), 0);
    connect.close_and_finish().await.exits(0).silent();
    bench.settle().await;
}

#[tokio::test]
async fn the_user_may_log_in_while_the_session_waits() {
    let bench = bench().await;
    let mut connect = talk_with_profile(&bench, 1).start();
    connect.round_trip(b"before").await;
    bench.simulator.rotate_credentials(dummy_credentials(2));
    bench.simulator.cut_all(CutKind::Reset);
    bench.see("a refusal", |event| is_call(event, "ResumeSession", Some("ExpiredTokenException"))).await;
    write_profile(&bench, 2);
    connect.round_trip(b"after").await;
    connect.close_and_finish().await.exits(0).silent();
    bench.settle().await;
}
