//! What this machine and the PBX say: asked once, judged in [`mod@super::doctor`].

use config::Config;
use policy::{Pbx, Policy};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::{HeaderName, Limits, Message, Transport};

/// How long the PBX may take to answer, with one repetition halfway.
const PBX_PATIENCE: Duration = Duration::from_secs(1);
/// How long a name may take to resolve.
const NAME_PATIENCE: Duration = Duration::from_secs(3);
/// Names that are looked up.
const NAMES_MAX: usize = 64;

/// A socket that somebody listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listening {
    pub(super) protocol: &'static str,
    pub(super) address: SocketAddr,
}

/// What the PBX said to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) status: u16,
    /// Realm and algorithm of each challenge, as far as a stranger sees them.
    pub(super) challenges: Vec<(String, String)>,
}

/// What one of the PBXs shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PbxFacts {
    /// Its name, if it has one of its own, and its address.
    pub(super) place: String,
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    pub(super) reached: Reached,
    /// What it said to a user who exists, and to one who does not.
    pub(super) users: Option<(Heard, Heard)>,
}

/// Whether a PBX is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// It said this to OPTIONS.
    Answered(Heard),
    /// It takes connections: over TLS it is asked nothing more.
    Connects,
    /// No.
    Silent,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) sockets: Vec<Listening>,
    /// The PBXs, in the order of the configuration.
    pub(super) pbx: Vec<PbxFacts>,
    pub(super) rmem_max: Option<u64>,
    pub(super) wmem_max: Option<u64>,
    /// Open files that a process may have.
    pub(super) files: Option<u64>,
    /// Seconds since 1970, and whether somebody keeps them right (`None`: the kernel does not say).
    pub(super) clock: (u64, Option<bool>),
    /// Why sockets cannot be shared by source address.
    pub(super) steering: Option<String>,
    pub(super) nftables: bool,
    /// Why nothing can be kept in `state_dir`.
    pub(super) state: Option<String>,
    /// Why audit lines cannot be written where they are wanted.
    pub(super) audit: Option<String>,
    /// By file: when it ends, in seconds since 1970, or why it cannot be read.
    pub(super) certificates: Vec<(PathBuf, Result<u64, String>)>,
    /// Listeners' addresses that are none of this machine's.
    pub(super) foreign: Vec<IpAddr>,
    /// Names that do not resolve.
    pub(super) unresolved: Vec<String>,
    /// Where the connections to the listeners come from.
    pub(super) sources: Vec<IpAddr>,
}

impl Facts {
    /// Looks at everything. `users` are names that the PBX knows.
    pub(super) fn gather(config: &Config, users: &[String]) -> Facts {
        let policy = &config.policy;
        let inside = policy.inside.ip();
        let pbx = policy.pbx.iter().map(|pbx| pbx_facts(inside, pbx, users)).collect();
        let proc = Path::new("/proc");
        Facts {
            sockets: sockets(proc),
            pbx,
            rmem_max: number(&proc.join("sys/net/core/rmem_max")),
            wmem_max: number(&proc.join("sys/net/core/wmem_max")),
            files: transport::raise_file_limit().ok(),
            clock: (now(), transport::clock_is_kept()),
            steering: transport::steering::is_possible().err().map(|error| error.to_string()),
            nftables: Path::new("/sys/module/nf_tables").exists(),
            state: writable(&config.state_dir).err().map(|error| error.to_string()),
            audit: config.audit.as_ref().and_then(audit),
            certificates: certificates(config),
            foreign: foreign(policy),
            unresolved: unresolved(config),
            sources: connected(proc, policy),
        }
    }
}

#[allow(clippy::disallowed_methods)] // whether the clock is right is what is asked
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// All UDP sockets, and the TCP sockets that listen (`proc_net(5)`).
pub(super) fn sockets(proc: &Path) -> Vec<Listening> {
    let mut sockets = BTreeSet::new();
    for (file, protocol) in [("udp", "udp"), ("udp6", "udp"), ("tcp", "tcp"), ("tcp6", "tcp")] {
        let Ok(text) = fs::read_to_string(proc.join("net").join(file)) else { continue };
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().take(4).collect();
            let [_, local, _, state] = words[..] else { continue };
            // 0A is LISTEN; a UDP socket that is connected hears nobody else
            let listens = matches!((protocol, state), ("tcp", "0A") | ("udp", "07"));
            if listens && let Some(address) = kernel_address(local) {
                sockets.insert(Listening { protocol, address });
            }
        }
    }
    sockets.into_iter().collect()
}

