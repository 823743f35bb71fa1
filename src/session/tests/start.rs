//! From the first dial until data can flow.

use crate::clock;
use crate::session::{Notice, Outcome, SessionError, Step};
use crate::transport::DialError;

use super::agent::Fault;
use super::bench::{Bench, SECOND, scenario};
use super::service::DialAnswer;

/// Waits for the end of a session that takes too long; returns the step and the seconds that it took.
async fn timed_out(bench: &mut Bench) -> (Step, u64, Option<String>) {
    let began = clock::now();
    match bench.end().await {
        Err(SessionError::TimedOut { step, last, .. }) => (step, (clock::now() - began).as_secs(), last),
        other => panic!("{other:?}"),
    }
}

#[test]
fn data_flows_both_ways_and_the_session_is_ended() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.write(b"question");
        bench.until(|bench| bench.received() == b"question").await;
        bench.agent.send(b"answer");
        bench.until(|bench| bench.written() == b"answer").await;
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
        assert!(bench.is_ended_at_service());
        assert_eq!(bench.agent.state.borrow().tokens, ["token 0"]);
    });
}

#[test]
fn a_service_that_cannot_be_reached_at_first_is_dialled_again() {
    scenario(async |mut bench: Bench| {
        bench.script(|scripts| scripts.dial.times(3, DialAnswer::Unreachable));
        bench.connect().await;
        let retries = bench.notices();
        assert_eq!(retries.len(), 3, "{retries:?}");
        assert!(retries.iter().all(|notice| matches!(notice, Notice::Retrying(_))), "{retries:?}");
        assert_eq!(bench.agent.state.borrow().tokens, ["token 3"], "each attempt asks for a stream");
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}

#[test]
fn an_upgrade_that_is_refused_twice_is_a_failure() {
    scenario(async |mut bench: Bench| {
        bench.script(|scripts| scripts.dial.always(DialAnswer::Refused(403)));
        bench.start();
        let refused = bench.end().await;
        assert!(matches!(&refused, Err(SessionError::Dial(DialError::Refused { .. }))), "{refused:?}");
        assert!(bench.is_ended_at_service());
    });
}

#[test]
fn what_only_the_user_can_mend_is_a_failure_at_once() {
    for answer in [DialAnswer::Untrusted, DialAnswer::Forbidden, DialAnswer::Foreign] {
        scenario(async |mut bench: Bench| {
            bench.script(|scripts| scripts.dial.once(answer));
            bench.start();
            let refused = bench.end().await;
            let is_typed = matches!(
                &refused,
                Err(SessionError::Dial(
                    DialError::Certificate { .. } | DialError::Connect { .. } | DialError::Foreign { .. }
                ))
            );
            assert!(is_typed, "{refused:?}");
            assert!(bench.is_ended_at_service());
            assert_eq!(bench.service.count("dial"), 1);
        });
    }
}

#[test]
fn a_dial_that_hangs_times_out() {
    scenario(async |mut bench: Bench| {
        bench.script(|scripts| scripts.dial.always(DialAnswer::Hangs));
        bench.start();
        assert_eq!(timed_out(&mut bench).await, (Step::Open, 45, None));
        assert!(bench.is_ended_at_service());
    });
}

#[test]
fn what_failed_last_is_named_when_the_start_times_out() {
    scenario(async |mut bench: Bench| {
        bench.script(|scripts| scripts.dial.always(DialAnswer::Unreachable));
        bench.start();
        let (step, seconds, last) = timed_out(&mut bench).await;
        assert_eq!((step, seconds), (Step::Open, 45));
        assert!(last.is_some_and(|last| last.contains("no route")));
    });
}

#[test]
fn an_agent_that_sends_nothing_times_out() {
    scenario(async |mut bench: Bench| {
        bench.agent.state.borrow_mut().fault = Fault::Silent;
        bench.start();
        let (step, seconds, _) = timed_out(&mut bench).await;
        assert_eq!(step, Step::HandshakeRequest);
        assert!((30..=47).contains(&seconds), "{seconds}");
        assert!(bench.is_ended_at_service());
    });
}

#[test]
fn an_agent_that_does_not_complete_the_handshake_times_out() {
    scenario(async |mut bench: Bench| {
        bench.settings.connect_timeout = 20 * SECOND;
        bench.agent.state.borrow_mut().fault = Fault::Halfway;
        bench.start();
        let (step, seconds, _) = timed_out(&mut bench).await;
        assert_eq!(step, Step::HandshakeComplete);
        assert!((20..=22).contains(&seconds), "{seconds}");
        assert!(bench.is_ended_at_service());
    });
}
