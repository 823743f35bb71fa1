//! A private key in a file that ssh has as `IdentityFile`: one key for each path, in use by every connection that holds the
//! lock, and removed by the last.
//!
//! A second process, the watcher, removes the file: it waits for the end of its standard input, which comes with the end of
//! this process however that ends. It removes nothing while another connection holds the lock.
//!
//! ssh reads the public half of a file that exists as soon as it starts, some milliseconds before the connection that it has
//! started holds the lock, and refuses another private half later. So the watcher first moves the file out of ssh's sight. A
//! connection that comes within [`GRACE`] moves it back, and only later ones get another key.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tokio::process::{Child, Command};

use crate::clock;
use crate::jump::OwnKey;

/// The first argument of the watcher; the second is the file.
const WATCH: &str = "watch-key-file";

/// The time from the start of ssh until its connection holds the lock, also on a loaded machine.
const GRACE: Duration = Duration::from_secs(3);

/// A watcher holds the lock for some microseconds: another one tries again this often, and only a connection holds it longer.
const WATCHER_TRIES: usize = 40;
const WATCHER_PAUSE: Duration = Duration::from_millis(25);

/// A key that was not used for this long was left behind, by a machine that went down.
const OLDEST: Duration = Duration::from_secs(3600);

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
        refuse_parents(file)?;
        refuse_foreign(file)?;
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
    let file = Path::new(file);
    if let Some(moved) = move_away(file, || pause(WATCHER_PAUSE)) {
        pause(GRACE);
        remove_moved(file, moved, || pause(WATCHER_PAUSE));
    }
    true
}

#[expect(clippy::disallowed_methods, reason = "the watcher has one thread and nothing else to do")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn start_watcher(file: &Path) -> Option<Child> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.arg(WATCH).arg(file).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // The terminal's signals, and ssh's, are not for it; neither are credentials in the environment.
    #[cfg(unix)]
    command.process_group(0).env_clear();
    let started = command.spawn();
    if let Err(error) = &started {
        tracing::info!(%error, "no process watches the key file");
    }
    started.ok()
}

/// Takes a shared lock; if no process holds one, the key is found or made before.
fn lock(file: &Path) -> io::Result<File> {
    let lock = private().create(true).write(true).open(lock_path(file))?;
    if lock.try_lock().is_ok() && is_same(&lock, &lock_path(file)) {
        provide_key(file)?;
    }
    lock.lock_shared()?;
    Ok(lock)
}

/// ssh puts the user into the name, which may come from a link: it must not lead to another folder.
fn refuse_parents(file: &Path) -> io::Result<()> {
    match file.components().any(|part| part == Component::ParentDir) {
        true => Err(io::Error::other("its path has `..` in it")),
        false => Ok(()),
    }
}

/// A file that fumidai did not write, such as a key of the user, is neither replaced nor removed; neither are those that
/// have the names of the files beside it.
fn refuse_foreign(file: &Path) -> io::Result<()> {
    if !is_absent_or(file, |bytes| parse(bytes).is_some())? {
        return Err(io::Error::other("fumidai has not made this file"));
    }
    let both = [(lock_path(file), is_our_lock(file)?), (moved_path(file), is_our_moved(file)?)];
    for (beside, is_ours) in both {
        if !is_ours {
            return Err(io::Error::other(format!("fumidai has not made `{}`", beside.display())));
        }
    }
    Ok(())
}

/// Returns true if there is no lock file, or one that has nothing in it.
fn is_our_lock(file: &Path) -> io::Result<bool> {
    is_absent_or(&lock_path(file), |bytes| bytes.is_empty())
}

/// Returns true if nothing was moved, or a key, or if a process was killed before it wrote one.
fn is_our_moved(file: &Path) -> io::Result<bool> {
    is_absent_or(&moved_path(file), |bytes| bytes.is_empty() || parse(bytes).is_some())
}

