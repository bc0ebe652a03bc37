//! The whole way: a shard's end, the client, the socket, the helper, the kernel, and back.

use crate::lab::{EDGE, Lab, address, enter, socket};
use crate::line;
use enforce::{Client, Report, Sender};
use policy::{Network, Time};
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Bans measured one by one.
const BANS: u32 = 3_000;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(1);
/// A full list.
const LIST: u32 = 100_000;

pub fn run(lab: &Lab) {
    lab.enter_edge();
    let directory = std::env::temp_dir().join(format!("ringfence-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut helper = start(&directory);
    let edge = Edge::new(directory.join("socket"));
    edge.wait(|report| *report == Report::Connected);
    edge.wait(|report| matches!(report, Report::Results(_)));
    let service = UdpSocket::bind((EDGE, 5060)).unwrap();
    service.set_nonblocking(true).unwrap();

    bans(lab, &edge, &service, "idle", 0);
    // one of a source that is banned already, one that is read by nobody; without the priority
    // that we may have
    let mut floods = [0, 1].map(|n: u32| {
        let exe = std::env::current_exe().unwrap();
        let mut command = Command::new("chrt");
        command.args(["-o", "0", "nice", "-n", "10"]).arg(exe);
        command.args(["flood", &lab.street, &n.to_string()]).spawn().expect("util-linux: chrt")
    });
    let (began, before) = (Instant::now(), received());
    bans(lab, &edge, &service, "under a flood", BANS);
    let rate = (received() - before) as f64 / began.elapsed().as_secs_f64();
    println!("  {:<52} {rate:>13.0} packets/s", "the flood meanwhile");
    for flood in &mut floods {
        flood.kill().unwrap();
        flood.wait().unwrap();
    }
    drop(edge);
    list(&directory);
    let _ = helper.kill();
    let _ = helper.wait();
    let _ = std::fs::remove_dir_all(&directory);
}

/// Bans one source after the other; each must be heard before and not after.
fn bans(lab: &Lab, edge: &Edge, service: &UdpSocket, when: &str, from: u32) {
    let (mut times, mut before, mut after) = (Vec::new(), 0, 0);
    let sockets = std::thread::scope(|scope| {
        let open = || {
            lab.enter_street();
            (from..from + BANS).map(|n| (n, socket(n))).collect::<Vec<_>>()
        };
        scope.spawn(open).join().unwrap()
    });
    for (n, socket) in &sockets {
        before += u32::from(hears(service, socket));
        let began = Instant::now();
        assert!(edge.sender.ban(Network::host(IpAddr::V4(address(*n))), edge.now() + HOUR));
        edge.wait(|report| matches!(report, Report::Results(results) if results.applied == 1));
        times.push(began.elapsed());
        after += u32::from(hears(service, socket));
        std::thread::sleep(PAUSE);
    }
    line(&format!("a ban, {when}"), times);
    println!("  {:<52} {before} heard before their ban, {after} after", "the next datagram");
}

/// Whether a datagram arrives. The cable carries it within the call, so there is nothing to wait for
/// unless others fill the queue.
fn hears(service: &UdpSocket, from: &UdpSocket) -> bool {
    let mut buffer = [0; 64];
    let own = from.local_addr().unwrap();
    from.send_to(b"bench", (EDGE, 5060)).unwrap();
    let began = Instant::now();
    let mut heard = false;
    while began.elapsed() < Duration::from_millis(2) && !heard {
        match service.recv_from(&mut buffer) {
            Ok((_, from)) => heard = from == own,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    heard
}

/// Sends as fast as it can, until it is killed.
pub fn flood(street: &str, n: u32) {
    enter(street);
    let socket = socket(n);
    let invite = [b'x'; 516];
    loop {
        // the second one to a port that nobody reads: the load is the kernel's
        let _ = socket.send_to(&invite, (EDGE, 5060 + (n & 1) as u16));
    }
}

/// Packets that came to the edge.
fn received() -> u64 {
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let cable = devices.lines().find_map(|line| line.trim().strip_prefix("cable:")).unwrap();
    cable.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A new edge with all these bans: until the helper has its full list.
fn list(directory: &Path) {
    let mut times = Vec::new();
    for _ in 0..5 {
        let edge = Edge::new(directory.join("nobody"));
        for n in 0..LIST {
            assert!(edge.sender.ban(Network::host(IpAddr::V4(address(n))), edge.now() + HOUR));
        }
        edge.wait(|report| matches!(report, Report::Absent(_)));
        // the client takes up what waits before it looks for its helper again
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        std::fs::hard_link(directory.join("socket"), directory.join("nobody")).unwrap();
        let mut applied = 0;
        edge.wait(|report| {
            if let Report::Results(results) = report {
                applied += results.applied;
            }
            applied == LIST
        });
        times.push(began.elapsed());
        std::fs::remove_file(directory.join("nobody")).unwrap();
    }
    line("100,000 sent anew after a reconnect, pause included", times);
}

const HOUR: Duration = Duration::from_secs(3_600);

fn start(directory: &Path) -> Child {
    let file = directory.join("ringfence.yaml");
    let text = format!(
        "version: 1\nlisten: [{{ transport: udp, address: \"{EDGE}:5060\" }}]\n\
         inside: {{ pbx: [\"127.0.0.1:5070\"] }}\nlog: {{ level: warn }}\n\
         enforce: {{ socket: {} }}\n",
        directory.join("socket").display()
    );
    std::fs::write(&file, text).unwrap();
    let binary = std::env::current_exe().unwrap().with_file_name("ringfence-enforcer");
    // as its unit has it
    let mut command = Command::new("nice");
    command.args(["-n", "-10"]).arg(binary).args(["run", "--user", "0", "--config"]).arg(&file);
    command.spawn().expect("cargo build --release -p ringfence-enforcer")
}

/// An edge without the rest of it.
struct Edge {
    sender: Sender,
    reports: Receiver<Report>,
    _enforcing: watch::Sender<bool>,
    began: Instant,
}

impl Edge {
    fn new(socket: PathBuf) -> Self {
        let (sender, updates) = enforce::client(1 << 18);
        let enforcing = watch::Sender::new(true);
        let began = Instant::now();
        let watched = enforcing.subscribe();
        let now = move || Time::ZERO + began.elapsed();
        let client = Client::new(socket, updates, watched, 1 << 18, now);
        let (report, reports) = sync_channel(1 << 16);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(client.run(|said| drop(report.try_send(said))));
        });
        Edge { sender, reports, _enforcing: enforcing, began }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    fn wait(&self, mut fact: impl FnMut(&Report) -> bool) {
        loop {
            let report = self.reports.recv_timeout(Duration::from_secs(20));
            if fact(&report.expect("the helper answers")) {
                return;
            }
        }
    }
}
