//! Logins with a key that was pushed: from a file, from the agent, two at once, through a hop, with the user's own key.

use std::fs;
use std::time::{Duration, SystemTime};

use fumidai::sim::ONLINE_TARGET;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::desk::{APP, Desk, forget_all, listed};
use crate::instance_connect::Push;
use crate::network::Machine;
use crate::openssh::{SshAgent, keygen, script, user};
use crate::run::{PATIENCE, until};
use crate::world::World;

fn is_to(push: &Push, instance: &str) -> bool {
    push.instance == instance && push.user == user()
}

#[tokio::test]
async fn without_an_agent_ssh_reads_the_key_from_a_file() {
    let desk = Desk::new("key = 'ephemeral'").await;
    let answered = desk.run("ssh bastion 'echo $NODE'").finish().await.exits(0).silent();
    assert_eq!(answered.text(), "bastion\n");
    let pushes = desk.service.pushes();
    assert!(pushes.len() == 1 && is_to(&pushes[0], ONLINE_TARGET), "{pushes:?}");
    until("the key file is removed", || desk.has_no_files()).await;
    desk.run("ssh bastion true").finish().await.exits(0).silent();
    let again = desk.service.pushes();
    assert_eq!(again.len(), 2);
    desk.world.bench.settle().await;
}

#[tokio::test]
async fn the_agent_has_the_key_only_while_the_connection_lasts() {
    let desk = Desk::new("").await;
    let agent = desk.agent().await;
    let line = format!("ssh {ONLINE_TARGET} 'echo in; cat'");
    let mut running = desk.run(&line).env("SSH_AUTH_SOCK", &agent.socket).start();
    assert_eq!(running.hear(3).await, b"in\n");
    let keys = listed(&agent.socket);
    assert_eq!(keys.trim_end(), desk.service.pushes()[0].line, "the key with its comment");
    running.close_and_finish().await.exits(0).silent();
    until("the key is removed", || listed(&agent.socket).is_empty()).await;
    assert!(desk.has_no_files());
    desk.world.bench.settle().await;
}

#[tokio::test]
async fn a_banner_that_comes_late_finds_the_key_in_the_agent() {
    let late = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = late.local_addr().unwrap();
    let world = World::new().configure(|config| config.ports.extend([(2222, address)]));
    let desk = Desk::of(world, "").await;
    let agent = desk.agent().await;
    let line = format!("fumidai connect --ephemeral-key {}@{ONLINE_TARGET} 2222", user());
    let mut running = desk.run(&line).env("SSH_AUTH_SOCK", &agent.socket).start();
    let (mut server, _) = timeout(PATIENCE, late.accept()).await.expect("a connection").unwrap();
    assert!(!listed(&agent.socket).is_empty());
    // As if its lifetime has ended, while a machine was started.
    forget_all(&agent.socket);
    assert_eq!(listed(&agent.socket), "");
    server.write_all(b"SSH-2.0-late\r\n").await.unwrap();
    assert_eq!(running.hear(4).await, b"SSH-");
    assert_eq!(listed(&agent.socket).trim_end(), desk.service.pushes()[0].line);
    drop(server);
    running.close_and_finish().await.exits(0);
    assert_eq!(listed(&agent.socket), "");
}

#[tokio::test]
async fn the_users_other_keys_stay_in_the_agent() {
    let desk = Desk::new("").await;
    let agent = desk.agent().await;
    agent.add(&desk.world.third.path("identity")).await;
    let before = listed(&agent.socket);
    let line = format!("ssh {ONLINE_TARGET} 'echo $NODE'");
    let answered = desk.run(&line).env("SSH_AUTH_SOCK", &agent.socket).finish().await.exits(0).silent();
    assert_eq!(answered.text(), "bastion\n");
    until("the key is removed", || listed(&agent.socket) == before).await;
}

