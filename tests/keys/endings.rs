//! What is left of a key after the connection was killed.

use std::time::Duration;

use fumidai::sim::ONLINE_TARGET;
use rustix::process::Signal;

use crate::desk::{Desk, listed};
use crate::openssh::user;
use crate::run::{PATIENCE, until};

/// The lifetime of a key in the agent.
const LIFETIME: Duration = Duration::from_secs(180);

/// The environment variable that replaces the number of kills.
const KILLS: &str = "FUMIDAI_TEST_KILLS";

/// Returns how many connections are killed; `usual` are enough for the suite.
fn kills(usual: usize) -> usize {
    std::env::var(KILLS).map_or(usual, |text| text.parse().expect("a number of kills"))
}

#[tokio::test]
async fn no_file_is_left_after_kill_9() {
    let desk = Desk::new("").await;
    let file = desk.key_files().join("killed");
    let line =
        format!("fumidai connect --ephemeral-key --key-file {} {}@{ONLINE_TARGET}", file.display(), user());
    for _ in 0..3 {
        let mut killed = desk.run(&line).start();
        assert_eq!(killed.hear(4).await, b"SSH-");
        assert!(file.exists());
        killed.signal(Signal::KILL);
        until("the key file is removed", || desk.has_no_files()).await;
        killed.finish().await;
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_leaves_no_file() {
    let desk = Desk::new("").await;
    let (file, lock) = (desk.key_files().join("killed"), desk.key_files().join("killed.fumidai-lock"));
    let line =
        format!("fumidai connect --ephemeral-key --key-file {} {}@{ONLINE_TARGET}", file.display(), user());
    for round in 0..kills(40) {
        let killed = desk.run(&line).start();
        match round % 4 {
            0 => {}
            1 => until("the folder", || desk.key_files().exists()).await,
            2 => until("the lock", || lock.exists()).await,
            _ => until("the key", || file.exists()).await,
        }
        killed.signal(Signal::KILL);
        killed.finish().await;
    }
    until("all files are removed", || desk.has_no_files()).await;
}

#[tokio::test]
async fn no_key_is_left_in_the_agent_after_kill_9() {
    let desk = Desk::new("").await;
    let agent = desk.agent().await;
    let line = format!("fumidai connect --ephemeral-key {}@{ONLINE_TARGET}", user());
    for round in 0..kills(4) {
        let before = listed(&agent.socket);
        let mut killed = desk.run(&line).env("SSH_AUTH_SOCK", &agent.socket).start();
        match round % 4 {
            0 => assert_eq!(killed.hear(4).await, b"SSH-"),
            1 => {}
            _ => until("the key", || listed(&agent.socket).lines().any(|key| !before.contains(key))).await,
        }
        killed.signal(Signal::KILL);
        killed.finish().await;
    }
    assert!(!listed(&agent.socket).is_empty());
    let gone = async {
        while !listed(&agent.socket).is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(LIFETIME + PATIENCE, gone).await.expect("the agent removes the keys");
}

#[tokio::test]
async fn a_signal_takes_the_key_out_of_the_agent() {
    let desk = Desk::new("").await;
    let agent = desk.agent().await;
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let line = format!("fumidai connect --ephemeral-key {}@{ONLINE_TARGET}", user());
        let mut running = desk.run(&line).env("SSH_AUTH_SOCK", &agent.socket).start();
        assert_eq!(running.hear(4).await, b"SSH-");
        assert!(!listed(&agent.socket).is_empty());
        running.signal(signal);
        running.finish().await;
        assert_eq!(listed(&agent.socket), "", "{signal:?}");
    }
}

#[tokio::test]
async fn a_failure_takes_the_key_away() {
    let desk = Desk::new("").await;
    let agent = desk.agent().await;
    let line = format!("fumidai connect --ephemeral-key {}@i-0ffffffffffffffff", user());
    desk.run(&line).env("SSH_AUTH_SOCK", &agent.socket).finish().await.exits(14);
    assert_eq!(listed(&agent.socket), "");
}
