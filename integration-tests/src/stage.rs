//! One PBX, what stands in front of it, and a loopback network of its own.

use std::cell::Cell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::link::Transport;
use crate::{Asterisk, Ringfence, Stranger, Ua, tls};

/// The domain the phones are set up with.
pub const DOMAIN: &str = "pbx.test";

/// Who answers the phones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Asterisk itself, on its own transports: the reference.
    Direct,
    /// Ringfence with one shard, Asterisk behind it.
    Edge,
    /// Ringfence with four shards, Asterisk behind it.
    EdgeOfFour,
}

impl Mode {
    /// Whether Ringfence is in it.
    #[must_use]
    pub fn is_edge(self) -> bool {
        self != Mode::Direct
    }
}

/// Address family outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How a phone reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Transport outside.
    pub transport: Transport,
    /// Family outside.
    pub family: Family,
}

impl Way {
    /// UDP over IPv4.
    pub const UDP: Way = Way { transport: Transport::Udp, family: Family::V4 };
    /// TCP over IPv4.
    pub const TCP: Way = Way { transport: Transport::Tcp, family: Family::V4 };
    /// TLS over IPv4.
    pub const TLS: Way = Way { transport: Transport::Tls, family: Family::V4 };
    /// UDP over IPv6.
    pub const UDP6: Way = Way { transport: Transport::Udp, family: Family::V6 };
    /// TCP over IPv6.
    pub const TCP6: Way = Way { transport: Transport::Tcp, family: Family::V6 };
    /// TLS over IPv6.
    pub const TLS6: Way = Way { transport: Transport::Tls, family: Family::V6 };
}

/// A piece of loopback nobody else uses: a /24 of 127/8 and a range of ports on `::1`.
pub struct Network {
    index: u16,
    _claim: UdpSocket,
}

impl Network {
    const COUNT: u16 = 500;

    /// Takes one that is free on this machine; it is free again when this is dropped.
    ///
    /// # Panics
    /// When all are taken.
    #[must_use]
    pub fn claim() -> Self {
        // one after the other: what was just left may still have a socket closing
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let own = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = (std::process::id().wrapping_mul(7) as u16).wrapping_add(own);
        (0..Self::COUNT)
            .map(|i| start.wrapping_add(i) % Self::COUNT)
            .find_map(|index| {
                let claim = UdpSocket::bind((Self::address(index, 254), 9)).ok()?;
                Some(Network { index, _claim: claim })
            })
            .expect("no loopback network is free")
    }

    /// Host `n` of the /24.
    #[must_use]
    pub fn host(&self, n: u8) -> Ipv4Addr {
        Self::address(self.index, n)
    }

    /// Port `n` (0 to 39) of the range on `::1`.
    #[must_use]
    pub fn port(&self, n: u16) -> u16 {
        10_000 + self.index * 40 + n
    }

    /// Host `n` (0 to 15,999) of those far away: 64 successive ones are in as many networks.
    #[must_use]
    pub fn far(&self, n: u16) -> Ipv4Addr {
        let block = 128 + (n % 64) as u8 + 64 * (self.index >> 8) as u8;
        Ipv4Addr::new(127, block, self.index as u8, (n / 64 + 1) as u8)
    }

    fn address(index: u16, n: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 100 + (index >> 8) as u8, index as u8, n)
    }
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who answers the phones.
    pub mode: Mode,
    /// A real Asterisk; without it the test plays the PBX itself ([`Stage::scripted_pbx`]).
    pub asterisk: bool,
    /// Asterisk's `qualify_frequency`, seconds; 0 is off.
    pub qualify: u32,
    /// Asterisk's `nonce_lifetime`, seconds.
    pub nonce_life: u32,
    /// Registration mode `path`: AORs with `support_path`, Ringfence adds Path.
    pub path: bool,
    /// `rewrite_contact` of a direct Asterisk.
    pub rewrite: bool,
    /// Whether TLS clients must show `client.pem` of the directory, to the edge or to an Asterisk that
    /// stands alone.
    pub wants_certificate: bool,
    /// Sixty more accounts: 6301 to 6360.
    pub office: bool,
    /// Whether a load balancer at [`Stage::balancer`] says for whom it speaks, over TCP and TLS.
    pub balanced: bool,
    /// What stands under `inside` in place of the one PBX: `@PBX@` and `@OTHER@` are the addresses
    /// of this Asterisk and of a second one, which there is then.
    pub inside: Option<&'static str>,
    /// More lines for Ringfence's configuration.
    pub extra: String,
}

