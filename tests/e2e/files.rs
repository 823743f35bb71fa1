//! Programs that copy files over ssh.

use std::fs;
use std::path::Path;

use crate::bench::{Bench, HOST};
use crate::run::Finished;
use crate::services::{MIB, digest, noise};
use crate::tools::tool;

/// A bench with a file to copy, and the file's digest.
async fn bench_with_file() -> (Bench, String) {
    let bench = Bench::new().sshd().start().await;
    let data = noise(1, 3 * MIB + 7);
    bench.write("original", &data);
    (bench, digest(&data))
}

fn digest_of(path: &Path) -> String {
    digest(&fs::read(path).unwrap())
}

fn remote(bench: &Bench, name: &str) -> String {
    format!("{HOST}:{}", bench.path(name).display())
}

async fn copy_with_scp(options: &[&str]) {
    let (bench, expected) = bench_with_file().await;
    let [original, back] = ["original", "back"].map(|name| bench.path(name).display().to_string());
    let there = remote(&bench, "there");
    for (from, to) in [(&original, &there), (&there, &back)] {
        let args = options.iter().copied().chain([from.as_str(), to.as_str()]);
        bench.open_ssh("scp", args).finish().await.exits(0).silent();
    }
    assert_eq!(digest_of(&bench.path("there")), expected);
    assert_eq!(digest_of(&bench.path("back")), expected);
    bench.settle().await;
}

#[tokio::test]
async fn scp_copies_both_ways() {
    copy_with_scp(&["-q"]).await;
}

#[tokio::test]
async fn scp_copies_both_ways_by_its_old_protocol() {
    copy_with_scp(&["-q", "-O"]).await;
}

#[tokio::test]
async fn sftp_runs_a_batch() {
    let (bench, expected) = bench_with_file().await;
    let [original, there, back] = ["original", "there", "back"].map(|name| bench.path(name));
    let batch = format!(
        "put {} {there}\nrename {there} {there}2\nget {there}2 {}\n",
        original.display(),
        back.display(),
        there = there.display(),
    );
    let batch = bench.write("batch", batch);
    let args = ["-q".as_ref(), "-b".as_ref(), batch.as_os_str(), HOST.as_ref()];
    bench.open_ssh("sftp", args).finish().await.exits(0).silent();
    assert_eq!(digest_of(&back), expected);
    bench.settle().await;
}

#[tokio::test]
async fn rsync_copies_a_tree_and_then_only_what_has_changed() {
    let (bench, expected) = bench_with_file().await;
    let tree = bench.path("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::copy(bench.path("original"), tree.join("deep/er/file")).unwrap();
    let there = remote(&bench, "there");
    let from = format!("{}/", tree.display());
    let everything = "./\nsmall\ndeep/\ndeep/er/\ndeep/er/file\n";
    for (content, sent) in [("old", everything), ("newer", "small\n")] {
        fs::write(tree.join("small"), content).unwrap();
        let args = ["-a", "--out-format=%n", "-e", &bench.ssh_command(), &from, &there];
        let output = bench.run(&tool("rsync")).args(args).finish().await.exits(0).silent();
        assert_eq!(output.text(), sent);
    }
    assert_eq!(digest_of(&bench.path("there/deep/er/file")), expected);
    assert_eq!(fs::read_to_string(bench.path("there/small")).unwrap(), "newer");
    bench.settle().await;
}

async fn git(bench: &Bench, args: &[&str]) -> Finished {
    let run = bench.run(&tool("git")).env("GIT_SSH_COMMAND", bench.ssh_command());
    let who = ["-c", "user.name=e2e", "-c", "user.email=e2e@example.com"];
    run.env("GIT_CONFIG_NOSYSTEM", "1").args(who.iter().chain(args)).finish().await.exits(0)
}

#[tokio::test]
async fn git_clones_and_pushes() {
    let (bench, expected) = bench_with_file().await;
    let [repository, clone] = ["repository", "clone"].map(|name| bench.path(name).display().to_string());
    git(&bench, &["init", "-q", &repository]).await;
    fs::copy(bench.path("original"), bench.path("repository/file")).unwrap();
    git(&bench, &["-C", &repository, "add", "file"]).await;
    git(&bench, &["-C", &repository, "commit", "-q", "-m", "a file"]).await;
    git(&bench, &["clone", "-q", &remote(&bench, "repository"), &clone]).await.silent();
    assert_eq!(digest_of(&bench.path("clone/file")), expected);
    git(&bench, &["-C", &clone, "push", "-q", "origin", "HEAD:refs/heads/pushed"]).await.silent();
    let pushed = git(&bench, &["-C", &repository, "rev-parse", "pushed"]).await;
    assert_eq!(pushed.text(), git(&bench, &["-C", &clone, "rev-parse", "HEAD"]).await.text());
    bench.settle().await;
}
