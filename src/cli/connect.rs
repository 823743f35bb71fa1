//! The command `connect`: standard input and output, relayed to the goal of a route.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::process::ExitCode;
use std::rc::Rc;

use crate::config::{Config, Environment, Verbosity};
use crate::reach::{Reach, Relayed, open_aws};
use crate::route::Route;
use crate::session::{Interrupts, Notice, OnNotice, SHORT_PAUSE};

use super::args::ConnectArgs;
use super::prompt::ask_code;
use super::report::{ExitKind, Report, credentials_hint};
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
    let aws = Rc::new(open_aws(&route.config, ask_code())?);
    let port = route.goal.port;
    let on_notice = on_notice(verbosity, port);
    let reach = Reach::new(aws, route, environment, on_notice, context.tasks.clone());
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
    let text = format!("port {port} has not sent a byte: it may not be listening");
    tracing::info!("{text}");
    if stderr().is_terminal() && verbosity != Verbosity::Quiet {
        print_note(&text);
    }
}

/// Prints notes on a terminal; the log has its own lines about the same events.
fn on_notice(verbosity: Verbosity, port: u16) -> OnNotice {
    let is_visible = stderr().is_terminal() && verbosity != Verbosity::Quiet;
    Rc::new(move |note| {
        let unanswered = format!("no answer from port {port} yet: it may not be listening");
        let text = if *note == Notice::FirstInputUnanswered { Some(unanswered) } else { link_text(note) };
        if let Some(text) = text.filter(|_| is_visible) {
            print_note(&text);
        }
    })
}

/// Returns the note about the link of a session, in the words of `connect` and `forward`.
pub(super) fn link_text(note: &Notice) -> Option<String> {
    match note {
        Notice::CustomerMessage(text) => Some(text.clone()),
        Notice::FirstInputUnanswered => None,
        Notice::Retrying(cause) => Some(format!("{cause}; trying again")),
        Notice::Interrupted(cause) => Some(format!("link lost ({cause}), resuming")),
        Notice::CredentialsEnded { error, left } => {
            let (minutes, hint) = (left.as_secs().div_ceil(60), credentials_hint(error));
            Some(format!("link lost, and {error}: {hint}; resuming is tried for another {minutes} min"))
        }
        Notice::Resumed(after) if *after < SHORT_PAUSE => None,
        Notice::Resumed(after) => {
            Some(format!("reconnected after {} s, nothing lost", after.as_secs_f64().ceil()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aws::ApiError;

    #[test]
    fn only_a_pause_that_a_user_notices_is_told() {
        assert_eq!(link_text(&Notice::Resumed(Duration::from_secs(2))), None);
        let told = link_text(&Notice::Resumed(Duration::from_millis(3200)));
        assert_eq!(told.as_deref(), Some("reconnected after 4 s, nothing lost"));
    }

    #[test]
    fn ended_credentials_name_the_command_and_the_time_that_is_left() {
        let error = ApiError::NoLogin {
            profile: "prod".into(),
            kind: crate::aws::source::LoginKind::Sso,
            cause: "the token has expired".into(),
        };
        let text = link_text(&Notice::CredentialsEnded { error, left: Duration::from_secs(830) });
        assert_eq!(
            text.as_deref(),
            Some(
                "link lost, and no usable AWS credentials: the token has expired: run `aws sso login --profile prod`; \
                 resuming is tried for another 14 min"
            )
        );
    }
}
