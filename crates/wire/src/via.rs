//! Via (RFC 3261 §20.42, RFC 3581).
use crate::{Host, Span};

/// One Via value. Spans are offsets into the message it stands in.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// The transport token as written (`UDP`, `TCP`, `TLS`, or anything else).
    pub transport: &'a [u8],
    /// sent-by host.
    pub host: Host<'a>,
    /// sent-by port if written.
    pub port: Option<u16>,
    /// `branch`, empty when there is none.
    pub branch: &'a [u8],
    /// `rport`: absent, present and empty, or with a value. The span is the whole `rport[=value]`.
    pub rport: Option<(Option<u16>, Span)>,
    /// `received`, as an address; the span is the whole `received=value`.
    pub received: Option<(&'a [u8], Span)>,
    /// Where parameters can be appended: one past the value's last byte.
    pub end: u16,
}
#[allow(clippy::todo, missing_docs, unused_variables, dead_code, unreachable_code)]
impl<'a> Via<'a> {
    /// Parses a value whose first byte stands at `offset` in the message.
    pub fn parse(bytes: &'a [u8], offset: u16) -> Option<Self> {
        todo!()
    }
    /// sent-by exactly as written, host and port.
    pub fn sent_by(&self) -> &'a [u8] {
        todo!()
    }
}
