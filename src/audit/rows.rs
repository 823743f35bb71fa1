//! One row for each session: its start and its end, found by its id.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::entry::{Entry, EventKind, time_of};
use super::process::{Fate, Machine, fate};

/// How a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowEnd {
    /// Its process lives.
    Open,
    /// It ended in order.
    Done,
    /// It was not wanted any more: the client left.
    Left,
    /// It failed.
    Failed,
    /// It was not started.
    NotStarted,
    /// Its process is gone and has recorded no end.
    #[default]
    Unknown,
    /// It is of another machine, container or program; its end is not known.
    Elsewhere,
    /// It is not about a session.
    Event,
}

impl RowEnd {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Left => "left",
            Self::Failed => "failed",
            Self::NotStarted => "not started",
            Self::Unknown => "unknown",
            Self::Elsewhere => "elsewhere",
            Self::Event => "-",
        }
    }
}

/// What CloudTrail knows about a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trail {
    /// The ARN of the caller.
    pub caller: Option<String>,
    /// The address that the call came from.
    pub from: Option<String>,
    /// The program.
    pub agent: Option<String>,
    /// The later calls about the session, with their times.
    pub calls: Vec<String>,
}

/// One session, attempt or life. Texts may come from AWS and are untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What was recorded at the start, or all of it.
    #[serde(flatten)]
    pub start: Entry,
    /// How it stands.
    pub state: RowEnd,
    /// When it ended.
    pub ended: Option<String>,
    /// How long it took, in seconds.
    pub seconds: Option<u64>,
    /// What CloudTrail knows about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trail: Option<Trail>,
}

impl Row {
    /// Returns who it was: the caller's name in the session's id or in the ARN, else the local user.
    pub fn person(&self) -> &str {
        let of_session = self.start.session.as_deref().and_then(|id| Some(id.rsplit_once('-')?.0));
        let of_arn = self.start.caller.as_deref().and_then(|arn| arn.rsplit(['/', ':']).next());
        of_session.or(of_arn).unwrap_or(&self.start.user)
    }

    /// Returns what was connected to: the address and the hops, or the user whom a key was pushed for.
    pub fn to(&self) -> String {
        if let Some(user) = &self.start.os_user {
            return format!("user {user}");
        }
        let via = self.start.via.iter().map(|hop| format!(" via {hop}"));
        self.start.address.clone().unwrap_or_default() + &via.collect::<String>()
    }

    /// Returns when it began.
    pub fn began(&self) -> Option<SystemTime> {
        time_of(&self.start.time)
    }

    /// Returns true if it failed, was never started, or its end is unknown.
    pub fn is_failure(&self) -> bool {
        matches!(self.state, RowEnd::Failed | RowEnd::NotStarted | RowEnd::Unknown)
    }

    /// Returns what has become of the process that wrote it.
    pub fn fate(&self) -> Fate {
        fate_of(&self.start)
    }

    fn of(entry: Entry) -> Self {
        let state = match entry.event {
            EventKind::NotStarted => RowEnd::NotStarted,
            EventKind::Life
            | EventKind::KeyPushed
            | EventKind::InstancesStarted
            | EventKind::InstancesStopped => RowEnd::Event,
            EventKind::Started => match fate_of(&entry) {
                Fate::Living => RowEnd::Open,
                Fate::Gone => RowEnd::Unknown,
                Fate::Elsewhere => RowEnd::Elsewhere,
            },
            EventKind::Resumed | EventKind::Caller | EventKind::Ended | EventKind::Unknown => RowEnd::Unknown,
        };
        Self { start: entry, state, ended: None, seconds: None, trail: None }
    }

    fn end(&mut self, entry: Entry) {
        self.state = match entry.end.as_deref() {
            Some("done") => RowEnd::Done,
            Some("left") => RowEnd::Left,
            Some(_) | None => RowEnd::Failed,
        };
        let took = self.began().zip(time_of(&entry.time));
        self.seconds =
            took.map(|(began, ended)| ended.duration_since(began).unwrap_or(Duration::ZERO).as_secs());
        self.ended = Some(entry.time);
        let Entry { sent, received, resumes, end, why, caller, .. } = entry;
        let start = std::mem::take(&mut self.start);
        let caller = start.caller.clone().or(caller);
        self.start = Entry { sent, received, resumes, end, why, caller, ..start };
    }

    /// Adds what a line between the start and the end has.
    fn go_on(&mut self, entry: Entry) {
        let start = &mut self.start;
        start.caller = entry.caller.or(start.caller.take());
        start.sent = entry.sent.or(start.sent);
        start.received = entry.received.or(start.received);
        start.resumes = entry.resumes.or(start.resumes);
    }
}

fn fate_of(entry: &Entry) -> Fate {
    fate(entry.pid, entry.process_began, entry.machine.as_ref(), Machine::here())
}

/// Makes the rows, the earliest first. An end without a start is a row of its own.
pub fn rows(entries: impl Iterator<Item = Entry>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut by_session: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        let known = entry.session.as_ref().and_then(|session| by_session.get(session));
        match (entry.event, known) {
            (EventKind::Ended, Some(at)) => rows[*at].end(entry),
            (EventKind::Ended, None) => {
                let mut row = Row::of(entry.clone());
                row.end(entry);
                rows.push(row);
            }
            (EventKind::Resumed | EventKind::Caller, Some(at)) => rows[*at].go_on(entry),
            (EventKind::Resumed | EventKind::Caller, None) | (EventKind::Unknown, _) => {}
            (
                EventKind::Started
                | EventKind::NotStarted
                | EventKind::Life
                | EventKind::KeyPushed
                | EventKind::InstancesStarted
                | EventKind::InstancesStopped,
                _,
            ) => {
                if let Some(session) = &entry.session {
                    by_session.insert(session.clone(), rows.len());
                }
                rows.push(Row::of(entry));
            }
        }
    }
    // A file that was put aside twice is not in the order of time.
    rows.sort_by_key(Row::began);
    rows
}
