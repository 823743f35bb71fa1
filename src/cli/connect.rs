//! The command `connect`: standard input and output, relayed to the goal of a route.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;
use std::rc::Rc;

use crate::bastion::OnLife;
use crate::config::{Config, Environment, Verbosity};
use crate::reach::{Reach, Relayed, open_aws};
use crate::route::Route;
use crate::session::{Interrupts, Notice, OnNotice};

use super::args::ConnectArgs;
use super::life_notes::LifeNotes;
use super::prompt::prompts;
use super::reason;
use super::recording::{Recording, Way};
use super::report::{ExitKind, Report, notes};
use super::runtime::{self, Context};
use super::stderr::print_note;

/// Runs the command.
pub(super) fn connect(args: &ConnectArgs, config: &Config, environment: &Environment) -> ExitCode {
    let route = match Route::new(&args.target, args.port, config) {
        Ok(route) => route,
        Err(error) => return Report::from(error).about(&args.target).print(),
    };
    let is_visible = stderr().is_terminal() && config.log.verbosity != Verbosity::Quiet;
    let recording = Recording::start(environment, is_visible);
    let run = async |context: &Context| relay(route, environment.clone(), &recording, context).await;
    let result = runtime::run(Interrupts::listen, run);
    recording.finish();
    runtime::finish(result.map_err(|report| report.about(&args.target)))
}

async fn relay(
    mut route: Route,
    environment: Environment,
    recording: &Rc<Recording>,
    context: &Context,
) -> Result<ExitCode, Report> {
    let verbosity = route.config.log.verbosity;
    if stdin().is_terminal() && stdout().is_terminal() && verbosity != Verbosity::Quiet {
        print_note(&notes::of_connect_by_hand(&route.goal.word));
    }
    reason::require([&mut route.config].into_iter()).await?;
    let aws = Rc::new(open_aws(&route.config, prompts(&route.config))?);
    let port = route.goal.port;
    let on_notice = on_notice(verbosity, port, recording.clone(), Way::of_route(&route));
    let on_life = on_life(verbosity, recording.clone());
    let reach = Reach::new(aws, route, environment, on_notice, on_life, context.tasks.clone());
    let exit = match reach.connect().await?.relay_stdio(&context.closing).await? {
        Relayed::Finished { received: 0 } => {
            note_silence(port, verbosity);
            ExitKind::Done
        }
        Relayed::Finished { .. } => ExitKind::Done,
        Relayed::ReaderGone => ExitKind::READER_GONE,
    };
    Ok(exit.into())
}

/// Notes that the port sent nothing: an agent does not report a refused port for up to a minute.
fn note_silence(port: u16, verbosity: Verbosity) {
    let text = notes::of_silent_port(port);
    tracing::info!("{text}");
    if stderr().is_terminal() && verbosity != Verbosity::Quiet {
        print_note(&text);
    }
}

fn on_life(verbosity: Verbosity, recording: Rc<Recording>) -> OnLife {
    let notes = LifeNotes::new(verbosity);
    Rc::new(move |event| {
        recording.life(event);
        notes.show(event);
    })
}

/// Prints notes on a terminal; the log has its own lines about the same events.
fn on_notice(verbosity: Verbosity, port: u16, recording: Rc<Recording>, way: Way) -> OnNotice {
    let is_visible = stderr().is_terminal() && verbosity != Verbosity::Quiet;
    let waits = LifeNotes::new(verbosity);
    Rc::new(move |notice| {
        recording.session(&way, notice);
        if let Notice::Approval(event) = notice {
            waits.show_approval(event);
        }
        if let Some(text) = notes::of_connect(notice, port).filter(|_| is_visible) {
            print_note(&text);
        }
    })
}
