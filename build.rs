//! Gives `fumidai --version` the commit that it is built from, and its date.
//!
//! The commit comes from git, or from the file that `cargo package` adds to a crate. Without both, the version stands alone.
//! `SOURCE_DATE_EPOCH` replaces the date of the commit. A new commit or branch is a reason to build again, nothing else is.

#![allow(clippy::disallowed_methods, reason = "cargo tells a build script everything by its environment")]
#![allow(clippy::print_stdout, reason = "a build script tells cargo everything by its output")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// As many digits of a commit as git shows by default.
const SHORT: usize = 7;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let (commit, date) = packaged().or_else(checked_out).unzip();
    let date = env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|epoch| day(epoch.trim().parse().ok()?))
        .or(date.flatten());
    let built: Vec<String> = commit.into_iter().chain(date).collect();
    match built.is_empty() {
        true => println!("cargo::rustc-env=FUMIDAI_VERSION={version}"),
        false => println!("cargo::rustc-env=FUMIDAI_VERSION={version} ({})", built.join(" ")),
    }
}

/// The commit that a crate was packaged from. The file has no date.
fn packaged() -> Option<(String, Option<String>)> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    let commit: String = rest.chars().skip_while(|c| !c.is_ascii_hexdigit()).take(SHORT).collect();
    Some((commit, None))
}

/// The commit that is checked out here, and the day of it in UTC; nothing if this is a folder of another repository.
fn checked_out() -> Option<(String, Option<String>)> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if fs::canonicalize(top).ok()? != env::current_dir().ok()?.canonicalize().ok()? {
        return None;
    }
    rerun_if_it_moves();
    let shown = git(&["show", "--no-patch", "--no-show-signature", "--date=short-local", "--format=%H %cd"])?;
    let (commit, date) = shown.split_once(' ')?;
    Some((commit.chars().take(SHORT).collect(), Some(date.to_owned())))
}

/// Names the files that change when another commit is checked out. cargo would build each time for one that is missing.
fn rerun_if_it_moves() {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    // The log of HEAD has the commits of a branch whose own file is packed.
    for name in ["HEAD".to_owned(), "logs/HEAD".to_owned()].into_iter().chain(branch) {
        if let Some(path) = git(&["rev-parse", "--git-path", &name]).filter(|path| Path::new(path).is_file())
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn git(words: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.args(words).env("TZ", "UTC").env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The day of a time in UTC, by the proleptic Gregorian calendar.
fn day(epoch: u64) -> Option<String> {
    let mut days = epoch / 86_400;
    let is_leap =
        |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let year = (1970..10_000).find(|year| take(&mut days, 365 + u64::from(is_leap(*year))))?;
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = lengths.into_iter().position(|length| take(&mut days, length))? + 1;
    Some(format!("{year:04}-{month:02}-{:02}", days + 1))
}

/// Takes a year or a month away, unless the day is in it.
fn take(days: &mut u64, length: u64) -> bool {
    let is_in_it = *days < length;
    if !is_in_it {
        *days -= length;
    }
    is_in_it
}
