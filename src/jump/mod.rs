//! Built-in ssh hops: logs in to an sshd at the other end of any stream of bytes and connects on from there.
//!
//! [`connect`] is done as carefully as OpenSSH would: host keys by our own matcher over the user's files (`known_hosts`,
//! `host_key`), keys by the agent, then by files (`candidate`, `auth`), questions by an [`Asker`]. A chain is as deep as
//! it is long:
//!
//! ```text
//! let bastion = connect(stream, &bastion_settings, &asker).await?;
//! let app = connect(bastion.open(&app_settings.host, app_settings.port).await?, &app_settings, &asker).await?;
//! let database = app.open("10.0.0.9", 3306).await?;
//! ```
//!
//! It imports no other layer but leaves, reads no environment, and never forwards the agent. What
//! it is given comes from [`openssh::settings`], or from [`HopSettings::new`] where there is no ssh.

mod agent;
mod ask;
mod askpass;
mod auth;
mod candidate;
mod certificate;
mod cuttable;
mod error;
mod expand;
mod hop;
mod host_key;
mod identity;
mod inbox;
mod known_hosts;
pub mod openssh;
mod patience;
mod remember;
mod revoked;
mod secret;
mod settings;
mod signer;
mod stream;
pub mod terminal;
mod watcher;

pub use self::ask::{Answer, Asker, NoAnswer, Nobody, Question};
pub use self::askpass::{AskpassSettings, Human};
pub use self::certificate::CertificateFault;
pub use self::error::{Ending, HopStep, HostKeyFacts, HostKeyFault, JumpError, KeyProblem, LoginFailure};
pub use self::hop::{Hop, connect};
pub use self::secret::Secret;
pub use self::settings::{Allowed, HopSettings, Local, Methods, StrictHostKeys};
pub use self::stream::HopStream;
