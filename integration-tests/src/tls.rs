//! The stage's certificate, and a phone's end of a TLS connection.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::nsd::ZONE;
use crate::stage::DOMAIN;

/// Writes `cert.pem` and `key.pem`: self-signed, for the stage's domain, and for the carrier's that it
/// may play.
pub(crate) fn write_certificate(directory: &Path) {
    let made = rcgen::generate_simple_self_signed([DOMAIN.to_owned(), ZONE.to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// A phone's end that trusts the stage's certificate and nothing else.
pub(crate) fn client(directory: &Path) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from(DOMAIN).unwrap()).unwrap()
}
