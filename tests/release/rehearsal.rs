//! The rehearsal of an ssh_config, as the action runs it.

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
