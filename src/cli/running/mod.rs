//! The commands `up`, `down`, `restart`, `status` and `logs`: forwards under the system's supervisor.
//!
//! What is done depends on what is there, never on what an earlier run has done: after a kill at any point, `up` or `down`
//! again mends it. A lock keeps two of them apart.

pub(super) mod args;
mod keep;
mod rows;
mod status;
mod supervision;

use std::process::ExitCode;

use crate::config::{Config, Environment, Verbosity};
use crate::forward::plan::{ForwardRequest, PlanError, PlannedForward, plan};
use crate::running::{Action, Definitions, Kept, Lock, Supervisor, Written};
use crate::session::Interrupts;

use super::report::{ExitKind, LocalError, Report, notes};
use super::runtime::{self, Context};
use super::stderr::print_note;

use self::args::{LogsArgs, NamesArgs, UpArgs};
use self::supervision::{ask, find, reach, run, user};

pub(super) use self::status::status;
pub(super) use self::supervision::SupervisorError;

/// Runs `up`.
pub(super) fn up(args: &UpArgs, config: &Config, environment: &Environment) -> ExitCode {
    runtime::finish(runtime::run(Interrupts::signals, async |_: &Context| {
        let plan = planned(&args.names, config)?;
        let supervisor = find(environment).await?;
        reach(&supervisor).await?;
        let all = plan.iter().map(|one| keep::kept(one, config, environment, &supervisor, !args.now_only));
        let all: Vec<Kept> = all.collect::<Result<_, Report>>()?;
        let _lock = lock(config).await?;
        let mut failure = None;
        for (kept, planned) in all.iter().zip(&plan) {
            match start(kept, &supervisor).await {
                Ok(()) => note(&notes::of_up(&kept.name, &planned.bind.to_string()), config),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if failure.is_none() && !args.now_only && lacks_linger(&supervisor).await {
            note(notes::LINGER, config);
        }
        failure.map_or(Ok(ExitKind::Done.into()), |error| Err(error.into()))
    }))
}

/// Plans the forwards of these names, or all.
fn planned(names: &[String], config: &Config) -> Result<Vec<PlannedForward>, PlanError> {
    let all = names.is_empty();
    plan(&ForwardRequest { words: names, local: &[], dynamic: &[], all, hold: false }, config)
}

async fn lock(config: &Config) -> Result<Lock, SupervisorError> {
    let folder = config.runtime_dir.as_ref().ok_or(SupervisorError::NoFolder)?;
    Ok(Lock::take(&folder.join("up.lock")).await?)
}

async fn start(kept: &Kept, supervisor: &Supervisor) -> Result<(), SupervisorError> {
    let definitions = Definitions::of(supervisor);
    if definitions.would_change(kept)? {
        run(&supervisor.pause(&kept.name), None).await?;
    }
    let file = definitions.write(kept)?;
    let known = ask(&supervisor.query(&kept.name)).await;
    let is_loaded = known.is_some_and(|output| supervisor.seen(&output).is_some());
    run(&supervisor.up(kept, &Written { file, is_loaded }), Some(&kept.name)).await
}

/// Returns true if systemd ends the user's services with the last login.
async fn lacks_linger(supervisor: &Supervisor) -> bool {
    match supervisor.linger(user()) {
        Some(query) => ask(&query).await.is_none_or(|answer| answer.trim() != "yes"),
        None => false,
    }
}

/// Runs `down`.
pub(super) fn down(args: &NamesArgs, config: &Config, environment: &Environment) -> ExitCode {
    runtime::finish(runtime::run(Interrupts::signals, async |_: &Context| {
        let supervisor = find(environment).await?;
        reach(&supervisor).await?;
        let _lock = lock(config).await?;
        let definitions = Definitions::of(&supervisor);
        let ours: Vec<String> = definitions.list().into_iter().map(|one| one.name).collect();
        let names = if args.names.is_empty() { &ours } else { &args.names };
        if names.is_empty() {
            note(notes::NOTHING_UP, config);
        }
        for name in names {
            if !ours.contains(name) {
                known(name, config)?;
                note(&SupervisorError::NotUp { name: name.clone() }.to_string(), config);
                continue;
            }
            run(&supervisor.stop(name), Some(name)).await?;
            definitions.remove(name).map_err(SupervisorError::from)?;
            note(&notes::of_down(name), config);
        }
        definitions.clean();
        run(&supervisor.forget(), None).await?;
        Ok(ExitKind::Done.into())
    }))
}

/// Refuses a name that the config file has not.
fn known(name: &str, config: &Config) -> Result<(), PlanError> {
    if config.forwards.contains_key(name) {
        return Ok(());
    }
    planned(&[name.to_owned()], config).map(drop)
}

/// Runs `restart`.
pub(super) fn restart(args: &NamesArgs, config: &Config, environment: &Environment) -> ExitCode {
    runtime::finish(runtime::run(Interrupts::signals, async |_: &Context| {
        let supervisor = find(environment).await?;
        reach(&supervisor).await?;
        let _lock = lock(config).await?;
        let ours = ours(&args.names, config, &supervisor)?;
        for name in &ours {
            run(&supervisor.restart(name), Some(name)).await?;
            note(&notes::of_restart(name), config);
        }
        if ours.is_empty() {
            note(notes::NOTHING_UP, config);
        }
        Ok(ExitKind::Done.into())
    }))
}

/// Returns those of these names, or all, that `up` has started.
fn ours(names: &[String], config: &Config, supervisor: &Supervisor) -> Result<Vec<String>, Report> {
    let ours: Vec<String> = Definitions::of(supervisor).list().into_iter().map(|one| one.name).collect();
    if let Some(name) = names.iter().find(|name| !ours.contains(name)) {
        known(name, config)?;
        return Err(SupervisorError::NotUp { name: name.clone() }.into());
    }
    Ok(if names.is_empty() { ours } else { names.to_vec() })
}

/// Runs `logs`: the supervisor's own command takes the place of this process.
pub(super) fn logs(args: &LogsArgs, config: &Config, environment: &Environment) -> ExitCode {
    runtime::finish(runtime::run(Interrupts::signals, async |_: &Context| {
        let supervisor = find(environment).await?;
        ours(std::slice::from_ref(&args.name), config, &supervisor)?;
        let action = supervisor.logs(&args.name, args.lines, args.follow);
        Err(become_command(&action).into())
    }))
}

#[cfg(unix)]
fn become_command(action: &Action) -> LocalError {
    use std::os::unix::process::CommandExt;

    let source = std::process::Command::new(action.program).args(&action.arguments).exec();
    LocalError::Exec { command: action.program.to_owned(), source }
}

#[cfg(not(unix))]
fn become_command(action: &Action) -> LocalError {
    let ended = std::process::Command::new(action.program).args(&action.arguments).status();
    let code = ended.as_ref().ok().and_then(std::process::ExitStatus::code);
    let source = ended.err().unwrap_or_else(|| std::io::Error::other(format!("exit status {code:?}")));
    LocalError::Exec { command: action.program.to_owned(), source }
}

fn note(text: &str, config: &Config) {
    if config.log.verbosity != Verbosity::Quiet {
        print_note(text);
    }
}
