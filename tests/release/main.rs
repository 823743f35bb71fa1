//! What a release is made of: the files parse and agree, every path that a package names exists, the deb starts.
//!
//! Needs PyYAML and mdBook of `target/test-venv` (`FUMIDAI_TEST_VENV` names another folder), cargo-deb and dpkg-deb. If they are not
//! installed, the tests that need them do nothing; if `FUMIDAI_TEST_VENV` is set, they must be there.
//! `contrib/release-check` does what needs more tools.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod book;
mod japanese;
mod manifests;
mod packages;
mod pages;
#[cfg(feature = "sim")]
mod rehearsal;
mod version;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The version that everything else must have.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a release is built for.
const TARGETS: [&str; 6] = [
    "aarch64-apple-darwin",
    "aarch64-pc-windows-msvc",
    "aarch64-unknown-linux-musl",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-msvc",
    "x86_64-unknown-linux-musl",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest() -> toml::Table {
    read("Cargo.toml").parse().unwrap()
}

/// The files of a folder.
fn folder(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The lines of the fenced blocks of that language.
fn fenced(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test's own setting")]
fn venv() -> Option<PathBuf> {
    std::env::var_os("FUMIDAI_TEST_VENV").map(PathBuf::from)
}

/// Whether a test can run; where `tests/run` has installed everything, it must.
fn ready(tool: &str, is_here: bool) -> bool {
    assert!(is_here || venv().is_none(), "there is no {tool}");
    is_here
}

fn run(command: &mut Command) -> Output {
    let output = command.current_dir(root()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}:\n{words}");
    output
}

#[cfg(target_os = "linux")]
fn starts(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).arg("--version").output().is_ok_and(|output| output.status.success())
}
