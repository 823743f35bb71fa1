//! Names with the real program: every form, every denial, long lists, hostile values.
//!
//! The simulator plays SSM and the sessions. EC2 is moto's server, which `tests/run --install` installs in
//! `target/test-venv` (`FUMIDAI_TEST_VENV` names another folder). A stub in this file plays what moto lacks: ECS with
//! runtime ids and managed agents, denials, and 5,000 instances in reasonable time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use fumidai::sim::faults::{ApiEffect, ApiFault};
use fumidai::sim::simulator::CLEARED_VARIABLES;
use fumidai::sim::{SimConfig, SimTarget, Simulator};

const BANNER: &str = "SSH-2.0-names\r\n";
const REGION: &str = "eu-central-1";

/// A minimal HTTP server: a function maps headers and body of a request to a status and a body.
struct Stub {
    url: String,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn new(answer: impl Fn(&str, &str) -> (u16, String) + Send + 'static) -> Self {
        Self::dated("", answer)
    }

    /// Adds a header line to every response.
    fn dated(date: &'static str, answer: impl Fn(&str, &str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let log = calls.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some((head, body)) = read_request(&stream) else { continue };
                // The record of each session has its caller, whom STS names: not a look-up.
                if body.starts_with("Action=GetCallerIdentity") {
                    let _ = (&stream)
                        .write_all(b"HTTP/1.1 403 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    continue;
                }
                let (status, text) = answer(&head, &body);
                log.lock().expect("no panic").push(format!("{head}\n{body}"));
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{date}\r\n{text}",
                    text.len()
                );
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Self { url, calls }
    }

    /// EC2 with these instances, a thousand on each page.
    fn ec2(instances: Vec<String>) -> Self {
        Self::new(move |_, body| {
            let from = parameter(body, "NextToken").and_then(|token| token.parse().ok()).unwrap_or(0);
            let to = (from + 1000).min(instances.len());
            let next =
                if to < instances.len() { format!("<nextToken>{to}</nextToken>") } else { String::new() };
            let items = instances[from..to].concat();
            let set =
                format!("<reservationSet><item><instancesSet>{items}</instancesSet></item></reservationSet>");
            (200, format!("<DescribeInstancesResponse>{set}{next}</DescribeInstancesResponse>"))
        })
    }

    /// EC2 that denies every call.
    fn denied() -> Self {
        let body = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized to \
                    perform this operation.</Message></Error></Errors><RequestID>1</RequestID></Response>";
        Self::new(move |_, _| (403, body.to_owned()))
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("no panic").clone()
    }
}

fn read_request(stream: &TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&lower);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

fn parameter<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn instance(id: &str, name: &str, address: &str, state: &str) -> String {
    format!(
        "<item><instanceId>{id}</instanceId><instanceState><code>16</code><name>{state}</name></instanceState>\
         <privateIpAddress>{address}</privateIpAddress>\
         <tagSet><item><key>Name</key><value>{name}</value></item></tagSet></item>"
    )
}

/// moto's server, stopped when dropped.
struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    /// Starts moto; returns `None` if it is not installed. If `FUMIDAI_TEST_VENV` is set, moto must exist.
    #[expect(clippy::print_stderr, reason = "reports what is not tested")]
    fn start() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "a test's own setting")]
        let named = std::env::var_os("FUMIDAI_TEST_VENV").map(PathBuf::from);
        let is_named = named.is_some();
        let venv = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"));
        let program = venv.join("bin/moto_server");
        if !program.exists() {
            assert!(!is_named, "{} is missing", program.display());
            eprintln!("not run without {}: tests/run --install", program.display());
            return None;
        }
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moto starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let address = loop {
            let line = lines.next().expect("moto prints its address").expect("text");
            if let Some(address) = line.split("Running on http://").nth(1) {
                break address.trim().parse().expect("an address");
            }
        };
        // Drain the log, so that the pipe does not fill.
        thread::spawn(move || lines.for_each(drop));
        Some(Self { child, address })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn call(&self, form: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("moto listens");
        let scope = format!("AKID/20260101/{REGION}/ec2/aws4_request");
        let request = format!(
            "POST / HTTP/1.1\r\nhost: ec2.{REGION}.amazonaws.com\r\nconnection: close\r\n\
             authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{form}: {answer}");
        answer
    }

    /// Runs an instance with a Name tag and an address; returns its id.
    fn run(&self, name: &str, address: &str) -> String {
        let answer = self.call(&format!(
            "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&MinCount=1&MaxCount=1\
             &PrivateIpAddress={address}&TagSpecification.1.ResourceType=instance\
             &TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value={name}\
             &TagSpecification.1.Tag.2.Key=Role&TagSpecification.1.Tag.2.Value=role-of-{name}"
        ));
        element(&answer, "instanceId")
    }

    fn described(&self, id: &str, element_name: &str) -> String {
        let answer = self.call(&format!("Action=DescribeInstances&Version=2016-11-15&InstanceId.1={id}"));
        element(&answer, element_name)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the last element of that name: earlier ones belong to the instance's interfaces.
fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.rsplit_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split('<').next().expect("an end").to_owned()
}

