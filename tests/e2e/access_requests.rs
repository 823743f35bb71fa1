//! Just-in-time node access: a request, the wait for its approval, and each way in which there is none.

use std::fs;
use std::time::Duration;

use fumidai::sim::access_requests::{Decision, JustInTime};
use fumidai::sim::faults::{ApiEffect, ApiFault, CutKind, CutWhen};
use fumidai::sim::{OFFLINE_TARGET, ONLINE_TARGET, SimEvent};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Builder};
use crate::forwarding::Forward;
use crate::run::{Finished, Run, until};
use crate::services::{echo, noise};

const PORT: u16 = 7777;
const DOCUMENTS: [&str; 2] = ["AWS-StartSSHSession", "AWS-StartPortForwardingSession"];

/// A service that decides after one answer that the request is pending; approvals are for ports too.
async fn bench(decision: Option<Decision>) -> Bench {
    scripted(JustInTime { documents: DOCUMENTS.map(str::to_owned).to_vec(), ..JustInTime::new(decision, 1) })
        .await
        .start()
        .await
}

async fn scripted(policy: JustInTime) -> Builder {
    let port = echo().await;
    Bench::new().port(PORT, port).configure(|config| config.just_in_time = Some(policy))
}

impl Bench {
    /// `connect` that requests access.
    fn request(&self, options: &[&str]) -> Run {
        self.connect(PORT, &["--access-request", "true", "--reason", "patch day"])
            .args(options)
            .input("hello")
    }

    /// Scripts the next answers of an operation.
    fn script(&self, operation: &str, effect: ApiEffect, times: u32) {
        let fault = ApiFault { operation: operation.to_owned(), effect, times };
        self.simulator.change_faults(|faults| faults.api.push(fault));
    }

    /// Waits for so many calls of an operation.
    async fn called(&self, operation: &str, times: usize) {
        until(operation, || self.simulator.journal().calls(operation) >= times).await;
    }

    fn filed(&self) -> usize {
        self.simulator.journal().calls("StartAccessRequest")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("home/fumidai/fumidai.log")).unwrap_or_default()
    }
}

/// The id of a request in a text.
fn id_in(text: &str) -> String {
    let at = text.find("oi-").unwrap_or_else(|| panic!("no id: {text}"));
    text[at..at + 15].to_owned()
}

/// The line that has the id of a request that was filed.
fn request_line(id: &str) -> String {
    format!("fumidai: access to {ONLINE_TARGET} is requested: {id}; waiting for its approval\n")
}

/// What follows the line about the request.
fn after_request(mut finished: Finished) -> Finished {
    let line = request_line(&id_in(&finished.stderr));
    let rest = finished.stderr.strip_prefix(&line);
    finished.stderr = rest.unwrap_or_else(|| panic!("{}", finished.stderr)).to_owned();
    finished
}

#[tokio::test]
async fn an_approval_opens_the_session_and_is_recorded() {
    let bench = bench(Some(Decision::Approve)).await;
    let finished = after_request(bench.request(&[]).finish().await.exits(0)).silent();
    assert_eq!(finished.text(), "hello");
    let log = bench.log();
    let id = id_in(&log);
    assert!(log.contains(&format!("access to {ONLINE_TARGET} is requested: {id}")), "{log}");
    assert!(log.contains(&format!("access request {id} is approved, for 60 min")), "{log}");
    let rows = bench.fumidai(["audit", "show", "--json"]).finish().await.exits(0);
    let rows: Vec<Value> = serde_json::from_str(rows.text()).unwrap();
    assert_eq!((&rows[0]["approval"], &rows[0]["state"]), (&json!(id), &json!("done")), "{rows:?}");
    assert_eq!((bench.filed(), bench.simulator.journal().calls("GetAccessToken")), (1, 2));
    bench.settle().await;
}

#[tokio::test]
async fn the_wait_is_not_part_of_the_connect_timeout() {
    let policy = JustInTime {
        documents: vec![DOCUMENTS[0].to_owned()],
        ..JustInTime::new(Some(Decision::Approve), 2)
    };
    let bench = scripted(policy).await.start().await;
    after_request(bench.request(&["--connect-timeout", "2"]).finish().await.exits(0)).silent();
    bench.settle().await;
}

