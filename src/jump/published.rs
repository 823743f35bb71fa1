//! Host keys as a machine publishes them: in its console output, or as lines of text. Pure functions on untrusted text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use russh::keys::{Certificate, PublicKey};

/// What cloud-init writes before the keys.
const BEGIN: &str = "-----BEGIN SSH HOST KEY KEYS-----";
/// What cloud-init writes after the keys.
const END: &str = "-----END SSH HOST KEY KEYS-----";

/// The tag of `logger -t ec2`, by which cloud-init writes to the console.
const TAG: &str = "ec2:";

/// The names of the months in a log line.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Finds the host keys in a console output: those of the last block that is complete and has keys.
///
/// A marker counts only on a line of its own, or behind the prefix of `logger`: a program that logs what a stranger
/// typed does not begin such a line.
pub fn console_keys(text: &str) -> Vec<PublicKey> {
    let (mut found, mut open) = (Vec::new(), None);
    for line in text.lines().map(content) {
        match (line, &mut open) {
            (BEGIN, _) => open = Some(Vec::new()),
            (END, _) => found = open.take().filter(|keys: &Vec<_>| !keys.is_empty()).unwrap_or(found),
            (line, Some(keys)) => add(keys, key_of(line)),
            (_, None) => {}
        }
    }
    found
}

/// Finds the host keys in lines of text: lines of `.pub` files, or of known_hosts with one name and no marker.
pub fn listed_keys(text: &str) -> Vec<PublicKey> {
    let mut keys = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['@', '#'])) {
        let without_name = line.split_once([' ', '\t']).map(|(_, rest)| rest.trim_start());
        add(&mut keys, key_of(line).or_else(|| key_of(without_name?)));
    }
    keys
}

/// Parses the bytes of a key or a certificate in base64, as ssh gives them for `%K`; a certificate gives its key. What is
/// neither, such as `NONE`, gives nothing.
pub fn key_of_base64(text: &str) -> Option<PublicKey> {
    let bytes = STANDARD.decode(text).ok()?;
    if let Ok(certificate) = Certificate::from_bytes(&bytes) {
        return Some(PublicKey::from(certificate.public_key().clone()));
    }
    let key = PublicKey::from_bytes(&bytes).ok()?;
    // The library reads the beginning of some certificates as keys.
    (key.to_bytes().ok()? == bytes).then_some(key)
}

/// Keeps each key once.
fn add(keys: &mut Vec<PublicKey>, key: Option<PublicKey>) {
    keys.extend(key.filter(|key| !keys.contains(key)));
}

/// Parses `TYPE BASE64 [COMMENT]`; the comment is dropped. Certificates are not keys.
fn key_of(line: &str) -> Option<PublicKey> {
    let mut fields = line.split_whitespace();
    let (kind, key) = (fields.next()?, fields.next()?);
    PublicKey::from_openssh(&format!("{kind} {key}")).ok()
}

/// Returns a line without the prefix of `logger`: `<14>Jul  6 07:30:24 ec2: `, perhaps with a host name.
fn content(line: &str) -> &str {
    let line = line.trim();
    let Some((before, rest)) = line.split_once(TAG) else { return line };
    if is_log_prefix(before) { rest.trim_start() } else { line }
}

fn is_log_prefix(text: &str) -> bool {
    let words: Vec<&str> = without_priority(text).split_whitespace().collect();
    match words.as_slice() {
        [] => true,
        [month, day, time] | [month, day, time, _] => {
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            MONTHS.contains(month) && is_number(day) && time.split(':').all(is_number)
        }
        _ => false,
    }
}

