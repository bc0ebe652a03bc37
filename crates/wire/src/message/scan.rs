//! The scanner: one pass over the bytes, offsets out.

use super::{CSeq, HeaderLines, HeaderName, Malformed, Message, Method, Span, StartLine, Value};
use crate::block::{find, has_none};
use crate::chars::{blank, cut, is_lws, is_token, number, skip_lws, trim};
use crate::name_addr::Tags;
use crate::uri::is_printable;
use crate::{Limits, NameAddr, Uri, Via};
use std::cell::OnceCell;

/// CRLFs that may stand before a datagram's start line.
const LEADING_CRLFS_MAX: usize = 4;

/// What a wrong field that no response copies leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Refusal.
    Strict,
    /// Nothing: the message is only to be answered.
    Answerable,
}

impl Mode {
    pub fn refuse(self, reason: Malformed) -> Result<(), Malformed> {
        match self {
            Mode::Strict => Err(reason),
            Mode::Answerable => Ok(()),
        }
    }
}

pub(super) fn scan<'a>(
    bytes: &'a [u8],
    limits: &Limits,
    mode: Mode,
) -> Result<Message<'a>, Malformed> {
    let bytes = without_leading_crlfs(bytes);
    if bytes.is_empty() {
        return Err(Malformed::Empty);
    }
    if bytes.len() > limits.message_bytes.min(usize::from(u16::MAX)) {
        return Err(Malformed::TooLong);
    }
    let line_end = first_line_end(bytes, limits.start_line_bytes)?;
    let start_line = start_line(cut(bytes, 0, line_end), mode)?;
    let mut headers = HeaderLines::new();
    let headers_end = headers.read(bytes, line_end + 2, limits, mode)?;
    let body_start = (headers_end + 2).min(bytes.len());
    let there = bytes.len() - body_start;
    let value = |name| {
        headers.first(name).map(|(_, header)| (slice(bytes, header.value), header.value.start))
    };
    let length = body_length(value(HeaderName::ContentLength), there, limits, mode)?;

    let (from, from_tags) =
        name_addr(value(HeaderName::From), Malformed::FromMissing, Malformed::From)?;
    if from_tags.several {
        return Err(Malformed::From);
    }
    let (to, to_tags) = name_addr(value(HeaderName::To), Malformed::ToMissing, Malformed::To)?;
    // An empty one before another: who looks for a value would find the second.
    if to_tags.several && to_tags.first.is_empty() {
        return Err(Malformed::To);
    }
    let call_id = call_id(value(HeaderName::CallId))?;
    let cseq = cseq(value(HeaderName::CSeq))?;
    if let StartLine::Request { method, .. } = start_line
        && method != cseq.method
    {
        mode.refuse(Malformed::CSeqMethod)?;
    }
    let max_forwards = max_forwards(bytes, &headers, mode)?;
    let (via, via_value) = top_via(bytes, &headers, mode)?;
    Ok(Message {
        bytes: cut(bytes, 0, body_start + length.unwrap_or(there)),
        start_line,
        from,
        from_tag: from_tags.first,
        to,
        to_tag: to_tags.first,
        call_id,
        cseq,
        via,
        via_value,
        max_forwards,
        content_length: length.and_then(|length| u16::try_from(length).ok()),
        headers_end: headers_end as u16,
        headers,
        digest: OnceCell::new(),
    })
}

/// The length that a whole head (start line to empty line) says its body has. On streams it must
/// say so. Reads header lines just as [`scan`] does, so both find the same length.
pub(crate) fn content_length(head: &[u8], limits: &Limits) -> Result<usize, Malformed> {
    if head.len() > limits.message_bytes.min(usize::from(u16::MAX)) {
        return Err(Malformed::TooLong);
    }
    let line_end = first_line_end(head, limits.start_line_bytes)?;
    let mut headers = HeaderLines::new();
    // A fault that can be answered is left to the parser; it does not hide the next message.
    headers.read(head, line_end + 2, limits, Mode::Answerable)?;
    let mut lines = headers.named(HeaderName::ContentLength);
    let (_, header) = lines.next().ok_or(Malformed::ContentLengthMissing)?;
    if lines.next().is_some() {
        return Err(Malformed::DuplicateHeader);
    }
    read_content_length(slice(head, header.value))
}

