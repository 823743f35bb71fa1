//! The ends are pipes in memory, and time passes only when everything waits.

use std::cell::{Cell, RefCell};
use std::future::{pending, ready};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex, split};
use tokio::join;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::sleep;

use super::*;

impl LocalStream for tokio::io::DuplexStream {}

const LINGER: Duration = Duration::from_secs(30);
/// What a pipe keeps.
const KEPT: usize = 1000;

fn count_nothing(_: Way, _: usize) {}

/// As for a local client whose remote end ends itself.
fn policy<'a>() -> RelayPolicy<'a> {
    RelayPolicy {
        linger: None,
        delivered: Box::pin(ready(())),
        farewell: FAREWELL,
        watches_peer: false,
        dismissed: Box::pin(pending()),
        needs_reader: false,
        meter: &count_nothing,
    }
}

fn lingering<'a>() -> RelayPolicy<'a> {
    RelayPolicy { linger: Some(LINGER), ..policy() }
}

/// As for standard input and output.
fn of_stdio<'a>() -> RelayPolicy<'a> {
    RelayPolicy { farewell: Duration::ZERO, needs_reader: true, ..policy() }
}

/// A relay between two pipes, and their other ends: the client's and the peer's.
fn pair<'a>(policy: RelayPolicy<'a>) -> (DuplexStream, DuplexStream, impl Future<Output = RelayEnd> + 'a) {
    let ((client, local), (remote, peer)) = (duplex(KEPT), duplex(KEPT));
    (client, peer, relay(local, remote, policy))
}

async fn rest(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// An end that is reset where the pipe has ended.
struct Failing(DuplexStream);

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        let is_end = buf.filled().len() == before;
        Poll::Ready(if is_end { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) })
    }
}

impl AsyncWrite for Failing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl LocalStream for Failing {}

#[tokio::test(start_paused = true)]
async fn both_directions_are_exact_and_end_by_themselves() {
    let data: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let counted = RefCell::new((0, 0));
    let meter = |way, bytes| match way {
        Way::Up => counted.borrow_mut().0 += bytes,
        Way::Down => counted.borrow_mut().1 += bytes,
    };
    let (client, peer, relay) = pair(RelayPolicy { meter: &meter, ..policy() });
    let (mut client_reads, mut client_writes) = split(client);
    let (mut peer_reads, mut peer_writes) = split(peer);
    let up = async {
        client_writes.write_all(&data).await.unwrap();
        client_writes.shutdown().await.unwrap();
    };
    let echo = async {
        tokio::io::copy(&mut peer_reads, &mut peer_writes).await.unwrap();
        peer_writes.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (end, (), (), _) = join!(relay, up, echo, client_reads.read_to_end(&mut received));
    assert!(matches!(end, RelayEnd::Finished));
    assert!(received == data);
    assert_eq!(*counted.borrow(), (200_000, 200_000));
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_the_clients_end_of_file_is_delivered() {
    let (mut client, mut peer, relay) = pair(policy());
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut peer).await, b"question");
        sleep(LINGER * 10).await;
        peer.write_all(b"answer").await.unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, b"answer");
    };
    let (end, ()) = join!(relay, talk);
    assert!(matches!(end, RelayEnd::Finished));
}

