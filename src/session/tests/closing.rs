//! The service closes the session.

use std::time::Duration;

use tokio::time::sleep;

use crate::clock;
use crate::session::{Outcome, SessionError};

use super::agent::Fault;
use super::bench::{Bench, MINUTE, SECOND, pattern, scenario};
use super::local::Reader;

fn reason(result: &Result<Outcome, SessionError>) -> String {
    match result {
        Err(SessionError::Ended { reason, .. }) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

/// A connected session is closed while its reader is paused and the last bytes wait for it.
async fn close_before_a_paused_reader(bench: &Bench) {
    bench.read(Reader::Paused);
    bench.agent.send(b"the last bytes");
    bench.until(|bench| bench.most_unwritten() > 0).await;
    bench.agent.close("");
    sleep(SECOND).await;
}

/// An hour passes without a turn but for the clocks; then the reader goes on.
async fn wait_for_the_reader(bench: &mut Bench) {
    let turns = bench.progress.turns();
    sleep(60 * MINUTE).await;
    assert!(bench.progress.turns() - turns <= 730, "{}", bench.progress.turns() - turns);
    assert!(!bench.is_over());
    bench.read(Reader::Every(Duration::ZERO));
    let ended = bench.end().await;
    assert!(matches!(ended, Ok(Outcome::Done)), "{ended:?}");
    assert_eq!(bench.written(), b"the last bytes");
    assert_eq!(bench.service.count("terminate"), 0);
}

#[test]
fn an_empty_close_after_the_data_is_a_normal_end() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        let sent = pattern(100_000);
        bench.agent.send(&sent);
        bench.agent.close("");
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
        assert!(bench.written() == sent);
        assert_eq!(bench.service.count("terminate"), 0, "the service has ended it");
    });
}

#[test]
fn a_close_message_with_a_reason_is_an_early_end() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.agent.send(b"banner");
        bench.agent.close("terminated by an administrator");
        assert_eq!(reason(&bench.end().await), "terminated by an administrator");
        assert_eq!(bench.written(), b"banner");
    });
}

#[test]
fn data_that_the_close_message_has_overtaken_still_arrives() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.agent.close("");
        sleep(Duration::from_millis(100)).await;
        bench.agent.send(b"late");
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
        assert_eq!(bench.written(), b"late");
    });
}

#[test]
fn a_gap_that_is_filled_in_time_is_a_normal_end() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        let lost = bench.agent.lose(b"first ");
        bench.agent.send(b"second");
        bench.agent.close("");
        sleep(SECOND).await;
        bench.agent.resend(lost);
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
        assert_eq!(bench.written(), b"first second");
    });
}

#[test]
fn a_gap_that_is_not_filled_is_an_early_end() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.agent.lose(b"first ");
        bench.agent.send(b"second");
        bench.agent.close("");
        let began = clock::now();
        assert!(reason(&bench.end().await).contains("incomplete"));
        assert!(clock::now() - began < 3 * SECOND);
    });
}

#[test]
fn a_link_that_is_lost_with_a_gap_open_ends_the_wait() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.agent.lose(b"first ");
        bench.agent.send(b"second");
        bench.agent.close("");
        sleep(SECOND).await;
        bench.agent.cut();
        let began = clock::now();
        assert!(reason(&bench.end().await).contains("incomplete"));
        assert!(clock::now() - began < SECOND / 10);
        assert_eq!(bench.service.count("resume"), 0);
    });
}

#[test]
fn a_link_lost_behind_the_close_message_is_not_resumed() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.agent.close("");
        bench.until(|bench| bench.agent.is_acknowledged()).await;
        sleep(Duration::from_millis(10)).await;
        bench.agent.cut();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
        assert_eq!((bench.service.count("resume"), bench.notices().len()), (0, 0));
    });
}

#[test]
fn a_closed_session_waits_for_a_paused_reader_without_turns() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        close_before_a_paused_reader(&bench).await;
        wait_for_the_reader(&mut bench).await;
    });
}

#[test]
fn a_closed_session_older_than_the_resume_window_waits_without_turns_when_its_link_is_lost() {
    scenario(async |mut bench: Bench| {
        bench.settings.resume_window = MINUTE;
        bench.connect().await;
        sleep(5 * MINUTE).await;
        close_before_a_paused_reader(&bench).await;
        bench.agent.cut();
        wait_for_the_reader(&mut bench).await;
    });
}

#[test]
fn a_closed_session_sleeps_with_the_machine() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        close_before_a_paused_reader(&bench).await;
        bench.sleep_machine(60 * MINUTE);
        wait_for_the_reader(&mut bench).await;
    });
}

#[test]
fn a_close_message_before_the_handshake_is_an_early_end() {
    scenario(async |mut bench: Bench| {
        bench.agent.state.borrow_mut().fault = Fault::Silent;
        bench.settings.connect_timeout = SECOND;
        bench.start();
        bench.until(|bench| !bench.agent.state.borrow().tokens.is_empty()).await;
        sleep(SECOND - Duration::from_millis(50)).await;
        bench.agent.close("");
        assert!(reason(&bench.end().await).contains("before data could flow"), "the start is not waited for");
        assert_eq!(bench.service.count("terminate"), 0);
    });
}