/// A simulated SSM, and a home folder for the program.
struct Stage {
    simulator: Simulator,
    home: tempfile::TempDir,
}

impl Stage {
    fn new(targets: &[(&str, &str)]) -> Self {
        let targets = targets.iter().map(|(id, name)| SimTarget::new(id, name, true)).collect();
        let greeter = greeter();
        // What the agents reach behind them.
        let hosts = [(("10.1.2.4".to_owned(), 22), greeter)].into();
        let config = SimConfig { targets, ports: [(22, greeter)].into(), hosts, ..SimConfig::default() };
        let simulator = Simulator::spawn(config).expect("the simulator starts");
        Self { simulator, home: tempfile::tempdir().expect("a folder") }
    }

    /// Runs the program with that URL as the endpoint of EC2, ECS and STS.
    fn run(&self, url: &str, args: &[&str]) -> Output {
        self.command(url, args).output().expect("the program runs")
    }

    fn command(&self, url: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fumidai"));
        for name in CLEARED_VARIABLES {
            command.env_remove(name);
        }
        for folder in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "HOME"] {
            command.env(folder, self.home.path());
        }
        command.envs(self.simulator.environment());
        for service in ["EC2", "ECS", "STS"] {
            command.env(format!("AWS_ENDPOINT_URL_{service}"), url);
        }
        command.args(args).stdin(Stdio::null());
        command
    }

    fn deny_ssm(&self) {
        let effect =
            ApiEffect::Error { code: "AccessDeniedException".to_owned(), message: "not you".to_owned() };
        let operation = "DescribeInstanceInformation".to_owned();
        self.simulator.change_faults(|faults| faults.api.push(ApiFault { operation, effect, times: 100 }));
    }

    /// Connects; returns the target of the session.
    fn reach(&self, url: &str, name: &str) -> String {
        let before: Vec<String> = self.simulator.sessions().into_iter().map(|session| session.id).collect();
        let output = self.run(url, &["connect", name]);
        assert_eq!(text(&output.stdout), BANNER, "`{name}`: {}", text(&output.stderr));
        assert!(output.status.success() && output.stderr.is_empty(), "`{name}`: {output:?}");
        let mut new = self.simulator.sessions();
        new.retain(|session| !before.contains(&session.id));
        assert_eq!(new.len(), 1, "`{name}`");
        new.remove(0).target
    }

    /// Expects that connecting fails; returns the exit code and standard error.
    fn refuse(&self, url: &str, name: &str) -> (i32, String) {
        let output = self.run(url, &["connect", name]);
        assert!(output.stdout.is_empty(), "`{name}`: {output:?}");
        assert!(self.simulator.open_sessions().is_empty());
        (output.status.code().expect("no signal"), text(&output.stderr))
    }
}

/// Starts a server that sends its banner and closes.
fn greeter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(BANNER.as_bytes());
        }
    });
    address
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn assert_contains(stderr: &str, words: &[&str]) {
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
}

