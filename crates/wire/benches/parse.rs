//! Scanning a 1 kB INVITE (aim: at most 0.7 µs, no allocation), and a REGISTER scanned, edited as
//! a proxy does, and printed. With `COUNT=piece` that piece alone, for valgrind (`bench/wire`).
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group};
use std::hint::black_box;
use std::net::SocketAddr;
use wire::{Digest, HeaderName, Limits, Message, NameAddr, Splice, Uri, Via, decimal};

#[path = "../tests/samples/mod.rs"]
mod samples;

fn parse(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("parse");
    for (name, text) in [("invite-1k", samples::INVITE), ("register", samples::REGISTER)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| Message::parse(black_box(text.as_bytes()), &limits).unwrap().headers().len());
        });
    }
    group.finish();
}

fn splice(c: &mut Criterion) {
    let limits = Limits::default();
    let (mut text, mut out) = (Vec::with_capacity(2048), Vec::with_capacity(4096));
    c.bench_function("parse+splice/register", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(samples::REGISTER.as_bytes()), &limits).unwrap();
            out.clear();
            samples::forward(&message, &mut text, &mut out);
            out.len()
        });
    });
    c.bench_function("contact/register", |b| {
        let message = Message::parse(samples::REGISTER.as_bytes(), &limits).unwrap();
        b.iter(|| {
            let value = message.values(HeaderName::Contact).next().unwrap();
            let contact = NameAddr::parse(value.bytes, value.span.start).unwrap();
            wire::Uri::parse(contact.uri).unwrap().port
        });
    });
    let message = Message::parse(samples::INVITE.as_bytes(), &limits).unwrap();
    c.bench_function("splice/identity", |b| {
        b.iter(|| {
            out.clear();
            Splice::new(&message, &mut text).write(&mut out).unwrap();
        });
    });
}

/// How often a piece is done where its instructions are counted.
const COUNTED: u32 = 1_000;

/// Valgrind collects here only.
#[inline(never)]
fn metered<T>(mut work: impl FnMut() -> T) {
    for _ in 0..COUNTED {
        black_box(work());
    }
}

/// Pieces of what is done with a message, by name.
const PIECES: [(&str, fn()); 13] = [
    ("scan: REGISTER, 11 lines", || scan(samples::FIRST_REGISTER)),
    ("scan: 401, 9 lines", || scan(samples::CHALLENGE)),
    ("scan: REGISTER with credentials", || scan(samples::REGISTER)),
    ("scan: INVITE of 1 kB", || scan(samples::INVITE)),
    ("Via::parse", || {
        let via = b"SIP/2.0/UDP 192.168.3.15:5060;branch=z9hG4bK000004d2.1;rport";
        metered(|| Via::parse(black_box(via), 0));
    }),
    ("NameAddr::parse", || {
        let contact = b"\"Phone 783\" <sip:u783@192.168.3.15:5060>;expires=60";
        metered(|| NameAddr::parse(black_box(contact), 0));
    }),
    ("NameAddr::param, the fifth", || {
        let contact =
            NameAddr::parse(b"<sip:a@h>;q=0.5;a;reg-id=1;+sip.instance=\"<urn:x>\";expires=60", 0);
        metered(|| black_box(contact).unwrap().param(b"expires"));
    }),
    ("Uri::parse, user and address", || {
        metered(|| Uri::parse(black_box(b"sip:u783@192.168.3.15:5060")));
    }),
    ("Uri::parse, name and parameters", || {
        metered(|| Uri::parse(black_box(b"sip:100@pbx.example.com;transport=udp")));
    }),
    ("Digest::parse, credentials", || digest(samples::REGISTER, HeaderName::Authorization)),
    ("Digest::parse, challenge", || digest(samples::CHALLENGE, HeaderName::WwwAuthenticate)),
    ("Splice, 12 edits", || {
        let message = Message::parse(samples::REGISTER.as_bytes(), &Limits::default()).unwrap();
        let (mut text, mut out) = (Vec::with_capacity(2048), Vec::with_capacity(4096));
        metered(|| {
            let mut splice = Splice::new(black_box(&message), &mut text);
            let headers = message.headers().iter().take(12);
            headers.for_each(|header| splice.replace(header.value, b"0123456789"));
            out.clear();
            splice.write(&mut out).unwrap();
        });
    }),
    ("decimal::write_address", || {
        let address: SocketAddr = "203.0.113.7:5062".parse().unwrap();
        let mut out = Vec::with_capacity(64);
        metered(|| {
            out.clear();
            decimal::write_address(black_box(address), &mut out);
        });
    }),
];

fn scan(text: &str) {
    let limits = Limits::default();
    metered(|| Message::parse(black_box(text.as_bytes()), &limits).unwrap().headers().len());
}

fn digest(text: &str, name: HeaderName) {
    let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
    let (_, header) = message.lines(name).next().unwrap();
    metered(|| Digest::parse(black_box(&message), header));
}

criterion_group!(benches, parse, splice);

#[allow(clippy::print_stdout)]
fn main() {
    match std::env::var("COUNT") {
        Ok(name) => match PIECES.iter().find(|(piece, _)| *piece == name) {
            Some((_, piece)) => piece(),
            None => PIECES.iter().for_each(|(piece, _)| println!("{piece}")),
        },
        Err(_) => benches(),
    }
}
