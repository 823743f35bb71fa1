//! Host keys from a source that is trusted in place of known_hosts.

use russh::keys::PublicKey;

use super::algorithms::{fingerprint, is_same_type, key_algorithms, same_type, short_name, shown};
use super::allowed::Allowed;
use super::error::{HostKeyFacts, JumpError};

/// The host keys of one machine, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKeys {
    /// The source in words, such as `the console output of i-0123`.
    pub source: String,
    /// The keys, without comments.
    pub keys: Vec<PublicKey>,
}

impl TrustedKeys {
    /// Accepts a key if it is one of these. `hop` and `host` are the machine as typed and as in known_hosts.
    ///
    /// # Errors
    /// [`JumpError::HostKeyOfSource`]
    pub fn check(&self, key: &PublicKey, hop: &str, host: &str) -> Result<(), JumpError> {
        if self.has(key) {
            return Ok(());
        }
        let facts = HostKeyFacts {
            hop: hop.to_owned(),
            host: host.to_owned(),
            kind: short_name(&key.algorithm()),
            fingerprint: fingerprint(key),
        };
        let known = self.keys.iter().map(shown).collect();
        Err(JumpError::HostKeyOfSource { facts: Box::new(facts), source_of_keys: self.source.clone(), known })
    }

    fn has(&self, key: &PublicKey) -> bool {
        self.keys.iter().any(|known| known.key_data() == key.key_data())
    }

    /// Returns true if one of the keys has an allowed type.
    pub fn has_allowed(&self, allowed: &Allowed) -> bool {
        self.keys.iter().any(|key| key_algorithms(allowed).any(|kind| is_same_type(&kind, &key.algorithm())))
    }

    /// Returns true if some key is among the other ones too.
    pub fn shares_key(&self, other: &Self) -> bool {
        other.keys.iter().any(|key| self.has(key))
    }

    /// Returns true if some key has the type of one of the other ones.
    pub fn shares_type(&self, other: &Self) -> bool {
        other.keys.iter().any(|key| self.has_allowed(&same_type(key)))
    }

    /// Returns the algorithms of keys of these types.
    pub fn types(&self) -> Allowed {
        Allowed::any_of(self.keys.iter().map(same_type))
    }

    /// Finds the key of the same type that is another key.
    pub fn changed(&self, key: &PublicKey) -> Option<&PublicKey> {
        if self.has(key) {
            return None;
        }
        self.keys.iter().find(|known| is_same_type(&known.algorithm(), &key.algorithm()))
    }

    /// Returns the keys as lines of known_hosts for a name.
    pub fn known_hosts(&self, name: &str) -> String {
        let keys = self.keys.iter().filter_map(|key| key.to_openssh().ok());
        keys.map(|key| format!("{name} {}\n", key.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const CURVE: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    fn key(text: &str) -> PublicKey {
        text.parse().unwrap()
    }

    fn trusted(keys: &[&str]) -> TrustedKeys {
        TrustedKeys { source: "the source".into(), keys: keys.iter().map(|text| key(text)).collect() }
    }

    #[test]
    fn another_key_is_refused_with_both_fingerprints_and_the_source() {
        let one = trusted(&[ONE]);
        assert!(one.check(&key(&format!("{ONE} a comment")), "web", "web").is_ok());
        for other in [TWO, CURVE] {
            let error = one.check(&key(other), "web", "i-0123").unwrap_err().to_string();
            let expected = format!(
                "the host key of `i-0123` has changed: {}, but the source has {}",
                shown(&key(other)),
                shown(&key(ONE))
            );
            assert_eq!(error, expected);
        }
        assert!(trusted(&[ONE, CURVE]).check(&key(CURVE), "web", "web").is_ok());
    }

    #[test]
    fn only_a_key_of_the_same_type_is_a_changed_one() {
        let one = trusted(&[ONE]);
        assert_eq!(one.changed(&key(TWO)), Some(&key(ONE)));
        assert_eq!((one.changed(&key(ONE)), one.changed(&key(CURVE))), (None, None));
        assert!(one.has_allowed(&Allowed::default()) && one.has_allowed(&same_type(&key(TWO))));
        assert!(!one.has_allowed(&same_type(&key(CURVE))));
    }

    #[test]
    fn keys_are_shared_by_bytes_and_types_by_algorithm() {
        let both = trusted(&[ONE, CURVE]);
        assert!(both.shares_key(&trusted(&[TWO, CURVE])) && !both.shares_key(&trusted(&[TWO])));
        assert!(both.shares_type(&trusted(&[TWO])) && !trusted(&[ONE]).shares_type(&trusted(&[CURVE])));
        let types = both.types();
        assert!(types.has("ssh-ed25519") && types.has("ecdsa-sha2-nistp256") && !types.has("rsa-sha2-256"));
    }

    #[test]
    fn lines_have_the_name_and_no_comment() {
        let text = trusted(&[ONE, CURVE]).known_hosts("[web]:2222");
        assert_eq!(text, format!("[web]:2222 {ONE}\n[web]:2222 {CURVE}\n"));
    }
}
