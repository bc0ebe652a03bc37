//! The source stage: what one datagram of a banned source costs (aim: at most 60 ns), and one of a
//! stranger, while a thousand, a hundred thousand and a million sources are banned (aim: at most
//! half as much again from the first to the last); and the same beside a feed that lists so many
//! addresses.
#![allow(missing_docs, clippy::unwrap_used)]

use admission::{Ban, BanId, BanKey, Gate, Learned, Origin};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::{Feed, FeedAction, Feeds, Listener, Mode, Network, Pbx, Policy, Reason, Time};
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ShardId, Transport};

/// Addresses are asked in an order that no cache foresees: multiples of an odd number.
const STRIDE: u32 = 0x9e37_79b1;

fn policy(bans: usize) -> Arc<Policy> {
    let address = "192.0.2.1:5060".parse().unwrap();
    let listener = Listener { transport: Transport::Udp, address, advertise: None };
    let pbx = Pbx::new("127.0.0.1:5060".parse().unwrap());
    let mut policy = Policy::new(vec![listener], "127.0.0.1:5070".parse().unwrap(), vec![pbx]);
    policy.admission.capacities.bans = bans;
    Arc::new(policy)
}

fn ban(now: Time, source: IpAddr) -> Learned {
    Learned::Ban(Box::new(Ban {
        id: BanId(0),
        key: BanKey::Source(Network::source(source)),
        why: "bench".into(),
        reason: Reason::Banned,
        proof: None,
        since: now,
        until: now + Duration::from_secs(3_600),
        narrowed: false,
        policy_version: 1,
        score: 3.0,
        origin: Origin::Operator,
        evidence: Vec::new(),
    }))
}

/// The `n`-th of the sources that are banned (none of them is ours or the PBX's).
fn banned(n: u32) -> IpAddr {
    IpAddr::from((0x0b00_0000 + n).to_be_bytes())
}

fn source(c: &mut Criterion) {
    let now = Time::ZERO + Duration::from_secs(1_800_000_000);
    let mut group = c.benchmark_group("source");
    for bans in [1_000u32, 100_000, 1_000_000] {
        let mut gate = Gate::new(policy(bans as usize), ShardId(0), &[7; 32]);
        for n in 0..bans {
            gate.learned(now, &ban(now, banned(n)));
            while gate.poll_effect().is_some() {}
        }
        let mut at = 0u32;
        let mut next = || {
            at = at.wrapping_add(STRIDE);
            ((u64::from(at) * u64::from(bans)) >> 32) as u32
        };
        group.bench_function(BenchmarkId::new("banned", bans), |b| {
            b.iter(|| gate.on_source(now, black_box(banned(next()))).unwrap());
        });
        group.bench_function(BenchmarkId::new("stranger", bans), |b| {
            b.iter(|| gate.on_source(now, black_box(banned(bans + next()))).is_none());
        });
    }
    group.finish();
}

/// The `n`-th of all addresses, in an order that leaves none of their networks empty.
fn scattered(n: u32) -> IpAddr {
    IpAddr::from(n.wrapping_mul(STRIDE).to_be_bytes())
}

/// A feed with so many addresses.
fn feed(now: Time, addresses: u32) -> Learned {
    let networks: Vec<_> = (0..addresses).map(|n| Network::source(scattered(n))).collect();
    let until = now + Duration::from_secs(3_600);
    let feed = Feed { name: "list".into(), action: FeedAction::Ban, mode: Mode::Enforce, until };
    Learned::Feeds(Arc::new(Feeds::new([(feed, &networks[..])])))
}

fn listed(c: &mut Criterion) {
    let now = Time::ZERO + Duration::from_secs(1_800_000_000);
    let mut group = c.benchmark_group("source/feed");
    for addresses in [1_000u32, 100_000, 1_000_000] {
        let mut gate = Gate::new(policy(1_000), ShardId(0), &[7; 32]);
        gate.learned(now, &feed(now, addresses));
        let mut at = 0u32;
        let mut next = || {
            at = at.wrapping_add(STRIDE);
            ((u64::from(at) * u64::from(addresses)) >> 32) as u32
        };
        assert!(gate.on_source(now, scattered(77)).is_some(), "it is listed");
        group.bench_function(BenchmarkId::new("listed", addresses), |b| {
            b.iter(|| gate.on_source(now, black_box(scattered(next()))).is_some());
        });
        group.bench_function(BenchmarkId::new("stranger", addresses), |b| {
            b.iter(|| gate.on_source(now, black_box(scattered(addresses + next()))).is_none());
        });
    }
    group.finish();
}

criterion_group!(benches, source, listed);
criterion_main!(benches);
