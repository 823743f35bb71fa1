//! The manual: one page for the program and one for each command, from the definition of the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::CommandLine;
use super::report::ExitKind;
use super::stdout;

/// What scripts see, in the order of the codes.
const EXITS: [(ExitKind, &str); 15] = [
    (ExitKind::Done, "done"),
    (ExitKind::Failure, "unexpected failure, or an AWS error that has no code here"),
    (ExitKind::Usage, "usage"),
    (ExitKind::Configuration, "configuration file, or no region"),
    (ExitKind::Credentials, "no usable credentials, or expired ones"),
    (ExitKind::AccessDenied, "access denied"),
    (ExitKind::NotFound, "target not found"),
    (ExitKind::Ambiguous, "target ambiguous"),
    (ExitKind::NotConnected, "target not connected"),
    (ExitKind::RemotePort, "remote port refused or not reached"),
    (ExitKind::TimedOut, "timed out"),
    (ExitKind::Lost, "session lost, and not resumable in the window"),
    (ExitKind::EndedByFarSide, "ended by the far side before its time"),
    (ExitKind::SshAuth, "ssh authentication or host key"),
    (ExitKind::Encryption, "session encryption"),
];

/// Prints the page of a command, or all of them one after the other.
pub(super) fn print(command: Option<&str>) -> ExitCode {
    let pages = pages();
    let wanted = |name: &str| {
        command.is_none_or(|command| name == command || name.strip_prefix("fumidai-") == Some(command))
    };
    let text: String = pages.into_iter().filter(|(name, _)| wanted(name)).map(|(_, text)| text).collect();
    stdout::print(&text)
}

/// Takes the name of a command, or of the program, as a word of the command line.
pub(super) fn command(word: &str) -> Result<String, String> {
    let commands = commands();
    if word == "fumidai" || commands.iter().any(|name| name == word) {
        return Ok(word.to_owned());
    }
    Err(format!("the commands are {}", commands.join(", ")))
}

fn commands() -> Vec<String> {
    let line = CommandLine::command();
    line.get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// Every page with its name.
fn pages() -> Vec<(String, String)> {
    let mut line = CommandLine::command().disable_help_subcommand(true);
    line.build();
    let mut pages = vec![("fumidai".to_owned(), page(line.clone()) + &exit_section())];
    for command in line.get_subcommands().filter(|command| !command.is_hide_set()) {
        pages.push((format!("fumidai-{}", command.get_name()), page(command.clone())));
    }
    pages
}

fn page(command: clap::Command) -> String {
    let mut text = Vec::new();
    let source = concat!("fumidai ", env!("CARGO_PKG_VERSION"));
    let written = Man::new(command).source(source).manual("fumidai").render(&mut text);
    written.expect("a Vec takes every write");
    plain(&String::from_utf8_lossy(&text))
}

/// Old formatters read Latin-1: everything else is named by its number.
fn plain(text: &str) -> String {
    let written = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    text.chars().map(written).collect()
}

fn exit_section() -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman("ssh shows 255 whatever its ProxyCommand exits with.")]);
    for (kind, meaning) in EXITS {
        roff.control("TP", []);
        roff.text([bold(kind.code().to_string())]).text([roman(meaning)]);
    }
    roff.control("TP", []);
    roff.text([bold("128+n")]).text([roman("ended by signal n")]);
    roff.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let names: Vec<String> = pages().into_iter().map(|(name, _)| name).collect();
        let expected = commands().into_iter().map(|name| format!("fumidai-{name}"));
        assert_eq!(names, [vec!["fumidai".to_owned()], expected.collect()].concat());
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
}
