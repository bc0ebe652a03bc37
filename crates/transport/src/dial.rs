//! Connections that the edge opens: from which address, and who is believed at their other end.

use crate::accept::ByteStream;
use crate::identity::Verifier;
use crate::tls::{TlsError, read_chain, read_key};
use crate::{CertificateFiles, Settings, bind};
use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use wire::{Flow, Side, Transport};

/// A server that the edge opens TLS connections to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// On which side.
    pub side: Side,
    /// The host name or address that its certificate must be for.
    pub name: String,
    /// PEM: who may have signed that; `None` stands for the authorities that the system trusts.
    pub authorities: Option<PathBuf>,
    /// What the edge shows when it is asked for a certificate.
    pub shows: Option<CertificateFiles>,
}

/// All servers that the edge opens TLS connections to, shared by all shards, replaced as a whole.
/// A connection keeps what its handshake began with. To a server that is not among them none is
/// opened.
#[derive(Debug, Default)]
pub struct Peers {
    configs: ArcSwap<HashMap<(Side, String), Arc<ClientConfig>>>,
}

impl Peers {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the file at fault.
    pub fn open(peers: &[Peer]) -> Result<Arc<Self>, TlsError> {
        let this = Peers::default();
        this.replace(peers)?;
        Ok(Arc::new(this))
    }

    /// Reads these and believes them from the next connection on.
    ///
    /// # Errors
    /// Names the file at fault; then nothing has changed.
    pub fn replace(&self, peers: &[Peer]) -> Result<(), TlsError> {
        let mut configs = HashMap::new();
        for peer in peers {
            let key = (peer.side, peer.name.to_ascii_lowercase());
            configs.insert(key, Arc::new(configure(peer)?));
        }
        self.configs.store(Arc::new(configs));
        Ok(())
    }

    fn config(&self, side: Side, name: &str) -> Option<Arc<ClientConfig>> {
        self.configs.load().get(&(side, name.to_ascii_lowercase())).cloned()
    }
}

fn configure(peer: &Peer) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new(roots(peer)?, peer.authorities.is_some(), &provider);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(CertificateFiles { certificate, key }) = &peer.shows else {
        return Ok(builder.with_no_client_auth());
    };
    let shown = builder.with_client_auth_cert(read_chain(certificate)?, read_key(key)?);
    shown.map_err(|source| TlsError::Key {
        key: key.clone(),
        certificate: certificate.clone(),
        source,
    })
}

fn roots(peer: &Peer) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &peer.authorities else {
        let found = rustls_native_certs::load_native_certs();
        // one that cannot be read or used is not believed, that is all
        roots.add_parsable_certificates(found.certs);
        return if roots.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(roots) };
    };
    for certificate in read_chain(file)? {
        let added = roots.add(certificate);
        added.map_err(|why| TlsError::Authority { file: file.clone(), why: why.to_string() })?;
    }
    Ok(roots)
}

/// What is needed to open one.
pub(crate) struct Dial {
    settings: Settings,
    side: Side,
    flow: Flow,
    /// For TLS.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Dial {
    /// # Errors
    /// When `name` is no name, or none of `peers`.
    pub(crate) fn new(
        settings: &Settings,
        peers: &Peers,
        side: Side,
        flow: Flow,
        name: &str,
    ) -> io::Result<Self> {
        let tls = match flow.transport {
            Transport::Tls => {
                let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
                let config = peers.config(side, name);
                let config = config.ok_or_else(|| io::Error::other("nobody to believe"))?;
                Some((config, server))
            }
            _ => None,
        };
        Ok(Dial { settings: settings.clone(), side, flow, tls })
    }

    /// Opens it, in the time that there is.
    pub(crate) async fn open(self) -> io::Result<ByteStream> {
        tokio::time::timeout(self.settings.connect, self.connect()).await?
    }

    async fn connect(&self) -> io::Result<ByteStream> {
        let any = SocketAddr::new(self.flow.local.ip(), 0);
        let stream = match self.side {
            // the PBX finds a connection from the port that it knows us by again, when it has
            // something for us; that port may have been left a moment ago
            Side::Inside => match self.connect_from(self.flow.local).await {
                Err(error) if is_taken(&error) => self.connect_from(any).await?,
                other => other?,
            },
            Side::Outside => self.connect_from(any).await?,
        };
        match &self.tls {
            None => Ok(ByteStream::Tcp(stream)),
            Some((config, server)) => {
                let connector = TlsConnector::from(config.clone());
                let stream = connector.connect(server.clone(), stream).await?;
                Ok(ByteStream::Tls(Box::new(stream.into())))
            }
        }
    }

    async fn connect_from(&self, local: SocketAddr) -> io::Result<TcpStream> {
        let socket = bind::bind_stream(&self.settings, local)?;
        TcpSocket::from_std_stream(socket.into()).connect(self.flow.remote).await
    }
}

/// Whether it is our own address that a connection cannot be made from.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}
