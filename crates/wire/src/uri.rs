//! URIs (RFC 3261 §19.1, RFC 3986 for the rest), read, never rebuilt.
use std::net::IpAddr;

/// A host as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address literal.
    Address(IpAddr),
    /// A name; compare without letter case.
    Name(&'a [u8]),
}

/// A `sip:` or `sips:` URI; any other scheme has only [`Uri::scheme`] and the rest in `host`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Uri<'a> {
    pub scheme: &'a [u8],
    /// Still escaped; empty when there is none.
    pub user: &'a [u8],
    pub host: Host<'a>,
    pub port: Option<u16>,
    /// From the first `;` (without it) to the `?`, empty when there are none.
    pub params: &'a [u8],
    /// Behind the `?`, empty when there are none.
    pub headers: &'a [u8],
}
#[allow(clippy::todo, missing_docs, unused_variables, dead_code, unreachable_code)]
impl<'a> Uri<'a> {
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        todo!()
    }
    /// `sip` or `sips`, letter case ignored.
    pub fn is_sip(&self) -> bool {
        todo!()
    }
    /// A parameter's value: `Some(b"")` for a flag like `lr`; names without letter case.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        todo!()
    }
    /// RFC 3261 §19.1.4 equivalence.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        todo!()
    }
}