#[tokio::test]
async fn a_decision_against_it_is_the_cause() {
    for (decision, words) in [
        (Decision::Reject, "was rejected"),
        (Decision::Revoke, "was revoked"),
        (Decision::Expire, "has expired"),
    ] {
        let bench = bench(Some(decision)).await;
        let finished = after_request(bench.request(&[]).finish().await.exits(11));
        let id = id_in(finished.cause());
        assert_eq!(finished.cause(), format!("access request `{id}` {words}"));
        assert!(finished.stderr.contains("hint: "), "{}", finished.stderr);
        let rows = bench.fumidai(["audit", "show", "--json"]).finish().await.exits(0);
        assert!(rows.text().contains(words), "{}", rows.text());
        assert!(bench.simulator.sessions().is_empty());
    }
}

/// The id that a hint gives to go on with.
fn hinted(finished: &Finished) -> String {
    let id = id_in(&finished.stderr);
    assert!(finished.stderr.contains(&format!("`--access-request {id}`")), "{}", finished.stderr);
    assert!(finished.stderr.contains(&format!("`FUMIDAI_ACCESS_REQUEST={id}`")), "{}", finished.stderr);
    id
}

#[tokio::test]
async fn a_request_that_was_not_decided_in_time_is_gone_on_with() {
    let policy = JustInTime {
        documents: vec![DOCUMENTS[0].to_owned()],
        ..JustInTime::new(Some(Decision::Approve), 3)
    };
    let bench = scripted(policy).await.start().await;
    let finished = after_request(bench.request(&["--access-request-timeout", "1"]).finish().await.exits(11));
    assert!(finished.cause().ends_with("is not decided after 1 s"), "{}", finished.stderr);
    let id = hinted(&finished);
    // The request has its reason.
    let again =
        bench.connect(PORT, &[]).env("FUMIDAI_ACCESS_REQUEST", &id).env("FUMIDAI_REQUIRE_REASON", "true");
    let again = again.input("hello").finish().await;
    assert_eq!(again.exits(0).silent().text(), "hello");
    assert_eq!(bench.filed(), 1);
    bench.settle().await;
}

#[tokio::test]
async fn an_interrupt_leaves_the_request_pending_and_says_how_to_go_on() {
    let bench = bench(None).await;
    let connect = bench.request(&[]).start();
    let is_asked =
        |event: &SimEvent| matches!(event, SimEvent::Api { operation, .. } if operation == "GetAccessToken");
    bench.see("the request is asked for", is_asked).await;
    connect.signal(Signal::INT);
    let finished = connect.finish().await.exits(130);
    let (log, id) = (bench.log(), hinted(&finished));
    let last = format!("access request {id} stays pending; to go on with it, use `--access-request {id}`");
    assert!(log.contains(&last), "{log}");
    let finished = after_request(finished);
    assert!(finished.stderr.starts_with(&format!("fumidai: {last}")), "{}", finished.stderr);
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
}

#[tokio::test]
async fn with_q_only_the_log_has_the_id_of_the_request() {
    let bench = bench(Some(Decision::Approve)).await;
    bench.request(&["-q"]).finish().await.exits(0).silent();
    assert!(bench.log().contains(&format!("is requested: {}", id_in(&bench.log()))));
    bench.settle().await;
}

#[tokio::test]
async fn each_refusal_of_the_request_has_a_hint_of_its_own() {
    for (code, hint) in [
        ("AccessDeniedException", "`ssm:StartAccessRequest` on the node is needed"),
        ("ResourceNotFoundException", "ask for an approval policy for the node"),
        ("ServiceQuotaExceededException", "wait until earlier requests are decided"),
        ("ValidationException", "two approval policies are for this node"),
        ("UnknownOperationException", "set up just-in-time node access"),
    ] {
        let bench = bench(None).await;
        bench.simulator.change_faults(|faults| faults.fail_api("StartAccessRequest", code, "scripted", 1));
        let finished = bench.request(&[]).finish().await.exits(11);
        let cause = format!("access to `{ONLINE_TARGET}` cannot be requested: {code}");
        assert!(
            finished.cause().starts_with(&cause) && finished.stderr.contains(hint),
            "{}",
            finished.stderr
        );
    }
}

