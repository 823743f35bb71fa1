//! The articles' own configurations, word for word, with fumidai under them: `ssh appserver` and everything that stands
//! on ssh.

use std::fs;
use std::path::PathBuf;

use fumidai::sim::ONLINE_TARGET;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};

use crate::mariadb::MariaDb;
use crate::network::Seat;
use crate::run::Running;
use crate::services::{MIB, digest, noise};
use crate::world::{BY_AGENT, BY_SSHD, World, digest_of};

/// Logs in, and copies by three programs.
async fn everything_works_on(world: &World, name: &str) {
    let answered = world.run(&format!("ssh {name} hostname")).finish().await.exits(0).silent();
    let here = world.run("hostname").finish().await.exits(0);
    assert_eq!(answered.text(), here.text());
    let answered = world.run(&format!("ssh {name} 'echo $NODE; exit 37'")).finish().await.exits(37).silent();
    assert_eq!(answered.text(), format!("{name}\n"), "who answers is who was meant");
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

/// `Host bastion` through Session Manager, and an app server in ssh's own words.
async fn in_sshs_own_words(appserver: &str) -> World {
    let world = World::new().start().await;
    world.ssh_config(&format!(
        "Host bastion\n    HostName {ONLINE_TARGET}\n    ProxyCommand fumidai connect %h %p\n\
         Host appserver\n    HostName {}\n    Port {}\n{appserver}",
        world.app.host, world.app.port
    ));
    world
}

#[tokio::test]
async fn an_app_server_behind_a_bastion_needs_no_sshd_there() {
    let world = World::new().start().await;
    everything_works_on(&world, "appserver").await;
    assert_eq!(world.visitors()[0], 0, "the bastion's sshd had no part in it");
    assert!(world.documents().iter().all(|document| document == BY_AGENT), "{:?}", world.documents());
}

#[tokio::test]
async fn an_app_server_behind_a_bastion_is_reached_by_ssh_alone() {
    let world = World::new().by_ssh_only().start().await;
    everything_works_on(&world, "appserver").await;
    let [bastion, app, _] = world.visitors();
    assert_eq!(bastion, app, "each way to the app server led through the bastion's sshd");
    assert!(world.documents().iter().all(|document| document == BY_SSHD), "{:?}", world.documents());
}

#[tokio::test]
async fn a_third_host_behind_both_is_a_name_too() {
    let world = World::new().start().await;
    everything_works_on(&world, "third").await;
    let [bastion, app, third] = world.visitors();
    assert_eq!((bastion, app), (0, third));
}

#[tokio::test]
async fn a_third_host_is_reached_by_ssh_alone() {
    let world = World::new().by_ssh_only().start().await;
    everything_works_on(&world, "third").await;
    let [bastion, app, third] = world.visitors();
    assert_eq!((bastion, app), (third, third));
    assert!(world.documents().iter().all(|document| document == BY_SSHD), "{:?}", world.documents());
}

#[tokio::test]
async fn the_classic_proxy_command_works_as_ever() {
    let world = in_sshs_own_words("    ProxyCommand ssh bastion -W %h:%p\n").await;
    everything_works_on(&world, "appserver").await;
}

#[tokio::test]
async fn a_proxy_jump_works_as_ever() {
    let world = in_sshs_own_words("    ProxyJump bastion\n").await;
    everything_works_on(&world, "appserver").await;
    let world = in_sshs_own_words("").await;
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

/// Has ssh forward a unix socket to an address through `host`, once it does.
async fn forwarded(world: &World, address: &str, host: &str) -> (Running, PathBuf) {
    let socket = world.bench.path("database");
    let told = "-o PermitLocalCommand=yes -o LocalCommand='echo ready'";
    let mut ssh = world.run(&format!("ssh -N -L {}:{address} {told} {host}", socket.display())).start();
    let mut line = String::new();
    BufReader::new(ssh.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    assert_eq!(line, "ready\n");
    (ssh, socket)
}

/// Sends what a database in the app server's network sends back.
async fn a_database_answers(world: &World, host: &str) {
    let (ssh, socket) = forwarded(world, &world.echo(Seat::App, 3306), host).await;
    let data = noise(3, MIB);
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut heard = vec![0; data.len()];
    let (wrote, read) = tokio::join!(writer.write_all(&data), reader.read_exact(&mut heard));
    wrote.and(read.map(drop)).unwrap();
    assert_eq!(digest(&heard), digest(&data));
    ssh.signal(Signal::TERM);
    ssh.finish().await.silent();
    world.bench.settle().await;
}

#[tokio::test]
async fn a_database_behind_a_bastion_is_forwarded_by_ssh() {
    a_database_answers(&World::new().start().await, "bastion").await;
    let world = in_sshs_own_words("").await;
    a_database_answers(&world, "bastion").await;
}

#[tokio::test]
async fn a_database_is_forwarded_by_ssh_over_hops() {
    let world = World::new().by_ssh_only().start().await;
    a_database_answers(&world, "appserver").await;
}

#[tokio::test]
async fn mariadb_in_the_deepest_network_answers_its_own_client() {
    let world = World::new().by_ssh_only().start().await;
    let database = MariaDb::start().await;
    let (listener, host, port, _) = world.listen(Seat::Third, 3306);
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
    assert_eq!((answer.text(), world.visitors()), ("42\t1000000\n", [1, 1, 0]));
    ssh.signal(Signal::TERM);
    ssh.finish().await.silent();
    world.bench.settle().await;
}

#[tokio::test]
async fn each_hop_may_have_a_user_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can be logged in.
        return;
    }
    let world =
        World::new().by_ssh_only().user(Seat::Bastion, "nobody").user(Seat::App, "daemon").start().await;
    let answered = world.run("ssh third 'echo $NODE'").finish().await.exits(0).silent();
    assert_eq!(answered.text(), "third\n");
    for (node, user) in world.nodes().into_iter().zip(["nobody", "daemon", "root"]) {
        assert!(node.log().contains(&format!("Accepted publickey for {user} ")), "{}", node.log());
    }
    world.bench.settle().await;
}
