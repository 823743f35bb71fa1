//! Pushes a public key to a user of an instance, again and again while a login may run.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{OnceCell, oneshot};
use tokio::time::sleep;

use crate::aws::{Access, Aws};
use crate::names::lookup;
use crate::names::{Name, TargetKind};

use super::error::KeyError;

/// A pushed key is valid for 60 s; a login that is slower finds the next push.
const REPEAT: Duration = Duration::from_secs(50);
/// The last push is after this many repeats: sshd's default `LoginGraceTime` is 120 s.
const REPEATS: u32 = 3;
/// The time that the last push is valid for, half of it: a login that begins later is not waited for.
const REST: Duration = Duration::from_secs(30);

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvent<'a> {
    /// It was pushed to a user of an instance.
    Pushed {
        /// The instance.
        instance: &'a str,
        /// The user.
        user: &'a str,
    },
    /// It was pushed, and the server seems to have refused the login of ssh.
    LoginRefused {
        /// The machine, as the user names it.
        machine: &'a str,
        /// The user.
        user: &'a str,
    },
}

/// Called with each event.
pub type OnKey = Rc<dyn Fn(KeyEvent<'_>)>;

/// A public key, and whom it is for.
pub struct KeyPush {
    aws: Rc<Aws>,
    machine: String,
    user: Option<String>,
    /// The instance, as it can be looked up.
    name: Name,
    /// The public key as a line of authorized_keys.
    line: String,
    instance: OnceCell<String>,
    on_key: OnKey,
}

impl KeyPush {
    /// Pushes nothing yet. `machine` is how the user names the instance.
    pub fn new(
        aws: Rc<Aws>,
        machine: &str,
        user: Option<String>,
        name: Name,
        line: String,
        on_key: OnKey,
    ) -> Self {
        Self { aws, machine: machine.to_owned(), user, name, line, instance: OnceCell::new(), on_key }
    }

    /// Pushes the key once.
    ///
    /// # Errors
    /// [`KeyError`]
    pub async fn send(&self) -> Result<(), KeyError> {
        let user = self.user.as_ref().ok_or_else(|| KeyError::NoUser { machine: self.machine.clone() })?;
        let access = self.aws.access().await?;
        let instance = self.instance.get_or_try_init(|| self.find(&access)).await?;
        match access.send_ssh_public_key(instance, user, &self.line).await {
            Ok(()) => {
                tracing::info!(instance, user, "the public key is pushed");
                (self.on_key)(KeyEvent::Pushed { instance, user });
                Ok(())
            }
            Err(error) => Err(KeyError::Push {
                error: Box::new(error),
                machine: self.machine.clone(),
                user: user.clone(),
                instance: instance.clone(),
            }),
        }
    }

    /// Says that the login seems to have been refused.
    pub(super) fn login_refused(&self) {
        if let Some(user) = &self.user {
            tracing::info!(
                machine = self.machine,
                user,
                "a key was pushed, and the login of ssh looks refused: the user may not exist, or the image may lack EC2 Instance \
                 Connect (AuthorizedKeysCommand); `fumidai doctor` finds out"
            );
            (self.on_key)(KeyEvent::LoginRefused { machine: &self.machine, user });
        }
    }

    /// Pushes the key now that the banner has come, and then as long as a login may run.
    ///
    /// # Errors
    /// Those of the first push; a later one may be superfluous, and its error is logged.
    pub(super) async fn push_for_login(&self, pushed: oneshot::Sender<()>) -> Result<(), KeyError> {
        self.send().await?;
        // The stream may have ended.
        let _ = pushed.send(());
        self.repeat(REPEATS).await;
        sleep(REST).await;
        Ok(())
    }

    /// Pushes the key again until `login` is done.
    pub async fn repeat_during<T>(&self, login: impl Future<Output = T>) -> T {
        tokio::select! {
            done = login => done,
            () = self.repeat(u32::MAX) => unreachable!("a login ends in less than 6000 years"),
        }
    }

    async fn repeat(&self, times: u32) {
        for _ in 0..times {
            sleep(REPEAT).await;
            if let Err(error) = self.send().await {
                tracing::warn!(%error, "the key was not pushed again");
            }
        }
    }

    async fn find(&self, access: &Access) -> Result<String, KeyError> {
        let found = lookup::find(access, &self.name).await;
        let region = || access.region().to_owned();
        let target = found.map_err(|error| KeyError::Lookup { error, region: region() })?;
        if target.kind() == TargetKind::Instance {
            return Ok(target.id().to_owned());
        }
        Err(KeyError::NotAnInstance { machine: self.machine.clone(), id: target.id().to_owned() })
    }
}
