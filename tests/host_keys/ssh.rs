//! The real ssh with the ssh_config that `fumidai ssh-config` prints.

use fumidai::sim::faults::{ApiEffect, ApiFault};

use crate::openssh::script;
use crate::world::{PARAMETER, World};

/// The three sources, and the sessions of a first login.
fn sources() -> [(String, usize); 3] {
    [("console".into(), 1), ("session".into(), 2), (format!("parameter:{PARAMETER}"), 1)]
}

#[tokio::test]
async fn a_never_seen_instance_is_logged_in_to_without_a_question() {
    for (source, sessions) in sources() {
        let world = World::new(&source).await;
        let answer = world.ssh(["web", "echo in"]).finish().await.exits(0).silent();
        assert_eq!((answer.text(), world.sessions()), ("in\n", sessions), "{source}");
        world.ssh(["web", "true"]).finish().await.exits(0).silent();
        assert_eq!(world.sessions(), sessions + 1, "{source}: the keys are kept");
        assert_eq!(world.ec2.calls("GetConsoleOutput"), usize::from(source == "console"));
        assert!(!world.bench.path("known_hosts").exists());
        world.bench.settle().await;
    }
}

#[tokio::test]
async fn a_swapped_key_is_refused_until_it_is_renewed() {
    for (source, place) in [
        ("console", "the console output of i-0123456789abcdef0"),
        ("session", "the sshd of i-0123456789abcdef0, asked over a session,"),
    ] {
        let world = World::new(source).await;
        world.ssh(["web", "true"]).finish().await.exits(0).silent();
        let old = world.fingerprint();
        world.swap_key().await;
        world.ec2.show(&world.key());
        let refused = world.ssh(["web", "echo in"]).finish().await.exits(255);
        assert_eq!(refused.text(), "");
        let cause = format!(
            "fumidai: the host key of `i-0123456789abcdef0` has changed: ED25519 {}, but {place} has ED25519 {old}\n",
            world.fingerprint()
        );
        assert!(refused.stderr.contains(&cause), "{}", refused.stderr);
        let hint = "fumidai: hint: if its keys were replaced, run `fumidai host-keys --renew web`\n";
        assert!(refused.stderr.contains(hint), "{}", refused.stderr);
        world.fumidai(["host-keys", "--renew", "web"]).finish().await.exits(0).silent();
        world.ssh(["web", "true"]).finish().await.exits(0).silent();
        world.bench.settle().await;
    }
}

#[tokio::test]
async fn a_key_that_the_source_does_not_have_is_refused_at_the_first_login() {
    for source in ["console".to_owned(), format!("parameter:{PARAMETER}")] {
        let world = World::new(&source).await;
        world.swap_key().await;
        let refused = world.ssh(["web", "echo in"]).finish().await.exits(255);
        assert_eq!(refused.text(), "");
        let new = format!("has changed: ED25519 {}, but ", world.fingerprint());
        assert!(refused.stderr.contains(&new), "{source}: {}", refused.stderr);
        world.bench.settle().await;
    }
}

#[tokio::test]
async fn a_source_that_is_denied_ends_the_connection() {
    let denied = |operation: &str| ApiFault {
        operation: operation.into(),
        effect: ApiEffect::Error { code: "AccessDeniedException".into(), message: "not authorized".into() },
        times: 100,
    };
    let world = World::with(&format!("parameter:{PARAMETER}"), |config, _| {
        config.faults.api.push(denied("GetParameter"));
    })
    .await;
    let refused = world.ssh(["web", "echo in"]).finish().await.exits(255);
    assert!(
        refused.stderr.contains("fumidai: AccessDeniedException when calling GetParameter"),
        "{refused:?}"
    );
    assert_eq!(refused.text(), "");
    world.bench.settle().await;
    let world = World::new("console").await;
    world.ec2.deny("GetConsoleOutput");
    let refused = world.ssh(["web", "echo in"]).finish().await.exits(255);
    let cause = "fumidai: UnauthorizedOperation when calling GetConsoleOutput";
    assert!(refused.stderr.contains(cause) && refused.text().is_empty(), "{refused:?}");
    world.bench.settle().await;
}

#[tokio::test]
async fn a_session_that_is_denied_is_the_cause() {
    let world = World::new("session").await;
    let effect = ApiEffect::Error { code: "AccessDeniedException".into(), message: "not authorized".into() };
    let fault = ApiFault { operation: "StartSession".into(), effect, times: 100 };
    world.bench.simulator.change_faults(|faults| faults.api.push(fault));
    let refused = world.fumidai(["host-keys", "web"]).finish().await.exits(11);
    assert!(refused.cause().contains("when calling StartSession"), "{}", refused.cause());
    assert!(refused.stderr.contains("hint: run `fumidai explain web --policy`"), "{}", refused.stderr);
    assert_eq!(refused.text(), "");
}

