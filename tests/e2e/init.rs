//! `init`, by flags and on a terminal, the page of `fumidai` alone, and `--no-input`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fumidai::sim::ONLINE_TARGET;

use crate::bench::Bench;
use crate::run::{Finished, Run};
use crate::services::echo;
use crate::tools::tool;

const CONFIG: &str = "home/fumidai/config.toml";
const DATABASE: &str = "orders.cluster-abc.example:3306";

async fn bench() -> Bench {
    Bench::new().port(3306, echo().await).start().await
}

/// `fumidai` on a terminal; each line has a question and its answer.
async fn on_terminal(bench: &Bench, words: &[&str], answers: &str) -> Finished {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/terminal.py");
    let run = bench.run(&tool("python3")).args([script, env!("CARGO_BIN_EXE_fumidai")]).args(words);
    run.env("TERM", "xterm").input(answers).finish().await
}

fn init(bench: &Bench, words: &str) -> Run {
    bench.fumidai(["init"]).args(words.split_whitespace())
}

fn read(bench: &Bench, name: &str) -> String {
    fs::read_to_string(bench.path(name)).unwrap()
}

#[tokio::test]
async fn a_config_file_that_is_named_is_made() {
    let bench = Bench::new().start().await;
    let target = ["init", "--no-ssh-config", "--target", ONLINE_TARGET];
    let (by_flag, by_variable) = (bench.path("flag.toml"), bench.path("variable.toml"));
    bench.fumidai(target).args(["--config".as_ref(), by_flag.as_os_str()]).finish().await.exits(0);
    bench.fumidai(target).env("FUMIDAI_CONFIG", &by_variable).finish().await.exits(0);
    for file in [by_flag, by_variable] {
        assert!(fs::read_to_string(&file).unwrap().contains(ONLINE_TARGET), "{file:?}");
    }
    let list = bench.fumidai(["list", "--config"]).args([bench.path("none.toml")]);
    list.finish().await.exits(3);
}

#[tokio::test]
async fn flags_set_up_a_host_a_forward_and_ssh_and_again_they_add_nothing() {
    let bench = bench().await;
    let words =
        format!("--target {ONLINE_TARGET} --name bastion --user me --ssh-config --database {DATABASE}");
    let done = init(&bench, &words).finish().await.exits(0);
    assert_eq!(done.text(), "Try:\n  ssh bastion\n  fumidai up orders\n  fumidai doctor bastion\n");
    let text = read(&bench, CONFIG);
    assert!(text.contains("[defaults]\nregion = ") && text.contains("[hosts.bastion]"), "{text}");
    assert!(
        text.contains("local = \"127.0.0.1:13306\"\nremote = \"orders.cluster-abc.example:3306\""),
        "{text}"
    );
    let mode = |name: &str| fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(CONFIG), mode("home/fumidai")), (0o600, 0o700));
    assert!(read(&bench, "home/.ssh/config").starts_with("Include "));
    assert!(read(&bench, "home/.ssh/fumidai.config").contains("Host bastion"));

    let again = init(&bench, &words).finish().await.exits(0);
    assert!(again.stderr.contains("has all of that already"), "{}", again.stderr);
    assert_eq!(read(&bench, CONFIG), text);

    // A further host is added behind what the user has written; the mode stays.
    fs::write(bench.path(CONFIG), text.clone() + "# mine").unwrap();
    fs::set_permissions(bench.path(CONFIG), fs::Permissions::from_mode(0o640)).unwrap();
    init(&bench, "--target tag:Name=web --no-ssh-config").finish().await.exits(0);
    let more = read(&bench, CONFIG);
    assert!(more.starts_with(&(text + "# mine\n")) && more.contains("[hosts.\"tag:Name-web\"]"), "{more}");
    assert_eq!(mode(CONFIG), 0o640);
    let explained = bench.fumidai(["explain", "orders"]).finish().await.exits(0);
    assert!(explained.text().contains(ONLINE_TARGET), "{}", explained.text());
}

#[tokio::test]
async fn a_config_file_that_is_kept_elsewhere_stays_there_and_whole() {
    let bench = bench().await;
    fs::create_dir(bench.path("home/fumidai")).unwrap();
    let mine = format!("# {}\n", "mine".repeat(100));
    let (dotfile, config) = (bench.write("dotfile", &mine), bench.path(CONFIG));
    std::os::unix::fs::symlink(&dotfile, &config).unwrap();
    let words = format!("--target {ONLINE_TARGET} --no-ssh-config");
    init(&bench, &words).finish().await.exits(0);
    assert!(config.is_symlink() && fs::read_to_string(&dotfile).unwrap().contains(ONLINE_TARGET));
    fs::write(&dotfile, &mine).unwrap();
    // A file with two names is written in place: here up to 512 bytes, as on a full disk.
    fs::hard_link(&dotfile, bench.path("second name")).unwrap();
    let full = bench.run(&tool("sh")).args(["-c", "ulimit -f 1 && exec \"$0\" init \"$@\""]);
    let full = full.args([env!("CARGO_BIN_EXE_fumidai")]).args(words.split(' ')).finish().await.exits(1);
    assert!(full.stderr.contains("File too large"), "{}", full.stderr);
    assert_eq!(fs::read_to_string(&dotfile).unwrap(), mine);
}

