//! The simulator as a whole, with the SDK's client and signer and a small websocket client.

#![allow(clippy::disallowed_methods, reason = "tests sign with the real clock")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::agent::message::{AgentMessage, MessageKind, flag, payload_type};
use super::agent::{AgentConfig, Status};
use super::config::dummy_credentials;
use super::faults::{Absent, CutKind, CutWhen, SessionStep, UpgradeFault};
use super::rng::Rng;
use super::*;

mod forwards;
mod lifetimes;

const SSH: &str = "AWS-StartSSHSession";

/// The answer to StartSession or ResumeSession.
struct Started {
    id: String,
    url: String,
    token: String,
}

/// A minimal client.
struct Client {
    socket: WebSocketStream<TcpStream>,
    ids: Rng,
    expected: i64,
}

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    address
}

async fn simulator(change: impl FnOnce(&mut SimConfig)) -> Simulator {
    let mut config = SimConfig { ports: HashMap::from([(22, echo_server().await)]), ..SimConfig::default() };
    change(&mut config);
    Simulator::start(config).await.unwrap()
}

fn sdk(simulator: &Simulator) -> aws_sdk_ssm::Client {
    let keys = simulator.credentials();
    let credentials = aws_sdk_ssm::config::Credentials::new(
        keys.access_key_id,
        keys.secret_access_key,
        keys.session_token,
        None,
        "test",
    );
    let config = aws_sdk_ssm::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_ssm::config::Region::new("eu-central-1"))
        .credentials_provider(credentials)
        .retry_config(aws_sdk_ssm::config::retry::RetryConfig::disabled())
        .endpoint_url(simulator.endpoint())
        .build();
    aws_sdk_ssm::Client::from_conf(config)
}

async fn start(simulator: &Simulator) -> Started {
    let answer =
        sdk(simulator).start_session().target(ONLINE_TARGET).document_name(SSH).send().await.unwrap();
    Started {
        id: answer.session_id.unwrap(),
        url: answer.stream_url.unwrap(),
        token: answer.token_value.unwrap(),
    }
}

async fn resume(simulator: &Simulator, session: &Started) -> Started {
    let answer = sdk(simulator).resume_session().session_id(&session.id).send().await.unwrap();
    Started {
        id: answer.session_id.unwrap(),
        url: answer.stream_url.unwrap(),
        token: answer.token_value.unwrap(),
    }
}

