//! The message gateway: the websocket upgrade, the first message, and the copying between websocket and relay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::sync::{Notify, mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::sim::clock;
use crate::sim::fault_stream::FaultStream;
use crate::sim::faults::{CutKind, CutWhen, Limits, Oversized, SessionStep};
use crate::sim::journal::{Detach, SimEvent};
use crate::sim::relay_handle::{AttachedClient, Control, Disconnect, Outgoing, RelayHandle};
use crate::sim::response;
use crate::sim::sessions::TokenRules;
use crate::sim::shared::{Shared, lock};
use crate::sim::sigv4::{Signed, header, verify};

const SIGNING_NAME: &str = "ssmmessages";
const PATH: &str = "/v1/data-channel/";
const OUTGOING: usize = 256;

type Socket = WebSocketStream<FaultStream>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OpenDataChannelInput {
    message_schema_version: String,
    request_id: String,
    token_value: String,
    client_id: String,
    client_version: String,
}

/// The scripted cut at a byte.
struct ByteCut {
    kind: CutKind,
    /// Notified when the bytes have passed; not used if the stream breaks there.
    passed: Arc<Notify>,
}

/// Why a websocket is closed.
enum Exit {
    Client,
    Disconnect(Disconnect),
    Cut(CutKind),
    Limit(&'static str),
}

/// Returns whether a request is for a data channel.
pub(super) fn is_data_channel(request: &Request<Incoming>) -> bool {
    request.uri().path().starts_with(PATH)
}

/// Answers an upgrade request; an accepted websocket is served by its own task.
pub(super) fn upgrade(shared: &Arc<Shared>, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let upgraded = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let session = head.uri.path().trim_start_matches(PATH).to_owned();
    let admitted = admit(shared, &session, &head);
    let (status, why) = match &admitted {
        Ok(_) => (101, None),
        Err((status, why)) => (*status, Some(why.clone())),
    };
    shared.note(SimEvent::Upgrade { session: session.clone(), status, why: why.clone() });
    let mut response = response::plain(status, why.unwrap_or_default());
    let headers = response.headers_mut();
    match admitted {
        Ok(accept) => {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            shared.spawn(serve(shared.clone(), upgraded, session));
        }
        Err(_) => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

/// Takes the connection back from hyper once the upgrade is answered, and serves the websocket until it is closed.
async fn serve(shared: Arc<Shared>, upgraded: OnUpgrade, session: String) {
    let parts = upgraded.await.map(|upgraded| upgraded.downcast::<TokioIo<FaultStream>>());
    let Ok(Ok(parts)) = parts else {
        tracing::debug!(session, "the connection was closed before the upgrade was answered");
        return;
    };
    let (mut stream, rest) = (parts.io.into_inner(), parts.read_buf);
    let byte_cut = shared.with_faults(|faults| {
        if faults.never_pong {
            stream.ignore_pings();
        }
        faults.take_byte_cut()
    });
    let passed = Arc::new(Notify::new());
    match byte_cut {
        Some((bytes, CutKind::Bye)) => stream.notify_after(bytes, passed.clone()),
        Some((bytes, CutKind::Reset | CutKind::BlackHole)) => stream.break_after(bytes),
        None => {}
    }
    let rest = stream.filter(&rest);
    let socket = WebSocketStream::from_partially_read(stream, rest, Role::Server, None).await;
    let byte_cut = ByteCut { kind: byte_cut.map_or(CutKind::Reset, |(_, kind)| kind), passed };
    run_websocket(&shared, socket, &session, byte_cut).await;
}

/// Checks an upgrade request; returns the value of `sec-websocket-accept`, or a status and a reason.
fn admit(shared: &Shared, session: &str, head: &Parts) -> Result<HeaderValue, (u16, String)> {
    if let Some(status) = shared.with_faults(|faults| faults.take_upgrade()) {
        return Err((status, "scripted".to_owned()));
    }
    authenticate(shared, head).map_err(|why| (403, why))?;
    let target = lock(&shared.sessions).find(session).map(|session| session.stream_target());
    match target {
        None => return Err((404, "no such session".to_owned())),
        Some(target) if head.uri != *target => {
            return Err((400, "the url is not the session's StreamUrl".to_owned()));
        }
        Some(_) => {}
    }
    if !has_token(head, "upgrade", "websocket") || !has_token(head, "connection", "upgrade") {
        return Err((400, "not a websocket upgrade".to_owned()));
    }
    let key = header(&head.headers, "sec-websocket-key");
    let key = key.ok_or_else(|| (400, "no sec-websocket-key".to_owned()))?;
    Ok(HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("base64 is a header value"))
}

fn has_token(head: &Parts, name: &str, token: &str) -> bool {
    let value = header(&head.headers, name).unwrap_or_default();
    value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
}

fn authenticate(shared: &Shared, head: &Parts) -> Result<(), String> {
    if shared.config.unsigned_upgrades && !head.headers.contains_key("authorization") {
        return Ok(());
    }
    let signed = Signed { head, payload: b"", service: SIGNING_NAME, region: &shared.config.region };
    verify(signed, &lock(&shared.keyring), clock::unix_s())
        .map(drop)
        .map_err(|error| format!("{}: {error}", error.code()))
}

/// Checks the first message, then copies messages until the websocket is closed.
async fn run_websocket(shared: &Shared, mut socket: Socket, session: &str, byte_cut: ByteCut) {
    let detached = |kind| {
        shared.note(SimEvent::Detached { session: session.to_owned(), why: Detach::Cut(kind) });
    };
    if let Some(kind) = cut_at(shared, SessionStep::Upgraded) {
        detached(kind);
        return cut(socket, kind).await;
    }
    let opened = match first_message(&mut socket).await {
        Some(text) => open(shared, session, &text),
        None if socket.get_ref().is_broken() => {
            detached(byte_cut.kind);
            return cut(socket, byte_cut.kind).await;
        }
        None => Err("no first message".to_owned()),
    };
    let relay = match opened {
        Ok(relay) => relay,
        Err(why) => {
            shared.note(SimEvent::Rejected { session: session.to_owned(), why });
            let reason = CloseFrame { code: CloseCode::Policy, reason: "rejected".into() };
            let _ = socket.close(Some(reason)).await;
            return;
        }
    };
    if let Some(kind) = shared.with_faults(|faults| faults.take_cut(CutWhen::Before(SessionStep::Opened))) {
        detached(kind);
        return cut(socket, kind).await;
    }
    let pinged = || shared.note(SimEvent::Pinged { session: session.to_owned() });
    copy(shared, socket, &relay, &byte_cut, &pinged).await;
}

fn cut_at(shared: &Shared, step: SessionStep) -> Option<CutKind> {
    shared.with_faults(|faults| {
        faults.take_cut(CutWhen::Before(step)).or_else(|| faults.take_cut(CutWhen::Past(step)))
    })
}

/// Waits for the first message; control frames may come before it.
async fn first_message(socket: &mut Socket) -> Option<String> {
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => return Some(text.to_string()),
            Message::Binary(bytes) => return String::from_utf8(bytes.to_vec()).ok(),
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    None
}

/// Checks the first message; returns the session's relay, or why the message is rejected.
fn open(shared: &Shared, session: &str, text: &str) -> Result<RelayHandle, String> {
    let input: OpenDataChannelInput = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if input.message_schema_version != "1.0" {
        return Err(format!("schema version `{}`", input.message_schema_version));
    }
    for id in [&input.request_id, &input.client_id] {
        let parsed: uuid::Uuid = id.parse().map_err(|_| format!("`{id}` is not a uuid"))?;
        if parsed.hyphenated().to_string() != *id {
            return Err(format!("`{id}` is not a lower-case hyphenated uuid"));
        }
    }
    let rules = shared.with_faults(|faults| TokenRules {
        single_use: faults.single_use_tokens,
        lifetime: faults.token_lifetime,
    });
    let mut sessions = lock(&shared.sessions);
    let entry = sessions.find(session).ok_or("no such session")?;
    if entry.info.end.is_some() {
        return Err("the session has ended".to_owned());
    }
    entry.redeem(&input.token_value, clock::now(), rules)?;
    let relay = entry.relay.clone();
    drop(sessions);
    let (session, client_id, client_version) = (session.to_owned(), input.client_id, input.client_version);
    shared.note(SimEvent::Opened { session, client_id, client_version });
    Ok(relay)
}

/// Copies messages both ways until the websocket is closed or cut.
async fn copy(shared: &Shared, socket: Socket, relay: &RelayHandle, byte_cut: &ByteCut, pinged: &impl Fn()) {
    let id = lock(&shared.rng).next_u64();
    let (outgoing, outgoing_inputs) = mpsc::channel(OUTGOING);
    let (disconnect, mut disconnects) = watch::channel(None);
    // The send fails if the session has just ended; the client then closes its websocket.
    let _ = relay.control.send(Control::Attach(AttachedClient { id, outgoing, disconnect }));
    let (limits, age, flood) =
        shared.with_faults(|faults| (faults.limits, faults.next_timed_cut(), faults.flood));
    let (mut sink, mut stream) = socket.split();
    let exit = tokio::select! {
        biased;
        disconnect = disconnected(&mut disconnects) => Exit::Disconnect(disconnect),
        exit = write(&mut sink, outgoing_inputs, shared.config.ping_interval, flood) => exit,
        exit = read(&mut stream, &relay.messages, limits, pinged) => exit,
        kind = timed_cut(shared, age) => Exit::Cut(kind),
        () = byte_cut.passed.notified() => Exit::Cut(byte_cut.kind),
    };
    let Ok(mut socket) = stream.reunite(sink) else { return };
    let exit = match exit {
        Exit::Client if socket.get_ref().is_broken() => Exit::Cut(byte_cut.kind),
        exit @ (Exit::Client | Exit::Disconnect(_) | Exit::Cut(_) | Exit::Limit(_)) => exit,
    };
    match exit {
        Exit::Client => detach(relay, id, Detach::Client),
        Exit::Disconnect(Disconnect::Replaced) => {}
        // The relay requested the cut, so it needs no `Detach`.
        Exit::Disconnect(Disconnect::Cut(kind)) => cut(socket, kind).await,
        Exit::Cut(kind) => {
            detach(relay, id, Detach::Cut(kind));
            cut(socket, kind).await;
        }
        Exit::Limit(which) => {
            detach(relay, id, Detach::Limit(which));
            let _ = socket.close(Some(CloseFrame { code: CloseCode::Policy, reason: which.into() })).await;
        }
    }
}

fn detach(relay: &RelayHandle, client: u64, why: Detach) {
    let _ = relay.control.send(Control::Detach { client, why });
}

async fn disconnected(requests: &mut watch::Receiver<Option<Disconnect>>) -> Disconnect {
    loop {
        if let Some(request) = *requests.borrow_and_update() {
            return request;
        }
        if requests.changed().await.is_err() {
            // The session has ended; the client closes its websocket.
            std::future::pending::<()>().await;
        }
    }
}

async fn timed_cut(shared: &Shared, age: Option<Duration>) -> CutKind {
    let Some(age) = age else { return std::future::pending().await };
    tokio::time::sleep(age).await;
    match shared.with_faults(|faults| faults.take_cut(CutWhen::After(age))) {
        Some(kind) => kind,
        None => std::future::pending().await,
    }
}

async fn write(
    sink: &mut SplitSink<Socket, Message>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    ping_interval: Duration,
    flood: bool,
) -> Exit {
    loop {
        let next = match outgoing.try_recv() {
            Ok(next) => Some(next),
            Err(_) if flood => {
                // Between two of them, what the client sends is read.
                tokio::task::yield_now().await;
                Some(Outgoing::Message(Bytes::from_static(b"x")))
            }
            Err(_) => {
                if sink.flush().await.is_err() {
                    return Exit::Client;
                }
                tokio::select! {
                    next = outgoing.recv() => match next {
                        Some(next) => Some(next),
                        // The session has ended; reading goes on until the client closes.
                        None => std::future::pending().await,
                    },
                    () = tokio::time::sleep(ping_interval) => None,
                }
            }
        };
        let message = match next {
            Some(Outgoing::Message(message)) => Message::Binary(message),
            Some(Outgoing::Cut(kind)) => {
                let _ = sink.flush().await;
                return Exit::Disconnect(Disconnect::Cut(kind));
            }
            None => Message::Ping(Bytes::from_static(b"keepalive")),
        };
        if sink.feed(message).await.is_err() {
            return Exit::Client;
        }
    }
}

async fn read(
    stream: &mut SplitStream<Socket>,
    messages: &mpsc::Sender<Bytes>,
    limits: Limits,
    pinged: &impl Fn(),
) -> Exit {
    let mut rate = Rate::new(clock::now());
    while let Some(message) = stream.next().await {
        let bytes = match message {
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Text(text)) => text.into(),
            Ok(Message::Ping(_)) => {
                pinged();
                continue;
            }
            Ok(Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => break,
            Err(_) => return Exit::Client,
        };
        if limits.messages_per_second.is_some_and(|limit| rate.exceeds(clock::now(), limit)) {
            return Exit::Limit("too many messages");
        }
        if limits.message_size.is_some_and(|limit| bytes.len() > limit) {
            match limits.oversized {
                Oversized::Close => return Exit::Limit("message too large"),
                Oversized::Drop => continue,
            }
        }
        // The send fails after the session's end.
        let _ = messages.send(bytes).await;
    }
    // The close handshake is completed by reading on.
    while stream.next().await.is_some_and(|message| message.is_ok()) {}
    Exit::Client
}

/// Counts messages per second; two full seconds above the limit in a row exceed it.
struct Rate {
    second: Instant,
    count: u32,
    seconds_above: u32,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { second: now, count: 0, seconds_above: 0 }
    }

    fn exceeds(&mut self, now: Instant, limit: u32) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            self.seconds_above = if self.count > limit { self.seconds_above + 1 } else { 0 };
            (self.second, self.count) = (now, 0);
        }
        self.count += 1;
        self.seconds_above >= 2
    }
}

async fn cut(mut socket: Socket, kind: CutKind) {
    match kind {
        CutKind::Reset => socket.get_ref().reset_on_close(),
        CutKind::Bye => {
            let bye = CloseFrame { code: CloseCode::Normal, reason: "Bye".into() };
            let _ = socket.close(Some(bye)).await;
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
        }
        // The connection stays open until the simulator stops.
        CutKind::BlackHole => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_above_the_limit_are_too_many() {
        let start = clock::now();
        for (per_second, exceeds) in [(1001, true), (1000, false)] {
            let mut rate = Rate::new(start);
            let mut exceeded = false;
            for message in 0..per_second * 3 {
                let now = start + Duration::from_secs(1) * message / per_second;
                exceeded |= rate.exceeds(now, 1000);
            }
            assert_eq!(exceeded, exceeds, "{per_second} per second");
        }
    }
}
