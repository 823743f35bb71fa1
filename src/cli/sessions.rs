//! The command `sessions`: the caller's sessions that have not ended, which process has each, and the end of those that none has.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::audit::{Fate, Row, rows};
use crate::aws::{Access, ActiveSession, Meaning};
use crate::clock;
use crate::config::{Config, Environment, Verbosity};
use crate::escape::{escape, escape_json};
use crate::reach::{ReachError, open_aws};
use crate::session::Interrupts;

use super::columns::{cell, columns};
use super::duration::words;
use super::prompt::prompts;
use super::recording::store;
use super::report::{ExitKind, LocalError, Report, UsageError, notes};
use super::runtime::{self, Context};
use super::stderr::print_note;
use super::stdout;

const HEADER: [&str; 6] = ["SESSION", "TARGET", "AGE", "PROCESS", "DOCUMENT", "REASON"];

/// The arguments of `sessions`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SessionsArgs {
    #[command(subcommand)]
    command: Option<SessionsCommand>,
    #[command(flatten)]
    list: ListSessionsArgs,
}

impl SessionsArgs {
    /// Returns whether the output is for programs.
    pub(super) fn is_json(&self) -> bool {
        match &self.command {
            None => self.list.json,
            Some(SessionsCommand::List(args)) => args.json,
            Some(SessionsCommand::End(_)) => false,
        }
    }
}

/// The commands of `sessions`.
#[derive(Subcommand)]
enum SessionsCommand {
    /// List the sessions of the caller that have not ended; the default
    List(ListSessionsArgs),
    /// End sessions
    End(EndArgs),
}

/// The arguments of `sessions list`.
#[derive(Args, Clone, Copy)]
struct ListSessionsArgs {
    /// Print one JSON array with all that is known
    #[arg(long)]
    json: bool,
}

/// The arguments of `sessions end`.
#[derive(Args)]
struct EndArgs {
    /// The sessions' ids
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// End the sessions whose process on this machine is gone
    #[arg(long, conflicts_with = "ids")]
    leaked: bool,
}

/// Runs the command.
pub(super) fn run(args: &SessionsArgs, config: &Config, environment: &Environment) -> ExitCode {
    runtime::finish(runtime::run(Interrupts::signals, async |_: &Context| match &args.command {
        None => list(args.list, config, environment).await,
        Some(SessionsCommand::List(list_args)) => list(*list_args, config, environment).await,
        Some(SessionsCommand::End(end_args)) => end(end_args, config, environment).await,
    }))
}

/// Who has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
enum Holder {
    /// A process of this machine.
    Held {
        /// Its number.
        pid: u32,
    },
    /// The process of this machine that started it is gone.
    Leaked,
    /// Another machine, container or program started it, or it is not known which.
    Elsewhere,
}

/// A session as it is listed.
#[derive(Clone, Debug, Serialize)]
struct Listed {
    session: String,
    target: String,
    document: String,
    reason: Option<String>,
    started: i64,
    seconds: u64,
    #[serde(flatten)]
    holder: Holder,
}

async fn list(
    args: ListSessionsArgs,
    config: &Config,
    environment: &Environment,
) -> Result<ExitCode, Report> {
    let access = open(config).await?;
    let sessions = listed(&access, environment).await?;
    if args.json {
        let json = serde_json::to_string_pretty(&sessions).expect("rows have text keys only");
        return Ok(stdout::print(&(escape_json(&json) + "\n")));
    }
    if sessions.is_empty() {
        note(&notes::of_no_sessions(access.region()), config);
        return Ok(ExitKind::Done.into());
    }
    Ok(stdout::print(&table(&sessions)))
}

async fn end(args: &EndArgs, config: &Config, environment: &Environment) -> Result<ExitCode, Report> {
    if args.ids.is_empty() && !args.leaked {
        return Err(UsageError::NoSession.into());
    }
    let access = open(config).await?;
    let leaked = if args.leaked { leaked(&access, environment).await? } else { Vec::new() };
    if args.leaked && leaked.is_empty() {
        note(&notes::of_no_leaked_sessions(access.region()), config);
    }
    let (mut exit, mut failure) = (ExitKind::Done.into(), None);
    for id in leaked.iter().chain(&args.ids) {
        let ended =
            if args.leaked { end_known(&access, id).await } else { look_up_and_end(&access, id).await };
        match ended {
            Ok(text) => exit = stdout::print(&format!("{}\n", escape(&text))),
            Err(report) => failure = failure.or(Some(report)),
        }
    }
    failure.map_or(Ok(exit), Err)
}

