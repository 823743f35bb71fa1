//! What a user reads while a bastion is started: on a terminal one live line with the step and the seconds, else log lines.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use crate::bastion::{LifeEvent, Step};
use crate::config::Verbosity;
use crate::escape::escape;

use super::stderr::{print_if_idle, print_note};

/// Moves to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[2K";

/// The notes of one command.
pub(super) struct LifeNotes {
    is_visible: bool,
    has_line: Cell<bool>,
    last: Cell<Option<Step>>,
}

impl LifeNotes {
    /// Shows notes on a terminal, unless `-q` was given.
    pub fn new(verbosity: Verbosity) -> Self {
        let is_visible = stderr().is_terminal() && verbosity != Verbosity::Quiet;
        Self { is_visible, has_line: Cell::default(), last: Cell::default() }
    }

    /// Shows an event.
    pub fn show(&self, event: &LifeEvent) {
        self.log(event);
        match text(event) {
            Some(text) if is_live(event) => self.live(&text),
            Some(text) => {
                self.clear();
                if self.is_visible {
                    print_note(&text);
                }
            }
            None => self.clear(),
        }
    }

    fn log(&self, event: &LifeEvent) {
        let LifeEvent::Waiting { step, .. } = event else {
            let Some(text) = text(event) else { return };
            return tracing::info!("{text}");
        };
        if self.last.replace(Some(*step)) != Some(*step) {
            tracing::info!("{}", text(event).unwrap_or_default());
        }
    }

    fn live(&self, text: &str) {
        if self.is_visible {
            print_if_idle(&format!("{CLEAR}fumidai: {}", escape(text)));
            self.has_line.set(true);
        }
    }

    fn clear(&self) {
        if self.has_line.replace(false) {
            print_if_idle(CLEAR);
        }
    }
}

impl Drop for LifeNotes {
    fn drop(&mut self) {
        self.clear();
    }
}

fn is_live(event: &LifeEvent) -> bool {
    matches!(event, LifeEvent::Waiting { .. })
}

/// Returns an event in words, in those of `connect` and `forward`.
pub(super) fn text(event: &LifeEvent) -> Option<String> {
    match event {
        LifeEvent::Waiting { host, step, since } => {
            Some(format!("{host}: {}, {} s", step_text(*step), since.as_secs()))
        }
        LifeEvent::Ready { host, after } => Some(format!("{host} is up after {} s", after.as_secs())),
        LifeEvent::Began { host, life } => Some(format!("{host}: the guardian's life {life} has begun")),
        LifeEvent::EndsSoon { host, left } => Some(format!(
            "{host} will be stopped in {}: to go on, run `fumidai bastion extend {host} 1h`",
            minutes(*left)
        )),
    }
}

fn minutes(time: Duration) -> String {
    format!("{} min", time.as_secs().div_ceil(60))
}

fn step_text(step: Step) -> &'static str {
    match step {
        Step::Stop => "waiting until it has stopped",
        Step::Begin => "waiting for the guardian to start it",
        Step::Boot => "booting",
        Step::Agent => "waiting for its agent",
        Step::Group => "waiting for its security group",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_words() {
        let host = || "bastion".to_owned();
        let texts = [
            LifeEvent::Waiting { host: host(), step: Step::Boot, since: Duration::from_millis(12_900) },
            LifeEvent::Ready { host: host(), after: Duration::from_secs(61) },
            LifeEvent::EndsSoon { host: host(), left: Duration::from_secs(541) },
        ]
        .map(|event| text(&event).unwrap_or_default());
        assert_eq!(
            texts,
            [
                "bastion: booting, 12 s",
                "bastion is up after 61 s",
                "bastion will be stopped in 10 min: to go on, run `fumidai bastion extend bastion 1h`",
            ]
        );
    }
}
