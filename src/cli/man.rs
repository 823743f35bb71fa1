//! The manual: one page for the program and one for each command, from the definition of the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::config::Key;

use super::args::{CommandLine, ManArgs, command_names};
use super::report::{ExitKind, Report, UsageError};
use super::stdout;

/// Prints the page of a command, or all of them one after the other.
pub(super) fn print(args: &ManArgs) -> ExitCode {
    let command = args.command.as_deref();
    if let (Some(command), Some(word)) = (command, &args.subcommand) {
        return match page_below(command, word) {
            Some(page) => stdout::print(&page),
            None => {
                Report::from(UsageError::NoPage { command: command.to_owned(), word: word.clone() }).print()
            }
        };
    }
    let pages = pages();
    let wanted = |name: &str| {
        command.is_none_or(|command| name == command || name.strip_prefix("fumidai-") == Some(command))
    };
    let text: String = pages.into_iter().filter(|(name, _)| wanted(name)).map(|(_, text)| text).collect();
    stdout::print(&text)
}

/// Returns the page of a command of a command.
fn page_below(command: &str, word: &str) -> Option<String> {
    let page = page(line().find_subcommand(command)?.find_subcommand(word)?.clone());
    Some(page + &see_also(&[&format!("fumidai-{command}(1)"), "fumidai(1)"]))
}

fn line() -> clap::Command {
    let mut line = CommandLine::command().disable_help_subcommand(true);
    line.build();
    line
}

/// Returns every page with its name.
fn pages() -> Vec<(String, String)> {
    let line = line();
    let mut pages = vec![("fumidai".to_owned(), page(line.clone()) + &plain(&first_sections()))];
    for command in line.get_subcommands().filter(|command| !command.is_hide_set()) {
        let text = page(command.clone()) + &see_also(&["fumidai(1)", "ssh_config(5)"]);
        pages.push((format!("fumidai-{}", command.get_name()), text));
    }
    pages
}

/// The sections that only the first page has.
fn first_sections() -> String {
    let names = command_names();
    let pages = names.iter().map(|name| format!("fumidai-{name}(1)"));
    let pages: Vec<String> = pages.chain(["ssh(1)", "ssh_config(5)"].map(str::to_owned)).collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let sections = [
        section("EXAMPLES", "", EXAMPLES.map(|(command, text)| (command.to_owned(), text.to_owned()))),
        section("FILES", "", FILES.map(|(file, text)| (file.to_owned(), text.to_owned()))),
        section("ENVIRONMENT", ENVIRONMENT, variables()),
        exit_section(),
        see_also(&pages),
    ];
    sections.concat()
}

/// Commands that show what each command is for.
const EXAMPLES: [(&str, &str); 10] = [
    ("fumidai init", "sets up the first machine: config file, ssh_config, a database's port"),
    (
        "fumidai ssh-config --install",
        "has ssh, scp and rsync go through fumidai, for ids and for hosts of the config file",
    ),
    ("ssh ec2-user@i-0123456789abcdef0", "logs in"),
    ("scp notes.txt ec2-user@i-0123456789abcdef0--eu-central-1:", "copies a file to another region"),
    ("fumidai forward i-0123456789abcdef0 -L 13306:db.internal:3306", "puts a database on a local port"),
    ("fumidai forward i-0123456789abcdef0 -D 1080", "listens for SOCKS5 and HTTP CONNECT"),
    (
        "fumidai up orders-db",
        "keeps a forward of the config file, also after a reboot; `fumidai status` shows it",
    ),
    ("fumidai list state:running", "lists what can be reached"),
    ("fumidai explain web", "prints what `web` means, and where each setting comes from"),
    ("fumidai explain web --policy", "prints the least IAM policy for that"),
];

const FILES: [(&str, &str); 7] = [
    ("~/.config/fumidai/config.toml", "the config file (macOS: ~/Library/Application Support/fumidai)"),
    ("~/.local/state/fumidai/fumidai.log", "the log (macOS: ~/Library/Application Support/fumidai)"),
    (
        "~/.cache/fumidai/",
        "the last list of machines, host keys of `host_keys`, and sizes of messages (macOS: ~/Library/Caches/fumidai)",
    ),
    ("~/.ssh/fumidai.config", "written by `fumidai ssh-config --install` and included by ~/.ssh/config"),
    (
        "~/.config/systemd/user/fumidai-forward@NAME.service",
        "written by `fumidai up`, removed by `fumidai down` (macOS: ~/Library/LaunchAgents)",
    ),
    ("~/.aws/config, ~/.aws/credentials", "profiles, as the AWS CLI reads them"),
    ("~/.ssh/known_hosts", "host keys of hops"),
];

