//! Clients of `fumidai forward` on another machine, of which the system does not tell whether they have closed.

use std::net::{SocketAddr, TcpStream as Client};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::forwards::Forward;
use crate::network::{Machine, Network};
use crate::world::World;

const PORT: u16 = 7777;
/// Shorter than the 30 s of a client on the same machine that waits for an answer.
const GUARD: Duration = Duration::from_secs(25);

/// A world whose bastion has a server at [`PORT`].
async fn world() -> (World, TcpListener) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let builder = World::new().configure(|config| config.ports.extend([(PORT, address)]));
    (builder.start().await, server)
}

/// Connects from another machine.
fn dial(world: &World, forward: &Forward) -> Client {
    let port = forward.local[0].parse::<SocketAddr>().unwrap().port();
    let address = (world.network.root_seen_from(Machine::App), port);
    world.network.within(Machine::App, || Client::connect(address).unwrap())
}

/// Lets the server send its last byte and the client receive it; returns when it was sent.
async fn last_byte(server: &mut TcpStream, client: &mut Client) -> Instant {
    let sent = Instant::now();
    server.write_all(b"x").await.unwrap();
    tokio::task::block_in_place(|| std::io::Read::read_exact(client, &mut [0]).unwrap());
    sent
}

/// Returns when the server receives EOF, counted from its last byte.
async fn end_of_file(server: &mut TcpStream, sent: Instant) -> Duration {
    let read = timeout(GUARD, server.read(&mut [0])).await.expect("EOF long before 30 s");
    assert_eq!(read.unwrap(), 0);
    sent.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_on_another_machine_is_closed_at_the_destination() {
    for (linger, silence) in [("", Duration::from_secs(1)), (" --linger 3", Duration::from_secs(3))] {
        let (world, listener) = world().await;
        let forward = Forward::start(&world, &format!("bastion -L 0.0.0.0:0:{PORT}{linger}"), 1).await;
        let mut client = dial(&world, &forward);
        let (mut server, _) = timeout(GUARD, listener.accept()).await.expect("it is connected").unwrap();
        let sent = last_byte(&mut server, &mut client).await;
        drop(client);
        let took = end_of_file(&mut server, sent).await;
        if matches!(*world.network, Network::Namespaces(_)) {
            assert!(took >= silence, "the client may wait for an answer: {took:?}");
        }
        forward.interrupt().await;
        world.bench.settle().await;
    }
}
