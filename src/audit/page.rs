//! The record as one HTML page that loads nothing: a timeline for each day and person, the failures and gaps, a table.
//!
//! The page can be read without its script, which only sorts the table. Its policy allows that script by its hash and
//! nothing else: text in the page that a browser would take for a script is not run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::escape::escape;

use super::rows::{Row, RowEnd};
use super::verify::{Touched, Verified};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const DAY: u64 = 24 * 60 * 60;
/// A bar that is narrower cannot be seen, in percent of a day.
const NARROWEST: f64 = 0.3;

/// What the page is made of.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The rows, the earliest first.
    pub rows: &'a [Row],
    /// Whether the record was touched.
    pub verified: &'a Result<Verified, Touched>,
    /// The time of the report.
    pub now: SystemTime,
    /// What was left out, and where the rows come from.
    pub about: &'a [String],
}

impl Page<'_> {
    /// Returns the document.
    pub fn html(&self) -> String {
        let hash = BASE64_STANDARD.encode(digest(&SHA256, SCRIPT.as_bytes()));
        let policy = format!("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'");
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>fumidai: sessions</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{}{}{}{}\
             <script>{SCRIPT}</script>\n</body>\n</html>\n",
            self.summary(),
            self.timeline(),
            self.faults(),
            self.table(),
        )
    }

    fn summary(&self) -> String {
        let open = self.rows.iter().filter(|row| row.state == RowEnd::Open).count();
        let failures = self.rows.iter().filter(|row| row.is_failure()).count();
        let mut text = "<h1>Sessions</h1>\n<ul>\n".to_owned();
        item(&mut text, &format!("made at {}", super::stamp(self.now)));
        item(&mut text, &period(self.rows));
        item(
            &mut text,
            &format!("{}, {} open, {}", count(self.rows.len(), "row"), open, count(failures, "failure")),
        );
        item(&mut text, &verdict(self.verified));
        self.about.iter().for_each(|line| item(&mut text, line));
        text + "</ul>\n"
    }

    /// One block for each day, one line for each person.
    fn timeline(&self) -> String {
        let mut days: BTreeMap<u64, BTreeMap<&str, String>> = BTreeMap::new();
        for row in self.rows {
            for (day, bar) in self.bars(row) {
                days.entry(day).or_default().entry(row.person()).or_default().push_str(&bar);
            }
        }
        let mut text = format!("<h2>Timeline (UTC)</h2>\n{LEGEND}");
        if days.is_empty() {
            text += "<p>No sessions.</p>\n";
        }
        for (day, people) in days {
            let _ = writeln!(text, "<section><h3>{}</h3>{HOURS}", date(day));
            for (person, bars) in people {
                let _ = writeln!(
                    text,
                    "<div class=\"line\"><b>{}</b><div class=\"day\">{bars}</div></div>",
                    html(person)
                );
            }
            text += "</section>\n";
        }
        text
    }

    /// Returns the bars of a row: one for each day that it touches.
    fn bars(&self, row: &Row) -> Vec<(u64, String)> {
        let Some(began) = row.began().map(seconds) else { return Vec::new() };
        let end = match (row.state, &row.ended) {
            (RowEnd::Open, _) => seconds(self.now),
            (_, Some(ended)) => super::entry::time_of(ended).map_or(began, seconds),
            (_, None) => began,
        };
        let end = end.max(began);
        (began / DAY..=end / DAY).map(|day| (day, bar(row, day, began, end))).collect()
    }

    fn faults(&self) -> String {
        let mut text = "<h2>Failures and gaps</h2>\n<ul class=\"faults\">\n".to_owned();
        if self.verified.is_err() {
            item(&mut text, &verdict(self.verified));
        }
        for row in self.rows.iter().filter(|row| row.is_failure()) {
            item(&mut text, &fault(row));
        }
        if self.verified.is_ok() && !self.rows.iter().any(Row::is_failure) {
            item(&mut text, "none");
        }
        text + "</ul>\n"
    }

    fn table(&self) -> String {
        let header: String = COLUMNS.iter().map(|name| format!("<th>{name}</th>")).collect();
        let rows: String = self.rows.iter().map(line).collect();
        format!(
            "<h2>All rows</h2>\n<table id=\"rows\">\n<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n"
        )
    }
}

/// What the colours mean.
const LEGEND: &str = "<p class=\"legend\"><span class=\"done\"></span> ended <span class=\"open\"></span> open \
     <span class=\"bad\"></span> failed, not started, or without a recorded end <span class=\"event\"></span> other</p>\n";
/// The scale above a day's lines.
const HOURS: &str =
    "<div class=\"line\"><b></b><div class=\"hours\"><i>0</i><i>6</i><i>12</i><i>18</i><i>24</i></div></div>";

const COLUMNS: [&str; 14] = [
    "Started", "Person", "Event", "Target", "To", "Reason", "Seconds", "Sent", "Received", "Resumes", "End",
    "Session", "From", "Caller",
];

/// Returns the sentence about the record's state.
pub fn verdict(verified: &Result<Verified, Touched>) -> String {
    match verified {
        Ok(Verified { lines, files }) => {
            let lines = count(*lines, "line");
            format!("the record was not touched: {lines} in {}", count(*files, "file"))
        }
        Err(Touched { file, line, fault }) => {
            format!("the record was touched at {}:{line}: {fault}", file.display())
        }
    }
}

fn count(number: impl std::fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    format!("{number} {noun}{}", if number == "1" { "" } else { "s" })
}

