//! The client ends the session: by the terminate flag, by the API, in any state, within two seconds.

use std::time::Duration;

use tokio::time::sleep;

use crate::clock;
use crate::session::{Outcome, SessionError};

use super::agent::Fault;
use super::bench::{Bench, MINUTE, SECOND, pattern, scenario};
use super::local::Reader;
use super::service::{Answer, DialAnswer, api_error};

const FLAG_PATIENCE: Duration = Duration::from_millis(500);
const LEAVE: Duration = Duration::from_millis(1800);

/// Interrupts a session; returns how long it took to leave.
async fn interrupt(bench: &mut Bench) -> Duration {
    let began = clock::now();
    bench.interrupt();
    let ended = bench.end().await;
    assert!(matches!(ended, Ok(Outcome::Left)), "{ended:?}");
    clock::now() - began
}

#[test]
fn a_flag_that_is_acknowledged_needs_no_call() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        assert!(interrupt(&mut bench).await < FLAG_PATIENCE);
        assert!(bench.agent.state.borrow().flagged);
        assert_eq!(bench.service.count("terminate"), 0);
    });
}

#[test]
fn a_flag_that_is_not_acknowledged_is_followed_by_a_call() {
    scenario(async |mut bench: Bench| {
        bench.agent.state.borrow_mut().fault = Fault::Stubborn;
        bench.connect().await;
        let took = interrupt(&mut bench).await;
        assert!((FLAG_PATIENCE..LEAVE).contains(&took), "{took:?}");
        assert_eq!(bench.service.count("terminate"), 1);
    });
}

#[test]
fn a_flag_behind_unacknowledged_data_is_not_waited_for() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.agent.state.borrow_mut().fault = Fault::Deaf;
        bench.write(b"hello");
        sleep(SECOND).await;
        assert!(interrupt(&mut bench).await < FLAG_PATIENCE);
        assert_eq!(bench.service.count("terminate"), 1);
    });
}

#[test]
fn an_agent_too_old_for_the_flag_is_ended_by_the_api() {
    scenario(async |mut bench: Bench| {
        bench.agent.state.borrow_mut().version = "2.3.722.0";
        bench.connect().await;
        assert!(interrupt(&mut bench).await < FLAG_PATIENCE);
        assert!(!bench.agent.state.borrow().flagged);
        assert_eq!(bench.service.count("terminate"), 1);
    });
}

#[test]
fn a_call_that_fails_is_repeated_as_long_as_there_is_time() {
    scenario(async |mut bench: Bench| {
        bench.agent.state.borrow_mut().fault = Fault::Stubborn;
        bench.connect().await;
        bench.script(|scripts| scripts.terminate.always(api_error("InternalServerError")));
        let took = interrupt(&mut bench).await;
        assert!((LEAVE..2 * SECOND).contains(&took), "{took:?}");
        let calls = bench.service.count("terminate");
        assert!((4..=7).contains(&calls), "{calls}");
    });
}

#[test]
fn a_call_that_succeeds_at_the_second_try_is_enough() {
    scenario(async |mut bench: Bench| {
        bench.agent.state.borrow_mut().fault = Fault::Stubborn;
        bench.connect().await;
        bench.script(|scripts| scripts.terminate.once(api_error("ExpiredTokenException")));
        assert!(interrupt(&mut bench).await < LEAVE);
        assert!(bench.service.scripts.borrow().terminated);
    });
}

#[test]
fn a_call_that_hangs_is_left_behind() {
    scenario(async |mut bench: Bench| {
        bench.agent.state.borrow_mut().fault = Fault::Stubborn;
        bench.connect().await;
        bench.script(|scripts| scripts.terminate.always(Answer::Hangs));
        let took = interrupt(&mut bench).await;
        assert!((LEAVE..2 * SECOND).contains(&took), "{took:?}");
    });
}

#[test]
fn the_close_message_of_the_service_is_a_confirmation_too() {
    scenario(async |mut bench: Bench| {
        bench.agent.state.borrow_mut().fault = Fault::Stubborn;
        bench.connect().await;
        bench.interrupt();
        bench.until(|bench| bench.agent.state.borrow().flagged).await;
        bench.agent.close("");
        assert!(matches!(bench.end().await, Ok(Outcome::Left)));
        assert_eq!(bench.service.count("terminate"), 0);
    });
}

#[test]
fn a_link_that_is_lost_behind_the_flag_is_followed_by_a_call_at_once() {
    scenario(async |mut bench: Bench| {
        bench.agent.state.borrow_mut().fault = Fault::Stubborn;
        bench.connect().await;
        let began = clock::now();
        bench.interrupt();
        bench.until(|bench| bench.agent.state.borrow().flagged).await;
        bench.agent.cut();
        assert!(matches!(bench.end().await, Ok(Outcome::Left)));
        assert!(clock::now() - began < FLAG_PATIENCE);
        assert_eq!(bench.service.count("terminate"), 1);
    });
}