/// Ends a session that the service knows; its answer to an unknown id is the same.
async fn end_known(access: &Access, id: &str) -> Result<String, Report> {
    access.terminate_session(id).await.map_err(ReachError::from)?;
    Ok(notes::of_ended_session(id))
}

async fn look_up_and_end(access: &Access, id: &str) -> Result<String, Report> {
    match access.is_active_session(id).await {
        Ok(true) => end_known(access, id).await,
        Ok(false) => {
            let (id, region) = (id.to_owned(), access.region().to_owned());
            Err(LocalError::NoSession { id, region }.into())
        }
        Err(error) if error.meaning() == Meaning::AccessDenied => {
            access.terminate_session(id).await.map_err(ReachError::from)?;
            Ok(notes::of_asked_to_end(id))
        }
        Err(error) => Err(ReachError::from(error).into()),
    }
}

fn note(text: &str, config: &Config) {
    if config.log.verbosity != Verbosity::Quiet {
        print_note(text);
    }
}

async fn open(config: &Config) -> Result<Access, Report> {
    let aws = open_aws(config, prompts(config))?;
    Ok(aws.access().await.map_err(ReachError::from)?)
}

async fn leaked(access: &Access, environment: &Environment) -> Result<Vec<String>, Report> {
    let sessions = listed(access, environment).await?.into_iter();
    Ok(sessions.filter(|one| one.holder == Holder::Leaked).map(|one| one.session).collect())
}

/// Asks the service for the caller's sessions, and the record for their processes.
async fn listed(access: &Access, environment: &Environment) -> Result<Vec<Listed>, Report> {
    let caller = access.caller().await.map_err(ReachError::from)?;
    let sessions = access.own_sessions(&caller).await.map_err(ReachError::from)?;
    let recorded = recorded(environment)?;
    let now = clock::wall();
    Ok(sessions.into_iter().map(|session| Listed::new(session, &recorded, now)).collect())
}

/// Returns the rows of the record by session.
fn recorded(environment: &Environment) -> Result<BTreeMap<String, Row>, Report> {
    let Some(store) = store(environment) else { return Ok(BTreeMap::new()) };
    let contents = store.read().map_err(LocalError::Record)?;
    let rows = rows(contents.entries()).into_iter();
    Ok(rows.filter_map(|row| Some((row.start.session.clone()?, row))).collect())
}

impl Listed {
    fn new(session: ActiveSession, recorded: &BTreeMap<String, Row>, now: SystemTime) -> Self {
        let started = Duration::from_secs(session.started.try_into().unwrap_or_default());
        let age = now.duration_since(SystemTime::UNIX_EPOCH + started).unwrap_or_default();
        let holder = match recorded.get(&session.id).map(|row| (row.fate(), row.start.pid)) {
            Some((Fate::Living, pid)) => Holder::Held { pid },
            Some((Fate::Gone, _)) => Holder::Leaked,
            Some((Fate::Elsewhere, _)) | None => Holder::Elsewhere,
        };
        Self {
            session: session.id,
            target: session.target,
            document: session.document,
            reason: session.reason,
            started: session.started,
            seconds: age.as_secs(),
            holder,
        }
    }

    fn cells(&self) -> Vec<String> {
        let holder = match self.holder {
            Holder::Held { pid } => pid.to_string(),
            Holder::Leaked => "leaked".to_owned(),
            Holder::Elsewhere => "elsewhere".to_owned(),
        };
        let age = words(Duration::from_secs(self.seconds));
        let reason = self.reason.clone().unwrap_or_default();
        let cells = [self.session.clone(), self.target.clone(), age, holder, self.document.clone(), reason];
        cells.iter().map(|text| cell(text)).collect()
    }
}

fn table(sessions: &[Listed]) -> String {
    let mut lines = vec![HEADER.map(str::to_owned).to_vec()];
    lines.extend(sessions.iter().map(Listed::cells));
    columns(&lines)
}
