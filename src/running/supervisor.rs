//! The system's supervisor: what it is given, which commands it gets, what it answers. Pure.

use std::path::PathBuf;

use super::kept::{Action, Kept, Seen, Written};
use super::{launchd, systemd, tasks};

/// The supervisors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupervisorKind {
    /// The user's instance of systemd.
    Systemd {
        /// It knows `RestartSteps`, from 254 on.
        has_steps: bool,
    },
    /// launchd, in the domain of the user's login.
    Launchd {
        /// The user's id.
        user: u32,
    },
    /// The Task Scheduler of Windows.
    Tasks,
}

/// A supervisor, and where it finds definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supervisor {
    /// Which one.
    pub kind: SupervisorKind,
    /// The folder of definitions.
    pub folder: PathBuf,
    /// The folder of definitions that are not started at a login; for most, the same one.
    pub now_only: PathBuf,
    /// The folder of output that the supervisor does not keep.
    pub logs: PathBuf,
}

impl Supervisor {
    /// Returns its name, as `status` shows it.
    pub fn name(&self) -> &'static str {
        match self.kind {
            SupervisorKind::Systemd { .. } => "systemd",
            SupervisorKind::Launchd { .. } => "launchd",
            SupervisorKind::Tasks => "task-scheduler",
        }
    }

    /// Returns the contents of a definition.
    pub fn definition(&self, kept: &Kept) -> Vec<u8> {
        match self.kind {
            SupervisorKind::Systemd { has_steps } => systemd::unit_of(kept, has_steps).into_bytes(),
            SupervisorKind::Launchd { .. } => launchd::plist(kept).into_bytes(),
            SupervisorKind::Tasks => tasks::encode(&tasks::xml(kept)),
        }
    }

    /// Returns the path of a forward's definition.
    pub fn file(&self, name: &str, autostart: bool) -> PathBuf {
        let folder = if autostart { &self.folder } else { &self.now_only };
        folder.join(self.file_name(name))
    }

    fn file_name(&self, name: &str) -> String {
        match self.kind {
            SupervisorKind::Systemd { .. } => systemd::unit_name(name),
            SupervisorKind::Launchd { .. } => format!("{}.plist", launchd::label(name)),
            SupervisorKind::Tasks => format!("{name}.xml"),
        }
    }

    /// Returns the forward that a file of that name would define.
    pub(super) fn name_of(&self, file_name: &str) -> Option<String> {
        match self.kind {
            SupervisorKind::Systemd { .. } => systemd::name_of(file_name),
            SupervisorKind::Launchd { .. } => launchd::name_of(file_name),
            SupervisorKind::Tasks => Some(file_name.strip_suffix(".xml")?.to_owned()),
        }
    }

    /// Returns the text of a definition's contents.
    pub(super) fn text(&self, contents: &[u8]) -> String {
        match self.kind {
            SupervisorKind::Systemd { .. } | SupervisorKind::Launchd { .. } => {
                String::from_utf8_lossy(contents).into_owned()
            }
            SupervisorKind::Tasks => tasks::decode(contents),
        }
    }

    /// Returns a command that succeeds if the supervisor can be reached.
    pub fn probe(&self) -> Action {
        match self.kind {
            SupervisorKind::Systemd { .. } => Action::new("systemctl", ["--user", "show-environment"]),
            SupervisorKind::Launchd { user } => Action::new("launchctl", ["print", &launchd::domain(user)]),
            SupervisorKind::Tasks => Action::new("schtasks", ["/query"]),
        }
    }

    /// Returns the commands that end a forward whose definition is about to change. A process never outlives the text that
    /// it was started by, wherever `up` is killed.
    pub fn pause(&self, name: &str) -> Vec<Action> {
        match self.kind {
            SupervisorKind::Systemd { .. } => systemd::pause(name),
            SupervisorKind::Launchd { user } => launchd::stop(user, name),
            SupervisorKind::Tasks => tasks::pause(name),
        }
    }

    /// Returns the commands that start a forward whose definition is written; one that runs stays as it is.
    pub fn up(&self, kept: &Kept, written: &Written) -> Vec<Action> {
        match self.kind {
            SupervisorKind::Systemd { .. } => systemd::up(kept),
            SupervisorKind::Launchd { user } => launchd::up(user, kept, written),
            SupervisorKind::Tasks => tasks::up(kept, written),
        }
    }

    /// Returns the commands that stop a forward, before its definition is removed.
    pub fn stop(&self, name: &str) -> Vec<Action> {
        match self.kind {
            SupervisorKind::Systemd { .. } => systemd::stop(name),
            SupervisorKind::Launchd { user } => launchd::stop(user, name),
            SupervisorKind::Tasks => tasks::stop(name),
        }
    }

    /// Returns the command that prints `yes` if the user's services outlive the last login; `None` where that is no question.
    pub fn linger(&self, user: u32) -> Option<Action> {
        let user = user.to_string();
        let query = || Action::new("loginctl", ["show-user", "--property=Linger", "--value", &user]);
        matches!(self.kind, SupervisorKind::Systemd { .. }).then(query)
    }

    /// Returns the commands that have the supervisor forget definitions that were removed.
    pub fn forget(&self) -> Vec<Action> {
        match self.kind {
            SupervisorKind::Systemd { .. } => vec![Action::new("systemctl", ["--user", "daemon-reload"])],
            SupervisorKind::Launchd { .. } | SupervisorKind::Tasks => vec![],
        }
    }

    /// Returns the commands that end a forward and start it again.
    pub fn restart(&self, name: &str) -> Vec<Action> {
        match self.kind {
            SupervisorKind::Systemd { .. } => systemd::restart(name),
            SupervisorKind::Launchd { user } => launchd::restart(user, name),
            SupervisorKind::Tasks => tasks::restart(name),
        }
    }

    /// Returns the command that prints the output of a forward.
    pub fn logs(&self, name: &str, lines: u32, follow: bool) -> Action {
        let log = self.log(name).display().to_string();
        match self.kind {
            SupervisorKind::Systemd { .. } => systemd::logs(name, lines, follow),
            SupervisorKind::Launchd { .. } => launchd::logs(&log, lines, follow),
            SupervisorKind::Tasks => tasks::logs(&log, lines, follow),
        }
    }

    /// Returns the file of a forward's output, for supervisors that keep none.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// Returns the command that asks about a forward.
    pub fn query(&self, name: &str) -> Action {
        match self.kind {
            SupervisorKind::Systemd { .. } => systemd::query(name),
            SupervisorKind::Launchd { user } => launchd::query(user, name),
            SupervisorKind::Tasks => tasks::query(name),
        }
    }

    /// Reads the answer to [`Self::query`]; `None` if the supervisor does not know the forward.
    pub fn seen(&self, output: &str) -> Option<Seen> {
        match self.kind {
            SupervisorKind::Systemd { .. } => systemd::seen(output),
            SupervisorKind::Launchd { .. } => launchd::seen(output),
            SupervisorKind::Tasks => tasks::seen(output),
        }
    }
}
