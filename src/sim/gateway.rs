//! The message gateway: the websocket upgrade, its first message, and the pump between websocket and relay.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::sync::{Notify, mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::sim::clock;
use crate::sim::faults::{CutKind, CutWhen, Limits, Oversized, Step};
use crate::sim::http::{Request, respond};
use crate::sim::journal::{Detach, Event};
use crate::sim::mailbox::{Client, Control, Order, Outgoing, RelayHandle};
use crate::sim::sessions::TokenRules;
use crate::sim::shared::{Shared, lock};
use crate::sim::sigv4::{Signed, verify};
use crate::sim::tap::Tap;

const SIGNING_NAME: &str = "ssmmessages";
const PATH: &str = "/v1/data-channel/";
const OUTGOING: usize = 256;

type Socket = WebSocketStream<Tap>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OpenDataChannelInput {
    message_schema_version: String,
    request_id: String,
    token_value: String,
    client_id: String,
    client_version: String,
}

/// The cut after so many bytes: how it is done, and the news that they have passed, if they pass without breaking.
struct Budget {
    cut: Option<CutKind>,
    spent: Arc<Notify>,
}

impl Budget {
    fn kind(&self) -> CutKind {
        self.cut.unwrap_or(CutKind::Reset)
    }
}

/// Why a websocket is left, and by whom.
enum Exit {
    Client,
    Order(Order),
    Cut(CutKind),
    Limit(&'static str),
}

/// Says whether a request wants a data channel.
pub(super) fn wants(request: &Request) -> bool {
    request.path().starts_with(PATH)
}

/// Answers an upgrade and serves the websocket to its end.
///
/// # Errors
/// Those of the connection before the upgrade is answered.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut tap: Tap,
    rest: BytesMut,
    request: Request,
) -> io::Result<()> {
    let session = request.path().trim_start_matches(PATH).to_owned();
    let admitted = admit(shared, &session, &request);
    let (status, why) = match &admitted {
        Ok(_) => (101, None),
        Err((status, why)) => (*status, Some(why.clone())),
    };
    shared.note(Event::Upgrade { session: session.clone(), status, why: why.clone() });
    let Ok(accept) = admitted else {
        return respond(&mut tap, status, &[("connection", "close")], why.unwrap_or_default().as_bytes())
            .await;
    };
    let headers =
        [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", accept.as_str())];
    respond(&mut tap, 101, &headers, b"").await?;
    let budget = shared.with_faults(|faults| {
        if faults.never_pong {
            tap.ignore_pings();
        }
        faults.take_byte_cut()
    });
    let spent = Arc::new(Notify::new());
    match budget {
        Some((bytes, CutKind::Bye)) => tap.set_milestone(bytes, spent.clone()),
        Some((bytes, CutKind::Reset | CutKind::BlackHole)) => tap.set_budget(bytes),
        None => {}
    }
    let rest = tap.filter(&rest);
    let socket = WebSocketStream::from_partially_read(tap, rest, Role::Server, None).await;
    converse(shared, socket, &session, Budget { cut: budget.map(|(_, kind)| kind), spent }).await;
    Ok(())
}

/// Judges an upgrade; returns the key that accepts it.
fn admit(shared: &Shared, session: &str, request: &Request) -> Result<String, (u16, String)> {
    if let Some(status) = shared.with_faults(|faults| faults.take_upgrade()) {
        return Err((status, "scripted".to_owned()));
    }
    authenticate(shared, request).map_err(|why| (403, why))?;
    let target = lock(&shared.sessions).find(session).map(|session| session.stream_target());
    match target {
        None => return Err((404, "no such session".to_owned())),
        Some(target) if target != request.target => {
            return Err((400, "not the stream url that was given out".to_owned()));
        }
        Some(_) => {}
    }
    if !request.has_token("upgrade", "websocket") || !request.has_token("connection", "upgrade") {
        return Err((400, "not a websocket upgrade".to_owned()));
    }
    let key = request.header("sec-websocket-key").ok_or_else(|| (400, "no sec-websocket-key".to_owned()))?;
    Ok(derive_accept_key(key.as_bytes()))
}

fn authenticate(shared: &Shared, request: &Request) -> Result<(), String> {
    if shared.config.unsigned_upgrades && request.header("authorization").is_none() {
        return Ok(());
    }
    let signed = Signed {
        method: &request.method,
        target: &request.target,
        headers: &request.headers,
        payload: b"",
        service: SIGNING_NAME,
        region: &shared.config.region,
    };
    verify(signed, &lock(&shared.keyring), clock::unix_s())
        .map_err(|refusal| format!("{}: {refusal}", refusal.code()))
}

/// Takes the first message, then pumps until one side has enough.
async fn converse(shared: &Arc<Shared>, mut socket: Socket, session: &str, budget: Budget) {
    if let Some(kind) = cut_at(shared, Step::Upgraded) {
        shared.note(Event::Detached { session: session.to_owned(), why: Detach::Cut(kind) });
        return cut(socket, kind).await;
    }
    let opened = match first_message(&mut socket).await {
        Some(text) => open(shared, session, &text),
        None if socket.get_ref().is_exhausted() => {
            let kind = budget.kind();
            shared.note(Event::Detached { session: session.to_owned(), why: Detach::Cut(kind) });
            return cut(socket, kind).await;
        }
        None => Err("no first message".to_owned()),
    };
    let relay = match opened {
        Ok(relay) => relay,
        Err(why) => {
            shared.note(Event::Rejected { session: session.to_owned(), why });
            let reason = CloseFrame { code: CloseCode::Policy, reason: "rejected".into() };
            let _ = socket.close(Some(reason)).await;
            return;
        }
    };
    if let Some(kind) = shared.with_faults(|faults| faults.take_cut(CutWhen::Before(Step::Opened))) {
        shared.note(Event::Detached { session: session.to_owned(), why: Detach::Cut(kind) });
        return cut(socket, kind).await;
    }
    attend(shared, socket, &relay, &budget).await;
}

fn cut_at(shared: &Shared, step: Step) -> Option<CutKind> {
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

/// Judges the first message.
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
        return Err("the session is over".to_owned());
    }
    entry.redeem(&input.token_value, clock::now(), rules)?;
    let relay = entry.relay.clone();
    drop(sessions);
    let (session, client_id, client_version) = (session.to_owned(), input.client_id, input.client_version);
    shared.note(Event::Opened { session, client_id, client_version });
    Ok(relay)
}

