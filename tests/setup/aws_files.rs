//! AWS's files and variables as people write them: which key signs, in which region, and what is said if none can.

use std::process::Command;

use crate::run::{FUMIDAI, Home, end};
use crate::stub::Stub;

const KEYS: &str = "aws_access_key_id = AKIAFILE\naws_secret_access_key = s\n";

/// The files of a test, as bytes.
#[derive(Clone, Default)]
struct Files {
    config: Vec<u8>,
    credentials: Vec<u8>,
}

fn config(text: impl Into<String>) -> Files {
    Files { config: text.into().into_bytes(), ..Files::default() }
}

fn command(home: &Home, files: &Files, stub: &Stub) -> Command {
    home.write_bytes(".aws/config", &files.config);
    home.write_bytes(".aws/credentials", &files.credentials);
    let mut command = home.command(FUMIDAI);
    command.env("AWS_ENDPOINT_URL", stub.url()).env("AWS_EC2_METADATA_DISABLED", "true").arg("connect");
    command
}

/// Connects, and returns the key and the region that StartSession was signed with.
fn signed(files: &Files, variables: &[(&str, &str)], words: &str) -> String {
    let (home, stub) = (Home::new(), Stub::start());
    let mut command = command(&home, files, &stub);
    command.envs(variables.iter().copied()).args(words.split_whitespace());
    let (code, words) = end(&command.output().unwrap());
    assert_eq!(code, Some(14), "{words}{}", String::from_utf8_lossy(&files.config));
    let request = stub.requests("StartSession").pop().expect("a session was requested");
    format!("{} {}", request.key, request.region)
}

/// Fails to connect, and returns the exit code and the words.
fn refused(files: &Files, variables: &[(&str, &str)], words: &str) -> (i32, String) {
    let (home, stub) = (Home::new(), Stub::start());
    let mut command = command(&home, files, &stub);
    command.envs(variables.iter().copied()).args(words.split_whitespace());
    let (code, words) = end(&command.output().unwrap());
    assert!(stub.requests("StartSession").is_empty(), "{words}");
    (code.unwrap(), words.replace(home.path("").to_str().unwrap(), "~/"))
}

#[test]
fn odd_files_are_read() {
    for text in [
        format!("[default]\n  region = eu-west-1\n  {}", KEYS.replace("\naws", "\n  aws")),
        format!("# c\n\t; c\n\t[default]\n\tregion = eu-west-1\n\t{}", KEYS.replace("\naws", "\n\taws")),
        format!("[default] # words\nregion: eu-west-1\n{KEYS}"),
        format!("\u{feff}[default]\nregion = eu-west-1\n{KEYS}[profile broken]\nno delimiter\n"),
        format!("[profile broken\nregion = x\n[default]\r\nregion = eu-west-1\r\n{KEYS}"),
        format!("[default]\nregion = eu-west-1\ns3 =\n  max = 1\n{KEYS}"),
    ] {
        assert_eq!(signed(&config(text), &[], "i-0123"), "AKIAFILE eu-west-1");
    }
}

