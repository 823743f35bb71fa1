//! Completion in real shells.

use std::process::{Command, Stdio};

use crate::run::{Home, has, stderr, stdout};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

/// Where `fumidai list` leaves the names that it saw.
const CACHE: &str = match cfg!(target_os = "macos") {
    true => "Library/Caches/fumidai/names.json",
    false => ".cache/fumidai/names.json",
};

fn home() -> Home {
    let home = Home::new();
    home.config("[hosts.bastion]\ntarget = 'i-0123'\n");
    let names = r#"{"any":[{"id":"i-0123","name":"web-prod"},{"id":"i-0456","name":"web-test"},{"id":"mi-1","name":"$(touch x)"},{"id":"ecs:prod/api"}]}"#;
    home.write(CACHE, names);
    home
}

/// What bash would put in the place of the last word.
fn complete(home: &Home, line: &str) -> Vec<String> {
    // What readline does before it calls a completion function: `$2` is what follows the last word break.
    let script = r#"
        source <(fumidai completions bash)
        COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
        word=${1##*[[:space:]@:=]}
        _fumidai fumidai "$word" ""
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = home.command("bash").args(["--norc", "-c", script, "bash", line]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).lines().map(str::to_owned).filter(|word| !word.is_empty()).collect()
}

#[test]
fn bash_completes_commands_hosts_and_cached_names() {
    let home = home();
    for (line, words) in [
        ("fumidai conn", &["connect"][..]),
        ("fumidai connect ba", &["bastion"]),
        ("fumidai connect web-", &["web-prod", "web-test"]),
        ("fumidai connect me@web-p", &["web-prod"]),
        ("fumidai connect i-", &["i-0123", "i-0456"]),
        ("fumidai connect ecs:p", &["prod/api"]),
        ("fumidai -q connect mi", &["mi-1"]),
        ("fumidai explain ba", &["bastion"]),
        ("fumidai connect db --via ba", &["bastion"]),
        ("fumidai connect --reg", &["--region"]),
        ("fumidai completions z", &["zsh"]),
    ] {
        assert_eq!(complete(&home, line), words, "{line}");
    }
    let words = complete(&home, "fumidai connect ");
    let place = |word: &str| {
        words.iter().position(|known| known == word).unwrap_or_else(|| panic!("{word}: {words:?}"))
    };
    assert!(place("web-prod") < place("--region") && place("bastion") < place("--profile"), "{words:?}");
}

#[test]
fn bash_completes_profiles_and_regions() {
    let home = home();
    home.write(".aws/config", "[default]\n[profile prod]\n[profile prod-eu]\n[sso-session prod-sso]\n");
    home.write(".aws/credentials", "[prod-old]\n");
    for (line, words) in [
        ("fumidai connect --profile prod", &["prod", "prod-eu", "prod-old"][..]),
        ("fumidai --profile def", &["default"]),
        ("fumidai list --region eu-w", &["eu-west-1", "eu-west-2", "eu-west-3"]),
    ] {
        assert_eq!(complete(&home, line), words, "{line}");
    }
}

/// A whole interactive bash, and a user who presses the tab key.
#[test]
fn the_tab_key_completes_in_an_interactive_bash() {
    let home = home();
    let script = r#"
import os, pty, re, select, sys, time
shell, terminal = pty.fork()
if shell == 0:
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
shown = b""
def until(text):
    global shown
    end = time.time() + 20
    while not re.search(text, shown) and time.time() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096)
os.write(terminal, b"PS1=; source <(fumidai completions bash); echo re''ady\n")
until(b"ready")
os.write(terminal, b"echo fumidai connect me@ba\t \x01\x1bd\x0b")
os.write(terminal, b"fumidai connect me@ba\t")
until(b"connect me@bastion ")
sys.exit(0 if b"connect me@bastion " in shown else shown.decode())
"#;
    let output = home.command("python3").args(["-c", script]).env("TERM", "dumb").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_wrong_config_file_or_cache_completes_commands_still() {
    let home = home();
    home.config("[hosts");
    home.write(CACHE, "{");
    assert_eq!(complete(&home, "fumidai conn"), ["connect"]);
    assert!(complete(&home, "fumidai connect web").is_empty());
}

#[test]
fn every_script_is_one_its_shell_can_read() {
    let home = home();
    for shell in SHELLS {
        let script = stdout(&home.fumidai(&format!("completions {shell}")));
        assert!(script.contains("FUMIDAI_COMPLETE"), "{shell}: {script}");
        home.write(shell, &script);
        let check: &[&str] = match shell {
            "bash" | "zsh" | "fish" => &["-n", shell],
            _ => continue,
        };
        if shell == "bash" || has(shell) {
            let output = home.command(shell).args(check).output().unwrap();
            assert!(output.status.success(), "{shell}: {}", stderr(&output));
        }
    }
}

#[test]
fn packages_get_every_page_and_script() {
    let home = Home::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/package");
    let output = Command::new(script)
        .envs(home_environment(&home))
        .arg(home.path("out"))
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for file in [
        "man/man1/fumidai.1",
        "man/man1/fumidai-connect.1",
        "man/man1/fumidai-ssh-config.1",
        "bash-completion/completions/fumidai",
        "zsh/site-functions/_fumidai",
        "fish/vendor_completions.d/fumidai.fish",
        "fumidai/completions/fumidai.ps1",
        "fumidai/completions/fumidai.elv",
    ] {
        assert!(home.read(&format!("out/{file}")).len() > 100, "{file}");
    }
    assert_eq!(home.read("out/man/man1/fumidai.1").matches("\n.TH ").count(), 1);
}

fn home_environment(home: &Home) -> Vec<(String, String)> {
    let command = home.command("fumidai");
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?)))).collect()
}
