//! `fumidai bastion`: by hand.

use serde_json::{Value, json};

use crate::documented_keys::has_keys;
use crate::world::{World, assert_contains};

const HOSTS: &str = "[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '1m'\n\
                     [hosts.app]\naddress = '10.0.0.115'\nvia = 'bastion'\nroute = 'remote-host'\nsecurity_group = 'SG_Maintenance'\n";

/// CloudTrail's caller, as `cloud.py` has it.
const CALLER: &str = "arn:aws:sts::123456789012:assumed-role/ops/verified";

fn status(world: &World, name: &str) -> Value {
    let json = world.succeed(&["bastion", "status", "--json", name]);
    let rows: Value = serde_json::from_str(&json).expect("JSON");
    has_keys("bastion status", &rows);
    rows[0].clone()
}

#[test]
fn a_bastion_is_started_extended_and_stopped_by_hand() {
    let world = World::new();
    world.configure(
        "[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_after = '3h'\nstop_grace = '30m'\n",
    );
    let plan = world.succeed(&["bastion", "start", "--dry-run", "bastion"]);
    assert_contains(&plan, &["would start a life of `fumidai-guardian`"]);
    assert_eq!(world.life_count(), 0);
    let started = world.succeed(&["bastion", "start", "--reason", "ticket 4711", "bastion"]);
    assert_contains(&started, &["bastion is up; it is stopped at 20"]);
    let row = status(&world, "bastion");
    assert_eq!((&row["state"], &row["lives"][0]["reason"]), (&"running".into(), &"ticket 4711".into()));
    let table = world.succeed(&["bastion", "status"]);
    assert_contains(&table, &["NAME", "STARTED BY", "ticket 4711", &world.bastion]);
    let life = &row["lives"][0];
    assert_eq!((&life["caller"], &life["address"]), (&CALLER.into(), &"198.51.100.7".into()));
    assert_contains(&table, &[&format!("bastion: {CALLER} started it from 198.51.100.7 at 20")]);
    let looks = || world.state()["calls"]["clients"]["LookupEvents"].as_u64().unwrap_or_default();
    for (busy_pages, pages, caller) in [(2, 3, CALLER.into()), (1_000_000, 10, Value::Null)] {
        world.control("POST", "/fumidai/trail", &json!({ "busy_pages": busy_pages }));
        let before = looks();
        assert_eq!(status(&world, "bastion")["lives"][0]["caller"], caller);
        assert_eq!(looks() - before, pages);
    }
    world.fault("LookupEvents", "AccessDeniedException", None);
    let denied = status(&world, "bastion");
    assert_eq!(
        (&denied["lives"][0]["caller"], &denied["unknown"]),
        (&Value::Null, &Value::Array(Vec::new()))
    );
    let before = row["stops"].as_str().expect("an end").to_owned();
    let plan = world.succeed(&["bastion", "extend", "--dry-run", "bastion", "1h"]);
    assert_contains(&plan, &["would extend the life of bastion, which ends at 20"]);
    assert_contains(&world.succeed(&["bastion", "extend", "bastion", "1h"]), &["is stopped at 20"]);
    let after = status(&world, "bastion");
    assert!(after["stops"].as_str().expect("an end") > before.as_str(), "{before}: {after}");
    let client = world.stay(&["bastion"]);
    let (code, stderr) = world.refuse(&["bastion", "stop", "bastion"]);
    assert_eq!(code, 1, "{stderr}");
    assert_contains(&stderr, &["1 session of others is on `bastion`", "--force"]);
    assert_eq!(status(&world, "bastion")["sessions"].as_array().map(Vec::len), Some(1));
    assert_contains(
        &world.succeed(&["bastion", "stop", "--force", "bastion"]),
        &["bastion is being stopped"],
    );
    world.until_over();
    drop(client);
    assert_contains(&world.succeed(&["bastion", "stop", "bastion"]), &["is stopped already"]);
    for options in [&[][..], &["--dry-run"]] {
        let (code, stderr) = world.refuse(&[&["bastion", "extend", "bastion", "1h"], options].concat());
        assert_eq!(code, 1, "{stderr}");
        assert_contains(&stderr, &["no life of the guardian watches `bastion`"]);
    }
}

#[test]
fn a_group_that_was_left_behind_is_taken_back() {
    let world = World::new();
    world.configure(HOSTS);
    let (group, interface) = (world.group("SG_Maintenance"), world.interface(&world.server));
    world.tag(&[&group]);
    let own = world.groups(&interface).remove(0);
    world.ec2(&format!(
        "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={interface}&SecurityGroupId.1={own}&SecurityGroupId.2={group}"
    ));
    assert_eq!(status(&world, "app")["groups"][0]["is_left"], true);
    let all: Value = serde_json::from_str(&world.succeed(&["bastion", "status", "--json"])).expect("JSON");
    let [bastion] = all.as_array().expect("a list").as_slice() else { panic!("one bastion: {all:#}") };
    assert_eq!((&bastion["name"], &bastion["groups"][0]["host"]), (&"bastion".into(), &"app".into()));
    assert_contains(
        &world.succeed(&["bastion", "status", "app"]),
        &["no life of the guardian takes it back"],
    );
    assert_contains(&world.succeed(&["bastion", "status", "--fix", "--dry-run", "app"]), &["would take sg-"]);
    assert!(world.groups(&interface).contains(&group));
    assert_contains(&world.succeed(&["bastion", "status", "--fix", "app"]), &["took sg-"]);
    assert_eq!(world.groups(&interface), [own]);
}

#[test]
fn setup_says_what_is_missing_and_does_it() {
    let world = World::new();
    world.configure(HOSTS);
    let group = world.group("SG_Maintenance");
    let (code, _) = world.refuse(&["bastion", "setup", "app"]);
    assert_eq!(code, 1, "the group lacks its tag");
    let text = String::from_utf8(world.run(&["bastion", "setup", "app"]).stdout).expect("UTF-8");
    assert_contains(
        &text,
        &["fumidai-guardian is installed", "aws ec2 create-tags --resources", &group, "AmazonSSM"],
    );
    let (code, stderr) = world.refuse(&["bastion", "setup", "--apply", "app"]);
    assert_eq!(code, 2, "{stderr}");
    assert_contains(&stderr, &["nothing was changed"]);
    world.succeed(&["bastion", "setup", "--apply", "--yes", "app"]);
    world.succeed(&["bastion", "setup", "app"]);
    world.succeed(&["bastion", "teardown", "--apply", "--yes", "app"]);
    assert_eq!(world.refuse(&["bastion", "setup", "app"]).0, 1);
    let missing = world.run(&["bastion", "setup", "--guardian", "other"]);
    let text = String::from_utf8(missing.stdout).expect("UTF-8");
    assert_contains(&text, &["other is missing", "aws cloudformation deploy --stack-name fumidai"]);
    assert!(world.succeed(&["bastion", "setup", "--template"]).contains("AWS::StepFunctions::StateMachine"));
}

#[test]
fn explain_and_its_policy_know_the_life() {
    let world = World::new();
    world.configure(HOSTS);
    let text = world.succeed(&["explain", "app"]);
    assert_contains(
        &text,
        &["started by the guardian fumidai-guardian", "at the latest 43200 s", "has SG_Maintenance"],
    );
    let policy = world.succeed(&["explain", "--policy", "app"]);
    assert_contains(
        &policy,
        &["states:StartExecution", "stateMachine:fumidai-guardian", "ec2:DescribeSecurityGroups"],
    );
    assert!(!policy.contains("ec2:StartInstances"), "{policy}");
}
