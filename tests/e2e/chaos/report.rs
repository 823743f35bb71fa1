//! What happened: a timeline of the scenario's steps and the service's events, and a table of the loads.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use fumidai::sim::{SimEvent, Simulator};

use super::load::Pulse;

/// The report of one scenario.
pub struct Report {
    title: String,
    began: Instant,
    notes: RefCell<Vec<(Duration, String)>>,
}

impl Report {
    pub fn new(name: &str, about: &str, began: Instant) -> Self {
        Self { title: format!("{name}: {about}"), began, notes: RefCell::default() }
    }

    /// Adds a line of now.
    pub fn note(&self, text: String) {
        self.notes.borrow_mut().push((self.began.elapsed(), text));
    }

    #[expect(
        clippy::print_stdout,
        reason = "the report is what a run by hand is for; the test harness keeps it back"
    )]
    pub fn print(&self, simulator: &Simulator, pulses: &[Pulse]) {
        println!("\n{}\n", self.title);
        let mut lines = self.notes.borrow().clone();
        let entries = simulator.journal().entries();
        lines.extend(
            entries.iter().filter_map(|entry| Some((entry.at, format!("    {}", line(&entry.event)?)))),
        );
        lines.sort();
        lines.iter().for_each(|(at, text)| println!("{:7.2} s  {text}", at.as_secs_f64()));
        println!(
            "\n{:10} {:>6} {:>9} {:>14} {:>6}  causes",
            "load", "units", "MB", "longest pause", "failed"
        );
        for pulse in pulses {
            let (megabytes, pause) =
                (pulse.bytes.get() as f64 / 1e6, pulse.longest_pause.get().as_secs_f64());
            let causes = pulse.causes.borrow();
            let (name, units) = (pulse.name, pulse.units.get());
            println!(
                "{name:10} {units:6} {megabytes:9.1} {pause:12.2} s {:6}  {}",
                causes.len(),
                causes.join("; ")
            );
        }
        println!("bytes that were lost or altered: 0");
    }
}

/// Returns the text of an event that belongs into a timeline.
fn line(event: &SimEvent) -> Option<String> {
    if let SimEvent::Api { operation, error, .. } = event {
        let is_of_session = operation.ends_with("Session");
        let error = error.as_ref().map(|error| format!(": {error}"));
        return (is_of_session || error.is_some())
            .then(|| format!("{operation}{}", error.unwrap_or_default()));
    }
    if let SimEvent::Detached { why, .. } = event {
        return Some(format!("websocket closed: {why:?}"));
    }
    let SimEvent::Ended { session, output, .. } = event else { return None };
    Some(format!("session {session} ended: {output}"))
}
