//! What `forward` prints while it runs: lines for people on standard error, JSON lines for programs on standard output, and
//! on a terminal a live line with the traffic.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, stderr};
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::aws::ApprovalEvent;
use crate::bastion::LifeEvent;
use crate::clock;
use crate::config::Verbosity;
use crate::forward::plan::PlannedForward;
use crate::forward::{ForwardEvent, Traffic};
use crate::session;

use super::super::args::ForwardArgs;
use super::super::life_notes::{LifeNotes, is_wait};
use super::super::report::Report;
use super::super::report::notes::{self, SurvivedFailure};
use super::super::stderr::print_note;
use super::json_lines::JsonLines;
use super::live_terminal::LiveTerminal;

/// How often the live line changes.
const LIVE: Duration = Duration::from_millis(500);

/// Where the events of all forwards are reported.
pub(super) struct Reporter {
    is_quiet: bool,
    lines: RefCell<Option<JsonLines>>,
    live: Option<ProgressBar>,
    life: LifeNotes,
}

/// A listener as it is reported.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    /// The forward of the config file.
    pub name: Option<String>,
    /// Its address or path.
    pub local: String,
    /// The destination of its connections.
    pub remote: String,
    /// The target.
    pub target: String,
}

impl Listening {
    /// Returns the line of `--json` and `--ready-fd`, without its end.
    pub fn to_json(&self) -> Value {
        json!({ "event": "listening", "local": self.local, "remote": self.remote })
    }
}

impl Reporter {
    /// Prints for people unless `-q` was given, and for programs if `--json` was.
    pub fn new(verbosity: Verbosity, args: &ForwardArgs) -> Rc<Self> {
        let is_quiet = verbosity == Verbosity::Quiet;
        // With `--exec` the terminal is the command's.
        let has_live = verbosity == Verbosity::Normal && stderr().is_terminal() && args.exec.is_none();
        let live = has_live.then(|| {
            let bar = ProgressBar::with_draw_target(
                None,
                ProgressDrawTarget::term_like(Box::<LiveTerminal>::default()),
            );
            let style =
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style)
        });
        let lines = RefCell::new(args.json.then(JsonLines::start));
        Rc::new(Self { is_quiet, lines, live, life: LifeNotes::new(verbosity) })
    }

    /// Prints a line for people.
    pub fn say(&self, text: &str) {
        if self.is_quiet {
            return;
        }
        match &self.live {
            Some(live) => live.suspend(|| print_note(text)),
            None => print_note(text),
        }
    }

    /// Reports a listener.
    pub fn listening(&self, listening: &Listening) {
        let Listening { local, remote, target, .. } = listening;
        self.say(&notes::of_listener(local, remote, target));
        self.program(listening.to_json());
    }

    /// Reports an event of a forward.
    pub fn event(&self, planned: &PlannedForward, event: &ForwardEvent) {
        if let ForwardEvent::Session(notice) = event {
            self.session(notice);
        }
        if let ForwardEvent::Life(event) = event {
            self.life(event);
        }
        if let Some(failure) = notes::of_forward(event, &planned.remote(), planned.target()) {
            self.failed(&failure);
        }
    }

    fn failed(&self, SurvivedFailure { report, remote }: &SurvivedFailure) {
        let cause = report.cause();
        tracing::info!("{cause}");
        self.say(cause);
        report.hints().for_each(|hint| self.say(&format!("hint: {hint}")));
        let exit = report.exit().code();
        self.program(json!({ "event": "failed", "remote": remote, "cause": cause, "exit": exit }));
    }

    /// Reports to programs that the command ends; its caller prints the report for people.
    pub fn ended(&self, report: &Report) {
        let exit = report.exit().code();
        self.program(json!({ "event": "failed", "remote": null, "cause": report.cause(), "exit": exit }));
    }

    /// Prints what happens to the link of a session, on a terminal only; the log has its own lines about it.
    fn session(&self, notice: &session::Notice) {
        if let session::Notice::Approval(event) = notice {
            return self.approval(event);
        }
        if let Some(text) = notes::of_link(notice).filter(|_| stderr().is_terminal()) {
            self.say(&text);
        }
    }

    /// Shows what happens to an access request: its id is printed without a terminal too.
    fn approval(&self, event: &ApprovalEvent) {
        let (text, is_wait) = (notes::of_approval(event), is_wait(event));
        match &self.live {
            Some(live) if is_wait => {
                live.set_message(text);
                live.tick();
            }
            None if is_wait => {}
            Some(_) | None => {
                tracing::info!("{text}");
                self.say(&text);
            }
        }
    }

    /// Shows what happens to a bastion: steps on a terminal only.
    fn life(&self, event: &LifeEvent) {
        let Some(live) = &self.live else { return self.life.show(event) };
        let text = notes::of_life(event);
        match event {
            LifeEvent::Waiting { .. } => {
                live.set_message(text);
                live.tick();
            }
            LifeEvent::Ready { .. } | LifeEvent::Began { .. } | LifeEvent::EndsSoon { .. } => {
                tracing::info!("{text}");
                self.say(&text);
            }
        }
    }

    fn program(&self, line: Value) {
        if let Some(lines) = &*self.lines.borrow() {
            lines.print(line);
        }
    }

    /// Updates the live line; never returns.
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

    /// Removes the live line and ends the JSON lines.
    pub fn finish(&self) {
        if let Some(lines) = self.lines.take() {
            lines.finish();
        }
        if let Some(live) = &self.live {
            live.finish_and_clear();
        }
    }
}

/// Formats a number of bytes for the live line.
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
    fn a_listener_is_one_json_object() {
        let [local, remote, target] = ["127.0.0.1:1", "db:3306", "bastion"].map(str::to_owned);
        let line = Listening { name: None, local, remote, target }.to_json().to_string();
        assert_eq!(line, r#"{"event":"listening","local":"127.0.0.1:1","remote":"db:3306"}"#);
    }
}
