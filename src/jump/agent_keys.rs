//! What keys that are pushed need of the user's ssh-agent: it holds one for a time, and it has the user's own.

use std::path::Path;
use std::time::Duration;

use russh::keys::Algorithm;
use tokio::time::timeout;

use super::agent::{AgentError, Public, SshAgent};
use super::candidate::gather;
use super::error::KeyProblem;
use super::own_key::{COMMENT, OwnKey, line_of};
use super::settings::HopSettings;

/// Time limit for an answer of the agent: it runs on this machine.
const AGENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Gives a key to an agent, which removes it by itself after `lifetime`.
///
/// # Errors
/// [`KeyProblem::Agent`]
pub async fn add_to_agent(key: &OwnKey, socket: &Path, lifetime: Duration) -> Result<(), KeyProblem> {
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    let add = async { SshAgent::connect(socket).await?.add(key.pair(), COMMENT, seconds).await };
    in_time(socket, add).await
}

/// Removes a key from an agent.
///
/// # Errors
/// [`KeyProblem::Agent`]
pub async fn remove_from_agent(key: &OwnKey, socket: &Path) -> Result<(), KeyProblem> {
    in_time(socket, async { SshAgent::connect(socket).await?.remove(&key.blob()).await }).await
}

/// Returns the first of the user's keys that a login offers and that EC2 Instance Connect takes, as a line of
/// authorized_keys. The second value is what is wrong with keys that cannot be used.
pub async fn first_public_key(settings: &HopSettings) -> (Option<String>, Vec<KeyProblem>) {
    let mut problems = Vec::new();
    let keys = match &settings.agent {
        Some(socket) => {
            let list = async { SshAgent::connect(socket).await?.keys().await };
            // Without an agent, the files are left.
            in_time(socket, list).await.unwrap_or_default()
        }
        None => Vec::new(),
    };
    let candidates = gather(settings, keys, &mut problems);
    let line = candidates.iter().find_map(|candidate| match &candidate.public {
        Public::Key(key) if is_taken(&key.algorithm()) => Some(line_of(key)),
        Public::Key(_) | Public::Certificate(_) => None,
    });
    (line, problems)
}

/// EC2 Instance Connect takes RSA and ed25519 keys; it refuses keys on hardware tokens.
fn is_taken(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Ed25519) || algorithm.clone().is_rsa()
}

async fn in_time<T>(
    socket: &Path,
    request: impl Future<Output = Result<T, AgentError>>,
) -> Result<T, KeyProblem> {
    let answer = timeout(AGENT_TIMEOUT, request).await.unwrap_or(Err(AgentError::Timeout));
    answer.map_err(|error| KeyProblem::Agent { socket: socket.to_owned(), reason: error.to_string() })
}
