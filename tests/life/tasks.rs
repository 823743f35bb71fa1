//! A bastion that does not exist until it is needed: a Fargate task.

use crate::world::{Given, World, assert_contains};

const TASK: &str = "[hosts.box]\ntask = { cluster = 'ops', definition = 'bastion', subnets = 'subnet-0abc' }\nstop_grace = '1m'\n";

fn world() -> World {
    let targets = (1..=2).map(|number| format!("ecs:ops_{number:032x}_{number:032x}-0000000001")).collect();
    let world = World::with(Given { targets, ..Given::default() });
    world.define_task();
    let subnet = world.subnet();
    world.configure(&TASK.replace("subnet-0abc", &subnet));
    world
}

#[test]
fn a_task_runs_while_it_is_used_and_is_shared() {
    let world = world();
    let client = world.stay(&["box"]);
    world.reach(&["box"]);
    let tasks = |world: &World| world.state()["tasks"].as_object().expect("tasks").clone();
    assert_eq!((tasks(&world).len(), world.life_count()), (1, 1), "both use one task of one life");
    client.leave();
    let running = |world: &World| tasks(world).values().filter(|task| task["status"] == "RUNNING").count();
    world.until("the task is stopped", |world| running(world) == 0 && world.lives().is_empty());
}

#[test]
fn a_task_is_a_hop_as_any_other() {
    let world = world();
    world.configure(&format!(
        "{}[hosts.app]\naddress = '10.0.0.115'\nvia = 'box'\nroute = 'remote-host'\n",
        TASK.replace("subnet-0abc", &world.subnet())
    ));
    world.reach(&["app"]);
    world.until("no life runs", |world| world.lives().is_empty());
}

#[test]
fn a_task_that_may_not_be_started_is_not_there() {
    let world = world();
    let (code, stderr) = world.refuse(&["connect", "--no-start", "box"]);
    assert_eq!(code, 14, "{stderr}");
    assert_contains(&stderr, &["`box` does not run: it has no task", "fumidai bastion start box"]);
    world.fault("RunTask", "AccessDeniedException", None);
    let (code, stderr) = world.refuse(&["connect", "box"]);
    assert_eq!(code, 21, "{stderr}");
    assert_contains(&stderr, &["fumidai.TaskFailed", "not authorized"]);
}

#[test]
fn a_task_that_ends_itself_is_not_extended() {
    let world = world();
    let task = TASK.replace("subnet-0abc", &world.subnet()).replace(" }", ", container = 'bastion' }");
    world.configure(&task);
    world.succeed(&["bastion", "start", "box"]);
    let (code, stderr) = world.refuse(&["bastion", "extend", "box", "1h"]);
    assert_eq!(code, 1, "{stderr}");
    assert_contains(
        &stderr,
        &["the task of `box` ends itself", "set a longer `stop_after` in `[hosts.box]`"],
    );
    world.succeed(&["bastion", "stop", "box"]);
    world.until("no life runs", |world| world.lives().is_empty());
}
