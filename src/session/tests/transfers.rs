//! Data in bulk, over links that break and to readers that are slow.

use std::time::Duration;

use tokio::time::sleep;

use crate::session::Outcome;

use super::bench::{Bench, MINUTE, SECOND, pattern, scenario};
use super::local::Reader;

/// What the loop may take in beyond its limit: what a websocket had in one turn.
const MOST_UNWRITTEN: usize = 64 << 10;

#[test]
fn an_upload_survives_cuts() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        let sent = pattern(300_000);
        bench.write(&sent);
        for part in 1..4 {
            bench.until(|bench| bench.received().len() > part * 60_000).await;
            bench.agent.cut();
            bench.until(|bench| bench.resumed() == part).await;
        }
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
        assert!(bench.received() == sent);
    });
}

#[test]
fn a_download_survives_cuts() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        let sent = pattern(300_000);
        bench.agent.send(&sent);
        for part in 1..4 {
            bench.until(|bench| bench.written().len() > part * 60_000).await;
            bench.agent.cut();
            bench.until(|bench| bench.resumed() == part).await;
        }
        bench.until(|bench| bench.written().len() == sent.len()).await;
        assert!(bench.written() == sent);
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}

#[test]
fn a_slow_reader_gets_everything_and_bounds_what_is_kept() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.read(Reader::Every(SECOND));
        let sent = pattern(1 << 20);
        bench.agent.send(&sent);
        bench.until(|bench| bench.written().len() == sent.len()).await;
        assert!(bench.written() == sent);
        assert!(bench.most_unwritten() <= MOST_UNWRITTEN, "{}", bench.most_unwritten());
        assert_eq!(bench.resumed(), 0, "the silence is our own");
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}

#[test]
fn a_paused_reader_costs_no_turns_and_no_link() {
    scenario(async |mut bench: Bench| {
        bench.connect().await;
        bench.read(Reader::Paused);
        let sent = pattern(200_000);
        bench.agent.send(&sent);
        sleep(2 * MINUTE).await;
        let turns = bench.progress.turns();
        sleep(60 * MINUTE).await;
        // The clocks are compared every 5 s, the link is judged every 3 s.
        assert!(bench.progress.turns() - turns < 3000, "{}", bench.progress.turns() - turns);
        bench.read(Reader::Every(Duration::ZERO));
        bench.until(|bench| bench.written().len() == sent.len()).await;
        assert_eq!(bench.notices(), []);
        bench.finish();
        assert!(matches!(bench.end().await, Ok(Outcome::Done)));
    });
}
