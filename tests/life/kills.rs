//! `kill -9` of the client at every step: whoever cleans up does not live on the client's machine.

use std::process::Stdio;

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
