//! What a supervisor is given of this run: the program, the flags and the variables that a forward of the config file needs.

use std::path::{Path, PathBuf, absolute};

use crate::config::{Config, Environment, Key, PROXY_VARIABLES, process_variable};
use crate::forward::plan::PlannedForward;
use crate::reach::{ReachError, open_aws};
use crate::running::{Kept, Supervisor, carried};

use super::super::own_path::own_path;
use super::super::prompt::prompts;
use super::super::report::{LocalError, Report};
use super::supervision::SupervisorError;

/// Returns what the supervisor is to run for a planned forward.
///
/// # Errors
/// It would not work without this shell, or a file cannot hold it.
pub(super) fn kept(
    planned: &PlannedForward,
    config: &Config,
    environment: &Environment,
    supervisor: &Supervisor,
    autostart: bool,
) -> Result<Kept, Report> {
    let name = planned.name.clone().unwrap_or_default();
    refuse_what_is_not_kept(&name, &planned.route.config)?;
    let program = own_path(environment).map_err(LocalError::OwnPath)?;
    Ok(Kept {
        program: text(&program)?,
        arguments: arguments(&name, config, supervisor)?,
        environment: variables()?,
        user: ["USERDOMAIN", "USERNAME"].map(|name| process_variable(name).unwrap_or_default()).join("\\"),
        log: text(&supervisor.log(&name))?,
        autostart,
        name,
    })
}

/// A supervisor has neither the keys of this shell nor a terminal to ask for a reason.
fn refuse_what_is_not_kept(name: &str, config: &Config) -> Result<(), Report> {
    if config.lacks_reason() {
        return Err(ReachError::NoReason.into());
    }
    if open_aws(config, prompts(config))?.has_environment_keys() {
        return Err(SupervisorError::Keys { name: name.to_owned() }.into());
    }
    Ok(())
}

fn arguments(name: &str, config: &Config, supervisor: &Supervisor) -> Result<Vec<String>, SupervisorError> {
    let mut words = ["forward", "--supervisor", supervisor.name()].map(str::to_owned).to_vec();
    if let Some(file) = &config.file {
        words.extend(["--config".to_owned(), text(&whole(file))?]);
    }
    for (flag, value) in config.given_flags() {
        if flag == "--endpoint-url" && value.contains('@') {
            return Err(SupervisorError::SecretFlag);
        }
        let is_path = flag == format!("--{}", Key::LogFile.row().flag());
        words.extend([flag, if is_path { text(&whole(Path::new(&value)))? } else { value }]);
    }
    words.extend(config.via.iter().flat_map(|hop| ["--via".to_owned(), hop.clone()]));
    let start = config.start_by_flag.map(|start| if start { "--start" } else { "--no-start" });
    words.extend(start.map(str::to_owned));
    words.extend(config.ephemeral_key.then(|| "--ephemeral-key".to_owned()));
    if let Some(file) = &config.key_file {
        words.extend(["--key-file".to_owned(), text(&whole(file))?]);
    }
    words.push(name.to_owned());
    Ok(words)
}

/// Returns the variables of this shell that a forward needs; the config file is named by flag.
fn variables() -> Result<Vec<(String, String)>, SupervisorError> {
    let settings = Key::ALL.iter().flat_map(|key| key.row().variables).copied();
    let own = settings.filter(|name| name.starts_with("FUMIDAI_"));
    let absolute = |path: &str| whole(Path::new(path)).display().to_string();
    Ok(carried(own.chain(PROXY_VARIABLES), process_variable, absolute)?)
}

fn whole(file: &Path) -> PathBuf {
    absolute(file).unwrap_or_else(|_| file.to_owned())
}

fn text(path: &Path) -> Result<String, SupervisorError> {
    path.to_str().map(str::to_owned).ok_or_else(|| SupervisorError::Path(path.to_owned()))
}
