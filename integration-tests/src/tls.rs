//! The stage's certificate, and a phone's end of a TLS connection.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::nsd::ZONE;
use crate::stage::DOMAIN;

/// Writes `cert.pem` and `key.pem`: self-signed, for the stage's domain, and for the carrier's that it
/// may play; and with `client.pem` and `client-key.pem` what it may want its clients to show.
pub(crate) fn write_certificates(directory: &Path) {
    let write = |names: &[&str], certificate: &str, key: &str| {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(directory.join(certificate), made.cert.pem()).unwrap();
        fs::write(directory.join(key), made.signing_key.serialize_pem()).unwrap();
    };
    write(&[DOMAIN, ZONE], "cert.pem", "key.pem");
    write(&["edge.test"], "client.pem", "client-key.pem");
}

/// A phone's end that trusts the certificate in this directory and nothing else, and shows
/// `client.pem`, where that is there and it is asked.
pub(crate) fn client(directory: &Path) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let own = CertificateDer::from_pem_file(directory.join("client.pem"));
    let key = PrivateKeyDer::from_pem_file(directory.join("client-key.pem"));
    let config = match (own, key) {
        (Ok(own), Ok(key)) => config.with_client_auth_cert(vec![own], key).unwrap(),
        _ => config.with_no_client_auth(),
    };
    ClientConnection::new(Arc::new(config), ServerName::try_from(DOMAIN).unwrap()).unwrap()
}
