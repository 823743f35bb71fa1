//! `bastion status`: the state of bastions as a table or as JSON, and what `--fix` and `--dry-run` do.

use std::fmt::Write;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::Serialize;

use crate::bastion::{BastionStatus, Lending, Life, Person, Starter};
use crate::clock;
use crate::config::Config;
use crate::escape::{escape, escape_json};
use crate::reach::ReachError;
use crate::route::Wish;

use super::super::args::StatusArgs;
use super::super::columns::columns;
use super::super::duration::words;
use super::super::recording::Recording;
use super::super::report::Report;
use super::super::stdout;
use super::{Subject, note_unknown};

const HEADER: [&str; 7] = ["NAME", "TARGET", "STATE", "SINCE", "STARTED BY", "ON IT", "STOPS"];

/// Runs the command.
pub(super) async fn status(
    args: &StatusArgs,
    config: &Config,
    recording: &Rc<Recording>,
) -> Result<ExitCode, Report> {
    let names = match &args.name {
        Some(name) => vec![name.clone()],
        None => bastions(config),
    };
    let mut statuses = Vec::new();
    for name in &names {
        let subject = Subject::find(name, config, recording).await?;
        let mut status = subject.status().await?;
        status.find_starters(&subject.access).await;
        note_unknown(&status.unknown, config.log.verbosity);
        if args.fix {
            fix(&subject, &status, args.dry_run).await?;
        }
        add(&mut statuses, status);
    }
    if args.json {
        let rows: Vec<Row> = statuses.iter().map(Row::of).collect();
        let json = serde_json::to_string_pretty(&rows).expect("rows have text keys only");
        return Ok(stdout::print(&(escape_json(&json) + "\n")));
    }
    Ok(stdout::print(&text(&statuses)))
}

/// Returns the hosts of the config file for which a life may be asked for.
fn bastions(config: &Config) -> Vec<String> {
    let asks = |host: &&crate::config::Host| {
        host.start || host.stop_always || host.task.is_some() || host.security_group.is_some()
    };
    let (behind, first): (Vec<_>, Vec<_>) =
        config.hosts.values().filter(asks).partition(|host| !host.via.is_empty());
    first.into_iter().chain(behind).map(|host| host.name.clone()).collect()
}

/// Adds a status; of a bastion that is there already, only the groups of machines behind it.
fn add(statuses: &mut Vec<BastionStatus>, status: BastionStatus) {
    let is_same = |known: &&mut BastionStatus| known.target.is_some() && known.target == status.target;
    match statuses.iter_mut().find(is_same) {
        Some(known) => known.groups.extend(status.groups),
        None => statuses.push(status),
    }
}

/// Takes back every group that no life will take back.
async fn fix(subject: &Subject, status: &BastionStatus, dry_run: bool) -> Result<(), Report> {
    for lending in status.groups.iter().filter(|lending| lending.is_left()) {
        let Lending { host, group, interface, .. } = lending;
        if dry_run {
            stdout::print(&format!("would take {group} from {interface} of {host}\n"));
            continue;
        }
        let taken = subject.bastion.take_back(&subject.access, status, lending).await;
        taken.map_err(ReachError::from)?;
        stdout::print(&format!("took {group} from {interface} of {host}\n"));
    }
    Ok(())
}

/// One bastion as JSON; `null` is unknown, or does not apply.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    target: Option<&'a str>,
    state: Option<&'a str>,
    since: Option<String>,
    lives: Vec<LifeRow<'a>>,
    sessions: Vec<PersonRow<'a>>,
    stops: Option<String>,
    groups: Vec<GroupRow<'a>>,
    unknown: &'a [String],
}

#[derive(Serialize)]
struct LifeRow<'a> {
    execution: &'a str,
    started: String,
    /// Who asked for it, by their own statement.
    by: Option<&'a str>,
    /// Who started it, as CloudTrail has it.
    caller: Option<&'a str>,
    address: Option<&'a str>,
    reason: Option<&'a str>,
    ends: String,
}

#[derive(Serialize)]
struct PersonRow<'a> {
    session: &'a str,
    owner: &'a str,
    since: String,
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct GroupRow<'a> {
    host: &'a str,
    group: &'a str,
    interface: &'a str,
    is_there: bool,
    /// Nothing will take it back.
    is_left: bool,
    ends: Option<String>,
}

impl<'a> Row<'a> {
    fn of(status: &'a BastionStatus) -> Self {
        Self {
            name: &status.host,
            target: status.target.as_deref(),
            state: status.state.as_deref(),
            since: status.since.map(time),
            lives: lives(status).map(|(life, starter)| LifeRow::of(life, starter)).collect(),
            sessions: status.people.iter().map(PersonRow::of).collect(),
            stops: end_of(status),
            groups: status.groups.iter().map(GroupRow::of).collect(),
            unknown: &status.unknown,
        }
    }
}

impl<'a> LifeRow<'a> {
    fn of(life: &'a Life, starter: Option<&'a Starter>) -> Self {
        Self {
            execution: &life.name,
            started: time(life.started),
            by: life.input.by.as_deref(),
            caller: starter.map(|starter| starter.arn.as_str()),
            address: starter.and_then(|starter| starter.address.as_deref()),
            reason: life.input.reason.as_deref(),
            ends: time(life.ends()),
        }
    }
}

