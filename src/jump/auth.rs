//! Authenticates: tries keys and certificates, then keyboard-interactive, then password, as far as the server accepts
//! each method.
//!
//! A server may require several methods (`AuthenticationMethods`): each partial success starts a new round with the
//! remaining ones. A key is offered first, and signs only if the server accepts it.

use std::io::ErrorKind;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::HashAlg;
use russh::{MethodKind, MethodSet};
use tokio::time::timeout;

use super::agent::{AgentError, AgentKey, Public, SshAgent};
use super::candidate::{KeyCandidate, gather};
use super::error::{HopStep, JumpError, KeyProblem, LoginFailure};
use super::handler::{ClientHandler, Shared};
use super::pausable_timer::{Elapsed, PausableTimer};
use super::prompt::{Prompter, Question};
use super::secret::Secret;
use super::settings::HopSettings;
use super::signer::{KeySigner, SignError};

/// Maximum rounds of a login, and maximum prompts in one round: limits a server that never finishes.
const MAX_ROUNDS: usize = 32;

/// A login in progress.
pub(super) struct Login<'a> {
    handle: &'a mut Handle<ClientHandler>,
    shared: &'a Shared,
    settings: &'a HopSettings,
    prompter: Option<&'a dyn Prompter>,
    timer: &'a PausableTimer,
    agent: Option<SshAgent>,
    /// The methods that the server accepts; `None` before its first answer.
    offered: Option<MethodSet>,
    partial_successes: usize,
    tried: Vec<String>,
    problems: Vec<KeyProblem>,
}

/// The result of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    LoggedIn,
    /// The server accepted this method and requires another one.
    PartialSuccess,
    Refused,
}

