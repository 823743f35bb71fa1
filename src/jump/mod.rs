//! Built-in ssh hops: logs in to an sshd at the other end of any stream of bytes and connects on from there.
//!
//! [`connect`] is done as carefully as OpenSSH would: host keys by our own matcher over the user's files (`known_hosts`,
//! `host_key`), keys by the agent, then by files (`candidate`, `auth`), questions by an [`Prompter`]. A chain is as deep as
//! it is long:
//!
//! ```text
//! let bastion = connect(stream, &bastion_settings, &prompter).await?;
//! let app = connect(bastion.open(&app_settings.host, app_settings.port).await?, &app_settings, &prompter).await?;
//! let database = app.open("10.0.0.9", 3306).await?;
//! ```
//!
//! It imports no other layer, reads no environment and no clock that it is not given, and never forwards the agent. What
//! it is given comes from [`openssh::settings`], or from [`HopSettings::new`] where there is no ssh.

mod abortable;
mod agent;
mod askpass;
mod auth;
mod candidate;
mod certificate;
mod error;
mod expand;
mod handler;
mod hop;
mod host_key;
mod identity;
mod known_hosts;
mod known_hosts_file;
pub mod openssh;
mod pausable_timer;
mod prompt;
mod receive_buffer;
mod revoked;
mod secret;
mod settings;
mod signer;
mod stream;
pub mod terminal;

pub use self::askpass::{Askpass, AskpassSettings};
pub use self::certificate::CertificateFault;
pub use self::error::{Ending, HopStep, HostKeyFacts, HostKeyFault, JumpError, KeyProblem, LoginFailure};
pub use self::hop::{Hop, connect};
pub use self::prompt::{AnswerFuture, NoPrompter, PromptError, Prompter, Question};
pub use self::secret::Secret;
pub use self::settings::{Allowed, HopSettings, Local, Methods, StrictHostKeys};
pub use self::stream::HopStream;
