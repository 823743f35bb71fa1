//! What the record has of a session through a bastion: its start, the group that was lent, the way, and who it was.

use serde_json::{Value, json};

use crate::world::World;

const APP: &str = "[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '1m'\n\
                   [hosts.app]\naddress = '10.0.0.115'\nvia = 'bastion'\nroute = 'remote-host'\n\
                   security_group = 'SG_Maintenance'\n";

#[test]
fn a_start_a_lent_group_and_the_way_are_recorded() {
    let world = World::new();
    world.configure(APP);
    let (group, interface) = (world.group("SG_Maintenance"), world.interface(&world.server));
    world.tag(&[&group]);
    world.reach(&["app"]);
    let output = world.command(&["audit", "show", "--json"]).output().expect("it runs");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let of = |event: &str| rows.iter().filter(|row| row["event"] == event).collect::<Vec<_>>();
    let began = of("life");
    let life = |prefix: &str| {
        began.iter().any(|row| row["life"].as_str().is_some_and(|life| life.starts_with(prefix)))
    };
    assert!(life(&format!("{}_", world.bastion)), "{began:?}");
    assert!(life(&format!("{interface}.{group}_")), "{began:?}");
    let started = of("started");
    let [session] = &started[..] else { panic!("{rows:?}") };
    assert_eq!((&session["via"], &session["address"]), (&json!(["bastion"]), &json!("10.0.0.115:22")));
    assert_eq!((&session["word"], &session["target"]), (&json!("app"), &json!(world.bastion)));
    assert!(session["caller"].as_str().is_some_and(|arn| arn.starts_with("arn:aws:")), "{session}");
    world.until_over();
}

#[test]
fn the_session_of_doctor_is_recorded() {
    let world = World::new();
    world.configure("[hosts.web]\ntarget = 'SERVER'\n");
    world.command(&["doctor", "web"]).output().expect("it runs");
    let output = world.command(&["audit", "show", "--json"]).output().expect("it runs");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let [session] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&session["word"], &session["target"]), (&json!("web"), &json!(world.server)));
    assert!(session["ended"].is_string(), "{session}");
}
