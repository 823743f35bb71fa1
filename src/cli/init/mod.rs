//! The command `init`: the first five minutes. What flags do not answer is asked on the terminal; the answers become lines of
//! the config file, and an Include of ssh's own.

mod additions;
pub(super) mod args;
mod questions;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::{
    Config, ConfigError, Environment, Flags, Settings, Source, check_text, default_file, has_table,
};
use crate::escape::escape;
use crate::names::{Destination, ListedMachine};
use crate::reach;
use crate::session::Interrupts;
use crate::whole_file;

use super::args::DoctorArgs;
use super::completers::REGIONS;
use super::prompt::prompts;
use super::report::{ExitKind, LocalError, Report, UsageError, notes};
use super::runtime::{self, Context};
use super::ssh_config::{self, SshConfigAction};
use super::stderr::print_note;
use super::{doctor, stdout};

use self::additions::{Present, Wanted, WantedForward, addition, joined, name_of, usual_local, usual_name};
use self::args::InitArgs;
use self::questions::{can_ask, confirm, pick, text, unasked};

/// Runs the command.
pub(super) fn init(args: &InitArgs, config: Config, environment: &Environment) -> ExitCode {
    let file = config.file.clone().or_else(|| named_file(&config, environment));
    let Some(file) = file else { return Report::from(LocalError::NoHome).print() };
    let mut outcome = None;
    let result = runtime::run(Interrupts::signals, async |_: &Context| {
        let answers = answer(args, config.clone()).await?;
        let is_new = write(&file, &answers.wanted, &config)?;
        outcome = Some((answers, is_new));
        Ok(ExitKind::Done.into())
    });
    let Some((answers, is_new)) = outcome else { return runtime::finish(result) };
    finish(&file, &answers, is_new, &config, environment)
}

/// Returns the file to make if there is none.
fn named_file(config: &Config, environment: &Environment) -> Option<PathBuf> {
    let named = config.file_by_flag.clone().or_else(|| environment.path("FUMIDAI_CONFIG"));
    named.or_else(|| default_file(environment))
}

/// What the user wants, by flags or by answers.
struct Answers {
    wanted: Wanted,
    installs: bool,
    /// Questions were asked, so that one more may be.
    is_asked: bool,
}

async fn answer(args: &InitArgs, config: Config) -> Result<Answers, Report> {
    let is_asked = can_ask();
    let config = place(config, is_asked).await?;
    let machine = machine(args, &config, is_asked).await?;
    let known = config.hosts.values().find(|host| host.target.as_ref() == Some(&machine.target));
    let usual = known.map(|host| host.name.clone());
    let usual = usual.unwrap_or_else(|| name_of(machine.name.as_deref().unwrap_or(&machine.target)));
    let name = match &args.name {
        Some(name) => name.clone(),
        None if is_asked => text("Name for `ssh NAME`", Some(usual), args::name).await?,
        None => usual,
    };
    let user = match &args.user {
        None if known.is_some_and(|host| host.name == name) => None,
        None if is_asked => some_user(&machine).await?,
        given => given.clone(),
    };
    let wanted = Wanted {
        defaults: defaults(&config),
        forward: forward(args, is_asked).await?,
        host: name,
        target: machine.target,
        user,
    };
    let installs = match args.installs() {
        None if is_asked => confirm("Have ssh use fumidai (an Include in ~/.ssh/config)?", true).await?,
        given => given.unwrap_or(false),
    };
    Ok(Answers { wanted, installs, is_asked })
}

/// Asks for the profile and the region, where nothing says them.
async fn place(mut config: Config, is_asked: bool) -> Result<Config, Report> {
    let profiles = reach::profile_names(&config);
    if is_asked && config.aws.profile.is_none() && profiles.len() > 1 {
        let place = pick("AWS profile", profiles.clone()).await?;
        let profile = profiles.get(place).cloned();
        config = config.with_flags(Settings { profile, ..Settings::default() });
    }
    if reach::open_aws(&config, prompts(&config))?.region().await.is_some() || !is_asked {
        return Ok(config);
    }
    let regions = REGIONS.map(str::to_owned).to_vec();
    let region = REGIONS.get(pick("AWS region", regions).await?).map(|region| (*region).to_owned());
    Ok(config.with_flags(Settings { region, ..Settings::default() }))
}

