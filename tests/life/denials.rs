//! Every call of the client denied and throttled in turn.

use crate::world::{World, assert_contains};

const BASTION: &str = "[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '1m'\n";

#[test]
fn what_only_looks_may_be_denied() {
    let world = World::new();
    world.configure(BASTION);
    for action in ["ListExecutions", "DescribeExecution", "DescribeSessions"] {
        // The guardian itself needs some of these; only the client is told no, by the number of its calls.
        if action != "DescribeSessions" {
            world.fault(action, "AccessDeniedException", None);
        }
        world.reach(&["bastion"]);
        world.no_fault();
        world.until_over();
    }
}

#[test]
fn a_denied_description_of_instances_does_not_keep_a_client_out() {
    let world = World::new();
    world.configure(BASTION);
    // The life itself begins with the same call: the client's are the first.
    world.fault("DescribeInstances", "UnauthorizedOperation", Some(1));
    world.reach(&["bastion"]);
    world.until_over();
}

#[test]
fn a_denied_connection_status_does_not_keep_a_client_out() {
    let world = World::new();
    world.configure(BASTION);
    world.fault("GetConnectionStatus", "AccessDeniedException", None);
    world.reach(&["bastion"]);
    world.until_over();
}

#[test]
fn a_denied_start_is_exit_11_and_a_missing_guardian_exit_3() {
    let world = World::new();
    world.configure(BASTION);
    world.fault("StartExecution", "AccessDeniedException", None);
    let (code, stderr) = world.refuse(&["connect", "bastion"]);
    assert_eq!(code, 11, "{stderr}");
    assert_contains(&stderr, &["AccessDeniedException when calling StartExecution", "states:StartExecution"]);
    world.no_fault();
    let (code, stderr) = world.refuse(&["connect", "--guardian", "other", "bastion"]);
    assert_eq!(code, 3, "{stderr}");
    assert_contains(&stderr, &["no state machine `other` in eu-central-1", "fumidai bastion setup"]);
    assert_eq!(world.life_count(), 0);
}

#[test]
fn a_group_needs_the_calls_that_find_it() {
    let world = World::new();
    world.machine(serde_json::json!({ "id": world.bastion, "state": "running", "agent_after": 0 }));
    world.configure(
        "[hosts.bastion]\ntarget = 'BASTION'\n[hosts.app]\naddress = '10.0.0.115'\nvia = 'bastion'\nroute = 'remote-host'\n\
         security_group = 'SG_Maintenance'\n",
    );
    for action in ["DescribeNetworkInterfaces", "DescribeSecurityGroups"] {
        world.fault(action, "UnauthorizedOperation", None);
        let (code, stderr) = world.refuse(&["connect", "app"]);
        assert_eq!(code, 11, "{stderr}");
        assert_contains(&stderr, &["UnauthorizedOperation when calling", action]);
        world.no_fault();
    }
}

#[test]
fn throttled_calls_are_tried_again() {
    let world = World::new();
    world.configure(BASTION);
    for (action, code) in [
        ("StartExecution", "ThrottlingException"),
        ("ListExecutions", "ThrottlingException"),
        ("DescribeExecution", "ThrottlingException"),
        ("DescribeInstances", "RequestLimitExceeded"),
        ("GetConnectionStatus", "ThrottlingException"),
        ("StartInstances", "RequestLimitExceeded"),
        ("StopInstances", "RequestLimitExceeded"),
    ] {
        world.fault(action, code, Some(2));
    }
    world.reach(&["bastion"]);
    world.until_over();
}
