//! The whole shipped catalogue on an honest INVITE and REGISTER (aim: at most 300 ns each), on a
//! tool's request, and the shape of the same (aim: at most 200 ns).
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use wire::{Limits, Message};

#[path = "../../wire/tests/samples/mod.rs"]
mod samples;

const SCAN: &str = "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\n\
Via: SIP/2.0/UDP 198.51.100.7:5061;branch=z9hG4bK-1595378437;rport\r\n\
Max-Forwards: 70\r\n\
To: \"sipvicious\"<sip:100@1.1.1.1>\r\n\
From: \"sipvicious\"<sip:100@1.1.1.1>;tag=3766303030303031313363340132343130323230353732\r\n\
User-Agent: friendly-scanner\r\n\
Call-ID: 24635896976496389030718\r\n\
Contact: sip:100@198.51.100.7:5061\r\n\
CSeq: 1 OPTIONS\r\n\
Accept: application/sdp\r\n\
Content-Length: 0\r\n\r\n";

fn matching(c: &mut Criterion) {
    let limits = Limits::default();
    let signatures = config::shipped_signatures().unwrap().signatures;
    for (name, text) in
        [("invite", samples::INVITE), ("register", samples::REGISTER), ("scan", SCAN)]
    {
        let message = Message::parse(text.as_bytes(), &limits).unwrap();
        // what a fast machine and a busy one have in common
        c.bench_function(&format!("parse/{name}"), |b| {
            b.iter(|| Message::parse(black_box(text.as_bytes()), &limits).unwrap().headers().len());
        });
        c.bench_function(&format!("signatures/{name}"), |b| {
            b.iter(|| signatures.matches(black_box(&message)).len());
        });
        c.bench_function(&format!("shape/{name}"), |b| {
            b.iter(|| admission::shape(black_box(&message)));
        });
    }
}

criterion_group!(benches, matching);
criterion_main!(benches);
