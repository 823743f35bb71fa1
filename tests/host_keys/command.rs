//! `fumidai host-keys` by hand.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fumidai::sim::ONLINE_TARGET;
use fumidai::sim::faults::{ApiEffect, ApiFault};

use crate::ec2::{ADDRESS, Console, output};
use crate::run::Finished;
use crate::world::{PARAMETER, World};

#[tokio::test]
async fn every_source_prints_the_same_line() {
    let world = World::new("console").await;
    let line = format!("{ONLINE_TARGET} {}\n", world.key());
    for source in ["console".to_owned(), "session".to_owned(), format!("parameter:{PARAMETER}")] {
        let printed = world.fumidai(["host-keys", ONLINE_TARGET, "--source", &source]).finish().await;
        assert_eq!(printed.exits(0).silent().text(), line, "{source}");
    }
    let all = world.fumidai(["host-keys"]).finish().await.exits(0).silent();
    assert_eq!(all.text(), line, "the host of the config file");
    let named = world.fumidai(["host-keys", "web", "--name", "[app]:2222"]).finish().await.exits(0).silent();
    assert_eq!(named.text(), format!("[app]:2222 {}\n", world.key()));
    world.bench.settle().await;
}

#[tokio::test]
async fn keys_are_kept_in_a_private_file() {
    let world = World::new("console").await;
    world.fumidai(["host-keys", "web"]).finish().await.exits(0).silent();
    let file = world.bench.path("home/fumidai/host_keys.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(kept[ONLINE_TARGET]["keys"][0], world.key());
    world.fumidai(["host-keys", "web"]).finish().await.exits(0).silent();
    assert_eq!(world.ec2.calls("GetConsoleOutput"), 1);
}

#[tokio::test]
async fn a_source_that_has_another_key_now_is_refused() {
    let world = World::new("console").await;
    world.fumidai(["host-keys", "web"]).finish().await.exits(0).silent();
    let old = world.fingerprint();
    world.swap_key().await;
    let refused = world.fumidai(["host-keys", "web", "--source", "session"]).finish().await.exits(19);
    let expected = format!(
        "the host key of `{ONLINE_TARGET}` has changed: ED25519 {}, but the console output of {ONLINE_TARGET} has ED25519 {old}",
        world.fingerprint()
    );
    assert_eq!((refused.cause(), refused.text()), (expected.as_str(), ""));
    world.bench.settle().await;
}

#[tokio::test]
async fn the_output_of_the_last_start_counts_if_the_latest_has_no_keys() {
    let world = World::new("console").await;
    let line = format!("{ONLINE_TARGET} {}\n", world.key());
    let posted = Some(output(&world.key()));
    for console in [
        Console { latest: Some("login: ".into()), posted: posted.clone(), ..Console::default() },
        Console { posted: posted.clone(), ..Console::default() },
        Console { has_no_latest: true, posted, ..Console::default() },
    ] {
        world.ec2.set(console);
        let printed = world.fumidai(["host-keys", "--renew", "web"]).finish().await.exits(0).silent();
        assert_eq!(printed.text(), line);
    }
}

#[tokio::test]
async fn a_source_without_keys_says_what_to_do() {
    let world = World::new("console").await;
    world.ec2.set(Console::default());
    let nothing = world.fumidai(["host-keys", "web"]).finish().await.exits(19);
    assert_eq!(nothing.cause(), format!("EC2 has no console output of {ONLINE_TARGET}"));
    world.ec2.set(Console { latest: Some("login: ".into()), ..Console::default() });
    let nothing = world.fumidai(["host-keys", "web"]).finish().await.exits(19);
    assert_eq!(nothing.cause(), format!("the console output of {ONLINE_TARGET} has no host keys"));
    assert!(nothing.stderr.contains("hint: cloud-init prints them at the first boot only"), "{nothing:?}");
    let unknown = world.fumidai(["host-keys", "web", "--source", "parameter:/none"]).finish().await.exits(3);
    assert_eq!(unknown.cause(), "no parameter `/none` in eu-central-1");
    assert_eq!(unknown.text(), "");
}

/// Checks that a denied call is the cause, and that the permission is the fix.
fn assert_denied(denied: &Finished, operation: &str, action: &str) {
    assert!(denied.cause().contains(&format!("when calling {operation}")), "{denied:?}");
    assert!(denied.stderr.contains("hint: run `fumidai explain "), "{denied:?}");
    assert!(denied.stderr.contains(action), "{denied:?}");
    assert_eq!(denied.text(), "");
}

#[tokio::test]
async fn each_permission_that_is_denied_is_named() {
    let refuse = |operation: &str| ApiFault {
        operation: operation.into(),
        effect: ApiEffect::Error { code: "AccessDeniedException".into(), message: "not authorized".into() },
        times: 100,
    };
    let world = World::new("console").await;
    world.bench.simulator.change_faults(|faults| {
        faults.api.extend(["GetParameter", "StartSession", "DescribeInstanceInformation"].map(refuse));
    });
    let ask = |source: &str| world.fumidai(["host-keys", "web", "--source", source]).finish();
    world.ec2.deny("GetConsoleOutput");
    assert_denied(&ask("console").await.exits(11), "GetConsoleOutput", "`ec2:GetConsoleOutput`");
    let parameter = format!("parameter:{PARAMETER}");
    assert_denied(&ask(&parameter).await.exits(11), "GetParameter", "`ssm:GetParameter`");
    assert_denied(&ask("session").await.exits(11), "StartSession", "--policy");
    world.ec2.deny("DescribeInstances");
    let unseen = world.fumidai(["host-keys", ADDRESS, "--source", "console"]).finish().await.exits(11);
    assert!(unseen.cause().contains("when calling DescribeInstances"), "{unseen:?}");
    assert!(unseen.stderr.contains("hint: allow `ec2:DescribeInstances`"), "{unseen:?}");
    let policy = world.fumidai(["explain", "web", "--policy"]).finish().await.exits(0);
    for action in ["ec2:GetConsoleOutput", "ssm:StartSession"] {
        assert!(policy.text().contains(&format!("\"{action}\"")), "{}", policy.text());
    }
}

#[tokio::test]
async fn a_parameter_without_keys_is_refused() {
    let world = World::with("parameter:/empty", |config, _| {
        config.parameters.insert("/empty".into(), "not a key".into());
    })
    .await;
    let refused = world.fumidai(["host-keys", "web"]).finish().await.exits(3);
    assert_eq!(refused.cause(), "parameter `/empty` has no host keys");
}

#[tokio::test]
async fn a_session_source_behind_a_hop_is_refused_when_the_config_file_is_read() {
    let world = World::new("session").await;
    let hosts = |source: &str| {
        format!(
            "[hosts.bastion]\ntarget = '{ONLINE_TARGET}'\n[hosts.app]\naddress = '{ADDRESS}'\nvia = 'bastion'\n\
             host_keys = '{source}'\n"
        )
    };
    world.config(&hosts("session"));
    let file = world.bench.path("home/fumidai/config.toml").display().to_string();
    let cause = format!(
        "{file}:6:13: `host_keys = \"session\"` cannot be used for `app`: it is behind hop `bastion`, and a path through a hop \
         does not prove which machine answers; use `console` or `parameter:NAME`"
    );
    for command in ["host-keys app", "host-keys", "ssh-config", "explain app", "connect app", "list"] {
        let refused = world.fumidai(command.split(' ')).finish().await.exits(3);
        assert_eq!((refused.cause(), refused.text()), (cause.as_str(), ""), "{command}");
    }
    assert_eq!(world.sessions(), 0);
    world.config(&hosts("console"));
    let printed = world.fumidai(["host-keys", "app"]).finish().await.exits(0);
    assert_eq!(printed.text(), format!("app {}\n", world.key()), "found by its address");
    let by_hand = world.fumidai(["host-keys", "app", "--source", "session"]).finish().await.exits(3);
    assert!(by_hand.cause().contains("it is behind hop `bastion`"), "{}", by_hand.cause());
    assert_eq!(world.sessions(), 0);
}

#[tokio::test]
async fn a_hop_of_the_command_line_has_no_session_source_behind_another_one() {
    let world = World::new("session").await;
    world.config(&format!(
        "[hosts.gate]\ntarget = '{ONLINE_TARGET}'\n[hosts.inner]\naddress = '{ADDRESS}'\nhost_keys = 'session'\n"
    ));
    let args = ["--via", "gate", "--via", "inner", "10.0.0.9"];
    for command in ["connect", "explain"] {
        let refused = world.fumidai([command]).args(args).finish().await.exits(3);
        assert!(refused.cause().contains("`inner`: it is behind hop `gate`"), "{}", refused.cause());
    }
    assert_eq!(world.sessions(), 0);
}

#[tokio::test]
async fn the_source_and_its_permission_are_explained() {
    let world = World::new("console").await;
    let text = world.fumidai(["explain", "web"]).finish().await.exits(0);
    let row = text.text().lines().find(|line| line.starts_with("host keys"));
    assert_eq!(row.map(|row| row.split_whitespace().last()), Some(Some("console")), "{}", text.text());
    let json = world.fumidai(["explain", "web", "--json"]).finish().await.exits(0);
    let json: serde_json::Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(json["host_keys"], "console");
    let policy = world.fumidai(["explain", "web", "--policy"]).finish().await.exits(0);
    assert!(policy.text().contains("\"ec2:GetConsoleOutput\""), "{}", policy.text());
}

#[tokio::test]
async fn a_machine_that_is_down_has_its_own_error() {
    let world = World::new("session").await;
    let stopped = world.fumidai(["host-keys", fumidai::sim::OFFLINE_TARGET]).finish().await.exits(14);
    assert!(stopped.cause().contains("TargetNotConnected"), "{}", stopped.cause());
    let by_hand = ["host-keys", "mi-0123456789abcdef0", "--source", "console"];
    let hybrid = world.fumidai(by_hand).finish().await.exits(3);
    let cause =
        "`host_keys = \"console\"` cannot be used for `mi-0123456789abcdef0`: it is not an EC2 instance";
    assert_eq!(hybrid.cause(), cause);
}

#[tokio::test]
async fn a_port_without_sshd_is_an_error() {
    let echo = crate::services::echo().await;
    let world = World::with("session", |config, _| {
        config.ports.insert(2222, echo);
    })
    .await;
    let refused = world.fumidai(["host-keys", "web", "2222", "--connect-timeout", "5"]).finish().await;
    assert!(!refused.status.success() && refused.text().is_empty(), "{refused:?}");
    refused.cause();
    world.bench.settle().await;
}
