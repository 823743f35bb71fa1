//! Why a key could not be pushed or used, and what the user is told.

use fumidai::sim::ONLINE_TARGET;
use fumidai::sim::faults::{ApiEffect, ApiFault};
use rustix::process::Signal;

use crate::desk::Desk;
use crate::network::Machine;
use crate::openssh::{SshAgent, script, user};
use crate::run::{Finished, until};
use crate::world::World;

async fn connect(desk: &Desk, target: &str) -> Finished {
    let file = desk.key_files().join("denied");
    let line = format!("fumidai connect --ephemeral-key --key-file {} {target}", file.display());
    let mut running = desk.run(&line).start();
    let stdin = running.stdin.take();
    let finished = running.finish().await;
    drop(stdin);
    finished
}

#[tokio::test]
async fn each_refusal_has_its_exit_code_and_its_fix() {
    let desk = Desk::new("").await;
    for (code, exit, hint) in [
        ("AccessDeniedException", 11, "`ec2-instance-connect:SendSSHPublicKey`"),
        ("AuthException", 11, "--policy"),
        ("InvalidArgsException", 1, "check the user name"),
        ("EC2InstanceNotFoundException", 12, "`--region`"),
        ("EC2InstanceStateInvalidException", 14, "fumidai bastion start"),
        ("EC2InstanceUnavailableException", 14, "try again in a minute"),
        ("ThrottlingException", 1, "try again later"),
    ] {
        desk.service.refuse(code);
        let finished = connect(&desk, &format!("{}@{ONLINE_TARGET}", user())).await.exits(exit);
        assert_eq!(finished.text(), "", "no banner without a key");
        let cause = finished.cause();
        let begin = format!("cannot push a key to `{}` on {ONLINE_TARGET}: {code} when calling", user());
        assert!(cause.starts_with(&begin), "{cause}");
        assert!(finished.stderr.contains(hint), "{}", finished.stderr);
    }
    desk.world.bench.settle().await;
    until("the key file is removed", || desk.has_no_files()).await;
}

#[tokio::test]
async fn a_machine_that_may_not_be_looked_up_gets_no_key() {
    let desk = Desk::new("").await;
    let (app, user) = (&desk.world.app, user());
    desk.world.configure(&format!(
        "[hosts.bastion]\ntarget = '{ONLINE_TARGET}'\n[hosts.appserver]\naddress = '{}'\nport = {}\nuser = '{user}'\n\
         via = 'bastion'\nroute = 'remote-host'\nkey = 'ephemeral'\n",
        app.host, app.port
    ));
    // The simulator denies EC2's calls always.
    let effect = ApiEffect::Error { code: "AccessDeniedException".into(), message: "not authorized".into() };
    let fault = ApiFault { operation: "DescribeInstanceInformation".into(), effect, times: 100 };
    desk.world.bench.simulator.change_faults(|faults| faults.api.push(fault));
    let denied = connect(&desk, "appserver").await.exits(11);
    assert!(denied.cause().contains("when calling DescribeInstances"), "{}", denied.stderr);
    assert!(denied.stderr.contains("hint: allow `ec2:DescribeInstances`"), "{}", denied.stderr);
    assert!(desk.service.pushes().is_empty() && denied.text().is_empty());
}

#[tokio::test]
async fn ssh_shows_why_the_key_was_not_pushed() {
    let desk = Desk::new("key = 'ephemeral'").await;
    desk.service.refuse("AccessDeniedException");
    let finished = desk.run("ssh bastion true").finish().await.exits(255);
    assert!(finished.stderr.contains("fumidai: cannot push a key to"), "{}", finished.stderr);
    assert!(finished.stderr.contains("fumidai: hint: "), "{}", finished.stderr);
}

#[tokio::test]
async fn a_key_needs_a_user() {
    let desk = Desk::new("").await;
    let finished = connect(&desk, ONLINE_TARGET).await.exits(2);
    assert_eq!(finished.cause(), format!("cannot push a key to `{ONLINE_TARGET}`: no user is named"));
    assert!(desk.service.pushes().is_empty());
}

#[tokio::test]
async fn a_key_needs_an_agent_or_a_file() {
    let desk = Desk::new("").await;
    let line = format!("fumidai connect --ephemeral-key {}@{ONLINE_TARGET}", user());
    let finished = desk.run(&line).finish().await.exits(3);
    assert!(finished.cause().starts_with("no ssh-agent and no `--key-file`"), "{}", finished.stderr);
    let broken = desk.run(&line).env("SSH_AUTH_SOCK", "/nowhere/agent").finish().await.exits(1);
    assert!(broken.cause().starts_with("cannot use the ssh-agent"), "{}", broken.stderr);
    assert!(desk.world.bench.simulator.sessions().is_empty(), "no session for a key that ssh cannot find");
}

