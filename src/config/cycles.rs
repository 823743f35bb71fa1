//! Hosts whose `via` keys form a cycle.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::{split_region, split_user};

use super::host::Host;

/// Finds hosts whose `via` keys form a cycle; the first is repeated at the end.
pub(super) fn find_cycle<'a>(
    hosts: &'a BTreeMap<String, Host>,
    in_order: impl Iterator<Item = &'a str>,
) -> Option<Vec<&'a str>> {
    let mut search = Search { hosts, done: BTreeSet::new(), path: Vec::new() };
    in_order.filter_map(|name| search.from(name)).next()
}

/// Finds the host that a word of a `via` or of the command line names, with or without user and region.
pub(super) fn named<'a>(hosts: &'a BTreeMap<String, Host>, word: &str) -> Option<(&'a str, &'a Host)> {
    let (_, word) = split_user(word);
    let found = hosts.get_key_value(word).or_else(|| hosts.get_key_value(split_region(word).0));
    found.map(|(name, host)| (name.as_str(), host))
}

struct Search<'a> {
    hosts: &'a BTreeMap<String, Host>,
    /// Hosts from which no cycle is reached.
    done: BTreeSet<&'a str>,
    path: Vec<&'a str>,
}

impl<'a> Search<'a> {
    fn from(&mut self, name: &str) -> Option<Vec<&'a str>> {
        let (name, host) = named(self.hosts, name)?;
        if let Some(start) = self.path.iter().position(|earlier| *earlier == name) {
            return Some(self.path[start..].iter().copied().chain([name]).collect());
        }
        if !self.done.contains(name) {
            self.path.push(name);
            let cycle = host.via.iter().find_map(|hop| self.from(hop));
            if cycle.is_some() {
                return cycle;
            }
            self.path.pop();
            self.done.insert(name);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycle(hops: &[(&str, &[&str])]) -> Option<String> {
        let host =
            |via: &[&str]| Host { via: via.iter().map(|&hop| hop.into()).collect(), ..Host::default() };
        let hosts = hops.iter().map(|(name, via)| ((*name).to_owned(), host(via))).collect();
        find_cycle(&hosts, hops.iter().map(|(name, _)| *name)).map(|names| names.join(" "))
    }

    #[test]
    fn chains_are_not_cycles() {
        assert_eq!(cycle(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &["i-0123"]), ("d", &["a"])]), None);
        let fan: Vec<String> = (0..40).map(|n| format!("h{n}")).collect();
        let hops: Vec<Vec<&str>> =
            (0..40).map(|n| fan[n + 1..].iter().map(String::as_str).collect()).collect();
        let all: Vec<_> = fan.iter().map(String::as_str).zip(hops.iter().map(Vec::as_slice)).collect();
        assert_eq!(cycle(&all), None);
    }

    #[test]
    fn a_cycle_begins_with_its_first_member() {
        assert_eq!(cycle(&[("a", &["a"])]).as_deref(), Some("a a"));
        assert_eq!(
            cycle(&[("x", &["a"]), ("a", &["i-1", "me@b"]), ("b", &["a--eu-west-1"])]).as_deref(),
            Some("a b a")
        );
    }
}
