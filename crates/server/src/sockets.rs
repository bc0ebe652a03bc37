//! From configured listeners to the transport's sockets.

use crate::cli::Exit;
use crate::run::Failure;
use config::Config;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::info;
use transport::{
    CertStore, CertificateFiles, ClientCertificates, Listener, Protocol, Settings, Sockets,
    TlsError, TlsFiles,
};
use wire::{ShardId, Transport};

/// The TLS listeners' certificates, one place for each listener; they can be replaced while the
/// sockets stay.
#[derive(Debug)]
pub(crate) struct Tls {
    stores: Vec<Option<Arc<CertStore>>>,
}

impl Tls {
    /// Reads the certificates of all TLS listeners.
    pub(crate) fn open(config: &Config) -> Result<Self, Failure> {
        let open = |listen: &config::Listen| {
            listen.tls.as_ref().map(|tls| CertStore::open(files(tls))).transpose()
        };
        let stores: Result<Vec<_>, TlsError> = config.listen.iter().map(open).collect();
        match stores {
            Ok(stores) => Ok(Tls { stores }),
            // The configuration was checked, so the files have changed in between.
            Err(error) => Err(Failure::new(Exit::Config, error.to_string())),
        }
    }

    /// Reads them again, from the files that `config` names for the same listeners. Connections
    /// keep what their handshake began with. How many listeners were served.
    pub(crate) fn reload(&self, config: &Config) -> Result<usize, TlsError> {
        let mut count = 0;
        for (store, listen) in self.stores.iter().zip(&config.listen) {
            if let (Some(store), Some(tls)) = (store, &listen.tls) {
                store.replace(files(tls))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

fn files(tls: &config::TlsFiles) -> TlsFiles {
    let pair = |(certificate, key): &(std::path::PathBuf, std::path::PathBuf)| CertificateFiles {
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let clients = match &tls.client_certificates {
        None => ClientCertificates::Off,
        Some(clients) if clients.required => {
            ClientCertificates::Require { ca: clients.authorities.clone() }
        }
        Some(clients) => ClientCertificates::Request { ca: clients.authorities.clone() },
    };
    TlsFiles { certificates: tls.certificates.iter().map(pair).collect(), clients }
}

/// Binds all sockets of all shards.
pub(crate) fn bind(config: &Config, tls: &Tls) -> Result<Vec<Sockets>, Failure> {
    let mut listeners = Vec::new();
    for (listen, store) in config.listen.iter().zip(&tls.stores) {
        let protocol = match (listen.listener.transport, store) {
            (Transport::Udp, _) => Protocol::Udp,
            (Transport::Tcp, _) => Protocol::Tcp,
            (Transport::Tls, Some(store)) => Protocol::Tls(store.clone()),
            (Transport::Tls, None) => {
                let text = format!("{} has no certificate", listen.listener.address);
                return Err(Failure::new(Exit::Config, text));
            }
        };
        let (address, balancers) = (listen.listener.address, listen.balancers.clone());
        listeners.push(Listener { protocol, address, balancers });
    }
    let inside: Vec<SocketAddr> =
        (0..config.shards).map(|shard| config.policy.inside_of(ShardId(shard))).collect();
    let sockets = transport::bind(&settings(config), &listeners, &inside);
    let sockets = sockets.map_err(|error| Failure::new(Exit::Bind, error.to_string()))?;
    for listen in &config.listen {
        let transport = listen.listener.transport.as_param();
        info!(transport, address = %listen.listener.address, "Listening");
    }
    for pbx in config.policy.pbx.iter().take(1) {
        info!(inside = %config.policy.inside, pbx = %pbx.address, "The PBX");
    }
    note_buffers(config, &sockets);
    Ok(sockets)
}

/// The kernel may grant less than was asked for; bursts are lost then.
fn note_buffers(config: &Config, sockets: &[Sockets]) {
    let granted = sockets.iter().filter_map(|sockets| sockets.buffers().ok()).flatten();
    let asked = config.transport.udp_receive_buffer;
    if let Some(least) = granted.map(|buffers| buffers.receive).min()
        && least < asked
    {
        info!(
            asked,
            granted = least,
            "The kernel grants smaller UDP receive buffers: raise net.core.rmem_max for bursts"
        );
    }
}

/// The transport's bounds, by the configuration.
pub(crate) fn settings(config: &Config) -> Settings {
    let set = &config.transport;
    Settings {
        udp_receive_buffer: set.udp_receive_buffer,
        udp_send_buffer: set.udp_send_buffer,
        datagrams_per_wake: set.datagrams_per_wakeup,
        backlog: u32::try_from(set.backlog).unwrap_or(u32::MAX),
        connections: config.policy.capacities.connections,
        connections_per_source: set.connections_per_source,
        handshakes: set.handshakes,
        handshake: config.policy.budgets.handshake,
        send_queue_bytes: set.send_queue,
        send_stall: set.send_stall,
        hand_over_queue: set.hand_over_queue,
        ..Settings::default()
    }
}
