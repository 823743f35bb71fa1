//! What is left of a key after the connection was killed.

use fumidai::sim::ONLINE_TARGET;
use rustix::process::Signal;

use crate::desk::{Desk, listed};
use crate::openssh::user;
use crate::run::until;

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
