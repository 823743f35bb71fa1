//! Built-in ssh hops: logs in to an sshd over any byte stream and opens TCP connections from there.
//!
//! [`connect`] follows OpenSSH's rules. It verifies the host key against the user's files (`known_hosts`,
//! `host_key`). It offers the ssh-agent's keys first, then key files (`candidate`, `auth`). It asks the user through
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
mod known_hosts_file;
pub mod openssh;
mod own_key;
mod pausable_timer;
mod prompt;
mod receive_buffer;
mod revoked;
mod secret;
mod settings;
mod signer;
mod stalls;
mod stream;
pub(crate) mod terminal;

pub use self::agent_keys::{add_to_agent, first_public_key, remove_from_agent};
pub use self::askpass::{Askpass, AskpassSettings};
pub use self::certificate::CertificateFault;
pub use self::error::{Ending, HopStep, HostKeyFacts, HostKeyFault, JumpError, KeyProblem, LoginFailure};
pub use self::hop::{SshConnection, connect};
pub use self::own_key::OwnKey;
pub use self::prompt::{AnswerFuture, NoPrompter, PromptError, Prompter, Question};
pub use self::secret::Secret;
pub use self::settings::{Allowed, HopSettings, LocalUser, Methods, StrictHostKeys};
pub use self::stream::HopStream;
