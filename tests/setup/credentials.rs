//! What needs a human: a second factor, a login, a reason.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use crate::run::{FUMIDAI, Home, end, stderr, stdout};
use crate::stub::Stub;

const TERMINAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/setup/terminal.py");
/// Runs the rest of the words in a session of its own, which has no terminal.
const ALONE: &str = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:], start_new_session=True))";
const SERIAL: &str = "arn:aws:iam::123456789012:mfa/me";

const MFA: &str = "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = s\n\
    [profile admin]\nrole_arn = arn:aws:iam::123456789012:role/admin\nsource_profile = base\nregion = eu-west-1\n\
    mfa_serial = arn:aws:iam::123456789012:mfa/me\nduration_seconds = 3600\nexternal_id = outside\n\
    [profile plain]\nrole_arn = arn:aws:iam::123456789012:role/plain\nsource_profile = base\nregion = eu-west-3\n\
    [profile my-login]\nregion = eu-west-1\nsso_session = corp\nsso_account_id = 123456789012\nsso_role_name = r\n\
    [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";

fn home() -> Home {
    let home = Home::new();
    home.write(".aws/config", MFA);
    home
}

fn with_endpoints(command: &mut Command, stub: &Stub) {
    command.env("AWS_ENDPOINT_URL", stub.url()).env("AWS_EC2_METADATA_DISABLED", "true");
}

/// Without a terminal, as in a job or under a program with windows.
fn alone(home: &Home, stub: &Stub, words: &str) -> Output {
    let mut command = home.command("python3");
    with_endpoints(&mut command, stub);
    command.args(["-c", ALONE, FUMIDAI]).args(words.split_whitespace()).output().unwrap()
}

/// On a terminal, on which `answer` is typed after so many seconds.
fn answered(home: &Home, stub: &Stub, answer: &str, delay: &str, words: &str) -> Output {
    let mut command = home.command("python3");
    with_endpoints(&mut command, stub);
    command.args([TERMINAL, answer, delay, FUMIDAI]).args(words.split_whitespace()).output().unwrap()
}

#[test]
fn a_code_is_asked_for_on_the_terminal_and_goes_to_sts() {
    let (home, stub) = (home(), Stub::start());
    let output = answered(&home, &stub, "424242\n", "0", "connect i-0123 --profile admin");
    let shown = stdout(&output);
    assert_eq!(output.status.code(), Some(14), "{shown}{}", stderr(&output));
    assert!(shown.contains(&format!("Enter MFA code for {SERIAL}: ")), "{shown}");
    assert!(!shown.contains("424242") && shown.ends_with("echo on\n"), "{shown}");
    let calls = stub.requests("AssumeRole");
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!((call.key.as_str(), call.region.as_str()), ("AKIABASE", "eu-west-1"));
    assert_eq!(call.field("TokenCode"), Some("424242"));
    assert_eq!(call.field("SerialNumber"), Some("arn%3Aaws%3Aiam%3A%3A123456789012%3Amfa%2Fme"));
    assert_eq!((call.field("DurationSeconds"), call.field("ExternalId")), (Some("3600"), Some("outside")));
    assert_eq!(stub.requests("StartSession")[0].key, "ASIAROLE");
}

#[test]
fn under_ssh_the_user_is_asked_all_the_same() {
    let (home, stub) = (home(), Stub::start());
    home.config("[hosts.web]\ntarget = 'i-0123'\nprofile = 'admin'");
    home.write("ssh_config", &stdout(&home.fumidai("ssh-config")));
    let mut command = home.command("python3");
    with_endpoints(&mut command, &stub);
    let output = command
        .args([TERMINAL, "424242\n", "0", "/usr/bin/ssh", "-F", "ssh_config", "web"])
        .output()
        .unwrap();
    assert!(stdout(&output).contains("fumidai: TargetNotConnected"), "{}", stdout(&output));
    assert_eq!(stub.requests("StartSession")[0].key, "ASIAROLE");
}

#[test]
fn what_was_assumed_is_kept_for_the_whole_session() {
    let (home, stub) = (home(), Stub::start());
    let output = answered(&home, &stub, "424242\n", "0", "connect i-0fa4 --profile admin");
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert_eq!(stub.requests("TerminateSession")[0].key, "ASIAROLE");
    assert_eq!(stub.requests("AssumeRole").len(), 1);
    assert_eq!(stdout(&output).matches("Enter MFA code").count(), 1);
}

