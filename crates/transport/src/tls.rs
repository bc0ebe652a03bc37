//! Certificates: which one a client is shown, which of theirs are asked for, and how both are
//! replaced while connections go on.

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a TLS listener's certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The first is shown to clients that name no host, or one that no certificate is for.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show a certificate, too.
    pub clients: ClientCertificates,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then its chain.
    pub certificate: PathBuf,
    /// PEM: the private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// Whether clients show a certificate, and whose are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not asked for.
    #[default]
    Off,
    /// Asked for; a client may have none, but a wrong one ends the handshake.
    Request {
        /// PEM: the authorities.
        ca: PathBuf,
    },
    /// A client without one does not get in.
    Require {
        /// PEM: the authorities.
        ca: PathBuf,
    },
}

/// Files that cannot be served from. Each names the file to look at.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate at all is configured.
    #[error("a TLS listener needs at least one certificate")]
    Nothing,
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not PEM.
    #[error("{} is not well-formed PEM: {source}", .file.display())]
    Pem {
        /// Which.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// PEM, but without what is needed.
    #[error("{} holds no {what}", .file.display())]
    Lacks {
        /// Which.
        file: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// The key is of no use with the certificate.
    #[error("the key {} cannot serve the certificate {}: {source}", .key.display(), .certificate.display())]
    Key {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
        /// Why: another certificate's key, or a kind that is not known.
        source: rustls::Error,
    },
    /// An authority's certificate that cannot be used.
    #[error("{} holds no usable authority: {why}", .file.display())]
    Authority {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// No file is named, and the system trusts nobody either.
    #[error("the system has no certificates of authorities: name a file of them")]
    NoAuthorities,
    /// rustls refuses, for no fault of the files.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// A TLS listener's certificates, shared by all shards, replaced as a whole. A connection keeps
/// what its handshake began with.
#[derive(Debug)]
pub struct CertStore {
    files: Mutex<TlsFiles>,
    config: ArcSwap<ServerConfig>,
}

impl CertStore {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let config = ArcSwap::from_pointee(configure(&files)?);
        Ok(Arc::new(CertStore { files: Mutex::new(files), config }))
    }

    /// Reads the same files again.
    ///
    /// # Errors
    /// Names the file at fault; then nothing has changed.
    pub fn reload(&self) -> Result<(), TlsError> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.replace(files)
    }

    /// Reads other files and serves from them from the next handshake on.
    ///
    /// # Errors
    /// Names the file at fault; then nothing has changed.
    pub fn replace(&self, files: TlsFiles) -> Result<(), TlsError> {
        let config = configure(&files)?;
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        self.config.store(Arc::new(config));
        Ok(())
    }

    /// What the next handshake begins with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }
}

fn configure(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificates = Certificates::load(&files.certificates, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match verifier(&files.clients, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    // Sessions are resumed from tickets: no table of ours to fill. A new key each time means that
    // nobody resumes past a change of the authorities.
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}

fn verifier(
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let (ca, required) = match clients {
        ClientCertificates::Off => return Ok(None),
        ClientCertificates::Request { ca } => (ca, false),
        ClientCertificates::Require { ca } => (ca, true),
    };
    let refused = |why: String| TlsError::Authority { file: ca.clone(), why };
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(ca)? {
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map(Some).map_err(|error| refused(error.to_string()))
}

/// Chooses by the host a client names (RFC 6066 §3).
#[derive(Debug)]
struct Certificates {
    default: Arc<CertifiedKey>,
    /// By lower-case name, wildcards as they are written. A name in several certificates belongs
    /// to the first.
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    fn load(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut default = None;
        let mut by_name = HashMap::new();
        for files in files {
            let chain = read_chain(&files.certificate)?;
            let names = names_of(&chain);
            let certified = CertifiedKey::from_der(chain, read_key(&files.key)?, provider);
            let certified = Arc::new(certified.map_err(|source| TlsError::Key {
                key: files.key.clone(),
                certificate: files.certificate.clone(),
                source,
            })?);
            default.get_or_insert_with(|| certified.clone());
            for name in names {
                by_name.entry(name).or_insert_with(|| certified.clone());
            }
        }
        Ok(Certificates { default: default.ok_or(TlsError::Nothing)?, by_name })
    }

    fn choose(&self, host: &str) -> &Arc<CertifiedKey> {
        let host = host.to_ascii_lowercase();
        let exact = self.by_name.get(&host);
        // RFC 6125 §6.4.3: a wildcard stands for the first label alone.
        let wildcard = || {
            let (_, parent) = host.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        exact.or_else(wildcard).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(hello.server_name().map_or(&self.default, |host| self.choose(host)).clone())
    }
}

/// The DNS names a certificate is for (its subjectAltName). One that cannot be read has none: it
/// may still serve as the default.
fn names_of(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let leaf = chain.first().and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok());
    let Some(leaf) = leaf else { return Vec::new() };
    leaf.valid_dns_names().map(str::to_ascii_lowercase).collect()
}

pub(crate) fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|source| TlsError::Pem { file: file.into(), source })?;
    if chain.is_empty() {
        return Err(TlsError::Lacks { file: file.into(), what: "certificate" });
    }
    Ok(chain)
}

pub(crate) fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Lacks { file: file.into(), what: "private key" },
        source => TlsError::Pem { file: file.into(), source },
    })
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|source| TlsError::Read { file: file.into(), source })
}
