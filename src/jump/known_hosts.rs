//! The known_hosts format of sshd(8), as pure functions on the file's text.
//!
//! [`KnownHosts::read`] keeps the lines for one name. [`KnownHosts::check`] compares a key with them by OpenSSH's
//! rules: a `@revoked` line overrides all others, and a host with other keys only counts as changed. Therefore known
//! key types are negotiated first.

use std::path::PathBuf;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, PublicKey};

use super::algorithms::is_same_type;

/// Bytes of salt of a hashed name, as many as the hash has.
pub(super) const SALT_LENGTH: usize = 20;

/// What separates the fields of a line.
const SEPARATORS: [char; 2] = [' ', '\t'];

/// The marker of a key that signs host certificates.
const AUTHORITY: &str = "@cert-authority";

/// The entries for one name, from all files in order.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownHosts {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    place: Place,
    marker: Marker,
    key: KeyData,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub file: PathBuf,
    /// The line number, counted from 1.
    pub line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    None,
    CertAuthority,
    Revoked,
}

/// The result of comparing a key with the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The key is listed for the host, or the certificate's authority is trusted for the host.
    Known,
    /// No line matches the host.
    Unknown,
    /// Another key is listed for the host.
    Changed(Place),
    /// The key is marked `@revoked`.
    Revoked(Place),
}

/// A parsed line of the file.
struct Line<'a> {
    marker: Marker,
    hosts: &'a str,
    key: KeyData,
}

impl KnownHosts {
    /// Adds the lines of a file that match `name`: a host in lower case, or `[host]:port`. Ignores lines that are not
    /// valid.
    pub fn read(&mut self, file: PathBuf, text: &str, name: &str) {
        for (number, line) in text.lines().enumerate() {
            if let Some(line) = Line::parse(line).filter(|line| matches_host(line.hosts, name)) {
                let place = Place { file: file.clone(), line: number + 1 };
                self.entries.push(Entry { place, marker: line.marker, key: line.key });
            }
        }
    }

    /// Compares a plain key with the entries.
    pub fn check(&self, key: &KeyData) -> Finding {
        if let Some(place) = self.revoked(key) {
            return Finding::Revoked(place);
        }
        if self.marked(Marker::None).any(|entry| entry.key == *key) {
            return Finding::Known;
        }
        let is_replaced = |entry: &&Entry| is_same_type(&entry.key.algorithm(), &key.algorithm());
        let changed = self.marked(Marker::None).find(is_replaced);
        let changed = changed.or_else(|| self.marked(Marker::None).next());
        changed.map_or(Finding::Unknown, |entry| Finding::Changed(entry.place.clone()))
    }

    /// Compares a certificate's authority with the entries; does not verify the certificate.
    pub fn check_authority(&self, certificate: &Certificate) -> Finding {
        let keys = [certificate.signature_key(), certificate.public_key()];
        if let Some(place) = keys.into_iter().find_map(|key| self.revoked(key)) {
            return Finding::Revoked(place);
        }
        let mut authorities = self.marked(Marker::CertAuthority);
        if authorities.any(|entry| entry.key == *certificate.signature_key()) {
            return Finding::Known;
        }
        Finding::Unknown
    }

    /// Returns true if an authority is trusted for the host.
    pub fn has_authority(&self) -> bool {
        self.marked(Marker::CertAuthority).next().is_some()
    }

    /// Returns true if a key of that type is listed for the host.
    pub fn has_type(&self, algorithm: &Algorithm) -> bool {
        self.marked(Marker::None).any(|entry| is_same_type(&entry.key.algorithm(), algorithm))
    }

