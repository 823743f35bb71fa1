//! The rehearsal of an ssh_config, as the action runs it, and the picture of the demo.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::root;

fn rehearse(home: &Path, words: &[&str]) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_fumidai-sim")).parent().unwrap();
    Command::new(root().join("contrib/rehearse"))
        .args(words)
        .env_clear()
        .env("HOME", home)
        .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display()))
        .current_dir(home)
        .output()
        .unwrap()
}

#[test]
fn a_rehearsal_tells_which_hosts_can_be_connected_to() {
    if !Path::new("/usr/bin/ssh").is_file() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let contributed = fs::read_to_string(root().join("contrib/ssh_config")).unwrap();
    let own = "Host web\n    HostName i-0aaaabbbbcccc0001\n    ProxyCommand fumidai connect '%h' %p\n";
    fs::write(home.path().join("config"), format!("{own}{contributed}")).unwrap();

    let (id, other) = ("i-0123456789abcdef0", "i-0aaaabbbbcccc0001");
    let output = rehearse(home.path(), &["-r", "ap-northeast-1", "-t", other, "config", id, "web"]);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(words, format!("ok      {id}\nok      web\n"));

    let output = rehearse(home.path(), &["config", "web", id]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("FAILED  web\nok      {id}\n"));
}

#[test]
fn the_picture_has_the_lines_of_the_demo() {
    let picture = fs::read_to_string(root().join("docs/demo.svg")).unwrap();
    let demo = fs::read_to_string(root().join("src/sim/cli/demo.rs")).unwrap();
    let class = |name: &str| {
        let start = format!("class=\"{name}\"");
        let lines = picture.lines().filter(move |line| line.contains(&start));
        lines.map(|line| line.split(['<', '>']).nth(2).unwrap().trim().to_owned()).collect::<Vec<_>>()
    };
    let steps = class("step");
    assert_eq!(steps.len(), 3);
    for step in &steps {
        assert!(demo.contains(step), "the demo does not print `{step}`: run contrib/picture");
    }
    assert_eq!(class("proof").len(), 2);
    let hashes: Vec<String> =
        class("output").into_iter().filter(|line| line.starts_with("sha256 ")).collect();
    let hash = |line: &String| line.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(hashes.len(), 5);
    assert!(hashes[..3].iter().all(|line| hash(line) == hash(&hashes[0])));
    assert_eq!(hash(&hashes[3]), hash(&hashes[4]));
}
