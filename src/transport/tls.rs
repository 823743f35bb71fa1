//! Root certificates for TLS: the system's and the user's bundle, read once when they are first needed.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use thiserror::Error;
use tokio_rustls::TlsConnector;

use super::issuer::Witness;

/// Why TLS cannot be set up on this machine.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Neither the system nor the bundle has a usable root certificate.
    #[error("no root certificates: {0}")]
    NoRoots(String),
    /// The TLS library rejects its configuration.
    #[error("TLS cannot be configured: {0}")]
    Config(#[from] rustls::Error),
}

/// Why the user's bundle cannot be used.
#[derive(Debug, Error)]
pub enum BundleError {
    /// The file is not PEM.
    #[error("it is not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// A certificate cannot be a root.
    #[error("it has a certificate that cannot be used: {0}")]
    Certificate(#[from] rustls::Error),
    /// The file has no certificate.
    #[error("it has no certificate")]
    Empty,
}

/// The kind of a failed handshake, by what mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate's issuer is not trusted.
    Issuer,
    /// The certificate is that of another host: another machine answers.
    Name,
    /// The certificate has expired or is not valid yet, or this machine's clock is wrong.
    Time,
    /// The answer is not TLS.
    NotTls,
    /// The two sides have no version or algorithm in common, or the other side refuses.
    Handshake,
}

impl TlsFault {
    /// Recognizes the error of a handshake; `None` if the connection failed.
    pub fn of(error: &io::Error) -> Option<Self> {
        Some(Self::of_rustls(error.get_ref()?.downcast_ref()?))
    }

    /// Recognizes an error of rustls.
    pub fn of_rustls(error: &rustls::Error) -> Self {
        if let rustls::Error::InvalidCertificate(why) = error {
            return Self::of_certificate(why);
        }
        if matches!(error, rustls::Error::InvalidMessage(_)) { Self::NotTls } else { Self::Handshake }
    }

    fn of_certificate(why: &CertificateError) -> Self {
        use CertificateError as Why;

        if matches!(why, Why::NotValidForName | Why::NotValidForNameContext { .. }) {
            return Self::Name;
        }
        let is_expired = matches!(why, Why::Expired | Why::ExpiredContext { .. });
        let is_early = matches!(why, Why::NotValidYet | Why::NotValidYetContext { .. });
        if is_expired || is_early { Self::Time } else { Self::Issuer }
    }
}

/// The user's root certificates: at least one, and all of them usable.
#[derive(Clone, Debug)]
pub struct Bundle {
    certificates: Vec<CertificateDer<'static>>,
}

impl Bundle {
    /// Parses a PEM file, also one with a byte order mark or with OpenSSL's other names of a certificate.
    ///
    /// # Errors
    /// [`BundleError`] if any certificate in it cannot be used.
    pub fn parse(pem: &[u8]) -> Result<Self, BundleError> {
        let pem = String::from_utf8_lossy(pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem));
        let pem = pem
            .replace("TRUSTED CERTIFICATE--", "CERTIFICATE--")
            .replace("X509 CERTIFICATE--", "CERTIFICATE--");
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
        let certificates = certificates.map(|one| one.map(without_trust)).collect::<Result<Vec<_>, _>>()?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone())?;
        }
        if roots.is_empty() { Err(BundleError::Empty) } else { Ok(Self { certificates }) }
    }
}

/// Removes OpenSSL's trust settings, which follow the certificate's own DER sequence.
fn without_trust(certificate: CertificateDer<'static>) -> CertificateDer<'static> {
    match sequence_length(&certificate) {
        Some(length) if length < certificate.len() => certificate.as_ref()[..length].to_vec().into(),
        Some(_) | None => certificate,
    }
}

/// Returns the length of a DER sequence of at most 64 KiB, with its header.
fn sequence_length(der: &[u8]) -> Option<usize> {
    match *der {
        [0x30, 0x81, length, ..] => Some(3 + usize::from(length)),
        [0x30, 0x82, high, low, ..] => Some(4 + usize::from(u16::from_be_bytes([high, low]))),
        _ => None,
    }
}

/// The root certificates to trust.
#[derive(Debug, Default)]
pub struct Roots {
    bundle: Option<Bundle>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Roots {
    /// Trusts the system's root certificates and those in `bundle`.
    pub fn new(bundle: Option<Bundle>) -> Self {
        Self { bundle, config: OnceLock::new() }
    }

    /// Reads the certificates now; call it on a blocking thread.
    pub fn preload(&self) {
        let _ = self.connector();
    }

    /// Returns the TLS connector; the first call reads the certificates.
    pub(super) fn connector(&self) -> Result<TlsConnector, TlsError> {
        if let Some(config) = self.config.get() {
            return Ok(TlsConnector::from(config.clone()));
        }
        let config = self.config.get_or_init({
            let config = Arc::new(self.load()?);
            || config
        });
        Ok(TlsConnector::from(config.clone()))
    }

    /// Returns a connector that trusts the same certificates, and remembers who issued the server's.
    pub(super) fn witness(&self) -> Result<(TlsConnector, Arc<Witness>), TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone());
        let verifier = verifier.build().map_err(|error| TlsError::NoRoots(error.to_string()))?;
        let witness = Arc::new(Witness::new(verifier));
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_no_client_auth();
        Ok((TlsConnector::from(Arc::new(config)), witness))
    }

    fn load(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        roots.add_parsable_certificates(self.bundle.iter().flat_map(|bundle| bundle.certificates.clone()));
        if roots.is_empty() {
            let errors: Vec<String> = native.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::NoRoots(errors.join(", ")));
        }
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn a_bundle_without_a_usable_certificate_is_refused() {
        let framed = |body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n").into_bytes()
        };
        assert!(matches!(Bundle::parse(b"a host name\n"), Err(BundleError::Empty)));
        assert!(matches!(Bundle::parse(&framed("AAAA")), Err(BundleError::Certificate(_))));
        assert!(matches!(Bundle::parse(&framed("no base64!")), Err(BundleError::Pem(_))));
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        assert_eq!(Bundle::parse(key.cert.pem().as_bytes()).unwrap().certificates, [key.cert.der().clone()]);
    }

    #[test]
    fn a_bundle_may_have_a_byte_order_mark_and_trusted_certificates() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        // What `openssl x509 -addtrust serverAuth` appends.
        let trust = b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01";
        let body = BASE64_STANDARD.encode([key.cert.der().as_ref(), trust].concat());
        let pem = format!(
            "\u{feff}-----BEGIN TRUSTED CERTIFICATE-----\n{body}\n-----END TRUSTED CERTIFICATE-----\n"
        );
        assert_eq!(Bundle::parse(pem.as_bytes()).unwrap().certificates, [key.cert.der().clone()]);
    }
}