impl<'a> Login<'a> {
    pub fn new(
        handle: &'a mut Handle<ClientHandler>,
        shared: &'a Shared,
        settings: &'a HopSettings,
        prompter: &'a dyn Prompter,
        timer: &'a PausableTimer,
    ) -> Self {
        let prompter = (!settings.batch_mode).then_some(prompter);
        Self {
            handle,
            shared,
            settings,
            prompter,
            timer,
            agent: None,
            offered: None,
            partial_successes: 0,
            tried: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Logs in; returns what the server accepted.
    pub async fn run(mut self) -> Result<String, JumpError> {
        let mut candidates = self.candidates().await;
        if candidates.is_empty() && self.none().await? == Step::LoggedIn {
            return Ok("none".to_owned());
        }
        for _ in 0..MAX_ROUNDS {
            let before = self.partial_successes;
            if self.public_key(&mut candidates).await? == Step::LoggedIn
                || self.keyboard_interactive().await? == Step::LoggedIn
                || self.password().await? == Step::LoggedIn
            {
                return Ok(self.tried.pop().unwrap_or_default());
            }
            if self.partial_successes == before {
                break;
            }
        }
        Err(self.failure())
    }

    async fn candidates(&mut self) -> Vec<KeyCandidate> {
        if !self.settings.methods.public_key {
            return Vec::new();
        }
        let keys = self.agent_keys().await;
        let own = self.settings.own_key.iter().map(KeyCandidate::of_own_key);
        own.chain(gather(self.settings, keys, &mut self.problems)).collect()
    }

    /// Lists the agent's keys. A socket that does not exist is ignored; any other failure is recorded as a problem.
    async fn agent_keys(&mut self) -> Vec<AgentKey> {
        let Some(socket) = &self.settings.agent else { return Vec::new() };
        let keys = async {
            let mut agent = SshAgent::connect(socket).await?;
            if let Some(binding) = self.handle.agent_session_binding()
                && let Err(error) = agent.bind(binding).await
            {
                tracing::debug!(%error, "cannot bind the ssh-agent to the session");
            }
            let keys = agent.keys().await?;
            Ok((agent, keys))
        };
        let limit = self.settings.auth_timeout;
        let keys = timeout(limit, keys).await.unwrap_or_else(|_| Err(AgentError::Timeout));
        match keys {
            Ok((agent, keys)) => {
                self.agent = Some(agent);
                keys
            }
            Err(AgentError::Io(error)) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                let problem = KeyProblem::Agent { socket: socket.clone(), reason: error.to_string() };
                tracing::warn!(%problem, "continuing without the ssh-agent");
                self.problems.push(problem);
                Vec::new()
            }
        }
    }

    /// Sends a `none` request to learn the accepted methods; some servers accept `none` itself.
    async fn none(&mut self) -> Result<Step, JumpError> {
        let answer = self.handle.authenticate_none(&self.settings.user);
        let answer = self.timer.limit(self.settings.auth_timeout, answer).await;
        self.read_reply(answer)
    }

    /// Offers the keys in order. A key that gave a partial success is not offered again.
    async fn public_key(&mut self, candidates: &mut Vec<KeyCandidate>) -> Result<Step, JumpError> {
        let mut next = 0;
        while next < candidates.len() && self.is_offered(MethodKind::PublicKey) {
            let Some(candidate) = candidates.get(next) else { break };
            match self.offer(candidate).await? {
                Step::LoggedIn => return Ok(Step::LoggedIn),
                Step::PartialSuccess => {
                    candidates.remove(next);
                    return Ok(Step::PartialSuccess);
                }
                Step::Refused => next += 1,
            }
        }
        Ok(Step::Refused)
    }

    async fn offer(&mut self, candidate: &KeyCandidate) -> Result<Step, JumpError> {
        let hash = match self.hash_for(candidate).await? {
            Ok(hash) => hash,
            Err(problem) => {
                tracing::debug!(%problem, "key not offered");
                self.problems.push(problem);
                return Ok(Step::Refused);
            }
        };
        self.tried.push(candidate.describe());
        tracing::debug!(hop = self.settings.name, key = candidate.describe(), "key offered");
        let (user, limit) = (self.settings.user.as_str(), self.settings.auth_timeout);
        let (agent, prompter, timer) = (self.agent.as_mut(), self.prompter, self.timer);
        let mut signer = KeySigner { candidate, agent, prompter, timer };
        let answer = match &candidate.public {
            Public::Key(key) => {
                let offer = self.handle.authenticate_publickey_with(user, key.clone(), hash, &mut signer);
                timer.limit(limit, offer).await
            }
            Public::Certificate(certificate) => {
                let certificate = certificate.as_ref().clone();
                let offer = self.handle.authenticate_certificate_with(user, certificate, hash, &mut signer);
                timer.limit(limit, offer).await
            }
        };
        match answer {
            Ok(Err(SignError::Key(problem))) => {
                tracing::warn!(%problem, "the server accepts a key that cannot sign");
                self.problems.push(problem);
                Ok(Step::Refused)
            }
            Ok(Err(SignError::Closed)) => Err(self.failure()),
            Ok(Ok(result)) => self.read_reply(Ok(Ok(result))),
            Err(elapsed) => self.read_reply(Err(elapsed)),
        }
    }

    /// Returns the hash for an RSA signature, `None` for other keys, or why the key must not be offered.
    async fn hash_for(
        &mut self,
        candidate: &KeyCandidate,
    ) -> Result<Result<Option<HashAlg>, KeyProblem>, JumpError> {
        let settings = self.settings;
        let is_allowed = |hash| settings.pubkey_accepted_algorithms.has(&candidate.offered_algorithm(hash));
        let not_allowed = || KeyProblem::NotAllowed(candidate.describe());
        let Some(rsa) = candidate.key_data().rsa() else {
            return Ok(if is_allowed(None) { Ok(None) } else { Err(not_allowed()) });
        };
        if rsa.key_size() < settings.required_rsa_size {
            return Ok(Err(not_allowed()));
        }
        let best = self.timer.limit(settings.auth_timeout, self.handle.best_supported_rsa_hash()).await;
        let hashes = match best {
            Ok(Ok(None | Some(Some(HashAlg::Sha512)))) => &[HashAlg::Sha512, HashAlg::Sha256][..],
            Ok(Ok(Some(Some(_)))) => &[HashAlg::Sha256],
            Ok(Ok(Some(None))) => return Ok(Err(KeyProblem::WeakRsa(candidate.describe()))),
            Ok(Err(_)) => return Err(self.failure()),
            Err(Elapsed) => return Err(self.elapsed()),
        };
        let hash = hashes.iter().copied().find(|hash| is_allowed(Some(*hash)));
        Ok(hash.map(Some).ok_or_else(not_allowed))
    }

    async fn keyboard_interactive(&mut self) -> Result<Step, JumpError> {
        let method = MethodKind::KeyboardInteractive;
        let Some(prompter) = self.prompter.filter(|_| self.settings.methods.keyboard_interactive) else {
            return Ok(Step::Refused);
        };
        for _ in 0..self.settings.password_prompts {
            if !self.is_offered(method) {
                break;
            }
            self.tried.push("keyboard-interactive".to_owned());
            match self.answer_prompts(prompter).await? {
                Some(Step::Refused) => {}
                Some(step) => return Ok(step),
                None => break,
            }
        }
        Ok(Step::Refused)
    }

    /// Answers the server's prompts until it accepts or rejects; returns `None` if the user gives no answer.
    async fn answer_prompts(&mut self, prompter: &dyn Prompter) -> Result<Option<Step>, JumpError> {
        let start = self.handle.authenticate_keyboard_interactive_start(&self.settings.user, None);
        let mut reply = self.timer.limit(self.settings.auth_timeout, start).await;
        for _ in 0..MAX_ROUNDS {
            let (instructions, prompts) = match reply {
                Ok(Ok(KeyboardInteractiveAuthResponse::InfoRequest { instructions, prompts, .. })) => {
                    (instructions, prompts)
                }
                Ok(Ok(KeyboardInteractiveAuthResponse::Success)) => return Ok(Some(Step::LoggedIn)),
                Ok(Ok(KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success })) => {
                    let result = AuthResult::Failure { remaining_methods, partial_success };
                    return self.read_reply(Ok(Ok(result))).map(Some);
                }
                Ok(Err(error)) => return self.read_reply(Ok(Err(error))).map(Some),
                Err(elapsed) => return self.read_reply(Err(elapsed)).map(Some),
            };
            let answers = self.answers(prompter, &instructions, &prompts).await;
            let is_answered = answers.len() == prompts.len();
            // The server expects one answer for each prompt.
            let mut responses: Vec<_> = answers.iter().map(|answer| answer.reveal().to_owned()).collect();
            responses.resize(prompts.len(), String::new());
            let respond = self.handle.authenticate_keyboard_interactive_respond(responses);
            reply = self.timer.limit(self.settings.auth_timeout, respond).await;
            if !is_answered && !matches!(reply, Ok(Ok(KeyboardInteractiveAuthResponse::Success))) {
                return Ok(None);
            }
        }
        Err(self.failure())
    }

