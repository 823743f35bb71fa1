//! PURE: whether an ssh server has refused every key of a login that is not ours, by what can be seen of it.
//!
//! The key exchange is not encrypted, and ends with NEWKEYS in each direction. Then only lengths can be seen, and whose turn
//! it is. The server answers in this order (RFC 4252, 4253): SERVICE_ACCEPT, a failure for `none`, and one answer for each
//! key. All failures have the same length; an accepted key, a success and what follows have others. So a login was refused
//! if all answers to keys have the length of a failure, and the server has spoken last: ssh leaves then without a word.
//!
//! No content is looked at. What does not fit counts as not refused, as does a login by other methods than keys.

/// The type of SSH_MSG_NEWKEYS (RFC 4253, section 12).
const NEWKEYS: u8 = 21;

/// A longer packet is refused by OpenSSH: what is read is not ssh.
const LONGEST_PACKET: u32 = 256 * 1024;

/// SERVICE_ACCEPT has 17 bytes, and a failure at least 15, which is padded to the same length. A list of methods makes it
/// longer, but by less than the 48 bytes by which the answer to an accepted ed25519 key is longer.
const LONGEST_LIST: usize = 40;

/// Answers that are remembered; sshd closes after six keys unless it is configured otherwise.
const MOST_ANSWERS: usize = 24;

/// A login that is watched.
#[derive(Debug, Default)]
pub(super) struct LoginWatch {
    client: Plain,
    server: Plain,
    /// The client has sent something since the last answer.
    is_asked: bool,
    /// The lengths of the server's answers.
    answers: Vec<usize>,
}

impl LoginWatch {
    /// Takes note of what the client sends.
    pub fn up(&mut self, bytes: &[u8]) {
        self.is_asked |= self.client.pass(bytes) > 0;
    }

    /// Takes note of what the server sends.
    pub fn down(&mut self, bytes: &[u8]) {
        let length = self.server.pass(bytes);
        if length == 0 || self.is_over() {
            return;
        }
        if std::mem::take(&mut self.is_asked) {
            self.answers.push(length);
        } else if let Some(last) = self.answers.last_mut() {
            *last = last.saturating_add(length);
        }
    }

    /// Returns true if nothing more can change the judgement: it was not refused.
    pub fn is_over(&self) -> bool {
        self.answers.len() >= MOST_ANSWERS
    }

    /// Returns true if the server has refused every key that was tried, and was not asked again.
    pub fn is_refused(&self) -> bool {
        let [service, none, keys @ ..] = self.answers.as_slice() else { return false };
        let (Some(first), Some((last, others))) = (keys.first(), keys.split_last()) else { return false };
        let is_failure = |length: &usize| (*service..=service.saturating_add(LONGEST_LIST)).contains(length);
        // A banner, or a list of signature algorithms, is in the answer to `none`.
        let is_first_longest = none >= first;
        // The last answer may be a disconnect: too many failures.
        let are_same = others.iter().all(|length| length == first);
        !self.is_asked
            && !self.is_over()
            && is_first_longest
            && are_same
            && is_failure(first)
            && is_failure(last)
    }
}

/// One direction: it counts what comes after NEWKEYS.
#[derive(Debug, Default)]
struct Plain {
    phase: Phase,
}

#[derive(Debug, Default)]
enum Phase {
    /// The line with the version.
    #[default]
    Version,
    /// The length of a packet: its bytes so far.
    Length(Vec<u8>),
    /// A packet: its bytes that are left, and its type once that is known.
    Packet { left: u32, read: u32, kind: u8 },
    /// All that follows is encrypted.
    Encrypted,
    /// It is not ssh.
    Unknown,
}

impl Plain {
    /// Reads bytes, and returns how many of them are encrypted.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        for (number, byte) in bytes.iter().enumerate() {
            match self.phase {
                Phase::Encrypted => return bytes.len().saturating_sub(number),
                Phase::Unknown => return 0,
                Phase::Version | Phase::Length(_) | Phase::Packet { .. } => self.read(*byte),
            }
        }
        0
    }

    fn read(&mut self, byte: u8) {
        match &mut self.phase {
            Phase::Version if byte == b'\n' => self.phase = Phase::Length(Vec::new()),
            Phase::Length(length) => {
                length.push(byte);
                if let Ok(length) = <[u8; 4]>::try_from(length.as_slice()) {
                    self.phase = Phase::of_packet(u32::from_be_bytes(length));
                }
            }
            Phase::Packet { left, read, kind } => {
                // The length of the padding comes first.
                if *read == 1 {
                    *kind = byte;
                }
                (*left, *read) = (left.saturating_sub(1), read.saturating_add(1));
                if *left == 0 {
                    self.phase = if *kind == NEWKEYS { Phase::Encrypted } else { Phase::Length(Vec::new()) };
                }
            }
            Phase::Version | Phase::Encrypted | Phase::Unknown => {}
        }
    }
}