    fn marked(&self, marker: Marker) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.marker == marker)
    }

    fn revoked(&self, key: &KeyData) -> Option<Place> {
        let entry = self.marked(Marker::Revoked).find(|entry| entry.key == *key)?;
        Some(entry.place.clone())
    }
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(SEPARATORS).filter(|field| !field.is_empty());
        let first = fields.next().filter(|field| !field.starts_with('#'))?;
        let (marker, hosts) = match first {
            AUTHORITY if !ends_at_separator(line, AUTHORITY) => return None,
            AUTHORITY => (Marker::CertAuthority, fields.next()?),
            // OpenSSH skips the line here too, and accepts the key; it stays revoked here.
            "@revoked" => (Marker::Revoked, fields.next()?),
            _ => (Marker::None, first),
        };
        if hosts.starts_with('@') {
            return None;
        }
        let (kind, key) = (fields.next()?, fields.next()?.trim_end());
        // OpenSSH takes the names of RSA's signatures as names of the key type.
        let kind = if matches!(kind, "rsa-sha2-256" | "rsa-sha2-512") { "ssh-rsa" } else { kind };
        let key = PublicKey::from_openssh(&format!("{kind} {key}")).ok()?;
        Some(Self { marker, hosts, key: key.key_data().clone() })
    }
}

/// Returns true if OpenSSH takes the marker for one: it ends at the first space of the line, or at a tab if there is no space.
fn ends_at_separator(line: &str, marker: &str) -> bool {
    let rest = line.trim_start_matches(SEPARATORS).strip_prefix(marker);
    rest.is_some_and(|rest| rest.starts_with(' ') || !rest.contains(' '))
}

/// Returns true if the host field, hashed or a list of patterns, matches the name.
fn matches_host(hosts: &str, name: &str) -> bool {
    match hosts.starts_with('|') {
        true => matches_hash(hosts, name).unwrap_or(false),
        false => matches_list(hosts, name),
    }
}

/// As in OpenSSH, a salt of another length matches nothing, and the encoded texts are compared.
fn matches_hash(hosts: &str, name: &str) -> Option<bool> {
    let (salt, _) = hosts.strip_prefix("|1|")?.split_once('|')?;
    let salt = STANDARD.decode(salt).ok().filter(|salt| salt.len() == SALT_LENGTH)?;
    Some(hosts == hashed_name(&salt, name))
}

fn hash_of(salt: &[u8], name: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
    hmac::sign(&key, name.as_bytes()).as_ref().to_vec()
}

/// Hashes a name as `ssh-keygen -H` does, with a salt of [`SALT_LENGTH`] random bytes.
pub(super) fn hashed_name(salt: &[u8], name: &str) -> String {
    format!("|1|{}|{}", STANDARD.encode(salt), STANDARD.encode(hash_of(salt, name)))
}