#[test]
fn a_session_is_left_in_two_seconds_whatever_it_waits_for() {
    type Wait = fn(&mut Bench);
    let waits: [(&str, Wait); 5] = [
        ("the first dial", |bench| bench.script(|scripts| scripts.dial.always(DialAnswer::Hangs))),
        ("the next dial", |bench| bench.script(|scripts| scripts.dial.always(DialAnswer::Unreachable))),
        ("the agent", |bench| bench.agent.state.borrow_mut().fault = Fault::Silent),
        ("the end of the handshake", |bench| bench.agent.state.borrow_mut().fault = Fault::Halfway),
        ("data", |_| {}),
    ];
    for (name, wait) in waits {
        scenario(async |mut bench: Bench| {
            wait(&mut bench);
            bench.start();
            sleep(10 * SECOND).await;
            assert!(interrupt(&mut bench).await < 2 * SECOND, "{name}");
            assert!(bench.is_ended_at_service(), "{name}");
        });
    }
}

#[test]
fn an_outage_is_left_in_two_seconds_whatever_it_waits_for() {
    type Wait = fn(&mut Bench);
    let waits: [(&str, Wait); 4] = [
        ("credentials", |bench| bench.script(|scripts| scripts.access.once(Answer::Hangs))),
        ("ResumeSession", |bench| bench.script(|scripts| scripts.resume.always(Answer::Hangs))),
        ("the dial", |bench| bench.script(|scripts| scripts.dial.always(DialAnswer::Hangs))),
        ("the next attempt", |bench| bench.script(|scripts| scripts.dial.always(DialAnswer::Unreachable))),
    ];
    for (name, wait) in waits {
        scenario(async |mut bench: Bench| {
            bench.connect().await;
            wait(&mut bench);
            bench.agent.cut();
            sleep(MINUTE).await;
            assert!(interrupt(&mut bench).await < 2 * SECOND, "{name}");
            assert!(bench.service.scripts.borrow().terminated, "{name}");
        });
    }
}

/// A session with all that may happen in one; it is interrupted at that turn, if it has so many. Returns true if it had.
fn interrupt_at(turn: u64) -> bool {
    let interrupted = std::cell::Cell::new(false);
    scenario(async |mut bench: Bench| {
        bench.local(|local| local.interrupt_at = turn);
        bench.script(|scripts| scripts.dial.once(DialAnswer::Unreachable));
        bench.start();
        let script = async {
            bench.until(|bench| bench.is_connected()).await;
            bench.write(&pattern(5_000));
            bench.until(|bench| bench.received().len() == 5_000).await;
            bench.script(|scripts| scripts.resume.once(api_error("ThrottlingException")));
            bench.agent.cut();
            bench.until(|bench| bench.resumed() == 1).await;
            bench.agent.send(&pattern(20_000));
            bench.until(|bench| bench.written().len() == 20_000).await;
            bench.read(Reader::Paused);
            bench.agent.send(b"the last bytes");
            bench.agent.close("");
            sleep(10 * SECOND).await;
            bench.read(Reader::Every(Duration::ZERO));
        };
        tokio::select! {
            biased;
            () = bench.interrupted() => {}
            () = script => {}
        }
        let began = clock::now();
        match bench.end().await {
            Ok(Outcome::Left) => interrupted.set(true),
            Ok(Outcome::Done) => {}
            Err(error) => panic!("turn {turn}: {error}"),
        }
        assert!(clock::now() - began < 2 * SECOND, "turn {turn}");
        assert!(bench.is_ended_at_service() || bench.is_closed_by_service(), "turn {turn}");
    });
    interrupted.get()
}

#[test]
fn an_interrupt_at_any_turn_ends_the_session_in_two_seconds() {
    let turns = (1..).take_while(|turn| interrupt_at(*turn)).count();
    assert!(turns > 40, "{turns}");
}

#[test]
fn what_was_received_is_written_after_a_failure_however_slow_the_reader_is() {
    scenario(async |mut bench: Bench| {
        bench.settings.resume_window = Duration::ZERO;
        bench.connect().await;
        bench.read(Reader::Every(MINUTE));
        let sent = pattern(20_000);
        bench.agent.send(&sent);
        bench.until(|bench| bench.most_unwritten() > 0 && bench.agent.is_acknowledged()).await;
        bench.agent.cut();
        assert!(matches!(bench.end().await, Err(SessionError::Lost { .. })));
        assert!(bench.written() == sent);
    });
}
