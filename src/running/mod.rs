//! Forwards that stay: what the system's own supervisor is given to run, and what each running forward answers about itself.
//!
//! [`Supervisor`] decides without I/O: the text of a definition (a systemd unit, a launchd agent, a scheduled task), the
//! commands that start and stop it, what their output means. [`Definitions`] are the files of ours among the user's.
//! [`StatusSocket`] answers in the process of a forward; [`ask`] asks all of them. Called by `cli`.

mod answer;
mod definitions;
mod kept;
mod launchd;
mod socket;
mod supervisor;
pub mod systemd;
mod tasks;
mod variables;

/// The folder of the sockets, in the user's runtime folder.
pub const FOLDER: &str = "forwards";

/// Exit codes after which a restart does not help: usage, configuration, access denied, name not found, ambiguous name, remote port,
/// encryption.
const IN_VAIN: [u8; 7] = [2, 3, 11, 12, 13, 15, 20];

/// Returns true if a forward that ends with this code must not fail, since its supervisor would start it again at once.
/// systemd knows the codes itself.
pub fn ends_quietly(supervisor: &str, code: u8) -> bool {
    supervisor != "systemd" && IN_VAIN.contains(&code)
}

pub use self::answer::{Answer, Bytes, Connections, LastError, ListeningOn};
pub use self::definitions::{DefinitionError, Definitions, Lock};
pub use self::kept::{Action, Kept, Phase, Seen, Written};
pub use self::socket::{Asked, NoAnswer, StatusSocket, ask};
pub use self::supervisor::{Supervisor, SupervisorKind};
pub use self::variables::{SecretVariable, carried};
