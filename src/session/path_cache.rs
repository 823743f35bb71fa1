//! What sessions learned about message sizes, kept per stream host in the cache folder for seven days.
//!
//! Only one session pays for a discovery. Nothing here may fail a session: what cannot be read is unknown, what
//! cannot be written is a line in the log.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::channel::PathKnowledge;

const FILE: &str = "path.json";
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The knowledge about one stream host.
#[derive(Clone, Debug)]
pub(crate) struct PathCache {
    cache: Cache<Sizes>,
    host: String,
}

/// Sizes of whole messages in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sizes {
    proven: Option<usize>,
    refused: Option<usize>,
}

impl PathCache {
    /// Opens the knowledge about `host` in `folder`; without a folder nothing is kept.
    pub(crate) fn new(folder: Option<PathBuf>, host: String) -> Self {
        Self { cache: Cache::new(folder, FILE, LIFETIME), host }
    }

    /// Returns what is known and has not expired.
    pub(crate) fn load(&self, now: SystemTime) -> PathKnowledge {
        let Sizes { proven, refused } = self.sizes(now);
        PathKnowledge { proven, refused }
    }

    /// Stores that messages of `size` pass.
    pub(crate) fn proven(&self, now: SystemTime, size: usize) {
        tracing::debug!(size, "message size proven");
        self.change(now, |sizes| sizes.proven = Some(size));
    }

    /// Forgets the proven size: the path does not carry it any more.
    pub(crate) fn outdated(&self, now: SystemTime) {
        tracing::info!("the path does not carry the message size of earlier sessions");
        self.change(now, |sizes| sizes.proven = None);
    }

    /// Stores that messages of `size` do not pass.
    pub(crate) fn refused(&self, now: SystemTime, size: usize) {
        tracing::info!(size, "message size refused by the path");
        self.change(now, |sizes| {
            sizes.refused = Some(size);
            sizes.proven = sizes.proven.filter(|proven| *proven < size);
        });
    }

    fn sizes(&self, now: SystemTime) -> Sizes {
        self.cache.get(now, &self.host).map(|cached| cached.value).unwrap_or_default()
    }

    fn change(&self, now: SystemTime, change: impl FnOnce(&mut Sizes)) {
        let mut sizes = self.sizes(now);
        change(&mut sizes);
        self.cache.put(now, &self.host, sizes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

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
        assert_eq!(cache("a").load(now + LIFETIME), known(None, None));
        assert_eq!(cache("a").load(now - Duration::from_secs(1)), known(None, None));
    }
}
