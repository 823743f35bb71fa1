//! Hops that are down or refuse, old agents, denied documents: the fall-back, or one error message.

use fumidai::sim::SimEvent;

use crate::network::Machine;
use crate::run::Finished;
use crate::services::{MIB, noise};
use crate::world::{BY_SSHD, OLD_AGENT, World};

async fn fails(world: &World, line: &str, code: i32) -> Finished {
    let finished = world.run(line).input("words").finish().await.exits(code);
    assert_eq!(finished.text(), "");
    if !world.documents().is_empty() {
        world.bench.settle().await;
    }
    finished
}

#[tokio::test]
async fn a_bastion_without_sshd_is_reported() {
    let mut world = World::new().by_ssh_only().start().await;
    world.bastion.stop().await;
    let finished = fails(&world, "fumidai connect third", 15).await;
    assert!(finished.cause().contains("bastion"), "{}", finished.cause());
    assert_eq!(world.connections(), [0, 0, 0]);
}

#[tokio::test]
async fn a_hop_that_is_down_is_reported_by_the_previous_hop() {
    let mut world = World::new().by_ssh_only().start().await;
    world.app.stop().await;
    let finished = fails(&world, "fumidai connect third", 15).await;
    let expected = format!(
        "`bastion` cannot open a connection to {}:{}: Connection refused",
        world.app.host, world.app.port
    );
    assert_eq!(finished.cause(), expected);
}

#[tokio::test]
async fn a_hop_that_the_agent_cannot_reach_is_reported() {
    let mut world = World::new().start().await;
    world.app.stop().await;
    for goal in ["appserver", "third"] {
        let finished = fails(&world, &format!("fumidai connect {goal}"), 15).await;
        assert!(finished.cause().contains("appserver"), "{}", finished.stderr);
        assert!(finished.stderr.contains("bastion"), "{}", finished.stderr);
    }
    assert_eq!(world.connections(), [0, 0, 0], "the route through sshd would fail at the same port");
}

#[tokio::test]
async fn a_closed_port_of_the_target_is_reported_by_the_last_hop() {
    let mut world = World::new().start().await;
    world.third.stop().await;
    let finished = fails(&world, "fumidai connect third", 15).await;
    let expected = format!(
        "`appserver` cannot open a connection to {}:{}: Connection refused",
        world.third.host, world.third.port
    );
    assert_eq!(finished.cause(), expected);
}

