//! Whole cycles through the engine, without sockets: what one costs in time and allocations when
//! finished transactions of the last 32 s are still held, and how much memory that takes.
//!
//! `cargo run --release -p bench-engine [-- UNITS [KIND]]`. Time runs 1 ms a unit, so 1000 units
//! are a second; the first 40 s fill the tables and are not counted. Only calls into the engine are
//! timed, not the phones and the PBX that this program plays. The rules are the shipped ones, with
//! the shipped signatures. TELEMETRY says what is told of a message, to see what that costs
//! (`bench/telemetry`); WARM_UP=n units fill the tables instead of 40,000.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement: it reads the clock, prints, and ends when something is wrong"
)]

mod peers;
mod reports;

use peers::{INSIDE, OUTSIDE, PBX, Phone, answers, parse_addr};
use policy::{Listener, Pbx, Policy, Time};
use proxy::{Engine, Input, Output};
use reports::Reports;
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use wire::{ShardId, Side, Transport};

/// Counts what is asked of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(unsafe_code, reason = "the only way to count allocations; all calls go to the system's")]
// SAFETY: each method passes its arguments on to `System`, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract is `System`'s.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// A datagram on its way.
struct Datagram {
    side: Side,
    remote: SocketAddr,
    bytes: Vec<u8>,
}

/// What the engine cost so far.
#[derive(Clone, Copy, Default)]
struct Cost {
    messages: u64,
    time: Duration,
    timers: Duration,
    allocations: u64,
}

/// An engine with its clock and its meter.
struct Bench {
    engine: Engine,
    now: Time,
    outside: SocketAddr,
    inside: SocketAddr,
    out: Vec<Datagram>,
    spare: Vec<Vec<u8>>,
    reports: Reports,
    cost: Cost,
}

impl Bench {
    fn new() -> Self {
        let (outside, inside) = (parse_addr(OUTSIDE), parse_addr(INSIDE));
        let listener = Listener { transport: Transport::Udp, address: outside, advertise: None };
        let pbx = Pbx::new(parse_addr(PBX));
        let mut policy = Policy::new(vec![listener], inside, vec![pbx]);
        policy.domains.push("pbx.test".into());
        policy.admission.signatures = config::shipped_signatures().unwrap().signatures;
        if !Reports::are_counted() {
            policy.capacities.decisions = 0;
        }
        let policy = Arc::new(policy);
        Bench {
            reports: Reports::new(&policy),
            engine: Engine::new(policy, ShardId(0), 1, [7; 32], [1; 32]),
            now: Time::ZERO + Duration::from_secs(1_800_000_000),
            outside,
            inside,
            out: Vec::new(),
            spare: Vec::new(),
            cost: Cost::default(),
        }
    }

    /// One datagram in, all that follows out; only this is metered. As a wake-up of its own: with
    /// more messages in one the clock is read less often.
    fn feed(&mut self, side: Side, remote: SocketAddr, bytes: &[u8]) {
        let local = if side == Side::Outside { self.outside } else { self.inside };
        // room for what comes out, so that keeping it is not counted
        self.out.reserve(8);
        let room = self.spare.len();
        self.spare.extend((room..8).map(|_| Vec::with_capacity(4096)));
        let (started, before) = (Instant::now(), ALLOCATIONS.load(Relaxed));
        self.metered(side, local, remote, bytes);
        self.cost.time += started.elapsed();
        self.cost.allocations += ALLOCATIONS.load(Relaxed) - before;
        self.cost.messages += 1;
    }

    #[inline(never)]
    fn metered(&mut self, side: Side, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        let woken = Instant::now();
        self.engine.handle_input(self.now, Input::Datagram { side, local, remote, bytes });
        self.drain();
        self.reports.on_wakeup(woken);
    }

    /// Lets time pass; deadlines fire.
    fn pass(&mut self, length: Duration) {
        self.now = self.now + length;
        while self.engine.poll_timeout().is_some_and(|due| due <= self.now) {
            let (started, before) = (Instant::now(), ALLOCATIONS.load(Relaxed));
            self.engine.handle_timeout(self.now);
            self.drain();
            self.cost.timers += started.elapsed();
            self.cost.allocations += ALLOCATIONS.load(Relaxed) - before;
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Datagram { side, remote, bytes, .. } => {
                    let mut kept = self.spare.pop().unwrap_or_default();
                    kept.clear();
                    kept.extend_from_slice(bytes);
                    self.out.push(Datagram { side, remote, bytes: kept });
                }
                Output::Event(event) => self.reports.on_event(self.now, &event, &self.engine),
                _ => {}
            }
        }
    }

    /// Plays one unit to its end.
    ///
    /// # Panics
    /// When it does not end as it should.
    fn unit(&mut self, phone: &mut Phone) {
        let first = phone.start();
        self.feed(Side::Outside, phone.address, &first);
        while !self.out.is_empty() {
            for datagram in std::mem::take(&mut self.out) {
                match datagram.side {
                    Side::Inside => {
                        for answer in answers(&datagram.bytes) {
                            self.feed(Side::Inside, datagram.remote, &answer);
                        }
                    }
                    Side::Outside => {
                        for next in phone.on_response(&datagram.bytes) {
                            self.feed(Side::Outside, phone.address, &next);
                        }
                    }
                }
                self.spare.push(datagram.bytes);
            }
        }
        assert!(phone.is_done(), "a unit did not end: {phone:?}");
    }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

fn main() {
    let units: u64 = std::env::args().nth(1).map_or(100_000, |n| n.parse().unwrap());
    let only = std::env::args().nth(2);
    let warm_up = std::env::var("WARM_UP").map_or(40_000, |n| n.parse().unwrap());
    println!(
        "{:10} {:>9} {:>11} {:>9} {:>13} {:>10} {:>14} {:>9}",
        "", "µs/unit", "ns/message", "timers", "allocs/unit", "held", "retained MiB", "RSS MiB"
    );
    for (method, name) in [("REGISTER", "REGISTER"), ("INVITE", "call"), ("OPTIONS", "OPTIONS")] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mut bench = Bench::new();
        for n in 0..warm_up {
            bench.unit(&mut Phone::new(method, n));
            bench.pass(Duration::from_millis(1));
        }
        bench.cost = Cost::default();
        for n in warm_up..warm_up + units {
            bench.unit(&mut Phone::new(method, n));
            bench.pass(Duration::from_millis(1));
        }
        let scraped = bench.reports.scrape(&bench.engine);
        // for whoever counts instructions
        eprintln!("a scrape: {scraped} bytes");
        eprintln!("messages: {}", bench.cost.messages);
        let (cost, held) = (bench.cost, bench.engine.snapshot());
        let per_unit = |time: Duration| time.as_secs_f64() * 1e6 / units as f64;
        println!(
            "{name:10} {:9.2} {:11.0} {:9.2} {:13.3} {:10} {:14.0} {:9.0}",
            per_unit(cost.time + cost.timers),
            cost.time.as_secs_f64() * 1e9 / cost.messages as f64,
            per_unit(cost.timers),
            cost.allocations as f64 / units as f64,
            held.exchanges.entries,
            held.retained_bytes.entries as f64 / f64::from(1 << 20),
            resident_mib(),
        );
    }
}
