//! The request stage: the whole judgement of a parsed request (aim: at most 600 ns), of a phone at
//! home and of a stranger, while a thousand, a hundred thousand and a million sources are known
//! (aim: at most half as much again from the first to the last).
#![allow(missing_docs, clippy::unwrap_used)]

use admission::{Final, Gate, Request, Verdict};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::{Listener, Pbx, Policy, Time};
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use wire::{Flow, Limits, Message, ShardId, Transport};

/// Sources come in an order that no cache foresees: multiples of an odd number.
const STRIDE: u32 = 0x9e37_79b1;
const REST: &str = "SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.7:5060;branch=z9hG4bK-524287-1---x;rport\r\n\
    Max-Forwards: 70\r\nContact: <sip:alice@10.0.0.7:5060>\r\nTo: <sip:alice@pbx.example>\r\n\
    From: <sip:alice@pbx.example>;tag=5bb3d5ef\r\nCall-ID: 1jt0ZDgLCm9hQW1tDB8rDg..\r\n\
    CSeq: 1 REGISTER\r\nExpires: 600\r\nUser-Agent: Z 5.6.1 v2.10.19.9\r\n";

fn gate(sources: usize) -> Gate {
    let address = "192.0.2.1:5060".parse().unwrap();
    let listener = Listener { transport: Transport::Udp, address, advertise: None };
    let pbx = Pbx::new("127.0.0.1:5060".parse().unwrap());
    let mut policy = Policy::new(vec![listener], "127.0.0.1:5070".parse().unwrap(), vec![pbx]);
    policy.admission.capacities.sources = sources * 2;
    policy.admission.capacities.pairs = sources * 2;
    policy.admission.capacities.rates = sources * 2;
    policy.capacities.nonces = sources * 4;
    Gate::new(Arc::new(policy), ShardId(0), &[7; 32])
}

fn flow(n: u32) -> Flow {
    let ip = IpAddr::from((0x0b00_0000 + n).to_be_bytes());
    Flow::udp("192.0.2.1:5060".parse().unwrap(), SocketAddr::new(ip, 5_060))
}

fn judgement(c: &mut Criterion) {
    let mut now = Time::ZERO + Duration::from_secs(1_800_000_000);
    let text = |head: &str, lines: &str| format!("{head} {REST}{lines}Content-Length: 0\r\n\r\n");
    let limits = Limits::default();
    let nonce = "nonce=\"1800000000/0123456789abcdef0123456789abcdef\"";
    let plain = text("REGISTER sip:pbx.example", "");
    let with = text(
        "REGISTER sip:pbx.example",
        &format!("Authorization: Digest username=\"alice\",realm=\"a\",{nonce},response=\"0\"\r\n"),
    );
    let challenge = text("x", &format!("WWW-Authenticate: Digest realm=\"a\",{nonce}\r\n"))
        .replace("x SIP/2.0\r\n", "SIP/2.0 401 x\r\n");
    let ok = text("x", "").replace("x SIP/2.0\r\n", "SIP/2.0 200 OK\r\n");
    let parse = |text: &'static str| Message::parse(text.as_bytes(), &limits).unwrap();
    let [plain, with, challenge, ok] =
        [plain, with, challenge, ok].map(|text| parse(Box::leak(text.into_boxed_str())));
    let mut group = c.benchmark_group("judgement");
    for sources in [1_000u32, 100_000, 1_000_000] {
        let mut gate = gate(sources as usize);
        for n in 0..sources {
            let flow = flow(n);
            for (message, response) in [(&plain, &challenge), (&with, &ok)] {
                now = now + Duration::from_micros(20);
                let request = Request { flow: &flow, message, dialog: false, pbx: 0 };
                let Verdict::Accept(pass) = gate.on_request(now, &request).verdict else {
                    continue;
                };
                let ticket = &pass.ticket;
                let request_uri = message.request_uri();
                let answer = Final { flow: &flow, message: response, ticket, request_uri };
                gate.on_final(now, &answer);
                while gate.poll_effect().is_some() {}
            }
        }
        let mut at = 0u32;
        let mut judge = |name: &str, offset: u32| {
            group.bench_function(BenchmarkId::new(name, sources), |b| {
                b.iter(|| {
                    at = at.wrapping_add(STRIDE);
                    now = now + Duration::from_micros(20);
                    let flow = flow(offset + at % sources);
                    let request = Request { flow: &flow, message: &plain, dialog: false, pbx: 0 };
                    black_box(gate.on_request(now, &request))
                });
            });
        };
        judge("at-home", 0);
        judge("stranger", 100_000_000);
    }
    group.finish();
}

criterion_group!(benches, judgement);
criterion_main!(benches);
