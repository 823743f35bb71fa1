//! The command of `--exec`: as it was typed, or the forward's own with its placeholders.

use crate::aws::TokenFor;
use crate::clock;
use crate::config::{Config, ExecTemplate, Placeholder, RemoteEnd, TokenKind};
use crate::forward::plan::{ForwardTo, PlannedForward};
use crate::forward::registry::Registry;
use crate::reach::ReachError;

use super::super::args::ForwardArgs;
use super::super::child::ChildCommand;
use super::super::report::{Report, UsageError};
use super::reporter::Listening;

/// What is to be run.
pub(super) enum Exec {
    /// What was typed.
    Typed(String),
    /// The command of the only forward.
    Planned(Box<PlannedForward>, ExecTemplate),
}

/// Finds the command.
///
/// # Errors
/// [`UsageError::NoExec`]
pub(super) fn find(
    typed: Option<&Option<String>>,
    plan: &[PlannedForward],
) -> Result<Option<Exec>, UsageError> {
    match (typed, plan) {
        (None, _) => Ok(None),
        (Some(Some(command)), _) => Ok(Some(Exec::Typed(command.clone()))),
        (Some(None), [planned]) => {
            let template = planned.client.exec.clone().ok_or(UsageError::NoExec)?;
            Ok(Some(Exec::Planned(Box::new(planned.clone()), template)))
        }
        (Some(None), _) => Err(UsageError::NoExec),
    }
}

/// Returns an error if `--exec NAME` was typed for `NAME --exec`.
pub(super) fn before_name(args: &ForwardArgs, config: &Config) -> Option<UsageError> {
    let Some(Some(name)) = &args.exec else { return None };
    let is_name = args.words.is_empty() && !args.all && config.forwards.contains_key(name);
    is_name.then(|| UsageError::ExecBeforeName { name: name.clone() })
}

impl Exec {
    /// Returns the command with the variables of its placeholders. A token is signed now: it is valid for 15 minutes.
    ///
    /// # Errors
    /// There are no credentials to sign with.
    pub async fn command(
        self,
        registry: &Registry,
        listening: Option<&Listening>,
    ) -> Result<ChildCommand, Report> {
        let (planned, template) = match self {
            Self::Typed(command) => return Ok(ChildCommand { command, ..ChildCommand::default() }),
            Self::Planned(planned, template) => (planned, template),
        };
        let local = listening.map(|listening| listening.local.as_str()).unwrap_or_default();
        let mut variables = Vec::new();
        for placeholder in Placeholder::ALL.into_iter().filter(|one| template.uses(*one)) {
            let value = match placeholder {
                Placeholder::Token => token(&planned, registry).await?,
                Placeholder::Host => remote(&planned).0,
                Placeholder::Port => remote(&planned).1.to_string(),
                Placeholder::LocalHost => local_end(local).0,
                Placeholder::LocalPort => local_end(local).1,
                Placeholder::DbUser => planned.client.db_user.clone().unwrap_or_default(),
            };
            variables.push((placeholder.variable(), value));
        }
        Ok(ChildCommand { command: template.command(), variables })
    }
}

async fn token(planned: &PlannedForward, registry: &Registry) -> Result<String, Report> {
    let Some(TokenKind::Rds) = planned.client.token else { return Ok(String::new()) };
    let (host, port) = remote(planned);
    let user = planned.client.db_user.clone().unwrap_or_default();
    let aws = registry.aws(&planned.route.config)?;
    let access = aws.access().await.map_err(ReachError::from)?;
    let token = access.token(&TokenFor::Rds { host, port, user }, clock::wall());
    Ok(token.map_err(ReachError::from)?.reveal().to_owned())
}

/// Returns the destination's own host and port.
fn remote(planned: &PlannedForward) -> (String, u16) {
    match &planned.to {
        ForwardTo::Port(RemoteEnd { host, port }) => {
            (host.clone().unwrap_or_else(|| "localhost".to_owned()), *port)
        }
        ForwardTo::Proxy => (String::new(), 0),
    }
}

/// Splits a listener's address; a path has no port. A program cannot connect to an address that stands for all.
fn local_end(local: &str) -> (String, String) {
    let is_path = local.starts_with('/');
    let Some((host, port)) = local.rsplit_once(':').filter(|_| !is_path) else {
        return (local.to_owned(), String::new());
    };
    let host = match host.trim_matches(['[', ']']) {
        "0.0.0.0" | "*" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    (host.to_owned(), port.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_a_host_and_a_port_or_a_path() {
        for (local, host, port) in [
            ("127.0.0.1:13306", "127.0.0.1", "13306"),
            ("[::1]:1", "::1", "1"),
            ("*:2", "127.0.0.1", "2"),
            ("[::]:2", "::1", "2"),
            ("/run/a:b.sock", "/run/a:b.sock", ""),
        ] {
            assert_eq!(local_end(local), (host.to_owned(), port.to_owned()), "{local}");
        }
    }
}
