//! The command `audit`: the record as a table, as JSON, as a page, and whether it was touched.

pub(super) mod args;

use std::fs;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::audit::{Contents, Entry, Page, Row, Store, TRAIL_EVENTS, merge, rows, verdict, verify};
use crate::clock;
use crate::config::{Config, Environment, Verbosity};
use crate::escape::escape_json;
use crate::reach::{ReachError, open_aws};
use crate::session::Interrupts;

use super::columns::{cell, columns};
use super::prompt::prompts;
use super::recording::store;
use super::report::{ExitKind, LocalError, Report, notes};
use super::runtime::{self, Context};
use super::stderr::print_note;
use super::stdout;

use self::args::{AuditCommand, ReportArgs, Selection, ShowArgs, VerifyArgs};

const HEADER: [&str; 10] =
    ["STARTED", "PERSON", "EVENT", "TARGET", "TO", "TOOK", "SENT", "RECEIVED", "RESUMES", "END"];
/// Further columns with `--cloudtrail`.
const TRAIL_HEADER: [&str; 2] = ["FROM", "CALLER"];
const REASON: &str = "REASON";

/// Runs one of the commands.
pub(super) fn run(command: &AuditCommand, config: &Config, environment: &Environment) -> ExitCode {
    runtime::finish(runtime::run(Interrupts::signals, async |_: &Context| {
        let store = store(environment).ok_or(LocalError::NoState)?;
        match command {
            AuditCommand::Show(args) => show(args, &store, config).await,
            AuditCommand::Verify(args) => check(args, &store),
            AuditCommand::Report(args) => report(args, &store, config).await,
        }
    }))
}

async fn show(args: &ShowArgs, store: &Store, config: &Config) -> Result<ExitCode, Report> {
    let contents = read(store)?;
    let selected = select(&contents, &args.selection, config).await?;
    if selected.is_empty() && config.log.verbosity != Verbosity::Quiet {
        print_note(&notes::of_empty_record(&store.file()));
    }
    if args.json {
        let json = serde_json::to_string_pretty(&selected).expect("rows have text keys only");
        return Ok(stdout::print(&(escape_json(&json) + "\n")));
    }
    if selected.is_empty() {
        return Ok(ExitKind::Done.into());
    }
    Ok(stdout::print(&table(&selected, args.selection.cloudtrail)))
}

fn check(args: &VerifyArgs, store: &Store) -> Result<ExitCode, Report> {
    let contents = read(store)?;
    let verified = verify(&contents);
    if !args.json && verified.is_ok() && contents.files.is_empty() {
        return Ok(stdout::print(&format!("{}\n", notes::of_no_record(&store.file()))));
    }
    let text = verdict(&verified);
    if args.json {
        let touched = verified.as_ref().err();
        let file = touched.map(|touched| touched.file.display().to_string());
        let line = touched.map(|touched| touched.line);
        let json = json!({ "intact": verified.is_ok(), "verdict": text, "file": file, "line": line });
        let printed = stdout::print(&format!("{}\n", escape_json(&json.to_string())));
        return verified.map(|_| printed).map_err(Report::from);
    }
    match verified {
        Ok(_) => Ok(stdout::print(&format!("{text}\n"))),
        Err(touched) => Err(Report::from(touched)),
    }
}

async fn report(args: &ReportArgs, store: &Store, config: &Config) -> Result<ExitCode, Report> {
    let contents = read(store)?;
    let rows = select(&contents, &args.selection, config).await?;
    let about = about(&args.selection);
    let page = Page { rows: &rows, verified: &verify(&contents), now: clock::wall(), about: &about };
    let failed = |source| LocalError::Page { file: args.html.clone(), source };
    fs::write(&args.html, page.html()).map_err(failed)?;
    Ok(ExitKind::Done.into())
}

/// Returns what a reader who was not there has to know about the rows.
fn about(selection: &Selection) -> Vec<String> {
    let mut lines = vec![if selection.cloudtrail {
        "sessions of this user's record, and the calls of all users that CloudTrail has of this region"
            .to_owned()
    } else {
        "sessions of this user's record on this machine".to_owned()
    }];
    lines.extend(selection.filters.iter().map(|filter| format!("only rows with `{filter}`")));
    if selection.failed {
        lines.push("only failures".to_owned());
    }
    lines
}

fn read(store: &Store) -> Result<Contents, Report> {
    Ok(store.read().map_err(LocalError::Record)?)
}

async fn select(contents: &Contents, selection: &Selection, config: &Config) -> Result<Vec<Row>, Report> {
    let since = selection.since.map(|since| since.time(clock::wall()));
    let mut all = rows(contents.entries());
    if selection.cloudtrail {
        all = with_trail(all, since, config).await?;
    }
    let wanted: Vec<String> = selection.filters.iter().map(|filter| filter.to_lowercase()).collect();
    let passes = |row: &Row| {
        let is_recent = since.is_none_or(|since| row.began().is_some_and(|began| began >= since));
        let text = text_of(row);
        is_recent
            && (!selection.failed || row.is_failure())
            && wanted.iter().all(|filter| text.contains(filter))
    };
    Ok(all.into_iter().filter(passes).collect())
}

/// Returns what a filter looks at.
fn text_of(row: &Row) -> String {
    let Entry { session, word, approval, .. } = &row.start;
    let others = [session, word, approval].into_iter().flatten().cloned();
    cells(row, true).into_iter().chain(others).collect::<Vec<_>>().join("\n").to_lowercase()
}

async fn with_trail(rows: Vec<Row>, since: Option<SystemTime>, config: &Config) -> Result<Vec<Row>, Report> {
    let aws = open_aws(config, prompts(config))?;
    let access = aws.access().await.map_err(ReachError::from)?;
    let since = since.map(|since| since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let since = since.and_then(|since| since.try_into().ok());
    let mut events = Vec::new();
    for (name, _) in TRAIL_EVENTS {
        events.extend(access.lookup_events(name, (since, None)).await.map_err(ReachError::from)?);
    }
    Ok(merge(rows, &events))
}

fn table(rows: &[Row], has_trail: bool) -> String {
    let mut header: Vec<String> = HEADER.map(str::to_owned).to_vec();
    header.extend(TRAIL_HEADER.map(str::to_owned).into_iter().filter(|_| has_trail));
    header.push(REASON.to_owned());
    let mut lines = vec![header];
    lines.extend(rows.iter().map(|row| cells(row, has_trail).iter().map(|text| cell(text)).collect()));
    columns(&lines)
}

fn cells(row: &Row, has_trail: bool) -> Vec<String> {
    let start = &row.start;
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let mut cells = vec![
        // Seconds are enough for people.
        start.time.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " "),
        row.person().to_owned(),
        start.event.words().to_owned(),
        start.target.clone().or(start.host.clone()).unwrap_or_default(),
        row.to(),
        number(row.seconds),
        number(start.sent),
        number(start.received),
        number(start.resumes.filter(|resumes| *resumes > 0).map(u64::from)),
        row.state.word().to_owned(),
    ];
    if has_trail {
        let trail = row.trail.clone().unwrap_or_default();
        let caller = trail.caller.or(start.caller.clone());
        cells.extend([trail.from.unwrap_or_default(), caller.unwrap_or_default()]);
    }
    let why = start.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    cells.push(optional(&start.reason) + &why);
    cells
}
