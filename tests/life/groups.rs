//! A security group that a machine has only while a client is connected.

use serde_json::json;

use crate::world::{World, assert_contains, element};

const APP: &str = "[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '1m'\n\
                   [hosts.app]\naddress = '10.0.0.115'\nvia = 'bastion'\nroute = 'remote-host'\n\
                   security_group = 'SG_Maintenance'\n";

#[test]
fn a_server_behind_a_stopped_bastion_has_the_group_while_it_is_used() {
    let world = World::new();
    world.configure(APP);
    let (group, interface) = (world.group("SG_Maintenance"), world.interface(&world.server));
    world.tag(&[&group]);
    let before = world.groups(&interface);
    let client = world.stay(&["app"]);
    assert!(world.groups(&interface).contains(&group), "it has the group before data flows");
    let second = world.stay(&["app"]);
    client.leave();
    world.until("the bastion's life goes on", |world| !world.lives().is_empty());
    second.leave();
    world.until_over();
    assert_eq!(world.groups(&interface), before);
    assert_eq!(world.state_of(&world.server), "running", "a server behind it is never stopped");
}

#[test]
fn a_group_that_was_there_stays() {
    let world = World::new();
    world.configure(APP);
    let (group, interface) = (world.group("SG_Maintenance"), world.interface(&world.server));
    world.tag(&[&group]);
    let own = world.groups(&interface).remove(0);
    world.ec2(&format!(
        "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={interface}&SecurityGroupId.1={own}&SecurityGroupId.2={group}"
    ));
    world.reach(&["app"]);
    world.until_over();
    assert!(world.groups(&interface).contains(&group));
}

#[test]
fn a_group_that_cannot_be_lent_is_an_error_before_anything_changes() {
    let world = World::new();
    world.machine(json!({ "id": world.bastion, "state": "running" }));
    world.configure(APP);
    let interface = world.interface(&world.server);
    let before = world.groups(&interface);
    let (code, stderr) = world.refuse(&["connect", "app"]);
    assert_eq!(code, 3, "{stderr}");
    assert_contains(&stderr, &["no security group `SG_Maintenance` in vpc-"]);
    let group = world.group("SG_Maintenance");
    let (code, stderr) = world.refuse(&["connect", "app"]);
    assert_eq!(code, 3, "{stderr}");
    assert_contains(&stderr, &["is not tagged `fumidai:guarded = true`", "aws ec2 create-tags", &group]);
    let vpc = element(&world.ec2("Action=CreateVpc&CidrBlock=10.9.0.0%2F16"), "vpcId");
    let abroad = world.group_in("abroad", &vpc);
    world.configure(&APP.replace("SG_Maintenance", &abroad));
    let (code, stderr) = world.refuse(&["connect", "app"]);
    assert_eq!(code, 3, "{stderr}");
    assert_contains(&stderr, &["the interface of `app` is not"]);
    world.configure(&APP.replace("10.0.0.115", "10.0.0.200"));
    let (code, stderr) = world.refuse(&["connect", "app"]);
    assert_eq!(code, 3, "{stderr}");
    assert_contains(&stderr, &["no network interface of `app` found (10.0.0.200)"]);
    assert_eq!((world.life_count(), world.groups(&interface)), (0, before));
}

#[test]
fn an_interface_without_room_is_an_error_and_keeps_its_groups() {
    let world = World::new();
    world.machine(json!({ "id": world.bastion, "state": "running" }));
    world.configure(APP);
    let interface = world.interface(&world.server);
    let mut all: Vec<String> = (0..5).map(|number| world.group(&format!("g{number}"))).collect();
    let ids: String =
        all.iter().enumerate().map(|(at, id)| format!("&SecurityGroupId.{}={id}", at + 1)).collect();
    world.ec2(&format!("Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={interface}{ids}"));
    all = world.groups(&interface);
    let group = world.group("SG_Maintenance");
    world.tag(&[&group]);
    let (code, stderr) = world.refuse(&["connect", "app"]);
    assert_eq!(code, 21, "{stderr}");
    assert_contains(&stderr, &["fumidai.LendFailed", "limit 5", "take another group off"]);
    assert_eq!(world.groups(&interface), all);
}

#[test]
fn the_bastion_itself_can_have_a_group_and_keeps_edits_of_others() {
    let world = World::new();
    world.configure("[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '1m'\nsecurity_group = 'SG_Maintenance'\n");
    let (group, interface) = (world.group("SG_Maintenance"), world.interface(&world.bastion));
    world.tag(&[&group]);
    let own = world.groups(&interface).remove(0);
    let client = world.stay(&["bastion"]);
    assert!(world.groups(&interface).contains(&group));
    let other = world.group("other");
    world.ec2(&format!(
        "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId={interface}&SecurityGroupId.1={own}\
         &SecurityGroupId.2={group}&SecurityGroupId.3={other}"
    ));
    client.leave();
    world.until_over();
    let mut left = vec![own, other];
    left.sort();
    assert_eq!(world.groups(&interface), left);
}
