//! `kill -9` of the client at every step: whoever cleans up does not live on the client's machine.

use std::process::{Child, Stdio};

use crate::world::World;

type Condition = fn(&World) -> bool;

#[test]
fn a_client_that_is_killed_at_any_step_leaves_nothing_behind() {
    let world = World::new();
    world.configure(
        "[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '1m'\n\
         [hosts.app]\naddress = '10.0.0.115'\nvia = 'bastion'\nroute = 'remote-host'\nsecurity_group = 'SG_Maintenance'\n",
    );
    let (group, interface) = (world.group("SG_Maintenance"), world.interface(&world.server));
    world.tag(&[&group]);
    let before = world.groups(&interface);
    let steps: [(&str, Condition); 5] = [
        ("a life has begun", |world| !world.lives().is_empty()),
        ("the bastion boots", |world| world.state_of(&world.bastion) == "pending"),
        ("the bastion runs", |world| world.state_of(&world.bastion) == "running"),
        ("a group is asked for", |world| world.lives().iter().any(|life| !life["watch"].is_null())),
        ("a session is open", |world| !world.simulator.open_sessions().is_empty()),
    ];
    for (step, holds) in steps {
        let mut command = world.command(&["connect", "app"]);
        let mut child =
            command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program runs");
        world.until(step, holds);
        child.kill().expect("it is killed");
        child.wait().expect("it is gone");
        // The service ends the session of a client that is gone after its idle time: here at once.
        for session in world.simulator.open_sessions() {
            world.simulator.end_session(&session.id, "timed out due to inactivity");
        }
        world.until_over();
        assert_eq!(world.groups(&interface), before, "{step}");
    }
}

/// A small generator: the same seed kills at the same moments.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// `FUMIDAI_TEST_LIVES` names how many clients there are, for longer runs by hand.
#[test]
fn clients_that_are_killed_at_random_moments_leave_nothing_behind() {
    let clients: u64 =
        std::env::var("FUMIDAI_TEST_LIVES").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let world = World::new();
    world.configure(
        "[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '1m'\n\
         [hosts.app]\naddress = '10.0.0.115'\nvia = 'bastion'\nroute = 'remote-host'\nsecurity_group = 'SG_Maintenance'\n",
    );
    let (group, interface) = (world.group("SG_Maintenance"), world.interface(&world.server));
    world.tag(&[&group]);
    let before = world.groups(&interface);
    let mut seed = 20_261_128;
    let mut running = Vec::new();
    for _ in 0..clients {
        let host = if next(&mut seed).is_multiple_of(2) { "bastion" } else { "app" };
        let mut command = world.command(&["connect", host]);
        command.stdin(Stdio::piped()).stderr(Stdio::null()).stdout(Stdio::null());
        running.push(command.spawn().expect("the program runs"));
        std::thread::sleep(std::time::Duration::from_millis(next(&mut seed) % 1500));
        if running.len() > 3 {
            let mut killed =
                running.swap_remove(usize::try_from(next(&mut seed)).expect("64 bits") % running.len());
            killed.kill().expect("it is killed");
            killed.wait().expect("it is gone");
        }
        if next(&mut seed).is_multiple_of(6) {
            end_all(&world, running.drain(..));
            assert_eq!(world.groups(&interface), before);
        }
    }
    end_all(&world, running.into_iter());
    assert_eq!(world.groups(&interface), before);
}

/// Kills clients, and waits until the service has ended their sessions and nothing runs.
fn end_all(world: &World, clients: impl Iterator<Item = Child>) {
    for mut client in clients {
        client.kill().expect("it is killed");
        client.wait().expect("it is gone");
    }
    world.until("nothing runs", |world| {
        for session in world.simulator.open_sessions() {
            world.simulator.end_session(&session.id, "timed out due to inactivity");
        }
        world.state_of(&world.bastion) == "stopped" && world.lives().is_empty()
    });
}
