//! Header lines: read one by one, and an index of them by name.

use super::scan::{Mode, slice, span};
use super::{Elements, Header, HeaderName, Malformed, Span};
use crate::Limits;
use crate::block::{Block, Stops, find};
use crate::chars::{cut, end_of, is_token, trim};
use smallvec::SmallVec;

/// All header lines in order. Who asks for a name does not search: where its first line is stands
/// in a table, and most names have one line or none.
#[derive(Clone, Debug)]
pub(crate) struct HeaderLines {
    lines: SmallVec<[Header; USUAL]>,
    /// By name the index of its first line, or [`NONE`].
    first: [u8; HeaderName::COUNT],
    /// The names that have several lines, as bits.
    repeated: u32,
    /// Whether the first Via line has no comma: it is one value.
    one_via: bool,
}

/// As many lines as most messages have at most: they are part of the message, which is moved about
/// as it is read. The lines of a longer one are on the heap, [`NONE`] at most.
const USUAL: usize = 32;
/// Stops at what may end a line. All lines are gone through, and most are longer than a block.
type LineEnds<'a> = Stops<'a, 4>;
/// Larger than any index.
const NONE: u8 = u8::MAX;

impl HeaderLines {
    pub fn new() -> Self {
        let first = [NONE; HeaderName::COUNT];
        HeaderLines { lines: SmallVec::new(), first, repeated: 0, one_via: false }
    }

    pub fn as_slice(&self) -> &[Header] {
        &self.lines
    }

    /// The index of the first line of that name, and the line.
    #[inline]
    pub fn first(&self, name: HeaderName) -> Option<(usize, &Header)> {
        let index = usize::from(self.first[name as usize]);
        self.lines.get(index).map(|header| (index, header))
    }

    /// The lines of that name.
    #[inline]
    pub fn named(&self, name: HeaderName) -> impl Iterator<Item = (usize, &Header)> {
        let start = usize::from(self.first[name as usize]);
        let end = if self.repeated & name.bit() != 0 { self.lines.len() } else { start + 1 };
        let lines = self.lines.get(start..end).unwrap_or_default();
        let indexed = lines.iter().enumerate().map(move |(at, header)| (start + at, header));
        indexed.filter(move |(_, header)| header.name == name)
    }

    /// Whether the first Via line has no comma: all of it is the top Via.
    pub fn has_one_via(&self) -> bool {
        self.one_via
    }

    /// Whether it is the first line of its name. The caller has looked that there is room.
    fn push(&mut self, header: Header) -> bool {
        let index = self.lines.len() as u8;
        self.lines.push(header);
        let first = &mut self.first[header.name as usize];
        let is_first = *first == NONE;
        if is_first {
            *first = index;
        } else {
            self.repeated |= header.name.bit();
        }
        is_first
    }

    /// Reads all lines from `start` to the empty line, and gives the offset of that.
    pub fn read(
        &mut self,
        bytes: &[u8],
        start: usize,
        limits: &Limits,
        mode: Mode,
    ) -> Result<usize, Malformed> {
        let most = limits.header_lines.min(usize::from(NONE));
        let (mut ends, mut vias, mut at) = (LineEnds::new(bytes), 0usize, start);
        loop {
            // a datagram may end behind its last header line (RFC 4475 §3.1.2.15 is sent so)
            if at == bytes.len() || bytes.get(at..at + 2) == Some(b"\r\n") {
                return Ok(at);
            }
            if self.lines.len() >= most {
                return Err(Malformed::TooManyHeaders);
            }
            let header = header_line(bytes, at, &mut ends, limits)?;
            at = usize::from(header.line.end);
            if at - start > limits.header_bytes {
                return Err(Malformed::HeadersTooLong);
            }
            let is_first = self.push(header);
            if !is_first && header.name.is_single() {
                on_repeated(bytes, &self.lines, mode)?;
            }
            if header.name == HeaderName::Via {
                let one = !has_comma(bytes, header.value);
                self.one_via |= one && is_first;
                vias += if one { 1 } else { via_values(bytes, header) };
                if vias > limits.via_values {
                    return Err(Malformed::TooManyVias);
                }
            }
        }
    }
}