#[test]
fn the_time_that_a_human_takes_does_not_count() {
    let (home, stub) = (home(), Stub::start());
    let words = "connect i-0123 --profile admin --connect-timeout 1";
    let output = answered(&home, &stub, "424242\n", "2.5", words);
    assert_eq!(output.status.code(), Some(14), "{}", stdout(&output));
}

#[test]
fn a_wrong_code_is_reported() {
    let (home, stub) = (home(), Stub::start());
    let output = answered(&home, &stub, "654321\n", "0", "connect i-0123 --profile admin");
    assert_eq!(output.status.code(), Some(10), "{}", stdout(&output));
    assert!(stdout(&output).contains("MultiFactorAuthentication failed"), "{}", stdout(&output));
}

#[test]
fn an_interrupt_while_asking_leaves_the_terminal_as_it_was() {
    let (home, stub) = (home(), Stub::start());
    let start = Instant::now();
    let output = answered(&home, &stub, "\u{3}", "0", "connect i-0123 --profile admin");
    assert_eq!(output.status.code(), Some(130), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("echo on\n"), "{}", stdout(&output));
    assert!(start.elapsed().as_secs_f64() < 1.5, "{:?}", start.elapsed());
    assert!(stub.requests("AssumeRole").is_empty());
}

#[test]
fn an_interrupted_question_of_any_command_gives_the_echo_back() {
    let (home, stub) = (home(), Stub::start());
    for (key, code) in [("\u{3}", 130), ("\u{1c}", 131)] {
        for words in
            ["connect i-0123", "list", "explain web", "forward i-0123 -L 0:7 --eager", "forward web -L 0:7"]
        {
            let output = answered(&home, &stub, key, "0", &format!("{words} --profile admin"));
            assert_eq!(output.status.code(), Some(code), "{words}: {}", stdout(&output));
            assert!(stdout(&output).ends_with("echo on\n"), "{words}: {}", stdout(&output));
        }
    }
    assert!(stub.requests("AssumeRole").is_empty());
}

#[test]
fn without_a_terminal_the_command_to_run_is_named() {
    let (home, stub) = (home(), Stub::start());
    let (code, words) = end(&alone(&home, &stub, "connect i-0123 --profile admin"));
    assert_eq!(code, Some(10), "{words}");
    let cause = format!(
        "fumidai: profile `admin` needs an MFA code of `{SERIAL}`: no terminal to ask on\n\
         fumidai: hint: run `aws sts get-caller-identity --profile admin` in a terminal: it asks for the code"
    );
    assert!(words.starts_with(&cause), "{words}");
}

#[test]
fn what_the_aws_cli_has_asked_for_is_used() {
    let (home, stub) = (home(), Stub::start());
    // The name is botocore's for this profile; src/aws/assume.rs has how it is made.
    let keys = r#"{"Credentials":{"AccessKeyId":"ASIACACHE","SecretAccessKey":"s","SessionToken":"t","Expiration":"2999-01-01T00:00:00Z"}}"#;
    home.write(&format!(".aws/cli/cache/{CACHE_KEY}.json"), keys);
    let (code, words) = end(&alone(&home, &stub, "connect i-0123 --profile admin"));
    assert_eq!(code, Some(14), "{words}");
    assert!(stub.requests("AssumeRole").is_empty());
    assert_eq!(stub.requests("StartSession")[0].key, "ASIACACHE");
}

const CACHE_KEY: &str = "d684dfc08824594ff34b73eed55f086756a5001a";

#[test]
fn a_role_without_a_second_factor_is_the_sdks() {
    let (home, stub) = (home(), Stub::start());
    let (code, words) = end(&alone(&home, &stub, "connect i-0123 --profile plain"));
    assert_eq!(code, Some(14), "{words}");
    assert_eq!(stub.requests("AssumeRole")[0].region, "eu-west-3");
    assert_eq!(stub.requests("StartSession")[0].key, "ASIAROLE");
}

/// Connects with keys in the environment and these variables, and returns the key that signs and the region.
fn signed(config: &str, variables: &[(&str, &str)], words: &str) -> (String, String) {
    let (home, stub) = (Home::new(), Stub::start());
    home.write(
        ".aws/config",
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = s\nregion = eu-west-3\n\
         [profile work]\naws_access_key_id = AKIAWORK\naws_secret_access_key = s\nregion = eu-west-1\n",
    );
    home.config(config);
    let mut command = home.command(FUMIDAI);
    with_endpoints(&mut command, &stub);
    command.envs(variables.iter().copied()).arg("connect").args(words.split_whitespace());
    let (code, words) = end(&command.output().unwrap());
    assert_eq!(code, Some(14), "{words}");
    let request = stub.requests("StartSession").pop().expect("a session was requested");
    (request.key, request.region)
}