#[tokio::test]
async fn the_key_of_a_certificate_is_the_one_that_is_compared() {
    let world = World::new("session").await;
    world.certify().await;
    let certificate =
        ["-o", "HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com,ssh-ed25519", "web", "echo in"];
    let answer = world.ssh(certificate).finish().await.exits(0);
    assert_eq!(answer.text(), "in\n");
    world.swap_key().await;
    world.certify().await;
    let refused = world.ssh(certificate).finish().await.exits(255);
    let cause = format!("has changed: ED25519 {}, but the sshd of ", world.fingerprint());
    assert!(refused.stderr.contains(&cause), "{}", refused.stderr);
    world.bench.settle().await;
}

#[tokio::test]
async fn a_type_of_key_that_ssh_is_limited_to_is_asked_for() {
    let world = World::new("session").await;
    world.make_key("host_ecdsa", "ecdsa").await;
    world.configure_sshd("HostKey FOLDER/host_ecdsa\n");
    world.ssh(["web", "true"]).finish().await.exits(0).silent();
    let other = ["-o", "HostKeyAlgorithms=ecdsa-sha2-nistp256", "web", "true"];
    world.ssh(other).finish().await.exits(0).silent();
    assert_eq!(world.sessions(), 5, "the other type is asked for once, and the kept one again");
    world.ssh(other).finish().await.exits(0).silent();
    assert_eq!(world.sessions(), 6);
    world.bench.settle().await;
}

#[tokio::test]
async fn a_machine_is_known_whatever_types_of_keys_it_has() {
    let world = World::new("session").await;
    for kinds in [&["rsa"][..], &["ecdsa"], &["ed25519"], &["rsa", "ecdsa", "ed25519"]] {
        world.fumidai(["host-keys", "--renew", "web"]).finish().await.exits(0);
        world.use_host_keys(kinds).await;
        let stranger = world.ssh(["web", "echo in"]).finish().await.exits(255);
        assert!(stranger.stderr.contains("has changed"), "{kinds:?}: {}", stranger.stderr);
        world.forget();
        let before = world.sessions();
        let answer = world.ssh(["web", "echo in"]).finish().await.exits(0).silent();
        assert_eq!((answer.text(), world.sessions() - before), ("in\n", 2), "{kinds:?}");
        world.ssh(["web", "true"]).finish().await.exits(0).silent();
        assert_eq!(world.sessions() - before, 3, "{kinds:?}: the key is kept");
    }
    world.bench.settle().await;
}

#[tokio::test]
async fn a_swapped_key_of_another_type_is_refused() {
    for source in ["console".to_owned(), "session".to_owned(), format!("parameter:{PARAMETER}")] {
        let world = World::new(&source).await;
        world.ssh(["web", "true"]).finish().await.exits(0).silent();
        let old = world.fingerprint();
        let new = world.use_host_keys(&["ecdsa"]).await;
        // Also if the source has that key now.
        world.ec2.show(&new[0]);
        let refused = world.ssh(["web", "echo in"]).finish().await.exits(255);
        assert_eq!(refused.text(), "");
        let cause = "fumidai: the host key of `i-0123456789abcdef0` has changed: ECDSA SHA256:";
        let kept = format!(" has ED25519 {old}\n");
        assert!(
            refused.stderr.contains(cause) && refused.stderr.contains(&kept),
            "{source}: {}",
            refused.stderr
        );
        world.bench.settle().await;
    }
}

#[tokio::test]
async fn any_path_and_any_flag_is_passed_on() {
    let world = World::new("session").await;
    let folder = world.bench.path("my tools/it's \"100%h\"");
    std::fs::create_dir_all(&folder).unwrap();
    let (program, own) = (folder.join("fumidai"), env!("CARGO_BIN_EXE_fumidai"));
    std::fs::hard_link(own, &program).or_else(|_| std::fs::copy(own, &program).map(drop)).unwrap();
    let reason = r#"it's 50% "done" \ %h"#;
    world.use_fumidai_at(&program, &["--reason", reason]).await;
    world.ssh(["web", "true"]).finish().await.exits(0).silent();
    let sessions = world.bench.simulator.sessions();
    assert_eq!(sessions.len(), 2);
    assert!(sessions.iter().all(|session| session.reason.as_deref() == Some(reason)), "{sessions:?}");
    world.bench.settle().await;
}

#[tokio::test]
async fn an_ssh_that_is_too_old_gets_a_comment_and_asks_as_before() {
    let world = World::new("console").await;
    script(&world.bench.path("bin/ssh"), "echo 'OpenSSH_8.4p1 Debian-5, OpenSSL 1.1.1k' >&2");
    let printed = world.fumidai(["ssh-config"]).finish().await.exits(0).silent();
    let block = printed.text().split("Host web\n").nth(1).unwrap();
    let block = block.split("\n\n").next().unwrap();
    assert!(block.contains("# host_keys is not used: it needs KnownHostsCommand of OpenSSH 8.5"), "{block}");
    for keyword in ["    KnownHostsCommand", "StrictHostKeyChecking", "UserKnownHostsFile"] {
        assert!(!block.contains(keyword), "{block}");
    }
    assert!(block.contains("    ProxyCommand "), "{block}");
}
