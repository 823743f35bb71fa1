//! The papers agree with the code and with each other, and the layers keep their arrows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fumidai::cli::report::ExitKind;
use fumidai::config::{Config, Environment, FORWARD_KEYS, Flags, HOST_KEYS, Key, Row, TASK_KEYS, TableKey};
use fumidai::route;

/// What the protocol may import of other crates.
const PROTOCOL_IMPORTS: [&str; 6] = ["bytes", "serde", "serde_json", "base64", "uuid", "aws_lc_rs"];

/// The README's command lines, the file that has each run, and the words there that do it.
const COMMANDS_RUN: [(&str, &str, &str); 11] = [
    (
        "cargo run --features sim --bin fumidai-sim -- demo",
        "tests/run",
        "cargo run --features sim --bin fumidai-sim -- demo",
    ),
    ("cargo install --locked --path .", ".github/workflows/ci.yml", "cargo install --locked --path ."),
    ("fumidai ssh-config --install", "tests/setup/ssh_config.rs", "home.fumidai(\"ssh-config --install\")"),
    ("ssh ec2-user@i-0123456789abcdef0", "tests/e2e/readme.rs", "commands(\"ssh ec2-user\")"),
    ("scp ec2-user@i-0123456789abcdef0:/tmp/test.txt .", "tests/e2e/readme.rs", "commands(\"scp \")"),
    (
        "rsync -a ec2-user@i-0123456789abcdef0:/var/log/app/ logs/",
        "tests/e2e/readme.rs",
        "commands(\"rsync \")",
    ),
    (
        "ssh -N -L 13306:orders.cluster-abc.ap-northeast-1.rds.amazonaws.com:3306 ec2-user@i-0123456789abcdef0",
        "tests/e2e/readme.rs",
        "commands(\"ssh -N -L\")",
    ),
    (
        "fumidai forward i-0123456789abcdef0 -L 13306:orders.cluster-abc.ap-northeast-1.rds.amazonaws.com:3306",
        "tests/e2e/readme.rs",
        "commands(\"fumidai forward i-\")",
    ),
    ("fumidai init", "tests/e2e/init.rs", "on_terminal(&bench, &[\"init\"]"),
    ("fumidai up orders-db", "tests/e2e/kept.rs", "\"up orders-db\""),
    ("fumidai forward orders-db", "tests/e2e/readme.rs", "commands(\"fumidai forward orders-db\")"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder, and of those within it, whose names end so.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn papers() -> Vec<PathBuf> {
    let top = fs::read_dir(root()).expect("the project").map(|entry| entry.expect("an entry").path());
    let top = top.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    top.chain(files("docs", ".md")).chain(files("contrib", ".md")).collect()
}

/// The contents of the fenced blocks of that language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let starts = text.match_indices(&fence).map(|(at, _)| at + fence.len());
    starts.map(|at| text[at..].split("```").next().unwrap_or_default().to_owned()).collect()
}

/// Text without its fenced blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

#[test]
fn the_readmes_ssh_config_is_the_contributed_one() {
    let blocks = blocks(&read("README.md"), "sshconfig");
    assert_eq!(blocks.first(), Some(&read("contrib/ssh_config")));
}

#[test]
fn every_link_has_its_file_and_heading() {
    for paper in papers() {
        let text = prose(&fs::read_to_string(&paper).expect("a paper"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { paper.clone() } else { paper.with_file_name("").join(file) };
            assert!(target.is_file(), "{}: {link}", paper.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).expect("a paper");
                let headings: Vec<String> = prose(&text).lines().filter_map(anchor).collect();
                assert!(headings.iter().any(|known| known == heading), "{}: {link}", paper.display());
            }
        }
    }
}

#[test]
fn every_source_file_that_a_page_names_exists() {
    for page in papers() {
        let text = fs::read_to_string(&page).expect("a page");
        let quoted = text.split('`').skip(1).step_by(2);
        let is_source = |word: &&str| word.ends_with(".rs") && word.contains('/') && !word.contains('*');
        for file in quoted.filter(is_source) {
            let is_there =
                [root().join("src").join(file), root().join(file)].iter().any(|path| path.is_file());
            assert!(is_there, "{}: {file}", page.display());
        }
    }
}

/// A page names the user, the client or the session that it means.
#[test]
fn no_page_speaks_of_nobody_and_everybody() {
    let vague = ["nobody", "somebody", "anybody", "everybody", "whoever", "for ever "];
    for paper in papers() {
        let text = fs::read_to_string(&paper).expect("a page").to_lowercase();
        for (number, line) in text.lines().enumerate() {
            let found = vague.iter().find(|word| line.contains(*word));
            assert!(found.is_none(), "{}:{}: {found:?}", paper.display(), number + 1);
        }
    }
}

/// A heading's name in links, as hosts of repositories make it.
fn anchor(line: &str) -> Option<String> {
    let heading = line.starts_with('#').then(|| line.trim_start_matches('#').trim())?;
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

#[test]
fn every_command_of_the_readme_is_run_somewhere() {
    let shown: BTreeSet<String> = blocks(&read("README.md"), "sh")
        .iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let known: BTreeSet<String> = COMMANDS_RUN.iter().map(|(command, _, _)| (*command).to_owned()).collect();
    assert_eq!(shown, known);
    for (command, file, words) in COMMANDS_RUN {
        assert!(read(file).contains(words), "`{command}` is not run by {file}");
    }
}

#[test]
fn policies_are_json_and_allow_what_is_named() {
    let policies = files("contrib/iam", ".json");
    assert!(!policies.is_empty());
    for path in policies {
        let text = fs::read_to_string(&path).expect("a policy");
        let policy: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(policy["Version"], "2012-10-17", "{}", path.display());
        let allowed: BTreeSet<&str> = policy["Statement"]
            .as_array()
            .expect("statements")
            .iter()
            .flat_map(|statement| {
                assert_eq!(statement["Effect"], "Allow", "{}", path.display());
                let actions = &statement["Action"];
                actions.as_array().map_or(vec![actions], |many| many.iter().collect())
            })
            .filter_map(serde_json::Value::as_str)
            .collect();
        assert_eq!(allowed, needed_actions(&path), "{}", path.display());
        let named = |document: &str| text.contains(&format!("document/{document}\""));
        let documents = [route::SSH_DOCUMENT, route::PORT_DOCUMENT, route::REMOTE_HOST_DOCUMENT].map(named);
        let started = match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("connect" | "connect-role" | "host-keys") => [true, false, false],
            Some("forward") => [false, true, true],
            _ => [false; 3],
        };
        assert_eq!(documents, started, "{}", path.display());
    }
}

/// The actions that a contributed policy is for.
fn needed_actions(path: &Path) -> BTreeSet<&'static str> {
    let needed: &[&str] = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("names") => &[
            "ec2:DescribeInstances",
            "ssm:DescribeInstanceInformation",
            "ecs:ListTasks",
            "ecs:DescribeTasks",
        ],
        Some("keys") => &["ec2-instance-connect:SendSSHPublicKey"],
        Some("host-keys") => &["ec2:GetConsoleOutput", "ssm:GetParameter", "ssm:StartSession"],
        Some("audit") => &["cloudtrail:LookupEvents", "ssm:DescribeSessions"],
        Some("access-request") => &[
            "ssm:GetAccessToken",
            "ssm:ResumeSession",
            "ssm:StartAccessRequest",
            "ssm:TerminateSession",
            "ssmmessages:OpenDataChannel",
        ],
        Some("guardian-user") => {
            &["states:StartExecution", "states:ListExecutions", "states:DescribeExecution"]
        }
        Some("guardian-watcher") => &["states:ListExecutions", "states:DescribeExecution"],
        Some("guardian") => &[
            "ec2:DescribeInstances",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:ModifyNetworkInterfaceAttribute",
            "ec2:StartInstances",
            "ec2:StopInstances",
            "ssm:DescribeSessions",
            "ssm:GetConnectionStatus",
            "states:ListExecutions",
        ],
        _ => {
            &["ssm:ResumeSession", "ssm:StartSession", "ssm:TerminateSession", "ssmmessages:OpenDataChannel"]
        }
    };
    needed.iter().copied().collect()
}

