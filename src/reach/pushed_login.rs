//! A login to the goal with a key that is pushed and thrown away, as `doctor` tries it.

use crate::jump::{HopSettings, Methods, OwnKey, StrictHostKeys};
use crate::keys::KeyError;

use super::hop_settings::hop_settings;
use super::{Reach, ReachError};

impl Reach {
    /// Pushes a new key to the goal, logs in with that key alone, and disconnects. It asks nothing, and keeps no host key.
    /// Returns the user.
    ///
    /// # Errors
    /// [`ReachError::Key`] if the key is not taken, or the login is refused although it was.
    pub async fn try_pushed_login(&self) -> Result<String, ReachError> {
        let goal = self.route.hops.len();
        let settings = hop_settings(&self.route.goal, &self.route, &self.environment).await?;
        let key = OwnKey::generate().map_err(KeyError::Generate)?;
        let line = key.public_line();
        let login = with_key_alone(settings, key);
        let user = login.user.clone();
        let (connection, entry) = self.connect_without_key().await?;
        let push = self.push_to(goal, Some(user.clone()), &entry)?(line);
        let log_in = async |stream| {
            let login = self.trusting(goal, login, &entry).await?;
            push.send().await?;
            self.log_in_with_pushed_key(stream, &login).await
        };
        connection.log_in(log_in).await?;
        Ok(user)
    }
}

fn with_key_alone(settings: HopSettings, key: OwnKey) -> HopSettings {
    HopSettings {
        own_key: Some(key),
        identity_files: Vec::new(),
        certificate_files: Vec::new(),
        agent: None,
        methods: Methods { public_key: true, keyboard_interactive: false, password: false },
        batch_mode: true,
        strict: StrictHostKeys::Yes,
        ..settings
    }
}