#[test]
fn a_key_is_pushed_to_the_instance_that_a_name_or_an_address_means() {
    let Some(moto) = Moto::start() else { return };
    let (web, app) = (moto.run("web-prod", "10.1.2.3"), moto.run("app-prod", "10.1.2.4"));
    let stage = Stage::new(&[(&web, "web-prod")]);
    let stub = Stub::new(|_, _| (200, r#"{"RequestId":"r","Success":true}"#.to_owned()));
    let file = stage.home.path().join("key").to_string_lossy().into_owned();
    let key = ["connect", "--ephemeral-key", "--key-file", &file];
    for words in [&["me@web-prod"][..], &["--via", "web-prod", "me@10.1.2.4"]] {
        // moto takes every key; the stub shows what it was given.
        for url in [&moto.url(), &stub.url] {
            let mut command = stage.command(&moto.url(), &[&key, words].concat());
            let output = command.env("AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT", url).output().expect("it runs");
            assert_eq!(text(&output.stdout), BANNER, "{words:?}: {}", text(&output.stderr));
            assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
        }
    }
    let calls = stub.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    for (call, instance) in calls.iter().zip([web, app]) {
        let body =
            format!(r#"{{"InstanceId":"{instance}","InstanceOSUser":"me","SSHPublicKey":"ssh-ed25519 AAAA"#);
        assert!(call.contains("x-amz-target: awsec2instanceconnectservice.sendsshpublickey"), "{call}");
        assert!(call.contains(&body), "{body} is not in {call}");
    }
}

#[test]
fn every_form_of_a_name_reaches_the_instance() {
    let Some(moto) = Moto::start() else { return };
    let (web, other) = (moto.run("web-prod", "10.1.2.3"), moto.run("db-prod", "10.1.2.4"));
    let stage = Stage::new(&[(&web, "a"), (&other, "b"), ("mi-0123456789abcdef0", "rack-7")]);
    let [public, dns, public_dns] =
        ["ipAddress", "privateDnsName", "dnsName"].map(|name| moto.described(&web, name));
    let tag = "tag:Role=role-of-web-prod";
    let suffixed = format!("web-prod--{REGION}");
    let spellings = [
        &web,
        "web-prod",
        "tag:Name=web-prod",
        tag,
        "10.1.2.3",
        &public,
        &dns,
        &public_dns,
        "me@web-prod",
        &suffixed,
    ];
    for spelling in spellings {
        assert_eq!(stage.reach(&moto.url(), spelling), web, "{spelling}");
    }
    assert_eq!(stage.reach(&moto.url(), "db-prod"), other);
    assert_eq!(stage.reach(&moto.url(), "rack-7"), "mi-0123456789abcdef0");
}

/// SSM with one hybrid machine, whose Name tag is `rack-7` and whose host name is another. SSM does not return tags.
fn ssm_with_a_tagged_machine() -> Stub {
    Stub::new(|head, body| {
        if !head.contains("describeinstanceinformation") {
            return (400, json!({ "__type": "TargetNotConnected", "message": "no" }).to_string());
        }
        let is_tag = body.contains("tag:Name");
        let node = json!({ "InstanceId": "mi-0123456789abcdef0", "ComputerName": "dc1.local", "PingStatus": "Online" });
        let nodes = if !is_tag || body.contains("\"rack-7\"") { vec![node] } else { vec![] };
        (200, json!({ "InstanceInformationList": nodes }).to_string())
    })
}

#[test]
fn a_hybrid_machine_is_found_by_its_name_tag() {
    let (stage, ssm) = (Stage::new(&[]), ssm_with_a_tagged_machine());
    for ec2 in [Stub::ec2(Vec::new()), Stub::denied()] {
        for (name, code) in [("rack-7", 0), ("tag:Name=rack-7", 0), ("dc1.local", 0), ("rack-8", 12)] {
            let mut command = stage.command(&ec2.url, &["explain", name]);
            let output = command.env("AWS_ENDPOINT_URL_SSM", &ssm.url).output().expect("the program runs");
            assert_eq!(output.status.code(), Some(code), "{name}: {output:?}");
            assert_eq!(text(&output.stdout).contains(": mi-0123456789abcdef0\n"), code == 0, "{name}");
        }
    }
}

#[test]
fn a_tag_with_an_at_sign_or_a_region_at_its_end_is_found() {
    let stage = Stage::new(&[("i-0a", "")]);
    for value in ["alice@example.com", "web--eu-west-1"] {
        let ec2 = Stub::ec2(vec![instance("i-0a", value, "10.0.0.1", "running")]);
        let name = format!("tag:Name={value}");
        assert_eq!(stage.reach(&ec2.url, &name), "i-0a");
        assert_eq!(stage.reach(&ec2.url, &format!("me@{name}")), "i-0a");
    }
    let ec2 = Stub::ec2(vec![instance("i-0a", "Web-Prod", "10.0.0.1", "running")]);
    let (code, stderr) = stage.refuse(&ec2.url, "web-prod");
    assert_eq!(code, 12, "{stderr}");
    assert_contains(&stderr, &["hint: use `Web-Prod`: it differs only in upper and lower case"]);
}

#[test]
fn a_node_of_a_sagemaker_cluster_is_a_target() {
    let id = "sagemaker-cluster:abc123_workers-i-0123456789abcdef0";
    let stage = Stage::new(&[(id, "x")]);
    let denied = Stub::denied();
    assert_eq!(stage.reach(&denied.url, id), id);
    assert!(denied.calls().is_empty(), "an id is not looked up");
}

#[test]
fn a_name_is_explained_with_its_permissions() {
    let Some(moto) = Moto::start() else { return };
    let web = moto.run("web-prod", "10.1.2.3");
    let stopped = moto.run("db", "10.1.2.4");
    moto.call(&format!("Action=StopInstances&Version=2016-11-15&InstanceId.1={stopped}"));
    let stage = Stage::new(&[(&web, "a"), (&stopped, "b")]);
    let explain = |words: &[&str]| {
        let output = stage.run(&moto.url(), &[&["explain"], words].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        text(&output.stdout)
    };
    let step = format!("`web-prod` was looked up in EC2 and SSM, as a name: {web}\n");
    assert_contains(
        &explain(&["web-prod"]),
        &[&step, "AWS-StartSSHSession (portNumber=22)", ":123456789012:"],
    );
    let policy: Value = serde_json::from_str(&explain(&["web-prod", "--policy"])).expect("JSON");
    let first = policy["Statement"][0]["Resource"][0].as_str().expect("an ARN");
    assert_eq!(first, format!("arn:aws:ec2:{REGION}:123456789012:instance/{web}"));
    assert_contains(&policy.to_string(), &["ec2:DescribeInstances", "ssm:DescribeInstanceInformation"]);
    let explained: Value = serde_json::from_str(&explain(&["tag:Name=db", "--json"])).expect("JSON");
    assert_eq!(
        (&explained["session"]["target"], &explained["session"]["is_stopped"]),
        (&json!(stopped), &json!(true))
    );
    let output = stage.run(&moto.url(), &["explain", "nothing-like-it"]);
    assert_eq!(output.status.code(), Some(12), "{output:?}");
    assert!(stage.simulator.sessions().is_empty(), "explain starts no session");
}

#[test]
fn an_id_is_explained_without_any_permission() {
    let stage = Stage::new(&[("i-0123456789abcdef0", "web")]);
    stage.deny_ssm();
    let denied = Stub::denied();
    let output = stage.run(&denied.url, &["explain", "i-0123456789abcdef0"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_contains(
        &text(&output.stdout),
        &["caller      unknown\n", "calling GetCallerIdentity", "session to  i-0123"],
    );
}

#[test]
fn ambiguous_unknown_and_stopped_targets_are_refused() {
    let Some(moto) = Moto::start() else { return };
    let (one, two) = (moto.run("web", "10.1.2.3"), moto.run("web", "10.1.2.4"));
    let (gone, stopped) = (moto.run("db", "10.1.2.5"), moto.run("db", "10.1.2.6"));
    moto.call(&format!("Action=TerminateInstances&Version=2016-11-15&InstanceId.1={gone}"));
    moto.call(&format!("Action=StopInstances&Version=2016-11-15&InstanceId.1={stopped}"));
    let stage = Stage::new(&[(&one, "a"), (&two, "b"), (&gone, "c"), (&stopped, "d")]);

    let (code, stderr) = stage.refuse(&moto.url(), "web");
    assert_eq!(code, 13, "{stderr}");
    assert_contains(
        &stderr,
        &[&one, &two, "10.1.2.3", "10.1.2.4", "running", "fumidai: 2 instances match \"web\" in eu-"],
    );
    assert!(stderr.find(&one) < stderr.find("fumidai: "), "details come first: {stderr}");

    let (code, stderr) = stage.refuse(&moto.url(), "webb");
    assert_eq!(code, 12, "{stderr}");
    assert_contains(
        &stderr,
        &["fumidai: no instance named \"webb\" in eu-central-1\n", "did you mean `web`?"],
    );

    let (code, stderr) = stage.refuse(&moto.url(), "db");
    assert_eq!(code, 14, "{stderr}");
    assert_contains(&stderr, &["fumidai: `db` is stopped", &stopped, "fumidai bastion start"]);
    assert!(stage.simulator.sessions().is_empty());
}

#[test]
fn a_host_with_a_cache_is_not_looked_up_each_time() {
    let stage = Stage::new(&[("i-0a", "")]);
    let stub = Stub::ec2(vec![instance("i-0a", "web", "10.0.0.5", "running")]);
    let folder = stage.home.path().join("fumidai");
    std::fs::create_dir_all(&folder).expect("a folder");
    let hosts = "[hosts.kept]\ntarget = 'web'\ncache = '5m'\n[hosts.fresh]\ntarget = 'web'\n";
    std::fs::write(folder.join("config.toml"), hosts).expect("a file");
    let asked = |name: &str| {
        let before = stub.calls().len();
        assert_eq!(stage.reach(&stub.url, name), "i-0a");
        stub.calls().len() - before
    };
    assert!(asked("kept") > 0);
    assert_eq!(asked("kept"), 0);
    assert!(asked("fresh") > 0, "another host with the same target has no cache");
}

#[test]
fn one_denied_call_is_tolerated() {
    let stage = Stage::new(&[("i-0123456789abcdef0", "web"), ("mi-0123456789abcdef0", "rack")]);
    let denied = Stub::denied();
    assert_eq!(stage.reach(&denied.url, "web"), "i-0123456789abcdef0");
    assert_eq!(stage.reach(&denied.url, "tag:Name=web"), "i-0123456789abcdef0");
    assert_eq!(stage.reach(&denied.url, "rack"), "mi-0123456789abcdef0");
    assert_eq!(
        stage.reach(&stage.simulator.endpoint(), "web"),
        "i-0123456789abcdef0",
        "the simulator has no EC2"
    );
    let (code, stderr) = stage.refuse(&denied.url, "wbe");
    assert_eq!(code, 12, "{stderr}");
    assert_contains(
        &stderr,
        &["the search was incomplete: UnauthorizedOperation when calling DescribeInstances"],
    );

    stage.deny_ssm();
    let ec2 = Stub::ec2(vec![instance("i-0123456789abcdef0", "web", "10.0.0.1", "running")]);
    assert_eq!(stage.reach(&ec2.url, "web"), "i-0123456789abcdef0");
}

#[test]
fn both_denied_names_both_actions_and_an_id_needs_neither() {
    let stage = Stage::new(&[("i-0123456789abcdef0", "web")]);
    stage.deny_ssm();
    let denied = Stub::denied();
    let (code, stderr) = stage.refuse(&denied.url, "web");
    assert_eq!(code, 11, "{stderr}");
    let actions =
        ["UnauthorizedOperation when calling DescribeInstances", "calling DescribeInstanceInformation"];
    assert_contains(&stderr, &actions);
    assert_contains(
        &stderr,
        &["ec2:DescribeInstances", "ssm:DescribeInstanceInformation", "fumidai: hint: use an id"],
    );

    let before = denied.calls().len();
    assert_eq!(stage.reach(&denied.url, "i-0123456789abcdef0"), "i-0123456789abcdef0");
    assert_eq!(denied.calls().len(), before, "an id is not looked up");

    let output = stage.run(&denied.url, &["list"]);
    assert_eq!(output.status.code(), Some(11), "{output:?}");
    assert_contains(&text(&output.stderr), &actions);
}

#[test]
fn calls_of_ec2_are_signed_and_filtered() {
    let stage = Stage::new(&[("i-1", "x")]);
    let ec2 = Stub::ec2(vec![instance("i-1", "a*b c", "10.0.0.1", "running")]);
    assert_eq!(stage.reach(&ec2.url, "a*b c"), "i-1");
    let calls = ec2.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_contains(
        &calls[0],
        &[
            "Action=DescribeInstances&Version=2016-11-15",
            "Filter.1.Name=tag%3AName&Filter.1.Value.1=a%5C%2Ab%20c",
            "authorization: aws4-hmac-sha256 credential=",
            "/eu-central-1/ec2/aws4_request",
        ],
    );
}

#[test]
fn throttled_calls_are_retried() {
    let stage = Stage::new(&[("i-1", "x")]);
    let throttled = Arc::new(Mutex::new(2));
    let ec2 = Stub::new(move |_, _| {
        let mut left = throttled.lock().expect("no panic");
        if *left > 0 {
            *left -= 1;
            let error =
                "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>";
            return (503, error.to_owned());
        }
        let item = instance("i-1", "web", "10.0.0.1", "running");
        let set =
            format!("<reservationSet><item><instancesSet>{item}</instancesSet></item></reservationSet>");
        (200, format!("<DescribeInstancesResponse>{set}</DescribeInstancesResponse>"))
    });
    assert_eq!(stage.reach(&ec2.url, "web"), "i-1");
    assert_eq!(ec2.calls().len(), 3);
}

#[test]
fn a_wrong_clock_is_corrected_by_the_response() {
    let stage = Stage::new(&[("i-1", "x")]);
    let ec2 = Stub::dated("date: Mon, 01 Mar 2032 00:00:00 GMT\r\n", |head, _| {
        if !head.contains("x-amz-date: 20320301t") {
            let error = "<Response><Errors><Error><Code>RequestExpired</Code></Error></Errors></Response>";
            return (400, error.to_owned());
        }
        let item = instance("i-1", "web", "10.0.0.1", "running");
        let set =
            format!("<reservationSet><item><instancesSet>{item}</instancesSet></item></reservationSet>");
        (200, format!("<DescribeInstancesResponse>{set}</DescribeInstancesResponse>"))
    });
    assert_eq!(stage.reach(&ec2.url, "web"), "i-1");
    assert_eq!(ec2.calls().len(), 2);
}

#[test]
fn five_thousand_instances_are_listed() {
    let instances = (0..5000).map(|number| {
        instance(&format!("i-{number:017x}"), &format!("node-{number}"), "10.0.0.1", "running")
    });
    let ec2 = Stub::ec2(instances.collect());
    let managed: Vec<String> = (0..120).map(|number| format!("mi-{number:017x}")).collect();
    let stage = Stage::new(&managed.iter().map(|id| (id.as_str(), "rack")).collect::<Vec<_>>());
    let output = stage.run(&ec2.url, &["list", "--json"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a JSON array");
    assert_eq!(rows.len(), 5120);
    assert_eq!(ec2.calls().len(), 5);

    let output = stage.run(&ec2.url, &["list", "node-4999"]);
    let table = text(&output.stdout);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert_contains(&table, &["ID ", "i-00000000000001387  node-4999  10.0.0.1", "running"]);
    assert_eq!(ec2.calls().len(), 5, "the cached list is used");
    let output = stage.run(&ec2.url, &["list", "--no-cache", "state:online"]);
    assert_eq!(text(&output.stdout).lines().count(), 121);
    assert_eq!(ec2.calls().len(), 10);
    let file = stage.home.path().join("fumidai/names.json");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).expect("the cache").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(file.exists() || cfg!(target_os = "macos"));
}

#[test]
fn an_empty_list_is_explained() {
    let stage = Stage::new(&[]);
    let ec2 = Stub::ec2(Vec::new());
    let output = stage.run(&ec2.url, &["list"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(text(&output.stderr).lines().count(), 1);
    assert_contains(&text(&output.stderr), &["fumidai: no machines in eu-central-1"]);
    let output = stage.run(&ec2.url, &["list", "--json"]);
    assert_eq!(text(&output.stdout), "[]\n");

    let denied = Stub::denied();
    let output = stage.run(&denied.url, &["list", "--no-cache"]);
    assert_contains(
        &text(&output.stderr),
        &["UnauthorizedOperation when calling DescribeInstances", "no machines in"],
    );
}

#[test]
fn hostile_values_are_escaped_in_tables_and_unchanged_in_json() {
    let evil = "&#x1b;[2J&#x1b;]0;pwned&#7;a&#10;fumidai: all is well\u{202e}txt &lt;b&gt;";
    let ec2 = Stub::ec2(vec![
        instance("i-1", evil, "10.0.0.1", "running"),
        instance("i-2", "web", "10.0.0.2", "running&#x9b;31m"),
        instance("i-3", "web", "10.0.0.3", "running"),
    ]);
    let stage = Stage::new(&[]);
    let table = text(&stage.run(&ec2.url, &["list"]).stdout);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(!table.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{table:?}");
    let json = stage.run(&ec2.url, &["list", "--json"]).stdout;
    let rows: Vec<Value> = serde_json::from_slice(&json).expect("a JSON array");
    assert_eq!(rows[0]["name"], "\x1b[2J\x1b]0;pwned\x07a\nfumidai: all is well\u{202e}txt <b>");
    let (code, stderr) = stage.refuse(&ec2.url, "web");
    assert_eq!(code, 13, "{stderr}");
    assert!(!stderr.chars().any(|c| c.is_control() && c != '\n'), "{stderr:?}");
}

/// ECS with one service `web` in the cluster `prod`, with this task. moto has neither runtime ids nor managed agents.
fn ecs(task: Value) -> Stub {
    const ARN: &str = "arn:aws:ecs:eu-central-1:123456789012:task/prod/0123456789abcdef0123456789abcdef";
    Stub::new(move |head, body| {
        let request: Value = serde_json::from_str(body).expect("JSON");
        let error = |code: &str| (400, json!({ "__type": code, "message": "not here" }).to_string());
        if request["cluster"] != "prod" {
            return error("ClusterNotFoundException");
        }
        if head.contains("x-amz-target: amazonec2containerservicev20141113.listtasks") {
            return match request["serviceName"].as_str() {
                Some("web") => (200, json!({ "taskArns": [ARN] }).to_string()),
                _ => error("ServiceNotFoundException"),
            };
        }
        let mut task = task.clone();
        task["taskArn"] = ARN.into();
        task["clusterArn"] = "arn:aws:ecs:eu-central-1:123456789012:cluster/prod".into();
        let known = request["tasks"][0].as_str().is_some_and(|task| ARN.ends_with(task));
        (200, json!({ "tasks": if known { vec![task] } else { vec![] }, "failures": [] }).to_string())
    })
}

fn container(name: &str, agent: &str) -> Value {
    let agents = json!([{ "name": "ExecuteCommandAgent", "lastStatus": agent }]);
    json!({ "name": name, "lastStatus": "RUNNING", "runtimeId": format!("{name}-1"), "managedAgents": agents })
}

#[test]
fn a_container_is_reached_by_service_or_task() {
    let task = "0123456789abcdef0123456789abcdef";
    let id = format!("ecs:prod_{task}_nginx-1");
    let stage = Stage::new(&[(&id, "x")]);
    let containers = json!([container("nginx", "RUNNING"), container("log", "RUNNING")]);
    let several =
        ecs(json!({ "lastStatus": "RUNNING", "enableExecuteCommand": true, "containers": containers }));
    assert_eq!(stage.reach(&several.url, "ecs:prod/web/nginx"), id);
    assert_eq!(stage.reach(&several.url, &format!("ecs:prod/{task}/nginx")), id);
    assert_eq!(stage.reach(&several.url, &id), id);
    for (name, code, words) in [
        ("ecs:prod/web", 13, "has 2 containers"),
        ("ecs:prod/web/ngin", 12, "has no container `ngin`"),
        ("ecs:prod/wbe", 12, "ServiceNotFoundException when calling ListTasks"),
        ("ecs:test/web", 12, "ClusterNotFoundException when calling ListTasks"),
        ("ecs:prod/00000000000000000000000000000000/nginx", 12, "cluster `prod` has no task"),
    ] {
        let (found, stderr) = stage.refuse(&several.url, name);
        assert_eq!(found, code, "{name}: {stderr}");
        assert_contains(&stderr, &[words]);
    }
    let containers = json!([container("nginx", "RUNNING")]);
    let one = ecs(json!({ "lastStatus": "RUNNING", "enableExecuteCommand": true, "containers": containers }));
    assert_eq!(stage.reach(&one.url, "ecs:prod/web"), id);
}

#[test]
fn a_container_without_its_agent_is_refused_with_the_cause() {
    let stage = Stage::new(&[]);
    let run = |enabled: bool, agent: &str| {
        let containers = json!([container("nginx", agent)]);
        let stub = ecs(
            json!({ "lastStatus": "RUNNING", "enableExecuteCommand": enabled, "containers": containers }),
        );
        stage.refuse(&stub.url, "ecs:prod/web")
    };
    let (code, stderr) = run(false, "RUNNING");
    assert_eq!(code, 14, "{stderr}");
    assert_contains(&stderr, &["was started without execute-command", "--enable-execute-command"]);
    let (code, stderr) = run(true, "STOPPED");
    assert_eq!(code, 14, "{stderr}");
    assert_contains(&stderr, &["ExecuteCommandAgent of container `nginx`", "is STOPPED", "ssmmessages:"]);
}
