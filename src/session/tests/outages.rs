//! The link is lost: when it is opened again, and when that cannot succeed.

use std::time::Duration;

use tokio::time::{advance, sleep};

use crate::channel::wire::SAFE_PAYLOAD;
use crate::clock;
use crate::session::{Fact, LossCause, Notice, Outcome, SHORT_PAUSE, SessionError};

use super::agent::Fault;
use super::bench::{Bench, MINUTE, SECOND, pattern, scenario};
use super::service::{Answer, DialAnswer, Scripts, api_error, no_credentials};

/// A session with data under way is cut, with that in the way of a resume; returns how it ended.
async fn cut_for_good(bench: &mut Bench, script: impl FnOnce(&mut Scripts)) -> Result<Outcome, SessionError> {
    bench.connect().await;
    bench.script(script);
    bench.agent.cut();
    bench.end().await
}

/// The same with something that passes: everything arrives in the end.
async fn cut_for_a_time(bench: &mut Bench, script: impl FnOnce(&mut Scripts)) -> Duration {
    bench.connect().await;
    bench.script(script);
    bench.agent.cut();
    bench.write(b"sent meanwhile");
    let began = clock::now();
    bench.until(|bench| bench.received() == b"sent meanwhile").await;
    let took = clock::now() - began;
    let notices = bench.notices();
    let told = notices.iter().filter(|notice| matches!(notice, Notice::Interrupted(_))).count();
    assert_eq!(told, usize::from(took >= SHORT_PAUSE), "{took:?}: {notices:?}");
    assert!(matches!(notices.last(), Some(Notice::Resumed(_))), "{notices:?}");
    bench.finish();
    assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    took
}

