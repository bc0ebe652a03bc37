//! The scanner: one pass over the bytes, offsets out.

use super::{CSeq, Header, HeaderName, Malformed, Message, Method, Span, StartLine, Value};
use crate::chars::{cut, end_of, is_lws, is_token, is_uri, number, skip_lws, trim};
use crate::name_addr::Tags;
use crate::{Limits, NameAddr, Uri, Via};
use arrayvec::ArrayVec;

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
    fn refuse(self, reason: Malformed) -> Result<(), Malformed> {
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
    let mut headers = ArrayVec::new();
    let seen = header_lines(bytes, line_end + 2, limits, mode, &mut headers)?;
    let headers_end = seen.end;
    let body_start = (headers_end + 2).min(bytes.len());
    let there = bytes.len() - body_start;
    let value = |line: Option<u8>| {
        line.and_then(|line| headers.get(usize::from(line)))
            .map(|header: &Header| (slice(bytes, header.value), header.value.start))
    };
    let length = body_length(value(seen.content_length), there, limits, mode)?;

    let (from, from_tags) = name_addr(value(seen.from), Malformed::FromMissing, Malformed::From)?;
    if from_tags.several {
        return Err(Malformed::From);
    }
    let (to, to_tags) = name_addr(value(seen.to), Malformed::ToMissing, Malformed::To)?;
    // An empty one before another: who looks for a value would find the second.
    if to_tags.several && to_tags.first.is_empty() {
        return Err(Malformed::To);
    }
    let call_id = call_id(value(seen.call_id))?;
    let cseq = cseq(value(seen.cseq))?;
    if let StartLine::Request { method, .. } = start_line
        && method != cseq.method
    {
        mode.refuse(Malformed::CSeqMethod)?;
    }
    let max_forwards = max_forwards(value(seen.max_forwards), mode)?;
    let (via, via_value) = top_via(bytes, &headers, seen.via, mode)?;
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
    })
}

/// The length that a whole head (start line to empty line) says its body has. On streams it must
/// say so. Reads header lines just as [`scan`] does, so both find the same length.
pub(crate) fn content_length(head: &[u8], limits: &Limits) -> Result<usize, Malformed> {
    if head.len() > limits.message_bytes.min(usize::from(u16::MAX)) {
        return Err(Malformed::TooLong);
    }
    let line_end = first_line_end(head, limits.start_line_bytes)?;
    let mut headers = ArrayVec::new();
    // A fault that can be answered is left to the parser; it does not hide the next message.
    header_lines(head, line_end + 2, limits, Mode::Answerable, &mut headers)?;
    let mut lines = headers.iter().filter(|header| header.name == HeaderName::ContentLength);
    let header = lines.next().ok_or(Malformed::ContentLengthMissing)?;
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

fn slice(bytes: &[u8], span: Span) -> &[u8] {
    cut(bytes, usize::from(span.start), usize::from(span.end))
}

/// A span below 65,536: [`scan`] has seen to it that no offset is larger.
fn span(start: usize, end: usize) -> Span {
    Span { start: start as u16, end: end as u16 }
}

/// Offset of the CR that ends the first line.
fn first_line_end(bytes: &[u8], max: usize) -> Result<usize, Malformed> {
    let reach = cut(bytes, 0, bytes.len().min(max.saturating_add(1)));
    let Some(end) = memchr::memchr3(b'\r', b'\n', 0, reach) else {
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
    let space = memchr::memchr(b' ', line).ok_or(Malformed::StartLine)?;
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
    let dot = memchr::memchr(b'.', number)?;
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let is_version = sip.eq_ignore_ascii_case(b"SIP/")
        && digits(cut(number, 0, dot))
        && digits(cut(number, dot + 1, number.len()));
    is_version.then_some(false)
}

fn request_line<'a>(
    line: &'a [u8],
    method: &'a [u8],
    mode: Mode,
) -> Result<StartLine<'a>, Malformed> {
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(Malformed::StartLine);
    }
    let mut line_end = line.len();
    if mode == Mode::Answerable {
        line_end = trim(line, 0, line_end).1;
    }
    let line = cut(line, 0, line_end);
    let last = memchr::memrchr(b' ', line).ok_or(Malformed::StartLine)?;
    match version(cut(line, last + 1, line.len())) {
        None => return Err(Malformed::StartLine),
        Some(false) => mode.refuse(Malformed::UnsupportedVersion)?,
        Some(true) => {}
    }
    let start = method.len() + 1;
    let uri = line.get(start..last).ok_or(Malformed::StartLine)?;
    if !uri.iter().all(|b| is_uri(*b)) || Uri::parse(uri).is_none() {
        mode.refuse(Malformed::RequestUri)?;
    }
    Ok(StartLine::Request { method: Method::of(method), uri: span(start, last) })
}

