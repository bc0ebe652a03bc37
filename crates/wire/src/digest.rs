//! Challenges and credentials (RFC 3261 §22, RFC 7616, RFC 8760): parameters of
//! `WWW-Authenticate`, `Proxy-Authenticate`, `Authorization`, `Proxy-Authorization`.
use crate::{Header, Message, Span};

/// The parameters of one header line (these headers are never comma-joined lists of values; a
/// comma parts parameters, RFC 3261 §7.3.1). Quotes are taken off.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Digest<'a> {
    /// Whether the scheme is `Digest`; other schemes have no parameters here.
    pub is_digest: bool,
    pub algorithm: &'a [u8],
    pub nonce: &'a [u8],
    pub opaque: &'a [u8],
    /// The quoted value's span, quotes excluded.
    pub opaque_span: Option<Span>,
    pub realm: &'a [u8],
    pub response: &'a [u8],
    /// `stale`, with the span of its value.
    pub stale: Option<(bool, Span)>,
    pub uri: &'a [u8],
    pub username: &'a [u8],
}
#[allow(clippy::todo, missing_docs, unused_variables, dead_code, unreachable_code)]
impl<'a> Digest<'a> {
    pub fn parse(message: &Message<'a>, header: &Header) -> Self {
        todo!()
    }
}
