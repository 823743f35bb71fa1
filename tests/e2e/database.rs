//! A private database on a local port: a real MariaDB, its own client, and a driver that shares no code with it.

use std::time::Duration;

use fumidai::sim::faults::{CutKind, CutWhen};
use fumidai::sim::{Detach, Faults, SimConfig, SimEvent};

use crate::bench::{Bench, HOST};
use crate::forwarding::Forward;
use crate::mariadb::MariaDb;
use crate::run::{Finished, Run, until};
use crate::tools::{python, tool};

const DATABASE: (&str, u16) = ("orders.cluster-abc.ap-northeast-1.rds.amazonaws.com", 3306);

/// A bench, a database behind its target, and a forward that leads there.
async fn start(faults: impl FnOnce(&mut Faults)) -> (Bench, MariaDb, Forward) {
    let database = MariaDb::start().await;
    let address = database.address;
    let known = move |config: &mut SimConfig| {
        config.hosts.insert((DATABASE.0.to_owned(), DATABASE.1), address);
        config.agent = config.agent.clone().quick_to_resend();
        config.agent.payload_size = 16 << 10;
    };
    let bench = Bench::new().configure(known).faults(faults).start().await;
    let forward = bench.forward(&["-L", &format!("0:{}:{}", DATABASE.0, DATABASE.1)]).await;
    (bench, database, forward)
}

fn cuts(bench: &Bench) -> usize {
    bench.simulator.journal().count(|event| matches!(event, SimEvent::Detached { why: Detach::Cut(_), .. }))
}

/// MariaDB's own client at a local port.
fn mariadb(bench: &Bench, port: u16) -> Run {
    let port = port.to_string();
    let place = ["--no-defaults", "--protocol=tcp", "-h", "127.0.0.1", "-P", &port, "-u", "root"];
    bench.run(&tool("mariadb")).args(place).args([
        "--batch",
        "--skip-column-names",
        "--max-allowed-packet=64M",
    ])
}

async fn query(bench: &Bench, port: u16, statements: &str) -> Finished {
    mariadb(bench, port).args(["-e", statements]).finish().await.exits(0).silent()
}

/// A program for PyMySQL with a connection made.
fn pymysql(bench: &Bench, port: u16, program: &str) -> Run {
    let connect = "import hashlib, os, sys, pymysql\n\
        place = dict(host='127.0.0.1', port=int(sys.argv[1]), user='root', max_allowed_packet=1 << 26)\n\
        connection = pymysql.connect(**place, autocommit=True)\ncursor = connection.cursor()\n";
    bench.run(&python()).args(["-c", &format!("{connect}{program}"), &port.to_string()])
}

#[tokio::test]
async fn its_own_client_and_another_driver_work_through_a_forward() {
    let (bench, _database, forward) = start(|_| {}).await;
    let port = forward.port();
    let made = "create database shop; create table shop.orders (id int primary key, what text); \
        insert into shop.orders values (1, 'tea'), (2, 'rice')";
    query(&bench, port, made).await;
    let listed = query(&bench, port, "select what from shop.orders order by id").await;
    assert_eq!(listed.text(), "tea\nrice\n");
    let program =
        "cursor.execute('select count(*), max(what) from shop.orders')\nprint(*cursor.fetchone())\n";
    assert_eq!(pymysql(&bench, port, program).finish().await.exits(0).silent().text(), "2 tea\n");
    let wrong = mariadb(&bench, port).args(["-e", "select nonsense"]).finish().await.exits(1);
    assert!(wrong.stderr.contains("Unknown column 'nonsense'"), "{}", wrong.stderr);
    assert_eq!(bench.started(), 1);
    let finished = forward.end().await;
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    bench.settle().await;
}

#[tokio::test]
async fn a_large_blob_comes_back_as_it_went_whatever_is_cut_meanwhile() {
    let (bench, _database, forward) = start(|faults| {
        faults.cut(CutWhen::Bytes(6_000_000), CutKind::Reset, 1);
        faults.cut(CutWhen::Bytes(7_000_000), CutKind::Bye, 1);
    })
    .await;
    let program = "cursor.execute('create database shop')\n\
        cursor.execute('create table shop.pictures (picture longblob)')\n\
        picture = os.urandom(10 << 20)\n\
        cursor.execute('insert into shop.pictures values (_binary %s)', (picture,))\n\
        cursor.execute('select picture, sha2(picture, 256) from shop.pictures')\n\
        back, there = cursor.fetchone()\n\
        here = hashlib.sha256(picture).hexdigest()\n\
        print(hashlib.sha256(back).hexdigest() == here, there == here)\n";
    let finished = pymysql(&bench, forward.port(), program).finish().await.exits(0).silent();
    assert_eq!(finished.text(), "True True\n");
    assert_eq!((cuts(&bench), bench.started()), (2, 1));
    forward.end().await;
    bench.settle().await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_services_hourly_close() {
    let (bench, _database, forward) = start(|faults| {
        faults.cut(CutWhen::After(Duration::from_millis(200)), CutKind::Bye, 5);
    })
    .await;
    // Each line is answered by the connection's own variable: a new connection would not know it.
    let program = "cursor.execute('set @kept = 42')\nfor line in sys.stdin:\n    \
        cursor.execute('select @kept')\n    print(*cursor.fetchone(), flush=True)\n";
    let mut idle = pymysql(&bench, forward.port(), program).start();
    for hour in 0..5 {
        idle.say(b"\n").await;
        assert_eq!(idle.hear(3).await, b"42\n", "hour {hour}");
        until("a cut", || cuts(&bench) > hour).await;
    }
    idle.say(b"\n").await;
    assert_eq!(idle.hear(3).await, b"42\n");
    idle.close_and_finish().await.exits(0).silent();
    assert_eq!(bench.started(), 1);
    forward.end().await;
    bench.settle().await;
}

/// As the articles do it: ssh carries the port, and we carry ssh.
#[tokio::test]
async fn a_port_that_ssh_forwards_works_too() {
    let database = MariaDb::start().await;
    let bench = Bench::new().sshd().start().await;
    let socket = bench.path("ssh.sock");
    let spec = format!("{}:127.0.0.1:{}", socket.display(), database.address.port());
    // A socket: ssh does not report the port that it has picked, and the client needs a port.
    let ssh = bench.ssh(["-N", "-o", "ExitOnForwardFailure=yes", "-L", &spec, HOST]).start();
    until("ssh listens", || socket.exists()).await;
    let port = crate::mariadb::lead_to(socket).await.port();
    assert_eq!(query(&bench, port, "select 6 * 7").await.text(), "42\n");
    ssh.signal(rustix::process::Signal::TERM);
    let _ = ssh.finish().await;
    bench.settle().await;
}
