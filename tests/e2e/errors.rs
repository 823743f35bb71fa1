//! Each way to fail: its exit code and the lines on standard error.

use std::time::Duration;

use fumidai::sim::faults::{ApiEffect, ApiFault, SessionStep, UpgradeFault};
use fumidai::sim::{Faults, OFFLINE_TARGET, SimEvent};

use crate::bench::Bench;
use crate::run::Finished;
use crate::services::echo;
use crate::stub::stub;

const ECHO: u16 = 7;

async fn bench() -> Bench {
    Bench::new().port(ECHO, echo().await).start().await
}

#[tokio::test]
async fn an_error_of_start_session_has_its_exit_code_and_is_shown_whole() {
    let denied = "User: arn:aws:sts::123456789012:assumed-role/dev/alice is not authorized to perform: \
                  ssm:StartSession on resource: arn:aws:ec2:eu-central-1:123456789012:instance/i-0 because no \
                  identity-based policy allows the ssm:StartSession action";
    let bench = bench().await;
    for (code, message, exit, calls) in [
        ("AccessDeniedException", denied, 11, 1),
        ("TargetNotConnected", "i-0123456789abcdef0 is not connected.", 14, 1),
        ("ExpiredTokenException", "The security token included in the request is expired", 10, 1),
        ("UnrecognizedClientException", "The security token included in the request is invalid.", 10, 1),
        ("InvalidSignatureException", "Signature expired", 10, 1),
        ("InvalidDocument", "Document with name x does not exist.", 1, 1),
        ("ThrottlingException", "Rate exceeded", 1, 4),
        ("InternalServerError", "An error occurred on the server side.", 1, 4),
    ] {
        bench.simulator.change_faults(|faults| {
            faults.api.clear();
            faults.fail_api("StartSession", code, message, 100);
        });
        let before = bench.simulator.journal().calls("StartSession");
        let finished = bench.connect(ECHO, &[]).finish().await.exits(exit);
        assert_eq!(finished.cause(), format!("{code} when calling StartSession: {message}"));
        assert_eq!(bench.simulator.journal().calls("StartSession") - before, calls, "{code}");
        assert_eq!(finished.stdout, b"");
    }
    assert_eq!(bench.simulator.sessions().len(), 0);
}

#[tokio::test]
async fn throttling_that_passes_is_no_error() {
    let bench = bench().await;
    bench.simulator.change_faults(|faults| faults.fail_api("StartSession", "ThrottlingException", "slow", 2));
    bench.connect(ECHO, &[]).finish().await.exits(0).silent();
    bench.settle().await;
}

#[tokio::test]
async fn a_target_that_is_offline_is_not_connected() {
    let bench = bench().await;
    let finished = bench.fumidai(["connect", OFFLINE_TARGET]).finish().await.exits(14);
    let cause = format!("TargetNotConnected when calling StartSession: {OFFLINE_TARGET} is not connected.");
    assert_eq!(finished.cause(), cause);
    assert!(finished.stderr.contains("fumidai doctor"), "{}", finished.stderr);
}

#[tokio::test]
async fn missing_settings_are_told_before_anything_is_sent() {
    let bench = bench().await;
    let without_keys = bench.connect(ECHO, &[]).without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    let finished = without_keys.finish().await.exits(10);
    assert!(finished.cause().starts_with("no usable AWS credentials: "), "{}", finished.stderr);
    assert!(finished.stderr.contains("aws sso login"), "{}", finished.stderr);
    let without_region = bench.connect(ECHO, &[]).without("AWS_REGION").without("AWS_DEFAULT_REGION");
    let finished = without_region.finish().await.exits(3);
    assert_eq!(finished.cause(), "no region is configured");
    assert!(finished.stderr.contains("`AWS_REGION`"), "{}", finished.stderr);
    assert_eq!(bench.simulator.journal().entries().len(), 0);
}