fn status_line(line: &[u8], start: usize) -> Result<StartLine<'_>, Malformed> {
    let rest = cut(line, start, line.len());
    let space = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let status = match cut(rest, 0, space) {
        digits @ [_, _, _] => number(digits).filter(|status| (100..=699).contains(status)),
        _ => None,
    };
    let status = status.ok_or(Malformed::Status)? as u16;
    let reason = span((start + space + 1).min(line.len()), line.len());
    Ok(StartLine::Response { status, reason })
}

/// Where the lines are that the scanner itself reads: indexes.
#[derive(Default)]
struct Seen {
    from: Option<u8>,
    to: Option<u8>,
    call_id: Option<u8>,
    cseq: Option<u8>,
    /// The first Via line.
    via: Option<u8>,
    max_forwards: Option<u8>,
    content_length: Option<u8>,
    /// Offset of the empty line.
    end: usize,
}

/// Reads all header lines from `start` to the empty line.
fn header_lines(
    bytes: &[u8],
    start: usize,
    limits: &Limits,
    mode: Mode,
    headers: &mut ArrayVec<Header, { Limits::HEADER_LINES_MAX }>,
) -> Result<Seen, Malformed> {
    let mut seen = Seen::default();
    let (mut names, mut vias, mut at) = (0u32, 0usize, start);
    let most = limits.header_lines.min(Limits::HEADER_LINES_MAX);
    loop {
        // a datagram may end behind its last header line (RFC 4475 §3.1.2.15 is sent so)
        if at == bytes.len() || bytes.get(at..at + 2) == Some(b"\r\n") {
            seen.end = at;
            return Ok(seen);
        }
        if headers.len() >= most {
            return Err(Malformed::TooManyHeaders);
        }
        let header = header_line(bytes, at, limits)?;
        at = usize::from(header.line.end);
        if at - start > limits.header_bytes {
            return Err(Malformed::HeadersTooLong);
        }
        let name = header.name;
        if names & name.bit() != 0 && name.is_single() {
            on_repeated(bytes, headers, &header, mode)?;
        }
        let index = Some(headers.len() as u8);
        let first = names & name.bit() == 0;
        names |= name.bit();
        match name {
            HeaderName::Via => {
                vias += via_values(bytes, &header);
                if vias > limits.via_values {
                    return Err(Malformed::TooManyVias);
                }
                seen.via = if first { index } else { seen.via };
            }
            HeaderName::From => seen.from = index,
            HeaderName::To => seen.to = index,
            HeaderName::CallId => seen.call_id = index,
            HeaderName::CSeq => seen.cseq = index,
            HeaderName::MaxForwards => seen.max_forwards = index,
            HeaderName::ContentLength => seen.content_length = index,
            _ => {}
        }
        headers.push(header);
    }
}

/// Reads one logical line that starts at `start`.
fn header_line(bytes: &[u8], start: usize, limits: &Limits) -> Result<Header, Malformed> {
    let name_end = end_of(bytes, start, is_token);
    let colon = end_of(bytes, name_end, |byte| matches!(byte, b' ' | b'\t'));
    match bytes.get(colon) {
        Some(b':') if name_end > start => {}
        None => return Err(Malformed::HeadUnfinished),
        Some(_) => return Err(line_fault(bytes, colon)),
    }
    let (end, next) = logical_line_end(bytes, colon + 1)?;
    if end - start > limits.header_line_bytes {
        return Err(Malformed::HeaderLineTooLong);
    }
    let (value_start, value_end) = trim(bytes, colon + 1, end);
    Ok(Header {
        name: HeaderName::of(cut(bytes, start, name_end)),
        name_span: span(start, name_end),
        value: span(value_start, value_end),
        line: span(start, next),
    })
}

/// What is wrong with a line that has something else at `at` where a colon should be.
fn line_fault(bytes: &[u8], at: usize) -> Malformed {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(0), _) => Malformed::Nul,
        (Some(b'\r'), None) => Malformed::HeadUnfinished,
        (Some(b'\r'), Some(b'\n')) => Malformed::HeaderName,
        (Some(b'\r'), Some(_)) => Malformed::BareCr,
        (Some(b'\n'), _) => Malformed::BareLf,
        _ => Malformed::HeaderName,
    }
}

/// From the first byte of a value: the offset of the CR that ends the logical line, and of the
/// next line.
fn logical_line_end(bytes: &[u8], start: usize) -> Result<(usize, usize), Malformed> {
    let mut at = start;
    loop {
        let rest = cut(bytes, at, bytes.len());
        let end = at + memchr::memchr3(b'\r', b'\n', 0, rest).ok_or(Malformed::HeadUnfinished)?;
        if bytes.get(end) == Some(&0) {
            return line_end_with_nul(bytes, start);
        }
        match is_line_end(bytes, end)? {
            LineEnd::Fold => at = end + 3,
            LineEnd::Last => return Ok((end, end + 2)),
        }
    }
}

