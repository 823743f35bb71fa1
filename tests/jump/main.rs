//! Built-in hops against the real sshd, ssh-agent, ssh-keygen and ssh of OpenSSH.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "these tests read the real environment and the real time")]

mod bench;
mod config;
mod host_keys;
mod login;
mod openssh;
mod questions;
mod streams;
#[path = "../e2e/tools.rs"]
#[allow(dead_code, reason = "shared with the tests of the programs")]
mod tools;
