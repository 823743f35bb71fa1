//! Peers that send too much, or too little for the cost.

use tokio::task::yield_now;
use tokio::time::sleep;

use crate::clock;
use crate::session::Outcome;

use super::agent::{Agent, FLOOD_LIMIT};
use super::bench::{Bench, MINUTE, SECOND, scenario};

/// The turns that the loop may have before other tasks get theirs: tokio's budget, and what was under way.
const TURNS_IN_A_ROW: u64 = 200;

#[test]
fn a_flood_of_tiny_messages_leaves_turns_to_other_tasks() {
    const FLOOD: u64 = 10_000;
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.agent.flood(FLOOD as usize);
        let begin = bench.progress.turns();
        let mut before = begin;
        while before < begin + FLOOD {
            yield_now().await;
            let now = bench.progress.turns();
            assert!(now - before <= TURNS_IN_A_ROW, "{} turns in a row", now - before);
            before = now;
        }
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}

#[test]
fn a_peer_that_floods_and_does_not_read_is_given_up_and_the_session_resumed() {
    for flood in [Agent::flood_pings, Agent::flood_duplicates] {
        scenario(async |mut bench: Bench| {
            bench.connect().await;
            flood(&bench.agent);
            let began = clock::now();
            bench.until(|bench| bench.resumed() == 1).await;
            let flooded = bench.agent.state.borrow().flooded;
            assert!((100..FLOOD_LIMIT).contains(&flooded), "{flooded} messages were read");
            assert!(clock::now() - began < 2 * MINUTE);
            bench.agent.send(b"after the flood");
            bench.until(|bench| bench.written() == b"after the flood").await;
            bench.finish();
            assert!(matches!(bench.end().await, Ok(Outcome::Done)));
        });
    }
}

#[test]
fn a_path_that_breaks_after_each_message_is_resumed_once_a_second() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        let began = clock::now();
        let mut messages = 0;
        while clock::now() < began + 10 * SECOND {
            bench.agent.send(b"x");
            messages += 1;
            bench.until(|bench| bench.written().len() == messages).await;
            bench.agent.cut();
            bench.until(|bench| bench.resumed() == messages).await;
        }
        let resumed = bench.service.count("resume");
        assert!((10..=22).contains(&resumed), "{resumed} calls in 10 s");
        sleep(MINUTE).await;
        bench.agent.cut();
        let cut = clock::now();
        bench.until(|bench| bench.resumed() == messages + 1).await;
        assert!(clock::now() - cut < SECOND / 10, "after a minute the first attempt is made at once again");
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}

#[test]
fn a_quiet_session_wakes_up_for_clocks_and_pings_only() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        sleep(MINUTE).await;
        let turns = bench.progress.turns();
        sleep(60 * MINUTE).await;
        let turns = bench.progress.turns() - turns;
        // The clocks are compared every 5 s; a ping and its pong every 20 s.
        assert!(turns <= 720 + 3 * 180 + 10, "{turns} turns in an hour");
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}
