//! Scanning a 1 kB INVITE (aim: at most 0.7 µs, no allocation), and a REGISTER scanned, edited as
//! a proxy does, and printed.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wire::{HeaderName, Limits, Message, NameAddr, Splice};

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

criterion_group!(benches, parse, splice);
criterion_main!(benches);