#[tokio::test]
async fn a_hop_that_forbids_forwarding_is_reported() {
    let world = World::new().by_ssh_only().sshd(Machine::App, "AllowTcpForwarding no\n").start().await;
    let finished = fails(&world, "fumidai connect third", 15).await;
    let begins = format!("`appserver` cannot open a connection to {}:{}", world.third.host, world.third.port);
    assert!(finished.cause().starts_with(&begins), "{}", finished.cause());
    assert!(finished.stderr.contains("AllowTcpForwarding"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_hop_that_is_lost_during_a_session_is_reported() {
    for number in 0..2 {
        let world = World::new().by_ssh_only().start().await;
        let echo = world.echo(Machine::Third, 7);
        let (host, port) = echo.split_once(':').unwrap();
        let more = format!("[hosts.echo]\naddress = '{host}'\nvia = 'appserver'\n");
        world.configure(&world.hosts("route = 'ssh'\n", &more));
        let mut running = world.run(&format!("fumidai connect echo {port}")).start();
        running.round_trip(&noise(1, MIB / 4)).await;
        let node = world.nodes()[number];
        node.cut();
        let finished = running.finish().await.exits(17);
        let expected = format!("the connection to `{}` has ended", node.name);
        assert!(finished.cause().starts_with(&expected), "{}", finished.cause());
        world.bench.settle().await;
    }
}

#[tokio::test]
async fn an_ssh_that_cannot_be_run_is_an_error() {
    let world = World::new().by_ssh_only().start().await;
    std::fs::write(world.bench.path("bin").join("ssh"), b"\x7fELF, but nothing that runs\0").unwrap();
    let finished = fails(&world, "fumidai connect third", 3).await;
    assert!(finished.cause().contains("ssh"), "{}", finished.cause());
    assert_eq!(world.connections(), [0, 0, 0]);
}

#[tokio::test]
async fn a_cycle_is_refused_before_a_session_is_started() {
    let world = World::new().start().await;
    let finished = fails(&world, "fumidai connect bastion --via appserver", 2).await;
    assert!(finished.cause().contains("`bastion` → `appserver` → `bastion`"), "{}", finished.cause());
    world.configure(&world.hosts("", "[hosts.a]\nvia = 'b'\n[hosts.b]\nvia = 'a'\n"));
    let finished = fails(&world, "fumidai connect a", 3).await;
    assert!(finished.stderr.contains("contains a cycle"), "{}", finished.stderr);
    assert_eq!(world.bench.simulator.journal().calls("StartSession"), 0);
}

/// Checks that both targets are reached by the bastion's sshd, and that `-v` logs the reason.
async fn falls_back(world: &World, why: &str) {
    for (number, name) in ["appserver", "third"].into_iter().enumerate() {
        let answered = world.run(&format!("ssh {name} 'echo $NODE'")).finish().await.exits(0).silent();
        assert_eq!(answered.text(), format!("{name}\n"));
        assert_eq!(world.connections()[0], number + 1);
    }
    let finished =
        world.run(&format!("fumidai -v connect appserver {}", world.app.port)).finish().await.exits(0);
    assert!(finished.text().starts_with("SSH-2.0-OpenSSH"), "{}", finished.text());
    let line = finished.stderr.lines().find(|line| line.contains("trying its sshd"));
    assert!(line.is_some_and(|line| line.contains(why) && line.contains("bastion")), "{}", finished.stderr);
    world.bench.settle().await;
}

#[tokio::test]
async fn an_old_agent_falls_back_to_sshd() {
    let world =
        World::new().configure(|config| config.agent.agent_version = OLD_AGENT.to_owned()).start().await;
    falls_back(&world, OLD_AGENT).await;
    let by_sshd = world.documents().iter().filter(|document| *document == BY_SSHD).count();
    assert_eq!((world.documents().len(), by_sshd), (6, 3));
    let journal = world.bench.simulator.journal();
    let dialed = journal.count(|event| matches!(event, SimEvent::Dialed { host: Some(_), .. }));
    assert_eq!(dialed, 0, "an old agent connects to no other host");
}

#[tokio::test]
async fn an_old_agent_fails_with_route_remote_host() {
    let agent_is_old =
        |config: &mut fumidai::sim::SimConfig| config.agent.agent_version = OLD_AGENT.to_owned();
    let world = World::new().configure(agent_is_old).app("route = 'remote-host'\n").start().await;
    for goal in ["appserver", "third"] {
        let finished = fails(&world, &format!("fumidai connect {goal}"), 15).await;
        assert!(finished.cause().contains(OLD_AGENT), "{}", finished.cause());
        assert!(finished.stderr.contains("3.1.1188.0"), "{}", finished.stderr);
    }
    assert_eq!(world.connections(), [0, 0, 0]);
}

#[tokio::test]
async fn a_denied_document_falls_back_to_sshd() {
    let world = World::new().start().await;
    for goal in ["appserver", "third"] {
        for code in ["AccessDeniedException", "InvalidDocument"] {
            let deny = |faults: &mut fumidai::sim::Faults| {
                faults.fail_api("StartSession", code, "not that document", 1);
            };
            world.bench.simulator.change_faults(deny);
            let before = world.connections()[0];
            let answered = world.run(&format!("ssh {goal} 'echo $NODE'")).finish().await.exits(0).silent();
            assert_eq!(answered.text(), format!("{goal}\n"));
            assert_eq!(world.connections()[0], before + 1);
        }
    }
    assert!(world.documents().iter().all(|document| document == BY_SSHD), "{:?}", world.documents());
    let deny = |faults: &mut fumidai::sim::Faults| {
        faults.fail_api("StartSession", "AccessDeniedException", "no document at all", 2);
    };
    world.bench.simulator.change_faults(deny);
    let finished = fails(&world, "fumidai connect appserver", 11).await;
    assert!(finished.cause().contains("no document at all"), "{}", finished.cause());
}

#[tokio::test]
async fn a_dial_that_hangs_times_out() {
    let world = World::new().start().await;
    let slow = |faults: &mut fumidai::sim::Faults| faults.dial_delay = std::time::Duration::from_secs(3600);
    world.bench.simulator.change_faults(slow);
    let finished = fails(&world, "fumidai connect third --connect-timeout 2", 16).await;
    assert_eq!(finished.cause(), "`appserver` did not answer for 2 s while exchanging keys");
}
