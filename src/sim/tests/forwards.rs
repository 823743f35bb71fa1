//! Forwards through the whole simulator, with real destinations.

use async_smux::MuxBuilder;
use tokio::io::DuplexStream;

use super::*;
use crate::sim::link::LinkConfig;

const FORWARD: &str = "AWS-StartPortForwardingSession";
const TO_HOST: &str = "AWS-StartPortForwardingSessionToRemoteHost";

const SYN_3: [u8; 8] = [1, 0, 0, 0, 3, 0, 0, 0];
const FIN_3: [u8; 8] = [1, 1, 0, 0, 3, 0, 0, 0];

fn psh_3(data: &[u8]) -> Vec<u8> {
    [&[1, 2, u8::try_from(data.len()).unwrap(), 0, 3, 0, 0, 0], data].concat()
}

/// Starts a forward to port 22, or to that port of a host.
async fn start_forward(simulator: &Simulator, host: Option<&str>) -> Started {
    let mut request = sdk(simulator)
        .start_session()
        .target(ONLINE_TARGET)
        .document_name(if host.is_some() { TO_HOST } else { FORWARD })
        .parameters("portNumber", vec!["22".to_owned()]);
    if let Some(host) = host {
        request = request.parameters("host", vec![host.to_owned()]);
    }
    let answer = request.send().await.unwrap();
    Started {
        id: answer.session_id.unwrap(),
        url: answer.stream_url.unwrap(),
        token: answer.token_value.unwrap(),
    }
}

/// A client of a forward after its handshake.
async fn forward(simulator: &Simulator, host: Option<&str>) -> (Client, String) {
    let session = start_forward(simulator, host).await;
    let mut client = Client::open(simulator, &session).await;
    client.handshake().await;
    (client, session.id)
}

/// Reads `length` bytes of smux; returns them and the flags that arrived before them.
async fn read(client: &mut Client, length: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut flags) = (Vec::new(), Vec::new());
    while bytes.len() < length {
        let frame = client.stream().await;
        match frame.payload_type {
            payload_type::FLAG => flags.push(frame.payload[3]),
            _ => bytes.extend_from_slice(&frame.payload),
        }
    }
    (bytes, flags)
}

/// Copies bytes between a pipe and a multiplexed session.
async fn copy(mut client: Client, mut pipe: DuplexStream) {
    let (mut sequence, mut buffer) = (0, vec![0; 16 * 1024]);
    loop {
        tokio::select! {
            frame = client.frame() => {
                let Some(frame) = frame else { return };
                if client.accept(&frame).await && frame.payload_type == payload_type::OUTPUT {
                    pipe.write_all(&frame.payload).await.unwrap();
                }
            }
            read = pipe.read(&mut buffer) => {
                sequence += 1;
                match read.unwrap() {
                    0 => return,
                    count => client.send(sequence, payload_type::OUTPUT, &buffer[..count]).await,
                }
            }
        }
    }
}

fn dials(simulator: &Simulator, wanted: impl Fn(&Option<String>) -> bool) -> usize {
    simulator.journal().count(|event| matches!(event, SimEvent::Dialed { error, .. } if wanted(error)))
}

#[tokio::test]
async fn a_stream_is_dialled_echoed_and_closed() {
    let simulator = simulator(|_| ()).await;
    let (mut client, id) = forward(&simulator, None).await;
    client.send(1, payload_type::OUTPUT, &[&SYN_3[..], &psh_3(b"hello")].concat()).await;
    assert_eq!(read(&mut client, 13).await, (psh_3(b"hello"), vec![]));
    client.send(2, payload_type::OUTPUT, &FIN_3).await;
    assert_eq!(read(&mut client, 8).await.0, FIN_3);
    client.send(3, payload_type::SIZE, b"{}").await;
    client.send(4, payload_type::FLAG, &flag::TERMINATE_SESSION.to_be_bytes()).await;
    assert_eq!(client.closed().await, "");
    let dialed = SimEvent::Dialed { session: id.clone(), stream: Some(3), host: None, port: 22, error: None };
    assert_eq!(simulator.journal().count(|event| *event == dialed), 1);
    let record = simulator.record(&id).unwrap();
    assert_eq!((record.streams_opened, record.sizes, record.nops), (1, 1, 0));
    assert_eq!((record.streams[&3].bytes_written, record.streams[&3].bytes_read), (5, 5));
}

#[tokio::test]
async fn a_refused_port_is_a_flag_and_a_fin_and_the_session_goes_on() {
    let closed_port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let simulator = simulator(|config| config.ports = HashMap::from([(22, closed_port)])).await;
    let (mut client, id) = forward(&simulator, None).await;
    for sequence in [1, 2] {
        client.send(sequence, payload_type::OUTPUT, &SYN_3).await;
        assert_eq!(read(&mut client, 8).await, (FIN_3.to_vec(), vec![3]));
    }
    assert_eq!(dials(&simulator, |error| error.as_ref().is_some_and(|why| why.contains("refused"))), 2);
    assert_eq!(simulator.record(&id).unwrap().streams_refused, 2);
    assert_eq!(simulator.open_sessions().len(), 1);
}

#[tokio::test]
async fn a_slow_dial_holds_up_the_streams_behind_it() {
    let simulator = simulator(|config| config.faults.dial_delay = Duration::from_secs(3600)).await;
    let (mut client, id) = forward(&simulator, None).await;
    client.send_until_acknowledged(1, &SYN_3).await;
    simulator.change_faults(|faults| faults.dial_delay = Duration::ZERO);
    client.send_until_acknowledged(2, &[1, 0, 0, 0, 5, 0, 0, 0]).await;
    assert_eq!((simulator.record(&id).unwrap().streams_opened, dials(&simulator, |_| true)), (2, 0));
    client.send(3, payload_type::FLAG, &flag::TERMINATE_SESSION.to_be_bytes()).await;
    assert_eq!(client.closed().await, "");
}