/// Whether a start line (without its line end) is wrong beyond answering.
pub(crate) fn start_line_is_hopeless(line: &[u8]) -> Option<Malformed> {
    start_line(line, Mode::Strict).err().filter(|_| start_line(line, Mode::Answerable).is_err())
}

fn without_leading_crlfs(mut bytes: &[u8]) -> &[u8] {
    for _ in 0..LEADING_CRLFS_MAX {
        match bytes {
            [b'\r', b'\n', rest @ ..] => bytes = rest,
            _ => break,
        }
    }
    bytes
}

pub(super) fn slice(bytes: &[u8], span: Span) -> &[u8] {
    cut(bytes, usize::from(span.start), usize::from(span.end))
}

/// A span below 65,536: [`scan`] has seen to it that no offset is larger.
pub(super) fn span(start: usize, end: usize) -> Span {
    Span { start: start as u16, end: end as u16 }
}

/// Offset of the CR that ends the first line.
fn first_line_end(bytes: &[u8], max: usize) -> Result<usize, Malformed> {
    let reach = cut(bytes, 0, bytes.len().min(max.saturating_add(1)));
    let Some(end) = find(reach, 0, |block| block.is(b'\r') | block.is(b'\n') | block.is(0)) else {
        return Err(if reach.len() == bytes.len() {
            Malformed::HeadUnfinished
        } else {
            Malformed::StartLineTooLong
        });
    };
    match (bytes.get(end), bytes.get(end + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(end),
        (Some(b'\r'), None) => Err(Malformed::HeadUnfinished),
        (Some(b'\r'), _) => Err(Malformed::BareCr),
        (Some(b'\n'), _) => Err(Malformed::BareLf),
        _ => Err(Malformed::Nul),
    }
}

fn start_line(line: &[u8], mode: Mode) -> Result<StartLine<'_>, Malformed> {
    let space = find(line, 0, |block| block.is(b' ')).ok_or(Malformed::StartLine)?;
    let first = cut(line, 0, space);
    match version(first) {
        None => request_line(line, first, mode),
        Some(_) if mode == Mode::Answerable => Err(Malformed::StartLine),
        Some(false) => Err(Malformed::UnsupportedVersion),
        Some(true) => status_line(line, space + 1),
    }
}

/// Whether this is `SIP/2.0` (letter case ignored, RFC 3261 §7.1); `None` when it is no SIP
/// version at all.
fn version(bytes: &[u8]) -> Option<bool> {
    if bytes == b"SIP/2.0" || bytes.eq_ignore_ascii_case(b"SIP/2.0") {
        return Some(true);
    }
    let (sip, number) = bytes.split_at_checked(4)?;
    if !sip.eq_ignore_ascii_case(b"SIP/") {
        return None;
    }
    let dot = find(number, 0, |block| block.is(b'.'))?;
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let is_version = digits(cut(number, 0, dot)) && digits(cut(number, dot + 1, number.len()));
    is_version.then_some(false)
}

fn request_line<'a>(
    line: &'a [u8],
    method: &'a [u8],
    mode: Mode,
) -> Result<StartLine<'a>, Malformed> {
    let name = read_method(method).ok_or(Malformed::StartLine)?;
    let mut line_end = line.len();
    if mode == Mode::Answerable {
        line_end = trim(line, 0, line_end).1;
    }
    let line = cut(line, 0, line_end);
    let last = if line.ends_with(b" SIP/2.0") {
        line.len() - b" SIP/2.0".len()
    } else {
        let last = line.iter().rposition(|byte| *byte == b' ').ok_or(Malformed::StartLine)?;
        match version(cut(line, last + 1, line.len())) {
            None => return Err(Malformed::StartLine),
            Some(false) => mode.refuse(Malformed::UnsupportedVersion)?,
            Some(true) => {}
        }
        last
    };
    let start = method.len() + 1;
    let uri = line.get(start..last).ok_or(Malformed::StartLine)?;
    if !is_printable(uri) || Uri::parse(uri).is_none() {
        mode.refuse(Malformed::RequestUri)?;
    }
    Ok(StartLine::Request { method: name, uri: span(start, last) })
}

/// A method, if it is a token.
fn read_method(bytes: &[u8]) -> Option<Method<'_>> {
    match Method::of(bytes) {
        Method::Other(other) if other.is_empty() || !other.iter().all(|b| is_token(*b)) => None,
        method => Some(method),
    }
}

