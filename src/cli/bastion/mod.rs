//! The command `bastion`: what a user does with bastions by hand.

mod setup;
mod status;

use std::process::ExitCode;
use std::rc::Rc;

use crate::aws::{Access, Aws};
use crate::bastion::{self, Bastion, BastionStatus, OnLife};
use crate::config::{Config, Environment, Verbosity};
use crate::names::Target;
use crate::reach::{ReachError, find_machine, open_aws};
use crate::route::{Route, Wish};
use crate::session::Interrupts;

use super::args::{BastionCommand, ExtendArgs, OneBastion, StopArgs};
use super::life_notes::LifeNotes;
use super::prompt::prompts;
use super::recording::Recording;
use super::report::{ExitKind, Report};
use super::runtime::{self, Context};
use super::stderr::print_note;
use super::stdout;

/// Runs one of the commands.
pub(super) fn run(command: &BastionCommand, config: &Config, environment: &Environment) -> ExitCode {
    let recording = Recording::start(environment, config.log.verbosity != Verbosity::Quiet);
    let result = runtime::run(Interrupts::signals, async |_: &Context| match command {
        BastionCommand::Setup(args) => setup::setup(args, config, &recording).await,
        BastionCommand::Teardown(args) => setup::teardown(args, config, &recording).await,
        BastionCommand::Start(args) => start(args, config, &recording).await,
        BastionCommand::Stop(args) => stop(args, config, &recording).await,
        BastionCommand::Extend(args) => extend(args, config, &recording).await,
        BastionCommand::Status(args) => status::status(args, config, &recording).await,
    });
    recording.finish();
    runtime::finish(result)
}

/// One bastion, and the way to AWS.
struct Subject {
    bastion: Bastion,
    access: Access,
    /// `None` is a task that does not run.
    target: Option<Target>,
}

impl Subject {
    /// Finds the machine that a word means. A command by hand starts it, whatever the config file says.
    async fn find(word: &str, config: &Config, recording: &Rc<Recording>) -> Result<Self, Report> {
        let route = Route::new(word, None, config)?;
        let aws = Rc::new(open_aws(&route.config, prompts(config))?);
        let access = aws.access().await.map_err(ReachError::from)?;
        let target = find_machine(&aws, &access, &route).await?;
        let bastion = Bastion::new(aws, &route, on_life(config.log.verbosity, recording.clone()));
        Ok(Self { bastion, access, target })
    }

    fn wish(&self) -> &Wish {
        self.bastion.wish()
    }

    async fn status(&self) -> Result<BastionStatus, Report> {
        let status = bastion::inspect(&self.access, self.wish(), self.target.as_ref()).await;
        Ok(status.map_err(ReachError::from)?)
    }
}

fn on_life(verbosity: Verbosity, recording: Rc<Recording>) -> OnLife {
    let notes = LifeNotes::new(verbosity);
    Rc::new(move |event| {
        recording.life(event);
        notes.show(event);
    })
}

/// Opens AWS without a machine.
async fn open(config: &Config) -> Result<(Aws, Access), Report> {
    let aws = open_aws(config, prompts(config))?;
    let access = aws.access().await.map_err(ReachError::from)?;
    Ok((aws, access))
}

async fn start(args: &OneBastion, config: &Config, recording: &Rc<Recording>) -> Result<ExitCode, Report> {
    let subject = Subject::find(&args.name, config, recording).await?;
    let host = &subject.wish().host;
    if args.dry_run {
        return Ok(stdout::print(&status::plan_of_start(&subject.status().await?, subject.wish())));
    }
    let was_down = subject.bastion.start(subject.target.as_ref()).await.map_err(ReachError::from)?;
    let state = if was_down { "is up" } else { "was up already" };
    let end = match status::end_of(&subject.status().await?) {
        Some(end) => format!("; it is stopped at {end} at the latest"),
        None => "; no life of the guardian watches it".to_owned(),
    };
    Ok(stdout::print(&format!("{host} {state}{end}\n")))
}

async fn stop(args: &StopArgs, config: &Config, recording: &Rc<Recording>) -> Result<ExitCode, Report> {
    let subject = Subject::find(&args.bastion.name, config, recording).await?;
    let (host, status) = (&subject.wish().host, subject.status().await?);
    if status.is_stopped() {
        return Ok(stdout::print(&format!("{host} is stopped already\n")));
    }
    if args.bastion.dry_run {
        return Ok(stdout::print(&status::plan_of_stop(&status, subject.wish())));
    }
    let stopped = subject.bastion.stop(&subject.access, &status, args.force).await;
    stopped.map_err(ReachError::from)?;
    Ok(stdout::print(&format!("{host} is being stopped\n")))
}

async fn extend(args: &ExtendArgs, config: &Config, recording: &Rc<Recording>) -> Result<ExitCode, Report> {
    let subject = Subject::find(&args.bastion.name, config, recording).await?;
    let (host, status) = (&subject.wish().host, subject.status().await?);
    if args.bastion.dry_run {
        let end = subject.bastion.end_to_extend(&status).map_err(ReachError::from)?;
        return Ok(stdout::print(&status::plan_of_extension(host, end, args.time)));
    }
    let end = subject.bastion.extend(&subject.access, &status, args.time).await;
    let end = status::time(end.map_err(ReachError::from)?);
    Ok(stdout::print(&format!("{host} is stopped at {end} at the latest\n")))
}

/// Notes what could not be asked.
fn note_unknown(unknown: &[String], verbosity: Verbosity) {
    if verbosity != Verbosity::Quiet {
        unknown.iter().for_each(|text| print_note(&format!("unknown: {text}")));
    }
}

/// Returns the exit code of a check.
fn exit_of(is_good: bool) -> ExitCode {
    if is_good { ExitKind::Done.into() } else { ExitKind::Failure.into() }
}
