//! The command `status`: asks every forward that runs, and the supervisor about the others.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;

use crate::clock;
use crate::config::{Config, Environment};
use crate::escape::{cut, escape, escape_json};
use crate::running::{self, Definitions, ListeningOn, Supervisor};
use crate::session::Interrupts;

use super::super::columns::columns;
use super::super::duration::words;
use super::super::report::{ExitKind, Report, notes};
use super::super::runtime::{self, Context};
use super::super::stdout;
use super::args::RunningArgs;
use super::rows::{Row, Up, rows};
use super::supervision::{ask, find};
use super::{known, note};

const HEADER: [&str; 11] =
    ["NAME", "STATE", "STARTED", "LOCAL", "REMOTE", "SESSIONS", "OPEN", "TOTAL", "SENT", "RECEIVED", "SINCE"];
/// A longer text makes a table unreadable.
const WIDEST: usize = 60;

/// Runs the command.
pub(in crate::cli) fn status(args: &RunningArgs, config: &Config, environment: &Environment) -> ExitCode {
    runtime::finish(runtime::run(Interrupts::signals, async |_: &Context| {
        let all = learn(config, environment).await;
        let rows = wanted(all, &args.names, config)?;
        if args.json {
            let json = serde_json::to_string_pretty(&rows).expect("rows have text keys only");
            return Ok(stdout::print(&(escape_json(&json) + "\n")));
        }
        if rows.is_empty() {
            note(notes::NOTHING_UP, config);
            return Ok(ExitKind::Done.into());
        }
        Ok(stdout::print(&table(&rows)))
    }))
}

async fn learn(config: &Config, environment: &Environment) -> Vec<Row> {
    let supervisor = find(environment).await.ok();
    let folders = folders(config, environment);
    let up = async {
        match &supervisor {
            Some(supervisor) => up(supervisor).await,
            None => Vec::new(),
        }
    };
    let (asked, up) = tokio::join!(running::ask(&folders), up);
    let configured: Vec<String> = config.forwards.keys().cloned().collect();
    rows(asked, &up, &configured)
}

/// A supervisor may know another runtime folder than this shell, which then uses the cache folder.
fn folders(config: &Config, environment: &Environment) -> Vec<PathBuf> {
    let cache = environment.folders.cache.as_ref().map(|cache| cache.join("fumidai"));
    let mut folders: Vec<PathBuf> = config.runtime_dir.iter().cloned().chain(cache).collect();
    folders.dedup();
    folders.iter().map(|folder| folder.join(running::FOLDER)).collect()
}

async fn up(supervisor: &Supervisor) -> Vec<Up> {
    let all = Definitions::of(supervisor).list().into_iter().map(|one| async move {
        let answer = ask(&supervisor.query(&one.name)).await;
        let seen = answer.and_then(|answer| supervisor.seen(&answer));
        Up { name: one.name, supervisor: supervisor.name(), autostart: one.autostart, seen }
    });
    join_all(all).await
}

fn wanted(rows: Vec<Row>, names: &[String], config: &Config) -> Result<Vec<Row>, Report> {
    for name in names {
        if !rows.iter().any(|row| row.names.contains(name)) {
            known(name, config)?;
        }
    }
    let is_wanted = |row: &Row| names.is_empty() || row.names.iter().any(|name| names.contains(name));
    Ok(rows.into_iter().filter(is_wanted).collect())
}

/// Lays out the rows; the last error of a forward stands below its line.
fn table(rows: &[Row]) -> String {
    let now = clock::wall();
    let lines = rows.iter().map(|row| cells(row, now));
    let lines: Vec<Vec<String>> = [HEADER.map(str::to_owned).to_vec()].into_iter().chain(lines).collect();
    let text = columns(&lines);
    let mut lines = text.lines();
    let mut shown = format!("{}\n", lines.next().unwrap_or_default());
    for (line, row) in lines.zip(rows) {
        shown += &format!("{line}\n{}", error(row, now));
    }
    shown
}

fn error(row: &Row, now: SystemTime) -> String {
    let Some(error) = &row.last_error else { return String::new() };
    let ago = error.at.map(|at| format!(" ({} ago)", age(at, now))).unwrap_or_default();
    format!("    last error{ago}: {} (exit {})\n", escape(&error.cause).trim(), error.exit)
}

fn cells(row: &Row, now: SystemTime) -> Vec<String> {
    let name = if row.names.is_empty() { "-".to_owned() } else { row.names.join(",") };
    let started = match (&row.supervisor, row.autostart) {
        (Some(_), true) => "at login",
        (Some(_), false) => "once",
        (None, _) if row.pid.is_some() => "by hand",
        (None, _) => "-",
    };
    let runs = |text: String| if row.since.is_some() { text } else { "-".to_owned() };
    let cells = [
        name,
        row.state.word().to_owned(),
        started.to_owned(),
        places(&row.listeners, |one| &one.local),
        places(&row.listeners, |one| &one.remote),
        runs(row.sessions.to_string()),
        runs(row.connections.open.to_string()),
        runs(row.connections.total.to_string()),
        runs(amount(row.bytes.sent)),
        runs(amount(row.bytes.received)),
        row.since.map_or_else(|| "-".to_owned(), |since| age(since, now)),
    ];
    cells.iter().map(|cell| cut(&escape(cell), WIDEST).into_owned()).collect()
}

fn places(listeners: &[ListeningOn], place: impl Fn(&ListeningOn) -> &String) -> String {
    let places: Vec<&str> = listeners.iter().map(|one| place(one).as_str()).collect();
    if places.is_empty() { "-".to_owned() } else { places.join(",") }
}

fn age(then: u64, now: SystemTime) -> String {
    // A time that does not exist, from a process that is not ours, is now.
    let then = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(then)).unwrap_or(now);
    words(now.duration_since(then).unwrap_or_default())
}

fn amount(bytes: u64) -> String {
    match bytes {
        small if small < 1000 => format!("{small} B"),
        medium if medium < 1_000_000 => format!("{:.1} kB", medium as f64 / 1e3),
        large => format!("{:.1} MB", large as f64 / 1e6),
    }
}
