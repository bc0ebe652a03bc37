//! From configured listeners to the transport's sockets.

use crate::cli::Exit;
use crate::run::Failure;
use config::Config;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::info;
use transport::{
    BindError, CertStore, CertificateFiles, ClientCertificates, InsideListener, Listener, Peer,
    Peers, Protocol, Settings, Sockets, TlsError, TlsFiles,
};
use wire::{ShardId, Side, Transport};

/// The TLS listeners' certificates, one place for each listener, and who is believed where the edge
/// opens a connection; both can be replaced while the sockets stay.
#[derive(Debug)]
pub(crate) struct Tls {
    stores: Vec<Option<Arc<CertStore>>>,
    peers: Arc<Peers>,
}

impl Tls {
    /// Reads the certificates of all TLS listeners.
    pub(crate) fn open(config: &Config) -> Result<Self, Failure> {
        let open = |listen: &config::Listen| {
            listen.tls.as_ref().map(|tls| CertStore::open(files(tls))).transpose()
        };
        let stores: Result<Vec<_>, TlsError> = config.listen.iter().map(open).collect();
        let opened = stores.and_then(|stores| Ok((stores, Peers::open(&peers(config))?)));
        match opened {
            Ok((stores, peers)) => Ok(Tls { stores, peers }),
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
        self.peers.replace(&peers(config))?;
        Ok(count)
    }

    /// Who is believed where the edge opens a connection.
    pub(crate) fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }
}

/// The servers that the edge opens TLS connections to.
fn peers(config: &Config) -> Vec<Peer> {
    let authorities = |name: &str| {
        let named = config.pbx_authorities.iter().find(|(pbx, _)| **pbx == *name);
        named.map(|(_, file)| file.clone())
    };
    let over_tls = config.policy.pbx.iter().filter(|pbx| pbx.transport == Transport::Tls);
    let peer = |pbx: &policy::Pbx| Peer {
        side: Side::Inside,
        name: pbx.host.to_string(),
        authorities: authorities(&pbx.name),
        shows: None,
    };
    let trunks = config.trunks.iter().filter(|trunk| trunk.transports.contains(&Transport::Tls));
    let carriers = trunks.flat_map(|trunk| {
        trunk.domains().map(|domain| Peer {
            side: Side::Outside,
            name: domain.to_owned(),
            authorities: trunk.tls.authorities.clone(),
            shows: trunk
                .tls
                .shows
                .clone()
                .map(|(certificate, key)| CertificateFiles { certificate, key }),
        })
    });
    over_tls.map(peer).chain(carriers).collect()
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
    let settings = settings(config);
    let mut sockets = transport::bind(&settings, &listeners, &inside).map_err(failed)?;
    if needs_inside_listeners(config) {
        let listeners = inside_listeners(config).map_err(failed)?;
        for (sockets, listener) in sockets.iter_mut().zip(listeners) {
            sockets.listen_inside(listener);
        }
    }
    for source in config.policy.trunks.iter().filter_map(|trunk| trunk.source) {
        for sockets in &mut sockets {
            sockets.add_source(&settings, source).map_err(failed)?;
        }
    }
    for listen in &config.listen {
        let transport = listen.listener.transport.as_param();
        info!(transport, address = %listen.listener.address, "Listening");
    }
    for pbx in &config.policy.pbx {
        let (inside, transport) = (config.policy.inside, pbx.transport.as_param());
        info!(%inside, pbx = %pbx.name, address = %pbx.address, transport, "A PBX");
    }
    note_buffers(config, &sockets);
    Ok(sockets)
}

/// Why there is no socket, and what to look at.
fn failed(error: BindError) -> Failure {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let look = match error.source.kind() {
        AddrInUse => {
            "; who has it, `ss -lnptu` says: an edge that runs already, or the PBX, which must not listen there"
        }
        AddrNotAvailable => {
            "; `ip addr` shows this machine's: behind a 1:1 NAT listen on the inner one, with advertise"
        }
        PermissionDenied => "; a port below 1024 needs CAP_NET_BIND_SERVICE",
        _ => "",
    };
    Failure::new(Exit::Bind, format!("{error}{look}"))
}

