//! Verifies a host certificate of a trusted authority (PROTOCOL.certkeys of OpenSSH).

use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};
use thiserror::Error;

use super::allowed::Allowed;
use super::known_hosts::matches_pattern;

/// Why a host certificate is not accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateFault {
    /// It is a user certificate: correct `HostCertificate` on the server.
    #[error("it is not a host certificate")]
    NotForHosts,
    /// Its validity has not begun: check the clocks here and at the authority.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Its validity has ended: install a new certificate on the host.
    #[error("it has expired")]
    Expired,
    /// It is for other hosts: check the name and `HostKeyAlias`.
    #[error("it is for {principals:?}, not for `{name}`")]
    OtherHost {
        /// The name of the hop.
        name: String,
        /// The host names in the certificate: untrusted.
        principals: Vec<String>,
    },
    /// It lists no host: the authority must sign one for this host.
    #[error("it lists no host")]
    NoHost,
    /// It has critical options, and none is defined for host certificates.
    #[error("it has unknown critical options")]
    CriticalOptions,
    /// The authority did not make the signature: the certificate is forged or damaged.
    #[error("its signature is not valid")]
    Signature,
    /// It is signed with SHA-1 or DSA, or `CASignatureAlgorithms` excludes the algorithm: the authority must sign it
    /// again.
    #[error("its signature algorithm is weak or not allowed")]
    WeakSignature,
}

/// Verifies a certificate whose authority is trusted for the host.
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

/// Verifies the signature; allows the algorithms of OpenSSH's default `CASignatureAlgorithms` that are in `allowed`.
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
    // Any time within the validity: this call checks only the signature.
    let time = certificate.valid_after();
    certificate.validate_at(time, [&authority]).map_err(|_| CertificateFault::Signature)
}