#[test]
fn a_file_that_is_not_needed_is_not_read() {
    let bytes = b"\xff\xfe[\0d\0".to_vec();
    let files = Files { config: bytes.clone(), credentials: bytes };
    let keys =
        [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_REGION", "eu-west-2")];
    assert_eq!(signed(&files, &keys, "i-0123"), "AKIAENV eu-west-2");
}

#[test]
fn names_may_be_quoted() {
    let (home, stub) = (Home::new(), Stub::start());
    let text = format!(
        "[profile 'Foo Bar']\nregion = eu-west-1\n{KEYS}[profile \"role\"]\nregion = eu-west-3\n\
         role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = Foo Bar\n\
         [profile local]\nservices = my local\nregion = eu-west-1\n{KEYS}\
         [services 'my local']\nssm =\n  endpoint_url = {}\n",
        stub.url()
    );
    assert_eq!(signed(&config(&text), &[("AWS_PROFILE", "Foo Bar")], "i-0123"), "AKIAFILE eu-west-1");
    assert_eq!(signed(&config(&text), &[], "i-0123 --profile role"), "ASIAROLE eu-west-3");
    let mut command = command(&home, &config(&text), &stub);
    command.env_remove("AWS_ENDPOINT_URL").args(["i-0123", "--profile", "local"]);
    let (code, words) = end(&command.output().unwrap());
    assert_eq!((code, stub.requests("StartSession").len()), (Some(14), 1), "{words}");
}

#[test]
fn a_command_gets_its_words_unchanged() {
    let script = r#"printf "{\"Version\":1,\"AccessKeyId\":\"AKIA$1\",\"SecretAccessKey\":\"s\"}""#;
    let text = format!("[default]\nregion = eu-west-1\ncredential_process = sh -c '{script}' x 'PROC # ;'\n");
    let shown = signed(&config(text), &[], "i-0123");
    assert!(shown.starts_with("AKIAPROC # ;"), "{shown}");
}

#[test]
fn the_endpoint_of_a_profile_overrides_fips_and_keys_override_a_command() {
    let text = "[default]\nregion = eu-west-1\nuse_fips_endpoint = true\nuse_dualstack_endpoint = true\n\
                credential_process = false\n";
    let files = Files { config: text.into(), credentials: format!("[default]\n{KEYS}").into() };
    assert_eq!(signed(&files, &[], "i-0123"), "AKIAFILE eu-west-1");
}

#[test]
fn what_is_needed_and_cannot_be_read_is_named_with_its_line() {
    let utf16: Vec<u8> = "[default]\nregion = a".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin =
        [&b"[default]\nregion = eu-west-1\naws_access_key_id = M\xfcller\n"[..], KEYS.as_bytes()].concat();
    let files = |config: &[u8]| Files { config: config.to_vec(), ..Files::default() };
    for (files, words, cause) in [
        (files(&utf16), "i-0123", "the AWS file `~/.aws/config` is UTF-16, not UTF-8"),
        (files(&utf16), "i-0123 --profile x", "the AWS file `~/.aws/config` is UTF-16, not UTF-8"),
        (files(&latin), "i-0123", "~/.aws/config:3: not valid UTF-8"),
        (files(b"[default]\nregion\n"), "i-0123", "~/.aws/config:2: expected `name = value`"),
        (
            files(b"[profile x\nregion = a\n"),
            "i-0123 --profile x",
            "~/.aws/config:1: the section header has no `]`",
        ),
        (files(b"[default]\nregion = us-east-1a\n"), "i-0123", "profile `default` has `region = us-east-1a`"),
        (
            files(b"[default]\nregion = \"us-east-1\"\n"),
            "i-0123",
            "profile `default` has `region = \"us-east-1\"`",
        ),
        (
            files(b"[default]\nservices = x\nregion = eu-west-1\n"),
            "i-0123",
            "profile `default` has `services = x`",
        ),
    ] {
        let (code, shown) = refused(&files, &[], words);
        assert_eq!(code, 3, "{shown}");
        assert!(shown.contains(&format!("fumidai: {cause}")), "{shown}");
    }
}

#[test]
fn a_region_that_is_none_is_a_configuration_wherever_it_comes_from() {
    for region in ["us-east-1a", "us-east-1,eu-west-1", "'us-east-1'"] {
        let (home, stub) = (Home::new(), Stub::start());
        home.config(&format!("[hosts.web]\ntarget = 'i-0123'\nregion = \"{region}\""));
        let mut of_host = command(&home, &config(""), &stub);
        let (code, words) = end(&of_host.arg("web").output().unwrap());
        assert!(code == Some(3) && words.contains(region), "{words}");
        let set = |name| refused(&config(""), &[(name, region)], "i-0123");
        let flag = refused(&config(""), &[], &format!("i-0123 --region {region}"));
        for (code, words) in [set("AWS_REGION"), set("AWS_DEFAULT_REGION"), set("FUMIDAI_REGION"), flag] {
            assert!(code == 3 && words.contains(region), "{words}");
        }
    }
}

#[test]
fn the_missing_piece_is_named() {
    let half = "[default]\nregion = eu-west-1\naws_access_key_id = AKIAFILE\n";
    let role = "[default]\nregion = eu-west-1\nrole_arn = arn:aws:iam::1:role/r\n";
    let sso = "[default]\nregion = eu-west-1\nsso_account_id = 1\nsso_role_name = r\n";
    for (text, cause) in [
        (
            half.to_owned(),
            "profile `default` has no `aws_secret_access_key` beside its `aws_access_key_id` in `~/.aws/config`",
        ),
        (
            format!("{role}source_profile = x\n"),
            "profile `default` has `source_profile = x`, but there is no profile `x`",
        ),
        (
            format!("{role}source_profile = x\n[profile x]\noutput = json\n"),
            "profile `x`, the `source_profile` of `default`, has no credentials",
        ),
        (
            role.to_owned(),
            "profile `default` has `role_arn`, but neither `source_profile` nor `credential_source`",
        ),
        (
            format!("{sso}sso_session = corp\n"),
            "profile `default` has `sso_session = corp`, but there is no section `[sso-session corp]`",
        ),
        (format!("{sso}sso_region = eu-west-1\n"), "profile `default` uses SSO, but has no `sso_start_url`"),
        (
            "[default]\nregion = eu-west-1\n".to_owned(),
            "none in environment, profile `default`, container or instance metadata",
        ),
        (
            "[default]\nregion = eu-west-1\naws_secret_access_key = s\n".to_owned(),
            "container or instance metadata (the profile has no `aws_access_key_id`)",
        ),
    ] {
        let (code, words) = refused(&config(text), &[], "i-0123");
        assert_eq!(code, 10, "{words}");
        assert!(
            words.starts_with("fumidai: no usable AWS credentials: ") && words.contains(cause),
            "{words}"
        );
    }
    let variables = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_REGION", "eu-west-1")];
    let (code, words) = refused(&config(format!("[default]\n{KEYS}")), &variables, "i-0123");
    assert_eq!(code, 10, "{words}");
    assert!(words.contains("but `AWS_SECRET_ACCESS_KEY` is not"), "{words}");
}

#[test]
fn a_console_login_that_is_over_is_named_with_its_profile() {
    let text = "[profile web]\nregion = eu-west-1\nlogin_session = arn:aws:iam::123456789012:user/me\n\
                [profile role]\nregion = eu-west-1\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = web\n";
    for profile in ["web", "role"] {
        let (code, words) = refused(&config(text), &[], &format!("i-0123 --profile {profile}"));
        assert_eq!(code, 10, "{words}");
        assert!(words.ends_with("\nfumidai: hint: run `aws login --profile web`\n"), "{words}");
    }
}

#[test]
fn variables_name_the_files() {
    let (home, stub) = (Home::new(), Stub::start());
    home.write("mine/config", "[default]\nregion = eu-west-1\n");
    home.write("mine/credentials", &format!("[default]\n{KEYS}"));
    let mut command = command(&home, &config("no section"), &stub);
    command
        .env("AWS_CONFIG_FILE", "~/mine/config")
        .env("AWS_SHARED_CREDENTIALS_FILE", "$HOME/mine/credentials");
    let (code, words) = end(&command.arg("i-0123").output().unwrap());
    assert_eq!((code, stub.requests("StartSession")[0].key.as_str()), (Some(14), "AKIAFILE"), "{words}");
    let (code, words) = refused(&config(""), &[("AWS_CONFIG_FILE", "/nowhere")], "i-0123 --profile x");
    assert!(code == 3 && words.contains("cannot read the AWS file `/nowhere`"), "{words}");
}

#[test]
fn expired_keys_say_whose_they_are() {
    let expired = format!("[default]\nregion = eu-west-1\n{}", KEYS.replace("AKIAFILE", "AKIAEXPIRED"));
    let variables =
        [("AWS_ACCESS_KEY_ID", "AKIAEXPIRED"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_REGION", "eu-west-1")];
    for (files, variables, whose) in [
        (config(expired), &[][..], "the keys are those of profile `default`"),
        (config(""), &variables, "the keys are those of the environment"),
    ] {
        let (home, stub) = (Home::new(), Stub::start());
        let mut command = command(&home, &files, &stub);
        command.envs(variables.iter().copied()).arg("i-0123");
        let (code, words) = end(&command.output().unwrap());
        assert_eq!(code, Some(10), "{words}");
        assert!(words.contains(&format!("fumidai: hint: {whose}")), "{words}");
    }
}

#[test]
fn a_bundle_is_found_in_the_home_folder() {
    let text = format!("[default]\nregion = eu-west-1\nca_bundle = ~/nowhere.pem\n{KEYS}");
    for (files, variables) in [
        (config(text), &[][..]),
        (config(""), &[("AWS_CA_BUNDLE", "~/nowhere.pem")]),
        (config(""), &[("REQUESTS_CA_BUNDLE", "~/nowhere.pem")]),
    ] {
        let (code, words) = refused(&files, variables, "i-0123");
        assert_eq!(code, 3, "{words}");
        assert!(
            words.starts_with("fumidai: cannot use the CA bundle `~/nowhere.pem`: No such file"),
            "{words}"
        );
        assert!(words.contains("hint: check `AWS_CA_BUNDLE`"), "{words}");
    }
}
