//! `name-addr` and `addr-spec` with header parameters: From, To, Contact, Route, Record-Route,
//! Path, Refer-To (RFC 3261 §20.10, §25.1).
use crate::Span;

/// One such value. A quoted display name may hold a URI; only what stands in the angle brackets
/// after it counts.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct NameAddr<'a> {
    /// As written, quotes included; empty when there is none.
    pub display_name: &'a [u8],
    /// The URI's bytes, without angle brackets.
    pub uri: &'a [u8],
    pub uri_span: Span,
    /// Header parameters, from behind the first `;` after the address.
    pub params: &'a [u8],
    /// Offset of `params`.
    pub params_start: u16,
    /// Whether angle brackets were there.
    pub bracketed: bool,
}
#[allow(clippy::todo, missing_docs, unused_variables, dead_code, unreachable_code)]
impl<'a> NameAddr<'a> {
    /// Parses a value whose first byte stands at `offset` in the message.
    pub fn parse(bytes: &'a [u8], offset: u16) -> Option<Self> {
        todo!()
    }
    /// A header parameter's value (quotes taken off), `Some(b"")` for a flag.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        todo!()
    }
    /// The span of a whole `name=value` (without its `;`).
    pub fn param_span(&self, name: &[u8]) -> Option<Span> {
        todo!()
    }
}
