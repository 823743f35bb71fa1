//! Bytes through hops: none lost, none changed, and EOF distinguished from a cut.

use aws_lc_rs::digest::{Context, SHA256};
use fumidai::jump::{Ending, HopStep, JumpError, NoPrompter, SshConnection, connect};
use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::bench::Sshd;

const MIB: usize = 1024 * 1024;

/// Listens, and runs `serve` with the one connection.
async fn peer<F>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> (u16, JoinHandle<F::Output>)
where
    F: Future<Output: Send> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream).await
    });
    (port, served)
}

async fn echo() -> u16 {
    let (port, _) = peer(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await;
    port
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    context.finish().as_ref().to_vec()
}

async fn echoes(hop: &SshConnection) {
    let mut stream = hop.open("127.0.0.1", echo().await).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut received = [0; 5];
    stream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hello");
}

#[tokio::test]
async fn our_eof_leaves_the_other_direction_open() {
    let sshd = Sshd::start("").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let (port, served) = peer(|mut stream| async move {
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        stream.write_all(&question).await.unwrap();
        stream.write_all(b"!").await.unwrap();
    })
    .await;
    let mut stream = hop.open("127.0.0.1", port).await.unwrap();
    stream.write_all(b"done").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"done!");
    served.await.unwrap();
}

#[tokio::test]
async fn the_peers_eof_leaves_our_direction_open() {
    let sshd = Sshd::start("").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let (port, served) = peer(|mut stream| async move {
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        rest
    })
    .await;
    let mut stream = hop.open("127.0.0.1", port).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"bye");
    let data = noise(MIB);
    stream.write_all(&data).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(digest(&served.await.unwrap()), digest(&data));
}

#[tokio::test]
async fn a_chain_of_three_hops_carries_streams() {
    let (one, two, three) = (Sshd::start("").await, Sshd::start("").await, Sshd::start("").await);
    let first = one.connect(&one.settings()).await.unwrap();
    let through = first.open("127.0.0.1", two.address.port()).await.unwrap();
    let second = connect(through, &two.settings(), &NoPrompter).await.unwrap();
    let through = second.open("127.0.0.1", three.address.port()).await.unwrap();
    let third = connect(through, &three.settings(), &NoPrompter).await.unwrap();
    echoes(&third).await;
    drop((first, second));
    echoes(&third).await;
    two.cut();
    assert!(matches!(third.ended().await, Ending::Failed(_)));
}

#[tokio::test]
async fn fifty_megabytes_pass_unchanged_during_rekeying() {
    let sshd = Sshd::start("RekeyLimit 4M\nLogLevel DEBUG1").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let data = noise(50 * MIB);
    let sent = data.clone();
    let (port, served) = peer(|mut stream| async move {
        let (mut reader, mut writer) = stream.split();
        let mut received = Vec::new();
        let (wrote, read) = tokio::join!(
            async {
                writer.write_all(&sent).await?;
                writer.shutdown().await
            },
            reader.read_to_end(&mut received)
        );
        wrote.and(read.map(drop)).unwrap();
        received
    })
    .await;
    let stream = hop.open("127.0.0.1", port).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut received = Vec::new();
    let (wrote, read) = tokio::join!(
        async {
            writer.write_all(&data).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut received)
    );
    wrote.and(read.map(drop)).unwrap();
    assert_eq!(digest(&received), digest(&data));
    assert_eq!(digest(&served.await.unwrap()), digest(&data));
    let log = std::fs::read_to_string(sshd.path("sshd.log")).unwrap();
    let exchanges = log.matches("SSH2_MSG_NEWKEYS received").count();
    assert!(exchanges > 10, "{exchanges} exchanges of keys");
}

#[tokio::test]
async fn a_stalled_stream_does_not_block_others() {
    let sshd = Sshd::start("").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let data = noise(3 * MIB);
    let sent = data.clone();
    let (port, _served) = peer(|mut stream| async move { stream.write_all(&sent).await }).await;
    let mut stalled = hop.open("127.0.0.1", port).await.unwrap();
    // The stalled stream's window is full, or soon will be. The others continue.
    for _ in 0..20 {
        echoes(&hop).await;
    }
    let mut received = Vec::new();
    stalled.read_to_end(&mut received).await.unwrap();
    assert_eq!(digest(&received), digest(&data));
}

