//! `fumidai doctor` through hops: a row for each, and the first that is broken has the true cause.

use serde_json::Value;

use crate::network::Machine;
use crate::world::World;

/// The exit code, and the links.
async fn examine(world: &World, arguments: &str) -> (i32, Vec<Value>) {
    let line = format!("fumidai doctor --json {arguments}");
    let finished = world.run(&line).finish().await;
    let links = serde_json::from_slice(&finished.stdout);
    let links = links.unwrap_or_else(|error| panic!("{error}: {}", finished.stderr));
    if !world.bench.simulator.sessions().is_empty() {
        world.bench.settle().await;
    }
    (finished.status.code().unwrap(), links)
}

/// Target and status of the rows of a component.
fn rows<'a>(links: &'a [Value], component: &str) -> Vec<(&'a str, &'a str)> {
    let rows = links.iter().filter(|link| link["component"] == component);
    rows.map(|link| (link["target"].as_str().unwrap(), link["status"].as_str().unwrap())).collect()
}

/// Component, target, detail and action of the first broken link.
fn first_broken(links: &[Value]) -> String {
    let broken = links.iter().find(|link| link["status"] == "broken");
    let broken = broken.unwrap_or_else(|| panic!("nothing is broken: {links:#?}"));
    format!("{} {}: {} -> {}", broken["component"], broken["target"], broken["detail"], broken["action"])
}

#[tokio::test]
async fn each_hop_has_a_row_with_its_host_key_and_its_login() {
    for (lines, by_agent) in [("", true), ("route = 'ssh'\n", false)] {
        let world = World::new().app(lines).start().await;
        let (exit, links) = examine(&world, "third").await;
        assert_eq!(exit, 0, "{links:#?}");
        assert_eq!(rows(&links, "hop"), [("bastion", "ok"), ("appserver", "ok")], "{links:#?}");
        assert_eq!(rows(&links, "session"), [("third", "ok")]);
        assert_eq!(rows(&links, "path").len(), 1, "{links:#?}");
        let details: Vec<&str> = links
            .iter()
            .filter(|link| link["component"] == "hop")
            .map(|link| link["detail"].as_str().unwrap())
            .collect();
        assert_eq!(details[0].contains("its agent connects to appserver"), by_agent, "{details:?}");
        for detail in details.iter().skip(usize::from(by_agent)) {
            for word in ["SSH-2.0-OpenSSH", "host key ED25519 SHA256:", "logs in by key ssh-ed25519"] {
                assert!(detail.contains(word), "{detail}");
            }
        }
    }
}

#[tokio::test]
async fn a_hop_that_refuses_is_the_first_broken_link() {
    let mut world = World::new().by_ssh_only().start().await;
    std::fs::rename(world.app.path("authorized_keys"), world.app.path("kept")).unwrap();
    let (exit, links) = examine(&world, "third").await;
    let broken = first_broken(&links);
    assert!(broken.contains("\"hop\" \"appserver\"") && broken.contains("cannot log in"), "{broken}");
    assert_eq!(exit, 19, "{broken}");
    assert_eq!(rows(&links, "hop"), [("bastion", "ok"), ("appserver", "broken")]);
    std::fs::rename(world.app.path("kept"), world.app.path("authorized_keys")).unwrap();
    world.know(&[&world.app]);
    let (exit, links) = examine(&world, "third").await;
    let broken = first_broken(&links);
    assert!(broken.contains("\"hop\" \"appserver\"") && broken.contains("is not known"), "{broken}");
    assert_eq!(exit, 19, "{broken}");
    world.know(&[]);
    world.bastion.swap_host_key().await;
    let (exit, links) = examine(&world, "third").await;
    let broken = first_broken(&links);
    assert!(broken.contains("\"hop\" \"bastion\"") && broken.contains("has changed"), "{broken}");
    assert!(broken.contains("ssh-keygen -R"), "{broken}");
    assert_eq!(exit, 19, "{broken}");
    assert_eq!(rows(&links, "hop"), [("bastion", "broken"), ("appserver", "skipped")]);
    world.bastion.stop().await;
}

#[tokio::test]
async fn a_port_that_the_last_hop_cannot_reach_is_told_from_the_hops() {
    let mut world = World::new().by_ssh_only().start().await;
    world.third.stop().await;
    let (exit, links) = examine(&world, "third").await;
    let broken = first_broken(&links);
    assert!(broken.contains("\"port\"") && broken.contains("Connection refused"), "{broken}");
    assert_eq!(exit, 15, "{broken}");
    assert_eq!(rows(&links, "hop"), [("bastion", "ok"), ("appserver", "ok")]);
}

#[tokio::test]
async fn an_unknown_host_key_is_not_added_to_known_hosts() {
    let world = World::new().by_ssh_only().start().await;
    world.know(&[&world.app]);
    world.use_fumidai_for_all_after("StrictHostKeyChecking accept-new").await;
    let before = std::fs::read_to_string(world.bench.path("known_hosts")).unwrap();
    let (exit, links) = examine(&world, "third").await;
    assert_eq!(exit, 0, "{links:#?}");
    assert_eq!(std::fs::read_to_string(world.bench.path("known_hosts")).unwrap(), before);
}

#[tokio::test]
async fn a_forward_is_examined_through_the_hops_that_explain_names() {
    let world = World::new().start().await;
    let echo = world.echo(Machine::Third, 7);
    let forward = |name: &str, target: &str, remote: &str| {
        format!("[forwards.{name}]\ntarget = '{target}'\nlocal = 0\nremote = '{remote}'\n")
    };
    let app = format!("{}:{}", world.app.host, world.app.port);
    world.configure(&format!(
        "{}{}{}",
        world.hosts("", ""),
        forward("far", "third", &echo),
        forward("near", "bastion", &app),
    ));
    for name in ["far", "near"] {
        let explained = world.run(&format!("fumidai explain --json {name}")).finish().await.exits(0);
        let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
        let hops = explained["hops"].as_array().unwrap();
        let hops: Vec<&str> = hops.iter().map(|hop| hop["typed"].as_str().unwrap()).collect();
        let (exit, links) = examine(&world, name).await;
        assert_eq!(exit, 0, "{links:#?}");
        let examined: Vec<&str> = rows(&links, "hop").into_iter().map(|(hop, _)| hop).collect();
        assert_eq!(examined, hops, "{name}: {explained:#}");
    }
}

#[tokio::test]
async fn a_proxy_command_of_somebody_else_is_named_and_mended() {
    let world = World::new().start().await;
    world.ssh_config("Host bastion\n    ProxyCommand aws ssm start-session --target %h\n");
    let (exit, links) = examine(&world, "bastion").await;
    let broken = links.iter().find(|link| link["status"] == "broken").unwrap();
    assert_eq!(
        (exit, &broken["component"], &broken["target"]),
        (3, &"ssh".into(), &"bastion".into()),
        "{broken}"
    );
    assert!(broken["detail"].as_str().unwrap().contains("aws ssm start-session"), "{broken}");
    world.use_fumidai_for_all_after("").await;
    let (exit, links) = examine(&world, "bastion").await;
    assert_eq!(exit, 0, "{links:#?}");
    let row = links.iter().find(|link| link["target"] == "bastion" && link["component"] == "ssh").unwrap();
    assert_eq!(row["status"], "ok", "{row}");
}
