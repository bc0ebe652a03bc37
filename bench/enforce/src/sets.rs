//! The kernel's sets alone.

use crate::lab::{EDGE, Lab, address};
use crate::{go_first, line};
use enforce::{Change, Destination, DropSet, Entry, Nftables, Protocol};
use policy::Network;
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3_600);

pub fn run(lab: &Lab) {
    lab.enter_edge();
    go_first();
    for present in [0, 100_000] {
        let mut set = open();
        set.restore(&sources(1 << 20, present)).unwrap();
        let times = each((0..10_000).map(source), |change| {
            assert_eq!(set.apply(&[change]).unwrap().failed, 0);
        });
        line(&format!("a ban, raw netlink, {present} present"), times);
        let gone = (0..10_000).map(|n| Change::Remove(source(n).network()));
        let times = each(gone, |change| {
            assert_eq!(set.apply(&[change]).unwrap().failed, 0);
        });
        line(&format!("a lift, raw netlink, {present} present"), times);
        let times = each(0..100, |n| {
            let element = format!("{{ {} }}", address(n));
            let command = ["add", "element", "inet", "ringfence", "sources_v4", &element];
            assert!(Command::new("nft").args(command).status().unwrap().success());
        });
        line(&format!("a ban, a spawned nft, {present} present"), times);
    }
    for present in [16, 256, 1_024, 4_096] {
        let mut set = open();
        set.restore(&networks(present)).unwrap();
        let times = each((0..200).map(|n| Change::Add(network(60_000 + n))), |change| {
            assert_eq!(set.apply(&[change]).unwrap().failed, 0);
        });
        line(&format!("a banned network (interval set), {present} present"), times);
    }
    let mut set = open();
    let all = sources(0, 100_000);
    let times = each(0..10, |_| set.restore(&all).unwrap());
    line("100,000 restored, one transaction", times);
    let times = each(0..1_000, |_| assert!(set.is_intact().unwrap()));
    line("looking whether all is in place, nothing changed", times);
    assert_eq!(set.entries().unwrap().len(), 100_000);
    set.remove().unwrap();
}

fn open() -> Nftables {
    let destination =
        Destination { protocol: Protocol::Udp, address: EDGE.into(), ports: 5060..=5060 };
    Nftables::open(vec![destination], 1 << 18, 1 << 16).unwrap()
}

fn each<T>(all: impl Iterator<Item = T>, mut work: impl FnMut(T)) -> Vec<Duration> {
    let time = |one| {
        let began = Instant::now();
        work(one);
        began.elapsed()
    };
    all.map(time).collect()
}

fn source(n: u32) -> Change {
    Change::Add(Entry { network: Network::host(IpAddr::V4(address(n))), remaining: HOUR })
}

fn sources(from: u32, count: u32) -> Vec<Entry> {
    let entry = |n| Entry { network: Network::host(IpAddr::V4(address(n))), remaining: HOUR };
    (from..from + count).map(entry).collect()
}

/// Every second /24, so that none touch.
fn network(n: u32) -> Entry {
    let address = IpAddr::V4((0x1000_0000 + n * 512).into());
    Entry { network: Network::new(address, 24), remaining: HOUR }
}

fn networks(count: u32) -> Vec<Entry> {
    (0..count).map(network).collect()
}