/// Returns true if a pattern of the list matches and no negated one does.
fn matches_list(list: &str, name: &str) -> bool {
    let mut is_in = false;
    for pattern in list.split(',') {
        let (is_negated, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        // Only ASCII, as in OpenSSH: other letters have no case there.
        if matches_pattern(name, &pattern.to_ascii_lowercase()) {
            if is_negated {
                return false;
            }
            is_in = true;
        }
    }
    is_in
}

/// Returns true if a name matches a pattern: `*` is any text, `?` any byte.
pub(super) fn matches_pattern(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.as_bytes(), pattern.as_bytes());
    let (mut at, mut next) = (0, 0);
    // Index of the last star in the pattern, and of the end of its match in the name.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(at) {
        match (pattern.get(next), star) {
            (Some(b'*'), _) => {
                star = Some((next, at));
                next += 1;
            }
            (Some(expected), _) if *expected == b'?' || expected == byte => {
                at += 1;
                next += 1;
            }
            (_, Some((place, taken))) => {
                star = Some((place, taken + 1));
                at = taken + 1;
                next = place + 1;
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(next).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC4ipdMjJdk4+YUQwrnonsgHqVv9UZNu9wWONXCBxW3WoQaT5fwDOwcDeNS5Htunh/3g7wTPmX4D4d9UAhuGD9OuuDewD+anAwJUplj/VekB4bQOjl7GNAJyYPQOMKLgMWmB+W3r57cdv6izsKuLca2ilP0ihlf5CbKGEbAR8s2OQ==";
    const CURVE: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    fn key(text: &str) -> KeyData {
        PublicKey::from_openssh(text).unwrap().key_data().clone()
    }

    fn read(text: &str, name: &str) -> KnownHosts {
        let mut known = KnownHosts::default();
        known.read("known_hosts".into(), text, name);
        known
    }

    fn place(line: usize) -> Place {
        Place { file: "known_hosts".into(), line }
    }

    #[test]
    fn a_listed_key_is_known_and_another_is_changed() {
        let text = format!("# comment\n\napp {ONE} a comment\n");
        assert_eq!(read(&text, "app").check(&key(ONE)), Finding::Known);
        assert_eq!(read(&text, "app").check(&key(TWO)), Finding::Changed(place(3)));
        assert_eq!(read(&text, "db").check(&key(ONE)), Finding::Unknown);
    }

    #[test]
    fn a_host_known_by_another_type_only_is_changed() {
        let known = read(&format!("app {ONE}\n"), "app");
        assert_eq!(known.check(&key(CURVE)), Finding::Changed(place(1)));
        assert!(known.has_type(&Algorithm::Ed25519) && !known.has_type(&Algorithm::Dsa));
        let both = read(&format!("app {ONE}\napp {CURVE}"), "app");
        assert_eq!(both.check(&key(CURVE)), Finding::Known);
        assert_eq!(both.check(&key(TWO)), Finding::Changed(place(1)));
    }

    #[test]
    fn a_revoked_key_is_revoked_wherever_else_it_is_listed() {
        let text = format!("app {ONE}\n@revoked * {ONE}\n");
        assert_eq!(read(&text, "app").check(&key(ONE)), Finding::Revoked(place(2)));
        assert_eq!(read(&text, "app").check(&key(TWO)), Finding::Changed(place(1)));
    }

    #[test]
    fn an_authority_does_not_count_as_a_host_key() {
        let known = read(&format!("@cert-authority *.example {ONE}"), "app.example");
        assert!(known.has_authority());
        assert_eq!(known.check(&key(ONE)), Finding::Unknown);
    }

    #[test]
    fn garbage_is_skipped() {
        let text =
            format!("app\napp ssh-ed25519\napp ssh-ed25519 ????\n@what app {ONE}\n|1|x {ONE}\napp {ONE}");
        assert_eq!(read(&text, "app").entries.len(), 1);
        assert_eq!(read(&text, "app").check(&key(TWO)), Finding::Changed(place(6)));
    }

    #[test]
    fn patterns_match_as_in_openssh() {
        for (pattern, name, expected) in [
            ("*", "x", true),
            ("*.example", "a.example", true),
            ("*.example", "example", false),
            ("10.0.0.?", "10.0.0.7", true),
            ("10.0.0.?", "10.0.0.77", false),
            ("a*b*c", "aXbXbc", true),
            ("[app]:2222", "[app]:2222", true),
            ("[*]:2222", "[app]:2222", true),
            ("APP", "app", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches_pattern(name, pattern), expected, "{pattern} {name}");
        }
        assert!(!matches_list("*.example,!bad.example", "bad.example"));
        assert!(matches_list("!bad.example,*.example", "good.example"));
        assert!(!matches_list("!bad.example", "good.example"));
        assert!(matches_list("APP", "app"));
    }

    #[test]
    fn hashes_match_as_in_openssh() {
        // `ssh-keygen -H` of OpenSSH 9.2, for `[app]:2222`.
        let salt = [7u8; 20];
        let hosts = hashed_name(&salt, "[app]:2222");
        assert!(matches_host(&hosts, "[app]:2222") && !matches_host(&hosts, "app"));
    }

    /// Returns the line numbers that `ssh-keygen -F` finds.
    fn found_by_keygen(file: &std::path::Path, name: &str) -> Vec<usize> {
        let mut keygen = Command::new("ssh-keygen");
        let output = keygen.arg("-l").arg("-F").arg(name).arg("-f").arg(file).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("# Host ")?.split("line ").nth(1));
        lines.map(|number| number.split(' ').next().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn a_revocation_behind_a_tab_holds() {
        let known = read(&format!("app {ONE}\n@revoked\t* {ONE}"), "app");
        assert_eq!(known.check(&key(ONE)), Finding::Revoked(place(2)));
    }

    #[test]
    fn odd_lines_are_read_as_ssh_keygen_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let salted = |length: u8| hashed_name(&(0..length).collect::<Vec<u8>>(), "salted");
        let (tabs, blob) = (ONE.replace(' ', "\t"), RSA.strip_prefix("ssh-rsa ").unwrap());
        let text = format!(
            "@cert-authority\ttab {ONE}\n@cert-authority\ttabs\t{tabs}\n@cert-authority \tmixed {ONE}\n\
             \t@cert-authority\tindented {ONE}\n@revoked @cert-authority twice {ONE}\n@cert-authorit short {ONE}\n\
             {} {ONE}\n{} {ONE}\n{} {ONE}\n{}= {ONE}\n|2|literal {ONE}\n\
             rsa rsa-sha2-512 {blob}\nrsa rsa-sha2-256 {blob}\nrsa ssh-rsa {blob}\nrsa rsa-sha2-1 {blob}\n\
             größe,straße {ONE}\nGRÖSSE,Ärger {ONE}\n\u{212a}elvin {ONE}\nkelviN {ONE}\ncr {ONE}\r\n",
            salted(20),
            salted(19),
            salted(21),
            salted(20),
        );
        std::fs::write(&file, &text).unwrap();
        let names = [
            "tab",
            "tabs",
            "mixed",
            "indented",
            "twice",
            "@cert-authority",
            "short",
            "salted",
            "|2|literal",
            "rsa",
            "größe",
            "grösse",
            "ärger",
            "Ärger",
            "kelvin",
            "cr",
        ];
        for name in names {
            let ours: Vec<usize> = read(&text, name).entries.iter().map(|entry| entry.place.line).collect();
            assert_eq!(ours, found_by_keygen(&file, name), "{name}");
        }
    }

    #[test]
    fn every_form_is_found_as_ssh_keygen_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, hashed) = (folder.path().join("known_hosts"), folder.path().join("hashed"));
        std::fs::write(&hashed, format!("secret.example {ONE}\n[secret.example]:2222 {TWO}\n")).unwrap();
        let keygen = Command::new("ssh-keygen").arg("-H").arg("-f").arg(&hashed).output().unwrap();
        assert!(keygen.status.success());
        let hashed = std::fs::read_to_string(&hashed).unwrap();
        let text = format!(
            "# app {ONE}\n\napp,10.0.0.1 {ONE}\n  app {CURVE}\n[app]:2222 {TWO}\n*.example,!bad.example {ONE} x\n\
             @cert-authority *.example {TWO}\n@revoked * {CURVE}\nnonsense\nbroken ssh-ed25519 garbage\n\
             10.0.0.? {ONE}\n[*]:2222 {ONE}\nAPP\t{ONE}\n{hashed}"
        );
        std::fs::write(&file, &text).unwrap();
        let names = [
            "app",
            "[app]:2222",
            "10.0.0.1",
            "10.0.0.9",
            "good.example",
            "bad.example",
            "secret.example",
            "[secret.example]:2222",
            "unknown.example.org",
        ];
        for name in names {
            let ours: Vec<usize> = read(&text, name).entries.iter().map(|entry| entry.place.line).collect();
            assert_eq!(ours, found_by_keygen(&file, name), "{name}");
        }
    }
}