#[test]
fn every_contributed_file_has_a_row() {
    for (folder, ending) in [("contrib/iam", ".json"), ("contrib/systemd", ".service")] {
        let text = read(format!("{folder}/README.md"));
        for path in files(folder, ending) {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            assert!(text.contains(&format!("| [{name}]({name}) |")), "{folder}: {name}");
        }
    }
}

#[test]
fn the_units_run_forwards_and_end_them_in_order() {
    // Access that was refused must not be requested again and again.
    let codes = [ExitKind::Usage, ExitKind::Configuration, ExitKind::AccessDenied, ExitKind::NotFound];
    let codes = codes.into_iter().chain([ExitKind::Ambiguous, ExitKind::RemotePort, ExitKind::Encryption]);
    let codes: Vec<String> = codes.map(|kind| kind.code().to_string()).collect();
    let terminated = ExitKind::Signal(15).code();
    for path in files("contrib/systemd", ".service") {
        let unit = fs::read_to_string(&path).expect("a unit");
        let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        let command = value("ExecStart").and_then(|line| line.strip_prefix("/usr/bin/env fumidai forward "));
        assert!(matches!(command, Some("%i" | "--all")), "{}", path.display());
        assert_eq!(value("Type"), Some("notify"));
        assert_eq!(value("SuccessExitStatus"), Some(terminated.to_string().as_str()));
        assert_eq!(value("RestartPreventExitStatus"), Some(codes.join(" ").as_str()));
    }
}

