//! The unchanged configurations of the articles, on fumidai: `ssh appserver` and the programs that use ssh.

use std::fs;
use std::path::PathBuf;

use fumidai::sim::ONLINE_TARGET;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};

use crate::mariadb::MariaDb;
use crate::network::Machine;
use crate::run::Running;
use crate::services::{MIB, digest, noise};
use crate::world::{BY_AGENT, BY_SSHD, World, digest_of};

/// Logs in, and copies files with three programs.
async fn everything_works_on(world: &World, name: &str) {
    let answered = world.run(&format!("ssh {name} hostname")).finish().await.exits(0).silent();
    let here = world.run("hostname").finish().await.exits(0);
    assert_eq!(answered.text(), here.text());
    let answered = world.run(&format!("ssh {name} 'echo $NODE; exit 37'")).finish().await.exits(37).silent();
    assert_eq!(answered.text(), format!("{name}\n"), "the right machine answers");
    let data = noise(1, MIB + 7);
    let expected = digest(&data);
    world.bench.write("original", &data);
    let folder = world.bench.path("").display().to_string();
    world.run(&format!("scp -q original {name}:{folder}/there")).finish().await.exits(0).silent();
    world.run(&format!("rsync -a {name}:{folder}/there back")).finish().await.exits(0).silent();
    assert_eq!(digest_of(&world.bench.path("back")), expected);
    world.run("git init -q repository").finish().await.exits(0);
    fs::copy(world.bench.path("original"), world.bench.path("repository/file")).unwrap();
    let commit = "git -C repository -c user.name=hops -c user.email=hops@example.com commit -q -m one";
    world.run("git -C repository add file").finish().await.exits(0);
    world.run(commit).finish().await.exits(0);
    world.run(&format!("git clone -q {name}:{folder}/repository clone")).finish().await.exits(0).silent();
    assert_eq!(digest_of(&world.bench.path("clone/file")), expected);
    world.bench.settle().await;
}

/// `Host bastion` through Session Manager, and an app server configured in ssh_config only.
async fn with_ssh_config_only(appserver: &str) -> World {
    let world = World::new().start().await;
    world.ssh_config(&format!(
        "Host bastion\n    HostName {ONLINE_TARGET}\n    ProxyCommand fumidai connect '%h' %p\n\
         Host appserver\n    HostName {}\n    Port {}\n{appserver}",
        world.app.host, world.app.port
    ));
    world
}

#[tokio::test]
async fn an_app_server_behind_a_bastion_needs_no_sshd_there() {
    let world = World::new().start().await;
    everything_works_on(&world, "appserver").await;
    assert_eq!(world.connections()[0], 0, "the bastion's sshd is not used");
    assert!(world.documents().iter().all(|document| document == BY_AGENT), "{:?}", world.documents());
}

#[tokio::test]
async fn an_app_server_behind_a_bastion_is_reached_through_sshd_only() {
    let world = World::new().by_ssh_only().start().await;
    everything_works_on(&world, "appserver").await;
    let [bastion, app, _] = world.connections();
    assert_eq!(bastion, app, "every connection to the app server went through the bastion's sshd");
    assert!(world.documents().iter().all(|document| document == BY_SSHD), "{:?}", world.documents());
}

#[tokio::test]
async fn a_third_host_behind_both_is_reached_by_name() {
    let world = World::new().start().await;
    everything_works_on(&world, "third").await;
    let [bastion, app, third] = world.connections();
    assert_eq!((bastion, app), (0, third));
}

#[tokio::test]
async fn a_third_host_is_reached_through_sshd_only() {
    let world = World::new().by_ssh_only().start().await;
    everything_works_on(&world, "third").await;
    let [bastion, app, third] = world.connections();
    assert_eq!((bastion, app), (third, third));
    assert!(world.documents().iter().all(|document| document == BY_SSHD), "{:?}", world.documents());
}

#[tokio::test]
async fn a_proxy_command_works_unchanged() {
    let world = with_ssh_config_only("    ProxyCommand ssh bastion -W %h:%p\n").await;
    everything_works_on(&world, "appserver").await;
}

