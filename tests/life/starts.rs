//! A stopped bastion is started when it is needed, and stopped when nobody is on it.

use std::thread;

use serde_json::json;

use crate::world::{World, assert_contains, text};

const BASTION: &str =
    "[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '1m'\nreason = 'ticket 4711'\n";

#[test]
fn a_stopped_bastion_is_started_used_and_stopped() {
    let world = World::new();
    world.configure(BASTION);
    let client = world.stay(&["bastion"]);
    let lives = world.lives();
    assert_eq!(lives.len(), 1);
    assert_eq!((&lives[0]["instance"], &lives[0]["host"]), (&json!(world.bastion), &json!("bastion")));
    assert_eq!((&lives[0]["grace_seconds"], &lives[0]["limit_seconds"]), (&json!(60), &json!(43_200)));
    assert_eq!(lives[0]["reason"], "ticket 4711");
    assert!(lives[0]["by"].as_str().is_some_and(|by| by.starts_with("arn:aws:sts::")), "{lives:?}");
    world.reach(&["bastion"]);
    assert_eq!(world.life_count(), 1, "who comes while it runs asks for no life");
    client.leave();
    world.until_over();
    world.reach(&["bastion"]);
    world.until_over();
    assert_eq!(world.life_count(), 2);
}

#[test]
fn five_clients_at_once_all_arrive() {
    let world = World::new();
    world.configure(BASTION);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| world.reach(&["bastion"]));
        }
    });
    world.until_over();
    assert!(world.simulator.open_sessions().is_empty());
}

#[test]
fn who_comes_while_it_is_stopping_starts_it_anew() {
    let world = World::new();
    world.configure(BASTION);
    world.machine(json!({ "id": world.bastion, "state": "running" }));
    world.ec2(&format!("Action=StopInstances&InstanceId.1={}", world.bastion));
    assert_eq!(world.state_of(&world.bastion), "stopping");
    world.reach(&["bastion"]);
    world.until_over();
}

#[test]
fn without_start_a_stopped_bastion_is_an_error_that_names_the_remedy() {
    let world = World::new();
    world.configure("[hosts.bastion]\ntarget = 'BASTION'\n[hosts.eager]\ntarget = 'BASTION'\nstart = true\n");
    for args in [&["connect", "bastion"][..], &["connect", "--no-start", "eager"]] {
        let (code, stderr) = world.refuse(args);
        assert_eq!(code, 14, "{stderr}");
        assert_contains(
            &stderr,
            &["TargetNotConnected", "it is stopped", "fumidai bastion start", "start = true"],
        );
    }
    assert_eq!(world.life_count(), 0);
    world.reach(&["--start", "bastion"]);
}

#[test]
fn an_instance_that_ran_before_is_left_alone_unless_it_is_always_stopped() {
    let world = World::new();
    world.machine(json!({ "id": world.bastion, "state": "running" }));
    world.configure(BASTION);
    world.reach(&["bastion"]);
    assert_eq!(world.life_count(), 0);
    world.configure(&format!("{BASTION}stop = 'always'\n"));
    world.reach(&["bastion"]);
    assert_eq!(world.life_count(), 1);
    world.until_over();
}

#[test]
fn without_a_guardian_ec2_starts_it_and_nothing_stops_it() {
    let world = World::new();
    world.configure(&format!("{BASTION}guardian = 'none'\n"));
    world.reach(&["bastion"]);
    assert_eq!((world.state_of(&world.bastion).as_str(), world.life_count()), ("running", 0));
}

#[test]
fn an_agent_that_does_not_come_is_named_when_the_time_is_over() {
    let world = World::new();
    world.configure(BASTION);
    world.machine(json!({ "id": world.bastion, "agent_after": 100_000 }));
    let output =
        world.command(&["connect", "--start-timeout", "8s", "-v", "bastion"]).output().expect("runs");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(21), "{stderr}");
    assert_contains(
        &stderr,
        &[
            "waiting for its agent",
            "could not be started within 8 s",
            "its agent is not connected",
            "AmazonSSM",
        ],
    );
    world.until_over();
}

#[test]
fn a_user_is_warned_before_the_limit() {
    let world = World::new();
    world.configure(&format!("{BASTION}stop_after = '5m'\n"));
    let mut command = world.command(&["connect", "bastion"]);
    let log = world.path("log");
    command.arg("--log-file").arg(&log).stdin(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    world.until("the warning is in the log", |_| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("bastion will be stopped in 5 min")
            && text.contains("fumidai bastion extend bastion 1h")
    });
    drop(child.stdin.take());
    child.wait().expect("it ends");
    world.until_over();
}

#[test]
fn a_life_that_fails_tells_its_cause() {
    let world = World::new();
    world.configure(BASTION);
    world.fault("StartInstances", "UnauthorizedOperation", None);
    let (code, stderr) = world.refuse(&["connect", "bastion"]);
    assert_eq!(code, 21, "{stderr}");
    assert_contains(&stderr, &["fumidai.StartFailed", "not authorized", "fumidai bastion setup bastion"]);
    assert!(world.lives().is_empty());
}

#[test]
fn a_forward_starts_it_at_the_first_connection_and_ends_its_idle_session() {
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpStream;

    let world = World::new();
    world.configure(&format!(
        "{BASTION}[forwards.shell]\ntarget = 'bastion'\nlocal = '127.0.0.1:0'\nremote = '22'\n"
    ));
    let mut child = world.command(&["forward", "--json", "shell"]).spawn().expect("the program runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let listening: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let local = listening["local"].as_str().expect("an address").to_owned();
    assert_eq!(world.life_count(), 0, "nobody has connected yet");
    let mut banner = [0; 14];
    TcpStream::connect(&local).expect("it listens").read_exact(&mut banner).expect("the banner");
    assert_eq!(world.life_count(), 1);
    // Its session ends after a minute without connections, and then the life.
    world.until_over();
    TcpStream::connect(&local).expect("it listens").read_exact(&mut banner).expect("the banner");
    assert_eq!(world.life_count(), 2);
    let _ = child.kill();
    let _ = child.wait();
}
