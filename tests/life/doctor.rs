//! `fumidai doctor` on broken set-ups: the first broken link names the true cause.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use serde_json::{Value, json};

use crate::world::{World, assert_contains, text};

const HOSTS: &str = "[hosts.web]\ntarget = 'SERVER'\n[hosts.down]\ntarget = 'BASTION'\n\
                     [hosts.bastion]\ntarget = 'BASTION'\nstart = true\n";

/// Runs doctor with further variables; returns the exit code and the links.
pub fn examine(world: &World, args: &[&str], variables: &[(&str, &str)]) -> (i32, Vec<Value>) {
    let mut command = world.command(&[&["doctor", "--json"], args].concat());
    command.envs(variables.iter().copied());
    let output = command.output().expect("the program runs");
    let links = serde_json::from_slice(&output.stdout);
    let links = links.unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    (output.status.code().expect("no signal"), links)
}

/// The first broken link: component, detail and action as one text.
pub fn first_broken(links: &[Value]) -> String {
    let broken = links.iter().find(|link| link["status"] == "broken");
    let broken = broken.unwrap_or_else(|| panic!("nothing is broken: {links:#?}"));
    format!("{} {}: {} -> {}", broken["component"], broken["target"], broken["detail"], broken["action"])
}

#[track_caller]
pub fn expect(world: &World, args: &[&str], variables: &[(&str, &str)], code: i32, words: &[&str]) {
    let (exit, links) = examine(world, args, variables);
    let broken = first_broken(&links);
    assert_contains(&broken, words);
    assert_eq!(exit, code, "{broken}");
}

/// A server that gives each connection the same answer; returns its URL.
pub fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

/// A URL where nothing listens.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("bound"))
}

#[test]
fn a_healthy_way_is_good_at_every_link() {
    let world = World::new();
    world.configure(HOSTS);
    let (exit, links) = examine(&world, &["web"], &[]);
    assert_eq!(exit, 0, "{links:#?}");
    for component in
        ["config", "ssh", "network", "clock", "credentials", "name", "machine", "agent", "session", "port"]
    {
        let found = links.iter().find(|link| link["component"] == component);
        assert_eq!(
            found.unwrap_or_else(|| panic!("no {component}"))["status"],
            "ok",
            "{component}: {links:#?}"
        );
    }
    assert_contains(&links.iter().map(Value::to_string).collect::<String>(), &["sshd (SSH-2.0-life)"]);
    assert!(world.simulator.open_sessions().is_empty());
    let table = world.succeed(&["doctor", "web"]);
    assert_contains(&table, &["[ok] session", "[ok] port"]);
    let (exit, links) = examine(&world, &[], &[]);
    assert_eq!(exit, 0, "without a target: {links:#?}");
}

#[test]
fn each_meaning_of_not_connected_is_named() {
    let world = World::new();
    world.configure(HOSTS);
    expect(&world, &["down"], &[], 14, &["machine", "the instance is stopped", "fumidai bastion start down"]);
    expect(
        &world,
        &["i-0aaaaaaaaaaaaaaaa"],
        &[],
        12,
        &["machine", "EC2 knows no such instance in eu-central-1"],
    );
    world.machine(json!({ "id": world.server, "state": "stopped" }));
    world.machine(json!({ "id": world.server, "state": "running", "agent_after": 1_000_000 }));
    expect(&world, &["web"], &[], 14, &["agent", "no instance profile", "AmazonSSMManagedInstanceCore"]);
}

#[test]
fn a_bastion_that_is_stopped_is_started_on_demand_and_its_guardian_checked() {
    let world = World::new();
    world.configure(HOSTS);
    let (exit, links) = examine(&world, &["bastion"], &[]);
    assert_eq!(exit, 0, "{links:#?}");
    let session = links.iter().find(|link| link["component"] == "session").expect("a session");
    assert_eq!(session["status"], "skipped", "{links:#?}");
    assert_eq!(world.life_count(), 0, "it was started");
    let (exit, links) = examine(&world, &["--start", "bastion"], &[]);
    assert_eq!(exit, 0, "{links:#?}");
    let all: String = links.iter().map(Value::to_string).collect();
    assert_contains(&all, &["`connect` starts it", "fumidai-guardian", "sshd (SSH-2.0-life)"]);
    expect(
        &world,
        &["--guardian", "other", "bastion"],
        &[],
        3,
        &["guardian", "no such state machine", "bastion setup"],
    );
}

