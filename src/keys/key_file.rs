//! A private key in a file that ssh has as `IdentityFile`: one key for each path, in use by every connection that holds the
//! lock, and removed by the last.
//!
//! A second process, the watcher, removes the file: it waits for the end of its standard input, which comes with the end of
//! this process however that ends. It removes nothing while another connection holds the lock.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::jump::OwnKey;

/// The first argument of the watcher; the second is the file.
const WATCH: &str = "watch-key-file";

/// The watcher waits this long: ssh reads the public half of an existing file as soon as it starts, some milliseconds before
/// the connection that it has started holds the lock.
const LINGER: Duration = Duration::from_secs(1);

/// The file of another connection may be removed while it is being locked: then it is made anew.
const MOST_TRIES: usize = 100;

/// A hold on a key file.
pub struct KeyFile {
    file: PathBuf,
    lock: Option<File>,
    /// `None` if no watcher could be started: then this process removes the file.
    watcher: Option<Child>,
}

impl KeyFile {
    /// Takes a hold on the file, and makes a key in it unless another connection uses the one that is there.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn take(file: &Path) -> io::Result<(Self, OwnKey)> {
        // Before there is a key: a killed process leaves none.
        Self::hold(file, start_watcher(file))
    }

    fn hold(file: &Path, watcher: Option<Child>) -> io::Result<(Self, OwnKey)> {
        if let Some(folder) = file.parent() {
            create_private_folder(folder)?;
        }
        let mut taken = Self { file: file.to_owned(), lock: None, watcher };
        for _ in 0..MOST_TRIES {
            let lock = lock(file)?;
            if let Some(key) = read_key(file).filter(|_| is_same(&lock, &lock_path(file))) {
                taken.lock = Some(lock);
                return Ok((taken, key));
            }
        }
        Err(io::Error::other("it is replaced again and again"))
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.lock = None;
        if self.watcher.is_none() {
            remove_unless_in_use(&self.file);
        }
    }
}

/// Runs the watcher if this process was started as one. Returns false if it was not.
pub fn watch(arguments: &[OsString]) -> bool {
    let [_, word, file] = arguments else { return false };
    if word != WATCH {
        return false;
    }
    // An error is an end too.
    let _ = io::stdin().read_to_end(&mut Vec::new());
    linger();
    remove_unless_in_use(Path::new(file));
    true
}

#[expect(clippy::disallowed_methods, reason = "the watcher has one thread and nothing else to do")]
fn linger() {
    std::thread::sleep(LINGER);
}

fn start_watcher(file: &Path) -> Option<Child> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.arg(WATCH).arg(file).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // The terminal's signals, and ssh's, are not for it.
    #[cfg(unix)]
    command.process_group(0);
    let started = command.spawn();
    if let Err(error) = &started {
        tracing::info!(%error, "no process watches the key file");
    }
    started.ok()
}

/// Takes a shared lock. If nobody holds one, a file that is there was left behind, and a new key is made.
fn lock(file: &Path) -> io::Result<File> {
    let lock = private().create(true).write(true).open(lock_path(file))?;
    if lock.try_lock().is_ok() {
        make_key(file)?;
    }
    lock.lock_shared()?;
    Ok(lock)
}

fn make_key(file: &Path) -> io::Result<()> {
    remove(file)?;
    let key = OwnKey::generate()?;
    private().create_new(true).write(true).open(file)?.write_all(key.text().as_bytes())
}

fn read_key(file: &Path) -> Option<OwnKey> {
    OwnKey::parse(&zeroize::Zeroizing::new(fs::read_to_string(file).ok()?))
}

/// Removes the key and the lock file, unless a connection holds the lock.
fn remove_unless_in_use(file: &Path) {
    let path = lock_path(file);
    let Ok(lock) = OpenOptions::new().write(true).open(&path) else { return };
    if lock.try_lock().is_ok() && is_same(&lock, &path) {
        let removed = remove(file).and_then(|()| remove(&path));
        if let Err(error) = removed {
            tracing::warn!(%error, file = %file.display(), "cannot remove the key file");
        }
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn lock_path(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Returns true if an open file is still the one of that path.
#[cfg(unix)]
fn is_same(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let id = |data: fs::Metadata| (data.dev(), data.ino());
    match (open.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => id(open) == id(named),
        _ => false,
    }
}

/// Windows does not remove a file that is open.
#[cfg(not(unix))]
fn is_same(_open: &File, path: &Path) -> bool {
    path.exists()
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the watcher, which is the program itself.
    fn take(file: &Path) -> (KeyFile, OwnKey) {
        KeyFile::hold(file, None).expect("a key file")
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_has_one_key_until_the_last_connection_leaves() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("deep/web-me");
        let (one, first) = take(&file);
        let (two, second) = take(&file);
        assert_eq!(first.public_line(), second.public_line());
        let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(&folder.path().join("deep"))), (0o600, 0o700));
        drop(one);
        assert!(file.exists(), "the second connection uses it");
        drop(two);
        assert_eq!(fs::read_dir(folder.path().join("deep")).expect("the folder").count(), 0);
        assert_ne!(take(&file).1.public_line(), first.public_line());
    }

    #[tokio::test]
    async fn a_file_that_was_left_behind_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web-me");
        let old = OwnKey::generate().expect("random bytes");
        fs::write(&file, old.text().as_bytes()).expect("a file");
        let (_held, key) = take(&file);
        assert_ne!(key.public_line(), old.public_line());
        assert_eq!(read_key(&file).expect("a key").public_line(), key.public_line());
    }

    #[test]
    fn only_the_word_of_the_watcher_makes_one() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(!watch(&words(&["fumidai", "connect", "i-0123"])));
        assert!(!watch(&words(&["fumidai", WATCH])));
    }
}
