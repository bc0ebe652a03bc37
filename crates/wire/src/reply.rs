//! Responses that the edge makes itself (RFC 3261 §8.2.6).
use crate::Message;
use std::net::SocketAddr;

/// What a response needs besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'r> {
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub reason: &'r str,
    /// To-tag to add when the request has none; empty adds none (100 Trying).
    pub to_tag: &'r [u8],
    /// Whole header lines with their line ends, put before Content-Length.
    pub headers: &'r [u8],
    /// Where the request came from: fills `received` and `rport` of the top Via (RFC 3581 §4).
    pub source: SocketAddr,
}

#[allow(clippy::todo, missing_docs, unused_variables, dead_code, unreachable_code)]
impl Reply<'_> {
    /// Appends the response to `request`: all Vias, From, To, Call-ID, CSeq, and (for 100)
    /// Timestamp as they came; no body.
    pub fn write(&self, request: &Message<'_>, out: &mut Vec<u8>) {
        todo!()
    }
}
