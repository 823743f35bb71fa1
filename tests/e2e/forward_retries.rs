//! `fumidai forward` with clients that connect again as soon as they are reset: what they cause happens only after pauses.

use std::time::{Duration, Instant};

use fumidai::sim::SimEvent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::bench::Bench;
use crate::forwarding::{Forward, rest};
use crate::run::{PATIENCE, until};
use crate::services::source_then_wait;

const PORT: u16 = 7777;
/// The first pause, and the second one.
const PAUSES: Duration = Duration::from_secs(3);

async fn bench() -> Bench {
    Bench::new().port(PORT, source_then_wait(Vec::new()).await).start().await
}

/// Lets clients connect in a loop until that many sessions were started; returns how long it took.
async fn clients_until(bench: &Bench, forward: &Forward, sessions: usize) -> Duration {
    let began = Instant::now();
    let client = async || {
        loop {
            let mut stream = forward.dial().await;
            let _ = timeout(PATIENCE, stream.read(&mut [0])).await.expect("an end in time");
        }
    };
    tokio::select! {
        () = until("the sessions are started", || bench.started() >= sessions) => began.elapsed(),
        _ = futures_util::future::join_all((0..4).map(|_| client())) => Duration::ZERO,
    }
}

#[tokio::test]
async fn a_denied_session_is_tried_again_after_pauses() {
    let bench = bench().await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("StartSession", "AccessDeniedException", "not authorized", 1000);
    });
    let forward = bench.forward(&["-L", "0:7777"]).await;
    let took = clients_until(&bench, &forward, 3).await;
    assert!(took >= PAUSES, "3 calls within {took:?}");
    forward.end().await;
    assert_eq!(bench.started(), 3);
}

#[tokio::test]
async fn a_session_that_is_ended_soon_is_replaced_at_once_and_then_after_pauses() {
    let bench = bench().await;
    let forward = bench.forward(&["-L", "0:7777"]).await;
    let ending = async {
        loop {
            for open in bench.simulator.open_sessions() {
                let is_dial = |event: &SimEvent| matches!(event, SimEvent::Dialed { session, .. } if *session == open.id);
                bench.simulator.wait_for(is_dial).await;
                bench.simulator.end_session(&open.id, "the administrator ended it");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let took = tokio::select! {
        took = clients_until(&bench, &forward, 4) => took,
        () = ending => Duration::ZERO,
    };
    assert!(took >= PAUSES, "4 sessions within {took:?}");
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn a_denied_session_is_tried_again_after_pauses_whatever_a_proxy_is_asked_for() {
    let bench = bench().await;
    bench.simulator.change_faults(|faults| {
        faults.fail_api("StartSession", "AccessDeniedException", "not authorized", 1000);
    });
    let forward = bench.forward(&["-D", "0", "--max-sessions", "2"]).await;
    let began = Instant::now();
    let client = async |first: u8| {
        for last in 0..=u8::MAX {
            let mut stream = forward.dial().await;
            stream.write_all(&[4, 1, 0, 80, 10, 0, first, last, 0]).await.unwrap();
            assert_eq!(rest(&mut stream).await, [0, 91, 0, 0, 0, 0, 0, 0]);
        }
    };
    // Two at once, then after pauses of a second or more, and of four.
    tokio::select! {
        () = until("the sessions are tried", || bench.started() >= 5) => {}
        _ = futures_util::future::join_all((1..=4).map(client)) => {}
    }
    assert!(began.elapsed() >= PAUSES, "5 calls within {:?}", began.elapsed());
    forward.end().await;
}
