//! What a valid configuration is.

use crate::admission::SignatureChoice;
use crate::alerts::Alerts;
use crate::audit::Audit;
use crate::enforce::Enforce;
use crate::feeds::{Crowdsec, Feed};
use crate::hep::Hep;
use policy::{HeaderRule, Identity, Network, Policy, TrunkLimits};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::Transport;

/// Everything the edge runs by. A value that exists is valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the engine is told, the addresses included.
    pub policy: Policy,
    /// Where the policy's signatures come from, and what was changed about them.
    pub signatures: SignatureChoice,
    /// The outside listeners with their files, in the order of [`Policy::listeners`].
    pub listen: Vec<Listen>,
    /// Shards, 1 to [`Config::SHARDS_MAX`]; default: one a core.
    pub shards: u8,
    /// Trunks by name. Their literal addresses are in [`policy::TrustRules::networks`], their names
    /// in [`policy::TrustRules::hosts`], their numbers in [`policy::Admission::dids`].
    pub trunks: Vec<Trunk>,
    /// For PBXs over TLS, by name: the file of the authorities that may have signed its
    /// certificate. One without has a certificate that the system believes.
    pub pbx_authorities: Vec<(Box<str>, PathBuf)>,
    /// Where operators reach the edge; `None`: nowhere.
    pub admin: Option<Admin>,
    /// The audit stream; `None`: none.
    pub audit: Option<Audit>,
    /// Who is told what somebody should know; `None`: nobody.
    pub alerts: Option<Alerts>,
    /// What is judged, to a capture server; `None`: to none.
    pub hep: Option<Hep>,
    /// Banned sources in the kernel; `None`: they are dropped in user space only.
    pub enforce: Option<Enforce>,
    /// Lists of addresses that others keep.
    pub feeds: Vec<Feed>,
    /// Who is told of our bans; `None`: nobody.
    pub crowdsec: Option<Crowdsec>,
    /// Logging.
    pub log: Log,
    /// Where the edge keeps what must survive a restart.
    pub state_dir: PathBuf,
    /// The file of the 32-byte secret behind tokens and branches.
    pub secret_file: PathBuf,
    /// Whether the files are read again when they change.
    pub watch: bool,
    /// How long a drain may take before what is still in passage is cut off.
    pub drain_timeout: Duration,
    /// Bounds of sockets and connections.
    pub transport: TransportSettings,
    /// How names are resolved.
    pub resolver: ResolverSettings,
}

impl Config {
    /// Most shards: the owner's number must fit into tokens, and each takes an inside port.
    pub const SHARDS_MAX: u8 = 16;

    /// The default number of shards on this machine: its cores, at most
    /// [`Config::SHARDS_MAX`].
    #[must_use]
    pub fn default_shards() -> u8 {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u8::try_from(cores).unwrap_or(u8::MAX).clamp(1, Config::SHARDS_MAX)
    }
}

/// One outside listener with what its transport needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Transport, address and advertised name.
    pub listener: policy::Listener,
    /// For TLS; `None` for the others.
    pub tls: Option<TlsFiles>,
    /// Load balancers, whose connections or datagrams begin with a PROXY header.
    pub balancers: Vec<Network>,
}

/// The files of a TLS listener. They existed and belonged together when the configuration was
/// read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain and key, PEM. The first serves clients that send no known SNI.
    pub certificates: Vec<(PathBuf, PathBuf)>,
    /// `None`: no client certificate is asked for.
    pub client_certificates: Option<ClientCertificates>,
}

/// What a TLS client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// CA certificates, PEM, one of which must have signed the client's.
    pub authorities: PathBuf,
    /// Whether a client without a certificate is turned away.
    pub required: bool,
}

/// A trunk: a carrier's name, hosts and numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// What logs and `X-Ringfence-Trunk` call it.
    pub name: String,
    /// Its hosts: addresses, networks, names of hosts and of SRV records.
    pub hosts: Vec<String>,
    /// Numbers it may call; `x` stands for a digit.
    pub dids: Vec<String>,
    /// How many calls it may have.
    pub limits: TrunkLimits,
    /// What changes in its requests, and in requests to it.
    pub headers: TrunkHeaders,
    /// What it is told of who calls.
    pub identity: Identity,
    /// The host in From of requests to it.
    pub from_domain: Option<String>,
    /// From which address its requests go to the PBX; `None`: from `inside.address`.
    pub source: Option<IpAddr>,
    /// How it is reached.
    pub transports: Vec<Transport>,
    /// Who is believed to be it over TLS.
    pub tls: TrunkTls,
}