#[tokio::test(start_paused = true)]
async fn input_after_the_peers_end_of_file_is_delivered() {
    let (mut client, mut peer, relay) = pair(policy());
    let talk = async {
        peer.write_all(b"greeting").await.unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(rest(&mut client).await, b"greeting");
        sleep(FAREWELL / 2).await;
        client.write_all(b"still").await.unwrap();
        sleep(FAREWELL / 2 + FAREWELL / 4).await;
        client.write_all(b" here").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(rest(&mut peer).await, b"still here");
    };
    let (end, ()) = join!(relay, talk);
    assert!(matches!(end, RelayEnd::Finished));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stays_after_the_peers_end_of_file_has_five_seconds() {
    let (client, mut peer, relay) = pair(policy());
    let began = clock::now();
    peer.shutdown().await.unwrap();
    assert!(matches!(relay.await, RelayEnd::Finished));
    assert_eq!((clock::now() - began), FAREWELL);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_on_to_a_peer_that_is_gone_has_five_seconds() {
    let (mut client, peer, relay) = pair(policy());
    let began = clock::now();
    drop(peer);
    let sending = async {
        while client.write_all(&[0; 100]).await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        end = relay => assert!(matches!(end, RelayEnd::Finished)),
        () = sending => panic!("it is read until it has had its time"),
    }
    assert!(
        (clock::now() - began) >= FAREWELL && (clock::now() - began) < FAREWELL * 2,
        "{:?}",
        (clock::now() - began)
    );
}

#[tokio::test(start_paused = true)]
async fn stdio_ends_with_the_peer_once_what_was_read_is_sent() {
    let (client, mut peer, relay) = pair(of_stdio());
    peer.shutdown().await.unwrap();
    let began = clock::now();
    assert!(matches!(relay.await, RelayEnd::Finished));
    assert_eq!((clock::now() - began), Duration::ZERO);
    drop(client);
    let (mut client, mut peer, relay) = pair(of_stdio());
    client.write_all(&[5; KEPT]).await.unwrap();
    let talk = async {
        client.write_all(&[6; KEPT]).await.unwrap();
        yield_now().await;
        peer.shutdown().await.unwrap();
        sleep(LINGER).await;
        // The pipe is full, so what was read waits until now.
        assert_eq!(rest(&mut peer).await, [[5; KEPT], [6; KEPT]].concat());
    };
    let (end, ()) = join!(relay, talk);
    assert!(matches!(end, RelayEnd::Finished));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_has_the_linger_time_after_the_clients_end_of_file() {
    let (mut client, mut peer, relay) = pair(lingering());
    let began = clock::now();
    let talk = async {
        sleep(LINGER * 2).await;
        client.shutdown().await.unwrap();
        sleep(LINGER - Duration::from_secs(1)).await;
        peer.write_all(b"late").await.unwrap();
        assert_eq!(rest(&mut client).await, b"late");
    };
    let (end, ()) = join!(relay, talk);
    assert!(matches!(end, RelayEnd::Finished));
    assert_eq!((clock::now() - began), LINGER * 4 - Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_linger_time_begins_when_everything_is_delivered() {
    let delivery = Box::pin(sleep(LINGER * 3));
    let (mut client, _peer, relay) = pair(RelayPolicy { delivered: delivery, ..lingering() });
    client.shutdown().await.unwrap();
    let began = clock::now();
    assert!(matches!(relay.await, RelayEnd::Finished));
    assert_eq!((clock::now() - began), LINGER * 4);
    let (mut client, mut peer, relay) = pair(RelayPolicy { delivered: Box::pin(pending()), ..lingering() });
    client.shutdown().await.unwrap();
    peer.shutdown().await.unwrap();
    assert!(matches!(relay.await, RelayEnd::Finished), "an end of file needs no delivery");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_nothing_and_is_not_silence() {
    let (mut client, mut peer, relay) = pair(lingering());
    let data = vec![7; KEPT * 20];
    let sending = async { peer.write_all(&data).await.unwrap() };
    let reading = async {
        client.shutdown().await.unwrap();
        let mut received = Vec::new();
        while received.len() < KEPT * 20 {
            sleep(LINGER * 2).await;
            let mut some = [0; KEPT];
            let length = client.read(&mut some).await.unwrap();
            assert!(length > 0, "{} bytes", received.len());
            received.extend_from_slice(&some[..length]);
        }
        received
    };
    let (end, (), received) = join!(relay, sending, reading);
    assert!(matches!(end, RelayEnd::Finished));
    assert_eq!(received, data);
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_is_not_silence_of_the_client() {
    let (mut client, mut peer, relay) = pair(policy());
    peer.shutdown().await.unwrap();
    let sending = async {
        client.write_all(&[7; KEPT * 3]).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let reading = async {
        sleep(FAREWELL * 5).await;
        rest(&mut peer).await
    };
    let (end, (), received) = join!(relay, sending, reading);
    assert!(matches!(end, RelayEnd::Finished));
    assert_eq!(received.len(), KEPT * 3);
}

#[tokio::test(start_paused = true)]
async fn a_reset_of_the_client_ends_it_at_once() {
    let ((client, pipe), (remote, mut peer)) = (duplex(KEPT), duplex(KEPT));
    let relay = relay(Failing(pipe), remote, policy());
    drop(client);
    assert!(matches!(relay.await, RelayEnd::LocalRead(_)));
    assert_eq!(rest(&mut peer).await, b"");
}

#[tokio::test(start_paused = true)]
async fn a_remote_end_that_is_lost_is_noticed_behind_what_was_received() {
    let ((mut client, local), (pipe, mut peer)) = (duplex(KEPT), duplex(KEPT * 10));
    let relay = relay(local, Failing(pipe), policy());
    peer.write_all(&[9; KEPT * 5]).await.unwrap();
    drop(peer);
    let (end, received) = join!(relay, rest(&mut client));
    assert!(matches!(end, RelayEnd::Remote(error) if error.kind() == io::ErrorKind::ConnectionReset));
    assert_eq!(received.len(), KEPT * 5);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_has_sent_is_delivered_though_it_reads_no_more() {
    let (mut client, mut peer, relay) = pair(policy());
    client.write_all(b"last words").await.unwrap();
    drop(client);
    peer.write_all(b"without a reader").await.unwrap();
    let (end, received) = join!(relay, rest(&mut peer));
    assert!(matches!(end, RelayEnd::LocalWrite(_) | RelayEnd::Finished), "{end:?}");
    assert_eq!(received, b"last words");
}

/// A local end that can be read and takes nothing.
struct Deaf(DuplexStream);

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }
}

impl LocalStream for Deaf {}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_may_still_send() {
    let ((mut client, pipe), (remote, mut peer)) = (duplex(KEPT), duplex(KEPT));
    let relay = relay(Deaf(pipe), remote, policy());
    let talk = async {
        peer.write_all(&[0; KEPT * 3]).await.unwrap();
        let sent = async {
            client.write_all(&[4; KEPT * 3]).await.unwrap();
            client.shutdown().await.unwrap();
        };
        assert_eq!(join!(rest(&mut peer), sent).0, [4; KEPT * 3]);
    };
    let (end, ()) = join!(relay, talk);
    assert!(matches!(end, RelayEnd::LocalWrite(_)));
}

#[tokio::test(start_paused = true)]
async fn stdio_ends_when_its_reader_is_gone() {
    let ((_client, pipe), (remote, mut peer)) = (duplex(KEPT), duplex(KEPT));
    let relay = relay(Deaf(pipe), remote, of_stdio());
    peer.write_all(b"without a reader").await.unwrap();
    assert!(matches!(relay.await, RelayEnd::LocalWrite(error) if error.kind() == io::ErrorKind::BrokenPipe));
}

/// A TCP client, and the socket that has accepted it.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn a_socket_is_reset_behind_what_was_received_when_the_remote_end_is_lost() {
    let ((mut client, socket), (pipe, mut peer)) = (sockets().await, duplex(KEPT));
    peer.write_all(b"last words").await.unwrap();
    drop(peer);
    let end = relay(socket, Failing(pipe), policy());
    assert!(matches!(end.await, RelayEnd::Remote(_)));
    let mut received = [0; 10];
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"last words");
    assert_eq!(client.read(&mut received).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_socket_is_closed_in_order_though_its_client_has_sent_more() {
    let ((mut client, socket), (remote, mut peer)) = (sockets().await, duplex(KEPT));
    client.write_all(&[1; KEPT * 50]).await.unwrap();
    peer.write_all(b"that is all").await.unwrap();
    drop(peer);
    let talk = async {
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        drop(client);
        received
    };
    let (end, received) = join!(relay(socket, remote, policy()), talk);
    assert!(matches!(end, RelayEnd::Finished), "{end:?}");
    assert_eq!(received, b"that is all");
}

#[tokio::test]
async fn a_socket_is_reset_when_its_relay_is_dropped() {
    let ((mut client, socket), (remote, _peer)) = (sockets().await, duplex(KEPT));
    let started = Cell::new(false);
    {
        let relay = relay(socket, remote, policy());
        tokio::select! {
            biased;
            _ = relay => panic!("nothing has ended"),
            () = yield_now() => started.set(true),
        }
    }
    assert!(started.get());
    assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_that_is_turned_away_reads_its_answer() {
    let (mut client, mut socket) = sockets().await;
    client.write_all(&[1; KEPT]).await.unwrap();
    socket.reset_on_drop(true);
    socket.write_all(b"no").await.unwrap();
    let talk = async {
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        drop(client);
        received
    };
    let ((), received) = join!(close(socket), talk);
    assert_eq!(received, b"no");
}

/// A local end whose client is known.
struct Known<'a> {
    pipe: DuplexStream,
    peer: &'a Cell<Peer>,
}

impl AsyncRead for Known<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Known<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

impl LocalStream for Known<'_> {
    fn peer(&self) -> Peer {
        self.peer.get()
    }
}

fn watching<'a>() -> RelayPolicy<'a> {
    RelayPolicy { watches_peer: true, ..policy() }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_closed_ends_the_relay_behind_what_it_sent() {
    for end_of_client in [Peer::Closed, Peer::Missing] {
        let ((mut client, pipe), (remote, mut peer)) = (duplex(KEPT), duplex(KEPT));
        let known = Cell::new(Peer::Open);
        let began = clock::now();
        let talk = async {
            client.write_all(&[7; KEPT]).await.unwrap();
            client.write_all(&[8; KEPT]).await.unwrap();
            known.set(end_of_client);
            client.shutdown().await.unwrap();
            sleep(LINGER).await;
            rest(&mut peer).await
        };
        let (end, received) = join!(relay(Known { pipe, peer: &known }, remote, watching()), talk);
        assert!(matches!(end, RelayEnd::Finished), "{end:?}");
        assert_eq!(received, [[7; KEPT], [8; KEPT]].concat());
        assert_eq!(clock::now() - began, LINGER, "it ended at once when the peer had read");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_after_its_end_of_file_is_noticed_soon() {
    let ((mut client, pipe), (remote, mut peer)) = (duplex(KEPT), duplex(KEPT));
    let known = Cell::new(Peer::Open);
    let talk = async {
        client.shutdown().await.unwrap();
        sleep(LINGER * 10).await;
        peer.write_all(b"late").await.unwrap();
        let mut late = [0; 4];
        client.read_exact(&mut late).await.unwrap();
        known.set(Peer::Closed);
        clock::now()
    };
    let (end, closed) = join!(relay(Known { pipe, peer: &known }, remote, watching()), talk);
    assert!(matches!(end, RelayEnd::Finished), "{end:?}");
    assert!(clock::now() - closed <= Duration::from_millis(500), "{:?}", clock::now() - closed);
}

#[tokio::test(start_paused = true)]
async fn a_client_of_which_nothing_is_known_has_the_linger_time() {
    for (peer, watches_peer) in [(Peer::Unknown, true), (Peer::Unknown, false), (Peer::Missing, false)] {
        let ((mut client, pipe), (remote, _peer)) = (duplex(KEPT), duplex(KEPT));
        let known = Cell::new(peer);
        client.shutdown().await.unwrap();
        let began = clock::now();
        let policy = RelayPolicy { watches_peer, ..lingering() };
        assert!(matches!(relay(Known { pipe, peer: &known }, remote, policy).await, RelayEnd::Finished));
        assert_eq!(clock::now() - began, LINGER);
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_connection_can_be_dismissed_and_another_cannot() {
    let (mut client, _peer, relay) = pair(RelayPolicy { dismissed: Box::pin(ready(())), ..lingering() });
    let began = clock::now();
    let end_input = async {
        sleep(LINGER).await;
        client.shutdown().await.unwrap();
    };
    let (end, ()) = join!(relay, end_input);
    assert!(matches!(end, RelayEnd::Finished), "{end:?}");
    assert_eq!(clock::now() - began, LINGER);
}
