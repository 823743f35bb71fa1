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

/// Completes the name of a forward.
pub(super) fn named_forwards() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        let config = Config::resolve(Flags::default(), &Environment::from_process()).ok();
        starting(word, &config.iter().flat_map(|config| config.forwards.keys().cloned()).collect())
    })
}

/// Completes the name of an AWS profile.
pub(super) fn profiles() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        let environment = Environment::from_process();
        let home = environment.folders.home.as_ref().map(|home| home.join(".aws"));
        let file = |variable: &str, name: &str| {
            environment.path(variable).or_else(|| home.as_ref().map(|home| home.join(name)))
        };
        let files = [file("AWS_CONFIG_FILE", "config"), file("AWS_SHARED_CREDENTIALS_FILE", "credentials")];
        let texts = files.into_iter().flatten().filter_map(|file| fs::read(file).ok());
        let names = texts.flat_map(|text| profile_names(&String::from_utf8_lossy(&text))).collect();
        starting(word, &names)
    })
}

/// Completes the name of a region: those of the config file and those that AWS has.
pub(super) fn regions() -> ArgValueCompleter {
    ArgValueCompleter::new(|word: &OsStr| {
        let config = Config::resolve(Flags::default(), &Environment::from_process()).ok();
        let hosts = config.iter().flat_map(|config| config.hosts.values());
        let own = hosts.filter_map(|host| host.settings.region.clone());
        starting(word, &REGIONS.iter().map(|&region| region.to_owned()).chain(own).collect())
    })
}

/// AWS's regions, as its documentation lists them.
pub(super) const REGIONS: [&str; 39] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Reads the names of the sections that are profiles.
fn profile_names(text: &str) -> Vec<String> {
    let sections = text.lines().filter_map(|line| line.trim().strip_prefix('[')?.split(']').next());
    let others = ["sso-session", "services", "preview", "plugins"];
    let name = |section: &str| {
        let (kind, name) = section.trim().split_once(char::is_whitespace).unwrap_or(("profile", section));
        let name = name.trim().trim_matches(['\'', '"']);
        (!others.contains(&kind) && !others.contains(&name) && is_typed(name)).then(|| name.to_owned())
    };
    sections.filter_map(name).collect()
}

fn starting(word: &OsStr, names: &BTreeSet<String>) -> Vec<CompletionCandidate> {
    let Some(word) = word.to_str() else { return Vec::new() };
    names.iter().filter(|name| name.starts_with(word)).map(CompletionCandidate::new).collect()
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
    fn profiles_are_the_sections_of_both_files() {
        let text = "[default]\nregion = x\n  [profile prod]\n[profile 'test-1'] # mine\n[sso-session corp]\n\
                    [services local]\n[base]\n[profile $(reboot)]\n[plugins]\n";
        assert_eq!(profile_names(text), ["default", "prod", "test-1", "base"]);
        assert!(REGIONS.is_sorted());
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