/// A table of docs/config.md, as the code has it.
fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let header = header.iter().map(|cell| (*cell).to_owned()).collect();
    let dashes = vec!["---".to_owned(); Vec::len(&header)];
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    [header].into_iter().map(line).collect::<String>()
        + &line(dashes).replace(' ', "")
        + &rows.map(line).collect::<String>()
}

fn setting(row: &Row) -> Vec<String> {
    let code = |text: &str| format!("`{text}`");
    let variables: Vec<String> = row.variables.iter().map(|name| code(name)).collect();
    vec![
        code(row.name),
        row.help.trim().to_owned(),
        row.values.to_owned(),
        row.default.map(code).or(row.otherwise.map(str::to_owned)).unwrap_or_else(|| "none".to_owned()),
        if variables.is_empty() { "none".to_owned() } else { variables.join(", then ") },
    ]
}

fn key<T>(key: &TableKey<T>) -> Vec<String> {
    vec![format!("`{}`", key.name), key.values.to_owned(), key.default.to_owned()]
}

#[test]
fn the_tables_of_settings_and_keys_are_those_of_the_code() {
    let text = read("docs/config.md");
    for table in [
        table(
            &["Key", "Meaning", "Value", "Default", "Variables"],
            Key::ALL.iter().map(|key| setting(key.row())),
        ),
        table(&["Key of `[hosts.NAME]`", "Value", "Default"], HOST_KEYS.iter().map(key)),
        table(&["Key of `task`", "Value", "Default"], TASK_KEYS.iter().map(key)),
        table(&["Key of `[forwards.NAME]`", "Value", "Default"], FORWARD_KEYS.iter().map(key)),
    ] {
        assert!(
            text.contains(&format!("\n\n{table}\n")),
            "docs/config.md does not have this table:\n{table}"
        );
    }
}

#[test]
fn the_contributed_config_file_has_every_key() {
    let file = root().join("contrib/config.toml");
    let flags = Flags { config_file: Some(file), ..Flags::default() };
    let config = Config::resolve(flags, &Environment::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.hosts.len(), config.forwards.len()), (3, 1));
    let document: toml::Table = read("contrib/config.toml").parse().expect("TOML");
    let keys = |table: &str| -> BTreeSet<String> {
        let entries = document[table].as_table().expect("a table");
        entries
            .iter()
            .flat_map(|(name, value)| match value.as_table() {
                Some(inner) => inner.keys().cloned().collect(),
                None => vec![name.clone()],
            })
            .collect()
    };
    assert_eq!(keys("defaults"), Key::ALL.iter().map(|key| key.name().to_owned()).collect());
    assert!(HOST_KEYS.iter().all(|key| keys("hosts").contains(key.name)));
    assert!(FORWARD_KEYS.iter().all(|key| keys("forwards").contains(key.name)));
}

#[test]
fn every_config_file_in_the_papers_is_one() {
    for paper in papers() {
        for text in blocks(&fs::read_to_string(&paper).expect("a paper"), "toml") {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let file = folder.path().join("config.toml");
            fs::write(&file, text).expect("a file");
            let flags = Flags { config_file: Some(file), ..Flags::default() };
            let read = Config::resolve(flags, &Environment::default());
            assert!(read.is_ok(), "{}: {:?}", paper.display(), read.err());
        }
    }
}

