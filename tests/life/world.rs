//! An AWS account, a simulator of its sessions, and the program with a home folder of its own.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use fumidai::sim::simulator::CLEARED_VARIABLES;
use fumidai::sim::{SimConfig, SimTarget, Simulator};

use crate::tools::python;

/// What the greeter behind port 22 sends.
pub const BANNER: &str = "SSH-2.0-life\r\n";
pub const REGION: &str = "eu-central-1";
/// Longer than any life of these tests takes, also on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The account: it ends when it is dropped.
struct Cloud {
    child: Child,
    address: SocketAddr,
}

impl Cloud {
    fn start(options: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guardian/cloud.py");
        let mut command = Command::new(python());
        command.arg(script).args(options).env("PYTHONDONTWRITEBYTECODE", "1");
        for name in CLEARED_VARIABLES {
            command.env_remove(name);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let ready: Value = serde_json::from_str(&line).expect("the URL");
        let url = ready["url"].as_str().expect("a URL");
        let address = url.strip_prefix("http://").expect("http").parse().expect("an address");
        Self { child, address }
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
        self.send_to("ec2", REGION, method, path, kind, body)
    }

    fn send_to(
        &self,
        service: &str,
        region: &str,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
    ) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).expect("the cloud listens");
        let scope = format!("AKID/20260101/{region}/{service}/aws4_request");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {service}.{region}.amazonaws.com\r\nconnection: close\r\n\
             authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        (status, body)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The whole.
pub struct World {
    cloud: Cloud,
    pub simulator: Simulator,
    home: tempfile::TempDir,
    /// The stopped bastion, and an instance behind it.
    pub bastion: String,
    pub server: String,
}

/// What a test may change before the start.
#[derive(Default)]
pub struct Given {
    /// Options of the cloud.
    pub options: Vec<&'static str>,
    /// What is behind port 22 of every target; a greeter otherwise.
    pub port: Option<SocketAddr>,
    /// Further targets of sessions.
    pub targets: Vec<String>,
}

impl World {
    /// A stopped bastion, and a running server behind it, both tagged.
    pub fn new() -> Self {
        Self::with(Given::default())
    }

    pub fn with(given: Given) -> Self {
        let options = if given.options.is_empty() { vec!["--scale", "20"] } else { given.options };
        let cloud = Cloud::start(&options);
        let (bastion, server) = (run_instance(&cloud, "10.0.0.10"), run_instance(&cloud, "10.0.0.115"));
        let mut targets: Vec<SimTarget> =
            [&bastion, &server].into_iter().map(|id| SimTarget::new(id, id, true)).collect();
        targets.extend(given.targets.iter().map(|id| SimTarget::new(id, id, true)));
        let port = given.port.unwrap_or_else(greeter);
        let config = SimConfig {
            targets,
            ports: [(22, port)].into(),
            hosts: HashMap::from([(("10.0.0.115".to_owned(), 22), port)]),
            ..SimConfig::default()
        };
        let simulator = Simulator::spawn(config).expect("the simulator starts");
        let world = Self { cloud, simulator, home: tempfile::tempdir().expect("a folder"), bastion, server };
        world.use_simulator();
        world.machine(json!({ "id": world.bastion, "state": "stopped" }));
        world.machine(json!({ "id": world.server, "state": "running" }));
        let interface = |id: &str| world.interface(id);
        let resources =
            [&world.bastion, &world.server, &interface(&world.bastion), &interface(&world.server)];
        world.tag(&resources.map(String::as_str));
        world
    }

    fn use_simulator(&self) {
        let environment: HashMap<String, String> = self.simulator.environment().into_iter().collect();
        let mut given = json!({
            "url": environment["AWS_ENDPOINT_URL_SSM"],
            "access_key_id": environment["AWS_ACCESS_KEY_ID"],
            "secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
        });
        if let Some(token) = environment.get("AWS_SESSION_TOKEN") {
            given["session_token"] = token.as_str().into();
        }
        self.control("POST", "/fumidai/sim", &given);
    }

