//! What a packet costs that is dropped by the kernel, and one that is delivered and read.

use crate::go_first;
use crate::lab::{EDGE, Lab, address, socket};
use enforce::{Destination, DropSet, Entry, Nftables, Protocol};
use policy::Network;
use rustix::time::{ClockId, clock_gettime};
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const PACKETS: u32 = 300_000;
const ROUNDS: usize = 5;

pub fn run(lab: &Lab) {
    lab.enter_edge();
    go_first();
    let destination =
        Destination { protocol: Protocol::Udp, address: EDGE.into(), ports: 5060..=5060 };
    let mut set = Nftables::open(vec![destination], 1 << 18, 1_024).unwrap();
    let service = UdpSocket::bind((EDGE, 5060)).unwrap();
    service.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let nobody = (0..0, "nobody is banned: delivered and read");
    let few = (0..10_000, "10,000 banned: dropped by the kernel");
    let many = (0..100_000, "100,000 banned: dropped by the kernel");
    for (banned, what) in [nobody, few, many] {
        let entry = |n| Entry {
            network: Network::host(IpAddr::V4(address(n))),
            remaining: Duration::from_secs(3_600),
        };
        set.restore(&banned.map(entry).collect::<Vec<_>>()).unwrap();
        let mut costs: Vec<(f64, u32)> = (0..ROUNDS).map(|_| round(lab, &service)).collect();
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (cost, read) = costs[ROUNDS / 2];
        println!("  {what:<52} {cost:>9.0} ns a packet, its sending included   {read} read");
    }
    set.remove().unwrap();
}

/// CPU nanoseconds a packet, and how many were read.
fn round(lab: &Lab, service: &UdpSocket) -> (f64, u32) {
    let stop = AtomicBool::new(false);
    let began = clock_gettime(ClockId::ProcessCPUTime);
    let read = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut read, mut buffer) = (0, [0; 2_048]);
            while !stop.load(Relaxed) {
                read += u32::from(service.recv_from(&mut buffer).is_ok());
            }
            read
        });
        let sender = scope.spawn(|| {
            lab.enter_street();
            let socket = socket(5);
            let invite = [b'x'; 516];
            for _ in 0..PACKETS {
                socket.send_to(&invite, (EDGE, 5060)).unwrap();
            }
        });
        sender.join().unwrap();
        stop.store(true, Relaxed);
        reader.join().unwrap()
    });
    let ended = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = (ended.tv_sec - began.tv_sec) * 1_000_000_000 + (ended.tv_nsec - began.tv_nsec);
    (nanos as f64 / f64::from(PACKETS), read)
}