#[tokio::test]
async fn keys_that_the_service_does_not_know_are_credentials() {
    let bench = bench().await;
    bench.connect(ECHO, &[]).env("AWS_SECRET_ACCESS_KEY", "wrong").finish().await.exits(10);
    bench.connect(ECHO, &[]).env("AWS_ACCESS_KEY_ID", "AKIDUNKNOWN").finish().await.exits(10);
}

/// Runs into the connect timeout; the step that the message names.
async fn times_out(faults: impl FnOnce(&mut Faults)) -> (Bench, Finished) {
    let bench = bench().await;
    bench.simulator.change_faults(faults);
    let finished = bench.connect(ECHO, &["--connect-timeout", "2"]).finish().await.exits(16);
    (bench, finished)
}

#[tokio::test]
async fn an_api_that_does_not_answer_times_out() {
    let hang = |faults: &mut Faults| {
        let operation = "StartSession".to_owned();
        faults.api.push(ApiFault { operation, effect: ApiEffect::Hang, times: 100 });
    };
    let (_, finished) = times_out(hang).await;
    assert_eq!(finished.cause(), "timed out after 2 s in step `StartSession`");
}

#[tokio::test]
async fn a_late_answer_of_the_api_is_ended_all_the_same() {
    let late = |faults: &mut Faults| {
        let (operation, effect) = ("StartSession".to_owned(), ApiEffect::Delay(Duration::from_millis(2800)));
        faults.api.push(ApiFault { operation, effect, times: 1 });
    };
    let (bench, finished) = times_out(late).await;
    assert_eq!(finished.cause(), "timed out after 2 s in step `StartSession`");
    bench.settle().await;
}

#[tokio::test]
async fn an_agent_that_never_speaks_times_out() {
    let (bench, finished) = times_out(|faults| faults.agent_silent_at = Some(SessionStep::Opened)).await;
    assert_eq!(finished.cause(), "timed out after 2 s in step `waiting for the agent's first message`");
    bench.settle().await;
}

#[tokio::test]
async fn an_agent_that_never_completes_the_handshake_times_out() {
    let (bench, finished) =
        times_out(|faults| faults.agent_silent_at = Some(SessionStep::HandshakeResponse)).await;
    let step = "waiting for the agent to complete the handshake";
    assert_eq!(finished.cause(), format!("timed out after 2 s in step `{step}`"));
    bench.settle().await;
}

#[tokio::test]
async fn an_upgrade_that_keeps_failing_times_out_with_its_cause() {
    let failing = |faults: &mut Faults| faults.upgrades.push(UpgradeFault { status: 503, times: 100 });
    let (bench, finished) = times_out(failing).await;
    let cause = "timed out after 2 s in step `opening the websocket` (last: the upgrade to a websocket was \
                 refused with HTTP 503: scripted)";
    assert_eq!(finished.cause(), cause);
    bench.settle().await;
}