impl<'a> PersonRow<'a> {
    fn of(person: &'a Person) -> Self {
        let Person { owner, session, since, reason } = person;
        Self { session, owner, since: time(*since), reason: reason.as_deref() }
    }
}

impl<'a> GroupRow<'a> {
    fn of(lending: &'a Lending) -> Self {
        Self {
            host: &lending.host,
            group: &lending.group,
            interface: &lending.interface,
            is_there: lending.is_there,
            is_left: lending.is_left(),
            ends: lending.life.as_ref().map(|life| time(life.ends())),
        }
    }
}

/// Returns the lives, each with its starter if CloudTrail has it.
fn lives(status: &BastionStatus) -> impl Iterator<Item = (&Life, Option<&Starter>)> {
    let starters = status.starters.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    status.lives.iter().zip(starters)
}

/// Returns a Unix time as RFC 3339 writes it, in UTC.
pub(super) fn time(seconds: i64) -> String {
    DateTime::from_secs(seconds).fmt(Format::DateTime).unwrap_or_else(|_| "?".to_owned())
}

/// Returns when the machine is stopped at the latest.
pub(super) fn end_of(status: &BastionStatus) -> Option<String> {
    status.lives.iter().map(Life::ends).max().map(time)
}

fn text(statuses: &[BastionStatus]) -> String {
    let mut lines = vec![HEADER.map(str::to_owned).to_vec()];
    lines.extend(statuses.iter().map(|status| cells(status).map(|cell| escape(&cell).into_owned()).to_vec()));
    let mut text = columns(&lines);
    for status in statuses {
        for line in lives(status).filter_map(|(life, starter)| Some(starter_line(status, life, starter?))) {
            let _ = writeln!(text, "{}", escape(&line));
        }
        for person in &status.people {
            let Person { owner, session, since, reason } = person;
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let line = format!("{}: {owner} since {}, session {session}{why}", status.host, time(*since));
            let _ = writeln!(text, "{}", escape(&line));
        }
        for lending in &status.groups {
            let _ = writeln!(text, "{}", escape(&group_line(lending)));
        }
    }
    text
}

fn cells(status: &BastionStatus) -> [String; HEADER.len()] {
    let dash = || "-".to_owned();
    let oldest = status.lives.last();
    let by = oldest.map(|life| {
        let by = life.input.by.clone().unwrap_or_else(dash);
        let why = life.input.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!("{by}{why}")
    });
    [
        status.host.clone(),
        status.target.clone().unwrap_or_else(dash),
        status.state.clone().unwrap_or_else(dash),
        status.since.map_or_else(dash, since),
        by.unwrap_or_else(dash),
        status.people.len().to_string(),
        end_of(status).unwrap_or_else(dash),
    ]
}

fn since(seconds: i64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    words(clock::wall().duration_since(then).unwrap_or_default())
}

fn starter_line(status: &BastionStatus, life: &Life, starter: &Starter) -> String {
    let Starter { arn, address } = starter;
    let from = address.as_ref().map(|address| format!(" from {address}")).unwrap_or_default();
    format!("{}: {arn} started it{from} at {} (CloudTrail)", status.host, time(life.started))
}

fn group_line(lending: &Lending) -> String {
    let Lending { host, group, interface, is_there, life } = lending;
    match (is_there, life) {
        (true, Some(life)) => {
            format!("{host}: {interface} has {group} until {} at the latest", time(life.ends()))
        }
        (true, None) => format!("{host}: {interface} has {group}, and no life of the guardian takes it back"),
        (false, _) => format!("{host}: {interface} does not have {group}"),
    }
}

/// Says what `start` would do.
pub(super) fn plan_of_start(status: &BastionStatus, wish: &Wish) -> String {
    let host = &status.host;
    let who = match &wish.guardian {
        Some(guardian) => format!("start a life of `{guardian}`"),
        None => "call ec2:StartInstances".to_owned(),
    };
    match status.is_stopped() {
        true => format!("would {who} for {host}, and wait {} s for its agent\n", wish.timeout.as_secs()),
        false => {
            format!("{host} is {}: nothing would be done\n", status.state.as_deref().unwrap_or("unknown"))
        }
    }
}

/// Says what `stop` would do.
pub(super) fn plan_of_stop(status: &BastionStatus, wish: &Wish) -> String {
    let who = match &wish.guardian {
        Some(guardian) => format!("ask `{guardian}` to stop {}", status.host),
        None => format!("call ec2:StopInstances for {}", status.host),
    };
    format!("would {who}; {} on it\n", sessions(status.people.len()))
}

fn sessions(count: usize) -> String {
    if count == 1 { "1 session is".to_owned() } else { format!("{count} sessions are") }
}

/// Says what `extend` would do.
pub(super) fn plan_of_extension(host: &str, end: i64, by: Duration) -> String {
    format!("would extend the life of {host}, which ends at {}, by {}\n", time(end), words(by))
}
