//! fumidai as its users have it: the real binaries and the real OpenSSH tools against the simulated service.
//!
//! Each test has a simulator, a folder and an environment of its own, and ends by seeing that no session was left open.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "these tests measure real time and read the real environment")]

mod access_requests;
mod audit;
mod authority;
mod bench;
mod chaos;
mod connect;
mod cuts;
mod database;
mod documented_keys;
mod endings;
mod errors;
mod files;
mod forward;
mod forward_ends;
mod forward_lives;
mod forward_proxy;
mod forward_retries;
mod forward_streams;
mod forwarding;
mod hostile;
mod init;
mod json;
mod kept;
mod mariadb;
mod networks;
mod open_sessions;
mod page;
mod pages_forward;
mod pages_ssh;
mod postgres;
mod processes;
mod programs;
#[cfg(target_os = "linux")]
mod quiet;
mod readme;
mod redis;
mod resume;
mod run;
#[cfg(target_os = "linux")]
mod secrets;
mod services;
mod signals;
mod ssh;
mod sshd;
mod stub;
mod tls;
mod tokens;
mod tools;
mod wiretap;
