//! Framing of streams (RFC 3261 §7.5, §18.3; RFC 5626 §3.5.1).
use crate::{Limits, Malformed};

/// Cuts a stream into messages and keep-alives, bounded by [`Limits`]. Content-Length is
/// mandatory on streams and must be unambiguous. The length that the framer finds and the one
/// that the parser finds agree, always (fuzzed).
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
}

/// What a stream held next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One whole message, ready for [`crate::Message::parse`].
    Message(&'a [u8]),
    /// A double CRLF between messages: to be answered with a single one.
    Ping,
    /// A single CRLF between messages: the answer to our own ping, or harmless.
    Pong,
}

/// How far the unfinished message at the end of the stream has come; the engine has a time
/// budget for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Between messages.
    Idle,
    /// In the start line.
    StartLine,
    /// In the header lines.
    Headers,
    /// In the body.
    Body,
}

#[allow(clippy::todo, missing_docs, unused_variables, dead_code, unreachable_code)]
impl Framer {
    pub fn new() -> Self {
        todo!()
    }
    /// Takes bytes as they came. Holds at most one unfinished message and what came behind it in
    /// the same `bytes`.
    pub fn push(&mut self, bytes: &[u8], limits: &Limits) {
        todo!()
    }
    /// The next whole frame; `None` when more bytes are needed. An error ends the stream: there
    /// is no way to find the next message (RFC 3261 §18.3).
    pub fn next_frame(&mut self, limits: &Limits) -> Result<Option<Frame<'_>>, Malformed> {
        todo!()
    }
    pub fn progress(&self) -> Progress {
        todo!()
    }
    /// Bytes held now.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }
}
impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}
