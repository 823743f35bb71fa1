//! The command `connect`: standard input and output, relayed to the goal of a route.

use std::io::{self, ErrorKind, IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use crate::config::{Config, Environment, Verbosity};
use crate::reach::{ByteStream, Reach, open_aws};
use crate::route::Route;
use crate::session::{self, Interrupt, Interrupts, Notice, OnNotice, Policy, RelayEnd, Stdio};

use super::args::ConnectArgs;
use super::prompt::ask_code;
use super::report::{ExitKind, Report};
use super::runtime::{self, Context, exit_of};
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
    let linger = route.config.session.linger;
    let aws = Rc::new(open_aws(&route.config, ask_code())?);
    let notes = notes(verbosity, route.goal.port);
    let reach = Reach::new(aws, route, environment, notes, context.tasks.clone());
    let (stream, path) = reach.connect().await?.into_parts();
    let relayed = relay_stdio(stream, path.linger(linger), path.delivered()).await;
    let closed = path.close(matches!(relayed, Ok(None))).await;
    match (relayed, closed) {
        (Ok(Some(interrupt)), _) => Ok(exit_of(interrupt)),
        (Err(report), _) => Err(report),
        (Ok(None), Err(error)) => Err(error.into()),
        (Ok(None), Ok(())) => Ok(ExitKind::Done.into()),
    }
}

/// Relays until the stream has ended, or standard output has no reader.
async fn relay_stdio(
    stream: Box<dyn ByteStream>,
    linger: Option<Duration>,
    delivered: impl Future<Output = ()>,
) -> Result<Option<Interrupt>, Report> {
    let failed = |what: &str, error| Report::new(ExitKind::Failure, format!("{what}: {error}"));
    let stdio = Stdio::open().map_err(|error| failed("standard input or output", error))?;
    let policy = Policy {
        linger,
        delivered: Box::pin(delivered),
        farewell: Duration::ZERO,
        needs_reader: true,
        meter: &|_, _| {},
    };
    match session::relay(stdio, stream, policy).await {
        RelayEnd::Finished | RelayEnd::Remote(_) => Ok(None),
        RelayEnd::LocalRead(error) => Err(failed("standard input", error)),
        RelayEnd::LocalWrite(error) if is_reader_gone(&error) => Ok(Some(Interrupt::ReaderGone)),
        RelayEnd::LocalWrite(error) => Err(failed("standard output", error)),
    }
}

fn is_reader_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// Prints notes on a terminal; the log has its own lines about the same events.
fn notes(verbosity: Verbosity, port: u16) -> OnNotice {
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
