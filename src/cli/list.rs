//! The command `list`: what can be reached, and its state.
//!
//! Standard output gets the table or the JSON and nothing else. The texts come from AWS and its users: control and
//! invisible characters are escaped, in JSON as `\uXXXX`.

use std::borrow::Cow;
use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

use unicode_width::UnicodeWidthChar;

use crate::config::{Config, Verbosity};
use crate::escape::{escape, escape_json};
use crate::names::ListedMachine;
use crate::reach::{self, Listing};
use crate::session::Interrupts;

use super::args::ListArgs;
use super::columns::columns;
use super::prompt::prompts;
use super::report::{ExitKind, notes};
use super::runtime::{self, Context};
use super::stderr::print_note;
use super::stdout;

/// On a terminal a longer text would break the columns.
const WIDEST_CELL: usize = 48;
const HEADER: [&str; 7] = ["ID", "NAME", "ADDRESS", "PLATFORM", "AGENT", "PING", "STATE"];

/// Runs the command.
pub(super) fn list(config: &Config, args: &ListArgs) -> ExitCode {
    runtime::finish(runtime::run(Interrupts::signals, async |_: &Context| {
        let listing = reach::list(config, prompts(config), !args.no_cache).await?;
        Ok(show(listing, args, config.log.verbosity))
    }))
}

fn show(listing: Listing, args: &ListArgs, verbosity: Verbosity) -> ExitCode {
    let seen = listing.machines.len();
    let filters: Vec<Filter> = args.filters.iter().map(|text| Filter::parse(text)).collect();
    let rows = listing.machines.into_iter().filter(|row| filters.iter().all(|filter| filter.passes(row)));
    let rows: Vec<ListedMachine> = rows.collect();
    if verbosity != Verbosity::Quiet {
        if let Some(error) = &listing.missing {
            print_note(&notes::of_incomplete_list(error));
        }
        if rows.is_empty() {
            print_note(&notes::of_empty_list(seen, &listing.region));
        } else if listing.age > Duration::ZERO && stderr().is_terminal() {
            print_note(&notes::of_cached_list(listing.age));
        }
    }
    if args.json {
        let json = serde_json::to_string_pretty(&rows).expect("rows have text keys only");
        return stdout::print(&(escape_json(&json) + "\n"));
    }
    if rows.is_empty() {
        return ExitKind::Done.into();
    }
    let widest = if stdout().is_terminal() { WIDEST_CELL } else { usize::MAX };
    stdout::print(&table(&rows, widest))
}

fn table(rows: &[ListedMachine], widest: usize) -> String {
    let mut lines: Vec<Vec<String>> = vec![HEADER.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| cells(row).map(|cell| shown(cell, widest)).to_vec()));
    columns(&lines)
}

/// Cuts a text at a number of columns, and shows that it was cut.
fn cut_columns(text: &str, widest: usize) -> Cow<'_, str> {
    let columns = text.char_indices().scan(0, |columns, (at, c)| {
        *columns += c.width().unwrap_or(0);
        Some((at, *columns))
    });
    let end = columns.skip_while(|(_, columns)| *columns <= widest).map(|(at, _)| at).next();
    end.map_or(Cow::Borrowed(text), |end| Cow::Owned(format!("{}…", &text[..end])))
}

fn shown(cell: Option<&str>, widest: usize) -> String {
    match cell {
        Some(text) if !text.trim().is_empty() => cut_columns(escape(text).trim(), widest).into_owned(),
        Some(_) | None => "-".to_owned(),
    }
}

fn cells(machine: &ListedMachine) -> [Option<&str>; HEADER.len()] {
    let ListedMachine { id, name, address, platform, agent_version, ping, state, .. } = machine;
    let texts = [name, address, platform, agent_version, ping, state].map(Option::as_deref);
    let [name, address, platform, agent_version, ping, state] = texts;
    [Some(id), name, address, platform, agent_version, ping, state]
}

/// What a machine must have to be listed.
#[derive(Debug, PartialEq, Eq)]
enum Filter {
    /// That tag, with that value if one is given.
    Tag(String, Option<String>),
    /// That state of EC2 or of the agent.
    State(String),
    /// That text in a column, an address or a DNS name, ignoring case.
    Text(String),
}