/// Opens a signed websocket; the error is the status of a refused upgrade.
async fn dial(url: &str, keys: &Credentials) -> Result<WebSocketStream<TcpStream>, u16> {
    let mut request = url.into_client_request().unwrap();
    let host = request.headers()["host"].to_str().unwrap().to_owned();
    let identity = aws_credential_types::Credentials::new(
        &keys.access_key_id,
        &keys.secret_access_key,
        keys.session_token.clone(),
        None,
        "test",
    )
    .into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name("ssmmessages")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let headers = [("host", host.as_str())].into_iter();
    let signable = SignableRequest::new("GET", url, headers, SignableBody::Bytes(b"")).unwrap();
    let (instructions, _) = sign(signable, &params).unwrap().into_parts();
    for (name, value) in instructions.headers() {
        request.headers_mut().insert(::http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    let stream = TcpStream::connect(&host).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

impl Client {
    async fn open(simulator: &Simulator, session: &Started) -> Self {
        let socket = dial(&session.url, &simulator.credentials()).await.unwrap();
        let mut client = Self { socket, ids: Rng::new(5), expected: 0 };
        client.send_token(&session.token).await;
        client
    }

    async fn send_token(&mut self, token: &str) {
        let (request, client) = (self.ids.uuid().to_string(), self.ids.uuid().to_string());
        let input = json!({ "MessageSchemaVersion": "1.0", "RequestId": request, "TokenValue": token,
            "ClientId": client, "ClientVersion": "1.2.764.0" });
        self.socket.send(Message::Ping(Bytes::new())).await.unwrap();
        self.socket.send(Message::text(input.to_string())).await.unwrap();
    }

    async fn handshake(&mut self) {
        assert_eq!(self.stream().await.payload_type, payload_type::HANDSHAKE_REQUEST);
        let action =
            json!({ "ActionType": "SessionType", "ActionStatus": 1, "ActionResult": null, "Error": "" });
        let response =
            json!({ "ClientVersion": "1.2.764.0", "ProcessedClientActions": [action], "Errors": null });
        self.send(0, payload_type::HANDSHAKE_RESPONSE, response.to_string().as_bytes()).await;
        assert_eq!(self.stream().await.payload_type, payload_type::HANDSHAKE_COMPLETE);
    }

    async fn send(&mut self, sequence: i64, payload_type: u32, payload: &[u8]) {
        let mut frame = AgentMessage::new(
            MessageKind::InputStreamData,
            1,
            self.ids.uuid(),
            Bytes::copy_from_slice(payload),
        );
        (frame.sequence, frame.payload_type) = (sequence, payload_type);
        self.socket.send(Message::Binary(frame.encode())).await.unwrap();
    }

    /// Sends data until it is acknowledged: the agent may not be connected to the destination yet.
    async fn send_until_acknowledged(&mut self, sequence: i64, payload: &[u8]) {
        loop {
            self.send(sequence, payload_type::OUTPUT, payload).await;
            let wait = tokio::time::timeout(Duration::from_millis(50), self.acknowledgement(sequence));
            if wait.await.is_ok() {
                return;
            }
        }
    }

    async fn acknowledgement(&mut self, sequence: i64) {
        loop {
            let frame = self.frame().await.expect("a message");
            if frame.message_type == MessageKind::Acknowledge {
                let json: Value = serde_json::from_slice(&frame.payload).unwrap();
                if json["AcknowledgedMessageSequenceNumber"] == sequence {
                    return;
                }
            }
        }
    }

    /// Returns the next stream message in order, after acknowledging it.
    async fn stream(&mut self) -> AgentMessage {
        loop {
            let frame = self.frame().await.expect("a message");
            if self.accept(&frame).await {
                return frame;
            }
        }
    }

    /// Acknowledges a message if it is the next in order; returns whether it is.
    async fn accept(&mut self, frame: &AgentMessage) -> bool {
        let is_next = frame.message_type == MessageKind::OutputStreamData && frame.sequence == self.expected;
        if is_next {
            self.expected += 1;
            let json = json!({ "AcknowledgedMessageType": "output_stream_data", "AcknowledgedMessageId":
                frame.id.to_string(), "AcknowledgedMessageSequenceNumber": frame.sequence, "IsSequentialMessage": true });
            let mut ack =
                AgentMessage::new(MessageKind::Acknowledge, 1, self.ids.uuid(), json.to_string().into());
            ack.flags = 3;
            self.socket.send(Message::Binary(ack.encode())).await.unwrap();
        }
        is_next
    }

    async fn closed(&mut self) -> String {
        loop {
            let frame = self.frame().await.expect("a message");
            if frame.message_type == MessageKind::ChannelClosed {
                assert!(frame.digest_matches());
                let json: Value = serde_json::from_slice(&frame.payload).unwrap();
                return json["Output"].as_str().unwrap().to_owned();
            }
        }
    }

    /// Returns the next message; `None` once the websocket is closed.
    async fn frame(&mut self) -> Option<AgentMessage> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Binary(bytes)) => return Some(AgentMessage::parse(&bytes).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            }
        }
    }

    async fn wait_for_close(&mut self) {
        while self.frame().await.is_some() {}
    }
}

#[tokio::test]
async fn a_session_runs_from_start_to_terminate() {
    let simulator = simulator(|_| ()).await;
    let session = start(&simulator).await;
    assert!(session.id.starts_with("alice@example.com-"));
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    client.send_until_acknowledged(1, b"hello").await;
    simulator
        .wait_for(|event| matches!(event, SimEvent::Reached { step: SessionStep::AgentOutput, .. }))
        .await;
    client.send(2, payload_type::FLAG, &flag::TERMINATE_SESSION.to_be_bytes()).await;
    assert_eq!(client.closed().await, "");
    assert!(simulator.open_sessions().is_empty());
    let record = simulator.record(&session.id).unwrap();
    assert_eq!((record.bytes_written, record.digest_mismatches, record.terminated), (5, 0, true));
}

#[tokio::test]
async fn data_comes_back_after_a_cut_and_a_resume() {
    let simulator = simulator(|config| config.faults.api.clear()).await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    simulator.cut_all(CutKind::Reset);
    client.wait_for_close().await;
    let expected = client.expected;
    let resumed = resume(&simulator, &session).await;
    assert_ne!(resumed.token, session.token);
    let mut client = Client::open(&simulator, &resumed).await;
    client.expected = expected;
    client.send(1, payload_type::OUTPUT, b"again").await;
    assert_eq!(client.stream().await.payload, "again");
}

#[tokio::test]
async fn a_cut_by_bytes_breaks_a_frame_in_its_middle() {
    let simulator = simulator(|config| config.faults.cut(CutWhen::Bytes(500), CutKind::Reset, 1)).await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    client.wait_for_close().await;
    simulator
        .wait_for(|event| matches!(event, SimEvent::Detached { why: Detach::Cut(CutKind::Reset), .. }))
        .await;
    let mut client = Client::open(&simulator, &resume(&simulator, &session).await).await;
    client.handshake().await;
}