impl Plan {
    /// The common case in this mode.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Plan {
            mode,
            asterisk: true,
            qualify: 0,
            nonce_life: 32,
            path: false,
            rewrite: true,
            wants_certificate: false,
            office: false,
            balanced: false,
            inside: None,
            extra: String::new(),
        }
    }

    /// With this `qualify_frequency`.
    #[must_use]
    pub fn qualify(self, qualify: u32) -> Self {
        Plan { qualify, ..self }
    }

    /// With this `nonce_lifetime`.
    #[must_use]
    pub fn nonce_life(self, nonce_life: u32) -> Self {
        Plan { nonce_life, ..self }
    }

    /// With registration mode `path`.
    #[must_use]
    pub fn path(self) -> Self {
        Plan { path: true, ..self }
    }

    /// With a PBX the test plays itself.
    #[must_use]
    pub fn scripted(self) -> Self {
        Plan { asterisk: false, ..self }
    }

    /// With a direct Asterisk that stores Contacts as they are.
    #[must_use]
    pub fn keeping_contacts(self) -> Self {
        Plan { rewrite: false, ..self }
    }

    /// With TLS that lets no client in without a certificate.
    #[must_use]
    pub fn wanting_certificate(self) -> Self {
        Plan { wants_certificate: true, ..self }
    }

    /// With sixty more accounts.
    #[must_use]
    pub fn office(self) -> Self {
        Plan { office: true, ..self }
    }

    /// With an edge behind a load balancer.
    #[must_use]
    pub fn balanced(self) -> Self {
        Plan { balanced: true, ..self }
    }

    /// With two PBXs, and these lines under `inside`.
    #[must_use]
    pub fn inside(self, lines: &'static str) -> Self {
        Plan { inside: Some(lines), ..self }
    }

    /// With more lines in Ringfence's configuration.
    #[must_use]
    pub fn with(self, lines: &str) -> Self {
        Plan { extra: format!("{}{lines}\n", self.extra), ..self }
    }

    /// Builds it; all is ready when this returns.
    #[must_use]
    pub fn start(self) -> Stage {
        Stage::start(self)
    }
}

/// A running set-up. Everything in it ends when it is dropped.
pub struct Stage {
    /// What it was built from.
    pub plan: Plan,
    /// Its addresses.
    pub network: Network,
    /// Its files.
    pub directory: PathBuf,
    edge: Option<Ringfence>,
    asterisk: Option<Asterisk>,
    other: Option<Asterisk>,
    phones: Cell<u8>,
}

