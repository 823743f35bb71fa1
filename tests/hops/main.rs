//! Hops as in use: real OpenSSH on both sides, a bastion, an app server, and a third host behind both.
//!
//! Each machine has its own network namespace where that is permitted. Each test creates its own network.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "these tests measure real time and read the real environment")]

mod articles;
mod doctor;
mod explained;
mod forwards;
mod host_keys;
mod links;
mod logins;
mod network;
mod node;
mod programs;
mod refusals;
mod remote_clients;
mod world;

#[path = "../e2e/bench.rs"]
#[allow(dead_code, reason = "shared with the tests of one session")]
mod bench;
#[path = "../e2e/mariadb.rs"]
#[allow(dead_code, reason = "shared with the tests of one session")]
mod mariadb;
#[path = "../jump/openssh.rs"]
#[allow(dead_code, reason = "shared with the tests of one hop")]
mod openssh;
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
