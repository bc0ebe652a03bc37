//! Parse, judge and splice: what one message costs the engine, without sockets.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use policy::{Listener, Pbx, Policy, Time};
use proxy::{Engine, Input, Output};
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ShardId, Side, Transport};

const PHONE: &str = "198.51.100.7:5062";
const OUTSIDE: &str = "203.0.113.1:5060";
const INSIDE: &str = "127.0.0.1:5080";
const PBX: &str = "127.0.0.1:5070";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

fn engine() -> Engine {
    let listener = Listener { transport: Transport::Udp, address: addr(OUTSIDE), advertise: None };
    let pbx = Pbx::new(addr(PBX));
    let policy = Policy::new(vec![listener], addr(INSIDE), vec![pbx]);
    Engine::new(Arc::new(policy), ShardId(0), 1, [7; 32], [1; 32])
}

fn register(n: u64) -> Vec<u8> {
    format!(
        "REGISTER sip:pbx.example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.168.1.5:5062;branch=z9hG4bK{n:016x};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"6001\" <sip:6001@pbx.example.com>;tag=f{n:x}\r\n\
         To: \"6001\" <sip:6001@pbx.example.com>\r\nCall-ID: {n:x}@192.168.1.5\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:6001@192.168.1.5:5062;ob>\r\n\
         User-Agent: Grandstream GXP1625 1.0.7.13\r\nExpires: 3600\r\n\
         Supported: path, outbound\r\nAllow: INVITE, ACK, OPTIONS, CANCEL, BYE, SUBSCRIBE, NOTIFY\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn drain(engine: &mut Engine) -> usize {
    let mut bytes = 0;
    while let Some(output) = engine.poll_output() {
        if let Output::Datagram { bytes: sent, .. } = output {
            bytes += sent.len();
        }
    }
    bytes
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(1));
    let mut engine = engine();
    let (mut n, mut now) = (0u64, Time::ZERO + Duration::from_secs(1_700_000_000));
    group.bench_function("register_forward", |b| {
        b.iter_batched_ref(
            || {
                n += 1;
                now = now + Duration::from_millis(1);
                (register(n), now)
            },
            |(bytes, now)| {
                let (local, remote) = (addr(OUTSIDE), addr(PHONE));
                let input = Input::Datagram { side: Side::Outside, local, remote, bytes };
                engine.handle_input(*now, input);
                black_box(drain(&mut engine));
                engine.handle_timeout(*now);
                black_box(drain(&mut engine))
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
