//! `explain` for hosts of the config file, with and without AWS.

use std::process::Output;

use serde_json::Value;

use crate::run::{Home, stderr, stdout};
use crate::stub::Stub;

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")];

/// The classic: an application server behind a bastion, and one more step.
const HOSTS: &str = "
    [defaults]
    region = 'ap-northeast-1'
    [hosts.bastion]
    target = 'i-0123456789abcdef0'
    user = 'ec2-user'
    [hosts.appserver]
    address = '10.0.0.115'
    via = 'bastion'
    [hosts.db]
    address = '10.0.1.7'
    via = 'appserver'
";

fn home() -> Home {
    let home = Home::new();
    home.config(HOSTS);
    home
}

fn explain(home: &Home, stub: Option<&Stub>, words: &str) -> Output {
    let mut command = home.command("fumidai");
    command.env("AWS_EC2_METADATA_DISABLED", "true").arg("explain").args(words.split_whitespace());
    if let Some(stub) = stub {
        command.envs(KEYS).env("AWS_ENDPOINT_URL", stub.url());
    }
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{words}: {}", stderr(&output));
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_chain_is_explained_for_people_and_for_programs() {
    let (home, stub) = (home(), Stub::start());
    home.config(&HOSTS.replace("user = 'ec2-user'", "user = 'ec2-user'\n    start = true"));
    let text = stdout(&explain(&home, Some(&stub), "db"));
    for line in [
        "target      db\n",
        "            `db` is a host of the config file, behind `bastion` → `appserver`\n",
        "hop         bastion, sshd at port 22, user ec2-user: its agent leads on, else its sshd\n",
        "hop         appserver at 10.0.0.115, sshd at port 22: its sshd leads on\n",
        "region      ap-northeast-1\n",
        "caller      arn:aws:iam::123456789012:user/alice\n",
        "life        bastion: started by the guardian fumidai-guardian when it is down; it is waited for 300 s\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let explained = json(&explain(&home, Some(&stub), "appserver 3306 --json"));
    let first = &explained["session"]["documents"][0];
    assert_eq!(first["name"], "AWS-StartPortForwardingSessionToRemoteHost");
    assert_eq!(
        (&first["parameters"]["host"], &first["parameters"]["portNumber"]),
        (&"10.0.0.115".into(), &"3306".into())
    );
    assert_eq!(explained["session"]["target"], "i-0123456789abcdef0");
    let explained = json(&explain(&home, Some(&stub), "10.0.0.9 --via bastion --region eu-west-1 --json"));
    assert_eq!(
        (&explained["hops"][0]["host"], &explained["session"]["region"]),
        (&"bastion".into(), &"eu-west-1".into())
    );
    assert!(stub.requests("StartSession").is_empty() && stub.requests("DescribeInstances").is_empty());
}

#[test]
fn a_policy_is_for_the_first_hop_and_its_documents() {
    let (home, stub) = (home(), Stub::start());
    let policy = json(&explain(&home, Some(&stub), "appserver --policy"));
    let region = "ap-northeast-1";
    assert_eq!(
        policy["Statement"][0]["Resource"],
        serde_json::json!([
            format!("arn:aws:ec2:{region}:123456789012:instance/i-0123456789abcdef0"),
            format!("arn:aws:ssm:{region}::document/AWS-StartPortForwardingSessionToRemoteHost"),
            format!("arn:aws:ssm:{region}::document/AWS-StartSSHSession"),
        ])
    );
    assert_eq!(policy["Statement"].as_array().map(Vec::len), Some(2), "an id is not looked up");
}

#[test]
fn without_credentials_an_id_is_explained_and_a_name_is_not() {
    let home = home();
    let explained = json(&explain(&home, None, "appserver --json"));
    assert_eq!(
        (&explained["session"]["region"], &explained["session"]["caller"]),
        (&"ap-northeast-1".into(), &Value::Null)
    );
    assert!(explained["unknown"][0].as_str().is_some_and(|text| text.contains("no usable AWS credentials")));
    let policy = stdout(&explain(&home, None, "i-0456 --policy"));
    assert!(policy.contains("arn:aws:ec2:ap-northeast-1:*:instance/i-0456"), "{policy}");
    let output =
        home.command("fumidai").env("AWS_EC2_METADATA_DISABLED", "true").args(["explain", "web"]).output();
    let output = output.unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(10), String::new()));
}

const FORWARD: &str = "
    [forwards.orders-db]
    target = 'bastion'
    local = '127.0.0.1:13306'
    remote = 'orders.example:3306'
    keepalive = 7
    token = 'rds'
    db_user = 'orders'
    exec = 'mysql -h {local_host} -u {db_user}'
    [forwards.behind]
    target = 'appserver'
    local = 13307
    remote = 'orders.example:3306'
