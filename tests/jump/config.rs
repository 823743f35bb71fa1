//! The settings that the real `ssh -G` prints.

use std::path::Path;
use std::time::SystemTime;

use fumidai::jump::openssh::{self, HopName, OpenSshError};
use fumidai::jump::{Allowed, HopSettings, LocalUser, Methods, StrictHostKeys};

use crate::openssh::script;
use crate::tools::tool;

const CONFIG: &str = "Host app\n  HostName app.example\n  User bob\n  Port 2222\n  IdentityFile ~/.ssh/id_%r@%h\n\
    \x20 CertificateFile ~/.ssh/x-cert.pub\n  IdentityAgent none\n  IdentitiesOnly yes\n  HostKeyAlias the-app\n\
    \x20 UserKnownHostsFile /x/one /x/%k\n  StrictHostKeyChecking accept-new\n  ServerAliveInterval 15\n\
    Host strict\n  StrictHostKeyChecking yes\n  RevokedHostKeys ~/.ssh/revoked\n  RequiredRSASize 3072\n\
    \x20 HostKeyAlgorithms ssh-ed25519,rsa-*\n  CASignatureAlgorithms ssh-ed25519\n\
    \x20 PubkeyAcceptedAlgorithms -rsa-*\n  PreferredAuthentications publickey\n\
    \x20 KnownHostsCommand /bin/false\nHost bad\n  Port many\n";

async fn ask(hop: HopName<'_>) -> Result<HopSettings, OpenSshError> {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    let text = if hop.name == "bad" { CONFIG } else { CONFIG.split("Host bad").next().unwrap() };
    std::fs::write(&config, text).unwrap();
    let program = folder.path().join("ssh");
    script(&program, &format!("exec {} -F {} \"$@\"", tool("ssh").display(), config.display()));
    let local = LocalUser {
        home: Path::new("/home/me"),
        user: "me",
        agent: Some(Path::new("/agent.sock")),
        clock: SystemTime::now,
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
async fn an_unconfigured_host_has_opensshs_defaults() {
    let settings = ask(HopName { name: "else.example", user: Some("eve"), port: Some(2200) }).await.unwrap();
    assert_eq!((settings.user.as_str(), settings.port), ("eve", 2200));
    assert_eq!(settings.strict, StrictHostKeys::Ask);
    assert_eq!(settings.agent.as_deref(), Some(Path::new("/agent.sock")));
    assert!(settings.identity_files.contains(&"/home/me/.ssh/id_ed25519".into()));
    assert_eq!(settings.user_known_hosts.len(), 2);
    assert!(settings.revoked_host_keys.is_empty());
    assert_eq!(settings.required_rsa_size, 1024);
    for kind in ["ssh-ed25519", "ecdsa-sha2-nistp521", "rsa-sha2-256"] {
        assert!(settings.host_key_algorithms.has(kind), "{kind}");
        assert!(settings.ca_signature_algorithms.has(kind), "{kind}");
        assert!(settings.pubkey_accepted_algorithms.has(kind), "{kind}");
    }
}

#[tokio::test]
async fn restrictions_of_ssh_config_are_read() {
    let settings = ask(HopName { name: "strict", user: None, port: None }).await.unwrap();
    assert_eq!(settings.strict, StrictHostKeys::Yes);
    assert_eq!(settings.revoked_host_keys, [Path::new("/home/me/.ssh/revoked")]);
    assert_eq!(settings.required_rsa_size, 3072);
    let allows = |kinds: &Allowed| ["ssh-ed25519", "rsa-sha2-512"].map(|kind| kinds.has(kind));
    assert_eq!(allows(&settings.host_key_algorithms), [true, true]);
    assert!(!settings.host_key_algorithms.has("ecdsa-sha2-nistp256"));
    assert_eq!(allows(&settings.ca_signature_algorithms), [true, false]);
    assert_eq!(allows(&settings.pubkey_accepted_algorithms), [true, false]);
    let only_keys = Methods { public_key: true, keyboard_interactive: false, password: false };
    assert_eq!(settings.methods, only_keys);
}

#[tokio::test]
async fn an_error_of_ssh_is_returned() {
    let error = ask(HopName { name: "bad", user: None, port: None }).await.unwrap_err();
    assert!(matches!(error, OpenSshError::Refused { .. }), "{error}");
    let error = openssh_at("/nowhere/ssh").await.unwrap_err();
    assert!(matches!(error, OpenSshError::Run { .. }), "{error}");
}

async fn openssh_at(program: &str) -> Result<HopSettings, OpenSshError> {
    let local = LocalUser {
        home: Path::new("/"),
        user: "me",
        agent: None,
        clock: SystemTime::now,
        variable: &|_| None,
    };
    openssh::settings(Path::new(program), HopName { name: "x", user: None, port: None }, &local).await
}