/// Returns the settings that flags, variables and answers gave: the config file has to give them from now on.
fn defaults(config: &Config) -> Vec<(&'static str, String)> {
    let settings = config.resolved(Settings::default()).into_iter();
    let is_given = |source: &Source| matches!(source, Source::Flag | Source::Variable(_));
    let kept = settings.filter(|one| ["profile", "region"].contains(&one.name) && is_given(&one.source));
    kept.filter_map(|one| Some((one.name, one.value?))).collect()
}

/// A machine that was picked, or only a target.
#[derive(Default)]
struct Picked {
    target: String,
    name: Option<String>,
    platform: Option<String>,
}

async fn machine(args: &InitArgs, config: &Config, is_asked: bool) -> Result<Picked, Report> {
    if let Some(target) = &args.target {
        let target = a_target(target).map_err(Report::from)?;
        return Ok(Picked { target, ..Picked::default() });
    }
    if !is_asked {
        return Err(unasked("--target").into());
    }
    let mut machines = listed(config).await;
    if machines.is_empty() {
        let target = text("Target (an id, a Name tag, an address)", None, a_target).await?;
        return Ok(Picked { target, ..Picked::default() });
    }
    let place = pick("Machine", machines.iter().map(line).collect()).await?;
    let ListedMachine { id, name, platform, .. } = machines.swap_remove(place);
    Ok(Picked { target: id, name, platform })
}

fn a_target(word: &str) -> Result<String, crate::names::TargetError> {
    word.parse::<Destination>().map(|_| word.to_owned())
}

/// Lists what can be reached; a failure is a note, since a target can be typed.
async fn listed(config: &Config) -> Vec<ListedMachine> {
    match reach::list(config, prompts(config), true).await {
        Ok(listing) => {
            if listing.machines.is_empty() {
                print_note(&notes::of_empty_list(0, &listing.region));
            }
            listing.machines
        }
        Err(error) => {
            print_note(Report::from(error).cause());
            Vec::new()
        }
    }
}

fn line(machine: &ListedMachine) -> String {
    let ListedMachine { id, name, address, ping, state, .. } = machine;
    let cells = [Some(id), name.as_ref(), address.as_ref(), state.as_ref(), ping.as_ref()];
    let cells: Vec<_> = cells.into_iter().flatten().map(|cell| escape(cell)).collect();
    cells.join("  ")
}

/// Asks for the user of ssh; an empty answer leaves it to ssh.
async fn some_user(machine: &Picked) -> Result<Option<String>, Report> {
    let accept = |word: &str| if word.is_empty() { Ok(None) } else { args::user(word).map(Some) };
    let usual = match machine.platform.as_deref().unwrap_or_default() {
        platform if platform.starts_with("Ubuntu") => "ubuntu",
        platform if platform.starts_with("Debian") => "admin",
        _ => "ec2-user",
    };
    text("User there", Some(usual.to_owned()), accept).await
}

async fn forward(args: &InitArgs, is_asked: bool) -> Result<Option<WantedForward>, Report> {
    let accept = |word: &str| if word.is_empty() { Ok(None) } else { args::database(word).map(Some) };
    let remote = match &args.database {
        None if is_asked => {
            let question = "Private database behind it, HOST:PORT (empty for none)";
            text(question, Some(String::new()), accept).await?
        }
        given => given.clone(),
    };
    let Some(remote) = remote else { return Ok(None) };
    let local = match &args.local {
        None if is_asked => {
            let usual = additions::local_text(&usual_local(&remote));
            text("Local port for it", Some(usual), args::local).await?
        }
        given => given.clone().unwrap_or_else(|| usual_local(&remote)),
    };
    let name = match &args.forward_name {
        None if is_asked => text("Name of the forward", Some(usual_name(&remote)), args::name).await?,
        given => given.clone().unwrap_or_else(|| usual_name(&remote)),
    };
    Ok(Some(WantedForward { name, local, remote }))
}

