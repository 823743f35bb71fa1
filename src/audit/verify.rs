//! Whether a record is as it was written, and which line was touched first.

use std::path::PathBuf;

use thiserror::Error;

use super::chain::{Line, Link};
use super::store::Contents;

/// What is wrong with a record.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// The text is not a line of a record.
    #[error("it is not a line of a record")]
    NotALine,
    /// The hash of the line is not that of its text.
    #[error("its text was changed")]
    Changed,
    /// Lines are missing before this one.
    #[error("lines {first} to {last} are missing before it")]
    Missing {
        /// The number of the first that is missing.
        first: u64,
        /// The number of the last that is missing.
        last: u64,
    },
    /// The number is not larger than that of the line before: it was put in, moved, or written twice.
    #[error("it does not belong here: it has number {seq}, behind number {before}")]
    OutOfPlace {
        /// Its number.
        seq: u64,
        /// The number of the line before.
        before: u64,
    },
    /// The line was replaced: the next one continues another.
    #[error("it was replaced: the next line continues another one")]
    Replaced,
    /// Lines are missing at the end.
    #[error("lines {first} to {last} are missing behind it")]
    CutOff {
        /// The number of the first that is missing.
        first: u64,
        /// The number of the last that is missing.
        last: u64,
    },
    /// The file with the end of the chain is missing, old, or of another chain.
    #[error("`audit.head` does not belong to it")]
    OtherHead,
}

/// The first line that was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The file.
    pub file: PathBuf,
    /// The line in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// The extent of a record that was not touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Its lines.
    pub lines: u64,
    /// Its files.
    pub files: usize,
}

/// Where a line is.
#[derive(Clone, Copy)]
struct Place {
    file: usize,
    line: usize,
}

/// Checks every line.
///
/// # Errors
/// The first line that was touched.
pub fn verify(contents: &Contents) -> Result<Verified, Touched> {
    let touched = |place: Place, fault| Touched {
        file: contents
            .files
            .get(place.file)
            .map_or_else(|| contents.newest.clone(), |(path, _)| path.clone()),
        line: place.line,
        fault,
    };
    let (mut last, mut at) = (Link::root(), Place { file: 0, line: 0 });
    for (place, text) in lines(contents) {
        let line = match Line::parse(text) {
            Some(line) => line,
            // The next run removes a line that was cut off while it was written.
            None if is_unfinished(contents, place, &last) => break,
            None => return Err(touched(place, Fault::NotALine)),
        };
        if !line.is_intact {
            return Err(touched(place, Fault::Changed));
        }
        check_place(&last, &line).map_err(|fault| {
            let place = if fault == Fault::Replaced && at.line > 0 { at } else { place };
            touched(place, fault)
        })?;
        (last, at) = (line.link, place);
    }
    check_head(contents.head.as_ref(), &last).map_err(|fault| touched(at, fault))?;
    Ok(Verified { lines: last.seq, files: contents.files.len() })
}

fn lines(contents: &Contents) -> impl Iterator<Item = (Place, &str)> {
    contents.files.iter().enumerate().flat_map(|(file, (_, text))| {
        text.lines().enumerate().map(move |(line, text)| (Place { file, line: line + 1 }, text))
    })
}

fn check_place(last: &Link, line: &Line) -> Result<(), Fault> {
    let expected = last.seq.saturating_add(1);
    match line.link.seq {
        seq if seq > expected => Err(Fault::Missing { first: expected, last: seq - 1 }),
        seq if seq < expected => Err(Fault::OutOfPlace { seq, before: last.seq }),
        _ if line.prev != last.hash => Err(Fault::Replaced),
        _ => Ok(()),
    }
}

/// A process that was killed between a line and the head leaves the head one behind.
fn check_head(head: Option<&Link>, last: &Link) -> Result<(), Fault> {
    let head = head.cloned().unwrap_or_else(Link::root);
    if head.seq > last.seq {
        return Err(Fault::CutOff { first: last.seq + 1, last: head.seq });
    }
    let is_same = head == *last;
    let is_one_behind = head.seq.saturating_add(1) == last.seq;
    if is_same || is_one_behind { Ok(()) } else { Err(Fault::OtherHead) }
}

/// Returns true if a text is the beginning of a line that was never finished.
fn is_unfinished(contents: &Contents, place: Place, last: &Link) -> bool {
    let Some((_, text)) = contents.files.get(place.file) else { return false };
    let is_newest = place.file + 1 == contents.files.len();
    let is_last = place.line == text.lines().count() && !text.ends_with('\n');
    is_newest && is_last && contents.head.as_ref().is_none_or(|head| head.seq <= last.seq)
}