/// TLS towards a trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkTls {
    /// CA certificates, PEM, one of which must have signed the carrier's; `None`: the system's.
    pub authorities: Option<PathBuf>,
    /// Certificate chain and key, PEM, that the edge shows when it is asked for one.
    pub shows: Option<(PathBuf, PathBuf)>,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkHeaders {
    /// In what comes from the trunk.
    pub inwards: Vec<HeaderRule>,
    /// In what goes to it.
    pub outwards: Vec<HeaderRule>,
}

impl Trunk {
    /// The domains that its certificates are for (RFC 5922 §7.1): its hosts, and of names of SRV records
    /// what they are the services of.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().filter(|host| !host.contains('/')).map(|host| policy::Trunk::domain(host))
    }

    /// What the engine is told of it. A network cannot be called.
    pub(crate) fn as_policy(&self) -> policy::Trunk {
        let hosts = self.hosts.iter().filter(|host| !host.contains('/'));
        policy::Trunk {
            limits: self.limits,
            inwards: self.headers.inwards.clone(),
            outwards: self.headers.outwards.clone(),
            identity: self.identity,
            from_domain: self.from_domain.as_deref().map(Into::into),
            source: self.source,
            ..policy::Trunk::new(&self.name, hosts.map(|host| host.as_str().into()).collect())
        }
    }
}

/// Where operators reach the edge, and who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The Unix socket of the command line; `None`: none.
    pub socket: Option<PathBuf>,
    /// Where HTTP is served; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// The file of the token that writing over HTTP needs, and reading from elsewhere; `None`:
    /// nobody writes over HTTP.
    pub token_file: Option<PathBuf>,
    /// Networks of the operators; they are in [`policy::TrustRules::networks`], too.
    pub networks: Vec<Network>,
}

impl Admin {
    /// What holds where nothing is said.
    pub(crate) fn default_in(state_dir: &Path) -> Self {
        Admin {
            socket: Some(state_dir.join("admin.sock")),
            listen: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9060)),
            token_file: None,
            networks: Vec::new(),
        }
    }
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Lines or JSON.
    pub format: LogFormat,
    /// A level (`info`), or a `tracing` filter (`info,transport=debug`).
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text, level: "info".into() }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; with colours on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// As the YAML has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// Bounds of sockets and connections, per shard. What is not here is either a bound of the policy
/// ([`policy::Capacities::connections`], [`policy::Budgets::handshake`]) or fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportSettings {
    /// Connections that wait in the kernel to be accepted, per listener.
    pub backlog: usize,
    /// Stream connections that one source (an IPv4 address, an IPv6 /64) may have open.
    pub connections_per_source: usize,
    /// TLS handshakes at a time.
    pub handshakes: usize,
    /// Bytes that may wait on a connection for a peer that does not read; more closes it.
    pub send_queue: usize,
    /// How long a peer may take none of the bytes that wait for it.
    pub send_stall: Duration,
    /// Datagrams taken from a socket per wake-up before the others have their turn.
    pub datagrams_per_wakeup: usize,
    /// Receive buffer asked from the kernel for each UDP socket, in bytes.
    pub udp_receive_buffer: usize,
    /// Send buffer asked from the kernel for each UDP socket, in bytes.
    pub udp_send_buffer: usize,
    /// Messages that may wait for another shard; more are dropped and counted.
    pub hand_over_queue: usize,
}

impl Default for TransportSettings {
    fn default() -> Self {
        TransportSettings {
            backlog: 1_024,
            connections_per_source: 256,
            handshakes: 1_024,
            send_queue: 256 << 10,
            send_stall: Duration::from_secs(30),
            datagrams_per_wakeup: 128,
            udp_receive_buffer: 8 << 20,
            udp_send_buffer: 2 << 20,
            hand_over_queue: 4_096,
        }
    }
}

/// How the names in trust lists and trunks are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverSettings {
    /// Name servers; empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one try of a question may take.
    pub timeout: Duration,
    /// Tries of a question.
    pub attempts: usize,
    /// Questions at a time.
    pub questions: usize,
    /// A shorter TTL counts as this long.
    pub ttl_least: Duration,
    /// A longer TTL counts as this long.
    pub ttl_most: Duration,
    /// How long an address that its name has left is trusted still.
    pub grace: Duration,
    /// How long what a name stood for last is good after a restart, until the name is answered.
    pub recall: Duration,
    /// Names that may be watched.
    pub names: usize,
    /// Addresses that one name may have.
    pub addresses: usize,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        ResolverSettings {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            attempts: 3,
            questions: 16,
            ttl_least: Duration::from_secs(1),
            ttl_most: Duration::from_secs(3_600),
            grace: Duration::from_secs(3_600),
            recall: Duration::from_secs(3 * 86_400),
            names: 256,
            addresses: 64,
        }
    }
}
