//! Two namespaces with a cable between them: the edge's, and the street, from which everybody comes.

use integration_tests::{Child, PATIENCE, wait_until};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

/// The edge's addresses.
pub const EDGE_V4: &str = "198.18.0.1";
pub const EDGE_V6: &str = "2001:db8:e::1";
/// Who comes from the street. The last two are of one /64.
pub const STREET: [&str; 5] =
    ["192.0.2.1", "192.0.2.2", "203.0.113.9", "2001:db8:a:1::1", "2001:db8:a:1::ffff"];
/// Somebody whom no test bans.
pub const HONEST_V4: &str = "192.0.2.200";
pub const HONEST_V6: &str = "2001:db8:a:2::1";

/// A firewall as it might be there already: it tracks connections and lets SIP and SSH in.
const FIREWALL: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif lo accept
        meta l4proto { icmp, ipv6-icmp } accept
        meta l4proto { tcp, udp } th dport { 22, 5060, 10000-10010 } accept
    }
}
";

/// The namespaces, a directory, and what runs in them.
pub struct Lab {
    edge: String,
    street: String,
    directory: tempfile::TempDir,
    runs: RefCell<u32>,
}

impl Lab {
    /// A new one.
    ///
    /// # Panics
    /// When namespaces cannot be made: these tests are not skipped.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(rustix::process::getuid().is_root(), "network namespaces need root");
        let name = format!("rf{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let lab = Lab {
            edge: format!("{name}e"),
            street: format!("{name}s"),
            directory: tempfile::tempdir().unwrap(),
            runs: RefCell::new(0),
        };
        // others than root come here, too
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(lab.directory.path(), open).unwrap();
        let (edge, street) = (&lab.edge, &lab.street);
        sh(&format!("ip netns add {edge}"));
        sh(&format!("ip netns add {street}"));
        sh(&format!("ip -n {edge} link add cable type veth peer name cable netns {street}"));
        for (namespace, v4, v6) in
            [(edge, EDGE_V4, EDGE_V6), (street, "198.18.0.2", "2001:db8:e::2")]
        {
            sh(&format!("ip -n {namespace} link set lo up"));
            sh(&format!("ip -n {namespace} link set cable up"));
            sh(&format!("ip -n {namespace} addr add {v4}/24 dev cable"));
            sh(&format!("ip -n {namespace} addr add {v6}/64 dev cable nodad"));
        }
        for ip in STREET.into_iter().chain([HONEST_V4, HONEST_V6]) {
            let prefix = if ip.contains(':') { "/128" } else { "/32" };
            let nodad = if ip.contains(':') { "nodad" } else { "" };
            sh(&format!("ip -n {street} addr add {ip}{prefix} dev cable {nodad}"));
        }
        sh(&format!("ip -n {edge} route add default via 198.18.0.2"));
        sh(&format!("ip -n {edge} -6 route add default via 2001:db8:e::2"));
        lab
    }

    /// Puts a firewall with connection tracking in front of the edge's sockets.
    pub fn with_firewall(self) -> Self {
        let file = self.path("firewall.nft");
        fs::write(&file, FIREWALL).unwrap();
        self.inside(&format!("nft -f {}", file.display()));
        self
    }

    /// A file of this lab.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a command prints that runs beside the edge.
    pub fn inside(&self, command: &str) -> String {
        sh(&format!("ip netns exec {} {command}", self.edge))
    }

    /// A command that will run beside the edge.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.edge, program]);
        command
    }

    /// A program of ours beside the edge; each run has a log of its own.
    pub fn start(&self, name: &'static str, arguments: &[&str]) -> Child {
        *self.runs.borrow_mut() += 1;
        let log = self.path(&format!("{name}-{}.log", self.runs.borrow()));
        let mut command = self.command(binary(name).to_str().unwrap());
        command.args(arguments);
        Child::start(name, &command, &log)
    }

    /// Opens something in the edge's namespace.
    pub fn at_edge<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        within(&self.edge, open)
    }

    /// Opens something on the street.
    pub fn on_street<T: Send>(&self, open: impl FnOnce() -> T + Send) -> T {
        within(&self.street, open)
    }

    /// A UDP socket of the edge.
    pub fn service(&self, ip: &str, port: u16) -> Service {
        let address = (ip.parse::<IpAddr>().unwrap(), port);
        let until = Instant::now() + PATIENCE;
        let socket = loop {
            match self.at_edge(|| UdpSocket::bind(address)) {
                // a child that another test starts right now holds what was closed until it runs
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                    std::thread::yield_now();
                }
                bound => break bound.unwrap(),
            }
        };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Service(socket)
    }

    /// A TCP listener of the edge.
    pub fn listener(&self, ip: &str, port: u16) -> TcpListener {
        let ip: IpAddr = ip.parse().unwrap();
        self.at_edge(|| TcpListener::bind((ip, port))).unwrap()
    }

    /// A UDP socket of somebody on the street.
    pub fn socket(&self, ip: &str) -> UdpSocket {
        let ip: IpAddr = ip.parse().unwrap();
        self.on_street(|| UdpSocket::bind((ip, 0))).unwrap()
    }

    /// A connection of somebody on the street, from an address of his.
    pub fn connect(&self, from: &str, to: &str, port: u16) -> TcpStream {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        self.on_street(|| {
            let domain = socket2::Domain::for_address((to, port).into());
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
            socket.connect_timeout(&SocketAddr::from((to, port)).into(), PATIENCE).unwrap();
            socket.into()
        })
    }

    /// Begins a connection without waiting for its end.
    pub fn knock(&self, from: &str, to: &str, port: u16) -> socket2::Socket {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        self.on_street(|| {
            let domain = socket2::Domain::for_address((to, port).into());
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&SocketAddr::from((to, port)).into());
            socket
        })
    }

    /// Packets that the kernel has dropped by a set.
    pub fn dropped(&self, set: &str) -> u64 {
        let text = self.inside(&format!("nft list counter inet ringfence {set}"));
        let packets = text.split("packets ").nth(1).unwrap();
        packets.split(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until so many packets were dropped by a set.
    pub fn wait_dropped(&self, set: &str, packets: u64) {
        wait_until(&format!("{packets} packets dropped by {set}"), PATIENCE, || {
            self.dropped(set) >= packets
        });
    }

    /// Whether the kernel's set holds this element.
    pub fn holds(&self, set: &str, element: &str) -> bool {
        let listed = self.command("nft").args(["list", "set", "inet", "ringfence", set]).output();
        let text = String::from_utf8(listed.unwrap().stdout).unwrap();
        text.split([' ', ',', '\n', '\t']).any(|word| word == element)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.edge, &self.street] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// A UDP socket of the edge.
pub struct Service(UdpSocket);

impl Service {
    /// Whether a datagram of `from` arrives here. A datagram of somebody honest, sent behind it,
    /// tells that it did not.
    pub fn hears(&self, lab: &Lab, from: &str) -> bool {
        let to = self.0.local_addr().unwrap();
        let honest = if to.is_ipv4() { HONEST_V4 } else { HONEST_V6 };
        self.hears_socket(&lab.socket(from), &lab.socket(honest))
    }

    /// The same with sockets that are there.
    pub fn hears_socket(&self, from: &UdpSocket, honest: &UdpSocket) -> bool {
        let to = self.0.local_addr().unwrap();
        let (asked, marker) = (integration_tests::unique(), integration_tests::unique());
        from.send_to(asked.as_bytes(), to).unwrap();
        honest.send_to(marker.as_bytes(), to).unwrap();
        let mut heard = false;
        loop {
            let mut buffer = [0; 100];
            let (length, _) = self.0.recv_from(&mut buffer).expect("the honest one is heard");
            heard |= buffer[..length] == *asked.as_bytes();
            if buffer[..length] == *marker.as_bytes() {
                return heard;
            }
        }
    }
}

/// Whether something can be read.
pub fn has_data(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = stream.read(&mut [0; 64]);
    stream.set_nonblocking(false).unwrap();
    match read {
        Ok(length) => length > 0,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

/// Writes into a connection and waits until it is read at the other end.
pub fn passes(client: &mut TcpStream, server: &mut TcpStream) {
    client.write_all(b"hello").unwrap();
    wait_until("bytes pass", PATIENCE, || has_data(server));
}

/// Ends a program at once, as the kernel would for lack of memory.
pub fn kill(child: &Child) {
    child.signal(Signal::KILL);
}

/// A binary that was built beside the tests.
pub fn binary(name: &str) -> PathBuf {
    let built = || {
        let exe = std::env::current_exe().unwrap();
        exe.ancestors().nth(2).unwrap().join("ringfence")
    };
    let ringfence = std::env::var_os("RINGFENCE").map_or_else(built, PathBuf::from);
    let file = ringfence.with_file_name(name);
    assert!(file.exists(), "{} is not built: cargo build -p {name}", file.display());
    file
}

fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    // a thread of its own: a namespace is a thread's
    std::thread::scope(|scope| {
        let moved = scope.spawn(|| {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(file.as_fd(), kind).unwrap();
            work()
        });
        moved.join().unwrap()
    })
}

fn sh(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let Output { status, stdout, stderr } = Command::new(words[0])
        .args(&words[1..])
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error} (integration-tests/install.sh)"));
    assert!(status.success(), "{command}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}
