//! Any bytes as a known_hosts file and as the output of `ssh -G`.

use std::path::Path;
use std::time::SystemTime;

use super::known_hosts::KnownHosts;
use super::{LocalUser, openssh};

/// Reads a file for two names; a line without a key for the name changes nothing.
pub(crate) fn known_hosts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for name in ["bastion", "[10.0.0.9]:2222"] {
        let mut known = KnownHosts::default();
        known.read("known_hosts".into(), &text, name);
        let _ = known.has_authority();
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