fn is_absent_or(path: &Path, is_ours: impl Fn(Vec<u8>) -> bool) -> io::Result<bool> {
    match fs::read(path) {
        Ok(bytes) => Ok(is_ours(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Keeps the key that is there, else moves one back, else makes one.
fn provide_key(file: &Path) -> io::Result<()> {
    if is_usable(file) {
        return Ok(());
    }
    refuse_foreign(file)?;
    let moved = moved_path(file);
    if is_usable(&moved) {
        return fs::rename(moved, file);
    }
    make_key(file)
}

fn is_usable(file: &Path) -> bool {
    let age = fs::metadata(file).and_then(|data| data.modified()).ok();
    let is_young = age.is_some_and(|since| clock::wall().duration_since(since).is_ok_and(|age| age < OLDEST));
    is_young && read_key(file).is_some()
}

/// Writes the key beside the file, so that the file is never half of one.
fn make_key(file: &Path) -> io::Result<()> {
    let (key, beside) = (OwnKey::generate()?, moved_path(file));
    remove(&beside)?;
    let written = private().create_new(true).write(true).open(&beside)?.write_all(key.text().as_bytes());
    if written.is_err() {
        // Half a key could not be known as one of fumidai's.
        let _ = remove(&beside);
    }
    written.and_then(|()| fs::rename(beside, file))
}

fn read_key(file: &Path) -> Option<OwnKey> {
    parse(fs::read(file).ok()?)
}

fn parse(bytes: Vec<u8>) -> Option<OwnKey> {
    let bytes = zeroize::Zeroizing::new(bytes);
    OwnKey::parse(std::str::from_utf8(&bytes).ok()?)
}

/// Returns the exclusive lock, unless a connection holds a shared one or there is no lock file of fumidai's.
fn lock_alone(file: &Path) -> Option<File> {
    let path = lock_path(file);
    if !is_our_lock(file).ok()? {
        return None;
    }
    let lock = OpenOptions::new().write(true).open(&path).ok()?;
    (lock.try_lock().is_ok() && is_same(&lock, &path)).then_some(lock)
}

/// Returns the exclusive lock unless a connection holds a shared one. That another watcher holds it is no reason to leave:
/// each looks at the files of its own moment.
fn lock_as_watcher(file: &Path, mut pause: impl FnMut()) -> Option<File> {
    for _ in 1..WATCHER_TRIES {
        if let Some(lock) = lock_alone(file) {
            return Some(lock);
        }
        if !lock_path(file).exists() {
            return None;
        }
        pause();
    }
    lock_alone(file)
}

/// Removes the key and the lock file, unless a connection uses them.
fn remove_unless_in_use(file: &Path) {
    let Some(_lock) = lock_alone(file) else { return };
    if let Err(error) = remove_with_lock(file) {
        tracing::warn!(%error, file = %file.display(), "cannot remove the key file");
    }
}

fn remove_with_lock(file: &Path) -> io::Result<()> {
    if read_key(file).is_some() {
        remove(file)?;
    }
    remove(&lock_path(file))
}

/// Moves the file out of ssh's sight unless a connection uses it; returns when, which marks it.
fn move_away(file: &Path, pause: impl FnMut()) -> Option<SystemTime> {
    let _lock = lock_as_watcher(file, pause)?;
    let moved = moved_path(file);
    if !is_our_moved(file).is_ok_and(|is_ours| is_ours) {
        // It has no place to go to.
        let _ = remove_with_lock(file);
        return None;
    }
    // Without a file, the process was killed before it had one: an earlier one may still be there.
    if read_key(file).is_some() {
        let _ = fs::rename(file, &moved);
    }
    let Ok(open) = OpenOptions::new().write(true).open(&moved) else {
        let _ = remove(&lock_path(file));
        return None;
    };
    open.set_modified(clock::wall()).ok()?;
    // As the file system rounds it.
    open.metadata().ok()?.modified().ok()
}

/// Removes what was moved away at that time, unless a connection has moved it back since.
fn remove_moved(file: &Path, mark: SystemTime, pause: impl FnMut()) {
    let Some(_lock) = lock_as_watcher(file, pause) else { return };
    let moved = moved_path(file);
    let modified = fs::metadata(&moved).and_then(|data| data.modified());
    if modified.is_ok_and(|modified| modified == mark) {
        let _ = remove(&moved).and_then(|()| remove(&lock_path(file)));
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn lock_path(file: &Path) -> PathBuf {
    with_suffix(file, ".fumidai-lock")
}

fn moved_path(file: &Path) -> PathBuf {
    with_suffix(file, ".fumidai-moved")
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
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

    impl KeyFile {
        /// Gives up the lock and leaves the file.
        fn released(mut self) -> Self {
            self.lock = None;
            self
        }
    }

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
    async fn a_key_that_was_moved_away_is_moved_back_for_the_next_connection() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web-me");
        let (one, first) = take(&file);
        assert!(move_away(&file, || {}).is_none(), "it is in use");
        // As if the process was killed.
        std::mem::forget(one.released());
        let mark = move_away(&file, || {}).expect("no connection uses it");
        assert!(!file.exists());
        let (two, second) = take(&file);
        assert_eq!(second.public_line(), first.public_line());
        remove_moved(&file, mark, || {});
        assert!(file.exists());
        std::mem::forget(two.released());
        let later = move_away(&file, || {}).expect("no connection uses it");
        remove_moved(&file, mark, || {});
        assert!(moved_path(&file).exists(), "it is the later watcher's");
        remove_moved(&file, later, || {});
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }

    /// Two watchers at once: the second must not take the lock of the first for one of a connection.
    #[tokio::test]
    async fn a_watcher_waits_for_another_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web-me");
        std::mem::forget(take(&file).0.released());
        let mut other = lock_alone(&file);
        assert!(other.is_some() && lock_alone(&file).is_none());
        let mark = move_away(&file, || drop(other.take())).expect("no connection uses it");
        let mut other = lock_alone(&file);
        remove_moved(&file, mark, || drop(other.take()));
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }

    #[test]
    fn a_process_that_was_killed_early_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web-me");
        let is_empty = || fs::read_dir(folder.path()).expect("the folder").count() == 0;
        assert!(move_away(&file, || {}).is_none() && is_empty(), "killed before there was a lock");
        fs::write(lock_path(&file), "").expect("a lock");
        assert!(move_away(&file, || {}).is_none() && is_empty(), "killed before there was a key");
        fs::write(lock_path(&file), "").expect("a lock");
        fs::write(moved_path(&file), "").expect("a file");
        let mark = move_away(&file, || {}).expect("an earlier key is there");
        remove_moved(&file, mark, || {});
        assert!(is_empty(), "killed before the earlier key was moved back");
    }

    #[tokio::test]
    async fn an_old_key_is_replaced_and_another_file_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web-me");
        let old = OwnKey::generate().expect("random bytes");
        fs::write(&file, old.text().as_bytes()).expect("a file");
        let open = OpenOptions::new().write(true).open(&file).expect("the file");
        open.set_modified(clock::wall() - OLDEST).expect("a time");
        let (held, key) = take(&file);
        assert_ne!(key.public_line(), old.public_line());
        drop(held);
        fs::write(&file, "a key of the user").expect("a file");
        assert!(KeyFile::take(&file).is_err() && KeyFile::hold(&file, None).is_err());
        assert!(move_away(&file, || {}).is_none());
        assert_eq!(fs::read_to_string(&file).expect("the file"), "a key of the user");
        assert!(KeyFile::take(&folder.path().join("web-../../x")).is_err());
    }

    #[tokio::test]
    async fn files_of_the_user_beside_the_key_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("Gemfile");
        let is_users = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text == "the user's");
        let users = ["", ".lock", ".moved"].map(|suffix| with_suffix(&file, suffix));
        for path in &users {
            fs::write(path, "the user's").expect("a file");
        }
        assert!(KeyFile::take(&file).is_err());
        if let Some(mark) = move_away(&file, || {}) {
            remove_moved(&file, mark, || {});
        }
        assert!(users.iter().all(|path| is_users(path)));

        let file = folder.path().join("web-me");
        for beside in [lock_path(&file), moved_path(&file)] {
            fs::write(&beside, "the user's").expect("a file");
            let error = KeyFile::take(&file).err().expect("a refusal");
            assert!(error.to_string().contains(&beside.display().to_string()), "{error}");
            assert!(is_users(&beside) && !file.exists());
            // As if it came while the key was held.
            fs::remove_file(&beside).expect("the file");
            std::mem::forget(take(&file).0.released());
            fs::write(&beside, "the user's").expect("a file");
            assert!(move_away(&file, || {}).is_none() && is_users(&beside));
            remove_unless_in_use(&file);
            assert!(is_users(&beside));
            fs::remove_file(&beside).expect("the file");
            let _ = remove(&file);
        }
    }

    #[test]
    fn only_the_word_of_the_watcher_makes_one() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(!watch(&words(&["fumidai", "connect", "i-0123"])));
        assert!(!watch(&words(&["fumidai", WATCH])));
    }
}
