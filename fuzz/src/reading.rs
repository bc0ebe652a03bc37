//! The parser and every view on what it took.

use crate::Verdict;
use wire::{
    Digest, Header, HeaderName, Limits, Malformed, Message, NameAddr, Reply, Span, Uri, Via,
};

/// Parses, reads all there is, answers.
pub fn parse(bytes: &[u8]) -> Verdict {
    let limits = Limits::default();
    match Message::parse(bytes, &limits) {
        Ok(message) => {
            read(&message);
            answer(&message);
            let kind = if message.is_request() { "request" } else { "response" };
            kind.to_owned()
        }
        Err(reason) => {
            assert!(Malformed::ALL.contains(&reason));
            match Message::parse_answerable(bytes, &limits) {
                Ok(message) => {
                    assert!(message.is_request() && message.body().is_empty());
                    read(&message);
                    format!("{reason} (answerable)")
                }
                Err(_) => reason.to_string(),
            }
        }
    }
}

fn within(message: &Message<'_>, span: Span) {
    assert!(span.start <= span.end, "{span:?}");
    assert!(usize::from(span.end) <= message.bytes().len(), "{span:?}");
}

fn read(message: &Message<'_>) {
    let mut next = None;
    for (index, header) in message.headers().iter().enumerate() {
        within(message, header.line);
        assert!(next.is_none_or(|next| next == header.line.start), "lines follow each other");
        assert!(message.slice(header.line).ends_with(b"\r\n"));
        assert_eq!(HeaderName::of(message.slice(header.name_span)), header.name);
        next = Some(header.line.end);
        let digest = Digest::parse(message, header);
        for span in digest.opaque_span.into_iter().chain(digest.stale.map(|(_, span)| span)) {
            within(message, span);
        }
        read_values(message, index, header);
    }
    assert_eq!(next, Some(message.headers_end()));
    assert!(message.bytes().ends_with(message.body()));
    let body_start = message.bytes().len() - message.body().len();
    // A datagram may end behind its last header line.
    let empty_line = body_start - usize::from(message.headers_end());
    assert!(empty_line == 2 || empty_line == 0 && message.body().is_empty());
    assert!(!message.call_id().is_empty());
    assert!(message.cseq().number < 1 << 31);
    let via = message.via_value();
    assert!(via.first);
    assert_eq!(message.slice(via.span), via.bytes);
    assert!(message.values(HeaderName::Via).next().is_some_and(|first| first.span == via.span));
    for (address, tag) in [(message.from(), message.from_tag()), (message.to(), message.to_tag())] {
        assert_eq!(message.slice(address.uri_span), address.uri);
        assert_eq!(address.param(b"tag").unwrap_or_default(), tag);
    }
    let _ = (message.expires(), message.max_forwards(), message.other(b"subject"));
}

fn read_values(message: &Message<'_>, index: usize, header: &Header) {
    let mut before = header.value.start;
    for value in message.values(header.name).filter(|value| value.header == index) {
        within(message, value.span);
        assert!(value.span.start >= before && value.span.end <= header.value.end);
        assert!(!value.bytes.is_empty());
        assert_eq!(message.slice(value.span), value.bytes);
        before = value.span.end;
        if let Some(address) = NameAddr::parse(value.bytes, value.span.start) {
            assert_eq!(message.slice(address.uri_span), address.uri);
            if let Some(span) = address.param_span(b"tag") {
                within(message, span);
            }
            if let Some(uri) = Uri::parse(address.uri) {
                let _ = (uri.param(b"lr"), uri.is_sip());
                assert!(uri.equivalent(&uri), "a URI is equivalent to itself");
            }
        }
        if let Some(via) = Via::parse(value.bytes, value.span.start) {
            assert!(via.end >= value.span.start && via.end <= value.span.end);
            for span in via.rport.iter().map(|r| r.1).chain(via.received.iter().map(|r| r.1)) {
                within(message, span);
                assert!(span.end <= via.end);
            }
            let _ = via.received_address();
        }
    }
}

/// A response of ours to whatever was read is itself read, and answers it.
fn answer(request: &Message<'_>) {
    let source = "[fd9c::5eed]:5070".parse().expect("an address");
    let reply = Reply { status: 403, reason: "Forbidden", to_tag: b"t", headers: b"", source, compact: false };
    let mut out = Vec::new();
    reply.write(request, &mut out);
    let answer = match Message::parse(&out, &Limits::default()) {
        Ok(answer) => answer,
        // Ours adds to the lines that it copies, so it alone may be past a bound.
        Err(Malformed::HeaderLineTooLong | Malformed::HeadersTooLong) => return,
        Err(reason) => panic!("our answer is {reason}: {}", out.escape_ascii()),
    };
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.cseq(), request.cseq());
    assert_eq!(answer.call_id(), request.call_id());
    assert_eq!(answer.from_tag(), request.from_tag());
    assert_eq!(answer.via().branch, request.via().branch);
    assert_eq!(answer.via().received_address(), Some(source.ip()));
    assert!(!answer.to_tag().is_empty());
    assert_eq!(answer.values(HeaderName::Via).count(), request.values(HeaderName::Via).count());
}