/// Whether a PBX may open connections to us.
pub(crate) fn needs_inside_listeners(config: &Config) -> bool {
    config.policy.pbx.iter().any(|pbx| pbx.transport == Transport::Tcp)
}

/// Where it opens them: one for each shard.
pub(crate) fn inside_listeners(config: &Config) -> Result<Vec<InsideListener>, BindError> {
    let settings = settings(config);
    let inside = (0..config.shards).map(|shard| config.policy.inside_of(ShardId(shard)));
    inside.map(|address| InsideListener::bind(&settings, address)).collect()
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

/// Files that are open besides connections: sockets, the state, the admin API, a reload.
fn files_besides(config: &Config) -> u64 {
    128 + u64::from(config.shards) * (8 + config.listen.len() as u64)
}

/// Files that may have to be open for all that is configured.
pub(crate) fn files_needed(config: &Config) -> u64 {
    // one more a shard, for [`fit`] rounds down
    files_besides(config) + u64::from(config.shards) * (connections(config) as u64 + 1)
}

/// Lowers how many connections an engine keeps to what `files` that may be open leave: never the last
/// ones, or strangers, who need only connect, would shut the admin API, the state and reloads. What was
/// wanted, when that is more.
pub(crate) fn fit(config: &mut Config, files: Option<u64>) -> Option<usize> {
    let room = files?.saturating_sub(files_besides(config)) / u64::from(config.shards.max(1));
    let fitting = usize::try_from(room.saturating_sub(1) * 16 / 17).unwrap_or(usize::MAX);
    let wanted = config.policy.capacities.connections;
    config.policy.capacities.connections = wanted.min(fitting);
    (fitting < wanted).then_some(wanted)
}

/// Connections that a shard's transport takes: those in a handshake besides what its engine keeps, so
/// that it is the engine which says who goes when there are too many.
fn connections(config: &Config) -> usize {
    config.policy.capacities.connections.saturating_add(headroom(config))
}

fn headroom(config: &Config) -> usize {
    config.policy.capacities.connections / 16 + 1
}

/// The transport's bounds, by the configuration.
pub(crate) fn settings(config: &Config) -> Settings {
    let set = &config.transport;
    Settings {
        udp_receive_buffer: set.udp_receive_buffer,
        udp_send_buffer: set.udp_send_buffer,
        datagrams_per_wake: set.datagrams_per_wakeup,
        backlog: u32::try_from(set.backlog).unwrap_or(u32::MAX),
        connections: connections(config),
        connections_per_source: set.connections_per_source,
        reserve: headroom(config) / 2,
        handshakes: set.handshakes,
        handshake: config.policy.budgets.handshake,
        send_queue_bytes: set.send_queue,
        send_stall: set.send_stall,
        hand_over_queue: set.hand_over_queue,
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Overrides;
    use std::path::Path;

    #[test]
    fn connections_leave_files_for_the_rest() {
        let yaml = "version: 1\nlisten: [{ transport: tcp, address: \"127.0.0.1:5060\" }]\n\
            inside: { pbx: [\"127.0.0.1:5070\"] }\nshards: 2\n\
            transport: { handshakes: 10 }\npolicy: { capacities: { connections: 1000 } }\n";
        let config = config::load_str(Path::new("x.yaml"), yaml, Overrides::default());
        let config = config.unwrap().config;
        assert_eq!(files_besides(&config), 146);
        for connections in [1, 15, 16, 17, 1_000, 16_384] {
            let mut config = config.clone();
            config.policy.capacities.connections = connections;
            let files = files_needed(&config);
            assert_eq!(fit(&mut config, Some(files)), None, "{connections}");
        }
        for (files, kept) in
            [(None, 1_000), (Some(1_048_576), 1_000), (Some(1_146), 469), (Some(100), 0)]
        {
            let mut config = config.clone();
            assert_eq!(fit(&mut config, files), (kept < 1_000).then_some(1_000), "{files:?}");
            assert_eq!(config.policy.capacities.connections, kept, "{files:?}");
            let all = 146 + 2 * connections(&config) as u64;
            assert!(connections(&config) > kept && (kept == 0 || all <= files.unwrap_or(all)));
        }
    }
}
