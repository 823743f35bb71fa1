//! The machines that AWS told of last, on disk, for completion and `list`; sessions never rely on it.
//!
//! `names.json` in the cache folder, mode 0600, has an entry for each profile, region and pair of endpoints. Nothing here
//! may fail a command: what cannot be read is unknown, what cannot be written is a line in the log.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cache::CacheFile;
use crate::config::Config;

use super::list::Row;

const FILE: &str = "names.json";
/// Names change seldom, and a name that is completed is resolved afresh when it is used.
const LIFE: Duration = Duration::from_secs(600);

/// The file, and the entry that this run is about.
pub(super) struct NameCache {
    file: CacheFile,
    key: String,
}

/// What is known, and since when.
pub(super) struct Known {
    /// The machines.
    pub rows: Vec<Row>,
    /// How old that knowledge is.
    pub age: Duration,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// Unix time in seconds.
    learned: u64,
    /// Whose key it was: another one may belong to another account. Not the id itself.
    caller: String,
    rows: Vec<Row>,
}

type Entries = BTreeMap<String, Entry>;

impl NameCache {
    /// Looks after the entry for what the configuration chooses, in that region.
    pub fn new(config: &Config, region: &str) -> Self {
        Self { file: CacheFile::new(config.cache_dir.clone(), FILE), key: scope(config, region) }
    }

    /// Returns what is known and not too old; with a key's id, only what was told to that key.
    pub fn load(&self, now: SystemTime, access_key_id: Option<&str>) -> Option<Known> {
        let entry = self.read(now).remove(&self.key)?;
        let age = Duration::from_secs(unix_seconds(now).saturating_sub(entry.learned));
        let is_same = access_key_id.is_none_or(|id| fingerprint(id) == entry.caller);
        is_same.then_some(Known { rows: entry.rows, age })
    }

    /// Keeps what was learned.
    pub fn store(&self, now: SystemTime, access_key_id: &str, rows: &[Row]) {
        let mut entries = self.read(now);
        let entry =
            Entry { learned: unix_seconds(now), caller: fingerprint(access_key_id), rows: rows.to_vec() };
        entries.insert(self.key.clone(), entry);
        self.file.write(&entries);
    }

    fn read(&self, now: SystemTime) -> Entries {
        let mut entries: Entries = self.file.read();
        let now = unix_seconds(now);
        entries.retain(|_, entry| entry.learned <= now && now - entry.learned < LIFE.as_secs());
        entries
    }
}

/// Where a name means one thing: the profile, the region and the endpoints that are asked.
pub(super) fn scope(config: &Config, region: &str) -> String {
    let aws = &config.aws;
    let profile = aws.profile.as_deref().unwrap_or("default");
    let endpoints = [aws.ec2_endpoint(), aws.ssm_endpoint()].map(Option::unwrap_or_default);
    format!("{profile} {region} {} {}", endpoints[0], endpoints[1])
}

/// A few bytes of a hash: enough to tell keys apart.
pub(super) fn fingerprint(access_key_id: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, access_key_id.as_bytes());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, Flags};

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn config(folder: &Path, profile: &str) -> Config {
        let environment = Environment::of([("AWS_PROFILE", profile)]);
        let mut config = Config::resolve(Flags::default(), &environment).expect("valid");
        config.cache_dir = Some(folder.to_owned());
        config
    }

    fn rows() -> Vec<Row> {
        vec![Row { id: "i-1".into(), name: Some("web".into()), ..Row::default() }]
    }

    #[test]
    fn what_was_told_is_known_for_ten_minutes_to_the_same_caller() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = |profile, region| NameCache::new(&config(folder.path(), profile), region);
        cache("a", "eu-west-1").store(now(), "AKID", &rows());
        let later = now() + Duration::from_secs(599);
        let known = cache("a", "eu-west-1").load(later, Some("AKID")).expect("known");
        assert_eq!((known.rows, known.age.as_secs()), (rows(), 599));
        assert!(cache("a", "eu-west-1").load(later, None).is_some());
        assert!(cache("a", "eu-west-1").load(later, Some("OTHER")).is_none());
        assert!(cache("b", "eu-west-1").load(later, Some("AKID")).is_none());
        assert!(cache("a", "eu-west-2").load(later, Some("AKID")).is_none());
        assert!(cache("a", "eu-west-1").load(now() + LIFE, Some("AKID")).is_none());
        assert!(cache("a", "eu-west-1").load(now() - Duration::from_secs(1), None).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_it_and_no_key_is_in_it() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        NameCache::new(&config(folder.path(), "a"), "eu-west-1").store(now(), "AKIDEXAMPLE", &rows());
        let file = folder.path().join(FILE);
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&file).expect("text").contains("AKIDEXAMPLE"));
    }

    #[test]
    fn a_broken_or_absent_file_knows_nothing_and_fails_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(FILE), "{nonsense").expect("a file");
        let cache = NameCache::new(&config(folder.path(), "a"), "eu-west-1");
        assert!(cache.load(now(), None).is_none());
        cache.store(now(), "AKID", &rows());
        assert!(cache.load(now(), None).is_some());
        let nowhere = NameCache::new(&config(&folder.path().join(FILE), "a"), "eu-west-1");
        nowhere.store(now(), "AKID", &rows());
        assert!(nowhere.load(now(), None).is_none());
    }
}
