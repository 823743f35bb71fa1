//! Logins: agent, key files, passphrases, certificates, and the error if authentication fails.

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use fumidai::jump::{Allowed, Askpass, AskpassSettings, JumpError, KeyProblem, LoginFailure};

use crate::bench::Sshd;
use crate::openssh::{SshAgent, keygen, script, user};

fn askpass(sshd: &Sshd, text: &str) -> Askpass {
    let program = sshd.path("askpass");
    script(&program, text);
    let require = Some("force".to_owned());
    Askpass::new(AskpassSettings { program: Some(program), require, has_display: false }, |text| {
        Cow::Borrowed(text)
    })
}

fn tried(error: JumpError) -> Vec<String> {
    let JumpError::Auth(failure) = error else { panic!("{error}") };
    let LoginFailure { tried, .. } = *failure;
    tried
}

#[tokio::test]
async fn a_key_of_the_agent_is_accepted() {
    let sshd = Sshd::start("").await;
    let agent = SshAgent::start(sshd.folder.path()).await;
    agent.add(&sshd.path("identity")).await;
    let mut settings = sshd.settings();
    settings.identity_files = Vec::new();
    assert!(sshd.connect(&settings).await.is_err());
    settings.agent = Some(agent.socket.clone());
    sshd.connect(&settings).await.unwrap();
}

#[tokio::test]
async fn identities_only_excludes_the_agents_other_keys() {
    let sshd = Sshd::start("").await;
    let agent = SshAgent::start(sshd.folder.path()).await;
    keygen(sshd.folder.path(), "other", &["-t", "ecdsa"]).await;
    for name in ["other", "identity"] {
        agent.add(&sshd.path(name)).await;
    }
    fs::write(sshd.path("authorized_keys"), "").unwrap();
    let mut settings = sshd.settings();
    settings.agent = Some(agent.socket.clone());
    settings.identity_files = vec![sshd.path("identity.pub")];
    // The key of `IdentityFile` comes first, although the agent lists it last.
    let all = tried(sshd.connect(&settings).await.unwrap_err());
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all[0].starts_with("key ssh-ed25519 SHA256:") && all[0].ends_with("(ssh-agent)"), "{all:?}");
    settings.identities_only = true;
    let named = tried(sshd.connect(&settings).await.unwrap_err());
    assert_eq!(named, all[..1]);
    sshd.authorize(&["identity"]);
    sshd.connect(&settings).await.unwrap();
}

#[tokio::test]
async fn a_key_that_ssh_config_excludes_is_not_offered() {
    let sshd = Sshd::start("").await;
    for (name, kind) in [("rsa", ["-t", "rsa", "-b", "2048"]), ("curve", ["-t", "ecdsa", "-b", "256"])] {
        keygen(sshd.folder.path(), name, &kind).await;
    }
    sshd.authorize(&["rsa"]);
    let mut settings = sshd.settings();
    settings.identity_files = ["curve", "identity", "rsa"].map(|name| sshd.path(name)).into();
    settings.pubkey_accepted_algorithms = Allowed::only("ssh-ed25519,rsa-sha2-256");
    sshd.connect(&settings).await.unwrap();
    settings.required_rsa_size = 3072;
    let error = sshd.connect(&settings).await.unwrap_err();
    let JumpError::Auth(failure) = error else { panic!("{error}") };
    let LoginFailure { tried, problems, .. } = *failure;
    assert!(tried.len() == 1 && tried[0].starts_with("key ssh-ed25519 "), "{tried:?}");
    let [KeyProblem::NotAllowed(curve), KeyProblem::NotAllowed(rsa)] = &problems[..] else {
        panic!("{problems:?}")
    };
    assert!(curve.contains("ecdsa") && rsa.contains("rsa"), "{problems:?}");
}

