//! The command `list`: what can be reached, and its state.
//!
//! Standard output gets the table or the JSON and nothing else. The texts are other people's: escaped in the table,
//! and raw in the JSON, whose strings escape for themselves.

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::aws::{Access, ApiError};
use crate::config::{Config, Verbosity};
use crate::names::Node;
use crate::names::lookup;

use super::args::ListArgs;
use super::name_cache::{Known, NameCache};
use super::report::{ExitKind, Report};
use super::stderr::print_note;
use super::stdout;
use super::way::open_aws;
use crate::clock;
use crate::escape::{cut, escape};

/// States change: what is older is asked for again.
const FRESH: Duration = Duration::from_secs(60);
/// On a terminal a longer text would break the columns.
const WIDEST_CELL: usize = 48;
const HEADER: [&str; 7] = ["ID", "NAME", "ADDRESS", "PLATFORM", "AGENT", "PING", "STATE"];

/// A machine as it is listed, in the cache and in the JSON. `null` is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// `i-…` or `mi-…`.
    pub id: String,
    /// The Name tag, else SSM's name.
    pub name: Option<String>,
    /// The address to know it by, a private one if there is one.
    pub address: Option<String>,
    /// All its addresses in EC2.
    pub addresses: Vec<String>,
    /// Its DNS names in EC2, and its host name in SSM.
    pub dns_names: Vec<String>,
    /// Its system.
    pub platform: Option<String>,
    /// The version of its agent.
    pub agent_version: Option<String>,
    /// `Online`, `ConnectionLost` or `Inactive`.
    pub ping: Option<String>,
    /// `running`, `stopped` and so on; `null` for what is not EC2's.
    pub state: Option<String>,
    /// Its tags in EC2.
    pub tags: Vec<Tag>,
}

/// A tag, as AWS's own JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: String,
}

/// What is listed, and what is to be known about it.
struct Listed {
    rows: Vec<Row>,
    region: String,
    unseen: Option<ApiError>,
    age: Duration,
}

/// Runs the command.
pub(super) fn list(config: &Config, args: &ListArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Report::new(ExitKind::Failure, format!("cannot start: {error}")).print(),
    };
    let result = runtime.block_on(gather(config, args.no_cache));
    runtime.shutdown_background();
    match result {
        Ok(listed) => show(listed, args, config.log.verbosity),
        Err(report) => report.print(),
    }
}

async fn gather(config: &Config, no_cache: bool) -> Result<Listed, Report> {
    let api = |error| Report::of_api(&error, None);
    let aws = open_aws(config).await?;
    let access = aws.access().await.map_err(api)?;
    let cache = NameCache::new(config, access.region());
    let now = clock::wall();
    if let Some(Known { rows, age }) = cache.load(now, Some(access.access_key_id()))
        && !no_cache
        && age < FRESH
    {
        return Ok(Listed { rows, region: access.region().to_owned(), unseen: None, age });
    }
    ask(&access, &cache, now).await
}

async fn ask(access: &Access, cache: &NameCache, now: SystemTime) -> Result<Listed, Report> {
    let listing = lookup::list(access).await;
    let listing = listing.map_err(|error| Report::of_lookup(&error, access.region()))?;
    let rows: Vec<Row> = listing.inventory.nodes().map(Row::from).collect();
    if listing.unseen.is_none() {
        cache.store(now, access.access_key_id(), &rows);
    }
    Ok(Listed { rows, region: access.region().to_owned(), unseen: listing.unseen, age: Duration::ZERO })
}

fn show(listed: Listed, args: &ListArgs, verbosity: Verbosity) -> ExitCode {
    let seen = listed.rows.len();
    let filters: Vec<Filter> = args.filters.iter().map(|text| Filter::parse(text)).collect();
    let rows = listed.rows.into_iter().filter(|row| filters.iter().all(|filter| filter.passes(row)));
    let rows: Vec<Row> = rows.collect();
    if verbosity != Verbosity::Quiet {
        if let Some(error) = &listed.unseen {
            print_note(&format!("not all could be seen: {error}"));
        }
        if rows.is_empty() {
            print_note(&nothing(seen, &listed.region));
        } else if listed.age > Duration::ZERO && stderr().is_terminal() {
            print_note(&format!("as of {} s ago; `--no-cache` asks again", listed.age.as_secs()));
        }
    }
    if args.json {
        let json = serde_json::to_string_pretty(&rows).expect("rows have text keys only");
        return stdout::print(&(json + "\n"));
    }
    if rows.is_empty() {
        return ExitKind::Done.into();
    }
    let widest = if stdout().is_terminal() { WIDEST_CELL } else { usize::MAX };
    stdout::print(&table(&rows, widest))
}

