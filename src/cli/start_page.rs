//! What `fumidai` alone prints on a terminal: what is set up, and what to type next.

use std::process::ExitCode;

use crate::config::{Config, Environment, Flags};
use crate::escape::escape;

use super::columns::columns;
use super::report::Report;
use super::ssh_files::SshFiles;
use super::stdout;

/// Names that are shown of many.
const SHOWN: usize = 5;

/// What the page is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    /// The config file, or why it cannot be used.
    file: Option<Result<String, String>>,
    hosts: Vec<String>,
    forwards: Vec<String>,
    uses_ssh: bool,
}

/// Prints the page.
pub(super) fn print(environment: &Environment) -> ExitCode {
    stdout::print(&page(&facts(environment)))
}

fn facts(environment: &Environment) -> Facts {
    let home = environment.folders.home.as_ref();
    let uses_ssh = home.is_some_and(|home| SshFiles::of_home(home).is_installed());
    match Config::resolve(Flags::default(), environment) {
        Ok(config) => Facts {
            file: config.file.map(|file| Ok(file.display().to_string())),
            hosts: config.hosts.into_keys().collect(),
            forwards: config.forwards.into_keys().collect(),
            uses_ssh,
        },
        Err(error) => {
            Facts { file: Some(Err(Report::from(error).cause().to_owned())), uses_ssh, ..Facts::default() }
        }
    }
}

fn page(facts: &Facts) -> String {
    let Facts { file, hosts, forwards, uses_ssh } = facts;
    let config = match file {
        None => "none yet".to_owned(),
        Some(Ok(file)) => file.clone(),
        Some(Err(cause)) => format!("cannot be used: {cause}"),
    };
    let ssh = if *uses_ssh { "goes through fumidai, for ids and hosts" } else { "does not use fumidai yet" };
    let rows = [
        ("config file", config),
        ("hosts", names(hosts)),
        ("forwards", names(forwards)),
        ("ssh", ssh.into()),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), escape(&value).into_owned()]);
    let next = next(facts).into_iter().map(|(command, what)| vec![format!("  {command}"), what.to_owned()]);
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "fumidai {version}: ssh through AWS Systems Manager, with no open port 22\n\n{}\nNext:\n{}",
        columns(&rows),
        columns(&next.collect::<Vec<_>>()),
    )
}

fn names(names: &[String]) -> String {
    match names {
        [] => "none yet".to_owned(),
        few if few.len() <= SHOWN => few.join(", "),
        many => format!("{}, and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
    }
}

/// Returns the commands that make sense now.
fn next(facts: &Facts) -> Vec<(String, &'static str)> {
    let mut next = Vec::new();
    if facts.hosts.is_empty() {
        next.push(("fumidai init".to_owned(), "set up the first machine"));
    }
    if !facts.uses_ssh {
        next.push(("fumidai ssh-config --install".to_owned(), "have ssh, scp and rsync go through fumidai"));
    }
    if let (Some(host), true) = (facts.hosts.first(), facts.uses_ssh) {
        next.push((format!("ssh {}", escape(host)), "log in"));
    }
    if let Some(forward) = facts.forwards.first() {
        next.push((format!("fumidai up {}", escape(forward)), "open its port, and keep it open"));
        next.push(("fumidai status".to_owned(), "see what runs"));
    }
    next.push(("fumidai list".to_owned(), "list what can be reached"));
    next.push(("fumidai doctor".to_owned(), "find what is broken"));
    next.push(("fumidai --help".to_owned(), "see every command"));
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_user_is_led_to_init() {
        let text = page(&Facts::default());
        assert!(
            text.contains("config file  none yet\n") && text.contains("does not use fumidai yet"),
            "{text}"
        );
        assert!(text.contains("Next:\n  fumidai init"), "{text}");
        assert!(!text.contains("fumidai up"), "{text}");
    }

    #[test]
    fn what_is_set_up_is_shown_with_what_to_type_next() {
        let facts = Facts {
            file: Some(Ok("/home/me/config.toml".into())),
            hosts: (1..=7).map(|number| format!("web{number}")).collect(),
            forwards: vec!["orders-db".into()],
            uses_ssh: true,
        };
        let text = page(&facts);
        assert!(text.contains("web1, web2, web3, web4, web5, and 2 more"), "{text}");
        assert!(text.contains("Next:\n  ssh web1") && text.contains("  fumidai up orders-db"), "{text}");
        assert!(!text.contains("fumidai init"), "{text}");
        let broken = Facts { file: Some(Err("c.toml:1:1: \u{1b}[2J".into())), ..facts };
        assert!(page(&broken).contains("cannot be used: c.toml:1:1: \\x1b[2J"), "{}", page(&broken));
    }
}
