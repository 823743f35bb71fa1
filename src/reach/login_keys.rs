//! The keys of a route: which machine gets one pushed, of which kind, and for whom.

use std::rc::Rc;

use crate::config::KeyKind;
use crate::jump::{self, HopSettings, JumpError, OwnKey, SshConnection};
use crate::keys::{HeldStream, Keeper, KeyError, KeyEvent, KeyPush, KeyTask, OnKey, PushingKey};
use crate::names::{Name, Target};
use crate::route::Machine;
use crate::session::{Fact, Notice};

use super::hop_settings::hop_settings;
use super::{ByteStream, Reach, ReachError};

/// The key for the login of ssh to the goal.
pub(super) struct GoalKey {
    task: KeyTask,
    /// The public key as a line of authorized_keys.
    line: String,
}

impl GoalKey {
    /// Pushes the key when the goal's banner comes through the stream that is returned.
    pub fn guard(
        self,
        push: impl FnOnce(String) -> KeyPush,
        stream: Box<dyn ByteStream>,
    ) -> (Box<dyn ByteStream>, PushingKey) {
        let (stream, banner) = HeldStream::new(stream);
        (Box::new(stream), self.task.push(push(self.line), banner))
    }
}

impl Reach {
    /// Makes or finds the key for the goal, if one is to be pushed to it. ssh finds the private half from now on.
    pub(super) async fn goal_key(&self) -> Result<Option<GoalKey>, ReachError> {
        let goal = &self.route.goal;
        let Some(kind) = self.route.key_of(goal) else { return Ok(None) };
        let (keeper, line) = match kind {
            KeyKind::Ephemeral => {
                let agent = self.environment.path("SSH_AUTH_SOCK");
                let file = self.route.config.key_file.as_deref();
                let (keeper, key) = Keeper::of_new_key(goal.label(), agent.as_deref(), file).await?;
                (keeper, key.public_line())
            }
            KeyKind::Push => {
                let settings = hop_settings(goal, &self.route, &self.environment).await?;
                (Keeper::User, own_line(goal, &settings).await?)
            }
        };
        Ok(Some(GoalKey { task: KeyTask::hold(keeper, &self.tasks), line }))
    }

    /// Returns the push of a key to a machine of the route. `entry` is the target of the session.
    pub(super) fn push_to(
        &self,
        number: usize,
        user: Option<String>,
        entry: &Target,
    ) -> Result<impl FnOnce(String) -> KeyPush, ReachError> {
        let machine = self.route.machine(number);
        let name = match number {
            0 => Name::Id(entry.clone()),
            // Parsed when the route was made, or an address.
            _ => machine.destination().map_err(|_| not_an_instance(machine))?.name().clone(),
        };
        let on_key = self.on_key();
        Ok(move |line| KeyPush::new(self.aws.clone(), machine.label(), user, name, line, on_key))
    }

    /// Returns what passes the events of a key on.
    fn on_key(&self) -> OnKey {
        let on_notice = self.on_notice.clone();
        Rc::new(move |event| {
            let text = str::to_owned;
            on_notice(&match event {
                KeyEvent::Pushed { instance, user } => {
                    Notice::Recorded(Fact::KeyPushed { instance: text(instance), user: text(user) })
                }
                KeyEvent::LoginRefused { machine, user } => {
                    Notice::LoginRefused { machine: text(machine), user: text(user) }
                }
            });
        })
    }

    /// Logs in to a hop, and notes how.
    pub(super) async fn log_in_to(
        &self,
        number: usize,
        entry: &Target,
        stream: impl ByteStream + 'static,
    ) -> Result<SshConnection, ReachError> {
        let hop = self.log_in_with_key(number, entry, stream).await?;
        self.logged_in.borrow_mut().push(hop.login().clone());
        Ok(hop)
    }

    /// Logs in to a hop, with a key that is pushed to it before if one is to be.
    async fn log_in_with_key(
        &self,
        number: usize,
        entry: &Target,
        stream: impl ByteStream + 'static,
    ) -> Result<SshConnection, ReachError> {
        let login = self.login(number).await?.clone();
        let mut login = self.trusting(number, login, entry).await?;
        let machine = self.route.machine(number);
        let Some(kind) = self.route.key_of(machine) else {
            return Ok(jump::connect(stream, &login, &self.prompter).await?);
        };
        let line = match kind {
            KeyKind::Ephemeral => {
                let key = OwnKey::generate().map_err(KeyError::Generate)?;
                let line = key.public_line();
                login.own_key = Some(key);
                line
            }
            KeyKind::Push => own_line(machine, &login).await?,
        };
        let push = self.push_to(number, Some(login.user.clone()), entry)?(line);
        push.send().await?;
        push.repeat_during(self.log_in_with_pushed_key(stream, &login)).await
    }

    /// A login that is refused although the key was pushed says something about the image of the machine.
    pub(super) async fn log_in_with_pushed_key(
        &self,
        stream: impl ByteStream + 'static,
        login: &HopSettings,
    ) -> Result<SshConnection, ReachError> {
        match jump::connect(stream, login, &self.prompter).await {
            Err(JumpError::Auth(failure)) => Err(KeyError::LoginRefused { failure }.into()),
            other => Ok(other?),
        }
    }
}

async fn own_line(machine: &Machine, settings: &HopSettings) -> Result<String, KeyError> {
    let (line, problems) = jump::first_public_key(settings).await;
    line.ok_or_else(|| KeyError::NoOwnKey { machine: machine.label().to_owned(), problems })
}

fn not_an_instance(machine: &Machine) -> KeyError {
    KeyError::NotAnInstance { machine: machine.label().to_owned(), id: machine.word.clone() }
}
