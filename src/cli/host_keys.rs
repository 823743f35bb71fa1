//! The command `host-keys`: lines of known_hosts from an authenticated source, as ssh's `KnownHostsCommand` prints them.
//!
//! Standard output gets all lines or nothing: ssh takes what is printed for complete.

use std::process::ExitCode;
use std::rc::Rc;

use crate::bastion::OnLife;
use crate::config::ssh_config::host_key_alias;
use crate::config::{Config, Environment};
use crate::jump;
use crate::names::split_region;
use crate::reach::{HostKeyQuery, Reach, open_aws};
use crate::route::{Machine, Route};
use crate::session::Interrupts;

use super::args::HostKeysArgs;
use super::life_notes::LifeNotes;
use super::prompt::prompts;
use super::recording::{Recording, Way};
use super::report::Report;
use super::runtime::{self, Context};
use super::stdout;

/// Runs the command.
pub(super) fn host_keys(args: &HostKeysArgs, config: &Config, environment: &Environment) -> ExitCode {
    // Standard error is ssh's: a record that cannot be written is in the log only.
    let recording = Recording::start(environment, false);
    let result = runtime::run(Interrupts::signals, async |context: &Context| {
        let mut lines = String::new();
        for word in words(args, config) {
            lines.push_str(&lines_of(&word, args, config, environment, &recording, context).await?);
        }
        Ok(stdout::print(&lines))
    });
    recording.finish();
    runtime::finish(result)
}

/// Returns the target, else each host of the config file that names a source.
fn words(args: &HostKeysArgs, config: &Config) -> Vec<String> {
    let hosts = || config.hosts.iter().filter(|(_, host)| host.host_keys.is_some());
    match &args.target {
        Some(target) => vec![target.clone()],
        None => hosts().map(|(name, _)| name.clone()).collect(),
    }
}

async fn lines_of(
    word: &str,
    args: &HostKeysArgs,
    config: &Config,
    environment: &Environment,
    recording: &Rc<Recording>,
    context: &Context,
) -> Result<String, Report> {
    let route = Route::new(word, args.port, config)?;
    let name = args.name.clone().unwrap_or_else(|| known_as(&route.goal));
    let query = HostKeyQuery {
        source: args.source.clone(),
        renew: args.renew,
        name: name.clone(),
        offered: args.offered.as_deref().and_then(jump::key_of_base64),
    };
    let reach = open(route, environment, recording, context)?;
    Ok(reach.host_keys(&query).await?.known_hosts(&name))
}

fn open(
    route: Route,
    environment: &Environment,
    recording: &Rc<Recording>,
    context: &Context,
) -> Result<Reach, Report> {
    let aws = Rc::new(open_aws(&route.config, prompts(&route.config))?);
    let (notes, lives) = (LifeNotes::new(route.config.log.verbosity), recording.clone());
    let on_life: OnLife = Rc::new(move |event| {
        lives.life(event);
        notes.show(event);
    });
    let on_notice = recording.on_notice(Some(Way::of_route(&route)));
    Ok(Reach::new(aws, route, environment.clone(), on_notice, on_life, context.tasks.clone()))
}

/// Returns the name in known_hosts: the `HostKeyAlias` of `ssh-config`, else the target as ssh writes it.
fn known_as(machine: &Machine) -> String {
    if let Some((name, host)) = &machine.named_host {
        return host_key_alias(name, host).to_ascii_lowercase();
    }
    let word = machine.word.rsplit_once('@').map_or(machine.word.as_str(), |(_, rest)| rest);
    let name = split_region(word).0.to_ascii_lowercase();
    if machine.port == 22 { name } else { format!("[{name}]:{}", machine.port) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    #[test]
    fn the_name_is_the_one_that_ssh_looks_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.toml");
        let text = "[hosts.Web]\ntarget = 'i-0123--eu-west-1'\nport = 2222\n[hosts.App]\ntarget = 'tag:a=b'";
        std::fs::write(&file, text).expect("a file");
        let flags = Flags { config_file: Some(file), ..Flags::default() };
        let config = Config::resolve(flags, &Environment::default()).expect(text);
        for (word, port, name) in [
            ("Web", None, "i-0123"),
            ("me@App", None, "app"),
            ("me@i-0123--eu-west-1", None, "i-0123"),
            ("i-0123", Some(2222), "[i-0123]:2222"),
        ] {
            let machine = Machine::new(word, port, &config).expect(word);
            assert_eq!(known_as(&machine), name, "{word}");
        }
    }
}