enum LineEnd {
    Fold,
    Last,
}

/// Judges the CR or LF at `at`.
fn is_line_end(bytes: &[u8], at: usize) -> Result<LineEnd, Malformed> {
    match (bytes.get(at), bytes.get(at + 1), bytes.get(at + 2)) {
        (Some(b'\r'), Some(b'\n'), Some(b' ' | b'\t')) => {
            let text = end_of(bytes, at + 2, |byte| matches!(byte, b' ' | b'\t'));
            match bytes.get(text) {
                Some(b'\r' | b'\n') => Err(Malformed::EmptyFold),
                _ => Ok(LineEnd::Fold),
            }
        }
        (Some(b'\r'), Some(b'\n'), _) => Ok(LineEnd::Last),
        (Some(b'\r'), None, None) => Err(Malformed::HeadUnfinished),
        (Some(b'\r'), _, _) => Err(Malformed::BareCr),
        _ => Err(Malformed::BareLf),
    }
}

/// [`logical_line_end`] byte by byte, for the rare line with a NUL: it may stand in a quoted
/// string as a quoted pair (RFC 4475 §3.1.1.2).
fn line_end_with_nul(bytes: &[u8], start: usize) -> Result<(usize, usize), Malformed> {
    let (mut at, mut quoted) = (start, false);
    loop {
        match bytes.get(at).ok_or(Malformed::HeadUnfinished)? {
            0 => return Err(Malformed::Nul),
            b'\r' | b'\n' => match is_line_end(bytes, at)? {
                LineEnd::Fold => at += 2,
                LineEnd::Last => return Ok((at, at + 2)),
            },
            b'"' => quoted = !quoted,
            b'\\' if quoted && !matches!(bytes.get(at + 1), Some(b'\r' | b'\n')) => at += 1,
            _ => {}
        }
        at += 1;
    }
}

/// A second line of a header that may stand once.
fn on_repeated(
    bytes: &[u8],
    headers: &[Header],
    header: &Header,
    mode: Mode,
) -> Result<(), Malformed> {
    let same = || {
        let mut earlier = headers.iter().filter(|earlier| earlier.name == header.name);
        earlier.all(|earlier| slice(bytes, earlier.value) == slice(bytes, header.value))
    };
    if header.name.may_repeat_itself() && same() {
        return Ok(());
    }
    match header.name {
        HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq => {
            Err(Malformed::DuplicateHeader)
        }
        _ => mode.refuse(Malformed::DuplicateHeader),
    }
}

fn via_values(bytes: &[u8], header: &Header) -> usize {
    let value = slice(bytes, header.value);
    match memchr::memchr(b',', value) {
        None => 1,
        Some(_) => super::Elements::new(value, header, 0).count(),
    }
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
    if bytes.is_empty() || bytes.iter().any(|b| *b <= b' ' || *b == 0x7f) {
        return Err(Malformed::CallId);
    }
    Ok(bytes)
}

fn cseq(value: Option<(&[u8], u16)>) -> Result<CSeq<'_>, Malformed> {
    let (bytes, _) = value.ok_or(Malformed::CSeqMissing)?;
    let space = bytes.iter().position(|b| is_lws(*b)).ok_or(Malformed::CSeq)?;
    let number = number(cut(bytes, 0, space)).filter(|number| *number < 1 << 31);
    let method = cut(bytes, skip_lws(bytes, space), bytes.len());
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(Malformed::CSeq);
    }
    Ok(CSeq { number: number.ok_or(Malformed::CSeq)?, method: Method::of(method) })
}

fn max_forwards(value: Option<(&[u8], u16)>, mode: Mode) -> Result<Option<u8>, Malformed> {
    let Some((bytes, _)) = value else { return Ok(None) };
    let hops = number(bytes).and_then(|number| u8::try_from(number).ok());
    if hops.is_none() {
        mode.refuse(Malformed::MaxForwards)?;
    }
    Ok(hops)
}

fn top_via<'a>(
    bytes: &'a [u8],
    headers: &[Header],
    line: Option<u8>,
    mode: Mode,
) -> Result<(Via<'a>, Value<'a>), Malformed> {
    let index = usize::from(line.ok_or(Malformed::ViaMissing)?);
    let header = headers.get(index).ok_or(Malformed::ViaMissing)?;
    let line = slice(bytes, header.value);
    let value = match memchr::memchr(b',', line) {
        None => Value { bytes: line, span: header.value, header: index, first: true, last: true },
        Some(_) => super::Elements::new(line, header, index).next().ok_or(Malformed::Via)?,
    };
    // A comma in front of it would be forgiven by some and taken for an empty Via by others.
    if value.span.start != header.value.start {
        return Err(Malformed::Via);
    }
    let any_version = mode == Mode::Answerable;
    let via = Via::read(value.bytes, value.span.start, any_version).ok_or(Malformed::Via)?;
    Ok((via, value))
}