fn item(text: &mut String, line: &str) {
    let _ = writeln!(text, "<li>{}</li>", html(line));
}

fn period(rows: &[Row]) -> String {
    let times = || rows.iter().map(|row| row.start.time.as_str()).filter(|time| !time.is_empty());
    match (times().min(), times().max()) {
        (Some(first), Some(last)) => format!("from {first} to {last}"),
        _ => "no rows".to_owned(),
    }
}

fn bar(row: &Row, day: u64, began: u64, end: u64) -> String {
    let (start, stop) = (began.max(day * DAY), end.min((day + 1) * DAY));
    let percent = |seconds: u64| seconds as f64 * 100.0 / DAY as f64;
    let width = percent(stop.saturating_sub(start)).max(NARROWEST);
    let class = class(row);
    format!(
        "<span class=\"{class}\" style=\"left:{:.2}%;width:{width:.2}%\" title=\"{}\"></span>",
        percent(start - day * DAY).min(100.0 - NARROWEST),
        html(&title(row)),
    )
}

fn class(row: &Row) -> &'static str {
    match row.state {
        RowEnd::Failed | RowEnd::NotStarted | RowEnd::Unknown => "bad",
        RowEnd::Open => "open",
        RowEnd::Elsewhere => "elsewhere",
        RowEnd::Event => "event",
        RowEnd::Done | RowEnd::Left => "done",
    }
}

fn title(row: &Row) -> String {
    let to = row.start.address.as_deref().or(row.start.target.as_deref()).unwrap_or_default();
    let reason = row.start.reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
    format!("{} {to}{reason} ({})", row.start.time, row.state.word())
}

fn fault(row: &Row) -> String {
    let what = match row.state {
        RowEnd::NotStarted => "was not started",
        RowEnd::Unknown => "has no recorded end: its process was killed, or the machine lost its power",
        RowEnd::Failed | RowEnd::Open | RowEnd::Done | RowEnd::Left | RowEnd::Elsewhere | RowEnd::Event => {
            "failed"
        }
    };
    let target = row.start.target.as_deref().unwrap_or("an unknown target");
    let session = row.start.session.as_deref().map(|id| format!(" {id}")).unwrap_or_default();
    let why = row.start.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} {}: session{session} to {target} {what}{why}", row.start.time, row.person())
}

fn line(row: &Row) -> String {
    let (start, trail) = (&row.start, row.trail.clone().unwrap_or_default());
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells = [
        start.time.clone(),
        row.person().to_owned(),
        start.event.words().to_owned(),
        start.target.clone().or(start.host.clone()).unwrap_or_default(),
        row.to(),
        optional(&start.reason),
        number(row.seconds),
        number(start.sent),
        number(start.received),
        number(start.resumes.map(u64::from)),
        row.state.word().to_owned(),
        start.session.clone().or(start.life.clone()).unwrap_or_default(),
        optional(&trail.from),
        trail.caller.clone().or(start.caller.clone()).unwrap_or_default(),
    ];
    let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", html(cell))).collect();
    let class = if row.is_failure() { " class=\"bad\"" } else { "" };
    format!("<tr{class}>{cells}</tr>\n")
}

/// Makes a text that others wrote fit for the page.
fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn date(day: u64) -> String {
    super::stamp(UNIX_EPOCH + Duration::from_secs(day * DAY)).chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Entry, EventKind};
    use super::super::rows::rows;
    use super::*;

    #[test]
    fn the_verdict_counts_lines_and_files() {
        let words = |lines, files| verdict(&Ok(Verified { lines, files }));
        assert_eq!(words(46, 1), "the record was not touched: 46 lines in 1 file");
        assert_eq!(words(1, 1), "the record was not touched: 1 line in 1 file");
        assert_eq!(words(0, 0), "the record was not touched: 0 lines in 0 files");
    }

    fn page(entries: Vec<Entry>) -> String {
        let rows = rows(entries.into_iter());
        let now = UNIX_EPOCH + Duration::from_secs(30 * DAY);
        let verified = Ok(Verified { lines: 2, files: 1 });
        Page { rows: &rows, verified: &verified, now, about: &[] }.html()
    }

    fn entry(session: &str, seconds: u64) -> Entry {
        let time = super::super::stamp(UNIX_EPOCH + Duration::from_secs(seconds));
        Entry { time, event: EventKind::Started, session: Some(session.to_owned()), ..Entry::default() }
    }

    #[test]
    fn a_session_over_midnight_is_on_both_days() {
        let end = Entry { event: EventKind::Ended, end: Some("done".into()), ..entry("ann-1", DAY + 3600) };
        let text = page(vec![entry("ann-1", DAY - 3600), end]);
        for part in [
            "<h3>1970-01-01</h3>",
            "<h3>1970-01-02</h3>",
            "left:95.83%;width:4.17%",
            "left:0.00%;width:4.17%",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let hostile = "</td><script src=x>'\"&\u{202e}";
        let entry = Entry { reason: Some(hostile.into()), target: Some(hostile.into()), ..entry(hostile, 0) };
        let text = page(vec![entry]);
        assert_eq!(text.matches("<script").count(), 1, "{text}");
        assert!(text.contains("&lt;script src=x&gt;&#39;&quot;&amp;\\u{202e}"), "{text}");
    }

    #[test]
    fn an_empty_record_is_a_page() {
        let text = page(Vec::new());
        assert!(text.contains("No sessions.") && text.contains("<li>none</li>"), "{text}");
    }
}