    /// Asks the user one prompt after the other, and stops at the first without an answer.
    async fn answers(&self, prompter: &dyn Prompter, instructions: &str, prompts: &[Prompt]) -> Vec<Secret> {
        let (user, host) = (self.settings.user.as_str(), self.settings.host.as_str());
        let mut answers = Vec::with_capacity(prompts.len());
        for Prompt { prompt, echo } in prompts {
            let instructions = if answers.is_empty() { instructions } else { "" };
            let question = Question::Prompt { user, host, instructions, prompt, echo: *echo };
            let Ok(answer) = prompter.ask(question).await else { break };
            answers.push(answer);
        }
        answers
    }

    async fn password(&mut self) -> Result<Step, JumpError> {
        let Some(prompter) = self.prompter.filter(|_| self.settings.methods.password) else {
            return Ok(Step::Refused);
        };
        for attempt in 0..self.settings.password_prompts {
            if !self.is_offered(MethodKind::Password) {
                break;
            }
            let (user, host) = (self.settings.user.as_str(), self.settings.host.as_str());
            let Ok(answer) = prompter.ask(Question::Password { user, host, is_retry: attempt > 0 }).await
            else {
                break;
            };
            self.tried.push("password".to_owned());
            let reply = self.handle.authenticate_password(user, answer.reveal());
            let reply = self.timer.limit(self.settings.auth_timeout, reply).await;
            match self.read_reply(reply)? {
                Step::Refused => {}
                step @ (Step::LoggedIn | Step::PartialSuccess) => return Ok(step),
            }
        }
        Ok(Step::Refused)
    }

    fn is_offered(&self, method: MethodKind) -> bool {
        self.offered.as_ref().is_none_or(|offered| offered.contains(&method))
    }

    fn read_reply(
        &mut self,
        reply: Result<Result<AuthResult, russh::Error>, Elapsed>,
    ) -> Result<Step, JumpError> {
        match reply {
            Ok(Ok(AuthResult::Success)) => Ok(Step::LoggedIn),
            // russh returns this after the connection has closed.
            Ok(Ok(AuthResult::Failure { remaining_methods, .. }))
                if remaining_methods.is_empty() && self.handle.is_closed() =>
            {
                Err(self.failure())
            }
            Ok(Ok(AuthResult::Failure { remaining_methods, partial_success })) => {
                self.offered = Some(remaining_methods);
                self.partial_successes += usize::from(partial_success);
                Ok(if partial_success { Step::PartialSuccess } else { Step::Refused })
            }
            Ok(Err(_)) => Err(self.failure()),
            Err(Elapsed) => Err(self.elapsed()),
        }
    }

    fn elapsed(&self) -> JumpError {
        JumpError::Timeout {
            hop: self.settings.name.clone(),
            step: HopStep::Login,
            after: self.settings.auth_timeout,
        }
    }

    fn failure(&mut self) -> JumpError {
        let offered = self.offered.take().map(|methods| {
            let methods = methods.iter().map(|method| <&str>::from(method).to_owned());
            methods.collect()
        });
        JumpError::Auth(Box::new(LoginFailure {
            hop: self.settings.name.clone(),
            user: self.settings.user.clone(),
            tried: std::mem::take(&mut self.tried),
            offered: offered.unwrap_or_default(),
            problems: std::mem::take(&mut self.problems),
            disconnected: self.shared.ending().map(|ending| ending.to_string()),
        }))
    }
}