/// The other ends of TCP connections to the listeners: the one place where the kernel shows which
/// addresses packets come with.
pub(super) fn connected(proc: &Path, policy: &Policy) -> Vec<IpAddr> {
    let ports: BTreeSet<u16> =
        policy.listeners.iter().map(|listener| listener.address.port()).collect();
    let mut sources = Vec::new();
    for file in ["tcp", "tcp6"] {
        let Ok(text) = fs::read_to_string(proc.join("net").join(file)) else { continue };
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().take(4).collect();
            // 01 is ESTABLISHED
            let [_, local, remote, "01"] = words[..] else { continue };
            if let (Some(local), Some(remote)) = (kernel_address(local), kernel_address(remote))
                && ports.contains(&local.port())
            {
                sources.push(remote.ip());
            }
        }
    }
    sources
}

/// `0100007F:13CE`: words of the address in the machine's own order.
fn kernel_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?.to_ne_bytes()).into(),
        32 => {
            let mut bytes = [0; 16];
            for (n, part) in bytes.chunks_mut(4).enumerate() {
                part.copy_from_slice(&word(n * 8)?.to_ne_bytes());
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// What a PBX shows. `users` are names that it knows.
fn pbx_facts(from: IpAddr, pbx: &Pbx, users: &[String]) -> PbxFacts {
    let Pbx { address, transport, .. } = *pbx;
    let ask = |user: &str| match transport {
        Transport::Udp => ask(from, address, user),
        Transport::Tcp => ask_by_stream(address, user),
        Transport::Tls => None,
    };
    let reached = match ask("ringfence") {
        Some(heard) => Reached::Answered(heard),
        None if transport == Transport::Tls && connect(address).is_some() => Reached::Connects,
        None => Reached::Silent,
    };
    let answers = matches!(reached, Reached::Answered(_));
    let users = users.first().filter(|_| answers).and_then(|known| {
        let known = ask(known)?;
        Some((known, ask("ringfence-doctor-nobody")?))
    });
    let place = match *pbx.name == *address.to_string() {
        true => address.to_string(),
        false => format!("{} ({}/{address})", pbx.name, transport.as_param()),
    };
    PbxFacts { place, address, transport, reached, users }
}

fn connect(pbx: SocketAddr) -> Option<TcpStream> {
    TcpStream::connect_timeout(&pbx, PBX_PATIENCE).ok()
}

/// An OPTIONS in somebody's name.
fn options(transport: &str, own: SocketAddr, pbx: SocketAddr, user: &str) -> String {
    let n = own.port();
    format!(
        "OPTIONS sip:{pbx} SIP/2.0\r\nVia: SIP/2.0/{transport} {own};branch=z9hG4bKdoctor{n};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{user}@{pbx}>;tag=doctor\r\nTo: <sip:{user}@{pbx}>\r\n\
         Call-ID: doctor-{n}\r\nCSeq: 1 OPTIONS\r\nContact: <sip:{user}@{own}>\r\n\
         Accept: application/sdp\r\nContent-Length: 0\r\n\r\n"
    )
}

/// As [`ask`], over TCP.
pub(super) fn ask_by_stream(pbx: SocketAddr, user: &str) -> Option<Heard> {
    let mut stream = connect(pbx)?;
    stream.set_read_timeout(Some(PBX_PATIENCE)).ok()?;
    let own = stream.local_addr().ok()?;
    stream.write_all(options("TCP", own, pbx, user).as_bytes()).ok()?;
    let mut bytes = Vec::new();
    let mut part = [0; 4_096];
    while bytes.len() < 65_535 {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(part.get(..read)?);
        // its end is where it can be read: it comes in as many parts as it likes
        if let Some(heard) = heard(&bytes) {
            return Some(heard);
        }
    }
    None
}

/// Asks the PBX with OPTIONS in somebody's name, from the edge's own inside address.
pub(super) fn ask(from: IpAddr, pbx: SocketAddr, user: &str) -> Option<Heard> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect(pbx).ok()?;
    socket.set_read_timeout(Some(PBX_PATIENCE / 2)).ok()?;
    let own = socket.local_addr().ok()?;
    let request = options("UDP", own, pbx, user);
    let mut buffer = vec![0; 65_535];
    for _ in 0..2 {
        // refused: nobody listens there
        if socket.send(request.as_bytes()).is_err() {
            return None;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => return heard(buffer.get(..length)?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
    None
}

fn heard(bytes: &[u8]) -> Option<Heard> {
    let message = Message::parse(bytes, &Limits::default()).ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut challenges: Vec<_> = [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate]
        .into_iter()
        .flat_map(|name| message.lines(name))
        .map(|(_, header)| {
            let digest = message.digest(header);
            (text(digest.realm), text(digest.algorithm).to_ascii_uppercase())
        })
        .collect();
    challenges.sort();
    (!message.is_request()).then(|| Heard { status: message.status(), challenges })
}

/// Whether a file can be made there; the directory itself may still have to be.
fn writable(directory: &Path) -> io::Result<()> {
    if !directory.exists() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is not there"));
    }
    let file = directory.join(format!(".doctor-{}", std::process::id()));
    fs::File::create(&file)?;
    fs::remove_file(&file)
}

/// Why the target of audit lines takes none, if that shows.
fn audit(audit: &config::Audit) -> Option<String> {
    let target = crate::reports::audit_target(audit);
    let failed = match &target {
        audit::Target::File { path, .. } => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            writable(directory.unwrap_or(Path::new(".")))
        }
        audit::Target::Stdout => Ok(()),
        audit::Target::Syslog(socket) | audit::Target::Journald(socket) => {
            UnixDatagram::unbound().and_then(|unbound| unbound.connect(socket))
        }
    };
    failed.err().map(|error| format!("{}: {error}", target.text()))
}

fn certificates(config: &Config) -> Vec<(PathBuf, Result<u64, String>)> {
    let files = config.listen.iter().filter_map(|listen| listen.tls.as_ref());
    let files = files.flat_map(|tls| tls.certificates.iter().map(|(certificate, _)| certificate));
    files.map(|file| (file.clone(), ends(file))).collect()
}

/// When the certificate in a PEM file ends.
pub(crate) fn ends(file: &Path) -> Result<u64, String> {
    let leaf = CertificateDer::from_pem_file(file).map_err(|error| error.to_string())?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&leaf).map_err(|error| error.to_string())?;
    u64::try_from(certificate.validity().not_after.timestamp()).map_err(|error| error.to_string())
}

/// Addresses of listeners that cannot be bound here.
fn foreign(policy: &Policy) -> Vec<IpAddr> {
    let ips: BTreeSet<IpAddr> =
        policy.listeners.iter().map(|listener| listener.address.ip()).collect();
    let is_foreign = |ip: &IpAddr| {
        UdpSocket::bind((*ip, 0))
            .is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    };
    ips.into_iter().filter(is_foreign).collect()
}

/// The domains, and the hosts of trunks, that resolve to nothing.
fn unresolved(config: &Config) -> Vec<String> {
    let is_name = |host: &str| {
        host.parse::<IpAddr>().is_err() && !host.contains('/') && !host.starts_with('*')
    };
    let hosts = config.trunks.iter().flat_map(|trunk| trunk.hosts.iter());
    let hosts = config.policy.domains.iter().chain(hosts);
    let names: BTreeSet<&str> = hosts
        .map(|host| policy::Trunk::host_and_port(host).0)
        .filter(|host| is_name(host))
        .collect();
    // each in a thread of its own: the resolver of the system takes as long as it likes
    let asked: Vec<_> = names
        .into_iter()
        .take(NAMES_MAX)
        .map(|name| {
            let (answer, answered) = mpsc::sync_channel(1);
            let host = name.to_owned();
            std::thread::spawn(move || {
                let found = (host.as_str(), 5060)
                    .to_socket_addrs()
                    .is_ok_and(|mut all| all.next().is_some());
                // whoever asked may have given up
                let _ = answer.send(found);
            });
            (name, answered)
        })
        .collect();
    let lost =
        |answered: &mpsc::Receiver<bool>| !answered.recv_timeout(NAME_PATIENCE).unwrap_or(false);
    let lost = asked.into_iter().filter(|(_, answered)| lost(answered));
    lost.map(|(name, _)| name.to_owned()).collect()
}
