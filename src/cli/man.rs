//! The manual: one page for the program and one for each command, from the definition of the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::CommandLine;
use super::report::ExitKind;
use super::stdout;

/// Prints the page of a command, or all of them one after the other.
pub(super) fn print(command: Option<&str>) -> ExitCode {
    let pages = pages();
    let wanted = |name: &str| {
        command.is_none_or(|command| name == command || name.strip_prefix("fumidai-") == Some(command))
    };
    let text: String = pages.into_iter().filter(|(name, _)| wanted(name)).map(|(_, text)| text).collect();
    stdout::print(&text)
}

/// Returns every page with its name.
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

/// Writes everything but ASCII as its number: old formatters read Latin-1.
fn plain(text: &str) -> String {
    let written = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    text.chars().map(written).collect()
}

fn exit_section() -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman("ssh itself exits with 255 for every failure of its ProxyCommand.")]);
    for kind in ExitKind::ALL {
        roff.control("TP", []);
        roff.text([bold(kind.code().to_string())]).text([roman(kind.meaning())]);
    }
    roff.control("TP", []);
    roff.text([bold("128+n")]).text([roman("ended by signal n")]);
    roff.render()
}

#[cfg(test)]
mod tests {
    use super::super::args::command_names;
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let names: Vec<String> = pages().into_iter().map(|(name, _)| name).collect();
        let expected = command_names().into_iter().map(|name| format!("fumidai-{name}"));
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
