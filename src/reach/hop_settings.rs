//! How to log in to a hop: the user's ssh_config, overridden by the command line and by our config file.

use std::io::ErrorKind;
use std::path::Path;

use crate::clock;
use crate::config::{Environment, process_variable};
use crate::jump::openssh::{self, HopName, OpenSshError};
use crate::jump::{AskpassSettings, HopSettings, LocalUser};
use crate::names::split_user;
use crate::route::{Machine, Route};

use super::ReachError;

/// Asks `ssh -G` how to log in to a hop.
///
/// # Errors
/// ssh does not accept the user's ssh_config.
pub(super) async fn hop_settings(
    hop: &Machine,
    route: &Route,
    environment: &Environment,
) -> Result<HopSettings, ReachError> {
    let user = environment.text("USER").ok().flatten();
    let user = user.or(environment.text("LOGNAME").ok().flatten()).unwrap_or_default();
    let agent = environment.path("SSH_AUTH_SOCK");
    let local = LocalUser {
        home: environment.folders.home.as_deref().unwrap_or(Path::new("/")),
        user,
        agent: agent.as_deref(),
        clock: clock::wall,
        variable: &process_variable,
    };
    let port = hop.host().and_then(|host| host.port);
    let name = HopName { name: name_in_ssh_config(hop), user: hop.user.as_deref(), port };
    let mut settings = match openssh::settings(Path::new("ssh"), name, &local).await {
        Ok(settings) => settings,
        Err(OpenSshError::Run { source, .. }) if source.kind() == ErrorKind::NotFound => {
            tracing::info!(%source, "cannot run ssh, using its defaults");
            HopSettings::new(hop.user.as_deref().unwrap_or(user), name.name, hop.port, &local)
        }
        Err(error) => return Err(error.into()),
    };
    hop.label().clone_into(&mut settings.name);
    let timeout = route.config.session.connect_timeout;
    (settings.connect_timeout, settings.auth_timeout) = (timeout, timeout);
    Ok(settings)
}

/// Returns the word without user and region.
fn name_in_ssh_config(hop: &Machine) -> &str {
    if let Some((name, _)) = &hop.named_host {
        return name;
    }
    let word = split_user(&hop.word).1;
    match &hop.region {
        Some(region) => word.strip_suffix(&format!("--{region}")).unwrap_or(word),
        None => word,
    }
}

/// Returns how the user can be asked for passwords and host keys.
pub(super) fn askpass(environment: &Environment) -> AskpassSettings {
    AskpassSettings {
        program: environment.path("SSH_ASKPASS"),
        require: environment.text("SSH_ASKPASS_REQUIRE").ok().flatten().map(str::to_owned),
        has_display: environment.is_set("DISPLAY") || environment.is_set("WAYLAND_DISPLAY"),
    }
}