#[tokio::test]
async fn two_forbidden_upgrades_are_access_denied() {
    let bench = bench().await;
    let forbid =
        |times| move |faults: &mut Faults| faults.upgrades = vec![UpgradeFault { status: 403, times }];
    bench.simulator.change_faults(forbid(2));
    let finished = bench.connect(ECHO, &[]).finish().await.exits(11);
    assert_eq!(finished.cause(), "the upgrade to a websocket was refused with HTTP 403: scripted");
    assert!(finished.stderr.contains("ssmmessages:OpenDataChannel"), "{}", finished.stderr);
    bench.simulator.change_faults(forbid(1));
    bench.connect(ECHO, &[]).finish().await.exits(0).silent();
    bench.settle().await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_reported_as_a_lack_of_connection() {
    let bench = bench().await;
    let endless = stub(|_| (200, "x".repeat((16 << 20) + 1))).await;
    let endless = format!("http://{endless}");
    let finished = bench.connect(ECHO, &[]).env("AWS_ENDPOINT_URL_SSM", &endless).finish().await.exits(1);
    assert_eq!(finished.cause(), "the answer to StartSession is longer than 16 MiB");
    assert!(finished.stderr.contains("check the endpoint settings"), "{}", finished.stderr);
    // The list has the nodes of Systems Manager.
    let finished = bench.fumidai(["list"]).env("AWS_ENDPOINT_URL_EC2", &endless).finish().await.exits(0);
    let words = "the list is incomplete: the answer to DescribeInstances is longer than 16 MiB";
    assert!(finished.stderr.contains(words), "{}", finished.stderr);
}

#[tokio::test]
async fn a_stream_url_of_a_foreign_host_is_not_dialled() {
    let named = |config: &mut fumidai::sim::SimConfig| config.hostname = "localhost".to_owned();
    let bench = Bench::new().port(ECHO, echo().await).configure(named).start().await;
    // The user's setting names another host than the stream URL will.
    let endpoint = format!("http://{}", bench.simulator.address());
    let connect = bench.connect(ECHO, &[]).without("AWS_ENDPOINT_URL_SSMMESSAGES");
    let finished = connect.env("AWS_ENDPOINT_URL_SSM", endpoint).finish().await.exits(1);
    let cause = "the service gave a `ws://` stream URL for host `localhost`";
    assert_eq!(finished.cause(), cause);
    assert!(finished.stderr.contains("`AWS_ENDPOINT_URL_SSMMESSAGES`"), "{}", finished.stderr);
    let dialled = bench.simulator.journal().count(|event| matches!(event, SimEvent::Upgrade { .. }));
    assert_eq!(dialled, 0);
    bench.settle().await;
}

#[tokio::test]
async fn a_wrong_config_file_is_told_by_line() {
    let bench = bench().await;
    let file = bench.write("config.toml", "[defaults]\nkeepalive = 20\nregoin = \"eu-central-1\"\n");
    let finished = bench.connect(ECHO, &["--config", file.to_str().unwrap()]).finish().await.exits(3);
    let cause = finished.cause();
    assert!(cause.starts_with(&format!("{}:3:", file.display())) && cause.contains("`region`"), "{cause}");
    let missing = bench.connect(ECHO, &["--config", "/nowhere/config.toml"]).finish().await.exits(3);
    assert!(missing.cause().contains("/nowhere/config.toml"), "{}", missing.stderr);
    assert_eq!(bench.simulator.journal().entries().len(), 0);
}

#[tokio::test]
async fn what_is_not_a_command_line_is_usage() {
    let bench = bench().await;
    for args in [
        &["conect", "i-0123456789abcdef0"][..],
        &["connect"],
        &["connect", "i-0123456789abcdef0", "0"],
        &["connect", "i-0123456789abcdef0", "--keep-alive", "3"],
        &["connect", "i-0123456789abcdef0", "--keepalive", "soon"],
        &["connect", "I-0123456789ABCDEF0"],
        &["shell", "i-0123456789abcdef0"],
        &[],
    ] {
        let finished = bench.fumidai(args).finish().await.exits(2);
        assert!(!finished.stderr.is_empty() && finished.stdout.is_empty(), "{args:?}");
    }
    let suggestion = bench.fumidai(["conect", "i-0"]).finish().await;
    assert!(suggestion.stderr.contains("'connect'"), "{}", suggestion.stderr);
    assert_eq!(bench.simulator.journal().entries().len(), 0);
}

#[tokio::test]
async fn failures_reach_the_log_when_stderr_does_not() {
    let bench = bench().await;
    bench.simulator.change_faults(|faults| faults.fail_api("StartSession", "AccessDeniedException", "no", 1));
    bench.connect(ECHO, &[]).finish().await.exits(11);
    let log = std::fs::read_to_string(bench.path("home/fumidai/fumidai.log")).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("ERROR") && log.contains("AccessDeniedException when calling StartSession: no"),
        "{log}"
    );
}
