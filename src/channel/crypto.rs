//! The cipher of encrypted sessions: AES-256-GCM, one key a direction.
//!
//! Owns the key split and the wire format: nonce ‖ ciphertext ‖ tag, without additional data. Agents do not encrypt
//! port sessions, so only the test vectors use it today; shell sessions will.
//! Source: the official client's `encrypter.go`, the agent's `blockcipher.go`.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// The payload cannot be decrypted: it is damaged or was encrypted with another key. End the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecryptError;

impl fmt::Display for DecryptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot decrypt the payload with the session's key")
    }
}

impl std::error::Error for DecryptError {}

/// The keys of both directions, from the 64-byte data key.
pub(crate) struct SessionCipher {
    agent_to_client: LessSafeKey,
    client_to_agent: LessSafeKey,
}

impl SessionCipher {
    /// Splits a data key: the agent encrypts with the first half, the client with the second.
    pub(crate) fn new(data_key: &[u8; 64]) -> Self {
        let (agent, client) = data_key.split_at(32);
        let key = |half: &[u8]| {
            LessSafeKey::new(UnboundKey::new(&AES_256_GCM, half).expect("AES-256 keys have 32 bytes"))
        };
        Self { agent_to_client: key(agent), client_to_agent: key(client) }
    }

    /// Encrypts a payload for the agent. The caller never uses a nonce twice.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_LEN], plaintext: &[u8]) -> Vec<u8> {
        let mut body = plaintext.to_vec();
        self.client_to_agent
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body)
            .expect("a message is far shorter than the cipher's limit");
        [&nonce[..], &body].concat()
    }

    /// Decrypts a payload of the agent.
    ///
    /// # Errors
    /// [`DecryptError`] if the agent did not encrypt the payload with its half of the key.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(DecryptError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DecryptError)?;
        let mut body = body.to_vec();
        let length = self
            .agent_to_client
            .open_in_place(nonce, Aad::empty(), &mut body)
            .map_err(|_| DecryptError)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher() -> (SessionCipher, [u8; 12]) {
        let key: [u8; 64] = std::array::from_fn(|i| u8::try_from(i).unwrap());
        (SessionCipher::new(&key), std::array::from_fn(|i| u8::try_from(i).unwrap()))
    }

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn both_directions_have_the_golden_bytes() {
        let (cipher, nonce) = cipher();
        let ours = hex("000102030405060708090a0b343731cb25fb6b6d50e4ed83c749b851c5fa918ab5");
        assert_eq!(cipher.seal(nonce, b"hello"), ours);
        let theirs = hex("000102030405060708090a0b2f67ba77aa2797ff353b8a046d28236dcd9d057bbb");
        assert_eq!(cipher.open(&theirs).unwrap(), b"hello");
    }

    #[test]
    fn what_the_agent_did_not_encrypt_is_refused() {
        let (cipher, nonce) = cipher();
        let ours = cipher.seal(nonce, b"hello");
        assert_eq!(cipher.open(&ours), Err(DecryptError));
        for length in 0..28 {
            assert_eq!(cipher.open(&ours[..length]), Err(DecryptError));
        }
    }
}