#[tokio::test]
async fn a_hop_without_the_agent_of_instance_connect_is_named() {
    let desk = Desk::with("key = 'ephemeral'", &[Machine::App]).await;
    let file = desk.key_files().join("x");
    let line = format!("fumidai connect --key-file {} appserver", file.display());
    let finished = desk.run(&line).finish().await.exits(19);
    let cause = finished.cause();
    assert!(cause.starts_with("the key was pushed, but") && cause.contains("`bastion`"), "{cause}");
    assert!(finished.stderr.contains("`ec2-instance-connect`"), "{}", finished.stderr);
    assert_eq!(desk.service.pushes().len(), 1);
}

/// What the log says if the login of ssh looks refused.
const REFUSED: &str = "the login of ssh looks refused";

#[tokio::test]
async fn a_refused_login_of_ssh_is_noticed() {
    // The bastion knows keys in files only: its image has no Instance Connect.
    let desk = Desk::with("key = 'ephemeral'", &[Machine::App]).await;
    let agent = SshAgent::start(&desk.world.bench.path("home")).await;
    agent.add(&desk.world.third.path("identity")).await;
    for (number, line) in [
        "ssh bastion true",
        "ssh -o IdentitiesOnly=no bastion true",
        "ssh -c aes256-gcm@openssh.com bastion true",
        "ssh -c aes128-ctr -m hmac-sha2-512 bastion true",
        "ssh -o Compression=yes bastion true",
    ]
    .into_iter()
    .enumerate()
    {
        let refused = desk.run(line).env("SSH_AUTH_SOCK", &agent.socket).finish().await.exits(255);
        assert!(refused.stderr.contains("Permission denied (publickey)"), "{}", refused.stderr);
        until("the log has it", || desk.log().matches(REFUSED).count() == number + 1).await;
    }
    assert_eq!(desk.service.pushes().len(), 5);
}

#[tokio::test]
async fn a_refused_login_of_ssh_is_said_on_a_terminal() {
    let desk = Desk::with("key = 'ephemeral'", &[Machine::App]).await;
    // ssh does not wait for fumidai. The key file is removed once that has ended.
    let login = desk.world.bench.path("login");
    let wait = format!("while [ \"$(ls -A {})\" ]; do sleep 0.1; done", desk.key_files().display());
    script(&login, &format!("ssh bastion true; code=$?; {wait}; exit $code"));
    let shown = desk.run(&format!("script -qec {} /dev/null", login.display())).finish().await.exits(255);
    let line = format!(
        "fumidai: if ssh said `Permission denied (publickey)`: `{}` may not exist there, or its image may lack EC2 Instance \
         Connect (AuthorizedKeysCommand); run `fumidai doctor bastion`\r\n",
        user()
    );
    assert!(shown.text().contains(&line), "{}", shown.text());
    let quiet = desk.run("ssh bastion true").finish().await.exits(255);
    assert!(!quiet.stderr.contains("fumidai"), "only a terminal shows it: {}", quiet.stderr);
}

#[tokio::test]
async fn a_login_that_succeeds_is_not_taken_for_a_refused_one() {
    let desk = Desk::new("key = 'ephemeral'").await;
    let agent = SshAgent::start(&desk.world.bench.path("home")).await;
    agent.add(&desk.world.third.path("identity")).await;
    for line in [
        "ssh bastion true",
        "ssh -o IdentitiesOnly=no bastion true",
        "ssh -c aes256-gcm@openssh.com bastion true",
        "ssh -c aes128-ctr -m hmac-sha2-512 bastion true",
        "ssh -o Compression=yes bastion exit 3",
    ] {
        desk.run(line).env("SSH_AUTH_SOCK", &agent.socket).finish().await;
    }
    let mut killed = desk.run("ssh bastion 'echo in; cat'").start();
    assert_eq!(killed.hear(3).await, b"in\n");
    killed.signal(Signal::KILL);
    killed.finish().await;
    until("all keys are removed", || desk.has_no_files()).await;
    assert_eq!(desk.service.pushes().len(), 6);
    assert!(!desk.log().contains(REFUSED), "{}", desk.log());
}

#[tokio::test]
async fn a_port_that_is_not_ssh_gets_no_key() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = std::io::Write::write_all(&mut stream, b"220 mail\r\n");
        }
    });
    let world = World::new().configure(|config| {
        config.ports.insert(25, address);
    });
    let desk = Desk::of(world, "").await;
    let file = desk.key_files().join("mail");
    let line = format!("fumidai connect --ephemeral-key --key-file {} {ONLINE_TARGET} 25", file.display());
    let mut running = desk.run(&line).start();
    assert_eq!(running.hear(10).await, b"220 mail\r\n");
    running.close_and_finish().await.exits(0);
    assert!(desk.service.pushes().is_empty());
}