#[tokio::test]
async fn a_proxy_jump_works_unchanged() {
    let world = with_ssh_config_only("    ProxyJump bastion\n").await;
    everything_works_on(&world, "appserver").await;
    let world = with_ssh_config_only("").await;
    let answered = world.run("ssh -J bastion appserver 'echo $NODE'").finish().await.exits(0).silent();
    assert_eq!(answered.text(), "appserver\n");
    world.bench.settle().await;
}

#[tokio::test]
async fn ssh_jumps_through_a_host_that_is_behind_a_hop() {
    let world = World::new().start().await;
    let (host, port, identity) = (&world.third.host, world.third.port, world.third.path("identity"));
    let line = format!("ssh -i {} -J appserver -p {port} {host} 'echo $NODE'", identity.display());
    let answered = world.run(&line).finish().await.exits(0).silent();
    assert_eq!(answered.text(), "third\n");
    assert_eq!(world.documents(), [BY_AGENT]);
    world.bench.settle().await;
}

/// Starts ssh with a unix socket that forwards to an address through `host`; returns once it listens.
async fn forwarded(world: &World, address: &str, host: &str) -> (Running, PathBuf) {
    let socket = world.bench.path("database");
    let options = "-o PermitLocalCommand=yes -o LocalCommand='echo ready'";
    let mut ssh = world.run(&format!("ssh -N -L {}:{address} {options} {host}", socket.display())).start();
    let mut line = String::new();
    BufReader::new(ssh.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    (ssh, socket)
}

/// Sends bytes to an echo server in the app server's network, and receives them.
async fn a_database_answers(world: &World, host: &str) {
    let (ssh, socket) = forwarded(world, &world.echo(Machine::App, 3306), host).await;
    let data = noise(3, MIB);
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut received = vec![0; data.len()];
    let (wrote, read) = tokio::join!(writer.write_all(&data), reader.read_exact(&mut received));
    wrote.and(read.map(drop)).unwrap();
    assert_eq!(digest(&received), digest(&data));
    ssh.signal(Signal::TERM);
    ssh.finish().await.silent();
    world.bench.settle().await;
}

#[tokio::test]
async fn a_database_behind_a_bastion_is_forwarded_by_ssh() {
    a_database_answers(&World::new().start().await, "bastion").await;
    let world = with_ssh_config_only("").await;
    a_database_answers(&world, "bastion").await;
}

#[tokio::test]
async fn a_database_is_forwarded_by_ssh_over_hops() {
    let world = World::new().by_ssh_only().start().await;
    a_database_answers(&world, "appserver").await;
}

#[tokio::test]
async fn mariadb_in_the_last_network_answers_its_client() {
    let world = World::new().by_ssh_only().start().await;
    let database = MariaDb::start().await;
    let (listener, host, port, _) = world.listen(Machine::Third, 3306);
    let address = database.address;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(address).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    let (ssh, socket) = forwarded(&world, &format!("{host}:{port}"), "appserver").await;
    let query = "select 6 * 7, length(repeat(0x61, 1000000))";
    let client = "mariadb --no-defaults -u root --batch --skip-column-names";
    let line = format!("{client} --socket={} -e '{query}'", socket.display());
    let answer = world.run(&line).finish().await.exits(0).silent();
    assert_eq!((answer.text(), world.connections()), ("42\t1000000\n", [1, 1, 0]));
    ssh.signal(Signal::TERM);
    ssh.finish().await.silent();
    world.bench.settle().await;
}

#[tokio::test]
async fn each_hop_may_have_a_different_user() {
    if !rustix::process::geteuid().is_root() {
        // Only root can log in as another user.
        return;
    }
    let world = World::new()
        .by_ssh_only()
        .user(Machine::Bastion, "nobody")
        .user(Machine::App, "daemon")
        .start()
        .await;
    let answered = world.run("ssh third 'echo $NODE'").finish().await.exits(0).silent();
    assert_eq!(answered.text(), "third\n");
    for (node, user) in world.nodes().into_iter().zip(["nobody", "daemon", "root"]) {
        assert!(node.log().contains(&format!("Accepted publickey for {user} ")), "{}", node.log());
    }
    world.bench.settle().await;
}
