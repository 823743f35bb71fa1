//! The chain of hashes: each line has its number, the hash of the line before, and its own hash at the end.
//!
//! A line's hash is the SHA-256 of its bytes before `,"hash":"`, so that a checker needs no JSON library.

use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::hash::hash;

/// What stands before the hash of a line, and behind it.
const BEFORE_HASH: &str = ",\"hash\":\"";
const BEHIND_HASH: &str = "\"}";

/// The end of a chain: what the next line continues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Link {
    /// The number of the line; the first line is 1.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Link {
    /// Returns what the first line continues.
    pub fn root() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }

    /// Returns the line of an entry, without its end, and the link that it makes.
    pub fn seal(&self, entry: &Entry) -> (String, Self) {
        let seq = self.seq.saturating_add(1);
        let sealed = Sealed { seq, prev: self.hash.clone(), entry: entry.clone() };
        let text = serde_json::to_string(&sealed).expect("an entry has text keys only");
        let content = text.strip_suffix('}').expect("an object ends so");
        let hash = hash(content);
        (format!("{content}{BEFORE_HASH}{hash}{BEHIND_HASH}"), Self { seq, hash })
    }
}

/// A line that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The link that it makes.
    pub link: Link,
    /// The hash of the line before, as it says.
    pub prev: String,
    /// Whether its hash is that of its text.
    pub is_intact: bool,
    /// The entry.
    pub entry: Entry,
}

impl Line {
    /// Reads a line without its end; `None` is not a line of a record.
    pub fn parse(text: &str) -> Option<Self> {
        let (content, own) = text.rsplit_once(BEFORE_HASH)?;
        let own = own.strip_suffix(BEHIND_HASH)?;
        let sealed: Sealed = serde_json::from_str(&format!("{content}}}")).ok()?;
        let link = Link { seq: sealed.seq, hash: own.to_owned() };
        Some(Self { link, prev: sealed.prev, is_intact: hash(content) == own, entry: sealed.entry })
    }
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    seq: u64,
    prev: String,
    #[serde(flatten)]
    entry: Entry,
}
