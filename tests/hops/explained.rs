//! What `fumidai explain` says of a chain is what `fumidai connect` does.

use serde_json::{Value, json};

use crate::world::{OLD_AGENT, World};

/// What is said of a target, with flags.
async fn explain(world: &World, words: &str) -> Value {
    let told = world.run(&format!("fumidai explain --json {words}")).finish().await.exits(0).silent();
    serde_json::from_slice(&told.stdout).unwrap()
}

/// Goes there, sees the goal's sshd answer, and returns the documents and parameters of the sessions it took.
async fn connect(world: &World, words: &str) -> Vec<Value> {
    let before: Vec<String> =
        world.bench.simulator.sessions().into_iter().map(|session| session.id).collect();
    let answered = world.run(&format!("fumidai connect {words}")).finish().await.exits(0).silent();
    assert!(answered.text().starts_with("SSH-2.0-OpenSSH"), "{words}: {}", answered.text());
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
    // They are not kept in their order.
    taken.sort_by_key(|document| document["name"] != "AWS-StartPortForwardingSessionToRemoteHost");
    taken
}

fn documents(told: &Value) -> &[Value] {
    told["session"]["documents"].as_array().unwrap()
}

/// The hops that have to be logged in to, as told: all but the first where its agent leads on.
fn logins(told: &Value) -> Vec<&str> {
    let hops = told["hops"].as_array().unwrap().iter();
    let by_agent = usize::from(told["hops"][0]["onward"] == "remote-host");
    hops.skip(by_agent).map(|hop| hop["typed"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_first_choice_is_what_is_done() {
    for lines in ["", "route = 'remote-host'\n", "route = 'ssh'\n"] {
        let world = World::new().app(lines).start().await;
        for goal in ["bastion", "appserver", "third"] {
            let before = world.visitors();
            let told = explain(&world, goal).await;
            assert_eq!(connect(&world, goal).await, documents(&told)[..1], "{goal} {lines}");
            let logins = if goal == "bastion" { Vec::new() } else { logins(&told) };
            for (number, node) in world.nodes().into_iter().enumerate() {
                let was_hop = logins.contains(&node.name);
                let was_there = was_hop || node.name == goal;
                assert_eq!(
                    world.visitors()[number] - before[number],
                    usize::from(was_there),
                    "{goal} {lines}"
                );
            }
        }
    }
}

#[tokio::test]
async fn both_choices_are_what_is_done_where_the_first_fails() {
    let world =
        World::new().configure(|config| config.agent.agent_version = OLD_AGENT.to_owned()).start().await;
    for goal in ["appserver", "third"] {
        let told = explain(&world, goal).await;
        assert_eq!(documents(&told).len(), 2);
        assert_eq!(connect(&world, goal).await, documents(&told), "{goal}");
    }
}

#[tokio::test]
async fn hops_that_are_typed_are_gone_through() {
    let world = World::new().start().await;
    let (app, third) = (&world.app, &world.third);
    world.configure(&world.hosts("", "").replace("via = 'appserver'\n", ""));
    for (words, hops) in [
        (format!("{} {} --via bastion", app.host, app.port), vec!["bastion"]),
        (format!("{} {} --via appserver", third.host, third.port), vec!["bastion", "appserver"]),
        ("third --via bastion --via appserver".to_owned(), vec!["bastion", "appserver"]),
    ] {
        let told = explain(&world, &words).await;
        let typed: Vec<&str> =
            told["hops"].as_array().unwrap().iter().map(|hop| hop["typed"].as_str().unwrap()).collect();
        assert_eq!(typed, hops, "{words}");
        assert_eq!(connect(&world, &words).await, documents(&told)[..1], "{words}");
    }
}
