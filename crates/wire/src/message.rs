//! A message as the scanner saw it, and what is refused and what is forgiven.
//!
//! Strict where leniency is an attack (two parsers that read the same bytes differently), tolerant
//! where real phones and carriers need it:
//!
//! | refused | why |
//! |---|---|
//! | Content-Length twice, negative, not a number, or more than is there | two parsers would disagree where the message ends |
//! | NUL in the head, but as a quoted pair | ends the text for C programs |
//! | CR or LF alone in the head, on datagrams and streams | a line end for some, a character for others; none of the clean captures we have needs it |
//! | white space before the start line or the first header line, a header name that is no token, VT or FF before the colon | headers smuggled past one of two parsers |
//! | a folded line of white space only | the empty line for some readers, who would lose what stands behind it |
//! | a second From, To, Call-ID, CSeq, Max-Forwards; a second, different Content-Type, Event, Expires, Min-Expires, Refer-To, Retry-After, Session-Expires | first or last? |
//! | more than one SP between the parts of the start line, white space at its end | RFC 3261 §7.1 |
//! | white space, `<`, `>`, `"` or control characters in the Request-URI; no scheme; a SIP URI whose host or port can't be read, an IPv6 address without brackets | RFC 4475 §3.1.2.7, §3.1.2.8, RFC 5118 §4.2 |
//! | From or To with quotes or brackets not closed, anything but parameters behind the bracket; several tags in From, or in To an empty one before another | which address, which dialog? |
//! | a tag of From or To, or a branch of the top Via, with white space, quotes, backslashes, angle brackets, commas or bytes above ASCII in it | readers cut it at different places: which dialog, which transaction?
//! | CSeq of 2³¹ or more, or with another method than the Request-Line | RFC 3261 §8.1.1.5 |
//! | Max-Forwards above 255 or not a number | RFC 3261 §20.22 |
//! | a status code but 100 to 699, a version but SIP/2.0 | RFC 3261 §7.2, §21.5.6 |
//! | a top Via that can't be read, has quotes that are not around a whole value, or several branch, rport or received | no way to answer |
//! | no Via, From, To, Call-ID or CSeq; a Call-ID that is empty or has white space in it | RFC 3261 §8.1.1 |
//!
//! | forgiven | seen in |
//! |---|---|
//! | folded lines, compact names, joined and repeated headers, white space before the colon | RFC 3261 §7.3 |
//! | unknown methods, headers and schemes; bytes that are not UTF-8 | extensions, old phones |
//! | IPv6 with three colons; `received` with brackets | RFC 5118 §4.5, §4.10 |
//! | a datagram that ends behind its last header line (the empty line is added when it goes on) | RFC 4475 §3.1.2.15 |
//! | no Max-Forwards, no From tag, no branch | RFC 2543 clients, PBXs |
//! | empty or unquoted display names, commas in them; `#` and `;` in user parts | phones |
//! | up to four CRLF before a datagram's start line; bytes behind Content-Length in a datagram | RFC 3261 §7.5, §18.3 |
//! | no Content-Length in a datagram | RFC 3261 §18.3 |
//! | a status line without a reason and its space | old gateways |
//! | one `;` at the end of a Via | phones |
//! | several tags in To: the first counts | SIPp behind a server that adds its own |
//! | a line of Content-Type and its like repeated with the same value | load generators, gateways |

mod elements;
mod header_lines;
mod scan;

use crate::names::long_form;
use crate::{Digest, Limits, NameAddr, Via};
use std::cell::OnceCell;

pub use crate::malformed::Malformed;
pub use crate::names::{HeaderName, Method};
pub(crate) use elements::Elements;
use header_lines::HeaderLines;
pub(crate) use scan::{content_length, start_line_is_hopeless};

/// A half-open range of byte offsets into the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u16,
    /// One past the last byte.
    pub end: u16,
}

/// One logical header line, folds included.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Which header it is.
    pub name: HeaderName,
    /// The name as written.
    pub name_span: Span,
    /// The value, white space (and folds) at both ends trimmed.
    pub value: Span,
    /// The whole line with its line end.
    pub line: Span,
}

