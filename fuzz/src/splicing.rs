//! Edits: what is not edited leaves bit for bit, and what is deleted is gone.

use crate::Verdict;
use crate::mutation::Random;
use wire::{HeaderName, Limits, Message, Span, Splice};

/// Edits a readable message at random and compares with the same edits made naively.
pub fn splice(bytes: &[u8]) -> Verdict {
    let limits = Limits::default();
    let Ok(message) = Message::parse(bytes, &limits) else { return "refused".into() };
    let mut random = Random::of(bytes);
    let (mut text, mut out) = (Vec::new(), Vec::new());
    Splice::new(&message, &mut text).write(&mut out).expect("no edits");
    assert_eq!(out, [message.bytes(), missing_empty_line(&message)].concat(), "identity");

    random_edits(&message, &mut random, &mut text);
    deleted_values(&message, &mut random, &mut text);
    deleted_lines(&message, &mut random, &mut text);
    "spliced".into()
}

/// What is added to a datagram that ended behind its last header line.
fn missing_empty_line(message: &Message<'_>) -> &'static [u8] {
    let is_there = usize::from(message.headers_end()) < message.bytes().len();
    if is_there { b"" } else { b"\r\n" }
}

fn random_edits(message: &Message<'_>, random: &mut Random, text: &mut Vec<u8>) {
    let bytes = message.bytes();
    let mut spans: Vec<(Span, Vec<u8>)> = Vec::new();
    let mut splice = Splice::new(message, text);
    for _ in 0..random.below(8) {
        let start = random.below(bytes.len());
        let end = (start + random.below(30)).min(bytes.len());
        let span = Span { start: start as u16, end: end as u16 };
        let apart = |(other, _): &(Span, _)| span.end <= other.start || other.end <= span.start;
        if spans.iter().all(apart) {
            let with = vec![b'x'; random.below(5)];
            splice.replace(span, &with);
            spans.push((span, with));
        }
    }
    let mut out = b"before".to_vec();
    splice.write(&mut out).expect("few edits");
    spans.sort_by_key(|(span, _)| (span.start, span.end));
    let (mut expected, mut at) = (b"before".to_vec(), 0);
    for (span, with) in spans {
        expected.extend_from_slice(&bytes[at..usize::from(span.start)]);
        expected.extend_from_slice(&with);
        at = usize::from(span.end);
    }
    expected.extend_from_slice(&bytes[at..]);
    expected.extend_from_slice(missing_empty_line(message));
    assert_eq!(out, expected);
}

fn deleted_values(message: &Message<'_>, random: &mut Random, text: &mut Vec<u8>) {
    for name in [HeaderName::Contact, HeaderName::Route, HeaderName::Allow, HeaderName::Other] {
        let (mut kept, mut out) = (Vec::new(), Vec::new());
        let mut splice = Splice::new(message, text);
        for value in message.values(name).take(100) {
            if random.below(2) == 0 {
                splice.delete_value(&value);
            } else {
                kept.push(value.bytes);
            }
        }
        kept.extend(message.values(name).skip(100).map(|value| value.bytes));
        splice.write(&mut out).expect("at most 96 in practice");
        let reread = Message::parse(&out, &Limits::default()).expect("still a message");
        let left: Vec<_> = reread.values(name).map(|value| value.bytes).collect();
        assert_eq!(left, kept, "{name:?} of {}", message.bytes().escape_ascii());
        assert_eq!(reread.body(), message.body());
    }
}

fn deleted_lines(message: &Message<'_>, random: &mut Random, text: &mut Vec<u8>) {
    let mut splice = Splice::new(message, text);
    let mut kept = Vec::new();
    for (index, header) in message.headers().iter().enumerate().take(90) {
        if header.name == HeaderName::Other && random.below(2) == 0 {
            splice.delete_line(index);
        } else {
            kept.push(message.slice(header.line));
        }
    }
    kept.extend(message.headers().iter().skip(90).map(|header| message.slice(header.line)));
    let mut out = Vec::new();
    splice.write(&mut out).expect("at most 90 edits");
    let reread = Message::parse(&out, &Limits::default()).expect("still a message");
    let left: Vec<_> = reread.headers().iter().map(|h| reread.slice(h.line)).collect();
    assert_eq!(left, kept);
}