/// Takes away `<14>`.
fn without_priority(text: &str) -> &str {
    let inner = text.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    inner.filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit())).map_or(text, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const CURVE: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    fn shown(keys: &[PublicKey]) -> Vec<String> {
        keys.iter().map(|key| key.to_openssh().unwrap()).collect()
    }

    #[test]
    fn keys_are_found_with_the_prefix_of_logger_and_without() {
        for prefix in ["", "<14>Jul  6 07:30:24 ec2: ", "Jul 16 07:30:24 ip-10-0-0-1 ec2: ", "ec2: "] {
            let text = format!(
                "[    0.000000] Linux version 6.1\r\n{prefix}\n{prefix}-----BEGIN SSH HOST KEY FINGERPRINTS-----\r\n\
                 {prefix}256 SHA256:abc root@ip-10-0-0-1 (ED25519)\r\n{prefix}-----END SSH HOST KEY FINGERPRINTS-----\r\n\
                 {prefix}{BEGIN}\r\n{prefix}{CURVE} root@ip-10-0-0-1\r\n[   12.345678] a kernel message\r\n\
                 {prefix}{ONE} root@ip-10-0-0-1\r\n{prefix}{END}\r\nlogin: "
            );
            assert_eq!(shown(&console_keys(&text)), [CURVE, ONE], "{prefix}");
        }
    }

    #[test]
    fn the_last_complete_block_counts() {
        let block = |key: &str| format!("{BEGIN}\n{key}\n{END}\n");
        for (text, keys) in [
            (block(ONE) + &block(TWO), vec![TWO]),
            (block(ONE) + BEGIN + "\n" + TWO, vec![ONE]),
            (block(ONE) + &block("nothing"), vec![ONE]),
            (format!("{ONE}\n{END}\n{BEGIN}\n{TWO}\n{BEGIN}\n{CURVE}\n{END}"), vec![CURVE]),
            (format!("{BEGIN}\n{ONE}\n{ONE} again\n{END}\n{TWO}"), vec![ONE]),
            (format!("{ONE}\n{TWO}\n"), vec![]),
            (String::new(), vec![]),
        ] {
            assert_eq!(shown(&console_keys(&text)), keys, "{text}");
        }
    }

    #[test]
    fn what_a_stranger_typed_is_not_a_marker() {
        let real = format!("{BEGIN}\n{ONE}\n{END}\n");
        for before in [
            "Jul  6 07:30:24 host sshd[12]: Invalid user ec2: ",
            "<38>Jul  6 07:30:24 host sshd[12]: Invalid user ",
            "login: ec2: ",
            "<x>Jul 6 07:30:24 ec2: ",
            "Jux 6 07:30:24 ec2: ",
        ] {
            let text = format!("{real}{before}{BEGIN}\n{before}{TWO}\n{TWO}\n{before}{END}\n");
            assert_eq!(shown(&console_keys(&text)), [ONE], "{before}");
        }
    }

    #[test]
    fn lines_of_a_parameter_may_have_names_and_comments() {
        let text = format!(
            "# keys\n{ONE} root@a\r\n\n bastion,10.0.0.1\t{CURVE}\n@revoked a {TWO}\nssh-ed25519 AAAA\n"
        );
        assert_eq!(shown(&listed_keys(&text)), [ONE, CURVE]);
        for text in ["", "ssh-ed25519", "a b c d", "ssh-ed25519-cert-v01@openssh.com AAAA"] {
            assert!(listed_keys(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn an_offered_key_is_read_from_its_bytes() {
        let base64 = |key: &str| key.split(' ').nth(1).unwrap().to_owned();
        for key in [ONE, CURVE] {
            assert_eq!(key_of_base64(&base64(key)).unwrap().to_openssh().unwrap(), key);
        }
        for text in ["NONE", "", "????", "AAAA"] {
            assert_eq!(key_of_base64(text), None, "{text}");
        }
    }

    /// A fixed list of pieces and bytes, combined by a generator with a seed.
    #[test]
    fn no_text_makes_a_parser_panic() {
        let pieces =
            [BEGIN, END, ONE, "<14>Jul  6 07:30:24 ec2: ", "\n", "<", ">", "ec2:", " ", "\r", "@", "é", "\0"];
        let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 40).unwrap()
        };
        for _ in 0..5_000 {
            let mut bytes = Vec::new();
            for _ in 0..next() % 24 {
                let piece = pieces[next() % pieces.len()].as_bytes();
                let cut = if next() % 4 == 0 { next() % (piece.len() + 1) } else { piece.len() };
                bytes.extend(&piece[..cut]);
                bytes.extend((0..next() % 3).map(|_| u8::try_from(next() % 256).unwrap()));
            }
            let text = String::from_utf8_lossy(&bytes);
            let offered = key_of_base64(&text).or_else(|| key_of_base64(&STANDARD.encode(&bytes)));
            let keys = console_keys(&text).into_iter().chain(listed_keys(&text)).chain(offered);
            assert!(keys.into_iter().all(|key| key.to_openssh().is_ok()));
        }
    }
}
