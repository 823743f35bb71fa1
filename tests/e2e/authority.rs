//! A certificate authority of the test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fumidai::sim::TlsIdentity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::bench::Builder;

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes one with a name that no other has: an issuer is looked up by it.
    pub fn new() -> Self {
        Self::named(&format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The root certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Makes a certificate for hosts, names or addresses.
    pub fn certify(&self, hosts: &[&str]) -> TlsIdentity {
        let key = KeyPair::generate().unwrap();
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let certificate = CertificateParams::new(hosts).unwrap().signed_by(&key, &self.0).unwrap();
        TlsIdentity { certificates_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }

    /// Makes the side of a server with such a certificate.
    pub fn acceptor(&self, host: &str) -> TlsAcceptor {
        let identity = self.certify(&[host]);
        let certificate = CertificateDer::from_pem_slice(identity.certificates_pem.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![certificate], key);
        TlsAcceptor::from(Arc::new(config.unwrap()))
    }

    /// Makes the side of a client that trusts this authority.
    pub fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        TlsConnector::from(Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth()))
    }
}

impl Builder {
    /// Serves `https` and `wss` at a host, with a certificate of that authority.
    pub fn tls(self, authority: &Authority, host: &str) -> Self {
        let identity = authority.certify(&[host.trim_matches(['[', ']'])]);
        self.configure(|config| (config.tls, config.hostname) = (Some(identity), host.to_owned()))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
