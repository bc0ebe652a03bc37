//! Framing of streams (RFC 3261 §7.5, §18.3; RFC 5626 §3.5.1).

use crate::message::{content_length, start_line_is_hopeless};
use crate::{Limits, Malformed};

/// Room that an idle connection may keep.
const IDLE_CAPACITY_MAX: usize = 4_096;

/// Cuts a stream into messages and keep-alives, bounded by [`Limits`]. Content-Length is
/// mandatory on streams and must be unambiguous. The length that the framer finds and the one
/// that the parser finds agree, always (fuzzed).
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were handed out.
    taken: usize,
    /// Bytes behind `taken` that were searched for line ends: always a line's start, but while
    /// that line has no end yet.
    searched: usize,
    /// Where, behind `taken`, the line starts that is searched.
    line: usize,
    /// Head's and message's length behind `taken`, once the empty line was found.
    whole: Option<(usize, usize)>,
    /// Whether the last thing was a single CRLF: another one makes it a ping.
    after_crlf: bool,
}

/// What a stream held next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One whole message, ready for [`crate::Message::parse`].
    Message(&'a [u8]),
    /// A double CRLF between messages: to be answered with a single one. If its halves came
    /// apart, a [`Frame::Pong`] has gone before it.
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

impl Framer {
    /// A stream from its beginning.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they came. Holds at most one unfinished message and what came behind it in
    /// the same `bytes`, if [`Framer::next_frame`] is called until it has no more.
    pub fn push(&mut self, bytes: &[u8], _limits: &Limits) {
        self.drop_taken();
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` when more bytes are needed. An error ends the stream: there
    /// is no way to find the next message (RFC 3261 §18.3), and it is returned again and again.
    pub fn next_frame(&mut self, limits: &Limits) -> Result<Option<Frame<'_>>, Malformed> {
        if self.at_message_start()
            && let Some(keep_alive) = self.keep_alive()?
        {
            return Ok(Some(keep_alive));
        }
        if self.at_message_start() && matches!(self.rest(), [] | [b'\r']) {
            self.drop_taken();
            return Ok(None);
        }
        if self.whole.is_none() {
            self.find_head(limits)?;
        }
        let Some((_, length)) = self.whole else { return Ok(None) };
        if self.rest().len() < length {
            return Ok(None);
        }
        let start = self.taken;
        self.take(length);
        Ok(self.buffer.get(start..start + length).map(Frame::Message))
    }

    /// How far the message at the end has come, as the last [`Framer::next_frame`] saw it.
    #[must_use]
    pub fn progress(&self) -> Progress {
        match (self.rest(), self.whole) {
            (_, Some(_)) => Progress::Body,
            ([] | [b'\r'], None) => Progress::Idle,
            (_, None) if self.line > 0 => Progress::Headers,
            _ => Progress::StartLine,
        }
    }

    /// Bytes held now.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.rest().len()
    }

    /// The head of the message that an error ended, as far as its lines are whole: enough to answer it
    /// with, as a rule ([`crate::Message::parse_answerable`]).
    #[must_use]
    pub fn broken(&self, limits: &Limits) -> &[u8] {
        let rest = self.rest();
        let head = rest.get(..limits.header_bytes).unwrap_or(rest);
        let end = match memchr::memmem::find(head, b"\r\n\r\n") {
            Some(empty_line) => empty_line + 4,
            None => memchr::memrchr(b'\n', head).map_or(0, |line_end| line_end + 1),
        };
        head.get(..end).unwrap_or_default()
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    fn at_message_start(&self) -> bool {
        self.searched == 0 && self.whole.is_none()
    }

    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        self.searched = 0;
        self.line = 0;
        self.whole = None;
        self.after_crlf = false;
    }

    /// A CRLF or two before a message. A lone one is told at once, not held back: it may be the
    /// answer that our own ping waits for.
    fn keep_alive(&mut self) -> Result<Option<Frame<'static>>, Malformed> {
        let (length, frame) = match self.rest() {
            [b'\r', b'\n', ..] if self.after_crlf => (2, Frame::Ping),
            [b'\r', b'\n', b'\r', b'\n', ..] => (4, Frame::Ping),
            [b'\r', b'\n', ..] => (2, Frame::Pong),
            [b'\r', next, ..] if *next != b'\n' => return Err(Malformed::BareCr),
            [b'\n', ..] => return Err(Malformed::BareLf),
            _ => return Ok(None),
        };
        self.take(length);
        self.after_crlf = frame == Frame::Pong;
        Ok(Some(frame))
    }

    /// Looks for the empty line, from where the last search ended.
    fn find_head(&mut self, limits: &Limits) -> Result<(), Malformed> {
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or_default();
            let unsearched = rest.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', unsearched) else {
                self.searched = rest.len();
                return head_within(rest.len(), self.line, limits);
            };
            let end = self.searched + found;
            let (line_start, start) = (self.line, self.line == 0);
            let line = rest.get(line_start..end).unwrap_or_default();
            let Some((b'\r', line)) = line.split_last() else { return Err(Malformed::BareLf) };
            head_within(end - 1, line_start, limits)?;
            if start && let Some(fault) = start_line_is_hopeless(line) {
                return Err(fault);
            }
            if line.is_empty() {
                let head = end + 1;
                let body = content_length(rest.get(..head).unwrap_or_default(), limits)?;
                if body > limits.body_bytes {
                    return Err(Malformed::BodyTooLong);
                }
                if head + body > limits.message_bytes.min(usize::from(u16::MAX)) {
                    return Err(Malformed::TooLong);
                }
                self.whole = Some((head, head + body));
                return Ok(());
            }
            self.searched = end + 1;
            self.line = end + 1;
        }
    }

    fn drop_taken(&mut self) {
        if self.taken == 0 {
            return;
        }
        self.buffer.drain(..self.taken.min(self.buffer.len()));
        self.taken = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > IDLE_CAPACITY_MAX {
            self.buffer.shrink_to(IDLE_CAPACITY_MAX);
        }
    }
}

/// Whether a head that has grown to `length` bytes, with its last line starting at `line`, is
/// within bounds.
fn head_within(length: usize, line: usize, limits: &Limits) -> Result<(), Malformed> {
    if line == 0 && length > limits.start_line_bytes.saturating_add(1) {
        return Err(Malformed::StartLineTooLong);
    }
    let most = limits.start_line_bytes.saturating_add(limits.header_bytes).saturating_add(4);
    if length > most {
        return Err(Malformed::HeadersTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