/// Reads one logical line that starts at `start`. `ends` is behind all lines before it.
fn header_line(
    bytes: &[u8],
    start: usize,
    ends: &mut LineEnds<'_>,
    limits: &Limits,
) -> Result<Header, Malformed> {
    let (name, name_end, colon) = header_name(bytes, start)?;
    let (end, next) = logical_line_end(bytes, colon + 1, ends)?;
    if end - start > limits.header_line_bytes {
        return Err(Malformed::HeaderLineTooLong);
    }
    let (value_start, value_end) = trimmed(bytes, colon + 1, end);
    Ok(Header {
        name,
        name_span: span(start, name_end),
        value: span(value_start, value_end),
        line: span(start, next),
    })
}

/// [`trim`] of what most write: one space in front of a value, and none behind it.
#[inline]
fn trimmed(bytes: &[u8], start: usize, end: usize) -> (usize, usize) {
    match bytes.get(start..end) {
        Some([b' ', first, .., last]) if *first > b' ' && *last > b' ' => (start + 1, end),
        _ => trim(bytes, start, end),
    }
}

/// The name that stands at `start`, its end, and the offset of the colon.
#[inline]
fn header_name(bytes: &[u8], start: usize) -> Result<(HeaderName, usize, usize), Malformed> {
    let block = Block::at(bytes, start);
    if let Some(length) = Block::first(block.is(b':')) {
        let name = HeaderName::of_block(block, length);
        if name != HeaderName::Other {
            return Ok((name, start + length, start + length));
        }
    }
    other_name(bytes, start)
}

/// [`header_name`] of a long or unknown name, or of one with white space before the colon.
#[cold]
fn other_name(bytes: &[u8], start: usize) -> Result<(HeaderName, usize, usize), Malformed> {
    let end = end_of(bytes, start, is_token);
    let colon = end_of(bytes, end, |byte| matches!(byte, b' ' | b'\t'));
    match bytes.get(colon) {
        Some(b':') if end > start => Ok((HeaderName::of(cut(bytes, start, end)), end, colon)),
        None => Err(Malformed::HeadUnfinished),
        Some(_) => Err(line_fault(bytes, colon)),
    }
}

/// What is wrong with a line that has something else at `at` where a colon should be.
#[cold]
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
fn logical_line_end(
    bytes: &[u8],
    start: usize,
    ends: &mut LineEnds<'_>,
) -> Result<(usize, usize), Malformed> {
    ends.skip_to(start);
    while let Some((at, byte)) = ends.next(|block| block.is_up_to(b'\r')) {
        // a line end as almost all are: neither a fold, nor the last bytes there are
        if let Some([b'\r', b'\n', next]) = bytes.get(at..at + 3)
            && !matches!(next, b' ' | b'\t')
        {
            return Ok((at, at + 2));
        }
        match byte {
            0 => return line_end_with_nul(bytes, start),
            b'\r' | b'\n' => match line_end(bytes, at)? {
                LineEnd::Fold => ends.skip_to(at + 3),
                LineEnd::Last => return Ok((at, at + 2)),
            },
            _ => {}
        }
    }
    Err(Malformed::HeadUnfinished)
}

enum LineEnd {
    Fold,
    Last,
}

/// Judges the CR or LF at `at`.
#[cold]
fn line_end(bytes: &[u8], at: usize) -> Result<LineEnd, Malformed> {
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
#[cold]
fn line_end_with_nul(bytes: &[u8], start: usize) -> Result<(usize, usize), Malformed> {
    let (mut at, mut quoted) = (start, false);
    loop {
        match bytes.get(at).ok_or(Malformed::HeadUnfinished)? {
            0 => return Err(Malformed::Nul),
            b'\r' | b'\n' => match line_end(bytes, at)? {
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

/// The last line is a second one of a header that may stand once.
#[cold]
fn on_repeated(bytes: &[u8], lines: &[Header], mode: Mode) -> Result<(), Malformed> {
    let Some((header, earlier)) = lines.split_last() else { return Ok(()) };
    let same = || {
        let mut earlier = earlier.iter().filter(|earlier| earlier.name == header.name);
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

#[inline(never)]
fn has_comma(bytes: &[u8], value: Span) -> bool {
    find(slice(bytes, value), 0, |block| block.is(b',')).is_some()
}

#[cold]
fn via_values(bytes: &[u8], header: Header) -> usize {
    Elements::new(slice(bytes, header.value), &header, 0).count()
}
