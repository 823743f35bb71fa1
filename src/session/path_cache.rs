//! What sessions learned about message sizes, kept per stream host in the cache folder for seven days.
//!
//! Only one session pays for a discovery. Nothing here may fail a session: what cannot be read is unknown, what
//! cannot be written is a line in the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::channel::PathKnowledge;

use crate::cache::CacheFile;

const FILE: &str = "path.json";
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The file, and the host that this session talks to.
#[derive(Clone, Debug)]
pub(crate) struct PathCache {
    file: CacheFile,
    host: String,
}

/// What is known about one host, since when. Sizes of whole messages in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Entry {
    proven: Option<usize>,
    refused: Option<usize>,
    /// Unix time in seconds.
    learned: u64,
}

type Entries = BTreeMap<String, Entry>;

impl PathCache {
    /// Looks after `host` in `folder`; without a folder nothing is kept.
    pub(crate) fn new(folder: Option<PathBuf>, host: String) -> Self {
        Self { file: CacheFile::new(folder, FILE), host }
    }

    /// What is known and not too old.
    pub(crate) fn load(&self, now: SystemTime) -> PathKnowledge {
        let entry = self.read(now).get(&self.host).copied().unwrap_or_default();
        PathKnowledge { proven: entry.proven, refused: entry.refused }
    }

    /// Keeps that messages of `size` pass.
    pub(crate) fn proven(&self, now: SystemTime, size: usize) {
        tracing::debug!(size, "message size proven");
        self.change(now, |entry| entry.proven = Some(size));
    }

    /// The size that was proven is not carried any more.
    pub(crate) fn outdated(&self, now: SystemTime) {
        tracing::info!("the path does not carry the message size of earlier sessions");
        self.change(now, |entry| entry.proven = None);
    }

    /// Keeps that messages of `size` do not pass.
    pub(crate) fn refused(&self, now: SystemTime, size: usize) {
        tracing::info!(size, "message size refused by the path");
        self.change(now, |entry| {
            entry.refused = Some(size);
            entry.proven = entry.proven.filter(|proven| *proven < size);
        });
    }

    fn change(&self, now: SystemTime, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.read(now);
        let entry = entries.entry(self.host.clone()).or_default();
        change(entry);
        entry.learned = unix_seconds(now);
        self.file.write(&entries);
    }

    fn read(&self, now: SystemTime) -> Entries {
        let mut entries: Entries = self.file.read();
        let now = unix_seconds(now);
        entries.retain(|_, entry| entry.learned <= now && now - entry.learned < LIFE.as_secs());
        entries
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn known(proven: Option<usize>, refused: Option<usize>) -> PathKnowledge {
        PathKnowledge { proven, refused }
    }

    #[test]
    fn what_is_learned_is_known_to_the_next_session_for_seven_days() {
        let folder = tempfile::tempdir().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let cache = |host: &str| PathCache::new(Some(folder.path().join("deep")), host.to_owned());
        cache("a").proven(now, 4096);
        cache("a").refused(now, 16_384);
        cache("b").proven(now, 32_768);
        assert_eq!(cache("a").load(now), known(Some(4096), Some(16_384)));
        assert_eq!(cache("b").load(now), known(Some(32_768), None));
        cache("b").refused(now, 16_384);
        assert_eq!(cache("b").load(now), known(None, Some(16_384)), "a smaller failure disproves");
        assert_eq!(cache("a").load(now + LIFE), known(None, None));
        assert_eq!(cache("a").load(now - Duration::from_secs(1)), known(None, None));
    }

    #[test]
    fn a_broken_or_absent_cache_knows_nothing_and_fails_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        fs::write(folder.path().join(FILE), "{nonsense").unwrap();
        let cache = PathCache::new(Some(folder.path().to_owned()), "a".to_owned());
        assert_eq!(cache.load(now), known(None, None));
        cache.proven(now, 4096);
        assert_eq!(cache.load(now), known(Some(4096), None));
        let nowhere = PathCache::new(Some(folder.path().join(FILE)), "a".to_owned());
        nowhere.proven(now, 4096);
        assert_eq!(nowhere.load(now), known(None, None));
        PathCache::new(None, "a".to_owned()).proven(now, 1);
    }
}
