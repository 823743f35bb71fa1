//! The issuer of a server's certificate, also of one that is not trusted: it names the proxy that intercepts TLS.
//!
//! rustls keeps no certificate that it rejects, so a verifier remembers the issuer before it asks the real one. The text is
//! what the server sent: untrusted.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// The object identifiers 2.5.4.10 and 2.5.4.3 (X.520).
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;

/// Who signed a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuer {
    /// The organization.
    pub organization: Option<String>,
    /// The common name.
    pub name: Option<String>,
}

impl Issuer {
    /// Reads the issuer of a certificate; `None` if it cannot be parsed.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(certificate)?;
        let (_, mut rest, _) = element(certificate)?;
        // The version is left out in version 1. The serial number and the signature's algorithm precede the issuer.
        for expected in [VERSION, INTEGER, SEQUENCE] {
            let (tag, _, after) = element(rest)?;
            if tag == expected {
                rest = after;
            } else if expected != VERSION {
                return None;
            }
        }
        let (tag, names, _) = element(rest)?;
        (tag == SEQUENCE).then(|| Self::of_names(names))
    }

    fn of_names(mut names: &[u8]) -> Self {
        let mut issuer = Self::default();
        while let Some((SET, attributes, rest)) = element(names) {
            names = rest;
            match attribute(attributes) {
                Some((ORGANIZATION, text)) => issuer.organization = Some(text),
                Some((COMMON_NAME, text)) => issuer.name = Some(text),
                Some(_) | None => {}
            }
        }
        issuer
    }

    /// Returns true if it is an authority of Amazon, which signs AWS's certificates.
    pub fn is_amazon(&self) -> bool {
        self.organization.as_deref() == Some("Amazon")
    }
}

impl std::fmt::Display for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.name, &self.organization) {
            (Some(name), Some(organization)) => write!(f, "{name} ({organization})"),
            (Some(one), None) | (None, Some(one)) => f.write_str(one),
            (None, None) => f.write_str("an authority without a name"),
        }
    }
}

/// Splits the first attribute of a set into its type and its text.
fn attribute(set: &[u8]) -> Option<(&[u8], String)> {
    let (_, pair, _) = element(set)?;
    let (_, kind, rest) = element(pair)?;
    let (_, text, _) = element(rest)?;
    Some((kind, String::from_utf8_lossy(text).into_owned()))
}

/// Splits DER into the tag and the contents of the first element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = der else { return None };
    let (length, rest) = match *first {
        short @ ..=0x7f => (usize::from(short), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let [high, low, rest @ ..] = rest else { return None };
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

/// Verifies as another verifier does, and remembers the issuer of the last certificate.
#[derive(Debug)]
pub(super) struct Witness {
    inner: Arc<dyn ServerCertVerifier>,
    seen: Mutex<Option<Issuer>>,
}

impl Witness {
    pub fn new(inner: Arc<dyn ServerCertVerifier>) -> Self {
        Self { inner, seen: Mutex::default() }
    }

    /// Returns the issuer of the certificate that was verified last, accepted or not.
    pub fn issuer(&self) -> Option<Issuer> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Issuer::of(end_entity);
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn certificate(organization: Option<&str>, name: &str) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["ssm.example".to_owned()]).expect("a name");
        let mut names = DistinguishedName::new();
        if let Some(organization) = organization {
            names.push(DnType::OrganizationName, organization);
        }
        names.push(DnType::CommonName, name);
        params.distinguished_name = names;
        params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().to_vec()
    }

    #[test]
    fn the_issuer_of_a_certificate_is_read() {
        let issuer = Issuer::of(&certificate(Some("Amazon"), "Amazon RSA 2048 M01")).expect("a certificate");
        assert!(issuer.is_amazon());
        let issuer = Issuer::of(&certificate(None, "Example Inspection CA")).expect("a certificate");
        assert!(!issuer.is_amazon());
        assert_eq!(issuer.to_string(), "Example Inspection CA");
    }

    #[test]
    fn every_cut_of_a_certificate_is_refused_without_a_panic() {
        let whole = certificate(Some("Example"), &"x".repeat(300));
        for length in 0..whole.len() {
            let _ = Issuer::of(&whole[..length]);
        }
        assert_eq!(Issuer::of(b""), None);
        assert_eq!(Issuer::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
