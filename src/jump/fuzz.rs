//! Any bytes as a known_hosts file, as a source of host keys and as the output of `ssh -G`.

use std::path::Path;
use std::time::SystemTime;

use super::known_hosts::KnownHosts;
use super::{LocalUser, console_keys, key_of_base64, listed_keys, openssh};

/// Reads a file for two names; a line without a key for the name changes nothing.
pub(crate) fn known_hosts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for name in ["bastion", "[10.0.0.9]:2222"] {
        let mut known = KnownHosts::default();
        known.read("known_hosts".into(), &text, name);
        let _ = known.has_authority();
    }
}

/// Reads a console output, a parameter and an offered key: what is found is a key.
pub(crate) fn host_keys(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let keys = console_keys(&text).into_iter().chain(listed_keys(&text));
    for key in keys.chain(key_of_base64(text.trim())) {
        assert!(key.to_openssh().is_ok_and(|line| line.parse() == Ok(key)));
    }
}

/// Parses the output.
pub(crate) fn ssh_settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let local = LocalUser {
        home: Path::new("/home/u"),
        user: "u",
        agent: None,
        clock: || SystemTime::UNIX_EPOCH,
        variable: &|_| None,
    };
    if let Ok(settings) = openssh::parse(&text, "bastion", &local) {
        assert_eq!(settings.name, "bastion");
    }
}