const ENVIRONMENT_KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")];

#[test]
fn a_profile_that_overrides_the_ambient_variables_brings_its_credentials() {
    let host = "[hosts.web]\ntarget = 'i-0123'\nprofile = 'work'";
    let with = |name, value| [&ENVIRONMENT_KEYS[..], &[(name, value)]].concat();
    for (config, variables, words, key) in [
        ("", with("AWS_PROFILE", "default"), "i-0123 --profile work", "AKIAWORK"),
        ("", with("FUMIDAI_PROFILE", "work"), "i-0123", "AKIAWORK"),
        (host, with("AWS_PROFILE", "default"), "web", "AKIAWORK"),
        ("", with("AWS_PROFILE", "work"), "i-0123", "AKIAENV"),
        ("[defaults]\nprofile = 'work'", ENVIRONMENT_KEYS.to_vec(), "i-0123", "AKIAENV"),
    ] {
        assert_eq!(
            signed(config, &variables, words),
            (key.to_owned(), "eu-west-1".to_owned()),
            "{config} {words}"
        );
    }
}

#[test]
fn a_hosts_region_overrides_the_ambient_one_and_fumidais_variable_overrides_both() {
    let host = "[hosts.web]\ntarget = 'i-0123'\nregion = 'eu-west-2'";
    let region = |variables: &[(&str, &str)]| signed(host, variables, "web").1;
    assert_eq!(region(&[("AWS_REGION", "us-east-1")]), "eu-west-2");
    assert_eq!(region(&[("AWS_REGION", "us-east-1"), ("FUMIDAI_REGION", "us-east-2")]), "us-east-2");
}

