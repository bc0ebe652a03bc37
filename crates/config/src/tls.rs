//! Certificates and keys: that they exist, parse, and belong together.

use crate::problem::Complaint;
use crate::read::beside;
use crate::table::Field;
use crate::value;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};

/// A certificate chain and its key.
pub(crate) fn pair(certificate: &Field<'_>, key: &Field<'_>) -> Option<(PathBuf, PathBuf)> {
    let certificate_file = file(certificate);
    let key_file = file(key);
    let (certificate_file, key_file) = (certificate_file?, key_file?);
    let chain = chain(certificate, &certificate_file);
    let parsed_key = private_key(key, &key_file);
    let (chain, parsed_key) = (chain?, parsed_key?);
    let provider = rustls::crypto::ring::default_provider();
    if let Err(error) = rustls::sign::CertifiedKey::from_der(chain, parsed_key, &provider) {
        let name = certificate_file.display();
        match error {
            rustls::Error::InconsistentKeys(_) => key.error(Complaint::new(format!(
                "the key does not belong to the certificate in {name}"
            ))),
            rustls::Error::InvalidCertificate(error) => certificate.error(unusable(&name, &error)),
            other => key.error(Complaint::new(format!("the key cannot serve: {other}"))),
        }
        return None;
    }
    Some((certificate_file, key_file))
}

fn unusable(name: &dyn std::fmt::Display, error: &rustls::CertificateError) -> Complaint {
    // what the library says is its own type's name; the fault that people make is this one
    match format!("{error:?}").contains("UnsupportedCertVersion") {
        true => Complaint::new(format!("{name} holds a certificate of X.509 version 1"))
            .hint("make one of version 3, which has a subjectAltName: openssl req -x509 -addext"),
        false => Complaint::new(format!("the certificate in {name} cannot be shown: {error}")),
    }
}

/// The CA certificates that clients' certificates are checked against.
pub(crate) fn authorities(field: &Field<'_>) -> Option<PathBuf> {
    let file = file(field)?;
    let chain = chain(field, &file)?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in chain {
        if let Err(error) = roots.add(certificate) {
            let complaint = format!("{} holds no CA certificate: {error}", file.display());
            field.error(Complaint::new(complaint));
            return None;
        }
    }
    Some(file)
}

fn file(field: &Field<'_>) -> Option<PathBuf> {
    let file = beside(field.source.file, field.parse(value::path)?);
    field.source.problems.looks_at(&file);
    Some(file)
}

fn chain(field: &Field<'_>, file: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let chain =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain {
        Ok(chain) if chain.is_empty() => {
            let complaint = Complaint::new(format!("{} holds no certificate", file.display()));
            field.error(complaint.hint("it must be PEM, with -----BEGIN CERTIFICATE-----"));
            None
        }
        Ok(chain) => Some(chain),
        Err(error) => {
            field.error(unreadable(file, &error));
            None
        }
    }
}

fn private_key(field: &Field<'_>, file: &Path) -> Option<PrivateKeyDer<'static>> {
    match PrivateKeyDer::from_pem_file(file) {
        Ok(key) => Some(key),
        Err(rustls_pki_types::pem::Error::NoItemsFound) => {
            let complaint = Complaint::new(format!("{} holds no private key", file.display()));
            let encrypted = std::fs::read_to_string(file).is_ok_and(|it| it.contains("ENCRYPTED"));
            field.error(complaint.hint(match encrypted {
                true => "it is encrypted, and nobody is asked for a password: openssl pkey -in FILE -out FILE",
                false => "it must be PEM, with -----BEGIN PRIVATE KEY-----",
            }));
            None
        }
        Err(error) => {
            field.error(unreadable(file, &error));
            None
        }
    }
}

fn unreadable(file: &Path, error: &rustls_pki_types::pem::Error) -> Complaint {
    let name = file.display();
    match error {
        rustls_pki_types::pem::Error::Io(error) => {
            let complaint = Complaint::new(format!("{name} cannot be read: {error}"));
            match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    complaint.hint("the user that runs ringfence must be able to read it")
                }
                std::io::ErrorKind::NotFound => {
                    complaint.hint("relative paths start at the directory of the configuration")
                }
                _ => complaint,
            }
        }
        other => Complaint::new(format!("{name} is no good PEM: {other}")),
    }
}