fn lost(result: &Result<Outcome, SessionError>) -> String {
    match result {
        Err(SessionError::Lost { cause, .. }) => cause.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_cut_is_mended_at_once() {
    scenario(async |mut bench: Bench| {
        let took = cut_for_a_time(&mut bench, |_| {}).await;
        assert!(took < SECOND, "{took:?}");
        assert_eq!(bench.service.count("resume"), 1);
    });
}

#[test]
fn a_resume_without_a_token_is_the_end() {
    scenario(async |mut bench: Bench| {
        let ended = cut_for_good(&mut bench, |scripts| scripts.resume.once(Answer::Gone)).await;
        assert_eq!(lost(&ended), "it has ended meanwhile");
        assert_eq!(bench.service.count("terminate"), 1);
    });
}

#[test]
fn a_session_that_does_not_exist_is_not_terminated() {
    scenario(async |mut bench: Bench| {
        let gone = api_error("DoesNotExistException");
        let ended = cut_for_good(&mut bench, |scripts| scripts.resume.once(gone)).await;
        assert!(lost(&ended).contains("DoesNotExistException"));
        assert_eq!(bench.service.count("terminate"), 0);
    });
}

#[test]
fn a_resume_that_is_denied_three_times_is_the_end() {
    scenario(async |mut bench: Bench| {
        let denied = api_error("AccessDeniedException");
        let ended = cut_for_good(&mut bench, |scripts| scripts.resume.always(denied)).await;
        assert!(matches!(&ended, Err(SessionError::Api(_))), "{ended:?}");
        assert_eq!(bench.service.count("resume"), 3);
        assert!(bench.is_ended_at_service());
    });
}

#[test]
fn a_denial_may_pass() {
    scenario(async |mut bench: Bench| {
        let denied = api_error("AccessDeniedException");
        let took = cut_for_a_time(&mut bench, |scripts| scripts.resume.times(2, denied)).await;
        assert!(took >= 6 * SECOND, "{took:?}");
    });
}

#[test]
fn a_service_that_throttles_is_asked_less_and_less_often() {
    scenario(async |mut bench: Bench| {
        let slower = api_error("ThrottlingException");
        let took = cut_for_a_time(&mut bench, |scripts| scripts.resume.times(8, slower)).await;
        assert!(took > 30 * SECOND, "{took:?}");
        assert_eq!(bench.service.count("resume"), 9);
    });
}

#[test]
fn a_user_may_log_in_again_meanwhile() {
    scenario(async |mut bench: Bench| {
        let took = cut_for_a_time(&mut bench, |scripts| scripts.access.times(10, no_credentials())).await;
        assert!(took > MINUTE, "{took:?}");
        assert_eq!(bench.service.count("resume"), 1);
    });
}

#[test]
fn ended_credentials_are_reported_once_and_at_once() {
    scenario(async |mut bench: Bench| {
        cut_for_a_time(&mut bench, |scripts| scripts.access.times(10, no_credentials())).await;
        let notices = bench.notices();
        let [
            Notice::CredentialsEnded { left, .. },
            Notice::Interrupted(_),
            Notice::Recorded(Fact::Resumed { outage, .. }),
            Notice::Resumed(length),
        ] = &notices[..]
        else {
            panic!("{notices:?}")
        };
        assert!(*left > 14 * MINUTE && outage == length, "{notices:?}");
    });
}

#[test]
fn a_session_that_is_lost_for_want_of_credentials_names_them() {
    scenario(async |mut bench: Bench| {
        let ended = cut_for_good(&mut bench, |scripts| scripts.access.always(no_credentials())).await;
        assert!(lost(&ended).starts_with("not resumed within 900 s: no usable AWS credentials"), "{ended:?}");
        assert!(matches!(ended, Err(SessionError::Lost { credentials: Some(_), .. })));
    });
}

#[test]
fn a_pause_is_told_from_its_own_beginning() {
    scenario(async |mut bench: Bench| {
        let denied = api_error("AccessDeniedException");
        bench.connect().await;
        bench.script(|scripts| scripts.resume.times(2, denied));
        bench.agent.cut();
        bench.until(|bench| bench.resumed() == 1).await;
        // Before that websocket has proven itself, so that the same outage goes on.
        bench.agent.cut();
        bench.until(|bench| bench.resumed() == 2).await;
        let notices = bench.notices();
        let pause = |notice: &Notice| if let Notice::Resumed(pause) = notice { Some(*pause) } else { None };
        let pauses: Vec<Duration> = notices.iter().filter_map(pause).collect();
        assert!(pauses[0] >= 6 * SECOND && pauses[1] < 3 * SECOND, "{pauses:?}");
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}

#[test]
fn a_dial_that_fails_is_repeated_with_a_new_stream() {
    scenario(async |mut bench: Bench| {
        let failures = [DialAnswer::Unreachable, DialAnswer::Refused(403), DialAnswer::Untrusted];
        let failures = failures.into_iter().chain([DialAnswer::Refused(403), DialAnswer::Refused(503)]);
        cut_for_a_time(&mut bench, |scripts| failures.for_each(|failure| scripts.dial.once(failure))).await;
        assert_eq!(bench.service.count("resume"), 6);
        assert_eq!(bench.agent.state.borrow().tokens, ["token 0", "token 6"]);
    });
}

#[test]
fn a_call_that_hangs_lasts_as_long_as_the_resume_window() {
    scenario(async |mut bench: Bench| {
        let began = clock::now();
        let ended = cut_for_good(&mut bench, |scripts| scripts.resume.always(Answer::Hangs)).await;
        assert!(lost(&ended).starts_with("not resumed within 900 s"), "{ended:?}");
        let took = (clock::now() - began).as_secs();
        assert!((900..=902).contains(&took), "{took}");
        assert!(bench.is_ended_at_service());
    });
}

#[test]
fn a_dial_that_hangs_lasts_as_long_as_the_resume_window() {
    scenario(async |mut bench: Bench| {
        bench.settings.resume_window = MINUTE;
        let ended = cut_for_good(&mut bench, |scripts| scripts.dial.always(DialAnswer::Hangs)).await;
        assert!(lost(&ended).starts_with("not resumed within 60 s"), "{ended:?}");
    });
}

#[test]
fn the_last_error_is_named_when_the_resume_window_is_over() {
    scenario(async |mut bench: Bench| {
        let ended = cut_for_good(&mut bench, |scripts| scripts.dial.always(DialAnswer::Unreachable)).await;
        assert!(lost(&ended).contains("no route"), "{ended:?}");
    });
}

#[test]
fn a_window_of_zero_resumes_nothing() {
    scenario(async |mut bench: Bench| {
        bench.settings.resume_window = Duration::ZERO;
        let ended = cut_for_good(&mut bench, |_| {}).await;
        lost(&ended);
        assert_eq!(bench.service.count("resume"), 0);
        assert!(bench.is_ended_at_service());
        assert_eq!(bench.notices(), []);
    });
}

#[test]
fn a_link_on_which_nothing_passes_is_given_up() {
    for busy in [false, true] {
        scenario(async |mut bench: Bench| {
            bench.connect().await;
            sleep(MINUTE).await;
            assert_eq!(bench.notices(), [], "an idle link is fine");
            bench.agent.stall();
            if busy {
                bench.write(b"hello");
            }
            let began = clock::now();
            bench.until(|bench| bench.resumed() == 1).await;
            let took = clock::now() - began;
            assert!(took < if busy { 10 * SECOND } else { 61 * SECOND }, "{took:?}");
            bench.finish();
            assert!(matches!(bench.end().await, Ok(Outcome::Done)));
        });
    }
}

#[test]
fn an_agent_that_acknowledges_nothing_gets_a_fresh_link_and_then_no_more_time() {
    scenario(async |mut bench: Bench| {
        bench.settings.resume_window = 3 * MINUTE;
        bench.local(|local| local.ack_timeout = Some(30 * SECOND));
        bench.connect().await;
        bench.agent.state.borrow_mut().fault = Fault::Deaf;
        bench.write(b"hello");
        let ended = bench.end().await;
        assert!(lost(&ended).contains("has acknowledged nothing for 180 s"), "{ended:?}");
        assert!(bench.resumed() >= 2, "{:?}", bench.notices());
    });
}

#[test]
fn a_machine_that_has_slept_opens_a_fresh_link() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.sleep_machine(60 * MINUTE);
        bench.until(|bench| bench.resumed() == 1).await;
        bench.write(b"good morning");
        bench.until(|bench| bench.received() == b"good morning").await;
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}

#[test]
fn a_wake_up_that_is_far_too_late_is_sleep_too() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        advance(60 * MINUTE).await;
        bench.until(|bench| bench.resumed() == 1).await;
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}

#[test]
fn a_machine_that_slept_during_an_outage_tries_at_once() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.script(|scripts| scripts.dial.always(DialAnswer::Hangs));
        bench.agent.cut();
        bench.until(|bench| bench.service.count("resume") == 1).await;
        bench.script(|scripts| scripts.dial.succeed());
        bench.sleep_machine(60 * MINUTE);
        let began = clock::now();
        bench.until(|bench| bench.resumed() == 1).await;
        assert!(clock::now() - began <= 5 * SECOND);
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}

#[test]
fn a_path_that_breaks_at_each_large_message_is_given_up() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.agent.state.borrow_mut().latency = Duration::from_millis(1);
        bench.write(&pattern(2 << 20));
        bench.until(|bench| bench.received().len() > 1 << 20).await;
        bench.agent.state.borrow_mut().fault = Fault::Narrow;
        let began = clock::now();
        match bench.end().await {
            Err(SessionError::Lost { cause, suspected_size: Some(size), .. }) => {
                assert_eq!(cause, LossCause::MessageSize(size));
                assert!(size > SAFE_PAYLOAD, "{size}");
            }
            other => panic!("{other:?}"),
        }
        assert!(clock::now() - began < MINUTE);
        assert!(bench.resumed() >= 5, "{:?}", bench.notices());
    });
}
