//! `--version` names the commit that the program is built from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{VERSION, root, run};

const FUMIDAI: &str = env!("CARGO_BIN_EXE_fumidai");
/// 2026-02-28, a second before March.
const EPOCH: &str = "1772323199";

fn output(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap().trim().to_owned()
}

/// The build script, compiled, and folders that it is run in.
struct Script {
    folder: TempDir,
}

impl Script {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rustc = std::path::Path::new(env!("CARGO")).with_file_name("rustc");
        let rustc = if rustc.is_file() { rustc } else { "rustc".into() };
        let mut compile = Command::new(rustc);
        compile.args(["--edition", "2024", "-o"]).arg(folder.path().join("script"));
        run(compile.arg(root().join("build.rs")));
        Self { folder }
    }

    fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// What it tells cargo in that folder: the version, and the files that are a reason to run it again.
    fn tell(&self, folder: &Path, epoch: Option<&str>) -> (String, Vec<PathBuf>) {
        let mut script = Command::new(self.folder.path().join("script"));
        script.env("CARGO_PKG_VERSION", "1.2.3").env_remove("SOURCE_DATE_EPOCH");
        script.envs(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch)));
        forget_repository(&mut script);
        let said = script.current_dir(folder).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        let said = String::from_utf8(said.stdout).unwrap();
        let version = said.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=FUMIDAI_VERSION="));
        let files = said.lines().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed="));
        let files = files.filter(|file| *file != "build.rs").map(|file| folder.join(file)).collect();
        (version.unwrap().to_owned(), files)
    }
}

/// A hook of git runs with the variables of its own repository; the user's settings may sign commits.
fn forget_repository(command: &mut Command) {
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"] {
        command.env_remove(name);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
}

fn git(folder: &Path, words: &str) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]);
    git.args(words.split(' ')).env("GIT_COMMITTER_DATE", format!("{EPOCH} -0800"));
    forget_repository(&mut git);
    let said = git.current_dir(folder).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_short_form_is_the_version_and_the_long_one_has_the_commit() {
    assert_eq!(output(Command::new(FUMIDAI).arg("-V")), format!("fumidai {VERSION}"));
    let mut show = Command::new("git");
    show.args(["show", "--no-patch", "--date=short-local", "--format=%H %cd"])
        .env("TZ", "UTC")
        .current_dir(root());
    let shown = show.output().unwrap();
    let long = output(Command::new(FUMIDAI).arg("--version"));
    let expected = match String::from_utf8_lossy(&shown.stdout).trim().split_once(' ') {
        Some((commit, date)) => format!("fumidai {VERSION} ({} {date})", &commit[..7]),
        None => format!("fumidai {VERSION}"),
    };
    assert_eq!(long, expected);
}

#[test]
fn a_checkout_names_its_commit_and_what_moves_it() {
    let script = Script::new();
    let folder = script.folder("checkout");
    git(&folder, "init -q");
    git(&folder, "commit -q --allow-empty -m one");
    let commit = git(&folder, "rev-parse HEAD");
    let expected = format!("1.2.3 ({} 2026-02-28)", &commit[..7]);
    let (version, files) = script.tell(&folder, None);
    assert_eq!((version.as_str(), files.len()), (expected.as_str(), 3), "{files:?}");
    git(&folder, "worktree add -q ../tree");
    git(&folder, "pack-refs --all");
    git(&folder, "checkout -q --detach");
    for place in ["checkout", "tree"] {
        let (version, files) = script.tell(&script.folder(place), None);
        assert_eq!(version, expected, "{place}");
        assert!(files.iter().all(|file| file.is_file()), "{place}: {files:?}");
        let before: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        git(&script.folder(place), "commit -q --allow-empty -m two");
        let after: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        assert_ne!(before, after, "{place}: a commit changes none of {files:?}");
    }
    let commit = git(&folder, "rev-parse HEAD");
    let (version, _) = script.tell(&folder, Some("951782400"));
    assert_eq!(version, format!("1.2.3 ({} 2000-02-29)", &commit[..7]));
}

#[test]
fn a_crate_names_the_commit_that_it_was_packaged_from() {
    let script = Script::new();
    let folder = script.folder("crate");
    let info = r#"{"git": {"sha1": "0123456789abcdef0123456789abcdef01234567"}, "path_in_vcs": ""}"#;
    fs::write(folder.join(".cargo_vcs_info.json"), info).unwrap();
    assert_eq!(script.tell(&folder, None), ("1.2.3 (0123456)".to_owned(), Vec::new()));
    assert_eq!(script.tell(&folder, Some(EPOCH)).0, "1.2.3 (0123456 2026-02-28)");
}

#[test]
fn a_folder_of_another_repository_does_not_name_its_commit() {
    let script = Script::new();
    let outer = script.folder("outer");
    git(&outer, "init -q");
    git(&outer, "commit -q --allow-empty -m one");
    assert_eq!(script.tell(&script.folder("outer/vendored"), None), ("1.2.3".to_owned(), Vec::new()));
    assert_eq!(script.tell(&script.folder("alone"), None), ("1.2.3".to_owned(), Vec::new()));
}
