//! Where ssh finds the private half of a key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::jump::{OwnKey, add_to_agent, remove_from_agent};

use super::error::KeyError;
use super::key_file::KeyFile;

/// The agent removes the key after this time even if this process is killed. It counts from the banner: the last push is
/// 150 s later, and a login takes less than the rest.
const LIFETIME: Duration = Duration::from_secs(180);

/// The holder of a private half.
pub enum Keeper {
    /// The user's ssh-agent.
    Agent {
        /// The key.
        key: OwnKey,
        /// The agent's socket.
        socket: PathBuf,
    },
    /// A file that ssh has as `IdentityFile`.
    File(KeyFile),
    /// The user: the key is the user's own.
    User,
}

impl Keeper {
    /// Makes a key, and gives it to the file if there is one, else to the agent. A key that is already in the file is used.
    ///
    /// # Errors
    /// [`KeyError`]
    pub async fn of_new_key(
        machine: &str,
        agent: Option<&Path>,
        file: Option<&Path>,
    ) -> Result<(Self, OwnKey), KeyError> {
        match (file, agent) {
            (Some(file), _) => {
                let taken = KeyFile::take(file);
                let failed = |source| KeyError::File { file: file.to_owned(), source };
                taken.map(|(file, key)| (Self::File(file), key)).map_err(failed)
            }
            (None, Some(socket)) => {
                let key = OwnKey::generate().map_err(KeyError::Generate)?;
                add_to_agent(&key, socket, LIFETIME).await.map_err(KeyError::Agent)?;
                Ok((Self::Agent { key: key.clone(), socket: socket.to_owned() }, key))
            }
            (None, None) => Err(KeyError::NoKeeper { machine: machine.to_owned() }),
        }
    }

    /// Begins the lifetime anew, since the banner may have come late: a machine may have been started first. A file has its
    /// key for as long as it is held.
    pub(super) async fn renew(&self) {
        let Self::Agent { key, socket } = self else { return };
        // Without it, the login may still succeed: the key may be there.
        if let Err(problem) = add_to_agent(key, socket, LIFETIME).await {
            tracing::warn!(%problem, "the key's lifetime in the ssh-agent does not begin anew");
        }
    }

    /// Takes the key away.
    pub async fn release(self) {
        match self {
            Self::Agent { key, socket } => {
                if let Err(problem) = remove_from_agent(&key, &socket).await {
                    tracing::info!(%problem, "the ssh-agent removes the key at the end of its lifetime");
                }
            }
            Self::File(file) => drop(file),
            Self::User => {}
        }
    }
}