#[tokio::test]
async fn access_that_is_not_set_up_is_said() {
    let bench = Bench::new()
        .faults(|faults| faults.fail_api("StartSession", "AccessDeniedException", "no such right", 1))
        .start()
        .await;
    let finished = bench.request(&[]).finish().await.exits(11);
    assert!(finished.cause().contains("is not enabled in this account"), "{}", finished.stderr);
    assert!(finished.stderr.contains("hint: ask an administrator to set up"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_throttled_request_is_tried_again() {
    let bench = bench(Some(Decision::Approve)).await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("StartAccessRequest", "ThrottlingException", "slow down", 1);
        faults.fail_api("GetAccessToken", "ThrottlingException", "slow down", 1);
    });
    after_request(bench.request(&[]).finish().await.exits(0)).silent();
    assert_eq!(bench.filed(), 2);
    bench.settle().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_looked_at_names_the_permission_and_the_id() {
    let bench = bench(Some(Decision::Approve)).await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("GetAccessToken", "AccessDeniedException", "no such right", 1);
    });
    let finished = bench.request(&[]).finish().await.exits(11);
    assert!(finished.stderr.contains("`ssm:GetAccessToken` is needed"), "{}", finished.stderr);
    hinted(&finished);
    let unknown = bench.connect(PORT, &["--access-request", "oi-0123456789ab"]).finish().await.exits(11);
    assert!(unknown.cause().contains("ResourceNotFoundException"), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("hint: check the id"), "{}", unknown.stderr);
}

#[tokio::test]
async fn by_the_policy_of_aws_an_approval_opens_no_port() {
    let bench = scripted(JustInTime::new(Some(Decision::Approve), 0)).await.start().await;
    let finished = after_request(bench.request(&[]).finish().await.exits(11));
    let id = id_in(finished.cause());
    let cause = format!(
        "access request `{id}` is approved, but its credentials may not start `AWS-StartSSHSession`: "
    );
    assert!(finished.cause().starts_with(&cause), "{}", finished.stderr);
    assert!(finished.stderr.contains("start `SSM-SessionManagerRunShell` only"), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("ask an administrator to allow `ssm:StartSession`"),
        "{}",
        finished.stderr
    );
}

#[tokio::test]
async fn a_caller_who_may_start_sessions_requests_nothing() {
    let bench = Bench::new().port(PORT, echo().await).start().await;
    bench.request(&[]).finish().await.exits(0).silent();
    assert_eq!(bench.filed(), 0);
    bench.settle().await;
}

#[tokio::test]
async fn a_request_without_a_reason_is_not_filed() {
    let bench = bench(Some(Decision::Approve)).await;
    let finished = bench.connect(PORT, &["--access-request", "true"]).finish().await.exits(2);
    assert_eq!(finished.cause(), "a reason is required, and none is given");
    assert_eq!(bench.filed(), 0);
}

