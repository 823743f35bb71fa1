//! How each hop is logged in to: the environment, the user's ssh_config and our own config file, as [`HopSettings`].

use std::io::ErrorKind;
use std::path::Path;

use crate::config::{Config, Environment};
use crate::jump::openssh::{self, HopName, OpenSshError};
use crate::jump::{AskpassSettings, HopSettings, Local};

use super::aim::Place;
use super::report::{ExitKind, Report};

/// How to log in to a hop, in the user's own ssh_config; what was typed and our own config file go before it.
pub(super) async fn login(
    place: &mut Place,
    config: &Config,
    environment: &Environment,
) -> Result<HopSettings, Report> {
    let variable = |name: &str| crate::config::process_variable(name);
    let user = environment.text("USER").ok().flatten();
    let user = user.or(environment.text("LOGNAME").ok().flatten()).unwrap_or_default();
    let agent = environment.path("SSH_AUTH_SOCK");
    let local = Local {
        home: environment.folders.home.as_deref().unwrap_or(Path::new("/")),
        user,
        agent: agent.as_deref(),
        clock: crate::clock::wall,
        variable: &variable,
    };
    let port = place.table().and_then(|host| host.port);
    let name = HopName { name: bare(place), user: place.user.as_deref(), port };
    let mut settings = match openssh::settings(Path::new("ssh"), name, &local).await {
        Ok(settings) => settings,
        Err(OpenSshError::Run { source, .. }) if source.kind() == ErrorKind::NotFound => {
            tracing::info!(%source, "there is no ssh to ask, its defaults are taken");
            HopSettings::new(place.user.as_deref().unwrap_or(user), bare(place), place.port, &local)
        }
        Err(error) => return Err(Report::new(ExitKind::Configuration, error.to_string())),
    };
    place.label().clone_into(&mut settings.name);
    place.port = settings.port;
    let timeout = config.session.connect_timeout;
    (settings.connect_timeout, settings.auth_timeout) = (timeout, timeout);
    Ok(settings)
}

/// The word without user and region, as ssh_config knows it.
fn bare(place: &Place) -> &str {
    if let Some((name, _)) = &place.host {
        return name;
    }
    let word = place.word.rsplit_once('@').map_or(place.word.as_str(), |(_, name)| name);
    match &place.region {
        Some(region) => word.strip_suffix(&format!("--{region}")).unwrap_or(word),
        None => word,
    }
}

/// How a human may be asked.
pub(super) fn askpass(environment: &Environment) -> AskpassSettings {
    AskpassSettings {
        program: environment.path("SSH_ASKPASS"),
        require: environment.text("SSH_ASKPASS_REQUIRE").ok().flatten().map(str::to_owned),
        has_display: environment.is_set("DISPLAY") || environment.is_set("WAYLAND_DISPLAY"),
    }
}
