//! The patterns of docs/bastion.md, each with its own config file.

use serde_json::json;

use crate::world::{Given, World, assert_contains};

/// The first TOML block below a heading of the page.
fn pattern(heading: &str) -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bastion.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, below) = page.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let (_, block) = below.split_once("```toml\n").expect("a block");
    block.split("```").next().expect("its end").to_owned()
}

/// The pattern with the ids of this account.
fn configure(world: &World, heading: &str) {
    world.configure(
        &pattern(heading).replace("i-0123456789abcdef0", "BASTION").replace("subnet-0abc", &world.subnet()),
    );
}

#[test]
fn a_maintenance_bastion_with_a_maintenance_group() {
    let world = World::new();
    configure(&world, "Maintenance bastion with a maintenance group");
    let (group, interface) = (world.group("SG_Maintenance"), world.interface(&world.server));
    world.tag(&[&group]);
    let before = world.groups(&interface);
    let client = world.stay(&["appserver"]);
    assert!(world.groups(&interface).contains(&group));
    assert_eq!(world.lives()[0]["limit_seconds"], 7200);
    client.leave();
    world.until_over();
    assert_eq!(world.groups(&interface), before);
}

#[test]
fn a_virtual_secure_room_stops_after_two_hours() {
    // Two hours pass in some seconds.
    let world = World::with(Given { options: vec!["--scale", "600"], ..Given::default() });
    configure(&world, "Virtual secure room");
    let (code, stderr) = world.refuse(&["connect", "room"]);
    assert_eq!(code, 14, "{stderr}");
    assert_contains(&stderr, &["it is stopped", "fumidai bastion start room"]);
    world.succeed(&["bastion", "start", "--reason", "ticket 4711", "room"]);
    world.fault("StartExecution", "AccessDeniedException", None);
    let client = world.stay(&["room"]);
    world.until("it is stopped at its limit, under an open session", |world| {
        world.state_of(&world.bastion) == "stopped" && world.lives().is_empty()
    });
    drop(client);
    let state = world.state();
    assert_eq!(state["executions"][0]["output"]["why"], "the limit is reached");
    assert_eq!(state["executions"][0]["input"]["reason"], "ticket 4711");
}

#[test]
fn a_bastion_in_a_private_subnet_forwards_to_a_database() {
    let world = World::new();
    let text = pattern("Bastion in a private subnet").replace("i-0123456789abcdef0", "BASTION");
    world.configure(&text.replace("127.0.0.1:13306", "127.0.0.1:0"));
    let exec = "exec 3<>/dev/tcp/127.0.0.1/$FUMIDAI_PORT; head -c 14 <&3";
    let printed = world.succeed(&["forward", "orders-db", "--exec", &format!("bash -c '{exec}'")]);
    assert_contains(&printed, &["SSH-2.0-life"]);
    world.until_over();
}

#[test]
fn a_fargate_bastion_is_a_hop() {
    let targets = vec![format!("ecs:ops_{:032x}_{:032x}-0000000001", 1, 1)];
    let world = World::with(Given { targets, ..Given::default() });
    world.define_task();
    configure(&world, "Fargate bastion");
    world.reach(&["appserver"]);
    world.until("no life runs", |world| world.lives().is_empty());
}

#[test]
fn several_accounts_and_regions_have_their_own_bastions() {
    let world = World::new();
    world.machine(json!({ "id": world.bastion, "state": "running" }));
    configure(&world, "Several accounts and regions");
    let keys = world.simulator.credentials();
    let text = ["prod-jp", "prod-eu"].map(|name| {
        format!(
            "[profile {name}]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
            keys.access_key_id, keys.secret_access_key
        )
    });
    let file = world.path("aws-config");
    std::fs::write(&file, text.concat()).expect("a file");
    for (host, profile, region) in
        [("bastion-tokyo", "prod-jp", "ap-northeast-1"), ("app-frankfurt", "prod-eu", "eu-central-1")]
    {
        let mut command = world.command(&["explain", "--json", host]);
        command
            .env("AWS_CONFIG_FILE", &file)
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY");
        let output = command.output().expect("the program runs");
        let explained: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let session = &explained["session"];
        assert_eq!(
            (&session["profile"], &session["region"]),
            (&json!(profile), &json!(region)),
            "{explained:#}"
        );
        assert_eq!(session["credentials"], format!("profile {profile}"));
        assert_eq!(explained["asked"][0]["start"], true);
    }
}
