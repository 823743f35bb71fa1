//! What a supervisor is given and what it answers: plain values.

use std::path::PathBuf;

/// In each definition that `up` writes. A file without it is the user's own.
pub(super) const MARK: &str = "Written by `fumidai up`; `fumidai down` removes it.";

/// A forward as its supervisor is to run it. It has no secrets: other programs of the user can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The name in the config file.
    pub name: String,
    /// The path of this program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The variables that it needs.
    pub environment: Vec<(String, String)>,
    /// The user, as Windows names it.
    pub user: String,
    /// Where its output goes if the supervisor keeps none.
    pub log: String,
    /// Started again at each login, or, with linger, at each boot.
    pub autostart: bool,
}

/// A command for the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// The program.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it asks for may be so already: a failure is not one.
    pub may_fail: bool,
}

impl Action {
    pub(super) fn new<const N: usize>(program: &'static str, arguments: [&str; N]) -> Self {
        Self { program, arguments: arguments.map(str::to_owned).to_vec(), may_fail: false }
    }

    pub(super) fn that_may_fail(self) -> Self {
        Self { may_fail: true, ..self }
    }
}

/// A definition that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub file: PathBuf,
    /// The supervisor has loaded it already.
    pub is_loaded: bool,
}

/// What the supervisor knows about a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it does.
    pub phase: Phase,
    /// The last exit status, if the process has ended.
    pub exit: Option<i32>,
    /// Started at each login.
    pub autostart: Option<bool>,
}

/// What a supervisor does with a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The process runs.
    Running,
    /// The process runs, and is not ready.
    Starting,
    /// The process has failed; it is started again after a pause.
    Restarting,
    /// The process has failed; it is not started again.
    Failed,
    /// It is not to run.
    Stopped,
}