#[tokio::test]
async fn what_is_there_is_not_overwritten() {
    let bench = bench().await;
    fs::create_dir(bench.path("home/fumidai")).unwrap();
    let before = "hosts = { web = { target = 'i-0aaaaaaaaaaaaaaaa' } }\n";
    bench.write(CONFIG, before);
    let words = format!("--target {ONLINE_TARGET} --name");
    let taken = init(&bench, &format!("{words} web")).finish().await.exits(2);
    assert_eq!(taken.cause(), "the config file has another `[hosts.web]`");
    // TOML does not let an inline table grow.
    let failed = init(&bench, &format!("{words} other")).finish().await.exits(3);
    assert!(failed.cause().contains("config.toml:"), "{}", failed.stderr);
    assert_eq!(read(&bench, CONFIG), before);
}

#[tokio::test]
async fn without_a_terminal_the_missing_flag_is_named() {
    let bench = bench().await;
    let failed = init(&bench, "").finish().await.exits(2);
    assert_eq!(failed.cause(), "there is no terminal to ask on, and `--target` is missing");
    let shown = on_terminal(&bench, &["init", "--no-input"], "").await.exits(2);
    assert!(shown.text().contains("`--no-input` is set, and `--target` is missing"), "{}", shown.text());
    assert!(!bench.path(CONFIG).exists());
}

#[tokio::test]
async fn a_terminal_is_asked_for_the_rest() {
    let bench = bench().await;
    let answers = format!(
        "Machine\t{ONLINE_TARGET}\\r\nName for\tbastion\\r\nUser there\t\\r\nPrivate database\t{DATABASE}\\r\n\
        Local port\t127.0.0.1:15000\\r\nName of the forward\t\\r\nHave ssh use\tn\nRun `fumidai doctor`\tn\n"
    );
    let shown = on_terminal(&bench, &["init"], &answers).await.exits(0);
    let text = shown.text();
    assert!(!text.contains("not asked"), "{text}");
    assert!(text.contains("fumidai ssh-config --install") && text.contains("fumidai up orders"), "{text}");
    let config = read(&bench, CONFIG);
    assert!(
        config.contains(&format!("[hosts.bastion]\ntarget = \"{ONLINE_TARGET}\"\nuser = \"ec2-user\"")),
        "{config}"
    );
    assert!(config.contains("local = \"127.0.0.1:15000\""), "{config}");
    assert!(!bench.path("home/.ssh").exists());
}

#[tokio::test]
async fn ctrl_c_writes_nothing_and_shows_the_cursor() {
    let bench = bench().await;
    let shown = on_terminal(&bench, &["init"], "Machine\t\\x03\n").await.exits(130);
    assert!(shown.text().contains("\u{1b}[?25h"), "{:?}", shown.text());
    assert!(!bench.path(CONFIG).exists());
}

#[tokio::test]
async fn fumidai_alone_shows_what_is_set_up_on_a_terminal_only() {
    let bench = bench().await;
    let shown = on_terminal(&bench, &[], "").await.exits(0);
    assert!(shown.text().contains("fumidai init"), "{}", shown.text());
    init(&bench, &format!("--target {ONLINE_TARGET} --name bastion --ssh-config")).finish().await.exits(0);
    let shown = on_terminal(&bench, &[], "").await.exits(0);
    assert!(
        shown.text().contains("ssh bastion") && !shown.text().contains("fumidai init"),
        "{}",
        shown.text()
    );
    let usage = bench.fumidai::<&str>([]).finish().await.exits(2);
    assert!(usage.stderr.contains("Usage: fumidai"), "{}", usage.stderr);
}

#[tokio::test]
async fn no_question_is_asked_where_none_may_be() {
    let bench = bench().await;
    for (words, variable) in [(vec!["--no-input"], "0"), (vec![], "1")] {
        let words = [vec!["connect", ONLINE_TARGET, "--require-reason", "true"], words].concat();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/terminal.py");
        let run = bench.run(&tool("python3")).args([script, env!("CARGO_BIN_EXE_fumidai")]).args(words);
        let shown = run.env("FUMIDAI_NO_INPUT", variable).input("").finish().await.exits(2);
        assert!(shown.text().contains("--reason TEXT"), "{}", shown.text());
        assert!(!shown.text().contains("Reason for this session"), "{}", shown.text());
    }
}
