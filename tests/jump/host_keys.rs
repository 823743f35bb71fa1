//! Host keys: known, unknown, changed, revoked, and certificates of a test authority.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fumidai::jump::{
    Allowed, AnswerFuture, CertificateFault, HostKeyFault, JumpError, PromptError, Prompter, Question,
    Secret, StrictHostKeys,
};

use crate::bench::Sshd;
use crate::openssh::keygen;

/// Gives the same answer to every question about a host key.
struct FixedAnswer(&'static str);

impl Prompter for FixedAnswer {
    fn ask<'a>(&'a self, question: Question<'a>) -> AnswerFuture<'a> {
        let Question::HostKey { fingerprint, .. } = question else { panic!("{question:?}") };
        let answer = if self.0 == "fingerprint" { fingerprint } else { self.0 };
        let answer = (!answer.is_empty()).then(|| Secret::new(answer.to_owned()));
        Box::pin(async move { answer.ok_or(PromptError::NoTerminal) })
    }
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_its_fingerprint() {
    let sshd = Sshd::start("").await;
    sshd.known_hosts("");
    let error = sshd.connect(&sshd.settings()).await.unwrap_err();
    let JumpError::HostKeyUnknown { facts } = error else { panic!("{error}") };
    assert_eq!((facts.host, facts.kind.as_str()), (sshd.known_as(), "ED25519"));
    assert!(facts.fingerprint.starts_with("SHA256:"));
}

#[tokio::test]
async fn a_changed_key_is_refused_with_file_and_line_by_every_policy() {
    let sshd = Sshd::start("").await;
    keygen(sshd.folder.path(), "other", &["-t", "ed25519"]).await;
    sshd.known_hosts(&format!("# mine\n\n{} {}", sshd.known_as(), sshd.public("other")));
    let before = fs::read_to_string(sshd.path("known_hosts")).unwrap();
    for strict in [StrictHostKeys::Yes, StrictHostKeys::Ask, StrictHostKeys::AcceptNew, StrictHostKeys::No] {
        let mut settings = sshd.settings();
        settings.strict = strict;
        let error = sshd.connect_asking(&settings, &FixedAnswer("yes")).await.unwrap_err();
        let JumpError::HostKeyChanged { file, line, .. } = error else { panic!("{error}") };
        assert_eq!((file, line), (sshd.path("known_hosts"), 3));
    }
    assert_eq!(fs::read_to_string(sshd.path("known_hosts")).unwrap(), before);
}

#[tokio::test]
async fn a_known_key_that_is_marked_as_revoked_is_refused() {
    let sshd = Sshd::start("").await;
    let public = sshd.public("host_key");
    sshd.known_hosts(&format!("{} {public}@revoked * {public}", sshd.known_as()));
    let mut settings = sshd.settings();
    settings.strict = StrictHostKeys::No;
    let error = sshd.connect(&settings).await.unwrap_err();
    assert!(matches!(error, JumpError::HostKeyRevoked { line: Some(2), .. }), "{error}");
}

#[tokio::test]
async fn a_new_key_is_added_to_known_hosts_once() {
    for is_hashed in [false, true] {
        let sshd = Sshd::start("").await;
        let mut settings = sshd.settings();
        settings.user_known_hosts = vec![sshd.path("new/known_hosts")];
        settings.strict = StrictHostKeys::AcceptNew;
        settings.hash_known_hosts = is_hashed;
        sshd.connect(&settings).await.unwrap();
        let written = fs::read_to_string(sshd.path("new/known_hosts")).unwrap();
        assert_eq!(written.starts_with("|1|"), is_hashed, "{written}");
        settings.strict = StrictHostKeys::Yes;
        sshd.connect(&settings).await.unwrap();
        assert_eq!(fs::read_to_string(sshd.path("new/known_hosts")).unwrap(), written);
    }
}

#[tokio::test]
async fn a_name_that_is_a_pattern_is_not_added_to_known_hosts() {
    let sshd = Sshd::start("").await;
    let mut settings = sshd.settings();
    settings.user_known_hosts = vec![sshd.path("new/known_hosts")];
    settings.strict = StrictHostKeys::AcceptNew;
    settings.host_key_alias = Some("app,*".to_owned());
    sshd.connect(&settings).await.unwrap();
    assert!(!sshd.path("new/known_hosts").exists());
}

#[tokio::test]
async fn the_user_accepts_or_refuses_a_new_key() {
    let sshd = Sshd::start("").await;
    let mut settings = sshd.settings();
    settings.strict = StrictHostKeys::Ask;
    for (answer, is_accepted) in
        [("no", false), ("", false), ("perhaps", false), ("yes", true), ("fingerprint", true)]
    {
        sshd.known_hosts("");
        let result = sshd.connect_asking(&settings, &FixedAnswer(answer)).await;
        assert_eq!(result.is_ok(), is_accepted, "{answer}");
        let is_written = !fs::read_to_string(sshd.path("known_hosts")).unwrap().is_empty();
        assert_eq!(is_written, is_accepted, "{answer}");
    }
}

#[tokio::test]
async fn of_several_host_keys_the_known_one_is_negotiated() {
    let sshd = Sshd::start("HostKey FOLDER/host_rsa\nHostKey FOLDER/host_ecdsa").await;
    for kind in ["rsa", "ecdsa"] {
        keygen(sshd.folder.path(), &format!("host_{kind}"), &["-t", kind]).await;
    }
    for name in ["host_rsa", "host_ecdsa", "host_key"] {
        sshd.know(name);
        sshd.connect(&sshd.settings()).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn an_alias_and_a_name_without_port_are_known_too() {
    let sshd = Sshd::start("").await;
    let public = sshd.public("host_key");
    sshd.known_hosts(&format!("127.0.0.1 {public}"));
    sshd.connect(&sshd.settings()).await.unwrap();
    sshd.known_hosts(&format!("Alias {public}"));
    let mut settings = sshd.settings();
    assert!(sshd.connect(&settings).await.is_err());
    settings.host_key_alias = Some("ALIAS".to_owned());
    sshd.connect(&settings).await.unwrap();
}

/// An sshd with a host certificate; the authority is `ca`.
async fn certified(principals: &str, validity: &str) -> Sshd {
    let sshd = Sshd::start("HostCertificate FOLDER/host_key-cert.pub").await;
    keygen(sshd.folder.path(), "ca", &["-t", "ed25519"]).await;
    let mut sign = vec!["-s", "ca", "-h", "-I", "host", "-V", validity];
    if !principals.is_empty() {
        sign.extend(["-n", principals]);
    }
    keygen(sshd.folder.path(), "host_key.pub", &sign).await;
    sshd.known_hosts(&format!("@cert-authority [127.0.0.*]:* {}", sshd.public("ca")));
    sshd
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_accepted() {
    let sshd = certified("127.0.0.1,app.example", "-1h:+1h").await;
    sshd.connect(&sshd.settings()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let sshd = certified("app.example", "-1h:+1h").await;
    let error = sshd.connect(&sshd.settings()).await.unwrap_err();
    let JumpError::HostCertificate { fault, .. } = error else { panic!("{error}") };
    let principals = vec!["app.example".to_owned()];
    assert_eq!(fault, CertificateFault::OtherHost { name: "127.0.0.1".to_owned(), principals });
}

#[tokio::test]
async fn a_certificate_outside_its_validity_is_refused() {
    for (validity, expected) in
        [("-2h:-1h", CertificateFault::Expired), ("+1h:+2h", CertificateFault::NotYetValid)]
    {
        let sshd = certified("127.0.0.1", validity).await;
        let mut settings = sshd.settings();
        settings.strict = StrictHostKeys::AcceptNew;
        let error = sshd.connect(&settings).await.unwrap_err();
        assert!(matches!(&error, JumpError::HostCertificate { fault, .. } if *fault == expected), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_or_revoked_authority_is_refused() {
    let sshd = certified("127.0.0.1", "-1h:+1h").await;
    keygen(sshd.folder.path(), "unknown_ca", &["-t", "ed25519"]).await;
    let (ca, unknown) = (sshd.public("ca"), sshd.public("unknown_ca"));
    sshd.known_hosts(&format!("@cert-authority * {unknown}"));
    let error = sshd.connect(&sshd.settings()).await.unwrap_err();
    assert!(matches!(error, JumpError::HostKeyUnknown { .. }), "{error}");
    sshd.known_hosts(&format!("@cert-authority * {ca}@revoked * {ca}"));
    let error = sshd.connect(&sshd.settings()).await.unwrap_err();
    assert!(matches!(error, JumpError::HostKeyRevoked { line: Some(2), .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_is_verified_at_the_time_of_the_login() {
    static LATER: AtomicU64 = AtomicU64::new(0);
    let sshd = certified("127.0.0.1", "-1h:+1h").await;
    let mut settings = sshd.settings();
    settings.clock = || SystemTime::now() + Duration::from_secs(LATER.load(Ordering::Relaxed));
    sshd.connect(&settings).await.unwrap();
    LATER.store(7200, Ordering::Relaxed);
    let error = sshd.connect(&settings).await.unwrap_err();
    assert!(matches!(error, JumpError::HostCertificate { fault: CertificateFault::Expired, .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_without_hosts_is_refused() {
    let sshd = certified("", "-1h:+1h").await;
    let error = sshd.connect(&sshd.settings()).await.unwrap_err();
    assert!(matches!(error, JumpError::HostCertificate { fault: CertificateFault::NoHost, .. }), "{error}");
}

#[tokio::test]
async fn the_hosts_of_a_certificate_match_in_lower_case() {
    for (principal, is_accepted) in [("app", true), ("ap*", true), ("App", false)] {
        let sshd = certified(principal, "-1h:+1h").await;
        sshd.known_hosts(&format!("@cert-authority App {}", sshd.public("ca")));
        let mut settings = sshd.settings();
        settings.host_key_alias = Some("App".to_owned());
        assert_eq!(sshd.connect(&settings).await.is_ok(), is_accepted, "{principal}");
    }
}

#[tokio::test]
async fn an_authority_must_sign_with_an_allowed_algorithm() {
    let sshd = certified("127.0.0.1", "-1h:+1h").await;
    let mut settings = sshd.settings();
    settings.ca_signature_algorithms = Allowed::only("rsa-sha2-512,ssh-ed25519");
    sshd.connect(&settings).await.unwrap();
    settings.ca_signature_algorithms = Allowed::only("rsa-sha2-512");
    let error = sshd.connect(&settings).await.unwrap_err();
    let JumpError::HostCertificate { fault, .. } = error else { panic!("{error}") };
    assert_eq!(fault, CertificateFault::WeakSignature);
}

#[tokio::test]
async fn a_known_key_in_a_file_of_revoked_keys_is_refused() {
    let sshd = Sshd::start("").await;
    let mut settings = sshd.settings();
    settings.revoked_host_keys = vec![sshd.path("identity.pub")];
    sshd.connect(&settings).await.unwrap();
    settings.revoked_host_keys.push(sshd.path("host_key.pub"));
    let error = sshd.connect(&settings).await.unwrap_err();
    let JumpError::HostKeyRevoked { file, line, .. } = error else { panic!("{error}") };
    assert_eq!((file, line), (sshd.path("host_key.pub"), Some(1)));
}

#[tokio::test]
async fn a_revoked_authority_revokes_its_certificates() {
    let sshd = certified("127.0.0.1", "-1h:+1h").await;
    let mut settings = sshd.settings();
    settings.revoked_host_keys = vec![sshd.path("ca.pub")];
    let error = sshd.connect(&settings).await.unwrap_err();
    assert!(matches!(error, JumpError::HostKeyRevoked { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_file_of_revoked_keys_refuses_every_key() {
    let sshd = Sshd::start("").await;
    let mut settings = sshd.settings();
    settings.revoked_host_keys = vec![sshd.path("nothing")];
    let error = sshd.connect(&settings).await.unwrap_err();
    let JumpError::HostKeyRefused { fault: HostKeyFault::RevocationUnknown { file, .. }, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(file, sshd.path("nothing"));
}

#[tokio::test]
async fn only_allowed_types_of_keys_are_negotiated() {
    let sshd = Sshd::start("HostKey FOLDER/host_rsa").await;
    keygen(sshd.folder.path(), "host_rsa", &["-t", "rsa", "-b", "2048"]).await;
    let mut settings = sshd.settings();
    settings.host_key_algorithms = Allowed::only("rsa-sha2-256");
    let error = sshd.connect(&settings).await.unwrap_err();
    assert!(matches!(&error, JumpError::HostKeyChanged { facts, .. } if facts.kind == "RSA"), "{error}");
    sshd.know("host_rsa");
    sshd.connect(&settings).await.unwrap();
    settings.required_rsa_size = 3072;
    let error = sshd.connect(&settings).await.unwrap_err();
    let JumpError::HostKeyRefused { fault, .. } = error else { panic!("{error}") };
    assert_eq!(fault, HostKeyFault::Short { bits: 2048, least: 3072 });
}
