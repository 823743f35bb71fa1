//! `fumidai explain` describes what `fumidai connect` does with a chain.

use serde_json::{Value, json};

use crate::world::{OLD_AGENT, World};

/// Returns the JSON that `fumidai explain` prints for a target with flags.
async fn explain(world: &World, arguments: &str) -> Value {
    let explained =
        world.run(&format!("fumidai explain --json {arguments}")).finish().await.exits(0).silent();
    serde_json::from_slice(&explained.stdout).unwrap()
}

/// Connects, checks for the banner of the target's sshd, and returns documents and parameters of the new sessions.
async fn connect(world: &World, arguments: &str) -> Vec<Value> {
    let before: Vec<String> =
        world.bench.simulator.sessions().into_iter().map(|session| session.id).collect();
    let answered = world.run(&format!("fumidai connect {arguments}")).finish().await.exits(0).silent();
    assert!(answered.text().starts_with("SSH-2.0-OpenSSH"), "{arguments}: {}", answered.text());
    world.bench.settle().await;
    let sessions = world.bench.simulator.sessions();
    let mut taken: Vec<Value> = sessions
        .into_iter()
        .filter(|session| !before.contains(&session.id))
        .map(|session| {
            let parameters = session.parameters.as_object().unwrap();
            let parameters: serde_json::Map<String, Value> =
                parameters.iter().map(|(name, values)| (name.clone(), values[0].clone())).collect();
            json!({ "name": session.document, "parameters": parameters })
        })
        .collect();
    // The simulator does not keep their order.
    taken.sort_by_key(|document| document["name"] != "AWS-StartPortForwardingSessionToRemoteHost");
    taken
}

fn documents(explained: &Value) -> &[Value] {
    explained["session"]["documents"].as_array().unwrap()
}

/// The hops with a login: all except a first hop whose agent connects to the next one.
fn logins(explained: &Value) -> Vec<&str> {
    let hops = explained["hops"].as_array().unwrap().iter();
    let by_agent = usize::from(explained["hops"][0]["onward"] == "remote-host");
    hops.skip(by_agent).map(|hop| hop["typed"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_first_explained_route_is_used() {
    for lines in ["", "route = 'remote-host'\n", "route = 'ssh'\n"] {
        let world = World::new().app(lines).start().await;
        for goal in ["bastion", "appserver", "third"] {
            let before = world.connections();
            let explained = explain(&world, goal).await;
            assert_eq!(connect(&world, goal).await, documents(&explained)[..1], "{goal} {lines}");
            let logins = if goal == "bastion" { Vec::new() } else { logins(&explained) };
            for (number, node) in world.nodes().into_iter().enumerate() {
                let was_hop = logins.contains(&node.name);
                let was_connected = was_hop || node.name == goal;
                assert_eq!(
                    world.connections()[number] - before[number],
                    usize::from(was_connected),
                    "{goal} {lines}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_explained_fall_back_is_used_if_the_first_route_fails() {
    let world =
        World::new().configure(|config| config.agent.agent_version = OLD_AGENT.to_owned()).start().await;
    for goal in ["appserver", "third"] {
        let explained = explain(&world, goal).await;
        assert_eq!(documents(&explained).len(), 2);
        assert_eq!(connect(&world, goal).await, documents(&explained), "{goal}");
    }
}

#[tokio::test]
async fn hops_of_via_flags_are_used() {
    let world = World::new().start().await;
    let (app, third) = (&world.app, &world.third);
    world.configure(&world.hosts("", "").replace("via = 'appserver'\n", ""));
    for (arguments, hops) in [
        (format!("{} {} --via bastion", app.host, app.port), vec!["bastion"]),
        (format!("{} {} --via appserver", third.host, third.port), vec!["bastion", "appserver"]),
        ("third --via bastion --via appserver".to_owned(), vec!["bastion", "appserver"]),
    ] {
        let explained = explain(&world, &arguments).await;
        let typed: Vec<&str> =
            explained["hops"].as_array().unwrap().iter().map(|hop| hop["typed"].as_str().unwrap()).collect();
        assert_eq!(typed, hops, "{arguments}");
        assert_eq!(connect(&world, &arguments).await, documents(&explained)[..1], "{arguments}");
    }
}
