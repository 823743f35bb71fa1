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

/// The state of a session, as in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Started; no client has opened a websocket.
    Connecting,
    /// A client is attached.
    Connected,
    /// The client is detached; the session can be resumed.
    Disconnected,
    /// Ended.
    Terminated,
}

impl SessionState {
    /// Returns the API's name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
            Self::Disconnected => "Disconnected",
            Self::Terminated => "Terminated",
        }
    }
}

/// A session in listings and tests.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The identifier.
    pub id: String,
    /// The target.
    pub target: String,
    /// The document.
    pub document: String,
    /// The user's reason.
    pub reason: Option<String>,
    /// The parameters of StartSession.
    pub parameters: Value,
    /// The state.
    pub state: SessionState,
    /// The start, in Unix seconds.
    pub started: u64,
    /// The end, in Unix seconds.
    pub ended: Option<u64>,
    /// The final status, and the text for the client.
    pub end: Option<(Status, String)>,
}

/// The agent of a session, shared by its relay and the assertions of tests.
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

/// The rules for tokens.
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

    /// Ends a session; returns false if it had ended before.
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

    /// Returns path and query of the websocket; a client must send exactly these bytes.
    pub fn stream_target(&self) -> String {
        let id = &self.info.id;
        format!("/v1/data-channel/{id}?role=publish_subscribe&cell-number={}", self.cell)
    }

    /// Changes the stream URL; the old one becomes invalid.
    pub fn move_stream(&mut self, rng: &mut Rng) {
        self.cell = cell(rng);
    }

    pub fn issue_token(&mut self, now: Instant, rng: &mut Rng) -> String {
        let random: Vec<u8> = (0..9).flat_map(|_| rng.next_u64().to_be_bytes()).collect();
        let value = format!("AAEAAb{}", STANDARD.encode(random));
        self.tokens.push(Token { value: value.clone(), issued: now, used: false });
        value
    }

    /// Checks a token and marks it as used.
    ///
    /// # Errors
    /// The reason why the token is rejected.
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

/// Returns a cell number in the service's form: base64 with unescaped `+` and `/`.
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
    fn the_stream_url_has_raw_plus_and_slash_and_can_change() {
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
