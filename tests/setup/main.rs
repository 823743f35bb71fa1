//! What a user sets up, with the real programs: the config file, ssh_config, completion, the manual, a second factor.
//!
//! Each test has a home folder of its own. STS and Session Manager's first answer are played by a stub that keeps what it
//! was asked (`stub.rs`).

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "these tests measure real time")]

mod aws_files;
mod completion;
mod credentials;
mod explain;
mod hosts;
mod manual;
mod run;
mod ssh_config;
mod stub;
