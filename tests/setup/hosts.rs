//! Hosts of the config file, as `connect` uses them.

use crate::run::{Home, end};
use crate::stub::Stub;

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIAENV"), ("AWS_SECRET_ACCESS_KEY", "s")];

fn connect(home: &Home, stub: &Stub, words: &str) -> (Option<i32>, String) {
    let mut command = home.command("fumidai");
    command.envs(KEYS).env("AWS_ENDPOINT_URL", stub.url()).arg("connect");
    end(&command.args(words.split_whitespace()).output().unwrap())
}

fn asked(stub: &Stub) -> (String, serde_json::Value) {
    let request = stub.requests("StartSession").pop().expect("a session was asked for");
    (request.region.clone(), serde_json::from_str(&request.body).unwrap())
}

#[test]
fn a_host_brings_its_target_port_and_settings() {
    let (home, stub) = (Home::new(), Stub::start());
    home.config(
        "[defaults]\nregion = 'us-east-1'\n[hosts.web]\ntarget = 'i-0123'\nport = 2222\nregion = 'eu-west-1'\n\
         document = 'My-Document'\nreason = 'on call'",
    );
    assert_eq!(connect(&home, &stub, "me@web").0, Some(14));
    let (region, call) = asked(&stub);
    assert_eq!(region, "eu-west-1");
    assert_eq!(call["Target"], "i-0123");
    assert_eq!(call["DocumentName"], "My-Document");
    assert_eq!(call["Reason"], "on call");
    assert_eq!(call["Parameters"]["portNumber"][0], "2222");
}

#[test]
fn what_is_typed_goes_before_the_host() {
    let (home, stub) = (Home::new(), Stub::start());
    home.config("[hosts.web]\ntarget = 'i-0123'\nport = 2222\nregion = 'eu-west-1'\nreason = 'file'");
    connect(&home, &stub, "web--eu-west-2 22 --reason flag");
    let (region, call) = asked(&stub);
    assert_eq!((region.as_str(), &call["Reason"]), ("eu-west-2", &"flag".into()));
    assert_eq!(call["Parameters"]["portNumber"][0], "22");
    connect(&home, &stub, "web --region eu-west-3");
    assert_eq!(asked(&stub).0, "eu-west-3");
}

#[test]
fn a_chain_that_cannot_be_is_refused_before_anything_is_asked() {
    let (home, stub) = (Home::new(), Stub::start());
    home.config(
        "[hosts.app]\naddress = '10.0.0.115'\nvia = ['bastion', 'inner']\nroute = 'remote-host'\n\
         [hosts.bastion]\ntarget = 'i-0123'\n[hosts.direct]\ntarget = 'i-0456'\nvia = 'bastion'\nroute = 'direct'",
    );
    for (words, exit, said) in [
        (
            "bastion --via app",
            2,
            "fumidai: `--via` contains a cycle: `bastion` → `inner` → `app` → `bastion`\n",
        ),
        ("app --via i-1 --via i-1", 2, "fumidai: `--via` contains a cycle: `i-1` → `i-1`\n"),
        (
            "i-0456 --via bastion",
            2,
            "fumidai: hop `bastion` cannot connect to `i-0456`: it is not an address or a DNS name\n",
        ),
        ("app --via tag:", 2, "fumidai: \"tag:\" is not a valid tag (expected `tag:KEY=VALUE`)\n"),
        (
            "app",
            3,
            "fumidai: `route = \"remote-host\"` of host `app` cannot be used behind hop `inner`: only the agent of the first hop can connect\n",
        ),
    ] {
        let (code, found) = connect(&home, &stub, words);
        assert_eq!(code, Some(exit), "{words}: {found}");
        assert!(found.starts_with(said), "{words}: {found}");
    }
    assert!(stub.requests("StartSession").is_empty());
    connect(&home, &stub, "direct --region eu-west-1");
    assert_eq!(asked(&stub).1["Target"], "i-0456");
}

#[test]
fn a_wrong_file_names_the_place() {
    let (home, stub) = (Home::new(), Stub::start());
    home.config("[hosts.a]\nvia = 'b'\n\n[hosts.b]\nvia = ['a']\n");
    let (code, words) = connect(&home, &stub, "i-0123");
    let place = home.path(".config/fumidai/config.toml");
    let text = format!("fumidai: {}:2:7: `via` contains a cycle: `a` → `b` → `a`\n", place.display());
    assert_eq!((code, words), (Some(3), text));
}
