//! The settings that the real `ssh -G` gives.

use std::path::Path;
use std::time::SystemTime;

use fumidai::jump::openssh::{self, HopName, OpenSshError};
use fumidai::jump::{HopSettings, Local, StrictHostKeys};

use crate::openssh::script;
use crate::tools::tool;

const CONFIG: &str = "Host app\n  HostName app.example\n  User bob\n  Port 2222\n  IdentityFile ~/.ssh/id_%r@%h\n\
    \x20 CertificateFile ~/.ssh/x-cert.pub\n  IdentityAgent none\n  IdentitiesOnly yes\n  HostKeyAlias the-app\n\
    \x20 UserKnownHostsFile /x/one /x/%k\n  StrictHostKeyChecking accept-new\n  ServerAliveInterval 15\n\
    Host strict\n  StrictHostKeyChecking yes\nHost bad\n  Port many\n";

async fn ask(hop: HopName<'_>) -> Result<HopSettings, OpenSshError> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    let text = if hop.name == "bad" { CONFIG } else { CONFIG.split("Host bad").next().unwrap() };
    std::fs::write(&config, text).unwrap();
    let program = folder.path().join("ssh");
    script(&program, &format!("exec {} -F {} \"$@\"", tool("ssh").display(), config.display()));
    let local = Local {
        home: Path::new("/home/me"),
        user: "me",
        agent: Some(Path::new("/agent.sock")),
        now: SystemTime::now(),
        variable: &|_| None,
    };
    openssh::settings(&program, hop, &local).await
}

#[tokio::test]
async fn a_configured_host_has_its_settings() {
    let settings = ask(HopName { name: "app", user: None, port: None }).await.unwrap();
    assert_eq!((settings.user.as_str(), settings.host.as_str(), settings.port), ("bob", "app.example", 2222));
    assert_eq!(settings.identity_files, [Path::new("/home/me/.ssh/id_bob@app.example")]);
    assert_eq!(settings.user_known_hosts, [Path::new("/x/one"), Path::new("/x/the-app")]);
    assert_eq!((settings.strict, settings.agent), (StrictHostKeys::AcceptNew, None));
    assert!(settings.identities_only);
}

#[tokio::test]
async fn any_other_host_has_opensshs_defaults() {
    let settings = ask(HopName { name: "else.example", user: Some("eve"), port: Some(2200) }).await.unwrap();
    assert_eq!((settings.user.as_str(), settings.port), ("eve", 2200));
    assert_eq!(settings.strict, StrictHostKeys::Ask);
    assert_eq!(settings.agent.as_deref(), Some(Path::new("/agent.sock")));
    assert!(settings.identity_files.contains(&"/home/me/.ssh/id_ed25519".into()));
    assert_eq!(settings.user_known_hosts.len(), 2);
    let strict = ask(HopName { name: "strict", user: None, port: None }).await.unwrap();
    assert_eq!(strict.strict, StrictHostKeys::Yes);
}

#[tokio::test]
async fn an_error_of_the_file_is_passed_on() {
    let error = ask(HopName { name: "bad", user: None, port: None }).await.unwrap_err();
    assert!(matches!(error, OpenSshError::Refused { .. }), "{error}");
    let error = openssh_at("/nowhere/ssh").await.unwrap_err();
    assert!(matches!(error, OpenSshError::Run { .. }), "{error}");
}

async fn openssh_at(program: &str) -> Result<HopSettings, OpenSshError> {
    let local =
        Local { home: Path::new("/"), user: "me", agent: None, now: SystemTime::now(), variable: &|_| None };
    openssh::settings(Path::new(program), HopName { name: "x", user: None, port: None }, &local).await
}
