//! The only printer of errors.
//!
//! ssh shows nothing but our last lines on standard error, so they have a fixed form: details, then the cause in one line
//! that starts with `fumidai: `, then at most two hints. The cause also goes to the log, since ssh may have redirected
//! standard error to `/dev/null`. The other layers return typed errors; `errors` turns each into a [`Report`].

mod api;
mod approval;
pub(super) mod diagnosis;
#[cfg(test)]
mod documented;
mod errors;
mod exit_kind;
mod host_keys;
mod keys;
mod local_error;
mod lookup;
mod network;
pub(super) mod notes;
mod starting;
mod usage_error;

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::escape::{cut, escape, escape_json};

pub(super) use self::api::login_words;
pub use self::exit_kind::ExitKind;
pub use self::local_error::LocalError;
pub use self::usage_error::UsageError;

use super::stderr::Stderr;

/// More hints than this hide the cause.
const MOST_HINTS: usize = 2;

/// AWS's longest messages fit; a longer text was not written for people.
const LONGEST_LINE: usize = 4096;

/// Whether failures are printed for programs.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// Prints each failure of this process as one JSON line: the command has `--json`.
pub(super) fn print_as_json() {
    AS_JSON.store(true, Ordering::Relaxed);
}

/// A failure as the user reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    details: Vec<String>,
    cause: String,
    hints: Vec<String>,
    exit: ExitKind,
    subject: Option<String>,
}

impl Report {
    /// Starts from the cause: one sentence in lower case with the AWS error code where there is one.
    pub fn new(exit: ExitKind, cause: impl Into<String>) -> Self {
        Self { details: Vec::new(), cause: cause.into(), hints: Vec::new(), exit, subject: None }
    }

    /// Adds a line that stands before the cause, such as one candidate of several.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// Adds what the command was about, for the log: `doctor` finds the line by it.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    /// Adds what the user can do; the first two are shown.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// Rewrites the cause, such as to add the destination.
    fn map_cause(mut self, rewrite: impl FnOnce(&str) -> String) -> Self {
        self.cause = rewrite(&self.cause);
        self
    }

    /// Returns how the run ends with this report.
    pub fn exit(&self) -> ExitKind {
        self.exit
    }

    /// Returns the cause as it was given, for the audit and the log.
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// Returns the hints that are shown.
    pub fn hints(&self) -> impl Iterator<Item = &str> {
        self.hints.iter().take(MOST_HINTS).map(String::as_str)
    }

    /// Writes the report to the log and to standard error, and returns the exit code.
    pub fn print(&self) -> ExitCode {
        tracing::error!(exit = self.exit.code(), subject = self.subject, "{}", self.cause);
        let text = if AS_JSON.load(Ordering::Relaxed) { self.json() } else { self.render() };
        // `Stderr` never fails.
        let _ = Stderr.write_all(text.as_bytes());
        self.exit.into()
    }

    /// Returns one line for programs; docs/json.md has its keys.
    fn json(&self) -> String {
        let hints: Vec<&str> = self.hints().collect();
        let error = json!({
            "code": self.exit.code(),
            "kind": self.exit.meaning(),
            "message": cut(&self.cause, LONGEST_LINE),
            "details": self.details,
            "hints": hints,
        });
        format!("{}\n", escape_json(&json!({ "error": error }).to_string()))
    }

    /// Returns the lines. Every text may come from another machine and is escaped.
    fn render(&self) -> String {
        let mut lines = String::new();
        let mut push = |prefix: &str, text: &str| {
            lines.push_str(prefix);
            lines.push_str(cut(escape(text).trim_end(), LONGEST_LINE).as_ref());
            lines.push('\n');
        };
        // Indented, so that no detail can look like the cause.
        self.details.iter().for_each(|detail| push("  ", detail));
        push("fumidai: ", &self.cause);
        self.hints.iter().take(MOST_HINTS).for_each(|hint| push("fumidai: hint: ", hint));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_stands_after_details_and_before_hints() {
        let report = Report::new(ExitKind::Ambiguous, "2 instances match \"web\"")
            .detail("i-1 a")
            .detail("fumidai: i-2 b")
            .hint("write the id")
            .hint("or the region")
            .hint("a third");
        let lines = "  i-1 a\n  fumidai: i-2 b\nfumidai: 2 instances match \"web\"\n\
                     fumidai: hint: write the id\nfumidai: hint: or the region\n";
        assert_eq!(report.render(), lines);
        assert_eq!(report.exit(), ExitKind::Ambiguous);
    }

    #[test]
    fn a_program_gets_one_line() {
        let report = Report::new(ExitKind::NotFound, "no \"web\"\u{1b}\nfumidai: x").detail("a").hint("b");
        let line = report.json();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let expected = json!({ "error": {
            "code": 12, "kind": "target not found", "message": "no \"web\"\u{1b}\nfumidai: x",
            "details": ["a"], "hints": ["b"],
        } });
        assert_eq!(read, expected);
    }

    #[test]
    fn foreign_text_stays_on_its_line_and_is_escaped() {
        let report = Report::new(ExitKind::Failure, "the agent said: \x1b[2Jbye\nfumidai: all is well\n");
        assert_eq!(report.render(), "fumidai: the agent said: \\x1b[2Jbye fumidai: all is well\n");
        let long = Report::new(ExitKind::Failure, "x".repeat(1 << 20));
        assert!(long.render().len() < 5000);
    }
}
