//! The files of ours in the folders of a supervisor. A file that has not our mark is the user's: it is neither replaced nor
//! removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::kept::{Kept, MARK};
use super::supervisor::Supervisor;
use crate::whole_file;

/// Between two tries to get the lock.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a definition cannot be written or removed.
#[derive(Debug, Error)]
pub enum DefinitionError {
    /// A file stands where ours would go: it must be moved.
    #[error("`{}` is not a file that `fumidai up` wrote", file.display())]
    NotOurs {
        /// The file.
        file: PathBuf,
    },
    /// A file cannot be read, written or removed.
    #[error("`{}`: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn at(file: &Path) -> impl FnOnce(io::Error) -> DefinitionError {
    let file = file.to_owned();
    move |source| DefinitionError::Io { file, source }
}

/// A definition of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The forward.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Whether its place says that it is started at each login.
    pub autostart: bool,
}

/// The definitions of one supervisor.
pub struct Definitions<'a> {
    supervisor: &'a Supervisor,
}

impl<'a> Definitions<'a> {
    /// Takes those of a supervisor.
    pub fn of(supervisor: &'a Supervisor) -> Self {
        Self { supervisor }
    }

    /// Lists what is ours, by name.
    pub fn list(&self) -> Vec<Definition> {
        let mut found: Vec<Definition> = Vec::new();
        for folder in self.folders() {
            for file in names(folder).iter().map(|name| folder.join(name)) {
                found.extend(self.definition(&file));
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found
    }

    fn folders(&self) -> impl Iterator<Item = &'a Path> {
        let Supervisor { folder, now_only, .. } = self.supervisor;
        [Some(folder), Some(now_only).filter(|other| *other != folder)]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    fn definition(&self, file: &Path) -> Option<Definition> {
        let name = self.supervisor.name_of(file.file_name()?.to_str()?)?;
        let is_ours = self.is_ours(file).ok()?;
        let autostart = file.parent() == Some(&self.supervisor.folder);
        is_ours.then(|| Definition { name, file: file.to_owned(), autostart })
    }

    /// Returns whether a file has our mark.
    fn is_ours(&self, file: &Path) -> io::Result<bool> {
        // A link would lead the mark into a file of the user's; a pipe would be waited for.
        if !fs::symlink_metadata(file)?.is_file() {
            return Ok(false);
        }
        Ok(self.supervisor.text(&fs::read(file)?).contains(MARK))
    }

    /// Returns whether the definition of a forward would become another one, or a new one.
    ///
    /// # Errors
    /// [`DefinitionError::NotOurs`]
    pub fn would_change(&self, kept: &Kept) -> Result<bool, DefinitionError> {
        for place in [true, false].map(|autostart| self.supervisor.file(&kept.name, autostart)) {
            self.refuse_others(&place)?;
        }
        let before = fs::read(self.supervisor.file(&kept.name, kept.autostart)).ok();
        Ok(before != Some(self.supervisor.definition(kept)))
    }

    /// Writes the definition of a forward; returns its file.
    ///
    /// # Errors
    /// [`DefinitionError`]
    pub fn write(&self, kept: &Kept) -> Result<PathBuf, DefinitionError> {
        self.clean();
        let file = self.supervisor.file(&kept.name, kept.autostart);
        if self.would_change(kept)? {
            make_folder(&file)?;
            make_folder(Path::new(&kept.log))?;
            whole_file::replace(&file, &self.supervisor.definition(kept)).map_err(at(&file))?;
        }
        let other = self.supervisor.file(&kept.name, !kept.autostart);
        if other != file {
            remove(&other)?;
        }
        Ok(file)
    }

    fn refuse_others(&self, file: &Path) -> Result<(), DefinitionError> {
        match self.is_ours(file) {
            Ok(false) => Err(DefinitionError::NotOurs { file: file.to_owned() }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(file)(error)),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Removes the definition of a forward.
    ///
    /// # Errors
    /// [`DefinitionError`]
    pub fn remove(&self, name: &str) -> Result<(), DefinitionError> {
        self.clean();
        for file in [true, false].map(|autostart| self.supervisor.file(name, autostart)) {
            if self.is_ours(&file).is_ok_and(|is_ours| is_ours) {
                remove(&file)?;
            }
        }
        Ok(())
    }

    /// Removes what a killed `up` has not put in its place. Called with the lock.
    pub fn clean(&self) {
        for folder in self.folders() {
            for name in names(folder).iter().filter(|name| whole_file::is_leftover(name)) {
                let inner = name.trim_start_matches('.').trim_end_matches(".new");
                let inner = inner.rsplit_once('.').map_or(inner, |(inner, _)| inner);
                if self.supervisor.name_of(inner).is_some() {
                    // Another process may have removed it meanwhile.
                    let _ = fs::remove_file(folder.join(name));
                }
            }
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn make_folder(file: &Path) -> Result<(), DefinitionError> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    fs::create_dir_all(folder).map_err(at(folder))
}

fn remove(file: &Path) -> Result<(), DefinitionError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(file)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Held while definitions are changed; the system releases it when the process ends, however it ends.
pub struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

impl Lock {
    /// Waits until no other process has it.
    ///
    /// # Errors
    /// [`DefinitionError::Io`]
    pub async fn take(file: &Path) -> Result<Self, DefinitionError> {
        make_folder(file)?;
        let opened = File::options().write(true).create(true).truncate(false).open(file).map_err(at(file))?;
        loop {
            match opened.try_lock() {
                Ok(()) => return Ok(Self(opened)),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::Error(source)) => return Err(at(file)(source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::supervisor::SupervisorKind;
    use super::*;

    fn supervisor(folder: &Path, kind: SupervisorKind) -> Supervisor {
        let now_only = match kind {
            SupervisorKind::Launchd { .. } => folder.join("now"),
            SupervisorKind::Systemd { .. } | SupervisorKind::Tasks => folder.join("all"),
        };
        Supervisor { kind, folder: folder.join("all"), now_only, logs: folder.join("logs") }
    }

    fn kept(name: &str, folder: &Path) -> Kept {
        Kept {
            name: name.into(),
            program: "/bin/fumidai".into(),
            arguments: vec!["forward".into(), name.into()],
            environment: vec![],
            user: String::new(),
            log: folder.join("logs/x.log").display().to_string(),
            autostart: true,
        }
    }

    const KINDS: [SupervisorKind; 3] = [
        SupervisorKind::Systemd { has_steps: false },
        SupervisorKind::Launchd { user: 501 },
        SupervisorKind::Tasks,
    ];

    #[test]
    fn what_was_written_is_listed_and_removed_and_nothing_else() {
        for kind in KINDS {
            let folder = tempfile::tempdir().expect("a folder");
            let supervisor = supervisor(folder.path(), kind);
            let definitions = Definitions::of(&supervisor);
            let kept = kept("orders-db", folder.path());
            assert!(definitions.would_change(&kept).expect("ours"), "{kind:?}");
            let file = definitions.write(&kept).expect("written");
            assert!(!definitions.would_change(&kept).expect("ours"), "{kind:?}");
            let own = supervisor.file("own", true);
            fs::write(&own, "mine").expect("a file");
            let expected = Definition { name: "orders-db".into(), file: file.clone(), autostart: true };
            assert_eq!(definitions.list(), [expected]);
            definitions.remove("own").expect("nothing to do");
            definitions.remove("orders-db").expect("removed");
            assert!(own.exists() && !file.exists() && definitions.list().is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn a_file_of_the_users_is_not_replaced() {
        for kind in KINDS {
            let folder = tempfile::tempdir().expect("a folder");
            let supervisor = supervisor(folder.path(), kind);
            let file = supervisor.file("a", true);
            fs::create_dir_all(&supervisor.folder).expect("a folder");
            fs::write(&file, "mine").expect("a file");
            let error = Definitions::of(&supervisor).write(&kept("a", folder.path())).expect_err("refused");
            assert!(matches!(error, DefinitionError::NotOurs { .. }), "{error}");
            assert_eq!(fs::read_to_string(&file).expect("a file"), "mine");
        }
    }

    #[test]
    fn a_forward_without_autostart_has_one_definition() {
        let folder = tempfile::tempdir().expect("a folder");
        let supervisor = supervisor(folder.path(), KINDS[1]);
        let definitions = Definitions::of(&supervisor);
        for autostart in [true, false, true] {
            definitions.write(&Kept { autostart, ..kept("a", folder.path()) }).expect("written");
            let found: Vec<bool> = definitions.list().iter().map(|one| one.autostart).collect();
            assert_eq!(found, [autostart]);
        }
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let supervisor = supervisor(folder.path(), KINDS[0]);
        fs::create_dir_all(&supervisor.folder).expect("a folder");
        let at = |name: &str| supervisor.folder.join(name);
        let (left, other) = (at(".fumidai-forward@a.service.77.new"), at(".other.service.77.new"));
        for file in [&left, &other] {
            fs::write(file, "half").expect("a file");
        }
        Definitions::of(&supervisor).remove("b").expect("nothing else to do");
        assert!(!left.exists() && other.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_the_users() {
        let folder = tempfile::tempdir().expect("a folder");
        let supervisor = supervisor(folder.path(), KINDS[0]);
        fs::create_dir_all(&supervisor.folder).expect("a folder");
        let real = folder.path().join("real");
        fs::write(&real, MARK).expect("a file");
        std::os::unix::fs::symlink(&real, supervisor.file("a", true)).expect("a link");
        let written = Definitions::of(&supervisor).write(&kept("a", folder.path()));
        assert!(matches!(written, Err(DefinitionError::NotOurs { .. })), "{written:?}");
    }

    #[tokio::test]
    async fn a_lock_waits_for_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("up.lock");
        let first = Lock::take(&file).await.expect("free");
        let second = tokio::spawn({
            let file = file.clone();
            async move { Lock::take(&file).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.expect("no panic").expect("free again");
    }
}
