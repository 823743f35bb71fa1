//! Host keys at each hop: a wrong key ends the connection, and no input reaches a machine behind that hop.

use std::fs;

use fumidai::sim::Simulator;

use crate::network::Machine;
use crate::node::Node;
use crate::openssh::keygen;
use crate::run::Finished;
use crate::world::World;

/// The user's input, which no machine except the third may receive.
const INPUT: &str = "only for the third machine";

/// Runs `fumidai connect third` with input ready on standard input.
async fn connect(world: &World) -> Finished {
    let port = world.third.port;
    world.run(&format!("fumidai connect third {port}")).input(INPUT).finish().await
}

/// Checks that a machine had no login attempt, and that the machines behind it had no connection.
fn assert_stopped_at(world: &World, number: usize) {
    let node = world.nodes()[number];
    assert_eq!(node.connections(), 1, "{}", node.name);
    let log = node.log();
    assert!(!log.contains("Accepted") && !log.contains("authenticating user"), "{log}");
    assert!(
        world.connections()[number + 1..].iter().all(|connections| *connections == 0),
        "{:?}",
        world.connections()
    );
}

/// Checks that the input was not in any payload that the agent received.
fn assert_input_not_sent(simulator: &Simulator) {
    for session in simulator.sessions() {
        let record = simulator.record(&session.id).unwrap();
        let payloads = record.received.into_iter().filter_map(|message| message.payload);
        let seen: Vec<u8> = payloads.flatten().collect();
        assert!(!seen.windows(INPUT.len()).any(|window| window == INPUT.as_bytes()));
    }
}

/// A world whose sessions end at the bastion's sshd, and whose agent records the received payloads.
async fn world() -> World {
    let recording = |config: &mut fumidai::sim::SimConfig| config.agent.records_payloads = true;
    World::new().by_ssh_only().configure(recording).start().await
}

async fn is_refused(world: &World, number: usize) -> Finished {
    let finished = connect(world).await.exits(19);
    assert_eq!(finished.text(), "");
    assert_stopped_at(world, number);
    assert_input_not_sent(&world.bench.simulator);
    world.bench.settle().await;
    finished
}

/// The name of a hop's key: the `HostKeyAlias` that `fumidai ssh-config` sets.
fn known_as(node: &Node) -> &str {
    if node.name == "bastion" { fumidai::sim::ONLINE_TARGET } else { node.name }
}

#[tokio::test]
async fn a_changed_key_is_refused_with_file_and_line() {
    for number in 0..2 {
        let world = world().await;
        let node = world.nodes()[number];
        node.swap_host_key().await;
        let finished = is_refused(&world, number).await;
        let file = world.bench.path("known_hosts").display().to_string();
        let cause = finished.cause();
        assert!(cause.contains(&format!("the host key of `{}` has changed", known_as(node))), "{cause}");
        assert!(cause.ends_with(&format!("{file}:{} lists another key", number + 1)), "{cause}");
    }
}

#[tokio::test]
async fn ssh_refuses_a_changed_key_of_the_target() {
    for lines in ["", "route = 'ssh'\n"] {
        let world = World::new().app(lines).start().await;
        world.third.swap_host_key().await;
        let finished = world.run("ssh third cat").input(INPUT).finish().await.exits(255);
        assert!(finished.stderr.contains("HOST IDENTIFICATION HAS CHANGED"), "{}", finished.stderr);
        assert_stopped_at(&world, 2);
        world.bench.settle().await;
    }
}

#[tokio::test]
async fn a_changed_key_is_refused_on_the_agents_route() {
    let world = World::new().start().await;
    world.app.swap_host_key().await;
    let finished = is_refused(&world, 1).await;
    assert!(finished.cause().contains("the host key of `appserver` has changed"), "{}", finished.cause());
}

