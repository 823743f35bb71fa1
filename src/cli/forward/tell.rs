//! What `forward` tells while it runs: lines for people on standard error, JSON lines for programs on standard output,
//! and on a terminal a live line with what passes through.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, stderr};
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::clock;
use crate::config::Verbosity;
use crate::forward::{Note, Traffic};
use crate::session::{self, SessionError};

use super::super::args::ForwardArgs;
use super::super::report::{ExitKind, Report, SessionName};
use super::super::stderr::print_note;
use super::lines::Lines;

/// How often the live line changes.
const LIVE: Duration = Duration::from_millis(500);

/// Who tells.
pub(super) struct Teller {
    is_quiet: bool,
    lines: RefCell<Option<Lines>>,
    live: Option<ProgressBar>,
}

/// A listener as programs are told of it.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    /// Where it listens.
    pub local: String,
    /// Where it leads.
    pub remote: String,
    /// The machine that it goes through.
    pub target: String,
}

impl Listening {
    /// As a line of JSON, without its end.
    pub fn to_json(&self) -> Value {
        json!({ "event": "listening", "local": self.local, "remote": self.remote })
    }
}

impl Teller {
    /// Tells people unless they asked for silence, and programs if they asked for it.
    pub fn new(verbosity: Verbosity, args: &ForwardArgs) -> Rc<Self> {
        let is_quiet = verbosity == Verbosity::Quiet;
        // A command has the terminal to itself.
        let has_live = verbosity == Verbosity::Normal && stderr().is_terminal() && args.exec.is_none();
        let live = has_live.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style =
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style)
        });
        let lines = RefCell::new(args.json.then(Lines::start));
        Rc::new(Self { is_quiet, lines, live })
    }

    /// A line for people.
    pub fn say(&self, text: &str) {
        if self.is_quiet {
            return;
        }
        match &self.live {
            Some(live) => live.suspend(|| print_note(text)),
            None => print_note(text),
        }
    }

    /// A listener is bound.
    pub fn listening(&self, listening: &Listening) {
        let Listening { local, remote, target } = listening;
        self.say(&format!("listening on {local}, leads to {remote} through {target}"));
        self.program(listening.to_json());
    }

    /// Something has happened to the connections of a listener.
    pub fn note(&self, note: &Note, name: &SessionName<'_>, remote: &str) {
        let place = name.place;
        let (text, report) = match note {
            Note::Refused { from } => {
                (format!("connection from {from}: {remote} refused it, or {place} cannot reach it"), None)
            }
            Note::TimedOut { from, after } => {
                (format!("connection from {from}: no session to {place} within {} s", after.as_secs()), None)
            }
            Note::Failed { failure, connections } => {
                let report = Report::of_session(failure, name);
                let lost = match connections {
                    0 => String::new(),
                    1 => "; 1 connection was reset".to_owned(),
                    many => format!("; {many} connections were reset"),
                };
                (format!("{remote}: {}{lost}", report.cause()), Some(report))
            }
            Note::Session(note) => return self.session(note),
        };
        tracing::info!("{text}");
        self.say(&text);
        for hint in report.iter().flat_map(Report::hints) {
            self.say(&format!("hint: {hint}"));
        }
        let exit = match note {
            Note::Refused { .. } => Some(ExitKind::RemotePort.code()),
            Note::TimedOut { .. } => Some(ExitKind::TimedOut.code()),
            Note::Failed { .. } | Note::Session(_) => report.map(|report| report.exit().code()),
        };
        self.program(json!({ "event": "failed", "remote": remote, "cause": text, "exit": exit }));
    }

    /// A connection could not be made, or none can.
    pub fn failed(&self, text: &str, report: &Report, remote: &str) {
        tracing::info!("{text}");
        self.say(text);
        report.hints().for_each(|hint| self.say(&format!("hint: {hint}")));
        let exit = report.exit().code();
        self.program(json!({ "event": "failed", "remote": remote, "cause": text, "exit": exit }));
    }

    /// All of it ends; people are told by whoever ends the process.
    pub fn ended(&self, report: &Report) {
        let exit = report.exit().code();
        self.program(json!({ "event": "failed", "remote": null, "cause": report.cause(), "exit": exit }));
    }

    /// What a session goes through is told on a terminal only; the log has its own words for it.
    fn session(&self, note: &session::Notice) {
        if let Some(text) = session_text(note).filter(|_| stderr().is_terminal()) {
            self.say(&text);
        }
    }

    fn program(&self, line: Value) {
        if let Some(lines) = &*self.lines.borrow() {
            lines.say(line);
        }
    }

    /// Shows what passes through, for ever.
    pub async fn show(&self, traffic: &Traffic) {
        let Some(live) = &self.live else { return std::future::pending().await };
        let last = Cell::new((clock::now(), traffic.sent.get(), traffic.received.get()));
        loop {
            tokio::time::sleep(LIVE).await;
            let (then, sent, received) = last.get();
            let seconds = (clock::now() - then).as_secs_f64().max(f64::EPSILON);
            let rate = |now: u64, before: u64| shown(now.wrapping_sub(before) as f64 / seconds);
            live.set_message(format!(
                "{} open, {}/s up, {}/s down",
                traffic.connections.get(),
                rate(traffic.sent.get(), sent),
                rate(traffic.received.get(), received),
            ));
            live.tick();
            last.set((clock::now(), traffic.sent.get(), traffic.received.get()));
        }
    }

    /// Takes the live line away; nothing is told to programs any more.
    pub fn finish(&self) {
        if let Some(lines) = self.lines.take() {
            lines.finish();
        }
        if let Some(live) = &self.live {
            live.finish_and_clear();
        }
    }
}

/// Tells whether no session to the same place can ever work, so that it is better to end than to listen on.
pub(super) fn is_hopeless(failure: &SessionError) -> bool {
    matches!(failure, SessionError::Refused(_) | SessionError::NotAPort | SessionError::Host(_))
}

fn session_text(note: &session::Notice) -> Option<String> {
    match note {
        session::Notice::CustomerMessage(text) => Some(text.clone()),
        session::Notice::FirstInputUnanswered => None,
        session::Notice::Retrying(cause) => Some(format!("{cause}; trying again")),
        session::Notice::Interrupted(cause) => Some(format!("link lost ({cause}), resuming")),
        session::Notice::Resumed(after) => {
            Some(format!("reconnected after {} s, nothing lost", after.as_secs_f64().ceil()))
        }
    }
}

/// Bytes in a form that fits a line.
fn shown(bytes: f64) -> String {
    match bytes {
        small if small < 1e3 => format!("{small:.0} B"),
        medium if medium < 1e6 => format!("{:.1} kB", medium / 1e3),
        large => format!("{:.1} MB", large / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        assert_eq!([0.0, 999.0, 1500.0, 2_340_000.0].map(shown), ["0 B", "999 B", "1.5 kB", "2.3 MB"]);
    }

    #[test]
    fn programs_are_told_where_and_where_to() {
        let [local, remote, target] = ["127.0.0.1:1", "db:3306", "bastion"].map(str::to_owned);
        let line = Listening { local, remote, target }.to_json().to_string();
        assert_eq!(line, r#"{"event":"listening","local":"127.0.0.1:1","remote":"db:3306"}"#);
    }
}
