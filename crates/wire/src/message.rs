//! The scanner: one pass over the bytes, offsets out.

use crate::{Limits, NameAddr, Via};
use arrayvec::ArrayVec;

/// A half-open range of byte offsets into the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u16,
    /// One past the last byte.
    pub end: u16,
}

/// A request method (RFC 3261 §7.1), case-sensitive. An unknown one keeps its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method<'a> {
    Ack,
    Bye,
    Cancel,
    Info,
    Invite,
    Message,
    Notify,
    Options,
    Prack,
    Publish,
    Refer,
    Register,
    Subscribe,
    Update,
    Other(&'a [u8]),
}

/// A header's name, compact forms folded into the long one, letter case ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HeaderName {
    Accept,
    Allow,
    Authorization,
    CallId,
    Contact,
    ContentLength,
    ContentType,
    CSeq,
    Event,
    Expires,
    From,
    MaxForwards,
    MinExpires,
    Path,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyRequire,
    RecordRoute,
    ReferTo,
    Require,
    RetryAfter,
    Route,
    Server,
    SessionExpires,
    Supported,
    To,
    Unsupported,
    UserAgent,
    Via,
    WwwAuthenticate,
    Other,
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
    headers: ArrayVec<Header, { Limits::HEADER_LINES_MAX }>,
}

/// Why bytes are no SIP message. Each is the sender's fault; the name is the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Malformed {
    #[error("start_line")]
    StartLine,
}

#[allow(clippy::todo, missing_docs, unused_variables, dead_code, unreachable_code)]
impl<'a> Message<'a> {
    /// Scans one whole message: a datagram (trailing bytes after Content-Length are cut off,
    /// RFC 3261 §18.3), or what [`crate::stream::Framer`] delivered.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        todo!()
    }
    /// The message's bytes, without what stood behind the body.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
    pub fn slice(&self, span: Span) -> &'a [u8] {
        &self.bytes[span.start as usize..span.end as usize]
    }
    pub fn start_line(&self) -> StartLine<'a> {
        todo!()
    }
    pub fn is_request(&self) -> bool {
        todo!()
    }
    /// Of the Request-Line, or of the CSeq of a response.
    pub fn method(&self) -> Method<'a> {
        todo!()
    }
    /// The Request-URI as written, empty for a response.
    pub fn request_uri(&self) -> &'a [u8] {
        todo!()
    }
    pub fn request_uri_span(&self) -> Span {
        todo!()
    }
    /// Status code, 0 for a request.
    pub fn status(&self) -> u16 {
        todo!()
    }
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }
    /// Lines of that name, in order, with their index.
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = (usize, &Header)> {
        self.headers.iter().enumerate().filter(move |(_, h)| h.name == name)
    }
    /// First line of a header that is not in [`HeaderName`], by its name, letter case ignored.
    pub fn other(&self, name: &[u8]) -> Option<(usize, &Header)> {
        todo!()
    }
    /// Comma-separated elements over all lines of that name, in order; commas in quoted strings,
    /// angle brackets and comments do not part.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = Value<'a>> {
        todo!() as std::iter::Empty<Value<'a>>
    }
    /// The trimmed value of the first line of that name.
    pub fn value(&self, name: HeaderName) -> Option<&'a [u8]> {
        todo!()
    }
    pub fn call_id(&self) -> &'a [u8] {
        todo!()
    }
    pub fn cseq(&self) -> CSeq<'a> {
        todo!()
    }
    pub fn from(&self) -> NameAddr<'a> {
        todo!()
    }
    pub fn to(&self) -> NameAddr<'a> {
        todo!()
    }
    /// Empty when there is none (RFC 2543 clients).
    pub fn from_tag(&self) -> &'a [u8] {
        todo!()
    }
    /// Empty when there is none.
    pub fn to_tag(&self) -> &'a [u8] {
        todo!()
    }
    /// The top Via.
    pub fn via(&self) -> &Via<'a> {
        todo!()
    }
    /// The top Via as a value, for splicing.
    pub fn via_value(&self) -> Value<'a> {
        todo!()
    }
    /// Max-Forwards, `None` when there is no such line.
    pub fn max_forwards(&self) -> Option<u8> {
        todo!()
    }
    pub fn expires(&self) -> Option<u32> {
        todo!()
    }
    /// Offset of the empty line's first byte: where a header line is appended.
    pub fn headers_end(&self) -> u16 {
        todo!()
    }
    pub fn body(&self) -> &'a [u8] {
        todo!()
    }
}
