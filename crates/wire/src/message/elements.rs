//! Parts one header line at its commas.

use super::{Header, Span, Value};
use crate::block::{Block, find};
use crate::chars::{cut, is_lws, offset_at, quoted_end, trim};

/// The non-empty elements of one line.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a> {
    bytes: &'a [u8],
    offset: u16,
    header: usize,
    comments: bool,
    /// First byte that is neither white space nor a comma, or the end.
    at: usize,
    first: bool,
}

impl<'a> Elements<'a> {
    /// `bytes` is the line's value.
    pub fn new(bytes: &'a [u8], header: &Header, index: usize) -> Self {
        Elements {
            bytes,
            offset: header.value.start,
            header: index,
            comments: header.name.has_comments(),
            at: skip_empty(bytes, 0),
            first: true,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let comma = element_end(self.bytes, self.at, self.comments);
        let (start, end) = trim(self.bytes, self.at, comma);
        self.at = skip_empty(self.bytes, comma);
        Some(Value {
            bytes: cut(self.bytes, start, end),
            span: Span { start: offset_at(self.offset, start), end: offset_at(self.offset, end) },
            header: self.header,
            first: std::mem::take(&mut self.first),
            last: self.at >= self.bytes.len(),
        })
    }
}

fn skip_empty(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|b| is_lws(*b) || *b == b',') {
        at += 1;
    }
    at
}

/// The offset of the comma that ends the element at `at`, or the end. What is opened and never
/// closed: a quoted string reaches to the end, a `<` or `(` is an ordinary character.
fn element_end(bytes: &[u8], mut at: usize, comments: bool) -> usize {
    // One look each is enough: when nothing closes behind one opening, nothing does behind the
    // next, so a line full of them costs no more than its length.
    let (mut angles, mut comments) = (true, comments);
    let openings = |block: Block| block.is(b',') | block.is(b'"') | block.is(b'<') | block.is(b'(');
    while let Some(found) = find(bytes, at, openings) {
        at = found;
        match bytes.get(at) {
            Some(b',') => return at,
            Some(b'"') => match quoted_end(bytes, at) {
                Some(end) => at = end,
                None => return bytes.len(),
            },
            Some(b'<') if angles => match find(bytes, at, |block| block.is(b'>')) {
                Some(close) => at = close + 1,
                None => {
                    angles = false;
                    at += 1;
                }
            },
            Some(b'(') if comments => match comment_end(bytes, at) {
                Some(end) => at = end,
                None => {
                    comments = false;
                    at += 1;
                }
            },
            _ => at += 1,
        }
    }
    bytes.len()
}

/// With `bytes[at]` an opening parenthesis: the offset behind the one that closes it. Comments
/// nest (RFC 3261 §25.1).
fn comment_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match bytes.get(at)? {
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth -= 1,
            b'\\' => at += 1,
            _ => {}
        }
        at += 1;
    }
}