async fn attend(shared: &Shared, socket: Socket, relay: &RelayHandle, budget: &Budget) {
    let id = lock(&shared.dice).roll();
    let (outgoing, outgoing_inputs) = mpsc::channel(OUTGOING);
    let (order, mut orders) = watch::channel(None);
    // If the relay is gone, the session has just ended, and the dropped order ends the wait below.
    let _ = relay.control.send(Control::Attach(Client { id, outgoing, order }));
    let (limits, age) = shared.with_faults(|faults| (faults.limits, faults.next_timed_cut()));
    let (mut sink, mut stream) = socket.split();
    let exit = tokio::select! {
        biased;
        order = next_order(&mut orders) => Exit::Order(order),
        exit = write(&mut sink, outgoing_inputs, shared.config.ping_interval) => exit,
        exit = read(&mut stream, &relay.messages, limits) => exit,
        kind = timed_cut(shared, age) => Exit::Cut(kind),
        () = budget.spent.notified() => Exit::Cut(budget.kind()),
    };
    let Ok(mut socket) = stream.reunite(sink) else { return };
    let exit = match exit {
        Exit::Client if socket.get_ref().is_exhausted() => Exit::Cut(budget.kind()),
        exit @ (Exit::Client | Exit::Order(_) | Exit::Cut(_) | Exit::Limit(_)) => exit,
    };
    match exit {
        Exit::Client => leave(relay, id, Detach::Client),
        Exit::Order(Order::Replaced) => {}
        // Its relay knows already: it gave the order.
        Exit::Order(Order::Cut(kind)) => cut(socket, kind).await,
        Exit::Cut(kind) => {
            leave(relay, id, Detach::Cut(kind));
            cut(socket, kind).await;
        }
        Exit::Limit(which) => {
            leave(relay, id, Detach::Limit(which));
            let _ = socket.close(Some(CloseFrame { code: CloseCode::Policy, reason: which.into() })).await;
        }
    }
}

fn leave(relay: &RelayHandle, client: u64, why: Detach) {
    let _ = relay.control.send(Control::Detach { client, why });
}

async fn next_order(orders: &mut watch::Receiver<Option<Order>>) -> Order {
    loop {
        if let Some(order) = *orders.borrow_and_update() {
            return order;
        }
        if orders.changed().await.is_err() {
            // The session is over; the client is to close.
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
) -> Exit {
    loop {
        let next = match outgoing.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                if sink.flush().await.is_err() {
                    return Exit::Client;
                }
                tokio::select! {
                    next = outgoing.recv() => match next {
                        Some(next) => Some(next),
                        // The relay is done with this client; reading goes on until it closes.
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
                return Exit::Order(Order::Cut(kind));
            }
            None => Message::Ping(Bytes::from_static(b"keepalive")),
        };
        if sink.feed(message).await.is_err() {
            return Exit::Client;
        }
    }
}

async fn read(stream: &mut SplitStream<Socket>, messages: &mpsc::Sender<Bytes>, limits: Limits) -> Exit {
    let mut rate = Rate::new(clock::now());
    while let Some(message) = stream.next().await {
        let bytes = match message {
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Text(text)) => text.into(),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
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
        // After the session's end there is nobody to take it.
        let _ = messages.send(bytes).await;
    }
    // The close handshake is completed by reading on.
    while stream.next().await.is_some_and(|message| message.is_ok()) {}
    Exit::Client
}

/// Counts messages per second; exceeding is two full seconds above the limit in a row.
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

/// Cuts a websocket.
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