impl Filter {
    fn parse(text: &str) -> Self {
        if let Some(tag) = text.strip_prefix("tag:") {
            return match tag.split_once('=') {
                Some((key, value)) => Self::Tag(key.to_owned(), Some(value.to_owned())),
                None => Self::Tag(tag.to_owned(), None),
            };
        }
        match text.strip_prefix("state:") {
            Some(state) => Self::State(state.to_owned()),
            None => Self::Text(text.to_lowercase()),
        }
    }

    fn passes(&self, row: &ListedMachine) -> bool {
        match self {
            Self::Tag(key, value) => row
                .tags
                .iter()
                .any(|tag| tag.key == *key && value.as_ref().is_none_or(|value| *value == tag.value)),
            Self::State(wanted) => {
                let mut states = row.state.iter().chain(&row.ping);
                states.any(|state| state.eq_ignore_ascii_case(wanted))
            }
            Self::Text(part) => {
                let more = row.addresses.iter().chain(&row.dns_names).map(String::as_str);
                let mut texts = cells(row).into_iter().flatten().chain(more);
                texts.any(|text| text.to_lowercase().contains(part))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::listed::Tag;

    fn row(id: &str, name: &str, state: &str) -> ListedMachine {
        ListedMachine {
            id: id.into(),
            name: Some(name.into()),
            address: Some("10.0.0.1".into()),
            addresses: vec!["10.0.0.1".into(), "198.51.100.1".into()],
            state: Some(state.into()),
            ping: Some("Online".into()),
            tags: vec![Tag { key: "Team".into(), value: "Web".into() }],
            ..ListedMachine::default()
        }
    }

    #[test]
    fn columns_are_aligned_and_unknowns_are_dashes() {
        let rows = [row("i-1", "web", "running"), row("i-0123456789abcdef0", "踏み台", "stopped")];
        let expected = "\
ID                   NAME    ADDRESS   PLATFORM  AGENT  PING    STATE
i-1                  web     10.0.0.1  -         -      Online  running
i-0123456789abcdef0  踏み台  10.0.0.1  -         -      Online  stopped
";
        assert_eq!(table(&rows, usize::MAX), expected);
    }

    #[test]
    fn a_text_is_cut_at_columns() {
        assert_eq!(cut_columns("踏み台", 6), "踏み台");
        assert_eq!(cut_columns("踏み台", 5), "踏み…");
        assert_eq!(cut_columns("e\u{301}e\u{301}x", 2), "e\u{301}e\u{301}…");
    }

    #[test]
    fn hostile_names_stay_in_their_cell() {
        let text = table(&[row("i-1", "\x1b[2Ja\nb\u{202e}\r\tc ", "running")], usize::MAX);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains(r"\x1b[2Ja b\u{202e} c  10.0.0.1"), "{text}");
        let text = table(&[row("i-1", &"x".repeat(500), "running")], WIDEST_CELL);
        assert!(text.lines().all(|line| line.chars().count() < 150), "{text}");
    }

    #[test]
    fn filters_are_texts_tags_and_states() {
        let one = row("i-1", "web-prod", "running");
        for (text, passes) in [
            ("prod", true),
            ("PROD", true),
            ("i-1", true),
            ("198.51", true),
            ("running", true),
            ("online", true),
            ("db", false),
            ("tag:Team=Web", true),
            ("tag:Team", true),
            ("tag:Team=web", false),
            ("tag:Role", false),
            ("state:running", true),
            ("state:Online", true),
            ("state:run", false),
        ] {
            assert_eq!(Filter::parse(text).passes(&one), passes, "{text}");
        }
    }

    #[test]
    fn json_keeps_every_value_raw() {
        let json = serde_json::to_value(row("i-1", "\x1b[2J", "running")).expect("JSON");
        assert_eq!(json["name"], "\x1b[2J");
        assert_eq!(json["platform"], serde_json::Value::Null);
        assert_eq!(json["tags"][0]["Key"], "Team");
    }
}
