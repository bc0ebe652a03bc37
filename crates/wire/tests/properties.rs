//! What holds for any message: real ones, edited, mutated, cut and joined.
#![allow(missing_docs, clippy::unwrap_used)]

mod corpus;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::LazyLock;
use wire::{
    Digest, Frame, Framer, HeaderName, Limits, Message, NameAddr, Reply, Span, Splice, Uri, Via,
};

/// Every message of the corpora.
static ALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(corpus::all);

/// Those that are read, cut to their length, with the empty line if they came without it.
static READABLE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let limits = Limits::default();
    ALL.iter()
        .filter_map(|bytes| Message::parse(bytes, &limits).ok())
        .map(|message| {
            let (mut text, mut out) = (Vec::new(), Vec::new());
            Splice::new(&message, &mut text).write(&mut out).unwrap();
            out
        })
        .collect()
});

/// Those that a stream may hold.
static STREAMABLE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let has_length = |bytes: &&Vec<u8>| {
        let message = Message::parse(bytes, &Limits::default());
        message.is_ok_and(|message| message.content_length().is_some())
    };
    READABLE.iter().filter(has_length).cloned().collect()
});

/// Those with a line that may be edited without the message ceasing to be one.
static EDITABLE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let has_other = |bytes: &&Vec<u8>| {
        let message = Message::parse(bytes, &Limits::default());
        message.is_ok_and(|message| !editable(&message).is_empty())
    };
    READABLE.iter().filter(has_other).cloned().collect()
});

fn one_of(messages: &'static LazyLock<Vec<Vec<u8>>>) -> impl Strategy<Value = &'static [u8]> {
    any::<Index>().prop_map(|index| index.get(messages.as_slice()).as_slice())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, u8),
    Repeat(Index, u8),
    Truncate(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 1..4),
        proptest::sample::select(vec![
            &b"\r\n"[..],
            b"\r\n ",
            b"\n",
            b"\0",
            b"\"",
            b"<",
            b">",
            b",",
            b";",
            b"\\",
            b":",
            b"@",
            b"[",
            b"::",
            b"tag=",
            b"branch=",
            b"rport",
            b"65536",
            b"(",
            b"l: 1\r\n",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), 1..40u8).prop_map(|(at, n)| Mutation::Delete(at, n)),
        (any::<Index>(), 1..40u8).prop_map(|(at, n)| Mutation::Repeat(at, n)),
        any::<Index>().prop_map(Mutation::Truncate),
    ]
}

