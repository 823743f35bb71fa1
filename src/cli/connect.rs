//! The command `connect`: stdin and stdout joined to a port of the target.

use std::collections::HashMap;
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use crate::aws::SessionRequest;
use crate::clock;
use crate::config::{Config, Verbosity};
use crate::names::Destination;
use crate::names::route::SSH_DOCUMENT;
use crate::session::{self, Interrupt, Notice, OnNotice, Outcome};

use super::locate::locate;
use super::report::{ExitKind, Report, SessionName};
use super::way::{open_aws, session_settings};

/// ssh is gone when our input ends; what its server still says is said by then.
const LINGER: Duration = Duration::from_secs(1);

/// Runs the command.
pub(super) fn connect(config: Config, destination: &Destination, port: u16) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Report::new(ExitKind::Failure, format!("cannot start: {error}")).print(),
    };
    let result = runtime.block_on(run(&config, destination, port));
    // A thread may sit in a read of the terminal for ever.
    runtime.shutdown_background();
    match result {
        Ok(outcome) => exit_of(outcome),
        Err(report) => report.print(),
    }
}

/// What a run that did not fail exits with.
pub(super) fn exit_of(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::Done => ExitKind::Done.into(),
        Outcome::Interrupted(Interrupt::Signal(number)) => ExitKind::Signal(number).into(),
        Outcome::Interrupted(Interrupt::ReaderGone) => ExitKind::READER_GONE.into(),
    }
}

async fn run(config: &Config, destination: &Destination, port: u16) -> Result<Outcome, Report> {
    let began = clock::now();
    let aws = Rc::new(open_aws(config).await?);
    let settings = session_settings(config, began, LINGER);
    let target = locate(&aws, config, destination, settings.connect_timeout).await?;
    let request = SessionRequest {
        target: target.id().to_owned(),
        document: config.session.document.clone().unwrap_or_else(|| SSH_DOCUMENT.to_owned()),
        parameters: HashMap::from([("portNumber".to_owned(), vec![port.to_string()])]),
        reason: config.session.reason.clone(),
    };
    let notes = notes(config.log.verbosity, port);
    if stdin().is_terminal() && stdout().is_terminal() && config.log.verbosity != Verbosity::Quiet {
        super::stderr::print_note(&format!("this carries bytes for ssh; to log in: ssh {destination}"));
    }
    let ended = session::connect(aws, &request, settings, notes).await;
    let name = SessionName { target: Some(&target), place: &destination.to_string(), port, forward: false };
    ended.map_err(|failure| Report::of_session(&failure, &name))
}

/// Notes go to a terminal that nobody has silenced; the log has its own words for them.
pub(super) fn notes(verbosity: Verbosity, port: u16) -> OnNotice {
    let visible = stderr().is_terminal() && verbosity != Verbosity::Quiet;
    Rc::new(move |note| {
        if visible {
            super::stderr::print_note(&note_text(note, port));
        }
    })
}

fn note_text(note: &Notice, port: u16) -> String {
    match note {
        Notice::CustomerMessage(text) => text.clone(),
        Notice::FirstInputUnanswered => format!("no answer from port {port} yet: it may not be listening"),
        Notice::Retrying(cause) => format!("{cause}; trying again"),
        Notice::Interrupted(cause) => format!("link lost ({cause}), resuming"),
        Notice::Resumed(after) => format!("reconnected after {} s, nothing lost", after.as_secs_f64().ceil()),
    }
}
