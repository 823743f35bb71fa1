//! Keys that nobody has to hand out: made for one connection, or the user's own, and pushed by EC2 Instance Connect.
//!
//! A [`Keeper`] has the private half where ssh finds it: in the ssh-agent for a time, or in a file. A [`KeyTask`] pushes the
//! public half when the server's banner passes, again while the login may still run, and then takes the private half away.
//! `reach` says which machine, which user and which kind of key.

mod error;
mod held_stream;
mod keeper;
mod key_file;
mod login_watch;
mod push;
mod task;

pub use self::error::KeyError;
pub use self::held_stream::HeldStream;
pub use self::keeper::Keeper;
pub use self::key_file::watch;
pub use self::push::{KeyEvent, KeyPush, OnKey};
pub use self::task::{KeyTask, PushingKey};
