//! Logins to hops: a key for each, the agent, an encrypted key, certificates, and the error if authentication fails.

use std::fs;
use std::path::Path;

use crate::network::Machine;
use crate::openssh::{SshAgent, keygen, script, user};
use crate::run::Run;
use crate::world::{BY_SSHD, World};

/// Sets an askpass program that gives this answer to every question, and records the questions in `asked`.
fn answering(world: &World, run: Run, answer: &str) -> Run {
    let (program, asked) = (world.bench.path("askpass"), world.bench.path("asked"));
    script(&program, &format!("echo \"$1\" >> {}; echo '{answer}'", asked.display()));
    run.env("SSH_ASKPASS", program).env("SSH_ASKPASS_REQUIRE", "force")
}

async fn lock(key: &Path, passphrase: &str) {
    let folder = key.parent().unwrap();
    keygen(folder, key.to_str().unwrap(), &["-p", "-P", "", "-N", passphrase, "-f"]).await;
}

#[tokio::test]
async fn every_hop_accepts_keys_of_the_agent() {
    let world = World::new().by_ssh_only().start().await;
    let agent = SshAgent::start(&world.bench.path("home")).await;
    for node in world.nodes() {
        agent.add(&node.path("identity")).await;
        // `IdentityFile` then selects by the public key only.
        fs::remove_file(node.path("identity")).unwrap();
    }
    world.use_fumidai_for_all_after("Host *\n    IdentityAgent SSH_AUTH_SOCK\n").await;
    let run = world.run("ssh third 'echo $NODE; ssh-add -l 2>&1'").env("SSH_AUTH_SOCK", &agent.socket);
    let answered = run.finish().await.exits(2).silent();
    let output = "third\nCould not open a connection to your authentication agent.\n";
    assert_eq!(answered.text(), output, "the agent is not forwarded");
    world.bench.settle().await;
}

#[tokio::test]
async fn each_encrypted_key_needs_its_passphrase_once() {
    let world = World::new().by_ssh_only().start().await;
    for node in [&world.bastion, &world.app] {
        lock(&node.path("identity"), "open sesame").await;
    }
    world.use_fumidai_for_all_after("Host bastion appserver\n    BatchMode no\n").await;
    let run = answering(&world, world.run("ssh third 'echo $NODE'"), "open sesame");
    let answered = run.finish().await.exits(0).silent();
    assert_eq!(answered.text(), "third\n");
    let asked = |node: &crate::node::Node| {
        format!("Enter passphrase for key '{}': \n", node.path("identity").display())
    };
    let expected = [&world.bastion, &world.app].map(asked).concat();
    assert_eq!(fs::read_to_string(world.bench.path("asked")).unwrap(), expected);
    world.bench.settle().await;
}

#[tokio::test]
async fn a_wrong_passphrase_is_reported_with_the_hop() {
    let world = World::new().by_ssh_only().start().await;
    lock(&world.app.path("identity"), "open sesame").await;
    world.use_fumidai_for_all_after("Host appserver\n    BatchMode no\n").await;
    let run = answering(&world, world.run("fumidai connect third"), "wrong");
    let finished = run.finish().await.exits(19);
    assert!(
        finished.cause().contains(&format!("`{}` cannot log in to `appserver`", user())),
        "{}",
        finished.cause()
    );
    let problem = format!("cannot decrypt `{}`: wrong passphrase", world.app.path("identity").display());
    assert!(finished.stderr.contains(&problem), "{}", finished.stderr);
    world.bench.settle().await;
}

#[tokio::test]
async fn every_hop_accepts_certificates_of_a_user() {
    let mut builder = World::new().by_ssh_only();
    for machine in [Machine::Bastion, Machine::App, Machine::Third] {
        builder = builder.sshd(machine, "TrustedUserCAKeys FOLDER/ca.pub\n");
    }
    let world = builder.start().await;
    let folder = world.bench.path("");
    keygen(&folder, "ca", &["-t", "ed25519"]).await;
    for node in world.nodes() {
        fs::write(node.path("authorized_keys"), "").unwrap();
        fs::copy(folder.join("ca.pub"), node.path("ca.pub")).unwrap();
        let sign = ["-s", "ca", "-I", "me", "-n", &user(), "-V", "-1h:+1h"];
        keygen(&folder, node.path("identity.pub").to_str().unwrap(), &sign).await;
    }
    let answered = world.run("ssh third 'echo $NODE'").finish().await.exits(0).silent();
    assert_eq!(answered.text(), "third\n");
    for node in world.nodes() {
        assert!(node.log().contains("Accepted certificate ID \"me\""), "{}", node.log());
    }
    world.bench.settle().await;
}

#[tokio::test]
async fn a_hop_that_refuses_the_login_is_reported_with_the_attempts() {
    for number in 0..2 {
        let world = World::new().by_ssh_only().start().await;
        let node = world.nodes()[number];
        fs::write(node.path("authorized_keys"), "").unwrap();
        let finished = world.run("fumidai connect third").input("words").finish().await.exits(19);
        let cause = finished.cause();
        let expected =
            format!("`{}` cannot log in to `{}`: tried key ssh-ed25519 SHA256:", user(), node.name);
        assert!(cause.starts_with(&expected) && cause.ends_with("the server accepts publickey"), "{cause}");
        assert_eq!(world.documents(), [BY_SSHD]);
        assert!(world.connections()[number + 1..].iter().all(|connections| *connections == 0));
        world.bench.settle().await;
    }
}