impl Stage {
    /// The common case in this mode.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Plan::new(mode).start()
    }

    fn start(plan: Plan) -> Self {
        let network = Network::claim();
        let directory = scratch().join(format!("stage-{}-{}", network.index, crate::unique()));
        fs::create_dir_all(&directory).unwrap();
        tls::write_certificates(&directory);
        let (edge, asterisk, other, phones) = (None, None, None, Cell::new(10));
        let mut stage = Stage { plan, network, directory, edge, asterisk, other, phones };
        if stage.plan.asterisk {
            let address = stage.pbx_address();
            stage.asterisk = Some(Asterisk::start(&stage, "asterisk", address));
        }
        if stage.plan.inside.is_some() {
            let address = stage.other_address();
            stage.other = Some(Asterisk::start(&stage, "other", address));
        }
        if stage.plan.mode.is_edge() {
            stage.edge = Some(Ringfence::start(&stage));
        }
        stage
    }

    /// Whether Ringfence is in it.
    #[must_use]
    pub fn is_edge(&self) -> bool {
        self.plan.mode.is_edge()
    }

    /// The public address: Ringfence's, or Asterisk's when it stands alone.
    #[must_use]
    pub fn public(&self) -> Ipv4Addr {
        self.network.host(20)
    }

    /// Where phones send to.
    #[must_use]
    pub fn server(&self, way: Way) -> SocketAddr {
        let tls = u16::from(way.transport == Transport::Tls);
        match way.family {
            Family::V4 => (IpAddr::from(self.public()), 5060 + tls).into(),
            Family::V6 => (IpAddr::from(Ipv6Addr::LOCALHOST), self.network.port(tls)).into(),
        }
    }

    /// Where a load balancer is, and sends from, which is for the test to start.
    #[must_use]
    pub fn balancer(&self) -> Ipv4Addr {
        self.network.host(5)
    }

    /// Where the PBX is: behind the edge, or at the public address.
    #[must_use]
    pub fn pbx_address(&self) -> SocketAddr {
        match self.plan.mode {
            Mode::Direct => self.server(Way::UDP),
            _ => (IpAddr::from(self.network.host(1)), 5070).into(),
        }
    }

    /// Where the second PBX is.
    #[must_use]
    pub fn other_address(&self) -> SocketAddr {
        (IpAddr::from(self.network.host(6)), 5070).into()
    }

    /// The edge's inside address; shard n has this port + n.
    #[must_use]
    pub fn inside(&self) -> SocketAddr {
        (IpAddr::from(self.network.host(2)), 5080).into()
    }

    /// A phone for an account, over UDP and IPv4.
    #[must_use]
    pub fn phone(&self, user: &str) -> Ua {
        self.phone_over(user, Way::UDP)
    }

    /// A phone for an account.
    #[must_use]
    pub fn phone_over(&self, user: &str, way: Way) -> Ua {
        let media = self.network.host(self.next_host());
        let host = match way.family {
            Family::V4 => IpAddr::from(media),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        Ua::connect(user, way.transport, host, media, self.server(way), &self.directory)
    }

    /// A phone for an account, at an address of the caller's choice.
    #[must_use]
    pub fn phone_at(&self, user: &str, host: Ipv4Addr, way: Way) -> Ua {
        Ua::connect(user, way.transport, host.into(), host, self.server(way), &self.directory)
    }

    /// A bare socket at host `n` of those far away.
    #[must_use]
    pub fn stranger(&self, n: u16) -> Stranger {
        Stranger::at(self.network.far(n).into(), self.server(Way::UDP))
    }

    /// A PBX for the test to play: it receives what Asterisk would.
    ///
    /// # Panics
    /// When this stage has an Asterisk.
    #[must_use]
    pub fn scripted_pbx(&self) -> Ua {
        assert!(self.asterisk.is_none(), "this stage has a real PBX");
        let peer = self.inside();
        Ua::listen("pbx", self.pbx_address(), self.network.host(1), peer)
    }

    /// A host number no phone has yet.
    pub fn next_host(&self) -> u8 {
        let host = match self.phones.get() {
            20 => 21, // the public address
            host => host,
        };
        self.phones.set(host + 1);
        host
    }

    /// The Asterisk.
    ///
    /// # Panics
    /// When the PBX is scripted.
    #[must_use]
    pub fn pbx(&self) -> &Asterisk {
        self.asterisk.as_ref().expect("this stage has no Asterisk")
    }

    /// The Asterisk, to stop and start it.
    ///
    /// # Panics
    /// When the PBX is scripted.
    #[must_use]
    pub fn pbx_mut(&mut self) -> &mut Asterisk {
        self.asterisk.as_mut().expect("this stage has no Asterisk")
    }

    /// The second Asterisk.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn other(&self) -> &Asterisk {
        self.other.as_ref().expect("this stage has one PBX")
    }

    /// Ends the edge, if there is one, and starts it again.
    pub fn restart_edge(&mut self) {
        if self.edge.take().is_some() {
            self.edge = Some(Ringfence::start(self));
        }
    }

    /// The edge, to look at it.
    ///
    /// # Panics
    /// In direct mode.
    #[must_use]
    pub fn ringfence(&self) -> &Ringfence {
        self.edge.as_ref().expect("no edge in direct mode")
    }

    /// The edge, to end it.
    ///
    /// # Panics
    /// In direct mode.
    #[must_use]
    pub fn edge(&mut self) -> &mut Ringfence {
        self.edge.as_mut().expect("no edge in direct mode")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.edge = None;
        self.asterisk = None;
        self.other = None;
        if std::thread::panicking() {
            println!("--- files of this run: {}", self.directory.display());
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Where this build's artefacts are (`target`, or wherever cargo was told to put them).
#[must_use]
pub(crate) fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let deps = exe.parent().unwrap();
    let profile = if deps.ends_with("deps") { deps.parent().unwrap() } else { deps };
    profile.parent().unwrap().to_owned()
}

/// A server that `install.sh` unpacks, with its libraries: at `RINGFENCE_` and its name, or in the
/// target directory.
#[must_use]
pub(crate) fn unpacked(package: &str) -> Command {
    let place = std::env::var_os(format!("RINGFENCE_{}", package.to_uppercase()));
    let place = place.map_or(target().join(package), PathBuf::from);
    let program = place.join("usr/sbin").join(package);
    assert!(program.exists(), "no {}: integration-tests/install.sh", program.display());
    let mut command = Command::new(program);
    let libraries = fs::read_dir(place.join("usr/lib")).into_iter().flatten();
    let libraries = libraries.filter_map(|entry| Some(entry.ok()?.path().display().to_string()));
    command.env("LD_LIBRARY_PATH", libraries.collect::<Vec<_>>().join(":"));
    command
}

/// The crate's own directory.
#[must_use]
pub(crate) fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `install.sh` puts PJSUA for Python, if it can: `RINGFENCE_PJSUA`, or `pjsua` in the target
/// directory.
#[must_use]
pub fn pjsua_library() -> PathBuf {
    std::env::var_os("RINGFENCE_PJSUA").map_or(target().join("pjsua"), PathBuf::from)
}

/// Keeps lines of a table that `integration-tests/run` prints at its end.
pub fn report(table: &str, line: &str) {
    use std::io::Write;
    println!("{line}");
    let file = scratch().join(format!("{table}.report"));
    let file = fs::OpenOptions::new().create(true).append(true).open(file);
    let _ = file.and_then(|mut file| writeln!(file, "{line}"));
}

fn scratch() -> PathBuf {
    target().join("integration")
}
