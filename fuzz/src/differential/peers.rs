//! The same fields, as each of the three reads them.

use bytes::Bytes;
use rsip::headers::{ToTypedHeader as _, UntypedHeader as _};
use rsip::message::HeadersExt as _;
use wire::Message;

/// What one made of a field.
#[derive(Clone, Debug)]
pub enum Field {
    /// It can't read this one (and would say so only when asked), or does not read it at all.
    Unread,
    /// Its bytes; empty for a parameter that is not there.
    Read(Vec<u8>),
}

impl Field {
    fn of(value: Option<Vec<u8>>) -> Self {
        value.map_or(Field::Unread, Field::Read)
    }
}

/// One reading of a message.
#[derive(Clone, Debug)]
pub struct Reading {
    method: Field,
    uri: Field,
    call_id: Field,
    cseq: Field,
    from_tag: Field,
    to_tag: Field,
    branch: Field,
    body_length: Field,
}

impl Reading {
    /// The fields with their names, always in the same order.
    pub fn fields(&self) -> [(&'static str, &Field); 8] {
        [
            ("method", &self.method),
            ("uri", &self.uri),
            ("call_id", &self.call_id),
            ("cseq", &self.cseq),
            ("from_tag", &self.from_tag),
            ("to_tag", &self.to_tag),
            ("branch", &self.branch),
            ("body_length", &self.body_length),
        ]
    }
}

fn length(body: &[u8]) -> Field {
    Field::Read(body.len().to_string().into_bytes())
}

fn cseq_text(number: u32, method: &[u8]) -> Vec<u8> {
    [number.to_string().as_bytes(), b" ", method].concat()
}

/// Ours.
pub fn ours(message: &Message<'_>) -> Reading {
    let request = |bytes: &[u8]| Field::of(message.is_request().then(|| bytes.to_vec()));
    let cseq = message.cseq();
    Reading {
        method: request(message.method().as_bytes()),
        uri: request(message.request_uri()),
        call_id: Field::Read(message.call_id().to_vec()),
        cseq: Field::Read(cseq_text(cseq.number, cseq.method.as_bytes())),
        from_tag: Field::Read(message.from_tag().to_vec()),
        to_tag: Field::Read(message.to_tag().to_vec()),
        branch: Field::Read(message.via().branch.to_vec()),
        body_length: length(message.body()),
    }
}

/// That of `sipx-sip`.
pub fn sipx(bytes: &[u8]) -> Result<Reading, String> {
    use sipx_sip::{Address, CSeq, HeaderName, Via};
    let message =
        sipx_sip::parse_datagram(Bytes::copy_from_slice(bytes), &sipx_sip::Limits::datagram())
            .map_err(|error| format!("{error:?}"))?;
    let headers = message.headers();
    let tag = |name: &HeaderName| {
        let address = Address::parse(&headers.get(name)?.value(), "address").ok()?;
        Some(address.tag().unwrap_or_default().to_vec())
    };
    let via = || {
        let value = headers.get(&HeaderName::Via)?.value();
        let via = Via::parse_list(&value).ok()?.into_iter().next()?;
        Some(via.branch().unwrap_or_default().to_vec())
    };
    let cseq = headers.typed::<CSeq>().and_then(Result::ok);
    let request = message.as_request();
    Ok(Reading {
        method: Field::of(request.map(|request| request.method.as_bytes().to_vec())),
        uri: Field::of(request.map(|request| request.uri.to_bytes().to_vec())),
        call_id: Field::of(headers.value(&HeaderName::CallId).map(std::borrow::Cow::into_owned)),
        cseq: Field::of(cseq.map(|cseq| cseq_text(cseq.sequence, cseq.method.as_bytes()))),
        from_tag: Field::of(tag(&HeaderName::From)),
        to_tag: Field::of(tag(&HeaderName::To)),
        branch: Field::of(via()),
        body_length: length(message.body()),
    })
}

/// That of `rsip`.
pub fn rsip(bytes: &[u8]) -> Result<Reading, String> {
    let message = rsip::SipMessage::try_from(bytes).map_err(|error| format!("{error:?}"))?;
    let text = |value: &str| value.as_bytes().to_vec();
    let from = message.from_header().ok().and_then(|from| from.typed().ok());
    let to = message.to_header().ok().and_then(|to| to.typed().ok());
    let via = message.via_header().ok().and_then(|via| via.typed().ok());
    let cseq = message.cseq_header().ok().and_then(|cseq| cseq.typed().ok());
    let request = match &message {
        rsip::SipMessage::Request(request) => Some(request),
        rsip::SipMessage::Response(_) => None,
    };
    Ok(Reading {
        method: Field::of(request.map(|request| text(&request.method.to_string()))),
        uri: Field::of(request.map(|request| text(&request.uri.to_string()))),
        call_id: Field::of(message.call_id_header().ok().map(|id| text(id.value()))),
        cseq: Field::of(
            cseq.map(|cseq| cseq_text(cseq.seq, text(&cseq.method.to_string()).as_slice())),
        ),
        from_tag: Field::of(from.map(|from| from.tag().map_or(vec![], |tag| text(tag.value())))),
        to_tag: Field::of(to.map(|to| to.tag().map_or(vec![], |tag| text(tag.value())))),
        branch: Field::of(
            via.map(|via| via.branch().map_or(vec![], |branch| text(branch.value()))),
        ),
        // Its body is all that follows the head: it does not read Content-Length.
        body_length: Field::Unread,
    })
}

/// Why a peer may refuse what we take; `None` for anything else.
pub fn refusal_class(bytes: &[u8], message: &Message<'_>, why: &str) -> Option<&'static str> {
    let classes: [(&str, bool, &str); 8] = [
        // sipx-sip
        (
            "Framing(NoHeaderTerminator)",
            usize::from(message.headers_end()) == message.bytes().len(),
            "the empty line is missing",
        ),
        ("StartLine(Empty)", bytes.starts_with(b"\r\n"), "CRLF before the start line"),
        ("StartLine(Uri(", message.is_request(), "stricter about the Request-URI"),
        ("HeaderSyntax", true, "stricter about a header line"),
        ("Limit", true, "its own limits"),
        // rsip
        ("Utf8Error", std::str::from_utf8(bytes).is_err(), "wants UTF-8"),
        ("ParseError", true, "a closed list of methods, transports and hosts"),
        ("TokenizeError", true, "a grammar without folds, spaces and some characters"),
    ];
    let class = classes.iter().find(|(prefix, holds, _)| why.starts_with(prefix) && *holds);
    class.map(|(_, _, name)| *name)
}