#[test]
fn every_exit_code_has_a_row() {
    let text = read("docs/errors.md");
    for kind in ExitKind::ALL {
        let row = format!("\n| {} | ", kind.code());
        assert_eq!(text.matches(&row).count(), 1, "exit code {}", kind.code());
    }
    for signal in [1, 2, 13, 15] {
        let code = ExitKind::Signal(signal).code().to_string();
        assert!(text.contains(&code), "exit code {code}");
    }
}

/// A source file's code without its comments and its tests, which may lean on anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let code = text.lines().take_while(|line| *line != "#[cfg(test)]");
    code.filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

fn sources(layer: &str) -> impl Iterator<Item = PathBuf> {
    let is_test = |path: &PathBuf| {
        path.components().any(|part| part.as_os_str() == "tests")
            || path.file_name().is_some_and(|name| name == "tests.rs")
    };
    let file = root().join(format!("src/{layer}.rs"));
    let found = if file.is_file() { vec![file] } else { files(&format!("src/{layer}"), ".rs") };
    found.into_iter().filter(move |path| !is_test(&path.strip_prefix(root()).unwrap_or(path).to_owned()))
}

#[test]
fn the_protocol_imports_next_to_nothing() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let dependencies = manifest["dependencies"].as_table().expect("a table");
    let names = dependencies.keys().map(|name| name.replace('-', "_"));
    let forbidden: Vec<String> = names.filter(|name| !PROTOCOL_IMPORTS.contains(&name.as_str())).collect();
    assert!(forbidden.contains(&"tokio".to_owned()));
    for path in sources("channel").chain(sources("mux")) {
        let code = code(&path);
        for name in &forbidden {
            let is_named = code.match_indices(&format!("{name}::")).any(|(at, _)| {
                !code[..at].ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | ':'))
            });
            assert!(!is_named, "{} names `{name}`", path.display());
        }
    }
}

fn tree_of(package: &str, features: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--invert", package])
        .args(features)
        .current_dir(root())
        .output()
        .expect("cargo runs")
}

#[test]
fn one_crypto_stack_is_in_the_tree() {
    for features in [&[][..], &["--features", "sim"]] {
        let aws_lc = tree_of("aws-lc-rs", features);
        assert!(aws_lc.status.success() && !aws_lc.stdout.is_empty(), "{aws_lc:?}");
        for other in ["ring", "openssl-sys", "native-tls"] {
            let tree = tree_of(other, features);
            assert!(tree.stdout.is_empty(), "{}", String::from_utf8_lossy(&tree.stdout));
            let words = String::from_utf8_lossy(&tree.stderr);
            let is_absent =
                words.contains("did not match any packages") || words.contains("nothing to print");
            assert!(is_absent, "{words}");
        }
    }
}

/// The tests of docs/security.md, in the form `FILE: FUNCTION`.
fn tests_of_threats() -> Vec<(String, String)> {
    let text = read("docs/security.md");
    let (_, table) = text.split_once("## Threats").expect("a table of threats");
    let table = table.split("\n## ").next().expect("a section");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.iter().all(|row| row.contains(".rs: ")), "each threat has a test: {rows:#?}");
    let named = rows.iter().flat_map(|row| row.split('`')).filter_map(|part| part.split_once(".rs: "));
    named.map(|(file, function)| (format!("{file}.rs"), function.to_owned())).collect()
}

#[test]
fn the_test_of_each_threat_exists() {
    let tests = tests_of_threats();
    for (file, function) in &tests {
        let code = read(file);
        let (before, _) = code
            .split_once(&format!("fn {function}("))
            .unwrap_or_else(|| panic!("{file} has no function `{function}`"));
        let attribute = before.rfind("test").map(|at| &before[at..]).unwrap_or_default();
        assert!(attribute.len() < 120 && before.contains("#["), "{file}: `{function}` is no test");
    }
    for attacker in
        ["agent", "service", "hop", "local user", "web page", "stolen laptop", "config", "terminal"]
    {
        assert!(read("docs/security.md").contains(&format!("{attacker} |")), "no threat of a {attacker}");
    }
}
