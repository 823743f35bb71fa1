//! Passwords and keyboard-interactive prompts, against a small server: sshd would need PAM and accounts for them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fumidai::jump::{
    AnswerFuture, HopSettings, JumpError, LocalUser, LoginFailure, PromptError, Prompter, Question, Secret,
    StrictHostKeys, connect,
};
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{Auth, Config, Handler, Response, run_stream};
use russh::{MethodKind, MethodSet};

/// Accepts the password `right`, and the answers `right` and `42`.
#[derive(Clone, Default)]
struct Server {
    /// Requires one more answer, without end.
    is_endless: bool,
}

impl Handler for Server {
    type Error = russh::Error;

    async fn auth_password(&mut self, _user: &str, password: &str) -> Result<Auth, russh::Error> {
        if self.is_endless {
            let methods = MethodSet::from(&[MethodKind::Password][..]);
            return Ok(Auth::Reject { proceed_with_methods: Some(methods), partial_success: true });
        }
        Ok(if password == "right" { Auth::Accept } else { again(MethodKind::Password) })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        if self.is_endless {
            return Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts: vec![].into() });
        }
        let Some(response) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "Two factors".into(),
                prompts: vec![("Password: ".into(), false), ("Code: ".into(), true)].into(),
            });
        };
        let answers: Vec<_> = response.map(|answer| answer.to_vec()).collect();
        Ok(if answers == [b"right".to_vec(), b"42".to_vec()] {
            Auth::Accept
        } else {
            again(MethodKind::KeyboardInteractive)
        })
    }
}

fn again(method: MethodKind) -> Auth {
    Auth::Reject { proceed_with_methods: Some(MethodSet::from(&[method][..])), partial_success: false }
}

/// Gives the answers in order, and records the questions.
#[derive(Default)]
struct ScriptedPrompter {
    answers: Mutex<Vec<&'static str>>,
    asked: Mutex<Vec<String>>,
}

impl ScriptedPrompter {
    fn new(answers: &[&'static str]) -> Self {
        let answers = answers.iter().rev().copied().collect();
        Self { answers: Mutex::new(answers), asked: Mutex::default() }
    }
}

impl Prompter for ScriptedPrompter {
    fn ask<'a>(&'a self, question: Question<'a>) -> AnswerFuture<'a> {
        let text = match question {
            Question::Password { is_retry, .. } => format!("password {is_retry}"),
            Question::Prompt { instructions, prompt, echo, .. } => format!("{instructions}|{prompt}|{echo}"),
            Question::Passphrase { .. } | Question::HostKey { .. } => panic!("{question:?}"),
        };
        self.asked.lock().unwrap().push(text);
        let answer = self.answers.lock().unwrap().pop();
        Box::pin(async move { answer.map(|text| Secret::new(text.to_owned())).ok_or(PromptError::Dismissed) })
    }
}

fn key() -> PrivateKey {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).unwrap();
    PrivateKey::from(Ed25519Keypair::from_seed(&seed))
}

async fn login(method: MethodKind, prompter: &ScriptedPrompter) -> Result<(), JumpError> {
    login_to(Server::default(), method, prompter).await
}

async fn login_to(server: Server, method: MethodKind, prompter: &ScriptedPrompter) -> Result<(), JumpError> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let key = key();
    let public = PublicKey::from(key.public_key().key_data().clone()).to_openssh().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("known_hosts"), format!("app {public}\n")).unwrap();
    let config = Config {
        keys: vec![key],
        methods: MethodSet::from(&[method][..]),
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: None,
        ..Config::default()
    };
    let server = tokio::spawn(run_stream(Arc::new(config), theirs, server));
    let local = LocalUser {
        home: folder.path(),
        user: "me",
        agent: None,
        clock: SystemTime::now,
        variable: &|_| None,
    };
    let mut settings = HopSettings::new("bob", "app", 22, &local);
    settings.user_known_hosts = vec![folder.path().join("known_hosts")];
    settings.strict = StrictHostKeys::Yes;
    let hop = connect(ours, &settings, prompter).await;
    server.abort();
    hop.map(drop)
}

#[tokio::test]
async fn a_password_may_be_wrong_twice() {
    let prompter = ScriptedPrompter::new(&["wrong", "wronger", "right"]);
    login(MethodKind::Password, &prompter).await.unwrap();
    assert_eq!(*prompter.asked.lock().unwrap(), ["password false", "password true", "password true"]);
}

#[tokio::test]
async fn a_password_that_stays_wrong_is_an_error() {
    let prompter = ScriptedPrompter::new(&["wrong"; 9]);
    let error = login(MethodKind::Password, &prompter).await.unwrap_err();
    let JumpError::Auth(failure) = error else { panic!("{error}") };
    let LoginFailure { tried, offered, .. } = *failure;
    assert_eq!((tried, offered), (vec!["password".to_owned(); 3], vec!["password".to_owned()]));
}

#[tokio::test]
async fn the_servers_prompts_reach_the_user() {
    let prompter = ScriptedPrompter::new(&["right", "42"]);
    login(MethodKind::KeyboardInteractive, &prompter).await.unwrap();
    assert_eq!(*prompter.asked.lock().unwrap(), ["Two factors|Password: |false", "|Code: |true"]);
}

#[tokio::test]
async fn the_rounds_of_an_endless_login_are_limited() {
    for (method, questions) in [(MethodKind::KeyboardInteractive, 0), (MethodKind::Password, 32)] {
        let prompter = ScriptedPrompter::new(&["right"; 99]);
        let login = login_to(Server { is_endless: true }, method, &prompter);
        let error = tokio::time::timeout(Duration::from_secs(20), login).await.expect("it ends").unwrap_err();
        assert!(matches!(error, JumpError::Auth(_)), "{error}");
        assert_eq!(prompter.asked.lock().unwrap().len(), questions);
    }
}

#[tokio::test]
async fn a_dismissed_question_ends_the_login() {
    let prompter = ScriptedPrompter::new(&["right"]);
    let error = login(MethodKind::KeyboardInteractive, &prompter).await.unwrap_err();
    assert!(matches!(error, JumpError::Auth(_)), "{error}");
    assert_eq!(prompter.asked.lock().unwrap().len(), 2);
}
