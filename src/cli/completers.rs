//! The values that completion offers for targets and forwards.
//!
//! They come from the config file and from the machines that the last `fumidai list` cached: completion never uses the
//! network.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use serde_json::Value;

use crate::config::{Config, Environment, Flags};
use crate::escape::escape;
use crate::names::cache::MACHINES_FILE;

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

/// Returns the hosts of the config file, and the names and ids of the cache.
fn known_names(config: &Config) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = config.hosts.keys().cloned().collect();
    if let Some(folder) = &config.cache_dir {
        names.extend(cached_names(&folder.join(MACHINES_FILE)));
    }
    names
}

/// Reads the texts under `id` and `name` at any depth, so that the file of another version works too.
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

/// Returns true for one plain word: tags come from other users, and nothing else may get into a command line.
fn is_typed(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | ':' | '/' | '=');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) && escape(text) == text
}

/// Returns the names that start with the word; the user before the last `@` stays.
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
