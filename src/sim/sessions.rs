//! The service's table of sessions: their targets, states, tokens and stream addresses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::sim::agent::{Agent, Record, Status};
use crate::sim::relay_handle::RelayHandle;
use crate::sim::rng::Rng;

/// What a session is doing, in the API's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Started; no client has opened its websocket yet.
    Connecting,
    /// A client is there.
    Connected,
    /// The client is gone; the session waits.
    Disconnected,
    /// Over.
    Terminated,
}

impl SessionState {
    /// Returns the API's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
            Self::Disconnected => "Disconnected",
            Self::Terminated => "Terminated",
        }
    }
}

/// A session as a test or a listing sees it.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its identifier.
    pub id: String,
    /// Its target.
    pub target: String,
    /// Its document.
    pub document: String,
    /// Why the user wanted it.
    pub reason: Option<String>,
    /// The parameters as they were given.
    pub parameters: Value,
    /// What it is doing.
    pub state: SessionState,
    /// When it was started, in Unix seconds.
    pub started: u64,
    /// When it ended, in Unix seconds.
    pub ended: Option<u64>,
    /// How it ended, and the text for the client.
    pub end: Option<(Status, String)>,
}

/// The agent of a session, shared between its relay and the assertions of a test.
pub(super) type SharedAgent = Arc<Mutex<Option<Agent>>>;

pub(super) struct SessionEntry {
    pub info: SessionInfo,
    pub agent: SharedAgent,
    pub relay: RelayHandle,
    cell: String,
    tokens: Vec<Token>,
}

struct Token {
    value: String,
    issued: Instant,
    used: bool,
}

/// How tokens are judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenRules {
    pub single_use: bool,
    pub lifetime: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Sessions(BTreeMap<String, SessionEntry>);

impl Sessions {
    pub fn insert(&mut self, session: SessionEntry) {
        self.0.insert(session.info.id.clone(), session);
    }

    pub fn find(&mut self, id: &str) -> Option<&mut SessionEntry> {
        self.0.get_mut(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &SessionEntry> {
        self.0.values()
    }

    pub fn set_state(&mut self, id: &str, state: SessionState) {
        if let Some(session) = self.0.get_mut(id)
            && session.info.state != SessionState::Terminated
        {
            session.info.state = state;
        }
    }

    /// Ends a session; says whether it was not ended before.
    pub fn end(&mut self, id: &str, status: Status, output: &str, unix_now: u64) -> bool {
        let Some(session) = self.0.get_mut(id).filter(|session| session.info.end.is_none()) else {
            return false;
        };
        session.info.state = SessionState::Terminated;
        session.info.ended = Some(unix_now);
        session.info.end = Some((status, output.to_owned()));
        true
    }
}

impl SessionEntry {
    pub fn new(info: SessionInfo, relay: RelayHandle, agent: SharedAgent, rng: &mut Rng) -> Self {
        Self { info, agent, relay, cell: cell(rng), tokens: Vec::new() }
    }

    /// Path and query of its websocket; a client must dial exactly these bytes.
    pub fn stream_target(&self) -> String {
        let id = &self.info.id;
        format!("/v1/data-channel/{id}?role=publish_subscribe&cell-number={}", self.cell)
    }

    /// Makes the old stream address invalid.
    pub fn move_stream(&mut self, rng: &mut Rng) {
        self.cell = cell(rng);
    }

    pub fn issue_token(&mut self, now: Instant, rng: &mut Rng) -> String {
        let random: Vec<u8> = (0..9).flat_map(|_| rng.next_u64().to_be_bytes()).collect();
        let value = format!("AAEAAb{}", STANDARD.encode(random));
        self.tokens.push(Token { value: value.clone(), issued: now, used: false });
        value
    }

    /// Judges a token and marks it used.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn redeem(&mut self, value: &str, now: Instant, rules: TokenRules) -> Result<(), &'static str> {
        let Some(token) = self.tokens.iter_mut().find(|token| token.value == value) else {
            return Err("the token is unknown");
        };
        if rules.single_use && token.used {
            return Err("the token was used before");
        }
        if rules.lifetime.is_some_and(|lifetime| now.saturating_duration_since(token.issued) > lifetime) {
            return Err("the token has expired");
        }
        token.used = true;
        Ok(())
    }

    pub fn record(&self) -> Record {
        let agent = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        agent.as_ref().map(|agent| agent.record().clone()).unwrap_or_default()
    }
}

/// A cell number as the service gives it out: base64 with unescaped `+` and `/`.
fn cell(rng: &mut Rng) -> String {
    let random: Vec<u8> = (0..4).flat_map(|_| rng.next_u64().to_be_bytes()).collect();
    format!("AAEA+b/x{}", STANDARD.encode(random))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a starting point for virtual time")]

    use super::*;

    fn session(rng: &mut Rng) -> SessionEntry {
        let info = SessionInfo {
            id: "alice@example.com-0bf03c6795a5347df".to_owned(),
            target: "i-0123456789abcdef0".to_owned(),
            document: "AWS-StartSSHSession".to_owned(),
            reason: None,
            parameters: Value::Null,
            state: SessionState::Connecting,
            started: 0,
            ended: None,
            end: None,
        };
        SessionEntry::new(info, RelayHandle::channel().0, SharedAgent::default(), rng)
    }

    #[test]
    fn tokens_are_single_use_and_expire_only_by_the_rules() {
        let (mut rng, now) = (Rng::new(1), Instant::now());
        let mut session = session(&mut rng);
        let token = session.issue_token(now, &mut rng);
        let free = TokenRules { single_use: false, lifetime: None };
        let once = TokenRules { single_use: true, ..free };
        let brief = TokenRules { lifetime: Some(Duration::from_secs(1)), ..free };
        assert_eq!(session.redeem(&token, now, free), Ok(()));
        assert_eq!(session.redeem(&token, now, free), Ok(()));
        assert_eq!(session.redeem(&token, now, once), Err("the token was used before"));
        assert!(session.redeem(&token, now + Duration::from_secs(2), brief).is_err());
        assert_eq!(session.redeem("other", now, free), Err("the token is unknown"));
        assert_ne!(session.issue_token(now, &mut rng), token);
    }

    #[test]
    fn the_stream_address_has_raw_plus_and_slash_and_can_move() {
        let mut rng = Rng::new(1);
        let mut session = session(&mut rng);
        let before = session.stream_target();
        assert!(before.contains("alice@example.com") && before.contains("+b/x"), "{before}");
        session.move_stream(&mut rng);
        assert_ne!(session.stream_target(), before);
    }

    #[test]
    fn a_session_ends_once() {
        let mut rng = Rng::new(1);
        let mut sessions = Sessions::default();
        let session = session(&mut rng);
        let id = session.info.id.clone();
        sessions.insert(session);
        assert!(sessions.end(&id, Status::Success, "", 5));
        assert!(!sessions.end(&id, Status::Failed, "again", 6));
        sessions.set_state(&id, SessionState::Disconnected);
        assert_eq!(sessions.find(&id).unwrap().info.state, SessionState::Terminated);
    }
}
