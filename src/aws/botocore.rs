//! AWS's files, read by fumidai and by botocore: generated files, odd in all the ways that people write them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::files::{AwsFiles, FilePath, FilePaths};
use super::source::{Base, CredentialSource, Setting};
use super::variables::CredentialVariables;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/setup/aws_files.py");
const CASES: usize = 300;

/// A generator with a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

const CONFIG_HEADERS: [&str; 22] = [
    "[default]",
    "[profile a]",
    "[profile b]",
    "[profile 'a']",
    "[profile \"Foo Bar\"]",
    "[profile Foo Bar]",
    "[profile Foo\\ Bar]",
    "[profile default]",
    "[profile\ta]",
    "[profile c] # words",
    "[profile b] ]",
    "[ default ]",
    "[profile]",
    "[profilex a]",
    "[profile 'a]",
    "[sso-session corp]",
    "[sso-session \"corp\"]",
    "[services local]",
    "[services 'my local']",
    "[DEFAULT]",
    "[preview]",
    "[profile ünï]",
];
const CREDENTIALS_HEADERS: [&str; 7] =
    ["[default]", "[a]", "[b]", "[Foo Bar]", "[profile a]", "[c] words", "[ünï]"];
const NAMES: [&str; 7] = ["a", "b", "c", "default", "Foo Bar", "nobody", "'a'"];
const COMMENTS: [&str; 5] = ["# comment", "; comment", "   # indented", "\t;tab", "#"];
const BROKEN: [&str; 5] = ["no delimiter", "= no name", "[open", "\u{a0}x", "[]"];

/// One option, sometimes of several lines.
fn option(random: &mut Random) -> String {
    let process = r#"printf '{"Version":1,"AccessKeyId":"P%s%s%s","SecretAccessKey":"s"}' "#;
    match random.below(17) {
        0 | 1 => format!("region = {}", random.one(&["eu-west-1", "us-east-1 # no", "x;y", "", "'q'"])),
        2 | 3 => format!("aws_access_key_id = {}", random.one(&["AKIAONE", "AKIATWO", "AKIA ; three"])),
        4 | 5 => "aws_secret_access_key=s3cr/et+== # part".to_owned(),
        6 => format!("Aws_Session_Token : {}", random.one(&["token", "to:ken=="])),
        7 => format!("role_arn = arn:aws:iam::1:role/{}", random.one(&["r", "s"])),
        8 => format!("source_profile = {}", random.one(&NAMES)),
        9 => format!("credential_source = {}", random.one(&["Environment", "Nowhere"])),
        10 => format!("credential_process = {process}{}", random.one(&["'a # b'", "x ;y", "\"a b\"", "z"])),
        11 => format!("sso_session = {}", random.one(&["corp", "\"corp\"", "nobody"])),
        12 => random.one(&["sso_account_id = 1", "sso_role_name = r", "sso_region = x"]).to_owned(),
        13 => random.one(&["sso_start_url = https://x/#/", "sso_region = eu-west-1"]).to_owned(),
        14 => format!("services = {}", random.one(&["local", "my local", "'my local'", "nobody"])),
        15 => "ssm =\n    endpoint_url = http://ssm # x\n\n    # no\n    other=1".to_owned(),
        _ => random.one(&["login_session = arn:l", "endpoint_url = http://any", "s3 =\n   a = b"]).to_owned(),
    }
}

fn file(random: &mut Random, headers: &[&str]) -> String {
    let mut text = String::new();
    let newline = if random.happens(15) { "\r\n" } else { "\n" };
    let mut left: Vec<&str> = headers.to_vec();
    for _ in 0..random.below(6) {
        // Sections and options that occur twice are an error of configparser, and merged here.
        let header = left.swap_remove(random.below(left.len()));
        let indent = if random.happens(15) { random.one(&[" ", "\t", "    "]) } else { "" };
        let mut lines = vec![format!("{indent}{header}")];
        if header.starts_with("[services") {
            // An empty one does not exist for botocore.
            lines.push(format!("{indent}other = x"));
        }
        let mut known = Vec::new();
        for _ in 0..random.below(7) {
            let option = option(random);
            let name = option.split(['=', ':']).next().unwrap().trim().to_lowercase();
            if known.contains(&name) {
                continue;
            }
            known.push(name);
            let deeper = if random.happens(10) { random.one(&["  ", "\t"]) } else { "" };
            lines.push(
                option.lines().map(|line| format!("{indent}{deeper}{line}")).collect::<Vec<_>>().join("\n"),
            );
            if random.happens(15) {
                lines.push(random.one(&COMMENTS).to_owned());
            }
            if random.happens(10) {
                lines.push(random.one(&["", "   "]).to_owned());
            }
        }
        if random.happens(2) {
            lines.push(random.one(&BROKEN).to_owned());
        }
        text += &(lines.join("\n") + "\n");
    }
    text.replace('\n', newline)
}