fn mutated(bytes: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for mutation in mutations {
        let length = bytes.len() + 1;
        match mutation {
            Mutation::Set(at, byte) => {
                if let Some(old) = bytes.get_mut(at.index(length)) {
                    *old = *byte;
                }
            }
            Mutation::Insert(at, text) => {
                let at = at.index(length);
                bytes.splice(at..at, text.iter().copied());
            }
            Mutation::Delete(at, n) => {
                let at = at.index(length);
                bytes.drain(at..(at + usize::from(*n)).min(length - 1));
            }
            Mutation::Repeat(at, n) => {
                let at = at.index(length);
                let again = bytes[at..(at + usize::from(*n)).min(length - 1)].to_vec();
                bytes.splice(at..at, again);
            }
            Mutation::Truncate(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

/// Reads everything that can be read.
fn read_all(message: &Message<'_>) {
    let within = |span: Span| {
        assert!(span.start <= span.end && usize::from(span.end) <= message.bytes().len());
    };
    let mut at = None;
    for (index, header) in message.headers().iter().enumerate() {
        within(header.line);
        assert!(at.is_none_or(|at| at == header.line.start), "lines follow each other");
        at = Some(header.line.end);
        assert_eq!(HeaderName::of(message.slice(header.name_span)), header.name);
        let digest = Digest::parse(message, header);
        digest.opaque_span.into_iter().for_each(within);
        let values = message.values(header.name).filter(|value| value.header == index);
        for value in values {
            within(value.span);
            assert_eq!(message.slice(value.span), value.bytes);
            if let Some(address) = NameAddr::parse(value.bytes, value.span.start) {
                assert_eq!(message.slice(address.uri_span), address.uri);
                address.param_span(b"tag").into_iter().for_each(within);
                if let Some(uri) = Uri::parse(address.uri) {
                    let _ = (uri.param(b"lr"), uri.equivalent(&uri));
                }
            }
            if let Some(via) = Via::parse(value.bytes, value.span.start) {
                assert!(via.end <= value.span.end);
                if let Some((text, span)) = via.received {
                    assert!(
                        message.slice(span).ends_with(text) || message.slice(span).ends_with(b"\"")
                    );
                }
                via.rport.into_iter().for_each(|(_, span)| within(span));
            }
        }
    }
    assert_eq!(at, Some(message.headers_end()));
    assert!(message.bytes().ends_with(message.body()));
    let _ = (message.expires(), message.other(b"subject"), message.start_line());
}

/// The spans that may be edited without a request ceasing to be one.
fn editable(message: &Message<'_>) -> Vec<Span> {
    let others = message.headers().iter().filter(|header| header.name == HeaderName::Other);
    others.map(|header| header.value).collect()
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn no_edit_is_identity(bytes in one_of(&READABLE)) {
        let message = Message::parse(bytes, &Limits::default()).unwrap();
        let (mut text, mut out) = (Vec::new(), Vec::new());
        Splice::new(&message, &mut text).write(&mut out).unwrap();
        prop_assert_eq!(out, bytes);
        read_all(&message);
    }

    /// Whatever is replaced and inserted: all else is there, in order, bit for bit.
    #[test]
    fn bytes_outside_edits_are_unchanged(
        bytes in one_of(&READABLE),
        edits in vec((any::<Index>(), 0..20u16, "[a-z]{0,8}"), 0..8),
    ) {
        let message = Message::parse(bytes, &Limits::default()).unwrap();
        let mut spans: Vec<(Span, &str)> = Vec::new();
        for (at, length, with) in &edits {
            let start = at.index(bytes.len()) as u16;
            let span = Span { start, end: (start + length).min(bytes.len() as u16) };
            if spans.iter().all(|(other, _)| span.end <= other.start || other.end <= span.start) {
                spans.push((span, with));
            }
        }
        let (mut text, mut out) = (Vec::new(), Vec::new());
        let mut splice = Splice::new(&message, &mut text);
        for (span, with) in &spans {
            splice.replace(*span, with.as_bytes());
        }
        splice.write(&mut out).unwrap();
        // Stable: at one place an insert comes before a replacement, and inserts keep their order.
        spans.sort_by_key(|(span, _)| (span.start, span.end));
        let (mut expected, mut at) = (Vec::new(), 0);
        for (span, with) in spans {
            expected.extend_from_slice(&bytes[at..usize::from(span.start)]);
            expected.extend_from_slice(with.as_bytes());
            at = usize::from(span.end);
        }
        expected.extend_from_slice(&bytes[at..]);
        prop_assert_eq!(out, expected);
    }

    /// An edited message is read as what was written, and edited back it is the original.
    #[test]
    fn splices_round_trip(bytes in one_of(&EDITABLE), at in any::<Index>(), with in "[a-z]{1,9}") {
        let limits = Limits::default();
        let message = Message::parse(bytes, &limits).unwrap();
        let spans = editable(&message);
        let span = spans[at.index(spans.len())];
        let line = format!("Added: {with}\r\n");
        let (mut text, mut edited) = (Vec::new(), Vec::new());
        let mut splice = Splice::new(&message, &mut text);
        splice.replace(span, with.as_bytes());
        splice.insert(message.headers_end(), |text| text.extend_from_slice(line.as_bytes()));
        splice.write(&mut edited).unwrap();

        let reread = Message::parse(&edited, &limits).unwrap();
        prop_assert_eq!(reread.body(), message.body());
        prop_assert_eq!(reread.headers().len(), message.headers().len() + 1);
        let index = message.headers().iter().position(|header| header.value == span).unwrap();
        prop_assert_eq!(reread.slice(reread.headers()[index].value), with.as_bytes());

        let mut back = Vec::new();
        let mut splice = Splice::new(&reread, &mut text);
        splice.delete_line(reread.headers().len() - 1);
        splice.replace(reread.headers()[index].value, message.slice(span));
        splice.write(&mut back).unwrap();
        prop_assert_eq!(back, bytes);
    }

    /// Values taken away are away, the others are untouched.
    #[test]
    fn values_taken_away(bytes in one_of(&READABLE), which in any::<u32>()) {
        let limits = Limits::default();
        let message = Message::parse(bytes, &limits).unwrap();
        for name in [HeaderName::Route, HeaderName::Contact, HeaderName::RecordRoute, HeaderName::Allow] {
            let (mut text, mut out) = (Vec::new(), Vec::new());
            let mut splice = Splice::new(&message, &mut text);
            let mut kept = Vec::new();
            for (index, value) in message.values(name).enumerate() {
                if which >> (index % 32) & 1 == 1 {
                    splice.delete_value(&value);
                } else {
                    kept.push(value.bytes);
                }
            }
            splice.write(&mut out).unwrap();
            let reread = Message::parse(&out, &limits).unwrap();
            let left: Vec<_> = reread.values(name).map(|value| value.bytes).collect();
            prop_assert_eq!(left, kept);
            prop_assert_eq!(reread.body(), message.body());
        }
    }

    /// A response of ours to anything readable is readable and answers it.
    #[test]
    fn replies_are_readable(bytes in one_of(&READABLE)) {
        let limits = Limits::default();
        let request = Message::parse(bytes, &limits).unwrap();
        let source = "[fd9c::5eed]:9".parse().unwrap();
        let reply = Reply { status: 403, reason: "Forbidden", to_tag: b"t", headers: b"", source, compact: false };
        let mut out = Vec::new();
        reply.write(&request, &mut out);
        let answer = Message::parse(&out, &limits).unwrap();
        prop_assert_eq!(answer.status(), 403);
        prop_assert_eq!(answer.via().branch, request.via().branch);
        prop_assert_eq!(answer.via().received_address(), Some(source.ip()));
        prop_assert_eq!(answer.cseq(), request.cseq());
        prop_assert_eq!(answer.call_id(), request.call_id());
        prop_assert!(!answer.to_tag().is_empty());
        prop_assert_eq!(
            answer.values(HeaderName::Via).count(),
            request.values(HeaderName::Via).count()
        );
    }

    /// However a stream is cut into pieces: the same messages, each of the length that the parser
    /// finds, and the same pings.
    #[test]
    fn framing_does_not_hang_on_chunks(
        messages in vec((one_of(&STREAMABLE), 0..4usize), 1..5),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let limits = Limits::default();
        let mut stream = Vec::new();
        let mut expected: Vec<(&[u8], usize)> = Vec::new();
        for (message, crlfs) in &messages {
            stream.extend_from_slice(message);
            stream.extend_from_slice(&b"\r\n".repeat(*crlfs));
            expected.push((message, crlfs / 2));
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let (mut framer, mut found) = (Framer::new(), Vec::<(Vec<u8>, usize)>::new());
        for cut in cuts.windows(2) {
            framer.push(&stream[cut[0]..cut[1]], &limits);
            while let Some(frame) = framer.next_frame(&limits).unwrap() {
                match frame {
                    Frame::Message(bytes) => {
                        let parsed = Message::parse(bytes, &limits).unwrap();
                        prop_assert_eq!(parsed.bytes().len(), bytes.len());
                        found.push((bytes.to_vec(), 0));
                    }
                    Frame::Ping => found.last_mut().unwrap().1 += 1,
                    Frame::Pong => {}
                }
            }
        }
        prop_assert_eq!(framer.buffered(), 0);
        let found: Vec<_> = found.iter().map(|(bytes, pings)| (bytes.as_slice(), *pings)).collect();
        prop_assert_eq!(found, expected);
    }
}

proptest! {
    #![proptest_config(config(4_096))]

    #[test]
    fn mutated_messages_never_panic(
        bytes in one_of(&ALL),
        mutations in vec(mutation(), 1..6),
    ) {
        let limits = Limits::default();
        let bytes = mutated(bytes, &mutations);
        if let Ok(message) = Message::parse(&bytes, &limits) {
            read_all(&message);
        }
        let _ = Message::parse_answerable(&bytes, &limits);
        let mut framer = Framer::new();
        framer.push(&bytes, &limits);
        while let Ok(Some(frame)) = framer.next_frame(&limits) {
            if let Frame::Message(bytes) = frame
                && let Ok(message) = Message::parse(bytes, &limits)
            {
                prop_assert_eq!(message.bytes().len(), bytes.len());
            }
        }
    }
}