#[tokio::test]
async fn a_stream_that_opens_too_late_is_closed_at_the_peer() {
    let sshd = Sshd::start("").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let (port, served) = peer(|mut stream| async move { stream.read_to_end(&mut Vec::new()).await }).await;
    assert!(hop.open("127.0.0.1", port).now_or_never().is_none(), "the caller drops the future");
    served.await.unwrap().unwrap();
    echoes(&hop).await;
}

#[tokio::test]
async fn a_dropped_stream_is_closed_at_the_peer() {
    let sshd = Sshd::start("").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let (port, served) = peer(|mut stream| async move { stream.read_to_end(&mut Vec::new()).await }).await;
    drop(hop.open("127.0.0.1", port).await.unwrap());
    served.await.unwrap().unwrap();
    echoes(&hop).await;
}

#[tokio::test]
async fn a_peer_that_is_not_an_ssh_server_is_an_error() {
    let sshd = Sshd::start("").await;
    let mut settings = sshd.settings();
    let (ours, theirs) = tokio::io::duplex(1024);
    drop(theirs);
    let error = connect(ours, &settings, &NoPrompter).await.unwrap_err();
    assert!(matches!(error, JumpError::Io { .. } | JumpError::Protocol { .. }), "{error}");
    let (ours, mut theirs) = tokio::io::duplex(1024);
    settings.connect_timeout = std::time::Duration::from_millis(50);
    let error = connect(ours, &settings, &NoPrompter).await.unwrap_err();
    assert!(matches!(error, JumpError::Timeout { step: HopStep::KeyExchange, .. }), "{error}");
    // The aborted connection has dropped the stream.
    theirs.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_refusal_names_the_address_and_the_reason() {
    let sshd = Sshd::start("").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    // No process listens on this port any more.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = hop.open("127.0.0.1", port).await.unwrap_err();
    let JumpError::ChannelRefused { host, port: refused, reason, .. } = error else { panic!("{error}") };
    assert_eq!((host.as_str(), refused, reason.as_str()), ("127.0.0.1", port, "Connection refused"));
    echoes(&hop).await;
}

#[tokio::test]
async fn a_hop_that_forbids_forwarding_refuses_the_channel() {
    let sshd = Sshd::start("AllowTcpForwarding no").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let error = hop.open("127.0.0.1", 9).await.unwrap_err();
    assert!(
        matches!(&error, JumpError::ChannelRefused { reason, .. } if reason.contains("open failed")),
        "{error}"
    );
}

#[tokio::test]
async fn a_cut_is_an_error_and_not_an_eof() {
    let sshd = Sshd::start("").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let mut stream = hop.open("127.0.0.1", echo().await).await.unwrap();
    sshd.cut();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(stream.write_all(b"more").await.is_err());
    assert!(matches!(hop.ended().await, Ending::Failed(_)));
    let error = hop.open("127.0.0.1", 9).await.unwrap_err();
    assert!(matches!(error, JumpError::Ended { .. }), "{error}");
}

#[tokio::test]
async fn a_write_to_a_closed_peer_fails() {
    let sshd = Sshd::start("").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let (port, served) = peer(|stream| async move { drop(stream) }).await;
    let mut stream = hop.open("127.0.0.1", port).await.unwrap();
    served.await.unwrap();
    let data = noise(MIB);
    let mut written = 0;
    let error = loop {
        match stream.write_all(&data).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "the writes to a closed peer succeed");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    echoes(&hop).await;
}

#[tokio::test]
async fn a_disconnect_ends_the_connection() {
    let sshd = Sshd::start("").await;
    let hop = sshd.connect(&sshd.settings()).await.unwrap();
    let mut stream = hop.open("127.0.0.1", echo().await).await.unwrap();
    hop.disconnect().await;
    assert!(stream.read_to_end(&mut Vec::new()).await.is_err());
}
