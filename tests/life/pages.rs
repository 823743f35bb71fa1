//! The real ssh, end to end on a stopped bastion.

use std::fs;
use std::process::Command;

use crate::sshd::{HOST_KEY_ALIAS, Sshd};
use crate::tools::tool;
use crate::world::{Given, World, text};

/// An ssh_config as `fumidai ssh-config` writes it, with the keys of the test.
fn ssh_config(world: &World, sshd: &Sshd) -> String {
    let printed = world.succeed(&["ssh-config"]);
    let program = env!("CARGO_BIN_EXE_fumidai");
    let printed = printed.replace("ProxyCommand fumidai", &format!("ProxyCommand {program}"));
    format!(
        "Host *\n    User {}\n    IdentityFile {}\n    UserKnownHostsFile {}\n    HostKeyAlias {HOST_KEY_ALIAS}\n    \
         StrictHostKeyChecking yes\n    BatchMode yes\n\n{printed}",
        sshd.user,
        sshd.identity.display(),
        sshd.known_hosts.display(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_reaches_a_stopped_bastion_and_a_server_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let sshd = Sshd::start(&folder.path().join("sshd")).await;
    let given = Given { port: Some(sshd.address), ..Given::default() };
    let world = tokio::task::spawn_blocking(|| World::with(given)).await.expect("a world");
    world.configure(
        "[hosts.bastion]\ntarget = 'BASTION'\nstart = true\nstop_grace = '1m'\n\
         [hosts.appserver]\naddress = '10.0.0.115'\nvia = 'bastion'\nroute = 'remote-host'\nsecurity_group = 'SG_Maintenance'\n",
    );
    let (group, interface) = (world.group("SG_Maintenance"), world.interface(&world.server));
    world.tag(&[&group]);
    let before = world.groups(&interface);
    let config = world.path("ssh_config");
    fs::write(&config, ssh_config(&world, &sshd)).expect("a file");
    for host in ["bastion", "appserver"] {
        let mut ssh: Command = world.program(&tool("ssh"), &["-F"]);
        ssh.arg(&config).args([host, "echo", "hello"]);
        let output =
            tokio::task::spawn_blocking(move || ssh.output().expect("ssh runs")).await.expect("no panic");
        assert_eq!(text(&output.stdout), "hello\n", "{host}: {}", text(&output.stderr));
    }
    tokio::task::spawn_blocking(move || {
        world.until_over();
        assert_eq!(world.groups(&interface), before);
    })
    .await
    .expect("the bastion is stopped");
}