#[tokio::test]
async fn a_key_that_others_can_read_still_selects_the_agents_key() {
    let sshd = Sshd::start("").await;
    let agent = SshAgent::start(sshd.folder.path()).await;
    agent.add(&sshd.path("identity")).await;
    fs::set_permissions(sshd.path("identity"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut settings = sshd.settings();
    assert!(sshd.connect(&settings).await.is_err());
    settings.agent = Some(agent.socket.clone());
    settings.identities_only = true;
    sshd.connect(&settings).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_does_not_run_is_ignored() {
    let sshd = Sshd::start("").await;
    let mut settings = sshd.settings();
    settings.agent = Some(sshd.path("nothing.sock"));
    sshd.connect(&settings).await.unwrap();
    sshd.authorize(&[]);
    let JumpError::Auth(failure) = sshd.connect(&settings).await.unwrap_err() else { panic!() };
    assert_eq!(failure.problems, []);
    settings.agent = Some(sshd.path("known_hosts"));
    let JumpError::Auth(failure) = sshd.connect(&settings).await.unwrap_err() else { panic!() };
    assert!(matches!(&failure.problems[..], [KeyProblem::Agent { .. }]), "{:?}", failure.problems);
}

#[tokio::test]
async fn every_type_of_key_is_accepted() {
    let sshd = Sshd::start("").await;
    for (name, options) in [
        ("rsa", &["-t", "rsa"][..]),
        ("pem", &["-t", "rsa", "-m", "PEM"]),
        ("p256", &["-t", "ecdsa", "-b", "256"]),
        ("p384", &["-t", "ecdsa", "-b", "384"]),
        ("p521", &["-t", "ecdsa", "-b", "521"]),
    ] {
        keygen(sshd.folder.path(), name, options).await;
        sshd.authorize(&[name]);
        let mut settings = sshd.settings();
        settings.identity_files = vec![sshd.path(name)];
        sshd.connect(&settings).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn an_rsa_key_of_the_agent_signs_with_sha2() {
    let sshd = Sshd::start("PubkeyAcceptedAlgorithms rsa-sha2-512").await;
    let agent = SshAgent::start(sshd.folder.path()).await;
    keygen(sshd.folder.path(), "rsa", &["-t", "rsa"]).await;
    agent.add(&sshd.path("rsa")).await;
    sshd.authorize(&["rsa"]);
    let mut settings = sshd.settings();
    settings.identity_files = Vec::new();
    settings.agent = Some(agent.socket.clone());
    sshd.connect(&settings).await.unwrap();
}

#[tokio::test]
async fn a_server_that_accepts_sha1_only_gets_no_rsa_signature() {
    let sshd = Sshd::start("PubkeyAcceptedAlgorithms ssh-rsa").await;
    keygen(sshd.folder.path(), "rsa", &["-t", "rsa"]).await;
    sshd.authorize(&["rsa"]);
    let mut settings = sshd.settings();
    settings.identity_files = vec![sshd.path("rsa")];
    assert_eq!(tried(sshd.connect(&settings).await.unwrap_err()).len(), 1);
}

#[tokio::test]
async fn a_passphrase_is_requested_by_the_askpass_program() {
    let sshd = Sshd::start("").await;
    keygen(sshd.folder.path(), "locked", &["-t", "ed25519", "-N", "open sesame"]).await;
    sshd.authorize(&["locked"]);
    let mut settings = sshd.settings();
    settings.identity_files = vec![sshd.path("locked")];
    let asked = sshd.path("asked").display().to_string();
    let prompter = askpass(&sshd, &format!("echo \"$1\" >> {asked}; echo 'open sesame'"));
    sshd.connect_asking(&settings, &prompter).await.unwrap();
    let file = sshd.path("locked");
    let question = format!("Enter passphrase for key '{}': \n", file.display());
    assert_eq!(fs::read_to_string(&asked).unwrap(), question);
    let prompter = askpass(&sshd, "echo wrong");
    let error = sshd.connect_asking(&settings, &prompter).await.unwrap_err();
    let JumpError::Auth(failure) = error else { panic!("{error}") };
    let LoginFailure { problems, .. } = *failure;
    assert_eq!(problems, [KeyProblem::Locked { file, reason: "wrong passphrase".to_owned() }]);
}

#[tokio::test]
async fn a_passphrase_is_requested_only_for_an_accepted_key() {
    let sshd = Sshd::start("").await;
    keygen(sshd.folder.path(), "locked", &["-t", "ed25519", "-N", "open sesame"]).await;
    let mut settings = sshd.settings();
    settings.identity_files = vec![sshd.path("locked"), sshd.path("identity")];
    let asked = sshd.path("asked");
    let prompter = askpass(&sshd, &format!("touch {}", asked.display()));
    sshd.connect_asking(&settings, &prompter).await.unwrap();
    assert!(!asked.exists());
}

#[tokio::test]
async fn a_key_that_others_can_read_is_ignored_and_reported() {
    let sshd = Sshd::start("").await;
    let file = sshd.path("identity");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = sshd.connect(&sshd.settings()).await.unwrap_err();
    let JumpError::Auth(failure) = error else { panic!("{error}") };
    let LoginFailure { tried, problems, .. } = *failure;
    assert_eq!((tried, problems), (Vec::new(), vec![KeyProblem::TooOpen(file)]));
}

/// An sshd that accepts only certificates of `ca`; there is one for `key`.
async fn trusting_certificates(kind: &str) -> Sshd {
    let sshd = Sshd::start("TrustedUserCAKeys FOLDER/ca.pub").await;
    let folder = sshd.folder.path();
    keygen(folder, "ca", &["-t", "ed25519"]).await;
    keygen(folder, "key", &["-t", kind]).await;
    keygen(folder, "key.pub", &["-s", "ca", "-I", "me", "-n", &user(), "-V", "-1h:+1h"]).await;
    fs::write(sshd.path("authorized_keys"), "").unwrap();
    sshd
}

#[tokio::test]
async fn a_certificate_next_to_its_key_is_accepted() {
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let sshd = trusting_certificates(kind).await;
        let mut settings = sshd.settings();
        settings.identity_files = vec![sshd.path("key")];
        sshd.connect(&settings).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

#[tokio::test]
async fn a_certificate_file_is_used_with_its_key() {
    let sshd = trusting_certificates("ed25519").await;
    fs::rename(sshd.path("key-cert.pub"), sshd.path("elsewhere.pub")).unwrap();
    let mut settings = sshd.settings();
    settings.identity_files = vec![sshd.path("identity"), sshd.path("key")];
    assert!(sshd.connect(&settings).await.is_err());
    settings.certificate_files = vec![sshd.path("elsewhere.pub")];
    sshd.connect(&settings).await.unwrap();
}

#[tokio::test]
async fn a_certificate_in_the_agent_is_accepted() {
    for kind in ["ed25519", "rsa"] {
        let sshd = trusting_certificates(kind).await;
        let agent = SshAgent::start(sshd.folder.path()).await;
        agent.add(&sshd.path("key")).await;
        let mut settings = sshd.settings();
        settings.identity_files = Vec::new();
        settings.agent = Some(agent.socket.clone());
        sshd.connect(&settings).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

#[tokio::test]
async fn a_server_may_require_two_keys() {
    let sshd = Sshd::start("AuthenticationMethods publickey,publickey").await;
    keygen(sshd.folder.path(), "second", &["-t", "ecdsa"]).await;
    sshd.authorize(&["identity", "second"]);
    let mut settings = sshd.settings();
    assert!(sshd.connect(&settings).await.is_err());
    settings.identity_files.push(sshd.path("second"));
    sshd.connect(&settings).await.unwrap();
}

#[tokio::test]
async fn a_failed_login_lists_what_was_tried() {
    let sshd = Sshd::start("").await;
    let mut settings = sshd.settings();
    settings.user = "nosuchuser".to_owned();
    settings.name = "bastion".to_owned();
    let error = sshd.connect(&settings).await.unwrap_err();
    let text = error.to_string();
    let JumpError::Auth(failure) = error else { panic!("{error}") };
    let LoginFailure { hop, user, tried, offered, problems, disconnected } = *failure;
    assert_eq!((hop.as_str(), user.as_str()), ("bastion", "nosuchuser"));
    let place = format!("({})", sshd.path("identity").display());
    assert!(matches!(tried.as_slice(), [key] if key.ends_with(&place)), "{tried:?}");
    assert_eq!((offered, problems, disconnected), (vec!["publickey".to_owned()], vec![], None));
    assert!(
        text.contains("`nosuchuser` cannot log in to `bastion`: tried key ssh-ed25519 SHA256:"),
        "{text}"
    );
}

#[tokio::test]
async fn the_reason_of_a_disconnect_is_returned() {
    let sshd = Sshd::start("MaxAuthTries 2").await;
    fs::write(sshd.path("authorized_keys"), "").unwrap();
    let mut settings = sshd.settings();
    for name in ["one", "two", "three"] {
        keygen(sshd.folder.path(), name, &["-t", "ed25519"]).await;
        settings.identity_files.push(sshd.path(name));
    }
    let error = sshd.connect(&settings).await.unwrap_err();
    let JumpError::Auth(failure) = error else { panic!("{error}") };
    let reason = failure.disconnected.unwrap();
    assert!(reason.contains("Too many authentication failures"), "{reason}");
}