";

#[test]
fn a_forward_is_explained_with_its_document_and_policy() {
    let (home, stub) = (Home::new(), Stub::start());
    home.config(&[HOSTS, FORWARD].concat());
    let text = stdout(&explain(&home, Some(&stub), "orders-db"));
    for line in [
        "forward     orders-db\n            listens on 127.0.0.1:13306, forwards to orders.example:3306\n",
        "port        3306\n",
        "db user     orders\n",
        "token       of rds, signed for orders.example:3306\n",
        "exec        mysql -h {local_host} -u {db_user}\n",
        "document    AWS-StartPortForwardingSessionToRemoteHost (host=orders.example, portNumber=3306)\n",
        "            keepalive = 7 s, from [forwards.orders-db]\n",
        "            region = ap-northeast-1, from [defaults]\n",
        "signed by   AKIAENV, the keys in the environment\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let told = json(&explain(&home, Some(&stub), "orders-db --json"));
    assert_eq!(
        (&told["forward"]["name"], &told["forward"]["local"]),
        (&"orders-db".into(), &"127.0.0.1:13306".into())
    );
    let policy = json(&explain(&home, Some(&stub), "orders-db --policy"));
    let resources = policy["Statement"][0]["Resource"].as_array().expect("resources");
    let document = "arn:aws:ssm:ap-northeast-1::document/AWS-StartPortForwardingSessionToRemoteHost";
    assert_eq!(resources[1..], [document.into()] as [Value; 1]);
    let login = policy["Statement"].as_array().expect("statements").iter();
    let login: Vec<&Value> = login.filter(|one| one["Sid"] == "LogInToDatabase").collect();
    assert_eq!(login[0]["Action"], serde_json::json!(["rds-db:connect"]));
    let user = "arn:aws:rds-db:ap-northeast-1:123456789012:dbuser:*/orders";
    assert_eq!(login[0]["Resource"], serde_json::json!([user]));
    let told = json(&explain(&home, Some(&stub), "behind --json"));
    assert_eq!(told["session"]["documents"][0]["parameters"]["host"], "10.0.0.115", "its sshd connects");
}

#[test]
fn a_request_for_access_is_explained_beforehand() {
    let (home, stub) = (Home::new(), Stub::start());
    home.config("[defaults]\nregion = 'eu-west-3'\n[hosts.web]\ntarget = 'i-0456'\naccess_request = true\n");
    let text = stdout(&explain(&home, Some(&stub), "web"));
    assert!(text.contains("access      requested when StartSession is denied; by AWS's policy"), "{text}");
    assert!(text.contains("access_request = true, from [hosts.web]"), "{text}");
    let policy = stdout(&explain(&home, Some(&stub), "web --policy"));
    for action in ["ssm:StartAccessRequest", "ssm:GetAccessToken"] {
        assert!(policy.contains(action), "{policy}");
    }
    assert!(!policy.contains("ssm:StartSession"), "{policy}");
}

#[test]
fn each_setting_has_its_source_and_the_signer_is_named() {
    let (home, stub) = (Home::new(), Stub::start());
    home.write(
        ".aws/config",
        "[profile ops]\naws_access_key_id = AKIAOPS\naws_secret_access_key = s\nregion = eu-west-3\n",
    );
    home.config("[hosts.web]\ntarget = 'i-0456'\nprofile = 'ops'");
    let mut command = home.command("fumidai");
    command
        .envs(KEYS)
        .env("AWS_ENDPOINT_URL", stub.url())
        .env("AWS_PROFILE", "other")
        .env("FUMIDAI_LINGER", "4");
    let output = command.args(["explain", "web", "--keepalive", "9", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let told = json(&output);
    assert_eq!(
        (&told["session"]["credentials"], &told["session"]["access_key_id"]),
        (&"profile ops".into(), &"AKIAOPS".into())
    );
    let source = |name: &str| {
        let rows = told["settings"].as_array().expect("rows").iter();
        rows.filter(|row| row["name"] == name).map(|row| row["source"].clone()).next().expect(name)
    };
    for (name, expected) in [
        ("profile", "[hosts.web]"),
        ("region", "AWS profile"),
        ("endpoint_url", "AWS_ENDPOINT_URL"),
        ("linger", "FUMIDAI_LINGER"),
        ("keepalive", "--keepalive"),
        ("resume_window", "default"),
    ] {
        assert_eq!(source(name), expected, "{name}");
    }
}
