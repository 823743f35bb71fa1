//! The algorithms of host keys that are supported, and how keys are shown.

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey};

use super::allowed::Allowed;

/// The algorithms that we negotiate, preferred first: no DSA, no SHA-1. russh does not enforce them on the server: it
/// verifies an RSA signature with the hash that the signature names, even SHA-1.
pub(super) const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// Returns true if the list allows at least one supported algorithm.
pub(super) fn is_any_allowed(allowed: &Allowed) -> bool {
    key_algorithms(allowed).chain(certificate_algorithms(allowed)).next().is_some()
}

/// Returns the allowed algorithms of plain keys.
pub(super) fn key_algorithms(allowed: &Allowed) -> impl Iterator<Item = Algorithm> {
    ALGORITHMS.into_iter().filter(|algorithm| allowed.has(algorithm.as_str()))
}

/// Returns the allowed algorithms of certificates, as those of their keys.
pub(super) fn certificate_algorithms(allowed: &Allowed) -> impl Iterator<Item = Algorithm> {
    ALGORITHMS.into_iter().filter(|algorithm| allowed.has(&algorithm.to_certificate_type()))
}

/// Returns true if both algorithms use the same key type; RSA has one type for all hashes.
pub(super) fn is_same_type(one: &Algorithm, other: &Algorithm) -> bool {
    one == other || (one.clone().is_rsa() && other.clone().is_rsa())
}

/// Returns the algorithms that a key exchange must offer to get a key of the same type.
pub fn same_type(key: &PublicKey) -> Allowed {
    let algorithm = key.algorithm();
    Allowed::only(if algorithm.clone().is_rsa() { "rsa-sha2-512,rsa-sha2-256" } else { algorithm.as_str() })
}

/// Returns OpenSSH's short name of a key type, such as `ED25519`.
pub(super) fn short_name(algorithm: &Algorithm) -> String {
    let name = algorithm.as_str();
    let kind = name.strip_prefix("ssh-").or_else(|| name.strip_suffix("@openssh.com")).unwrap_or(name);
    let kind = if name.starts_with("ecdsa-") { "ecdsa" } else { kind };
    let kind = if name.starts_with("rsa-") { "rsa" } else { kind };
    kind.to_uppercase()
}

/// Returns a key's fingerprint: `SHA256:…`.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Returns a key as users compare it: `ED25519 SHA256:…`.
pub fn shown(key: &PublicKey) -> String {
    format!("{} {}", short_name(&key.algorithm()), fingerprint(key))
}
