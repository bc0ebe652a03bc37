//! In the steady state a message costs no allocation: registrations come and go, and the count of
//! allocations stands still.

use policy::{Listener, Pbx, Policy, Time};
use proxy::{Engine, Input, Output};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wire::{ShardId, Side, Transport};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

/// A message template; digits are filled into `#` places.
struct Template(Vec<u8>, Vec<usize>);

impl Template {
    fn new(text: &str) -> Self {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let places = (0..bytes.len()).filter(|&at| bytes[at] == b'#').collect();
        Template(bytes, places)
    }

    fn fill(&mut self, mut n: u64) -> &[u8] {
        for &at in self.1.iter().rev() {
            self.0[at] = b'0' + (n % 10) as u8;
            n /= 10;
        }
        &self.0
    }
}

struct Bench {
    engine: Engine,
    now: Time,
    sent: Vec<u8>,
    reply: Vec<u8>,
}

impl Bench {
    fn input(&mut self, side: Side, local: &str, remote: &str, bytes: &[u8]) {
        let input = Input::Datagram { side, local: addr(local), remote: addr(remote), bytes };
        self.engine.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            if let Output::Datagram { side: Side::Inside, bytes, .. } = output {
                self.sent.clear();
                self.sent.extend_from_slice(bytes);
            }
        }
    }

    /// The PBX answers what it got last with a status line and one header more.
    fn answer(&mut self, status: &[u8], more: &[u8]) {
        let mut reply = std::mem::take(&mut self.reply);
        reply.clear();
        reply.extend_from_slice(status);
        for line in self.sent.split_inclusive(|&byte| byte == b'\n').skip(1) {
            let wanted: [&[u8]; 5] = [b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"];
            if wanted.iter().any(|name| line.starts_with(name)) {
                reply.extend_from_slice(line);
            }
            if line.starts_with(b"Contact:") && status.starts_with(b"SIP/2.0 200") {
                reply.extend_from_slice(line);
            }
        }
        reply.extend_from_slice(more);
        reply.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.input(Side::Inside, "127.0.0.1:5080", "127.0.0.1:5070", &reply);
        self.reply = reply;
    }
}

fn cycle(bench: &mut Bench, first: &mut Template, second: &mut Template, n: u64) {
    bench.now = bench.now + Duration::from_millis(1);
    bench.engine.handle_timeout(bench.now);
    bench.drain();
    bench.input(Side::Outside, "203.0.113.1:5060", "198.51.100.7:5062", first.fill(2 * n));
    bench.answer(
        b"SIP/2.0 401 Unauthorized\r\n",
        b"WWW-Authenticate: Digest realm=\"a\",nonce=\"n1\"\r\n",
    );
    bench.input(Side::Outside, "203.0.113.1:5060", "198.51.100.7:5062", second.fill(2 * n + 1));
    bench.answer(b"SIP/2.0 200 OK\r\n", b"Expires: 60\r\n");
}

#[test]
fn registrations_allocate_nothing_in_the_steady_state() {
    let listener =
        Listener { transport: Transport::Udp, address: addr("203.0.113.1:5060"), advertise: None };
    let pbx = Pbx::new(addr("127.0.0.1:5070"));
    let mut policy = Policy::new(vec![listener], addr("127.0.0.1:5080"), vec![pbx]);
    // a hundredth of the usual times, so that the steady state is reached soon
    policy.timers.t1 = Duration::from_millis(5);
    policy.timers.t2 = Duration::from_millis(40);
    policy.timers.t4 = Duration::from_millis(50);
    policy.nonce_memory = Duration::from_secs(1);
    let engine = Engine::new(Arc::new(policy), ShardId(0), 1, [7; 32], [1; 32]);
    let now = Time::ZERO + Duration::from_secs(1_700_000_000);
    let mut bench = Bench { engine, now, sent: Vec::new(), reply: Vec::new() };
    let head = "REGISTER sip:pbx SIP/2.0\nVia: SIP/2.0/UDP 192.168.1.5:5062;branch=z9hG4bK########;rport\n\
        Max-Forwards: 70\nFrom: <sip:6001@pbx>;tag=ft\nTo: <sip:6001@pbx>\nCall-ID: c1\nCSeq: 1 REGISTER\n\
        Contact: <sip:6001@192.168.1.5:5062>\n";
    let mut first = Template::new(&format!("{head}Content-Length: 0\n\n"));
    let mut second = Template::new(&format!(
        "{head}Authorization: Digest username=\"6001\",nonce=\"n1\"\nContent-Length: 0\n\n"
    ));
    // longer than every linger and the life of a nonce
    const WARM: u64 = 4_000;
    const MEASURED: u64 = 1_000;
    for n in 0..WARM {
        cycle(&mut bench, &mut first, &mut second, n);
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for n in WARM..WARM + MEASURED {
        cycle(&mut bench, &mut first, &mut second, n);
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(bench.sent.starts_with(b"REGISTER"), "the cycle runs");
    assert_eq!(bench.engine.snapshot().bindings.entries, 1);
    assert!(bench.engine.snapshot().exchanges.entries > 100, "exchanges linger");
    assert_eq!(allocations, 0, "in {MEASURED} registrations");
}
