//! `require_reason`: the reason of a session is asked for before anything is done.

use crate::config::{Config, Key, Raw, Settings};
use crate::jump::terminal::{self, Echo};
use crate::reach::ReachError;

use super::report::Report;
use super::stderr::print_note;

/// Asks once for the reason that these sessions need and do not have.
///
/// # Errors
/// [`ReachError::NoReason`] if there is no terminal, or no answer.
pub(super) async fn require(configs: impl Iterator<Item = &mut Config>) -> Result<(), Report> {
    let lacking: Vec<&mut Config> = configs.filter(|config| config.lacks_reason()).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let reason = ask().await?;
    for config in lacking {
        config.session.reason = Some(reason.clone());
    }
    Ok(())
}

async fn ask() -> Result<String, ReachError> {
    loop {
        let answer = terminal::ask("Reason for this session: ", Echo::Shown).await;
        let answer = answer.map_err(|_| ReachError::NoReason)?.reveal().trim().to_owned();
        match Settings::of(Key::Reason, Raw::String(&answer)) {
            Ok(settings) => return settings.reason.ok_or(ReachError::NoReason),
            Err(_) if answer.is_empty() => return Err(ReachError::NoReason),
            Err(error) => print_note(&format!("the reason {error}")),
        }
    }
}