#[tokio::test]
async fn every_step_can_be_cut_and_resumed() {
    let steps = [
        SessionStep::Upgraded,
        SessionStep::Opened,
        SessionStep::HandshakeRequest,
        SessionStep::HandshakeComplete,
    ];
    for step in steps {
        for kind in [CutKind::Reset, CutKind::Bye] {
            let simulator = simulator(|config| config.faults.cut(CutWhen::Before(step), kind, 1)).await;
            let session = start(&simulator).await;
            let socket = dial(&session.url, &simulator.credentials()).await.unwrap();
            let mut client = Client { socket, ids: Rng::new(5), expected: 0 };
            if step != SessionStep::Upgraded {
                client.send_token(&session.token).await;
            }
            if step == SessionStep::HandshakeComplete {
                assert_eq!(client.stream().await.sequence, 0);
                let response = br#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[]}"#;
                client.send(0, payload_type::HANDSHAKE_RESPONSE, response).await;
            }
            client.wait_for_close().await;
            let expected = client.expected;
            let mut client = Client::open(&simulator, &resume(&simulator, &session).await).await;
            client.expected = expected;
            assert_eq!(client.stream().await.sequence, expected, "{step:?}");
        }
    }
}

#[tokio::test]
async fn upgrades_are_admitted_by_signature_and_exact_url() {
    let simulator =
        simulator(|config| config.faults.upgrades.push(UpgradeFault { status: 503, times: 1 })).await;
    let session = start(&simulator).await;
    let keys = simulator.credentials();
    assert_eq!(dial(&session.url, &keys).await.err(), Some(503));
    let wrong = Credentials { secret_access_key: "wrong".to_owned(), ..keys.clone() };
    assert_eq!(dial(&session.url, &wrong).await.err(), Some(403));
    let rewritten = session.url.replace('+', "%2B");
    assert_eq!(dial(&rewritten, &keys).await.err(), Some(400));
    assert!(dial(&session.url, &keys).await.is_ok());
}

#[tokio::test]
async fn a_bad_token_closes_the_websocket() {
    let simulator = simulator(|config| config.faults.single_use_tokens = true).await;
    let session = start(&simulator).await;
    let mut first = Client::open(&simulator, &session).await;
    first.handshake().await;
    let mut second = Client::open(&simulator, &session).await;
    second.wait_for_close().await;
    let rejected = simulator.wait_for(|event| matches!(event, SimEvent::Rejected { .. })).await;
    assert!(matches!(rejected, SimEvent::Rejected { why, .. } if why == "the token was used before"));
}

#[tokio::test]
async fn a_second_websocket_replaces_the_first() {
    let simulator = simulator(|_| ()).await;
    let session = start(&simulator).await;
    let mut first = Client::open(&simulator, &session).await;
    first.handshake().await;
    let _second = Client::open(&simulator, &session).await;
    first.wait_for_close().await;
    simulator.wait_for(|event| matches!(event, SimEvent::Detached { why: Detach::Replaced, .. })).await;
}

#[tokio::test]
async fn rotated_credentials_expire_and_scripted_errors_have_their_codes() {
    let simulator =
        simulator(|config| config.faults.fail_api("StartSession", "ThrottlingException", "slow", 1)).await;
    let old = sdk(&simulator);
    let start = || old.start_session().target(ONLINE_TARGET).document_name(SSH).send();
    assert_eq!(start().await.unwrap_err().code(), Some("ThrottlingException"));
    assert!(start().await.is_ok());
    simulator
        .rotate_credentials(Credentials { session_token: Some("t/o+k=".to_owned()), ..dummy_credentials(2) });
    assert_eq!(start().await.unwrap_err().code(), Some("ExpiredTokenException"));
    let new = sdk(&simulator);
    let offline = new.start_session().target(OFFLINE_TARGET).document_name(SSH).send().await.unwrap_err();
    assert_eq!(offline.code(), Some("TargetNotConnected"));
    let none = new.resume_session().session_id("unknown-1").send().await.unwrap_err();
    assert_eq!(none.code(), Some("DoesNotExistException"));
    assert_eq!(simulator.journal().calls("StartSession"), 4);
}

#[tokio::test]
async fn a_refused_port_and_a_termination_reach_the_client() {
    let closed_port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let simulator = simulator(|config| config.ports = HashMap::from([(22, closed_port)])).await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    let output = client.closed().await;
    assert_eq!(
        output,
        format!("Unable to connect to specified port: dial tcp {closed_port}: connect: connection refused")
    );
    let ended = simulator.wait_for(|event| matches!(event, SimEvent::Ended { .. })).await;
    assert!(matches!(ended, SimEvent::Ended { status: Status::Failed, .. }));
    let other = start(&simulator).await;
    let mut client = Client::open(&simulator, &other).await;
    client.stream().await;
    simulator.end_session(&other.id, "Your session timed out due to inactivity and has been terminated.");
    assert!(client.closed().await.starts_with("Your session timed out"));
}