/// One element of a header whose values may be joined by commas or repeated in lines.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// The element's bytes, trimmed.
    pub bytes: &'a [u8],
    /// Where it stands.
    pub span: Span,
    /// Index of its line in [`Message::headers`].
    pub header: usize,
    /// Whether it is the line's first and the line's last element.
    pub first: bool,
    /// See [`Value::first`].
    pub last: bool,
}

/// CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2³¹.
    pub number: u32,
    /// Its method.
    pub method: Method<'a>,
}

/// Start line.
#[derive(Clone, Copy, Debug)]
pub enum StartLine<'a> {
    /// Request-Line.
    Request {
        /// Method.
        method: Method<'a>,
        /// Request-URI.
        uri: Span,
    },
    /// Status-Line.
    Response {
        /// 100 to 699.
        status: u16,
        /// Reason phrase.
        reason: Span,
    },
}

/// A message that passed the scanner: every mandatory header is there exactly once and readable.
#[derive(Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    start_line: StartLine<'a>,
    from: NameAddr<'a>,
    from_tag: &'a [u8],
    to: NameAddr<'a>,
    to_tag: &'a [u8],
    call_id: &'a [u8],
    cseq: CSeq<'a>,
    via: Via<'a>,
    via_value: Value<'a>,
    max_forwards: Option<u8>,
    content_length: Option<u16>,
    /// Offset of the empty line.
    headers_end: u16,
    headers: HeaderLines,
    /// The first line of credentials or of a challenge that somebody asked for: where its value
    /// stands, and what it says. Each step of a judgement looks at it.
    digest: OnceCell<(Span, Digest<'a>)>,
}