fn nothing(seen: usize, region: &str) -> String {
    match seen {
        0 => format!("there is nothing to be seen in {region}: another `--region` or `--profile`?"),
        _ => format!("none of {seen} in {region} passes the filters"),
    }
}

/// Lays out columns, two spaces apart; the last one is not padded.
fn table(rows: &[Row], widest: usize) -> String {
    let mut lines: Vec<Vec<String>> = vec![HEADER.map(str::to_owned).to_vec()];
    lines.extend(rows.iter().map(|row| row.cells().map(|cell| shown(cell, widest)).to_vec()));
    let mut widths = [0; HEADER.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn shown(cell: Option<&str>, widest: usize) -> String {
    match cell {
        Some(text) if !text.trim().is_empty() => cut(escape(text).trim(), widest).into_owned(),
        Some(_) | None => "-".to_owned(),
    }
}

impl Row {
    fn cells(&self) -> [Option<&str>; HEADER.len()] {
        let Self { id, name, address, platform, agent_version, ping, state, .. } = self;
        let texts = [name, address, platform, agent_version, ping, state].map(Option::as_deref);
        let [name, address, platform, agent_version, ping, state] = texts;
        [Some(id), name, address, platform, agent_version, ping, state]
    }
}

impl From<&Node> for Row {
    fn from(node: &Node) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (instance, agent) = (node.instance.as_ref(), node.agent.as_ref());
        let addresses =
            instance.into_iter().flat_map(|one| one.private_addresses.iter().chain(&one.public_addresses));
        let host_name = agent.and_then(|agent| agent.computer_name.clone());
        let dns_names = instance.into_iter().flat_map(|one| one.dns_names.iter().cloned()).chain(host_name);
        let tag = |(key, value): (&str, &str)| Tag { key: key.to_owned(), value: value.to_owned() };
        Self {
            id: node.id.clone(),
            name: owned(node.name()),
            address: owned(node.address()),
            addresses: addresses.cloned().collect(),
            dns_names: dns_names.collect(),
            platform: owned(node.platform()),
            agent_version: agent.and_then(|agent| agent.agent_version.clone()),
            ping: agent.and_then(|agent| agent.ping.clone()),
            state: owned(node.state()),
            tags: node.tags().map(tag).collect(),
        }
    }
}

/// What a row must have to be shown.
#[derive(Debug, PartialEq, Eq)]
enum Filter {
    /// That tag, with that value if one is given.
    Tag(String, Option<String>),
    /// That state of EC2 or of the agent.
    State(String),
    /// That text in a column, an address or a DNS name, in whatever case.
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

    fn passes(&self, row: &Row) -> bool {
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
                let mut texts = row.cells().into_iter().flatten().chain(more);
                texts.any(|text| text.to_lowercase().contains(part))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, name: &str, state: &str) -> Row {
        Row {
            id: id.into(),
            name: Some(name.into()),
            address: Some("10.0.0.1".into()),
            addresses: vec!["10.0.0.1".into(), "198.51.100.1".into()],
            state: Some(state.into()),
            ping: Some("Online".into()),
            tags: vec![Tag { key: "Team".into(), value: "Web".into() }],
            ..Row::default()
        }
    }

    #[test]
    fn columns_are_aligned_and_unknowns_are_dashes() {
        let rows = [row("i-1", "web", "running"), row("i-0123456789abcdef0", "踏み台", "stopped")];
        let expected = "\
ID                   NAME  ADDRESS   PLATFORM  AGENT  PING    STATE
i-1                  web   10.0.0.1  -         -      Online  running
i-0123456789abcdef0  踏み台   10.0.0.1  -         -      Online  stopped
";
        assert_eq!(table(&rows, usize::MAX), expected);
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