#[test]
fn the_network_is_told_apart_from_the_rest() {
    let world = World::new();
    world.configure(HOSTS);
    let closed = closed();
    let messages = [("AWS_ENDPOINT_URL_SSMMESSAGES", closed.as_str())];
    expect(&world, &["web"], &messages, 1, &["network", &closed, "no connection", "docs/security.md"]);
    let unknown = [("AWS_ENDPOINT_URL_SSM", "http://no-such-host.invalid")];
    expect(&world, &["web"], &unknown, 1, &["network", "no-such-host.invalid", "cannot be resolved"]);
    for portal in [
        "HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 6\r\n\r\n<html>",
    ] {
        let portal = answering(portal);
        expect(
            &world,
            &["web"],
            &[("AWS_ENDPOINT_URL_SSM", &portal)],
            1,
            &[
                "network",
                "an answer that is not AWS's",
                "log in to the network in a browser",
                "if a proxy answers",
            ],
        );
    }
    let garbage = answering("220 mail\r\n");
    expect(
        &world,
        &["web"],
        &[("AWS_ENDPOINT_URL_SSM", &garbage)],
        1,
        &["network", "it does not speak HTTP"],
    );
    let late =
        answering("HTTP/1.1 404 X\r\nDate: Sat, 28 Nov 2020 10:00:00 GMT\r\nContent-Length: 0\r\n\r\n");
    expect(
        &world,
        &["web"],
        &[("AWS_ENDPOINT_URL_SSM", &late)],
        10,
        &["clock", "ahead of AWS's clock", "NTP"],
    );
    let proxy = answering("HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n");
    let through =
        [("HTTP_PROXY", proxy.as_str()), ("HTTPS_PROXY", &proxy), ("NO_PROXY", ""), ("no_proxy", "")];
    expect(&world, &["web"], &through, 1, &["network", "asks for a login", "Basic", "USER:PASSWORD"]);
}

#[test]
fn credentials_and_settings_are_told_apart() {
    let world = World::new();
    world.configure(HOSTS);
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_SESSION_TOKEN", "")];
    expect(&world, &["web"], &none, 10, &["credentials", "no usable AWS credentials"]);
    world.fault("GetCallerIdentity", "ExpiredToken", None);
    expect(&world, &["web"], &[], 10, &["credentials", "ExpiredToken"]);
    world.no_fault();
    world.fault("StartSession", "AccessDeniedException", None);
    expect(
        &world,
        &["web"],
        &[],
        11,
        &["session", "AccessDeniedException when calling StartSession", "--policy"],
    );
    world.no_fault();
    world.configure("[hosts.web]\ntargt = 'SERVER'\n");
    expect(&world, &["web"], &[], 3, &["config", "unknown key `targt`", "nearest valid one is `target`"]);
    world.configure("[hosts.web]\ntarget = 'i-'\n");
    expect(&world, &["web"], &[], 3, &["config", "config.toml:2:10", "must be a target"]);
    world.configure(HOSTS);
    let (exit, links) = examine(&world, &["web"], &[]);
    assert_eq!(exit, 0, "the corrected file: {links:#?}");
}

#[test]
fn ssh_that_uses_something_else_is_a_warning() {
    let world = World::new();
    world.configure(HOSTS);
    let (_, links) = examine(&world, &["web"], &[("PATH", "/nowhere")]);
    assert_contains(&first_broken(&links), &["ssh", "no OpenSSH client on PATH"]);
    let (exit, links) = examine(&world, &["no-such-host-of-ssh-config.invalid"], &[]);
    assert_ne!(exit, 0);
    let all: String = links.iter().map(Value::to_string).collect();
    assert_contains(&all, &["ssh has no ProxyCommand for it", "fumidai ssh-config --install"]);
}

/// The home folder of the password file.
fn home_of_passwd() -> String {
    let user = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").expect("a password file");
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let own = fields.into_iter().find(|fields| fields.get(2) == Some(&user.as_str()));
    own.expect("the user of the tests")[5].to_owned()
}

#[test]
fn a_home_folder_that_ssh_does_not_read_is_a_warning() {
    let world = World::new();
    world.configure(HOSTS);
    let of_ssh = home_of_passwd();
    let link = world.path("link");
    std::os::unix::fs::symlink(&of_ssh, &link).expect("a link");
    let warnings = |home: &str| {
        let no_files = [("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")];
        let (exit, links) = examine(&world, &["web"], &[&no_files[..], &[("HOME", home)]].concat());
        assert_eq!(exit, 0, "{links:#?}");
        let of_ssh = links.iter().filter(|link| link["component"] == "ssh" && link["target"] == "ssh");
        of_ssh.filter(|link| link["status"] == "warning").map(Value::to_string).collect::<Vec<_>>()
    };
    let other = world.path("").display().to_string();
    let found = warnings(&other);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_contains(
        &found[0],
        &[&format!("ssh reads {of_ssh}/.ssh"), &other, ".ssh/config", "password file"],
    );
    for same in [&of_ssh, &link.display().to_string()] {
        assert_eq!(warnings(same), [""; 0], "{same}");
    }
}

#[test]
fn a_port_without_a_server_is_named() {
    let world = World::new();
    world.configure(&format!(
        "{HOSTS}[forwards.db]\ntarget = 'web'\nlocal = '127.0.0.1:0'\nremote = '10.0.0.115:22'\n"
    ));
    let (exit, links) = examine(&world, &["db"], &[]);
    assert_eq!(exit, 0, "{links:#?}");
    let (_, links) = examine(&world, &["web", "9"], &[]);
    let last = links.iter().rev().find(|link| link["component"] == "port" || link["status"] == "broken");
    assert_contains(&last.expect("a link").to_string(), &["9"]);
}