#[tokio::test]
async fn an_unknown_key_is_refused() {
    for number in 0..2 {
        let world = world().await;
        let node = world.nodes()[number];
        world.know(&[node]);
        let finished = is_refused(&world, number).await;
        let expected = format!("the host key of `{}` is not known: ED25519 SHA256:", known_as(node));
        assert!(finished.cause().starts_with(&expected), "{}", finished.cause());
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused() {
    for number in 0..2 {
        let world = world().await;
        let node = world.nodes()[number];
        let known = fs::read_to_string(world.bench.path("known_hosts")).unwrap();
        world.bench.write("known_hosts", format!("{known}@revoked * {}", node.public("host_key")));
        let finished = is_refused(&world, number).await;
        let cause = finished.cause();
        assert!(cause.contains(&format!("the host key of `{}` is revoked", known_as(node))), "{cause}");
        assert!(cause.ends_with(&format!("{}:4", world.bench.path("known_hosts").display())), "{cause}");
    }
}

#[tokio::test]
async fn a_key_in_the_file_of_revoked_keys_is_refused() {
    let world = world().await;
    let list = world.bench.path("revoked").display().to_string();
    world.use_fumidai_for_all_after(&format!("Host *\n    RevokedHostKeys {list}\n")).await;
    let finished = is_refused(&world, 0).await;
    assert!(finished.cause().contains("cannot check for revoked keys in"), "{}", finished.cause());
    world.bench.write("revoked", world.bastion.public("host_key"));
    let finished = connect(&world).await.exits(19);
    assert!(finished.cause().ends_with(&format!("{list}:1")), "{}", finished.cause());
    world.bench.settle().await;
}

#[tokio::test]
async fn a_new_key_is_accepted_once_with_accept_new() {
    let world = world().await;
    world.know(&world.nodes());
    world.use_fumidai_for_all_after("Host *\n    StrictHostKeyChecking accept-new\n").await;
    for _ in 0..2 {
        let answered = world.run("ssh third 'echo $NODE'").finish().await.exits(0);
        assert_eq!(answered.text(), "third\n");
        let known = fs::read_to_string(world.bench.path("known_hosts")).unwrap();
        assert_eq!(known.lines().count(), 3, "{known}");
    }
    world.app.swap_host_key().await;
    let finished = connect(&world).await.exits(19);
    assert!(finished.cause().contains("the host key of `appserver` has changed"), "{}", finished.cause());
    world.bench.settle().await;
}

#[tokio::test]
async fn certificates_of_a_trusted_authority_are_accepted() {
    let mut builder = World::new().by_ssh_only();
    for machine in [Machine::Bastion, Machine::App, Machine::Third] {
        builder = builder.sshd(machine, "HostCertificate FOLDER/host_key-cert.pub\n");
    }
    let world = builder.start().await;
    let folder = world.bench.path("");
    keygen(&folder, "ca", &["-t", "ed25519"]).await;
    for node in world.nodes() {
        let (public, principals) = (node.path("host_key.pub"), world.names(node));
        let sign = ["-s", "ca", "-h", "-I", node.name, "-n", &principals, "-V", "-1h:+1h"];
        keygen(&folder, public.to_str().unwrap(), &sign).await;
    }
    let authority = fs::read_to_string(folder.join("ca.pub")).unwrap();
    world.bench.write("known_hosts", format!("@cert-authority * {authority}"));
    let answered = world.run("ssh third 'echo $NODE'").finish().await.exits(0).silent();
    assert_eq!(answered.text(), "third\n");
    // A certificate for another host is refused.
    let public = world.app.path("host_key.pub");
    let sign = ["-s", "ca", "-h", "-I", "other", "-n", "other", "-V", "-1h:+1h"];
    keygen(&folder, public.to_str().unwrap(), &sign).await;
    let finished = connect(&world).await.exits(19);
    assert!(
        finished.cause().contains("the host certificate of `appserver` is not accepted"),
        "{}",
        finished.cause()
    );
    world.bench.settle().await;
}
