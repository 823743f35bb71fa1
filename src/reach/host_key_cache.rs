//! The host keys of one machine, on disk. They do not expire: a key that changes is refused until the user renews it.

use std::path::PathBuf;

use russh::keys::PublicKey;
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::clock;
use crate::jump::TrustedKeys;

/// The file in the cache folder.
const FILE: &str = "host_keys.json";

/// The place of the keys of one machine.
pub(super) struct HostKeyCache {
    cache: Cache<Kept>,
    /// The id of the machine; `None` keeps nothing.
    place: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    source: String,
    keys: Vec<String>,
}

impl HostKeyCache {
    /// Names the place in the cache folder; without one nothing is kept.
    pub fn new(folder: Option<PathBuf>, place: Option<String>) -> Self {
        Self { cache: Cache::kept(folder, FILE), place }
    }

    /// Returns the keys, if there are some.
    pub fn load(&self) -> Option<TrustedKeys> {
        let Kept { source, keys } = self.cache.get(clock::wall(), self.place.as_ref()?)?.value;
        let keys: Vec<PublicKey> = keys.iter().filter_map(|key| key.parse().ok()).collect();
        (!keys.is_empty()).then_some(TrustedKeys { source, keys })
    }

    /// Replaces the keys.
    pub fn store(&self, trusted: &TrustedKeys) {
        let Some(place) = &self.place else { return };
        let keys = trusted.keys.iter().filter_map(|key| key.to_openssh().ok()).collect();
        self.cache.put(clock::wall(), place, Kept { source: trusted.source.clone(), keys });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_for_one_machine() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
        let folder = tempfile::tempdir().unwrap();
        let cache =
            |place: Option<&str>| HostKeyCache::new(Some(folder.path().into()), place.map(str::to_owned));
        let trusted = TrustedKeys { source: "a".into(), keys: vec![key.parse().unwrap()] };
        cache(None).store(&trusted);
        cache(Some("i-1")).store(&trusted);
        assert_eq!(cache(Some("i-1")).load(), Some(trusted));
        assert_eq!((cache(Some("i-2")).load(), cache(None).load()), (None, None));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{ half").unwrap();
        let cache = HostKeyCache::new(Some(folder.path().into()), Some("i-1".to_owned()));
        cache.store(&TrustedKeys { source: "a".into(), keys: Vec::new() });
        assert_eq!(std::fs::read_to_string(folder.path().join(FILE)).unwrap(), "{ half");
        assert_eq!(cache.load(), None);
    }
}