impl Phase {
    fn of_packet(length: u32) -> Self {
        match length {
            2..=LONGEST_PACKET => Self::Packet { left: length, read: 0, kind: 0 },
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet without encryption: a type and some bytes.
    fn packet(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length + 2).expect("short").to_be_bytes().to_vec();
        bytes.extend([4, kind]);
        bytes.extend(vec![b'\n'; length]);
        bytes
    }

    /// What each side sends until NEWKEYS.
    fn plain() -> Vec<u8> {
        [b"SSH-2.0-x\r\n".to_vec(), packet(20, 900), packet(30, 36), packet(NEWKEYS, 10)].concat()
    }

    /// A login after the key exchange: the client's bytes are positive, the server's negative.
    fn watched(turns: &[i32]) -> LoginWatch {
        let mut watch = LoginWatch::default();
        watch.down(&plain());
        watch.up(&plain());
        for turn in turns {
            let bytes = vec![0xaa; turn.unsigned_abs() as usize];
            if *turn > 0 { watch.up(&bytes) } else { watch.down(&bytes) }
        }
        watch
    }

    #[test]
    fn a_login_whose_keys_are_all_refused_is_one() {
        for turns in [
            // One key, and three, with chacha20-poly1305.
            &[44, -44, 64, -44, 132, -44][..],
            &[44, -44, 64, -44, 132, -44, 500, -44, 132, -44],
            // A banner and EXT_INFO before the first failure; failures in pieces.
            &[44, -44, 64, -500, -44, 132, -20, -24],
            // The server offers more methods.
            &[44, -44, 64, -84, 132, -84],
            // Too many failures.
            &[44, -44, 64, -44, 132, -44, 132, -76],
            // The server's EXT_INFO comes before the client asks.
            &[-500, 44, -44, 64, -44, 132, -44],
        ] {
            assert!(watched(turns).is_refused(), "{turns:?}");
        }
    }

    #[test]
    fn a_login_that_succeeds_or_is_left_early_is_none() {
        for turns in [
            // Accepted, success, the hostkeys request, a session, its end.
            &[44, -44, 64, -44, 132, -100, 228, -28, -316, 100, -44][..],
            // A second key is accepted.
            &[44, -44, 64, -44, 132, -44, 132, -100],
            // Killed after the answer to each request.
            &[44, -44, 64, -44, 132, -100],
            &[44, -44, 64, -44, 228, -28],
            &[44, -44, 64, -44, 228, -28, -316],
            &[44, -44, 64, -44, 228, -344],
            &[44, -44, 64, -44],
            &[44, -44],
            &[],
            // No answer yet.
            &[44, -44, 64, -44, 132, -44, 132],
            // Another method: the server asks for a code.
            &[44, -44, 64, -84, 132, -84, 84, -140],
            // An accepted key, whatever the lengths of the cipher.
            &[52, -52, 64, -52, 132, -100],
            &[64, -64, 64, -64, 132, -116],
        ] {
            assert!(!watched(turns).is_refused(), "{turns:?}");
        }
    }

    #[test]
    fn bytes_may_come_in_any_pieces() {
        let whole = watched(&[44, -44, 64, -44, 132, -44]);
        let mut watch = LoginWatch::default();
        plain().iter().for_each(|byte| watch.down(&[*byte]));
        plain().chunks(3).for_each(|bytes| watch.up(bytes));
        for (up, down) in [(44, 44), (64, 44), (132, 44)] {
            (0..up).for_each(|_| watch.up(&[1]));
            (0..down).for_each(|_| watch.down(&[1]));
        }
        assert_eq!(watch.answers, whole.answers);
        assert!(watch.is_refused());
    }

    #[test]
    fn what_is_not_ssh_is_not_judged() {
        let mut watch = LoginWatch::default();
        for _ in 0..50 {
            watch.up(b"GET / HTTP/1.1\r\n\r\n");
            watch.down(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
        assert!(watch.answers.is_empty() && !watch.is_refused());
    }

    #[test]
    fn a_long_connection_is_watched_at_its_beginning_only() {
        let mut watch = watched(&[44, -44, 64, -44]);
        for _ in 0..MOST_ANSWERS * 2 {
            watch.up(&[0; 50]);
            watch.down(&[0; 44]);
        }
        assert!(watch.is_over() && !watch.is_refused());
    }
}