#[tokio::test]
async fn two_logins_at_once_use_one_key() {
    let desk = Desk::new("key = 'ephemeral'").await;
    let mut one = desk.run("ssh bastion 'echo in; cat'").start();
    assert_eq!(one.hear(3).await, b"in\n");
    let both = ["ssh bastion 'echo $NODE'"; 2].map(|line| desk.run(line).finish());
    let [two, three] = both;
    let (two, three) = tokio::join!(two, three);
    assert_eq!((two.exits(0).silent().text(), three.exits(0).silent().text()), ("bastion\n", "bastion\n"));
    let pushes = desk.service.pushes();
    assert!(pushes.len() == 3 && pushes.iter().all(|push| *push == pushes[0]), "{pushes:?}");
    one.round_trip(b"still here").await;
    one.close_and_finish().await.exits(0).silent();
    until("the key file is removed", || desk.has_no_files()).await;
    desk.world.bench.settle().await;
}

#[tokio::test]
async fn two_logins_at_once_have_a_key_each_in_the_agent() {
    let desk = Desk::new("").await;
    let agent = desk.agent().await;
    let line = format!("ssh {ONLINE_TARGET} 'echo in; cat'");
    let start = || desk.run(&line).env("SSH_AUTH_SOCK", &agent.socket).start();
    let (mut one, mut two) = (start(), start());
    assert_eq!((one.hear(3).await, two.hear(3).await), (b"in\n".to_vec(), b"in\n".to_vec()));
    let pushes = desk.service.pushes();
    assert!(pushes.len() == 2 && pushes[0] != pushes[1], "{pushes:?}");
    assert_eq!(listed(&agent.socket).lines().count(), 2);
    one.close_and_finish().await.exits(0).silent();
    until("its key is removed", || listed(&agent.socket).lines().count() == 1).await;
    two.round_trip(b"still here").await;
    two.close_and_finish().await.exits(0).silent();
    until("the other key is removed", || listed(&agent.socket).is_empty()).await;
}

#[tokio::test]
async fn many_logins_at_once_succeed() {
    let desk = Desk::new("key = 'ephemeral'").await;
    for _ in 0..3 {
        let all = (0..6).map(|_| desk.run("ssh bastion 'echo $NODE'").finish());
        for answered in futures_util::future::join_all(all).await {
            assert_eq!(answered.exits(0).silent().text(), "bastion\n");
        }
    }
    until("the key file is removed", || desk.has_no_files()).await;
}

#[tokio::test]
async fn one_login_after_the_other_succeeds() {
    let desk = Desk::new("key = 'ephemeral'").await;
    for _ in 0..8 {
        desk.run("ssh bastion true").finish().await.exits(0).silent();
    }
    until("the key file is removed", || desk.has_no_files()).await;
}

#[tokio::test]
async fn every_machine_of_a_route_gets_a_key() {
    let desk = Desk::new("key = 'ephemeral'").await;
    let answered = desk.run("ssh appserver 'echo $NODE'").finish().await.exits(0).silent();
    assert_eq!(answered.text(), "appserver\n");
    let pushes = desk.service.pushes();
    assert!(pushes.len() == 2 && is_to(&pushes[0], ONLINE_TARGET) && is_to(&pushes[1], APP), "{pushes:?}");
    assert_ne!(pushes[0].line, pushes[1].line, "each has its own key");
    until("the key file is removed", || desk.has_no_files()).await;
    desk.world.bench.settle().await;
}

#[tokio::test]
async fn the_users_own_key_is_pushed() {
    let desk = Desk::new("key = 'push'").await;
    let folder = desk.world.bench.path("home");
    keygen(&folder, "mine", &["-t", "ed25519"]).await;
    let mine =
        format!("Host *\n    IdentityAgent none\n    IdentityFile {}\n", folder.join("mine").display());
    desk.use_ssh_config(&mine).await;
    let answered = desk.run("ssh appserver 'echo $NODE'").finish().await.exits(0).silent();
    assert_eq!(answered.text(), "appserver\n");
    let public = std::fs::read_to_string(folder.join("mine.pub")).unwrap();
    let pushes = desk.service.pushes();
    assert_eq!(pushes.len(), 2);
    assert!(pushes.iter().all(|push| push.line.starts_with(public.trim_end())), "{pushes:?}");
    desk.world.bench.settle().await;
}

