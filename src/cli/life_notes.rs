//! What a user reads while a bastion is started or an approval is waited for: on a terminal one live line with the step and the seconds, else log lines.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};

use crate::aws::ApprovalEvent;
use crate::bastion::{LifeEvent, Step};
use crate::config::Verbosity;
use crate::escape::escape;

use super::report::notes::{of_approval, of_life};
use super::stderr::{print_if_idle, print_note};

/// Moves to the start of the line and clears it.
const CLEAR: &str = "\r\x1b[2K";

/// The notes of one command.
pub(super) struct LifeNotes {
    is_visible: bool,
    /// What the user needs to go on is printed without a terminal too.
    is_quiet: bool,
    has_line: Cell<bool>,
    last: Cell<Option<Step>>,
}

impl LifeNotes {
    /// Shows notes on a terminal, unless `-q` was given.
    pub fn new(verbosity: Verbosity) -> Self {
        let is_quiet = verbosity == Verbosity::Quiet;
        let is_visible = stderr().is_terminal() && !is_quiet;
        Self { is_visible, is_quiet, has_line: Cell::default(), last: Cell::default() }
    }

    /// Shows an event of a bastion.
    pub fn show(&self, event: &LifeEvent) {
        self.log(event);
        self.print(&of_life(event), is_live(event));
    }

    /// Shows an event of an access request. All but the seconds of the wait go to the log.
    ///
    /// The id of the request is printed without a terminal too: the wait may take an hour.
    pub fn show_approval(&self, event: &ApprovalEvent) {
        let (text, is_live) = (of_approval(event), is_wait(event));
        if !is_live {
            tracing::info!("{text}");
        }
        if self.is_visible || !has_id_to_keep(event) {
            self.print(&text, is_live);
        } else if !self.is_quiet {
            print_note(&text);
        }
    }

    fn print(&self, text: &str, is_live: bool) {
        if is_live {
            return self.live(text);
        }
        self.clear();
        if self.is_visible {
            print_note(text);
        }
    }

    fn log(&self, event: &LifeEvent) {
        let LifeEvent::Waiting { step, .. } = event else {
            return tracing::info!("{}", of_life(event));
        };
        if self.last.replace(Some(*step)) != Some(*step) {
            tracing::info!("{}", of_life(event));
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

/// Returns true if the user needs the id of the event to approve the request, or to go on with it.
fn has_id_to_keep(event: &ApprovalEvent) -> bool {
    matches!(event, ApprovalEvent::Requested { .. } | ApprovalEvent::Left { .. })
}

/// Returns true if the event is one of many of the same wait.
pub(super) fn is_wait(event: &ApprovalEvent) -> bool {
    matches!(event, ApprovalEvent::Waiting { .. })
}

fn is_live(event: &LifeEvent) -> bool {
    matches!(event, LifeEvent::Waiting { .. })
}
