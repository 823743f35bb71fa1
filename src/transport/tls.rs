//! Trust: the system's roots plus the user's own bundle, read once and only when needed.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio_rustls::TlsConnector;

/// TLS cannot be set up on this machine.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The user's bundle is not a list of certificates.
    #[error("the CA bundle is not PEM: {0}")]
    Bundle(rustls::pki_types::pem::Error),
    /// Neither the system nor the user gave any root certificate.
    #[error("no root certificates: {0}")]
    NoRoots(String),
    /// The library refuses its own defaults.
    #[error("TLS cannot be configured: {0}")]
    Config(#[from] rustls::Error),
}

/// The root certificates to trust.
#[derive(Debug, Default)]
pub struct Roots {
    bundle: Option<Vec<u8>>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Roots {
    /// Trusts the system's roots and those in `bundle` (PEM).
    pub fn new(bundle: Option<Vec<u8>>) -> Self {
        Self { bundle, config: OnceLock::new() }
    }

    /// The user's bundle, PEM.
    pub fn bundle(&self) -> Option<&[u8]> {
        self.bundle.as_deref()
    }

    /// Reads the certificates ahead of need, on a thread that has nothing better to do.
    pub fn preload(&self) {
        let _ = self.connector();
    }

    /// What encrypts a connection; the certificates are read at the first call.
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

    fn load(&self) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        for certificate in CertificateDer::pem_slice_iter(self.bundle().unwrap_or_default()) {
            roots.add(certificate.map_err(TlsError::Bundle)?)?;
        }
        if roots.is_empty() {
            let errors: Vec<String> = native.errors.iter().map(ToString::to_string).collect();
            return Err(TlsError::NoRoots(errors.join(", ")));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(config)
    }
}
