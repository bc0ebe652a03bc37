//! Authorities that sign certificates, and servers that show these.
#![allow(dead_code, clippy::unwrap_used)]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::path::PathBuf;
use std::sync::Arc;
use transport::CertificateFiles;

/// Signs certificates; its own is in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pub file: PathBuf,
}

/// What an authority has signed, with its key.
pub struct Signed {
    pub certificate: CertificateDer<'static>,
    key: KeyPair,
    pem: String,
}

fn directory() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("authority");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

impl Authority {
    /// `name` is that of its file: one for each authority of a test.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = directory().join(format!("{name}.pem"));
        std::fs::write(&file, certificate.pem()).unwrap();
        let (issuer, certificate) = (Issuer::new(params, key), certificate.der().clone());
        Authority { issuer, certificate, file }
    }

    pub fn sign(&self, names: Vec<SanType>) -> Signed {
        self.sign_with(names, |_| ())
    }

    pub fn sign_with(
        &self,
        names: Vec<SanType>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        change(&mut params);
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        Signed { certificate: signed.der().clone(), key, pem: signed.pem() }
    }

    /// A server for `host` that asks nobody for a certificate.
    pub fn serve(&self, host: &str) -> Arc<ServerConfig> {
        self.sign(vec![san(host)]).serve(None, rustls::ALL_VERSIONS)
    }
}

impl Signed {
    /// A server that shows it; `clients` signed what clients must show.
    pub fn serve(
        &self,
        clients: Option<&Authority>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.certificate.clone()).unwrap();
                let (roots, provider) = (Arc::new(roots), Arc::new(default_provider()));
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        Arc::new(builder.with_single_cert(vec![self.certificate.clone()], key).unwrap())
    }

    /// A server that shows it, but has the key of another.
    pub fn serve_with_key_of(&self, other: &Signed) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(other.key.serialize_der()).unwrap();
        let key = default_provider().key_provider.load_private_key(key).unwrap();
        let shown = Arc::new(CertifiedKey::new(vec![self.certificate.clone()], key));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Always(shown)));
        Arc::new(config)
    }

    /// In files, as an edge shows it; another one that is written there takes its place.
    pub fn write(&self, name: &str) -> CertificateFiles {
        let certificate = directory().join(format!("{name}-certificate.pem"));
        let key = directory().join(format!("{name}-key.pem"));
        std::fs::write(&certificate, &self.pem).unwrap();
        std::fs::write(&key, self.key.serialize_pem()).unwrap();
        CertificateFiles { certificate, key }
    }
}

/// Shows one certificate, whoever asks.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A URI, an address, or the name of a host.
pub fn san(text: &str) -> SanType {
    match text.parse() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) if text.contains(':') => SanType::URI(text.try_into().unwrap()),
        Err(_) => SanType::DnsName(text.try_into().unwrap()),
    }
}
