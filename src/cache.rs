//! A JSON file in the cache folder: entries by key that expire, readable by their owner only.
//!
//! A cache never fails its user. A file that cannot be read counts as empty; a failed write is logged. The caches
//! (message sizes in `session`, machines and resolved names in `names`, host keys in `reach`) differ in file, key, value and lifetime only.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::private_file;

/// The entries of one file.
#[derive(Clone, Debug)]
pub struct Cache<T> {
    folder: Option<PathBuf>,
    file: &'static str,
    lifetime: Duration,
    is_kept: bool,
    values: PhantomData<T>,
}

/// An entry that has not expired.
#[derive(Debug)]
pub struct Cached<T> {
    /// The value.
    pub value: T,
    /// The time since it was stored.
    pub age: Duration,
}

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    /// Unix time in seconds.
    learned: u64,
    #[serde(flatten)]
    value: T,
}

impl<T: Serialize + DeserializeOwned> Cache<T> {
    /// Names a file in `folder`; without a folder the cache stays empty. Entries expire after `lifetime`.
    pub fn new(folder: Option<PathBuf>, file: &'static str, lifetime: Duration) -> Self {
        Self { folder, file, lifetime, is_kept: false, values: PhantomData }
    }

    /// Names a file whose entries do not expire, and which is left as it is while it cannot be read.
    pub fn kept(folder: Option<PathBuf>, file: &'static str) -> Self {
        Self { folder, file, lifetime: Duration::MAX, is_kept: true, values: PhantomData }
    }

    /// Returns the entry of `key` unless it has expired.
    pub fn get(&self, now: SystemTime, key: &str) -> Option<Cached<T>> {
        let entry = self.read(now).remove(key)?;
        let age = Duration::from_secs(unix_seconds(now).saturating_sub(entry.learned));
        Some(Cached { value: entry.value, age })
    }

    /// Stores a value under `key`, and drops expired entries.
    pub fn put(&self, now: SystemTime, key: &str, value: T) {
        let Some(folder) = &self.folder else { return };
        if let Err(error) = self.add(folder, now, key, value) {
            tracing::debug!(%error, folder = %folder.display(), file = self.file, "cannot write the cache");
        }
    }

    /// Adds an entry, one process at a time: none loses what another has added.
    fn add(&self, folder: &Path, now: SystemTime, key: &str, value: T) -> io::Result<()> {
        create_private_folder(folder)?;
        let lock = folder.join(format!(".{}.lock", self.file));
        let mut options = fs::OpenOptions::new();
        private_file::non_blocking(options.write(true).create(true).truncate(false));
        let lock = options.open(lock)?;
        lock.lock()?;
        let mut entries = match self.load(folder) {
            Err(error) if self.is_kept => return Err(error),
            entries => self.living(entries.unwrap_or_default(), now),
        };
        entries.insert(key.to_owned(), Entry { learned: unix_seconds(now), value });
        replace(folder, self.file, &entries)
    }

    fn read(&self, now: SystemTime) -> BTreeMap<String, Entry<T>> {
        let entries = self.folder.as_ref().and_then(|folder| self.load(folder).ok());
        self.living(entries.unwrap_or_default(), now)
    }

    /// Reads the file; one that is not there is empty.
    fn load(&self, folder: &Path) -> io::Result<BTreeMap<String, Entry<T>>> {
        match private_file::open_to_read(&folder.join(self.file)) {
            Ok(mut file) => {
                let mut text = Vec::new();
                file.read_to_end(&mut text)?;
                Ok(serde_json::from_slice(&text)?)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    fn living(&self, mut entries: BTreeMap<String, Entry<T>>, now: SystemTime) -> BTreeMap<String, Entry<T>> {
        let now = unix_seconds(now);
        let is_living = |learned| learned <= now && now - learned < self.lifetime.as_secs();
        entries.retain(|_, entry| self.is_kept || is_living(entry.learned));
        entries
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Writes a new file beside the old one and renames it, so that readers never see half of it.
fn replace(folder: &Path, name: &str, content: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(content)?;
    let fresh = folder.join(format!(".{name}.{}", std::process::id()));
    let done = create_private(&fresh)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&fresh, folder.join(name)));
    if done.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    done
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Creates the file and never follows a link: a file that a killed process of the same id left behind is removed first.
fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(600);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Size {
        bytes: usize,
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn cache(folder: &Path) -> Cache<Size> {
        Cache::new(Some(folder.to_owned()), "sizes.json", LIFETIME)
    }

    #[test]
    fn an_entry_is_returned_with_its_age_until_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(&folder.path().join("deep"));
        cache.put(now(), "a", Size { bytes: 1 });
        cache.put(now() + Duration::from_secs(10), "b", Size { bytes: 2 });
        let found = cache.get(now() + Duration::from_secs(599), "a").expect("not expired");
        assert_eq!((found.value, found.age.as_secs()), (Size { bytes: 1 }, 599));
        assert!(cache.get(now() + LIFETIME, "a").is_none());
        assert!(cache.get(now() + LIFETIME, "b").is_some());
        assert!(cache.get(now() - Duration::from_secs(1), "a").is_none(), "stored in the future");
    }

    #[test]
    fn a_broken_file_is_empty_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sizes.json"), "{nonsense").unwrap();
        let cache = cache(folder.path());
        assert!(cache.get(now(), "a").is_none());
        cache.put(now(), "a", Size { bytes: 1 });
        assert!(cache.get(now(), "a").is_some());
    }

    #[test]
    #[cfg(unix)]
    fn a_pipe_in_the_place_of_a_file_holds_nothing_up() {
        for name in ["sizes.json", ".sizes.json.lock"] {
            let folder = tempfile::tempdir().unwrap();
            let made = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status().unwrap();
            assert!(made.success());
            let cache = cache(folder.path());
            assert!(cache.get(now(), "a").is_none(), "{name}");
            cache.put(now(), "a", Size { bytes: 1 });
        }
    }

    #[test]
    fn a_cache_without_a_usable_folder_stays_empty() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        for folder in [None, Some(folder.path().join("file"))] {
            let cache: Cache<Size> = Cache::new(folder, "sizes.json", LIFETIME);
            cache.put(now(), "a", Size { bytes: 1 });
            assert!(cache.get(now(), "a").is_none());
        }
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_file_are_private_and_links_are_not_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let (caches, victim) = (folder.path().join("caches"), folder.path().join("victim"));
        create_private_folder(&caches).unwrap();
        fs::write(&victim, "untouched").unwrap();
        symlink(&victim, caches.join(format!(".sizes.json.{}", std::process::id()))).unwrap();
        cache(&caches).put(now(), "a", Size { bytes: 1 });
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&caches), mode(&caches.join("sizes.json"))), (0o700, 0o600));
        assert_eq!(fs::read_to_string(victim).unwrap(), "untouched");
    }
}
