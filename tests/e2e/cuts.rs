//! Transfers through a bad path: nothing is lost, and ssh does not notice.

use std::time::Duration;

use fumidai::sim::agent::AgentConfig;
use fumidai::sim::faults::{CutKind, CutWhen};
use fumidai::sim::link::LinkConfig;
use fumidai::sim::{Detach, Faults, SimEvent};

use crate::bench::{Bench, HOST};
use crate::services::{MIB, digest, noise};

const LARGE: usize = 64 * MIB;

/// The bench of the large transfers. Its agent reads more at once than the real one, since small messages cost a debug
/// build a minute; and it has a pace, since after a cut it resends only one message in 100 ms, as the real one does.
async fn bench(options: &[&str], faults: impl FnOnce(&mut Faults)) -> Bench {
    let bench = Bench::new().sshd().options(options).faults(faults);
    let pace = |agent: &mut AgentConfig| {
        agent.payload_size = 16 << 10;
        agent.read_interval = Duration::from_micros(500);
    };
    bench.agent(pace).start().await
}

/// One ssh process sends it all; the far side's digest must be ours.
async fn upload(bench: &Bench, length: usize) {
    let data = noise(1, length);
    let expected = format!("{}  -\n", digest(&data));
    let output = bench.ssh([HOST, "sha256sum"]).input(data).finish().await.exits(0).silent();
    assert_eq!(output.text(), expected);
}

/// One ssh process fetches it all.
async fn download(bench: &Bench, length: usize) {
    let data = noise(2, length);
    let file = bench.write("large", &data);
    let command = format!("cat {}", file.display());
    let output = bench.ssh([HOST, &command]).finish().await.exits(0).silent();
    assert_eq!(output.stdout.len(), data.len());
    assert_eq!(digest(&output.stdout), digest(&data));
}

fn cuts(bench: &Bench) -> usize {
    bench.simulator.journal().count(|event| matches!(event, SimEvent::Detached { why: Detach::Cut(_), .. }))
}

/// Resets and the service's own close by turns, every so many bytes.
fn cut_every(faults: &mut Faults, bytes: u64) {
    for _ in 0..3 {
        faults.cut(CutWhen::Bytes(bytes), CutKind::Reset, 1);
        faults.cut(CutWhen::Bytes(bytes + 12_345), CutKind::Bye, 1);
    }
}

fn bad_link(faults: &mut Faults) {
    faults.set_link(LinkConfig {
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        loss: 0.002,
        duplicate: 0.01,
        reorder: 0.01,
        reorder_depth: 20,
        ..LinkConfig::default()
    });
}

#[tokio::test]
async fn an_upload_survives_cuts() {
    let bench = bench(&[], |faults| cut_every(faults, 9_000_000)).await;
    upload(&bench, LARGE).await;
    assert_eq!(cuts(&bench), 6);
    assert_eq!(bench.simulator.sessions().len(), 1);
    bench.settle().await;
}

#[tokio::test]
async fn a_download_survives_cuts() {
    let bench = bench(&[], |faults| cut_every(faults, 9_000_000)).await;
    download(&bench, LARGE).await;
    assert_eq!(cuts(&bench), 6);
    assert_eq!(bench.simulator.sessions().len(), 1);
    bench.settle().await;
}

#[tokio::test]
async fn an_upload_survives_loss_duplicates_and_disorder() {
    let bench = bench(&[], bad_link).await;
    upload(&bench, LARGE).await;
    bench.settle().await;
}

#[tokio::test]
async fn a_download_survives_loss_duplicates_and_disorder() {
    let bench = bench(&[], bad_link).await;
    download(&bench, LARGE).await;
    bench.settle().await;
}

#[tokio::test]
async fn a_black_hole_is_noticed_and_left() {
    let bench = bench(&["--keepalive", "1"], |faults| {
        faults.cut(CutWhen::Bytes(1_000_000), CutKind::BlackHole, 2);
    })
    .await;
    upload(&bench, 4 * MIB).await;
    assert_eq!(cuts(&bench), 2);
    download(&bench, MIB).await;
    bench.settle().await;
}