/// Adds what is missing to the config file; returns whether something was.
fn write(file: &Path, wanted: &Wanted, config: &Config) -> Result<bool, Report> {
    // The user may keep the file elsewhere: the link stays.
    let file = &match file.canonicalize() {
        Ok(real) => real,
        Err(source) if file.is_symlink() => {
            return Err(LocalError::ConfigWrite { file: file.to_owned(), source }.into());
        }
        Err(_) => file.to_owned(),
    };
    let before = match fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(ConfigError::Unreadable { file: file.to_owned(), source }.into()),
    };
    let present = Present {
        has_defaults: before.as_deref().is_some_and(|text| has_table(text, "defaults")),
        host: config.hosts.get(&wanted.host),
        forward: wanted.forward.as_ref().and_then(|forward| config.forwards.get(&forward.name)),
    };
    let added = addition(wanted, &present)
        .map_err(|taken| UsageError::Taken { table: taken.table, name: taken.name })?;
    if added.is_empty() {
        return Ok(false);
    }
    let text = joined(before.as_deref(), &added);
    check_text(file, &text)?;
    make_folder(file)?;
    whole_file::replace(file, text.as_bytes())
        .map_err(|source| LocalError::ConfigWrite { file: file.to_owned(), source })?;
    Ok(true)
}

fn make_folder(file: &Path) -> Result<(), Report> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let made = builder.recursive(true).create(folder);
    made.map_err(|source| LocalError::ConfigWrite { file: file.to_owned(), source }.into())
}

/// Says what was done, installs the Include, prints the commands to try.
fn finish(
    file: &Path,
    answers: &Answers,
    is_new: bool,
    config: &Config,
    environment: &Environment,
) -> ExitCode {
    let Answers { wanted, installs, is_asked } = answers;
    print_note(&if is_new { notes::of_written(file) } else { notes::of_nothing_to_add(file) });
    if *installs {
        let flags = Flags { config_file: config.file_by_flag.clone(), ..Flags::default() };
        let whole = Config::resolve(flags, environment).map_err(Report::from);
        let installed =
            whole.map(|config| ssh_config::run(SshConfigAction::Install, false, config, environment));
        match installed {
            Ok(code) if code == ExitCode::from(ExitKind::Done) => {}
            Ok(code) => return code,
            Err(report) => return report.print(),
        }
    }
    let exit = stdout::print(&next(wanted, *installs));
    if *is_asked { offer_doctor(&wanted.host, config, environment, exit) } else { exit }
}

/// Returns the commands to try.
fn next(wanted: &Wanted, installs: bool) -> String {
    let host = &wanted.host;
    let first = if installs { format!("ssh {host}") } else { "fumidai ssh-config --install".to_owned() };
    let last = match &wanted.forward {
        Some(forward) => format!("fumidai up {}", forward.name),
        None => "fumidai list".to_owned(),
    };
    format!("Try:\n  {first}\n  {last}\n  fumidai doctor {host}\n")
}

/// Offers to look at the way to the new host.
fn offer_doctor(host: &str, config: &Config, environment: &Environment, exit: ExitCode) -> ExitCode {
    let mut wants = false;
    let asked = runtime::run(Interrupts::signals, async |_: &Context| {
        wants = confirm("Run `fumidai doctor` for it now?", true).await?;
        Ok(exit)
    });
    if !wants {
        return asked.unwrap_or(exit);
    }
    let flags = Flags { config_file: config.file_by_flag.clone(), ..Flags::default() };
    match Config::resolve(flags, environment) {
        Ok(config) => doctor::doctor(&DoctorArgs::of_target(host), &config, environment),
        Err(error) => Report::from(error).print(),
    }
}
