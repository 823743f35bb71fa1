//! What a host certificate must say, once its authority is trusted (PROTOCOL.certkeys of OpenSSH).

use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};
use thiserror::Error;

use super::known_hosts::matches_pattern;
use super::settings::Allowed;

/// Why a host certificate is not accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateFault {
    /// It is for users: the server is set up wrongly.
    #[error("it is not a host certificate")]
    NotForHosts,
    /// Its time has not come: a clock is wrong, here or where it was signed.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Its time is over: the host needs a new one.
    #[error("it has expired")]
    Expired,
    /// It is for other hosts: is the name or the `HostKeyAlias` right?
    #[error("it is not for `{name}`, but for {principals:?}")]
    OtherHost {
        /// Our name of the host.
        name: String,
        /// Those in the certificate, untrusted.
        principals: Vec<String>,
    },
    /// It is for every host: the authority must sign it for this one.
    #[error("it says of no host that it is for it")]
    NoHost,
    /// It has conditions, which host certificates never have.
    #[error("it has critical options that are not known")]
    CriticalOptions,
    /// It is not signed by its authority: somebody made it up.
    #[error("its signature is wrong")]
    Signature,
    /// It is signed with SHA-1 or DSA, or as `CASignatureAlgorithms` forbids: the authority must sign it again.
    #[error("it is signed by an algorithm that is not safe or not allowed")]
    WeakSignature,
}

/// Judges a certificate whose authority is known to be trusted for the host.
pub(super) fn verify(
    certificate: &Certificate,
    name: &str,
    now: SystemTime,
    signatures: &Allowed,
) -> Result<(), CertificateFault> {
    if certificate.cert_type() != CertType::Host {
        return Err(CertificateFault::NotForHosts);
    }
    verify_signature(certificate, signatures)?;
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now < certificate.valid_after() {
        return Err(CertificateFault::NotYetValid);
    }
    if now >= certificate.valid_before() {
        return Err(CertificateFault::Expired);
    }
    let principals = certificate.valid_principals();
    if principals.is_empty() {
        return Err(CertificateFault::NoHost);
    }
    if !principals.iter().any(|principal| matches_pattern(name, principal)) {
        let (name, principals) = (name.to_owned(), principals.to_vec());
        return Err(CertificateFault::OtherHost { name, principals });
    }
    if !certificate.critical_options().is_empty() {
        return Err(CertificateFault::CriticalOptions);
    }
    Ok(())
}

/// What is allowed of OpenSSH's default `CASignatureAlgorithms`.
fn verify_signature(certificate: &Certificate, allowed: &Allowed) -> Result<(), CertificateFault> {
    let algorithm = certificate.signature().algorithm();
    let is_safe = matches!(
        algorithm,
        Algorithm::Ed25519
            | Algorithm::Ecdsa { .. }
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256
            | Algorithm::Rsa { hash: Some(_) }
    );
    if !is_safe || !allowed.has(algorithm.as_str()) {
        return Err(CertificateFault::WeakSignature);
    }
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    // Any time within its validity: only the signature is asked for here.
    let time = certificate.valid_after();
    certificate.validate_at(time, [&authority]).map_err(|_| CertificateFault::Signature)
}
