//! Shell completion: the scripts that shells load, and the words that those scripts then ask for.
//!
//! A script asks this very program, so it fits whatever version is installed. Names of targets come from the config file
//! and from the names that the last `fumidai list` left in the cache: nothing is asked of the network while somebody types.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::Shells;
use serde_json::Value;

use crate::config::{Config, Environment, Flags};

use super::args::CommandLine;
use super::report::ExitKind;
use super::stdout;
use crate::escape::escape;

/// Set by the scripts, to the name of their shell.
const VARIABLE: &str = "FUMIDAI_COMPLETE";

/// clap's own script for bash completes neither `user@name` nor `ecs:…`.
const BASH: &str = include_str!("completion.bash");

/// A shell with completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Elvish => "elvish",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Zsh => "zsh",
        }
    }
}

/// zsh loads a file of its `fpath` at the first Tab and calls what it takes for a function's body: that must complete,
/// and not only register who does.
const ZSH_AUTOLOAD: &str = r#"
if [ "$funcstack[1]" = "_fumidai" ]; then
    _clap_dynamic_completer_fumidai "$@"
fi
"#;

/// Prints the script of a shell.
pub(super) fn print_script(shell: Shell) -> ExitCode {
    if shell == Shell::Bash {
        return stdout::print(BASH);
    }
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let writer = shells.completer(shell.name()).expect("clap_complete knows these shells");
    let written = writer.write_registration(VARIABLE, "fumidai", "fumidai", "fumidai", &mut script);
    written.expect("a Vec takes every write");
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Zsh {
        script.push_str(ZSH_AUTOLOAD);
    }
    stdout::print(&script)
}

/// Answers a script, if it is one that calls.
pub(super) fn answer(args: &[OsString]) -> Option<ExitCode> {
    let current = std::env::current_dir().ok();
    let completion = CompleteEnv::with_factory(CommandLine::command).var(VARIABLE);
    match completion.try_complete(args.iter().cloned(), current.as_deref()) {
        Ok(true) => Some(ExitKind::Done.into()),
        Ok(false) => None,
        Err(_) => Some(ExitKind::Usage.into()),
    }
}

/// Completes `[USER@]TARGET`.
pub(super) fn targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        let environment = Environment::from_process();
        let config = Config::resolve(Flags::default(), &environment).ok();
        let names = config.map(|config| known_names(&config)).unwrap_or_default();
        matching(word, &names).into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Completes a target or the name of a forward.
pub(super) fn forwards() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        let environment = Environment::from_process();
        let Ok(config) = Config::resolve(Flags::default(), &environment) else { return Vec::new() };
        let mut names = known_names(&config);
        names.extend(config.forwards.keys().cloned());
        matching(word, &names).into_iter().map(CompletionCandidate::new).collect()
    })
}

/// The hosts of the config file, and the names and ids of the cache.
fn known_names(config: &Config) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = config.hosts.keys().cloned().collect();
    if let Some(folder) = &config.cache_dir {
        names.extend(cached_names(&folder.join("names.json")));
    }
    names
}

/// Reads the texts under `id` and `name`, wherever they are: a completion must not fail because a file is of another
/// version.
fn cached_names(file: &Path) -> Vec<String> {
    let cached = fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let mut names = Vec::new();
    collect_names(&cached.unwrap_or(Value::Null), &mut names);
    names
}

fn collect_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect_names(value, names)),
        Value::Object(members) => {
            let texts = ["id", "name"].into_iter().filter_map(|key| members.get(key)?.as_str());
            names.extend(texts.filter(|text| is_typed(text)).map(str::to_owned));
            members.values().for_each(|value| collect_names(value, names));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A tag's value is somebody else's text: only what is one plain word goes into a command line.
fn is_typed(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | ':' | '/' | '=');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) && escape(text) == text
}

/// The names that begin as the word does; the user before the last `@` stays.
fn matching(word: &OsStr, names: &BTreeSet<String>) -> Vec<String> {
    let Some(word) = word.to_str() else { return Vec::new() };
    let (user, start) = word.rfind('@').map_or(("", word), |at| word.split_at(at + 1));
    names.iter().filter(|name| name.starts_with(start)).map(|name| format!("{user}{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_version_of_the_cache_are_found() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("names.json");
        assert!(cached_names(&file).is_empty());
        fs::write(&file, "{").expect("a file");
        assert!(cached_names(&file).is_empty());
        let text = r#"{"version":1,"places":{"prod/eu-west-1":[{"id":"i-0123","name":"web-1","state":"running"},
            {"id":"i-0456","name":null},{"id":"mi-0789","name":"a b"},{"name":"$(reboot)"},{"name":"-x"}]}}"#;
        fs::write(&file, text).expect("a file");
        assert_eq!(cached_names(&file), ["i-0123", "web-1", "i-0456", "mi-0789"]);
    }

    #[test]
    fn the_user_stays_before_the_name() {
        let names = ["db", "web-1", "web-2"].map(str::to_owned).into();
        assert_eq!(matching(OsStr::new("we"), &names), ["web-1", "web-2"]);
        assert_eq!(matching(OsStr::new("a@b@d"), &names), ["a@b@db"]);
        assert_eq!(matching(OsStr::new("me@"), &names).len(), 3);
        assert!(matching(OsStr::new("x"), &names).is_empty());
    }
}
