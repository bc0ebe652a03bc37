//! Character classes (RFC 3261 §25.1) and the few cuts that all views share.

use crate::block::{Block, Lanes, find};

/// `token`, letters and digits besides these.
const TOKEN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let (others, mut index) = (b"-.!%*_+`'~", 0);
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// What a host name may hold: RFC 3261's `hostname`, the underscore of real networks, and bytes
/// above ASCII.
pub(crate) fn is_host(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'_' | 0x80..) || byte.is_ascii_alphanumeric()
}

/// Where it is not [`is_host`].
#[inline]
pub(crate) fn not_host(block: Block) -> Lanes {
    let letters = block.is_within(b'a', b'z') | block.is_within(b'A', b'Z');
    let digits = block.is_within(b'-', b'9') & !block.is(b'/');
    !(letters | digits | block.is(b'_') | block.is_high())
}

/// What may not stand in a Request-URI: white space, control characters, quotes and angle
/// brackets. Each other character beyond RFC 3261's list is left to whom it concerns.
#[inline]
pub(crate) fn not_uri(block: Block) -> Lanes {
    block.is_up_to(b' ') | block.is(0x7f) | block.is(b'"') | block.is_but_for(b'>' ^ b'<', b'>')
}

/// What may not stand in a tag or a branch: RFC 3261 §25.1 has `token`, real phones write most of
/// what is printable; white space, quotes, backslashes, angle brackets, commas and bytes above
/// ASCII are cut at different places by different readers.
#[inline]
pub(crate) fn not_identifier(block: Block) -> Lanes {
    not_uri(block) | block.is_high() | block.is(b'\\') | block.is(b',')
}

/// White space and control characters.
#[inline]
pub(crate) fn blank(block: Block) -> Lanes {
    block.is_up_to(b' ') | block.is(0x7f)
}

/// The first byte at or behind `at` that is not of a class, or the end: for what is at most a few
/// bytes away.
pub(crate) fn end_of(bytes: &[u8], mut at: usize, is: impl Fn(u8) -> bool) -> usize {
    while bytes.get(at).is_some_and(|byte| is(*byte)) {
        at += 1;
    }
    at
}

/// White space inside a header value. CR and LF stand there only as part of a fold: the scanner
/// has refused all others.
pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The range of `bytes[start..end]` without white space at both ends.
pub(crate) fn trim(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && bytes.get(start).copied().is_some_and(is_lws) {
        start += 1;
    }
    while start < end && bytes.get(end - 1).copied().is_some_and(is_lws) {
        end -= 1;
    }
    (start, end)
}

/// First byte at or behind `at` that is not white space.
pub(crate) fn skip_lws(bytes: &[u8], at: usize) -> usize {
    end_of(bytes, at, is_lws)
}

/// `bytes[start..end]`, empty where that is out of range.
pub(crate) fn cut(bytes: &[u8], start: usize, end: usize) -> &[u8] {
    bytes.get(start..end).unwrap_or_default()
}

/// With `bytes[at]` an opening quote: the offset behind the closing one.
pub(crate) fn quoted_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at = find(bytes, at, |block| block.is(b'"') | block.is(b'\\'))?;
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// Takes the quotes off a whole quoted string; escapes stay as written.
pub(crate) fn unquoted(bytes: &[u8]) -> &[u8] {
    match bytes {
        [b'"', inner @ .., b'"'] => inner,
        _ => bytes,
    }
}

/// Digits, any number of leading zeros; `None` for anything else. Saturates.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    /// As many digits as no `u32` is too small for.
    const SURE: usize = 9;
    let (sure, rest) = bytes.split_at_checked(SURE).unwrap_or((bytes, b""));
    let mut number = 0u32;
    for byte in sure {
        number = number * 10 + digit(*byte)?;
    }
    for byte in rest {
        number = number.saturating_mul(10).saturating_add(digit(*byte)?);
    }
    (!bytes.is_empty()).then_some(number)
}

pub(crate) fn digit(byte: u8) -> Option<u32> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(u32::from(digit))
}

/// The port that begins at `at`, and where it ends: digits up to 65,535.
pub(crate) fn port_at(bytes: &[u8], at: usize) -> Option<(u16, usize)> {
    let (mut port, mut end) = (0u32, at);
    while let Some(digit) = bytes.get(end).and_then(|byte| digit(*byte)) {
        port = port * 10 + digit;
        end += 1;
        if port > u32::from(u16::MAX) {
            return None;
        }
    }
    (end > at).then_some((port as u16, end))
}

/// A port: digits up to 65,535.
pub(crate) fn port(bytes: &[u8]) -> Option<u16> {
    number(bytes).and_then(|port| u16::try_from(port).ok())
}

/// `offset + index`, saturating: messages end below 65,536, so only a caller's wrong offset can
/// saturate.
pub(crate) fn offset_at(offset: u16, index: usize) -> u16 {
    (usize::from(offset) + index).min(usize::from(u16::MAX)) as u16
}