#[test]
fn an_empty_variable_of_aws_is_not_set() {
    let empty = [("AWS_PROFILE", ""), ("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "")];
    let with = |name, value| [&empty[..], &[(name, value)]].concat();
    let signed = |variables: &[(&str, &str)]| {
        let (key, region) = signed("", variables, "i-0123");
        format!("{key} {region}")
    };
    assert_eq!(signed(&empty), "AKIADEFAULT eu-west-3");
    assert_eq!(signed(&with("AWS_DEFAULT_PROFILE", "work")), "AKIAWORK eu-west-1");
    assert_eq!(signed(&with("AWS_DEFAULT_REGION", "us-east-1")), "AKIADEFAULT us-east-1");
}

#[test]
fn a_login_that_is_over_is_named_with_its_profile() {
    let (home, stub) = (home(), Stub::start());
    home.config("[hosts.web]\ntarget = 'i-0123'\nprofile = 'my-login'");
    let (code, words) = end(&alone(&home, &stub, "connect web"));
    assert_eq!(code, Some(10), "{words}");
    assert!(words.starts_with("fumidai: no usable AWS credentials: "), "{words}");
    assert!(words.ends_with("\nfumidai: hint: run `aws sso login --profile my-login`\n"), "{words}");
}

/// A home with a stand-in for the AWS CLI, whose `aws sso login` leaves a token that is valid, or fails.
fn home_with_aws(exit: u8) -> Home {
    let home = home();
    home.config("[hosts.web]\ntarget = 'i-0123'\nprofile = 'my-login'");
    // The file's name is the SHA-1 of `corp`, as the AWS CLI names it.
    let token = r#"{"startUrl":"https://corp.example/start","region":"eu-west-1","accessToken":"logged-in","expiresAt":"2999-01-01T00:00:00Z"}"#;
    home.write(
        "bin/aws",
        &format!(
            "#!/bin/sh\necho \"stand-in: $*\"\n[ {exit} = 0 ] || exit {exit}\nmkdir -p \"$HOME/.aws/sso/cache\"\n\
             echo '{token}' > \"$HOME/.aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json\"\n"
        ),
    );
    let program = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.path("bin/aws"), program).unwrap();
    home
}

/// The programs, with the stand-in before them.
fn with_bin(home: &Home) -> String {
    let own = PathBuf::from(FUMIDAI);
    format!("{}:{}:/usr/bin:/bin", home.path("bin").display(), own.parent().unwrap().display())
}

/// On a terminal with the stand-in on PATH.
fn offered(home: &Home, stub: &Stub, answer: &str, delay: &str, words: &str) -> Output {
    let mut command = home.command("python3");
    with_endpoints(&mut command, stub);
    command.env("PATH", with_bin(home));
    command.args([TERMINAL, answer, delay, FUMIDAI]).args(words.split_whitespace()).output().unwrap()
}

const OFFER: &str =
    "fumidai: profile `my-login` is not logged in: run `aws sso login --profile my-login` now? [y/N] ";

#[test]
fn a_login_that_is_over_is_offered_and_the_session_goes_on() {
    let (home, stub) = (home_with_aws(0), Stub::start());
    let output = offered(&home, &stub, "y\n", "1.5", "connect web --connect-timeout 1");
    let shown = stdout(&output);
    // The stub's answer to StartSession: the credentials of the login have signed it.
    assert_eq!(output.status.code(), Some(14), "{shown}{}", stderr(&output));
    assert!(shown.contains(OFFER), "{shown}");
    assert!(shown.contains("stand-in: sso login --profile my-login"), "{shown}");
    assert!(shown.ends_with("echo on\n"), "{shown}");
    assert_eq!(stub.requests("StartSession")[0].key, "ASIALOGIN");
}

#[test]
fn a_login_that_is_declined_or_fails_is_the_cause() {
    for (answer, exit, ran) in [("n\n", 0, false), ("\n", 0, false), ("y\n", 3, true)] {
        let (home, stub) = (home_with_aws(exit), Stub::start());
        let output = offered(&home, &stub, answer, "0", "connect web");
        let shown = stdout(&output);
        assert_eq!(output.status.code(), Some(10), "{shown}");
        assert!(shown.contains("hint: run `aws sso login --profile my-login`"), "{shown}");
        assert_eq!(shown.contains("stand-in: "), ran, "{shown}");
        assert_eq!(
            shown.contains("`aws sso login --profile my-login` failed: exit status: 3"),
            ran,
            "{shown}"
        );
        assert!(stub.requests("StartSession").is_empty());
    }
}

#[test]
fn a_login_is_not_offered_without_a_terminal_with_q_or_without_the_aws_cli() {
    let (home, stub) = (home_with_aws(0), Stub::start());
    let quiet = offered(&home, &stub, "y\n", "0", "-q connect web");
    assert_eq!(quiet.status.code(), Some(10), "{}", stdout(&quiet));
    assert!(!stdout(&quiet).contains("[y/N]"), "{}", stdout(&quiet));
    let (code, words) = end(&alone(&home, &stub, "connect web"));
    assert!(code == Some(10) && !words.contains("[y/N]"), "{words}");
    std::fs::remove_file(home.path("bin/aws")).unwrap();
    let mut command = home.command("/usr/bin/python3");
    with_endpoints(&mut command, &stub);
    command.env("PATH", home.path("bin"));
    let without = command.args([TERMINAL, "y\n", "0", FUMIDAI, "connect", "web"]).output().unwrap();
    assert!(!stdout(&without).contains("[y/N]"), "{}", stdout(&without));
}

#[test]
fn under_ssh_a_login_is_offered_too() {
    let (home, stub) = (home_with_aws(0), Stub::start());
    home.write("ssh_config", &stdout(&home.fumidai("ssh-config")));
    let mut command = home.command("python3");
    with_endpoints(&mut command, &stub);
    command.env("PATH", with_bin(&home));
    let ssh = ["/usr/bin/ssh", "-F", "ssh_config", "web"];
    let output = command.args([TERMINAL, "y\n", "0"]).args(ssh).output().unwrap();
    let shown = stdout(&output);
    assert!(shown.contains(OFFER) && shown.contains("fumidai: TargetNotConnected"), "{shown}");
    assert_eq!(stub.requests("StartSession")[0].key, "ASIALOGIN");
}

/// The AWS CLI and moto's STS, where `tests/run` has installed them.
fn installed(variable: &str, program: &str) -> Option<PathBuf> {
    let usual = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/bin").join(program);
    Some(std::env::var_os(variable).map_or(usual, PathBuf::from)).filter(|path| path.is_file())
}

/// moto's server until the end of the test.
struct Moto {
    server: Child,
    url: String,
}

impl Moto {
    fn start(home: &Home) -> Option<Self> {
        let program = installed("FUMIDAI_TEST_MOTO", "moto_server")?;
        let mut command = home.command(program.to_str()?);
        let mut server =
            command.args(["-p", "0"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
        let url = { lines }.find_map(|line| line.split("Running on ").nth(1).map(str::to_owned));
        Some(Self { server, url: url.expect("it says where it is") })
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Runs the command of the hint: the AWS CLI asks for the code, moto returns credentials, and fumidai asks no more.
#[test]
fn the_command_of_the_hint_is_the_cure() {
    let (home, stub) = (home(), Stub::start());
    let (Some(moto), Some(aws)) = (Moto::start(&home), installed("FUMIDAI_TEST_AWS", "aws")) else { return };
    let endpoints = [("AWS_ENDPOINT_URL_STS", moto.url.as_str()), ("AWS_ENDPOINT_URL_SSM", stub.url())];
    let mut alone = home.command("python3");
    alone.envs(endpoints).args(["-c", ALONE, FUMIDAI, "connect", "i-0123", "--profile", "admin"]);
    let (code, words) = end(&alone.output().unwrap());
    assert_eq!(code, Some(10), "{words}");
    let hint = words.split('`').find(|word| word.starts_with("aws ")).expect("a command");

    let mut asking = home.command("python3");
    asking.envs(endpoints).args([TERMINAL, "424242\n", "0", aws.to_str().unwrap()]);
    let output = asking.args(hint.split(' ').skip(1)).output().unwrap();
    assert!(stdout(&output).contains("assumed-role/admin"), "{}{}", stdout(&output), stderr(&output));

    let (code, words) = end(&alone.output().unwrap());
    assert_eq!(code, Some(14), "{words}");
    assert!(stub.requests("StartSession")[0].key.starts_with("ASIA"));

    std::fs::remove_dir_all(home.path(".aws/cli")).unwrap();
    let mut asked = home.command("python3");
    asked.envs(endpoints).args([
        TERMINAL,
        "424242\n",
        "0",
        FUMIDAI,
        "connect",
        "i-0123",
        "--profile",
        "admin",
    ]);
    assert_eq!(asked.output().unwrap().status.code(), Some(14), "moto's answer is understood");
    assert!(!home.path(".aws/cli").exists());
}

const REASONS: &str = "[defaults]\nrequire_reason = true\nprofile = 'plain'\n\
    [hosts.free]\ntarget = 'i-0456'\nrequire_reason = false\n\
    [forwards.db]\ntarget = 'i-0123'\nlocal = '0'\nremote = '80'";

/// The reason of the last session that was asked for.
fn reason(stub: &Stub) -> serde_json::Value {
    let request = stub.requests("StartSession").pop().expect("a session was asked for");
    let call: serde_json::Value = serde_json::from_str(&request.body).unwrap();
    call["Reason"].clone()
}

#[test]
fn a_session_that_needs_a_reason_is_not_opened_without_one() {
    let (home, stub) = (home(), Stub::start());
    home.config(REASONS);
    let refused = "fumidai: a reason is required, and none is given\n\
                   fumidai: hint: give it: `--reason TEXT`, or for ssh the variable `FUMIDAI_REASON`\n";
    for words in ["connect i-0123", "forward i-0123 -L 0:80", "forward db"] {
        assert_eq!(end(&alone(&home, &stub, words)), (Some(2), refused.to_owned()), "{words}");
    }
    assert!(stub.requests("AssumeRole").is_empty() && stub.requests("StartSession").is_empty());
    for (words, expected) in [
        ("connect free", None),
        ("connect i-0123 --require-reason false", None),
        ("connect i-0123 --reason rotate", Some("rotate")),
    ] {
        assert_eq!(alone(&home, &stub, words).status.code(), Some(14), "{words}");
        assert_eq!(reason(&stub).as_str(), expected, "{words}");
    }
}

#[test]
fn a_reason_is_asked_for_on_the_terminal() {
    let (home, stub) = (home(), Stub::start());
    home.config(REASONS);
    let output = answered(&home, &stub, "rotate the logs\n", "0", "connect i-0123");
    assert_eq!(output.status.code(), Some(14), "{}", stdout(&output));
    assert!(stdout(&output).contains("Reason for this session: "), "{}", stdout(&output));
    assert_eq!(reason(&stub), "rotate the logs");
    let output = answered(&home, &stub, "\n", "0", "connect i-0456");
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert_eq!(stub.requests("StartSession").len(), 1);
}
