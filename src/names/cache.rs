//! What AWS reported of names, on disk: the machines, for `list` and completion, and what single names were resolved to,
//! for hosts that ask for it by `cache`.
//!
//! Both hold for one caller, profile, region and pair of endpoints. The files hold no access key id, only a part of its
//! hash.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Cached};

use super::ListedMachine;

/// The file of the machines, in the cache folder; completion reads it too.
pub const MACHINES_FILE: &str = "names.json";
const RESOLVED_FILE: &str = "answers.json";

/// Names change seldom, and a name that was completed is resolved again when it is used.
const MACHINES_LIFETIME: Duration = Duration::from_secs(600);
/// The upper limit of `cache`.
const RESOLVED_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Where a name has one meaning.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The cache folder; `None` keeps nothing.
    pub folder: Option<PathBuf>,
    /// The profile.
    pub profile: String,
    /// The region.
    pub region: String,
    /// The configured endpoints of EC2 and SSM.
    pub endpoints: [String; 2],
    /// The id of the key that signs the calls: another key may belong to another account.
    pub access_key_id: String,
}

impl Scope {
    fn key(&self) -> String {
        format!("{} {} {} {}", self.profile, self.region, self.endpoints[0], self.endpoints[1])
    }

    /// A few bytes of a hash distinguish keys.
    fn caller(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.access_key_id.as_bytes());
        digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The machines of a scope.
pub struct MachineCache {
    cache: Cache<Machines>,
    scope: Scope,
}

#[derive(Serialize, Deserialize)]
struct Machines {
    caller: String,
    rows: Vec<ListedMachine>,
}

impl MachineCache {
    /// Opens the cache of `scope`.
    pub fn new(scope: Scope) -> Self {
        Self { cache: Cache::new(scope.folder.clone(), MACHINES_FILE, MACHINES_LIFETIME), scope }
    }

    /// Returns the machines that the same caller stored, unless they have expired.
    pub fn load(&self, now: SystemTime) -> Option<Cached<Vec<ListedMachine>>> {
        let Cached { value, age } = self.cache.get(now, &self.scope.key())?;
        (value.caller == self.scope.caller()).then_some(Cached { value: value.rows, age })
    }

    /// Stores the machines.
    pub fn store(&self, now: SystemTime, rows: &[ListedMachine]) {
        let machines = Machines { caller: self.scope.caller(), rows: rows.to_vec() };
        self.cache.put(now, &self.scope.key(), machines);
    }
}

/// What single names of a scope were resolved to.
pub struct ResolvedCache {
    cache: Cache<Resolved>,
    scope: Scope,
    /// The host's own limit.
    lifetime: Duration,
}

#[derive(Serialize, Deserialize)]
struct Resolved {
    id: String,
}

impl ResolvedCache {
    /// Opens the cache of `scope`; `None` if the host does not ask for it.
    pub fn new(scope: Scope, lifetime: Option<Duration>) -> Option<Self> {
        let lifetime = lifetime.filter(|lifetime| !lifetime.is_zero())?;
        Some(Self {
            cache: Cache::new(scope.folder.clone(), RESOLVED_FILE, RESOLVED_LIFETIME),
            scope,
            lifetime,
        })
    }

    /// Returns the id that `name` was resolved to, unless that is too long ago.
    pub fn load(&self, now: SystemTime, name: &str) -> Option<String> {
        let Cached { value, age } = self.cache.get(now, &self.key(name))?;
        (age < self.lifetime).then_some(value.id)
    }

    /// Stores what `name` was resolved to.
    pub fn store(&self, now: SystemTime, name: &str, id: &str) {
        self.cache.put(now, &self.key(name), Resolved { id: id.to_owned() });
    }

    fn key(&self, name: &str) -> String {
        format!("{} {} {name}", self.scope.key(), self.scope.caller())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::UNIX_EPOCH;

    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn scope(folder: &Path, profile: &str, region: &str, key: &str) -> Scope {
        Scope {
            folder: Some(folder.to_owned()),
            profile: profile.to_owned(),
            region: region.to_owned(),
            endpoints: Default::default(),
            access_key_id: key.to_owned(),
        }
    }

    #[test]
    fn machines_are_returned_to_the_caller_that_stored_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = |profile, region, key| MachineCache::new(scope(folder.path(), profile, region, key));
        let rows = vec![ListedMachine { id: "i-1".into(), name: Some("web".into()), ..Default::default() }];
        cache("a", "eu-west-1", "AKIDEXAMPLE").store(now(), &rows);
        let later = now() + Duration::from_secs(599);
        let found = cache("a", "eu-west-1", "AKIDEXAMPLE").load(later).expect("not expired");
        assert_eq!((found.value, found.age.as_secs()), (rows, 599));
        assert!(cache("a", "eu-west-1", "OTHER").load(later).is_none());
        assert!(cache("b", "eu-west-1", "AKIDEXAMPLE").load(later).is_none());
        assert!(cache("a", "eu-west-2", "AKIDEXAMPLE").load(later).is_none());
        assert!(cache("a", "eu-west-1", "AKIDEXAMPLE").load(now() + MACHINES_LIFETIME).is_none());
        let text = fs::read_to_string(folder.path().join(MACHINES_FILE)).expect("a file");
        assert!(!text.contains("AKIDEXAMPLE"));
    }

    #[test]
    fn a_resolved_name_is_returned_to_its_caller_for_as_long_as_the_host_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let minute = Some(Duration::from_secs(60));
        let cache = |region, key| ResolvedCache::new(scope(folder.path(), "p", region, key), minute);
        let cache = |region, key| cache(region, key).expect("the host asks for it");
        cache("eu-west-1", "AKIA").store(now(), "web", "i-1");
        assert_eq!(cache("eu-west-1", "AKIA").load(now(), "web").as_deref(), Some("i-1"));
        assert_eq!(cache("eu-west-1", "AKIA").load(now() + Duration::from_secs(60), "web"), None);
        assert_eq!(cache("eu-west-1", "OTHER").load(now(), "web"), None);
        assert_eq!(cache("us-east-1", "AKIA").load(now(), "web"), None);
        assert_eq!(cache("eu-west-1", "AKIA").load(now(), "db"), None);
        assert!(ResolvedCache::new(scope(folder.path(), "p", "r", "k"), None).is_none());
    }
}
