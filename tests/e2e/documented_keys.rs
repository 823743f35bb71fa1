//! The keys of JSON output, compared with docs/json.md.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

/// Adds the paths of all values: `a.b`, and `a[].b` for the elements of a list. Nulls and empty lists may have any below.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>, open: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                found.insert(below.clone());
                paths(value, &below, found, open);
            }
        }
        Value::Array(elements) => {
            if elements.is_empty() {
                open.insert(path.to_owned());
            }
            let below = if path.is_empty() { String::new() } else { format!("{path}[]") };
            elements.iter().for_each(|element| paths(element, &below, found, open));
        }
        Value::Null => {
            open.insert(path.to_owned());
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The keys of a section of docs/json.md, and whether each is always there.
fn documented(section: &str) -> Vec<(String, bool)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md")).unwrap();
    let (_, rest) =
        page.split_once(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let rest = rest.split("\n## ").next().unwrap();
    let rows = rest.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(key, meaning)| (key.to_owned(), !meaning.contains("not always"))).collect()
}

/// Sees that a value has the documented keys, and no others.
#[track_caller]
pub fn has_keys(section: &str, value: &Value) {
    let (mut found, mut open) = (BTreeSet::new(), BTreeSet::new());
    paths(value, "", &mut found, &mut open);
    let documented = documented(section);
    let is_known = |key: &&String| documented.iter().any(|(known, _)| known == *key);
    let unknown: Vec<&String> = found.iter().filter(|key| !is_known(key)).collect();
    assert!(unknown.is_empty(), "{section}: docs/json.md has no {unknown:#?}");
    let is_below = |key: &str| open.iter().any(|above| above.is_empty() || key.starts_with(above.as_str()));
    let gone = documented.iter().filter(|(key, always)| *always && !found.contains(key) && !is_below(key));
    let gone: Vec<_> = gone.collect();
    assert!(gone.is_empty(), "{section}: not there: {gone:?}");
}