impl<'a> Message<'a> {
    /// Scans one whole message: a datagram (trailing bytes after Content-Length are cut off,
    /// RFC 3261 §18.3), or what [`crate::stream::Framer`] delivered.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        scan::scan(bytes, limits, scan::Mode::Strict)
    }

    /// Scans a request that [`Message::parse`] refused, only in order to answer it with 400 or
    /// 505: what a response copies (Via, From, To, Call-ID, CSeq) must be well-formed, the rest
    /// may be wrong: version, Request-URI, spaces in the Request-Line, Max-Forwards,
    /// Content-Length, the CSeq's method, other headers twice. Never forward what this returns;
    /// its body is empty. A response is never answered, so it is refused here.
    pub fn parse_answerable(bytes: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        scan::scan(bytes, limits, scan::Mode::Answerable)
    }

    /// The message's bytes, without what stood behind the body.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of a span of this message; empty for a span that is not of it.
    #[must_use]
    pub fn slice(&self, span: Span) -> &'a [u8] {
        self.bytes.get(usize::from(span.start)..usize::from(span.end)).unwrap_or_default()
    }

    /// Request-Line or Status-Line.
    #[must_use]
    pub fn start_line(&self) -> StartLine<'a> {
        self.start_line
    }

    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.start_line, StartLine::Request { .. })
    }

    /// Of the Request-Line, or of the CSeq of a response.
    #[must_use]
    pub fn method(&self) -> Method<'a> {
        match self.start_line {
            StartLine::Request { method, .. } => method,
            StartLine::Response { .. } => self.cseq.method,
        }
    }

    /// The Request-URI as written, empty for a response.
    #[must_use]
    pub fn request_uri(&self) -> &'a [u8] {
        self.slice(self.request_uri_span())
    }

    /// Where the Request-URI stands; empty for a response.
    #[must_use]
    pub fn request_uri_span(&self) -> Span {
        match self.start_line {
            StartLine::Request { uri, .. } => uri,
            StartLine::Response { .. } => Span::default(),
        }
    }

    /// Status code, 0 for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.start_line {
            StartLine::Request { .. } => 0,
            StartLine::Response { status, .. } => status,
        }
    }

    /// Span of the reason phrase; empty for a request.
    #[must_use]
    pub fn reason_span(&self) -> Span {
        match self.start_line {
            StartLine::Request { .. } => Span::default(),
            StartLine::Response { reason, .. } => reason,
        }
    }

    /// All header lines in order.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        self.headers.as_slice()
    }

    /// Lines of that name, in order, with their index.
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = (usize, &Header)> {
        self.headers.named(name)
    }

    /// First line of a header that is not in [`HeaderName`], by its long name, letter case
    /// ignored; a compact form counts as the long one.
    #[must_use]
    pub fn other(&self, name: &[u8]) -> Option<(usize, &Header)> {
        self.lines(HeaderName::Other)
            .find(|(_, header)| long_form(self.slice(header.name_span)).eq_ignore_ascii_case(name))
    }

    /// The name of one of its header lines, as written; a compact form that is not in
    /// [`HeaderName`] becomes the long one.
    #[must_use]
    pub fn long_name(&self, header: &Header) -> &'a [u8] {
        match header.name {
            HeaderName::Other => long_form(self.slice(header.name_span)),
            _ => self.slice(header.name_span),
        }
    }

    /// Comma-separated elements over all lines of that name, in order, empty ones left out;
    /// commas in quoted strings, angle brackets and comments do not part. (In headers that are
    /// lists of addresses or Vias a parenthesis opens no comment: it may stand in a user part.)
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = Value<'a>> {
        self.lines(name).flat_map(move |(index, header)| self.elements(index, header))
    }

    /// The elements of one line.
    pub(crate) fn elements(&self, index: usize, header: &Header) -> Elements<'a> {
        Elements::new(self.slice(header.value), header, index)
    }

    /// The trimmed value of the first line of that name.
    #[must_use]
    pub fn value(&self, name: HeaderName) -> Option<&'a [u8]> {
        self.headers.first(name).map(|(_, header)| self.slice(header.value))
    }

    /// What one of its lines of credentials or of a challenge says. Most messages have one such
    /// line at most: it is read once.
    #[must_use]
    pub fn digest(&self, header: &Header) -> Digest<'a> {
        let (span, first) = self.digest.get_or_init(|| (header.value, Digest::parse(self, header)));
        if *span == header.value { *first } else { Digest::parse(self, header) }
    }

    /// Call-ID, compared byte by byte (RFC 3261 §20.8).
    #[must_use]
    pub fn call_id(&self) -> &'a [u8] {
        self.call_id
    }

    /// CSeq.
    #[must_use]
    pub fn cseq(&self) -> CSeq<'a> {
        self.cseq
    }

    /// From.
    #[must_use]
    pub fn from(&self) -> NameAddr<'a> {
        self.from
    }

    /// To.
    #[must_use]
    pub fn to(&self) -> NameAddr<'a> {
        self.to
    }

    /// Empty when there is none (RFC 2543 clients).
    #[must_use]
    pub fn from_tag(&self) -> &'a [u8] {
        self.from_tag
    }

    /// Empty when there is none.
    #[must_use]
    pub fn to_tag(&self) -> &'a [u8] {
        self.to_tag
    }

    /// The top Via.
    #[must_use]
    pub fn via(&self) -> &Via<'a> {
        &self.via
    }

    /// The top Via as a value, for splicing.
    #[must_use]
    pub fn via_value(&self) -> Value<'a> {
        self.via_value
    }

    /// Max-Forwards, `None` when there is no such line.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        self.max_forwards
    }

    /// Expires in seconds; `None` when there is none or it is no number, at most `u32::MAX`.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.value(HeaderName::Expires).and_then(crate::chars::number)
    }

    /// Content-Length as written; `None` when there is none (datagrams only).
    #[must_use]
    pub fn content_length(&self) -> Option<u16> {
        self.content_length
    }

    /// Offset of the empty line's first byte: where a header line is appended.
    #[must_use]
    pub fn headers_end(&self) -> u16 {
        self.headers_end
    }

    /// What follows the empty line.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(usize::from(self.headers_end) + 2..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
