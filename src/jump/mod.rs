//! Built-in ssh hops: logs in to an sshd over any byte stream and opens TCP connections from there.
//!
//! [`connect`] follows OpenSSH's rules. It verifies the host key against the user's files and `KnownHostsCommand`
//! (`known_hosts`, `host_key`), or against given keys alone (`trusted`). It offers the ssh-agent's keys first, then key files (`candidate`, `auth`). It asks the user through
//! a [`Prompter`]. A chain of hops is one call for each hop:
//!
//! ```text
//! let bastion = connect(stream, &bastion_settings, &prompter).await?;
//! let app = connect(bastion.open(&app_settings.host, app_settings.port).await?, &app_settings, &prompter).await?;
//! let database = app.open("10.0.0.9", 3306).await?;
//! ```
//!
//! This layer imports no other layer. Environment and wall clock are inputs. The ssh-agent is never forwarded. The
//! settings come from [`openssh::settings`], or from [`HopSettings::new`] if ssh is not installed.

mod abortable;
mod agent;
mod agent_keys;
mod algorithms;
mod allowed;
mod askpass;
mod auth;
mod candidate;
mod certificate;
mod child;
mod error;
mod expand;
#[cfg(feature = "sim")]
pub(crate) mod fuzz;
mod handler;
mod hop;
mod host_key;
mod identity;
mod known_hosts;
mod known_hosts_command;
mod known_hosts_file;
pub mod openssh;
mod own_key;
mod pausable_timer;
mod prompt;
mod published;
mod receive_buffer;
mod revoked;
mod scan;
mod secret;
mod settings;
mod signer;
mod stalls;
mod stream;
pub(crate) mod terminal;
mod trusted;

pub use self::agent_keys::{add_to_agent, first_public_key, remove_from_agent};
pub use self::algorithms::{same_type, shown};
pub use self::allowed::Allowed;
pub use self::askpass::{Askpass, AskpassSettings};
pub use self::certificate::CertificateFault;
pub use self::error::{Ending, HopStep, HostKeyFacts, HostKeyFault, JumpError, KeyProblem, LoginFailure};
pub use self::hop::{LoginFacts, SshConnection, connect};
pub use self::known_hosts_command::KnownHostsCommand;
pub use self::own_key::OwnKey;
pub use self::prompt::{AnswerFuture, NoPrompter, PromptError, Prompter, Question};
pub use self::published::{console_keys, key_of_base64, listed_keys};
pub use self::scan::scan;
pub use self::secret::Secret;
pub use self::settings::{HopSettings, LocalUser, Methods, StrictHostKeys};
pub use self::stream::HopStream;
pub use self::trusted::TrustedKeys;