fn status_line(line: &[u8], start: usize) -> Result<StartLine<'_>, Malformed> {
    let rest = cut(line, start, line.len());
    let space = find(rest, 0, |block| block.is(b' ')).unwrap_or(rest.len());
    let status = match cut(rest, 0, space) {
        digits @ [_, _, _] => number(digits).filter(|status| (100..=699).contains(status)),
        _ => None,
    };
    let status = status.ok_or(Malformed::Status)? as u16;
    let reason = span((start + space + 1).min(line.len()), line.len());
    Ok(StartLine::Response { status, reason })
}

/// The body's length if Content-Length says it.
fn body_length(
    value: Option<(&[u8], u16)>,
    there: usize,
    limits: &Limits,
    mode: Mode,
) -> Result<Option<usize>, Malformed> {
    if mode == Mode::Answerable {
        return Ok(Some(0));
    }
    let length = value.map(|(value, _)| read_content_length(value)).transpose()?;
    if length.unwrap_or(there) > limits.body_bytes {
        return Err(Malformed::BodyTooLong);
    }
    if length.is_some_and(|length| length > there) {
        return Err(Malformed::BodyUnfinished);
    }
    Ok(length)
}

fn read_content_length(value: &[u8]) -> Result<usize, Malformed> {
    number(value).map(|length| length as usize).ok_or(Malformed::ContentLength)
}

/// From or To, and its tags.
fn name_addr(
    value: Option<(&[u8], u16)>,
    missing: Malformed,
    broken: Malformed,
) -> Result<(NameAddr<'_>, Tags<'_>), Malformed> {
    let (bytes, offset) = value.ok_or(missing)?;
    let parsed = NameAddr::parse(bytes, offset).ok_or(broken)?;
    let tags = parsed.tags().ok_or(broken)?;
    Ok((parsed, tags))
}

fn call_id(value: Option<(&[u8], u16)>) -> Result<&[u8], Malformed> {
    let (bytes, _) = value.ok_or(Malformed::CallIdMissing)?;
    if bytes.is_empty() || !has_none(bytes, blank) {
        return Err(Malformed::CallId);
    }
    Ok(bytes)
}

fn cseq(value: Option<(&[u8], u16)>) -> Result<CSeq<'_>, Malformed> {
    let (bytes, _) = value.ok_or(Malformed::CSeqMissing)?;
    let space = bytes.iter().position(|b| is_lws(*b)).ok_or(Malformed::CSeq)?;
    let number = number(cut(bytes, 0, space)).filter(|number| *number < 1 << 31);
    let method = read_method(cut(bytes, skip_lws(bytes, space), bytes.len()));
    match (number, method) {
        (Some(number), Some(method)) => Ok(CSeq { number, method }),
        _ => Err(Malformed::CSeq),
    }
}

fn max_forwards(bytes: &[u8], headers: &HeaderLines, mode: Mode) -> Result<Option<u8>, Malformed> {
    // there are several only where nothing hangs on them
    let Some((_, header)) = headers.named(HeaderName::MaxForwards).last() else { return Ok(None) };
    let hops = number(slice(bytes, header.value)).and_then(|number| u8::try_from(number).ok());
    if hops.is_none() {
        mode.refuse(Malformed::MaxForwards)?;
    }
    Ok(hops)
}

fn top_via<'a>(
    bytes: &'a [u8],
    headers: &HeaderLines,
    mode: Mode,
) -> Result<(Via<'a>, Value<'a>), Malformed> {
    let (index, header) = headers.first(HeaderName::Via).ok_or(Malformed::ViaMissing)?;
    let line = slice(bytes, header.value);
    let value = match headers.has_one_via() {
        true => Value { bytes: line, span: header.value, header: index, first: true, last: true },
        false => super::Elements::new(line, header, index).next().ok_or(Malformed::Via)?,
    };
    // A comma in front of it would be forgiven by some and taken for an empty Via by others.
    if value.span.start != header.value.start {
        return Err(Malformed::Via);
    }
    let any_version = mode == Mode::Answerable;
    let via = Via::read(value.bytes, value.span.start, any_version).ok_or(Malformed::Via)?;
    Ok((via, value))
}