#[tokio::test]
async fn one_approval_serves_all_sessions_of_a_forward_and_their_resumes() {
    let policy = JustInTime {
        documents: DOCUMENTS.map(str::to_owned).to_vec(),
        ..JustInTime::new(Some(Decision::Approve), 1)
    };
    let bench = scripted(policy)
        .await
        .faults(|faults| faults.cut(CutWhen::Bytes(300_000), CutKind::Reset, 1))
        .start()
        .await;
    let options = ["-L", "0:7777", "--sessions", "2", "--access-request", "true", "--reason", "patch day"];
    let forward = bench.forward(&options).await;
    let (one, two) = tokio::join!(forward.dial(), forward.dial());
    let (first, second) = (noise(1, 1 << 20), noise(2, 1 << 10));
    tokio::join!(crate::forwarding::exchange(one, &first), crate::forwarding::exchange(two, &second));
    let notes = forward.notes();
    assert!(notes.contains("is requested: oi-") && notes.contains("is approved"), "{notes}");
    let journal = bench.simulator.journal();
    assert!(journal.calls("ResumeSession") >= 1 && bench.filed() == 1, "{journal:?}");
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_forward_whose_request_is_rejected_ends_and_files_no_other() {
    let bench = bench(Some(Decision::Reject)).await;
    let command = bench.forward_command(["-L", "0:7777", "--access-request", "true", "--reason", "x"]);
    let forward = Forward::start(command, 1).await;
    drop(forward.dial().await);
    let finished = forward.running.finish().await.exits(11);
    assert!(finished.stderr.contains("was rejected"), "{}", finished.stderr);
    assert_eq!(bench.filed(), 1);
}

#[tokio::test]
async fn an_approval_that_has_ended_is_asked_for_again() {
    let policy = JustInTime {
        documents: DOCUMENTS.map(str::to_owned).to_vec(),
        lifetime: Duration::from_secs(1),
        ..JustInTime::new(Some(Decision::Approve), 0)
    };
    let bench = scripted(policy).await.start().await;
    let options = ["-v", "-L", "0:7777", "--access-request", "true", "--reason", "patch day"];
    let forward = bench.forward(&options).await;
    crate::forwarding::round_trip(&mut forward.dial().await, b"x").await;
    bench.simulator.end_session(&bench.session(), "");
    forward.logs("a session of the forward has ended", 1).await;
    crate::forwarding::round_trip(&mut forward.dial().await, b"y").await;
    assert_eq!(bench.filed(), 2);
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn an_interrupt_during_the_denied_start_files_no_request() {
    let bench = bench(None).await;
    bench.script("StartSession", ApiEffect::Delay(Duration::from_millis(1500)), 1);
    let connect = bench.request(&[]).start();
    bench.called("StartSession", 1).await;
    connect.signal(Signal::INT);
    connect.finish().await.exits(130);
    assert_eq!(bench.filed(), 0);
}

/// The first target has an approval, the second one waits for its own: a start of the first may be under way all the same.
#[tokio::test]
async fn an_interrupt_during_the_wait_for_another_target_ends_a_session_that_is_being_started() {
    let policy = JustInTime {
        documents: DOCUMENTS.map(str::to_owned).to_vec(),
        ..JustInTime::new(Some(Decision::Approve), 0)
    };
    let bench = scripted(policy).await.start().await;
    let forward = |target| format!("target = '{target}'\nlocal = '127.0.0.1:0'\nremote = '{PORT}'\n");
    let text = format!("[forwards.a]\n{}[forwards.b]\n{}", forward(ONLINE_TARGET), forward(OFFLINE_TARGET));
    let config = bench.write("config.toml", text);
    let options = ["-v", "--access-request", "true", "--reason", "patch day", "--config"];
    let command = bench.fumidai(["forward", "--all"]).args(options).args([config]);
    let forward = Forward::start(command, 2).await;
    crate::forwarding::round_trip(&mut forward.dial().await, b"x").await;
    bench.simulator.end_session(&bench.session(), "");
    forward.logs("a session of the forward has ended", 1).await;

    bench.script("GetAccessToken", ApiEffect::Hang, 100);
    let _waiting = crate::forwarding::dial(&forward.local[1]).await;
    bench.called("GetAccessToken", 2).await;
    bench.script("StartSession", ApiEffect::Delay(Duration::from_millis(700)), 1);
    let _starting = forward.dial().await;
    until("a session is being started", || bench.simulator.sessions().len() == 2).await;
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn credentials_that_are_gone_during_the_wait_leave_the_id_to_go_on_with() {
    let bench = bench(None).await;
    let keys = bench.simulator.credentials();
    let (id, secret) = (keys.access_key_id, keys.secret_access_key);
    let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    let file = bench.write("credentials", text);
    let request = bench.request(&[]).without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    let connect = request.env("AWS_SHARED_CREDENTIALS_FILE", &file).start();
    bench.called("GetAccessToken", 1).await;
    fs::rename(bench.write("none", "[default]\n"), file).unwrap();
    bench.simulator.change_faults(|faults| {
        faults.fail_api("GetAccessToken", "ThrottlingException", "slow down", 100);
    });
    hinted(&connect.finish().await.exits(10));
}