#[tokio::test]
async fn a_forward_logs_in_to_its_hops_with_pushed_keys() {
    let desk = Desk::new("").await;
    let echo = desk.world.echo(Machine::App, 0);
    let talk = desk.world.bench.path("talk");
    script(&talk, "exec 3<>/dev/tcp/127.0.0.1/$FUMIDAI_PORT; echo hello >&3; read line <&3; echo $line");
    let line = format!(
        "fumidai forward --ephemeral-key --eager appserver -L 0:{echo} --exec 'bash {}'",
        talk.display()
    );
    let finished = desk.run(&line).finish().await.exits(0);
    assert!(finished.text().ends_with("hello\n"), "{finished:?}");
    let pushes = desk.service.pushes();
    assert!(pushes.iter().any(|push| is_to(push, ONLINE_TARGET)), "{pushes:?}");
    desk.world.bench.settle().await;
}

#[tokio::test]
async fn the_users_own_key_of_the_agent_is_pushed() {
    let desk = Desk::new("key = 'push'").await;
    let agent = SshAgent::start(&desk.world.bench.path("home")).await;
    agent.add(&desk.world.third.path("identity")).await;
    let answered =
        desk.run("ssh bastion 'echo $NODE'").env("SSH_AUTH_SOCK", &agent.socket).finish().await.exits(0);
    assert_eq!(answered.silent().text(), "bastion\n");
    let pushes = desk.service.pushes();
    let public = desk.world.third.public("identity");
    assert!(pushes.len() == 1 && pushes[0].line.starts_with(public.trim_end()), "{pushes:?}");
    assert!(!listed(&agent.socket).is_empty(), "it stays in the agent");
}

/// The real ssh waits for 70 s at the question about the host key. The first push is forgotten then.
#[tokio::test]
async fn a_login_after_70_seconds_finds_a_key_that_was_pushed_again() {
    let desk = Desk::new("key = 'ephemeral'").await;
    let known = desk.world.bench.path("other_known_hosts");
    let asks = format!(
        "Host bastion\n    BatchMode no\n    StrictHostKeyChecking ask\n    UserKnownHostsFile {}\n",
        known.display()
    );
    desk.use_ssh_config(&asks).await;
    let answer = desk.world.bench.path("answer");
    script(&answer, "sleep 70; echo yes");
    let slow = desk.run("ssh bastion 'echo $NODE'");
    let slow = slow.env("SSH_ASKPASS", &answer).env("SSH_ASKPASS_REQUIRE", "force").finish().await.exits(0);
    assert_eq!(slow.text(), "bastion\n");
    assert!(slow.took >= Duration::from_secs(70), "{:?}", slow.took);
    let pushes = desk.service.pushes();
    assert!(pushes.len() == 2 && pushes[0] == pushes[1], "{pushes:?}");
    until("the key file is removed", || desk.has_no_files()).await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_minute() {
    let desk = Desk::new("key = 'ephemeral'").await;
    let mut held = desk.run("ssh bastion 'echo in; cat'").start();
    assert_eq!(held.hear(3).await, b"in\n");
    let key = fs::read_dir(desk.key_files()).unwrap().map(|entry| entry.unwrap().path());
    let key = key.into_iter().find(|path| path.extension().is_none()).unwrap();
    let line =
        format!("ssh -i {} -o 'ProxyCommand fumidai connect {ONLINE_TARGET} 22' bastion true", key.display());
    desk.run(&line).finish().await.exits(0).silent();
    let pushed = fs::read_dir(desk.world.bastion.path(&format!("pushed-{}", user()))).unwrap();
    for file in pushed {
        let file = fs::File::options().write(true).open(file.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(61)).unwrap();
    }
    desk.run(&line).finish().await.exits(255);
    held.close_and_finish().await.exits(0);
}

#[tokio::test]
async fn a_pushed_key_is_recorded() {
    let desk = Desk::new("key = 'ephemeral'").await;
    desk.run("ssh bastion true").finish().await.exits(0).silent();
    let record = desk.world.bench.path("home/fumidai/audit.jsonl");
    let lines = || std::fs::read_to_string(&record).unwrap_or_default();
    until("the push and the end are recorded", || lines().contains("\"ended\"")).await;
    let line = lines().lines().find(|line| line.contains("\"key-pushed\"")).unwrap().to_owned();
    assert!(line.contains(&format!("\"target\":\"{ONLINE_TARGET}\",\"os_user\":\"{}\"", user())), "{line}");
    desk.run("fumidai audit verify").finish().await.exits(0).silent();
}
