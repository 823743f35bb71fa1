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

/// Called with the instance and the user after each push.
pub type OnPushed = Rc<dyn Fn(&str, &str)>;

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
    on_pushed: OnPushed,
}

impl KeyPush {
    /// Pushes nothing yet. `machine` is how the user names the instance.
    pub fn new(
        aws: Rc<Aws>,
        machine: &str,
        user: Option<String>,
        name: Name,
        line: String,
        on_pushed: OnPushed,
    ) -> Self {
        Self { aws, machine: machine.to_owned(), user, name, line, instance: OnceCell::new(), on_pushed }
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
                (self.on_pushed)(instance, user);
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
