//! The files of the record: `audit.jsonl`, those that were put aside, and `audit.head`.
//!
//! `audit.head` has the number and hash of the last line, so that lines missing at the end are noticed. It is also what
//! processes lock: one line is appended at a time. A full file is renamed, and the next file continues the chain.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::private_file;

use super::chain::{Line, Link};
use super::entry::Entry;

/// About three thousand sessions; a file of this size is still quickly read.
const ROTATE_AT: u64 = 4 << 20;
/// More than the longest line.
const TAIL: u64 = 64 << 10;
const CURRENT: &str = "audit.jsonl";
const HEAD: &str = "audit.head";

/// The record cannot be written or read.
#[derive(Debug, Error)]
#[error("{}: {source}", file.display())]
pub struct StoreError {
    /// The file.
    pub file: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

/// The folder of a record.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    rotate_at: u64,
}

/// A record as it was read.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The files from the oldest to the newest, with their text.
    pub files: Vec<(PathBuf, String)>,
    /// The file that is written to, also if it does not exist.
    pub(super) newest: PathBuf,
    /// The end of the chain, if it is known.
    pub(super) head: Option<Link>,
}

impl Store {
    /// Names the folder; nothing is made yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, rotate_at: ROTATE_AT }
    }

    /// Puts a file aside at another size.
    #[cfg(test)]
    pub fn rotating_at(self, rotate_at: u64) -> Self {
        Self { rotate_at, ..self }
    }

    /// Returns the path of the newest file.
    pub fn file(&self) -> PathBuf {
        self.folder.join(CURRENT)
    }

    /// Appends a line. If the disk takes only a part of it, that part is removed again.
    ///
    /// # Errors
    /// [`StoreError`]; the record is as before.
    pub fn append(&self, entry: &Entry) -> Result<(), StoreError> {
        let (path, head_path) = (self.file(), self.folder.join(HEAD));
        let mut head = private_file::open(&head_path).map_err(failed(&head_path))?;
        head.lock().map_err(failed(&head_path))?;
        let mut file = private_file::open(&path).map_err(failed(&path))?;
        let known = read_head(&mut head).map_err(failed(&head_path))?;
        let last = repair(&mut file).map_err(failed(&path))?;
        let last = newest(known, last).unwrap_or_else(Link::root);
        file = self.rotated(file, &path).map_err(failed(&path))?;
        let (line, link) = last.seal(entry);
        let length = file.metadata().map_err(failed(&path))?.len();
        let written = file
            .write_all(format!("{line}\n").as_bytes())
            .map_err(failed(&path))
            .and_then(|()| write_head(&mut head, &link).map_err(failed(&head_path)));
        if written.is_err() {
            // A device has no length.
            let _ = file.set_len(length);
        }
        written
    }

    /// Puts a full file aside under the number of its first line. A record that was removed or restored has the number again.
    fn rotated(&self, file: File, path: &Path) -> io::Result<File> {
        // A link may lead to a file or device of another program: only a regular file is renamed.
        let is_full = fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.len() >= self.rotate_at);
        if !is_full {
            return Ok(file);
        }
        let bytes = fs::read(path)?;
        let text = String::from_utf8_lossy(&bytes);
        let first = text.lines().next().and_then(Line::parse).map_or(0, |line| line.link.seq);
        let mut aside = self.folder.join(format!("audit-{first:012}.jsonl"));
        let mut copy = 1;
        while fs::symlink_metadata(&aside).is_ok() {
            copy += 1;
            aside = self.folder.join(format!("audit-{first:012}-{copy}.jsonl"));
        }
        fs::rename(path, aside)?;
        private_file::open(path)
    }

    /// Reads all of it while nobody writes. A folder without a record is an empty one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn read(&self) -> Result<Contents, StoreError> {
        let head_path = self.folder.join(HEAD);
        let mut head = match private_file::open_to_read(&head_path) {
            Ok(head) => Some(head),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&head_path)(error)),
        };
        let known = match &mut head {
            Some(head) => {
                head.lock_shared().map_err(failed(&head_path))?;
                read_head(head).map_err(failed(&head_path))?
            }
            None => None,
        };
        let mut files = Vec::new();
        for path in self.files().map_err(failed(&self.folder))? {
            let mut bytes = Vec::new();
            let mut file = private_file::open_to_read(&path).map_err(failed(&path))?;
            file.read_to_end(&mut bytes).map_err(failed(&path))?;
            files.push((path, String::from_utf8_lossy(&bytes).into_owned()));
        }
        Ok(Contents { files, newest: self.file(), head: known })
    }

    /// Returns the files from the oldest to the newest.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut aside: Vec<String> =
            names.filter(|name| name.starts_with("audit-") && name.ends_with(".jsonl")).collect();
        aside.sort_by_cached_key(|name| (place(name), name.clone()));
        let all = aside.into_iter().map(|name| self.folder.join(name)).chain([self.file()]);
        Ok(all.filter(|path| path.is_file()).collect())
    }
}

impl Contents {
    /// Returns the entries of all lines that can be read.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let lines = self.files.iter().flat_map(|(_, text)| text.lines());
        lines.filter_map(|line| Some(Line::parse(line)?.entry))
    }
}

/// Returns the number of the first line of a file that was put aside, and which one of that number it is. Other names
/// come last.
fn place(name: &str) -> (u64, u64) {
    let middle = name.trim_start_matches("audit-").trim_end_matches(".jsonl");
    let (first, copy) = middle.split_once('-').unwrap_or((middle, "1"));
    (first.parse().unwrap_or(u64::MAX), copy.parse().unwrap_or(u64::MAX))
}

fn failed(file: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError { file: file.to_owned(), source }
}

fn read_head(head: &mut File) -> io::Result<Option<Link>> {
    let mut bytes = Vec::new();
    head.seek(SeekFrom::Start(0))?;
    head.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The last line may have been cut off by a crash.
    Ok(text.lines().rev().find_map(|line| serde_json::from_str(line).ok()))
}

/// Replaces the head. The file is opened for appending, so that what was there is removed first.
fn write_head(head: &mut File, link: &Link) -> io::Result<()> {
    let text = serde_json::to_string(link).map_err(io::Error::other)?;
    let length = head.metadata()?.len();
    // The old line stays until the new one is there: a full disk leaves the old one.
    if let Err(error) = head.write_all(format!("{text}\n").as_bytes()) {
        let _ = head.set_len(length);
        return Err(error);
    }
    if length < TAIL / 2 {
        return Ok(());
    }
    head.set_len(0)?;
    head.write_all(format!("{text}\n").as_bytes())
}

/// Removes a line whose end was never written, and returns the link of the last whole line, if it is one.
fn repair(file: &mut File) -> io::Result<Option<Link>> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    if length > 0 {
        file.take(TAIL).read_to_end(&mut bytes)?;
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        file.set_len(start + u64::try_from(whole).unwrap_or_default())?;
    }
    let text = String::from_utf8_lossy(&bytes[..whole]);
    Ok(text.lines().last().and_then(Line::parse).map(|line| line.link))
}

/// Returns what the next line continues. A head that is ahead shows, in the next line, that lines are missing.
fn newest(head: Option<Link>, last: Option<Link>) -> Option<Link> {
    match (head, last) {
        (Some(head), Some(last)) if last.seq >= head.seq => Some(last),
        (Some(head), _) => Some(head),
        (None, last) => last,
    }
}
