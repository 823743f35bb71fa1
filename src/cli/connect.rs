//! The command `connect`: standard input and output, relayed to the goal of a route.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;
use std::rc::Rc;

use crate::config::{Config, Environment, Verbosity};
use crate::reach::{Reach, Relayed, open_aws};
use crate::route::Route;
use crate::session::{Interrupts, Notice, OnNotice};

use super::args::ConnectArgs;
use super::prompt::ask_code;
use super::report::{ExitKind, Report};
use super::runtime::{self, Context};
use super::stderr::print_note;

/// Runs the command.
pub(super) fn connect(args: &ConnectArgs, config: &Config, environment: &Environment) -> ExitCode {
    let route = match Route::new(&args.target, args.port, config) {
        Ok(route) => route,
        Err(error) => return Report::from(error).print(),
    };
    if let Err(error) = route.refuse_unsupported() {
        return Report::from(error).print();
    }
    let run = async |context: &Context| relay(route, environment.clone(), context).await;
    runtime::finish(runtime::run(Interrupts::listen, run))
}

async fn relay(route: Route, environment: Environment, context: &Context) -> Result<ExitCode, Report> {
    let verbosity = route.config.log.verbosity;
    if stdin().is_terminal() && stdout().is_terminal() && verbosity != Verbosity::Quiet {
        print_note(&format!("`connect` carries bytes for ssh; to log in, run `ssh {}`", route.goal.word));
    }
    let aws = Rc::new(open_aws(&route.config, ask_code()).await?);
    let on_notice = on_notice(verbosity, route.goal.port);
    let reach = Reach::new(aws, route, environment, on_notice, context.tasks.clone());
    let exit = match reach.connect().await?.relay_stdio(&context.closing).await? {
        Relayed::Finished => ExitKind::Done,
        Relayed::ReaderGone => ExitKind::READER_GONE,
    };
    Ok(exit.into())
}

/// Prints notes on a terminal; the log has its own lines about the same events.
fn on_notice(verbosity: Verbosity, port: u16) -> OnNotice {
    let is_visible = stderr().is_terminal() && verbosity != Verbosity::Quiet;
    Rc::new(move |note| {
        if is_visible {
            print_note(&note_text(note, port));
        }
    })
}

fn note_text(note: &Notice, port: u16) -> String {
    match note {
        Notice::FirstInputUnanswered => {
            format!("no answer from port {port} yet: it may not be listening")
        }
        Notice::CustomerMessage(_) | Notice::Retrying(_) | Notice::Interrupted(_) | Notice::Resumed(_) => {
            link_text(note).unwrap_or_default()
        }
    }
}

/// Returns the note about the link of a session, in the words of `connect` and `forward`.
pub(super) fn link_text(note: &Notice) -> Option<String> {
    match note {
        Notice::CustomerMessage(text) => Some(text.clone()),
        Notice::FirstInputUnanswered => None,
        Notice::Retrying(cause) => Some(format!("{cause}; trying again")),
        Notice::Interrupted(cause) => Some(format!("link lost ({cause}), resuming")),
        Notice::Resumed(after) => {
            Some(format!("reconnected after {} s, nothing lost", after.as_secs_f64().ceil()))
        }
    }
}