#[tokio::test]
async fn a_silent_agent_sends_nothing_and_pings_can_stay_unanswered() {
    let simulator = simulator(|config| {
        config.faults.agent_silent_at = Some(SessionStep::Opened);
        config.faults.never_pong = true;
    })
    .await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    let waited = tokio::time::timeout(Duration::from_millis(400), client.socket.next()).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn a_black_hole_is_silent_and_the_session_can_be_resumed() {
    let simulator = simulator(|_| ()).await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    simulator.cut_all(CutKind::BlackHole);
    simulator.wait_for(|event| matches!(event, SimEvent::Detached { why: Detach::Cut(_), .. })).await;
    client.socket.send(Message::Ping(Bytes::new())).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(200), client.socket.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    let mut resumed = Client::open(&simulator, &resume(&simulator, &session).await).await;
    resumed.send_until_acknowledged(1, b"still there").await;
}

#[tokio::test]
async fn messages_for_an_absent_client_are_dropped_queued_or_held_back() {
    for absent in [Absent::Drop, Absent::Queue, Absent::Pause] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let simulator = simulator(|config| {
            config.ports = HashMap::from([(22, address)]);
            config.faults.absent = absent;
        })
        .await;
        let session = start(&simulator).await;
        let mut client = Client::open(&simulator, &session).await;
        client.handshake().await;
        let (mut destination, _) = listener.accept().await.unwrap();
        simulator.wait_for(|event| matches!(event, SimEvent::Dialed { port: 22, error: None, .. })).await;
        let expected = client.expected;
        drop(client);
        simulator.wait_for(|event| matches!(event, SimEvent::Detached { why: Detach::Client, .. })).await;
        destination.write_all(b"late").await.unwrap();
        let mut client = Client::open(&simulator, &resume(&simulator, &session).await).await;
        client.expected = expected;
        assert_eq!(client.stream().await.payload, "late", "{absent:?}");
    }
}

#[tokio::test]
async fn an_oversized_message_closes_the_websocket() {
    let simulator = simulator(|config| config.faults.limits.message_size = Some(1000)).await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    client.send(1, payload_type::SIZE, &[b' '; 1000]).await;
    client.wait_for_close().await;
    simulator.wait_for(|event| matches!(event, SimEvent::Detached { why: Detach::Limit(_), .. })).await;
}

#[tokio::test]
async fn a_megabyte_passes_an_unpaced_agent_both_ways() {
    let simulator = simulator(|config| config.agent = AgentConfig::default().unpaced()).await;
    let session = start(&simulator).await;
    let mut client = Client::open(&simulator, &session).await;
    client.handshake().await;
    let payload = vec![7; 32 * 1024];
    let mut back = 0;
    for sequence in 1..=32 {
        client.send(sequence, payload_type::OUTPUT, &payload).await;
        while back < payload.len() * sequence as usize {
            match tokio::time::timeout(Duration::from_millis(250), client.stream()).await {
                Ok(frame) => back += frame.payload.len(),
                Err(_) => client.send(sequence, payload_type::OUTPUT, &payload).await,
            }
        }
    }
    assert_eq!(simulator.record(&session.id).unwrap().bytes_written, 1 << 20);
}

#[test]
fn it_runs_on_a_separate_thread_for_tests_that_block() {
    let simulator = Simulator::spawn(SimConfig::default()).unwrap();
    let mut stream = std::net::TcpStream::connect(simulator.address()).unwrap();
    let call = b"POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: AmazonSSM.DescribeSessions\r\ncontent-length: 2\r\n\r\n{}";
    std::io::Write::write_all(&mut stream, call).unwrap();
    let seen =
        simulator.wait_for_blocking(Duration::from_secs(10), |event| matches!(event, SimEvent::Api { .. }));
    let error = Some("MissingAuthenticationTokenException".to_owned());
    assert_eq!(seen, Some(SimEvent::Api { operation: "DescribeSessions".to_owned(), session: None, error }));
}

#[tokio::test]
async fn it_serves_tls_too() {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let identity =
        TlsIdentity { certificates_pem: issued.cert.pem(), key_pem: issued.signing_key.serialize_pem() };
    let simulator = simulator(|config| {
        config.tls = Some(identity);
        config.hostname = "localhost".to_owned();
    })
    .await;
    assert!(simulator.endpoint().starts_with("https://localhost:"));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = TcpStream::connect(simulator.address()).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}