const ENVIRONMENT: &str = "A flag overrides its variable. FUMIDAI_* override hosts and forwards of the config file, which \
    override AWS_*. An empty variable counts as not set.";

/// The variables of the settings, then the others that users set.
fn variables() -> Vec<(String, String)> {
    const OTHERS: [(&str, &str); 9] = [
        ("FUMIDAI_NO_INPUT", "nothing is asked; --no-input"),
        ("FUMIDAI_QUIET, FUMIDAI_VERBOSE", "what is printed on standard error; -q, -v"),
        (
            "FUMIDAI_VIA, FUMIDAI_START, FUMIDAI_EPHEMERAL_KEY, FUMIDAI_KEY_FILE",
            "--via, --start, --ephemeral-key, --key-file",
        ),
        ("FUMIDAI_CONFIG", "the config file; --config"),
        ("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN", "credentials"),
        ("AWS_CA_BUNDLE", "roots to trust beside the system's"),
        ("AWS_ENDPOINT_URL_SSM, _EC2, _ECS, _STS, _SSMMESSAGES", "endpoints of single services"),
        ("HTTPS_PROXY, NO_PROXY", "the proxy for API calls and streams, and what goes around it"),
        ("NO_COLOR", "no colour; --color never"),
    ];
    let settings = Key::ALL.iter().map(|key| key.row()).filter(|row| !row.variables.is_empty());
    let settings = settings.map(|row| (row.variables.join(", then "), format!("--{}", row.flag())));
    let others = OTHERS.map(|(name, text)| (name.to_owned(), text.to_owned()));
    settings.chain(others).collect()
}

fn section(title: &str, text: &str, rows: impl IntoIterator<Item = (String, String)>) -> String {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    if !text.is_empty() {
        roff.text([roman(text)]);
    }
    for (term, meaning) in rows {
        roff.control("TP", []);
        roff.text([bold(term)]).text([roman(meaning)]);
    }
    roff.render()
}

fn see_also(pages: &[&str]) -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(pages.join(", "))]);
    roff.render()
}

fn page(command: clap::Command) -> String {
    let mut text = Vec::new();
    let source = concat!("fumidai ", env!("CARGO_PKG_VERSION"));
    let written = Man::new(command).source(source).manual("fumidai").render(&mut text);
    written.expect("a Vec takes every write");
    plain(&String::from_utf8_lossy(&text))
}

/// Writes everything but ASCII as its number: old formatters read Latin-1.
fn plain(text: &str) -> String {
    let written = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    text.chars().map(written).collect()
}

fn exit_section() -> String {
    let rows = ExitKind::ALL.map(|kind| (kind.code().to_string(), kind.meaning().to_owned()));
    let signal = ("128+n".to_owned(), "ended by signal n".to_owned());
    let text = "ssh itself exits with 255 for every failure of its ProxyCommand.";
    section("EXIT STATUS", text, rows.into_iter().chain([signal]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let names: Vec<String> = pages().into_iter().map(|(name, _)| name).collect();
        let expected = command_names().into_iter().map(|name| format!("fumidai-{name}"));
        assert_eq!(names, [vec!["fumidai".to_owned()], expected.collect()].concat());
    }

    #[test]
    fn a_command_of_a_command_has_a_page() {
        let page = page_below("bastion", "start").expect("a page");
        for word in
            [".TH fumidai-bastion-start 1", "fumidai bastion start", r"\-\-dry\-run", "fumidai\\-bastion(1)"]
        {
            assert!(page.contains(word), "{word}: {page}");
        }
        assert_eq!((page_below("bastion", "nosuch"), page_below("connect", "start")), (None, None));
    }

    #[test]
    fn a_page_has_the_options_and_the_first_one_the_exit_codes() {
        for (name, text) in pages() {
            assert!(text.contains(&format!(".TH {name} 1")), "{name}: {text}");
            assert!(text.contains(r"\-\-region"), "{name}");
            assert_eq!(text.contains("EXIT STATUS"), name == "fumidai");
        }
        assert!(pages()[0].1.contains("session lost"));
    }

    #[test]
    fn the_first_page_has_the_usual_sections_in_order() {
        let text = &pages()[0].1;
        let places = ["EXAMPLES", "FILES", "ENVIRONMENT", "EXIT STATUS", "SEE ALSO"].map(|title| {
            let headings = [format!("\n.SH {title}\n"), format!("\n.SH \"{title}\"\n")];
            headings
                .iter()
                .find_map(|heading| text.find(heading))
                .unwrap_or_else(|| panic!("{title}: {text}"))
        });
        assert!(places.is_sorted(), "{places:?}");
        for word in ["FUMIDAI_REGION, then AWS_REGION", "fumidai\\-forward(1)", "config.toml"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(pages().iter().all(|(_, text)| text.contains("SEE ALSO")));
    }
}