fn read(folder: &Path) -> AwsFiles {
    let path = |name| Some(FilePath { path: folder.join(name), is_named: true });
    AwsFiles::read(&FilePaths { config: path("config"), credentials: path("credentials") })
}

/// What would give the credentials of a profile, in the words of the script.
fn source(files: &AwsFiles, name: &str) -> String {
    let variables = CredentialVariables::default();
    let setting = Setting { files, variables: &variables, ignores_variables: true };
    let Ok(found) = CredentialSource::find(&setting, name) else { return "error".to_owned() };
    let base = match found.base {
        Base::Keys { keys, .. } => format!("keys {}", keys.access_key_id()),
        // With more words printf repeats itself, which is not JSON.
        Base::Process { words, .. } if words.len() > 5 => "error".to_owned(),
        Base::Process { words, .. } => format!("process P{}", words[2..].concat()),
        Base::Sso(_) => "sso".to_owned(),
        Base::Login { .. } => "login".to_owned(),
        Base::WebIdentity { .. } => "web".to_owned(),
        Base::Environment(_) | Base::Container | Base::Metadata => "other".to_owned(),
        Base::Ambient { .. } => "none".to_owned(),
    };
    // botocore resolves the base of a role at once.
    let is_hidden = !found.roles.is_empty() && base != "error" && base != "login";
    if is_hidden { "assume-role".to_owned() } else { base }
}

fn endpoint(files: &AwsFiles, name: &str) -> Value {
    let profile = files.profile(name).unwrap();
    match profile.get("services").map(|services| files.service_endpoint(services, "ssm")) {
        Some(None) => "error".into(),
        Some(Some(Some(url))) => url.into(),
        Some(Some(None)) | None => profile.get("endpoint_url").into(),
    }
}

/// Compares one folder; returns true if botocore could read it.
fn compare(folder: &Path, botocore: &Value) -> bool {
    let files = read(folder);
    let shown = || {
        let text = |name| std::fs::read_to_string(folder.join(name)).unwrap();
        format!("config:\n{}\ncredentials:\n{}", text("config"), text("credentials"))
    };
    let Some(profiles) = botocore.get("profiles").and_then(Value::as_object) else {
        assert!(!files.problems().is_empty(), "{botocore}\n{}", shown());
        return false;
    };
    assert_eq!(files.problems(), [], "{}", shown());
    let names: Vec<&str> = files.profile_names().collect();
    let mut expected: Vec<&str> = profiles.keys().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(names, expected, "{}", shown());
    for (name, answer) in profiles {
        let options = files.profile(name).unwrap().settings();
        let expected: BTreeMap<&str, &str> = answer["options"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str().unwrap()))
            .collect();
        assert_eq!(options, expected, "{name}\n{}", shown());
        assert_eq!(source(&files, name), answer["source"].as_str().unwrap(), "{name}\n{}", shown());
        assert_eq!(endpoint(&files, name), answer["endpoint"], "{name}\n{}", shown());
    }
    true
}

/// Python with botocore, where `tests/run` has installed it.
#[expect(clippy::disallowed_methods, reason = "the variables of tests/run")]
fn python() -> Option<PathBuf> {
    let usual = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-venv");
    let python = std::env::var_os("FUMIDAI_TEST_VENV").map_or(usual, PathBuf::from).join("bin/python");
    Some(python).filter(|python| python.is_file())
}

#[test]
fn generated_files_are_read_as_by_botocore() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for case in 0..CASES {
        let case = folder.path().join(format!("{case:03}"));
        std::fs::create_dir(&case).unwrap();
        std::fs::write(case.join("config"), file(&mut random, &CONFIG_HEADERS)).unwrap();
        std::fs::write(case.join("credentials"), file(&mut random, &CREDENTIALS_HEADERS)).unwrap();
    }
    let mut command = Command::new(python);
    command.env_clear().env("HOME", folder.path()).env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    let output = command.arg(SCRIPT).arg(folder.path()).output().unwrap();
    let answers: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let answers = answers.as_object().unwrap();
    let read = answers.iter().filter(|(case, answer)| compare(&folder.path().join(case), answer)).count();
    assert!(answers.len() == CASES && read > CASES / 2, "{read} of {}", answers.len());
}