#[tokio::test]
async fn a_host_is_mapped_or_looked_up_or_not_found() {
    let echo = echo_server().await;
    let simulator = simulator(|config| config.hosts = HashMap::from([(("db".to_owned(), 22), echo)])).await;
    let (mut client, id) = forward(&simulator, Some("db")).await;
    client.send_until_acknowledged(1, &SYN_3).await;
    client.send(2, payload_type::OUTPUT, &psh_3(b"x")).await;
    assert_eq!(read(&mut client, 9).await.0, psh_3(b"x"));
    let host = Some("db".to_owned());
    let dialed = SimEvent::Dialed { session: id, stream: Some(3), host, port: 22, error: None };
    assert_eq!(simulator.journal().count(|event| *event == dialed), 1);

    let (mut client, _) = forward(&simulator, Some("db.invalid")).await;
    client.send_until_acknowledged(1, &SYN_3).await;
    assert_eq!(read(&mut client, 8).await, (FIN_3.to_vec(), vec![3]));
    assert_eq!(dials(&simulator, Option::is_none), 1);
}

#[tokio::test]
async fn agents_of_other_versions_forward_differently() {
    let simulator = simulator(|_| ()).await;
    simulator.change_agent(|agent| agent.agent_version = "3.3.4851.0".to_owned());
    let session = start_forward(&simulator, Some("127.0.0.1")).await;
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    assert_eq!(client.closed().await, "Forwarding to IP address 127.0.0.1 is forbidden.");

    simulator.change_agent(|agent| agent.agent_version = "3.0.196.0".to_owned());
    let (mut client, id) = forward(&simulator, Some("unused.invalid")).await;
    client.send_until_acknowledged(1, b"plain bytes").await;
    simulator
        .wait_for(|event| matches!(event, SimEvent::Reached { step: SessionStep::AgentOutput, .. }))
        .await;
    let record = simulator.record(&id).unwrap();
    assert_eq!((record.streams_opened, record.bytes_written), (0, 11));
}

#[tokio::test]
async fn a_basic_session_dials_again_for_the_next_data() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let simulator = simulator(|config| {
        config.ports = HashMap::from([(22, address)]);
        config.agent.agent_version = "3.0.196.0".to_owned();
    })
    .await;
    let (mut client, _) = forward(&simulator, None).await;
    for sequence in [1, 2] {
        let accepted = async { listener.accept().await.unwrap().0 };
        let (mut destination, ()) =
            tokio::join!(accepted, client.send_until_acknowledged(sequence, b"hello"));
        let mut received = [0; 5];
        destination.read_exact(&mut received).await.unwrap();
        destination.write_all(b"bye").await.unwrap();
        drop(destination);
        assert_eq!(client.stream().await.payload, "bye");
    }
    assert_eq!(dials(&simulator, Option::is_none), 2);
    client.send(3, payload_type::FLAG, &flag::TERMINATE_SESSION.to_be_bytes()).await;
    assert_eq!(client.closed().await, "");
}

#[tokio::test]
async fn a_hundred_streams_of_another_implementation_of_smux_are_echoed() {
    let simulator = simulator(|config| config.agent = AgentConfig::default().unpaced()).await;
    let (client, id) = forward(&simulator, None).await;
    let (near, far) = tokio::io::duplex(8 << 20);
    tokio::spawn(copy(client, far));
    let (connector, _acceptor, worker) = MuxBuilder::client().with_connection(near).build();
    tokio::spawn(worker);
    let mut streams = tokio::task::JoinSet::new();
    for number in 0..100_u8 {
        let mut stream = connector.connect().unwrap();
        streams.spawn(async move {
            let data = vec![number; 10_000 + usize::from(number)];
            let mut back = vec![0; data.len()];
            stream.write_all(&data).await.unwrap();
            stream.read_exact(&mut back).await.unwrap();
            assert!(back == data, "stream {number}");
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut back).await.unwrap(), 0, "a FIN is answered by a FIN");
        });
    }
    while let Some(finished) = streams.join_next().await {
        finished.unwrap();
    }
    let record = simulator.record(&id).unwrap();
    assert_eq!((record.streams_opened, record.streams_refused), (100, 0));
    assert!(record.streams.values().all(|stream| stream.bytes_read == stream.bytes_written));
    assert_eq!(dials(&simulator, Option::is_none), 100);
}

#[tokio::test]
async fn a_destination_is_not_read_far_ahead_of_a_slow_link() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut destination, _) = listener.accept().await.unwrap();
        while destination.write_all(&[7; 64 * 1024]).await.is_ok() {}
    });
    let simulator = simulator(|config| {
        config.ports = HashMap::from([(22, address)]);
        config.agent = AgentConfig::default().unpaced();
    })
    .await;
    let (mut client, id) = forward(&simulator, None).await;
    let slow = LinkConfig { delay: Duration::from_secs(3600), ..LinkConfig::default() };
    simulator.change_faults(|faults| faults.to_client.link = slow);
    client.send(1, payload_type::OUTPUT, &SYN_3).await;
    let bytes_read = || simulator.record(&id).unwrap().streams.get(&3).map_or(0, |stream| stream.bytes_read);
    while bytes_read() < 1 << 20 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(bytes_read() < 3 << 19, "{}", bytes_read());
}
