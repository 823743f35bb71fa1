//! Keys that are pushed: real OpenSSH on both sides, whose sshd knows only the keys that a stub of EC2 Instance Connect was
//! given.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "these tests measure real time and read the real environment")]

mod desk;
mod doctor;
mod endings;
mod failures;
mod instance_connect;
mod logins;

#[path = "../e2e/bench.rs"]
#[allow(dead_code, reason = "shared with the tests of one session")]
mod bench;
#[path = "../hops/network.rs"]
#[allow(dead_code, reason = "shared with the tests of hops")]
mod network;
#[path = "../hops/node.rs"]
#[allow(dead_code, reason = "shared with the tests of hops")]
mod node;
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
#[path = "../hops/world.rs"]
#[allow(dead_code, reason = "shared with the tests of hops")]
mod world;
