//! The control plane and the dialler of the tests: they succeed, unless something else is scripted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::rc::Rc;

use tokio::io::duplex;

use crate::aws::{ApiError, StreamAddress, Token};
use crate::session::link_error::LinkError;
use crate::session::service::{ControlPlane, Dial};
use crate::transport::{ConnectFault, DialError, ForeignAnswer, TlsFault, Websocket};

use super::agent::Agent;
use super::progress::Progress;

/// What the two directions of a websocket keep.
const KEPT: usize = 64 << 10;

/// What a call answers: those in the queue first, then the last for all others; success without either.
pub(super) struct Script<T> {
    next: VecDeque<T>,
    always: Option<T>,
}

impl<T> Default for Script<T> {
    fn default() -> Self {
        Self { next: VecDeque::new(), always: None }
    }
}

impl<T: Clone> Script<T> {
    pub(super) fn once(&mut self, answer: T) {
        self.next.push_back(answer);
    }

    pub(super) fn times(&mut self, times: usize, answer: T) {
        self.next.extend(std::iter::repeat_n(answer, times));
    }

    pub(super) fn always(&mut self, answer: T) {
        self.always = Some(answer);
    }

    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    fn answer(&mut self) -> Option<T> {
        self.next.pop_front().or_else(|| self.always.clone())
    }
}

#[derive(Clone)]
pub(super) enum Answer {
    Fails(ApiError),
    /// ResumeSession without a token.
    Gone,
    Hangs,
}

#[derive(Clone, Copy)]
pub(super) enum DialAnswer {
    Unreachable,
    Refused(u16),
    Untrusted,
    Forbidden,
    Foreign,
    Hangs,
}

#[derive(Default)]
pub(super) struct Scripts {
    pub access: Script<Answer>,
    pub resume: Script<Answer>,
    pub terminate: Script<Answer>,
    pub dial: Script<DialAnswer>,
    /// Names of the calls that were made.
    pub calls: Vec<&'static str>,
    /// The API has ended the session.
    pub terminated: bool,
}

/// The service.
#[derive(Clone)]
pub(super) struct Service {
    pub scripts: Rc<RefCell<Scripts>>,
    agent: Agent,
    progress: Rc<Progress>,
}

pub(super) fn api_error(code: &str) -> Answer {
    let (code, message) = (code.to_owned(), "scripted".to_owned());
    Answer::Fails(ApiError::Service { operation: "ResumeSession", code, message, status: 400 })
}

pub(super) fn no_credentials() -> Answer {
    Answer::Fails(ApiError::NoCredentials("the token has expired".to_owned()))
}

pub(super) fn stream(token: &str) -> StreamAddress {
    StreamAddress { url: "wss://stream.test/".to_owned(), token: Token::new(token.to_owned()) }
}

impl Service {
    pub(super) fn new(agent: Agent, progress: Rc<Progress>) -> Self {
        Self { scripts: Rc::default(), agent, progress }
    }

    pub(super) fn count(&self, call: &str) -> usize {
        self.scripts.borrow().calls.iter().filter(|made| **made == call).count()
    }

    /// Answers a call; false if the session has ended.
    async fn answer(
        &self,
        call: &'static str,
        script: impl FnOnce(&mut Scripts) -> &mut Script<Answer>,
    ) -> Result<bool, ApiError> {
        let answer = {
            let mut scripts = self.scripts.borrow_mut();
            scripts.calls.push(call);
            script(&mut scripts).answer()
        };
        self.progress.event();
        match answer {
            None => Ok(true),
            Some(Answer::Gone) => Ok(false),
            Some(Answer::Fails(error)) => Err(error),
            Some(Answer::Hangs) => pending().await,
        }
    }
}

impl ControlPlane for Service {
    type Access = ();

    async fn access(&self) -> Result<(), ApiError> {
        self.answer("access", |scripts| &mut scripts.access).await.map(|_| ())
    }

    async fn resume_session(
        &self,
        (): &(),
        _session_id: &str,
        _known_url: &str,
    ) -> Result<Option<StreamAddress>, ApiError> {
        let exists = self.answer("resume", |scripts| &mut scripts.resume).await?;
        Ok(exists.then(|| stream(&format!("token {}", self.count("resume")))))
    }

    async fn terminate_session(&self, (): &(), _session_id: &str) -> Result<(), ApiError> {
        self.answer("terminate", |scripts| &mut scripts.terminate).await?;
        self.scripts.borrow_mut().terminated = true;
        Ok(())
    }
}

impl Dial<()> for Service {
    async fn dial(&self, (): &(), _url: &str) -> Result<Websocket, LinkError> {
        let answer = {
            let mut scripts = self.scripts.borrow_mut();
            scripts.calls.push("dial");
            scripts.dial.answer()
        };
        self.progress.event();
        let host = "stream.test".to_owned();
        Err(LinkError::Dial(match answer {
            None => {
                let (near, far) = duplex(KEPT);
                self.agent.accept(far);
                return Ok(Websocket::in_memory(near).await);
            }
            Some(DialAnswer::Hangs) => pending().await,
            Some(DialAnswer::Unreachable) => {
                DialError::Connect { host, cause: "no route".to_owned(), fault: ConnectFault::Network }
            }
            Some(DialAnswer::Refused(status)) => DialError::Refused { status, text: String::new() },
            Some(DialAnswer::Untrusted) => {
                DialError::Certificate { host, cause: "unknown issuer".to_owned(), fault: TlsFault::Issuer }
            }
            Some(DialAnswer::Forbidden) => {
                let (cause, fault) = ("the proxy refused".to_owned(), ConnectFault::Forbidden);
                DialError::Connect { host, cause, fault }
            }
            Some(DialAnswer::Foreign) => {
                DialError::Foreign { host, answer: ForeignAnswer { status: 200, location: None } }
            }
        }))
    }
}
