//! The bastion's life with the real program: a guardian on moto's Step Functions, EC2 and ECS, and the simulator's sessions.
//!
//! `tests/guardian/cloud.py` is the AWS account; the seconds of lives pass faster than real ones there. It needs the Python
//! packages that `tests/run --install` installs in `target/test-venv` (`FUMIDAI_TEST_VENV` names another folder).

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "these tests measure real time and read the real environment")]

mod commands;
mod denials;
mod doctor;
mod doctor_target;
mod groups;
mod kills;
mod pages;
mod patterns;
mod record;
mod starts;
mod tasks;
mod world;

/// What e2e has too: the documented keys, a real sshd, and the search for programs.
#[path = "../e2e/documented_keys.rs"]
mod documented_keys;
#[path = "../e2e/sshd.rs"]
#[allow(dead_code, reason = "e2e uses the rest")]
mod sshd;
#[path = "../e2e/tools.rs"]
#[allow(dead_code, reason = "e2e uses the rest")]
mod tools;