    pub fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, text) = self.cloud.send(method, path, "application/json", &body.to_string());
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    pub fn machine(&self, given: Value) {
        self.control("POST", "/fumidai/machine", &given);
    }

    /// Calls of this action fail.
    pub fn fault(&self, action: &str, code: &str, times: Option<u32>) {
        let is_denial = !code.contains("Throttling") && !code.contains("Limit");
        let message = match is_denial {
            true => format!("User: alice is not authorized to perform: {action}"),
            false => "Rate exceeded".to_owned(),
        };
        let fault = json!({ "action": action, "code": code, "message": message, "times": times });
        self.control("POST", "/fumidai/fault", &fault);
    }

    pub fn no_fault(&self) {
        self.control("DELETE", "/fumidai/fault", &json!({}));
    }

    pub fn state(&self) -> Value {
        self.control("GET", "/fumidai/state", &json!({}))
    }

    pub fn state_of(&self, id: &str) -> String {
        self.state()["machines"][id]["state"].as_str().expect("a machine").to_owned()
    }

    /// The inputs of the lives that run.
    pub fn lives(&self) -> Vec<Value> {
        let state = self.state();
        let all = state["executions"].as_array().expect("executions");
        all.iter().filter(|one| one["status"] == "RUNNING").map(|one| one["input"].clone()).collect()
    }

    /// How many lives there were.
    pub fn life_count(&self) -> usize {
        self.state()["executions"].as_array().expect("executions").len()
    }

    pub fn groups(&self, interface: &str) -> Vec<String> {
        let state = self.state();
        let groups = state["interfaces"][interface].as_array().expect("an interface");
        groups.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Waits for a condition, however slow the machine is.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "{what}: {:#}", self.state());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the bastion is stopped and no life runs.
    pub fn until_over(&self) {
        self.until("the bastion is stopped and no life runs", |world| {
            world.state_of(&world.bastion) == "stopped" && world.lives().is_empty()
        });
    }

    /// Calls EC2.
    pub fn ec2(&self, form: &str) -> String {
        ec2(&self.cloud, form)
    }

    /// Calls EC2 of another region, or IAM.
    pub fn query(&self, service: &str, region: &str, form: &str) -> String {
        let version = if service == "iam" { "2010-05-08" } else { "2016-11-15" };
        let form = format!("{form}&Version={version}");
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let (status, body) = self.cloud.send_to(service, region, "POST", "/", kind, &form);
        assert_eq!(status, 200, "{form}: {body}");
        body
    }

    pub fn interface(&self, instance: &str) -> String {
        let form = format!("Action=DescribeInstances&InstanceId.1={instance}");
        element(&self.ec2(&form), "networkInterfaceId")
    }

    /// Makes a security group in the VPC of the instances.
    pub fn group(&self, name: &str) -> String {
        let vpc =
            element(&self.ec2(&format!("Action=DescribeInstances&InstanceId.1={}", self.bastion)), "vpcId");
        self.group_in(name, &vpc)
    }

    pub fn group_in(&self, name: &str, vpc: &str) -> String {
        let form = format!("Action=CreateSecurityGroup&GroupName={name}&GroupDescription={name}&VpcId={vpc}");
        element(&self.ec2(&form), "groupId")
    }

    pub fn tag(&self, resources: &[&str]) {
        let ids = resources.iter().enumerate().map(|(at, id)| format!("&ResourceId.{}={id}", at + 1));
        let form = format!(
            "Action=CreateTags{}&Tag.1.Key=fumidai%3Aguarded&Tag.1.Value=true",
            ids.collect::<String>()
        );
        self.ec2(&form);
    }

    /// Calls ECS.
    pub fn ecs(&self, action: &str, body: &str) {
        let mut stream = TcpStream::connect(self.cloud.address).expect("the cloud listens");
        let scope = format!("AKID/20260101/{REGION}/ecs/aws4_request");
        let request = format!(
            "POST / HTTP/1.1\r\nhost: ecs.{REGION}.amazonaws.com\r\nconnection: close\r\n\
             authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n\
             x-amz-target: AmazonEC2ContainerServiceV20141113.{action}\r\n\
             content-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{action}: {answer}");
    }

