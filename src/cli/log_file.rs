//! The log file: whole lines, appended by every run at once, put aside when it has grown.
//!
//! Several runs share one file. Each line is one `O_APPEND` write, so lines never mix, and only the run that holds the
//! file's lock puts it aside. Any failure ends the log for this run in silence.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::private_file::open;

/// Two files of this size hold months of failures, and no disk notices them.
const ROTATE_AT: u64 = 1 << 20;

/// A log file that comes into being with its first line.
pub(super) struct LogFile {
    path: PathBuf,
    state: Mutex<State>,
}

enum State {
    Unopened,
    Open(File),
    /// It could not be opened once and is not tried again: a log must not cost a session time.
    Broken,
}

/// Holds the file for one line.
pub(super) struct LineWriter<'f> {
    path: &'f Path,
    state: MutexGuard<'f, State>,
}

impl LogFile {
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::new(State::Unopened) }
    }
}

impl<'f> MakeWriter<'f> for LogFile {
    type Writer = LineWriter<'f>;

    fn make_writer(&'f self) -> LineWriter<'f> {
        LineWriter { path: &self.path, state: self.state.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl Write for LineWriter<'_> {
    /// Takes a whole line, which is how the `fmt` layer writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.state.append(self.path, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn append(&mut self, path: &Path, line: &[u8]) {
        if matches!(self, Self::Unopened) {
            *self = open(path).map_or(Self::Broken, Self::Open);
        }
        let Self::Open(file) = self else { return };
        if is_full(file)
            && let Ok(fresh) = rotate(file, path)
        {
            *file = fresh;
        }
        let _ = file.write_all(line);
    }
}

fn is_full(file: &File) -> bool {
    file.metadata().is_ok_and(|it| it.is_file() && it.len() >= ROTATE_AT)
}

/// Puts the full file aside, unless another run has just done so or is at it, and opens the one to go on with.
fn rotate(full: &File, path: &Path) -> io::Result<File> {
    full.try_lock()?;
    // A link may point to a file or device of another program: only a regular file is renamed.
    let is_still_there = fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.len() >= ROTATE_AT);
    let renamed = if is_still_there { fs::rename(path, aside(path)) } else { Ok(()) };
    let fresh = renamed.and_then(|()| open(path));
    full.unlock()?;
    fresh
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(log: &LogFile, text: &str) {
        log.make_writer().write_all(text.as_bytes()).expect("never fails");
    }

    #[cfg(unix)]
    #[test]
    fn file_and_folder_are_the_users_alone() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("fumidai/fumidai.log");
        let log = LogFile::new(path.clone());
        assert!(!path.exists());
        line(&log, "a\n");
        let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("fumidai")), 0o700);
    }

    #[test]
    fn two_runs_append_to_one_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("l");
        let (one, two) = (LogFile::new(path.clone()), LogFile::new(path.clone()));
        for (log, text) in [(&one, "1\n"), (&two, "2\n"), (&one, "3\n")] {
            line(log, text);
        }
        assert_eq!(fs::read_to_string(path).expect("it exists"), "1\n2\n3\n");
    }

    #[test]
    fn a_full_file_is_put_aside_once_for_all_runs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("l");
        let (one, two) = (LogFile::new(path.clone()), LogFile::new(path.clone()));
        let full = "x".repeat(1 << 20) + "\n";
        line(&two, "first\n");
        line(&one, &full);
        line(&one, "second\n");
        line(&two, "third\n");
        assert_eq!(fs::read_to_string(aside(&path)).expect("put aside"), format!("first\n{full}"));
        assert_eq!(fs::read_to_string(&path).expect("the fresh one"), "second\nthird\n");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_given_up() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("file"), "").expect("a file");
        for path in [folder.path().to_owned(), folder.path().join("file/l")] {
            let log = LogFile::new(path);
            line(&log, "a\n");
            line(&log, "b\n");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_never_renamed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "x".repeat(1 << 20)).expect("a file");
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        line(&LogFile::new(link.clone()), "a\n");
        assert!(fs::symlink_metadata(&link).expect("still there").is_symlink());
        assert!(fs::read_to_string(&target).expect("still there").ends_with("xa\n"));
    }
}
