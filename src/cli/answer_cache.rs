//! What names were found to mean, on disk, for the hosts that ask for it by `cache`; all others are resolved afresh.
//!
//! `answers.json` in the cache folder, mode 0600. An answer holds for the caller, profile, region and endpoints that it
//! was given to. Nothing here may fail a session.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::cache::CacheFile;
use crate::config::Config;

use super::name_cache::{fingerprint, scope, unix_seconds};

/// The longest that anything is kept: a host may ask for less.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// The answers for one scope.
pub(super) struct AnswerCache {
    file: CacheFile,
    scope: String,
    life: Duration,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    id: String,
    /// Unix time in seconds.
    learned: u64,
}

type Answers = BTreeMap<String, Answer>;

impl AnswerCache {
    /// Looks after the answers that this caller gets in that region; `None` where the host asks for none.
    pub fn new(config: &Config, region: &str, access_key_id: &str) -> Option<Self> {
        let life = config.name_life.filter(|life| !life.is_zero())?;
        let file = CacheFile::new(config.cache_dir.clone(), "answers.json");
        Some(Self { file, scope: format!("{} {}", scope(config, region), fingerprint(access_key_id)), life })
    }

    /// The id that `name` was found to mean, if that was not too long ago.
    pub fn load(&self, now: SystemTime, name: &str) -> Option<String> {
        let answer = self.read(now).remove(&self.key(name))?;
        let age = unix_seconds(now) - answer.learned;
        (age < self.life.as_secs()).then_some(answer.id)
    }

    /// Keeps what `name` means.
    pub fn store(&self, now: SystemTime, name: &str, id: &str) {
        let mut answers = self.read(now);
        answers.insert(self.key(name), Answer { id: id.to_owned(), learned: unix_seconds(now) });
        self.file.write(&answers);
    }

    fn key(&self, name: &str) -> String {
        format!("{} {name}", self.scope)
    }

    fn read(&self, now: SystemTime) -> Answers {
        let mut answers: Answers = self.file.read();
        let now = unix_seconds(now);
        answers.retain(|_, answer| answer.learned <= now && now - answer.learned < LIFE.as_secs());
        answers
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::config::{Environment, Flags};

    #[test]
    fn an_answer_holds_for_its_caller_and_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::resolve(Flags::default(), &Environment::default()).unwrap();
        config.cache_dir = Some(folder.path().to_owned());
        assert!(AnswerCache::new(&config, "eu-west-1", "AKIA").is_none(), "nobody asked for it");
        config.name_life = Some(Duration::from_secs(60));
        let cache = |region: &str, key: &str| AnswerCache::new(&config, region, key).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        cache("eu-west-1", "AKIA").store(now, "web", "i-1");
        assert_eq!(cache("eu-west-1", "AKIA").load(now, "web").as_deref(), Some("i-1"));
        assert_eq!(cache("eu-west-1", "AKIA").load(now + Duration::from_secs(60), "web"), None);
        assert_eq!(cache("eu-west-1", "OTHER").load(now, "web"), None);
        assert_eq!(cache("us-east-1", "AKIA").load(now, "web"), None);
        assert_eq!(cache("eu-west-1", "AKIA").load(now, "db"), None);
    }
}
