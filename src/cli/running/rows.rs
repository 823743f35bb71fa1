//! What `status` shows: answers of processes, definitions of the supervisor, and forwards of the config file become rows. Pure.

use serde::Serialize;

use crate::running::{Answer, Asked, Bytes, Connections, LastError, ListeningOn, NoAnswer, Phase, Seen};

use super::super::report::ExitKind;

/// One process, or one forward without a process. The keys are those of docs/json.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub names: Vec<String>,
    pub state: State,
    pub supervisor: Option<String>,
    pub autostart: bool,
    pub pid: Option<u32>,
    pub version: Option<String>,
    pub since: Option<u64>,
    pub listeners: Vec<ListeningOn>,
    pub sessions: usize,
    pub connections: Connections,
    pub bytes: Bytes,
    pub last_error: Option<LastError>,
}

/// What a forward does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// It listens, and has sessions.
    Connected,
    /// It listens; the next connection opens a session.
    Listening,
    /// It is about to listen.
    Starting,
    /// The process runs, and does not answer.
    NotAnswering,
    /// It has failed, and is started again after a pause.
    Restarting,
    /// It has failed, and is not started again.
    Failed,
    /// The supervisor has it, and does not run it.
    Stopped,
    /// It is in the config file only.
    Down,
}

impl State {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Listening => "listening",
            Self::Starting => "starting",
            Self::NotAnswering => "not-answering",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Down => "down",
        }
    }
}

/// A forward that `up` has started.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub name: String,
    pub supervisor: &'static str,
    pub autostart: bool,
    /// What the supervisor says, if it says something.
    pub seen: Option<Seen>,
}

impl Row {
    fn empty(names: Vec<String>, state: State) -> Self {
        Self {
            names,
            state,
            supervisor: None,
            autostart: false,
            pid: None,
            version: None,
            since: None,
            listeners: Vec::new(),
            sessions: 0,
            connections: Connections::default(),
            bytes: Bytes::default(),
            last_error: None,
        }
    }

    fn of_answer(answer: Answer) -> Self {
        let state = if answer.sessions > 0 { State::Connected } else { State::Listening };
        Self {
            supervisor: answer.supervisor,
            pid: Some(answer.pid),
            version: Some(answer.version),
            since: Some(answer.since),
            listeners: answer.listeners,
            sessions: answer.sessions,
            connections: answer.connections,
            bytes: answer.bytes,
            last_error: answer.last_error,
            ..Self::empty(answer.names, state)
        }
    }

    fn of_asked(asked: Asked) -> Self {
        match asked.answer {
            Ok(answer) => Self::of_answer(answer),
            Err(NoAnswer::Late | NoAnswer::Unreadable) => {
                Self { pid: asked.pid, ..Self::empty(Vec::new(), State::NotAnswering) }
            }
        }
    }

    /// A forward whose process does not answer.
    fn of_up(up: &Up) -> Self {
        let state = match up.seen.map(|seen| seen.phase) {
            Some(Phase::Running) => State::NotAnswering,
            Some(Phase::Starting) => State::Starting,
            Some(Phase::Restarting) => State::Restarting,
            Some(Phase::Failed) => State::Failed,
            Some(Phase::Stopped) | None => State::Stopped,
        };
        let exit = up.seen.and_then(|seen| seen.exit).and_then(|exit| u8::try_from(exit).ok());
        let last_error = exit.filter(|exit| *exit != 0).map(|exit| {
            let kind = ExitKind::ALL.into_iter().find(|kind| kind.code() == exit);
            let cause = kind.map_or_else(|| format!("exit status {exit}"), |kind| kind.meaning().to_owned());
            LastError { cause, exit, at: None }
        });
        let of_supervisor = Self::empty(vec![up.name.clone()], state);
        Self { last_error, ..of_supervisor.kept_by(up) }
    }

    fn kept_by(self, up: &Up) -> Self {
        let autostart = up.seen.and_then(|seen| seen.autostart).unwrap_or(up.autostart);
        Self { supervisor: Some(up.supervisor.to_owned()), autostart, ..self }
    }

    /// Returns whether this is the process that the supervisor runs.
    fn is_of(&self, up: &Up) -> bool {
        self.supervisor.is_some() && self.names == [up.name.as_str()]
    }
}

/// Joins what is known: the forwards of the config file first, by name, then other processes.
pub(super) fn rows(asked: Vec<Asked>, up: &[Up], configured: &[String]) -> Vec<Row> {
    let mut rows: Vec<Row> = asked.into_iter().map(Row::of_asked).collect();
    for one in up {
        match rows.iter_mut().find(|row| row.is_of(one)) {
            Some(row) => *row = row.clone().kept_by(one),
            None => rows.push(Row::of_up(one)),
        }
    }
    for name in configured {
        if !rows.iter().any(|row| row.names.contains(name)) {
            rows.push(Row::empty(vec![name.clone()], State::Down));
        }
    }
    rows.sort_by(|one, other| {
        let key = |row: &Row| (row.names.is_empty(), row.names.clone(), row.pid);
        key(one).cmp(&key(other))
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(names: &[&str], supervisor: Option<&str>, sessions: usize) -> Asked {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let supervisor = supervisor.map(str::to_owned);
        let answer = Answer { names, supervisor, sessions, pid: 7, ..Answer::default() };
        Asked { pid: Some(7), answer: Ok(answer) }
    }

    fn up(name: &str, phase: Phase, exit: Option<i32>) -> Up {
        let seen = Some(Seen { phase, exit, autostart: Some(true) });
        Up { name: name.into(), supervisor: "systemd", autostart: true, seen }
    }

    #[test]
    fn every_forward_has_one_row() {
        let asked = vec![
            answer(&["a"], Some("systemd"), 1),
            answer(&[], None, 0),
            answer(&["c", "d"], None, 0),
            Asked { pid: Some(9), answer: Err(NoAnswer::Late) },
        ];
        let up = [up("a", Phase::Running, None), up("b", Phase::Restarting, Some(10))];
        let configured = ["a", "b", "c", "e"].map(str::to_owned);
        let rows = rows(asked, &up, &configured);
        let shown: Vec<(String, &str, bool)> =
            rows.iter().map(|row| (row.names.join(","), row.state.word(), row.autostart)).collect();
        let expected = [
            ("a", "connected", true),
            ("b", "restarting", true),
            ("c,d", "listening", false),
            ("e", "down", false),
            ("", "listening", false),
            ("", "not-answering", false),
        ];
        assert_eq!(shown, expected.map(|(names, state, autostart)| (names.to_owned(), state, autostart)));
        let error = rows[1].last_error.clone().expect("it has failed");
        assert_eq!((error.cause.as_str(), error.exit), ("no usable credentials, or expired ones", 10));
    }

    #[test]
    fn a_forward_by_hand_is_not_that_of_the_supervisor() {
        let rows = rows(vec![answer(&["a"], None, 0)], &[up("a", Phase::Failed, Some(1))], &[]);
        let states: Vec<State> = rows.iter().map(|row| row.state).collect();
        assert_eq!(states, [State::Failed, State::Listening]);
    }
}
