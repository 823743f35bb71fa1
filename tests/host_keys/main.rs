//! Host keys from a source: the real ssh with `KnownHostsCommand`, a real sshd behind the simulated service, built-in hops.
//!
//! A stub plays EC2's console output: moto has one fixed text. The simulator has the parameters. Each test has a folder, a
//! simulator and an sshd of its own.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "these tests measure real time and read the real environment")]

mod command;
mod ec2;
mod hops;
mod moto;
mod ssh;
mod world;

#[path = "../e2e/bench.rs"]
#[allow(dead_code, reason = "shared with the tests of one session")]
mod bench;
#[path = "../jump/openssh.rs"]
#[allow(dead_code, reason = "shared with the tests of one hop")]
mod openssh;
#[path = "../hops/programs.rs"]
mod programs;
#[path = "../e2e/run.rs"]
#[allow(dead_code, reason = "shared with the tests of one session")]
mod run;
#[path = "../e2e/services.rs"]
#[allow(dead_code, reason = "shared with the tests of one session")]
mod services;
#[path = "../e2e/sshd.rs"]
#[allow(dead_code, reason = "shared with the tests of one session")]
mod sshd;
#[path = "../e2e/tools.rs"]
#[allow(dead_code, reason = "shared with the tests of one session")]
mod tools;