    /// Makes the cluster `ops` and the task definition `bastion`.
    pub fn define_task(&self) {
        self.ecs("CreateCluster", r#"{"clusterName": "ops"}"#);
        self.ecs(
        "RegisterTaskDefinition",
        r#"{"family": "bastion", "networkMode": "awsvpc", "cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"],
            "containerDefinitions": [{"name": "bastion", "image": "a", "memory": 512}]}"#,
    );
    }

    /// The subnet of the instances.
    pub fn subnet(&self) -> String {
        let form = format!("Action=DescribeInstances&InstanceId.1={}", self.bastion);
        element(&self.ec2(&form), "subnetId")
    }

    /// Writes the config file.
    pub fn configure(&self, text: &str) {
        let folder = self.home.path().join("fumidai");
        fs::create_dir_all(&folder).expect("a folder");
        let text = text.replace("BASTION", &self.bastion).replace("SERVER", &self.server);
        fs::write(folder.join("config.toml"), text).expect("a file");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The program with this account.
    pub fn command(&self, args: &[&str]) -> Command {
        self.program(Path::new(env!("CARGO_BIN_EXE_fumidai")), args)
    }

    /// A program that sees this account and nothing of the user's.
    pub fn program(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        for name in CLEARED_VARIABLES {
            command.env_remove(name);
        }
        for folder in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "HOME"] {
            command.env(folder, self.home.path());
        }
        command.envs(self.simulator.environment());
        for service in ["SSM", "EC2", "ECS", "STS", "SFN", "CLOUDFORMATION", "CLOUDTRAIL", "IAM"] {
            command.env(format!("AWS_ENDPOINT_URL_{service}"), format!("http://{}", self.cloud.address));
        }
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program runs")
    }

    /// Runs the program, which succeeds; returns what it printed.
    pub fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Connects, and sees the greeter.
    pub fn reach(&self, args: &[&str]) {
        assert_eq!(self.succeed(&[&["connect"], args].concat()), BANNER, "{args:?}");
    }

    /// Expects a failure; returns the exit code and standard error.
    pub fn refuse(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        (output.status.code().expect("no signal"), text(&output.stderr))
    }

    /// Connects and stays, until the returned client is dropped.
    pub fn stay(&self, args: &[&str]) -> Client {
        let mut command = self.command(&[&["connect"], args].concat());
        let mut child =
            command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the program runs");
        let mut banner = vec![0; BANNER.len()];
        child.stdout.as_mut().expect("piped").read_exact(&mut banner).expect("the greeter's banner");
        Client(child)
    }
}

/// A client with an open session; it is killed when dropped.
pub struct Client(pub Child);

impl Client {
    /// Ends it in order.
    pub fn leave(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run_instance(cloud: &Cloud, address: &str) -> String {
    let form =
        format!("Action=RunInstances&ImageId=ami-12c6146b&MinCount=1&MaxCount=1&PrivateIpAddress={address}");
    element(&ec2(cloud, &form), "instanceId")
}

fn ec2(cloud: &Cloud, form: &str) -> String {
    let form = format!("{form}&Version=2016-11-15");
    let (status, body) = cloud.send("POST", "/", "application/x-www-form-urlencoded; charset=utf-8", &form);
    assert_eq!(status, 200, "{form}: {body}");
    body
}

/// Returns the first element of that name.
pub fn element(xml: &str, name: &str) -> String {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}"));
    rest.split('<').next().expect("an end").to_owned()
}

/// A server that sends its banner and stays until its client leaves.
pub fn greeter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let _ = stream.write_all(BANNER.as_bytes());
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    address
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[track_caller]
pub fn assert_contains(stderr: &str, words: &[&str]) {
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
}
