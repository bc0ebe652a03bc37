//! Character classes (RFC 3261 §25.1) and the few cuts that all views share.

const fn table(set: &[u8], high: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric() || (high && byte >= 0x80);
        byte += 1;
    }
    let mut index = 0;
    while index < set.len() {
        table[set[index] as usize] = true;
        index += 1;
    }
    table
}

/// `token`.
const TOKEN: [bool; 256] = table(b"-.!%*_+`'~", false);
/// What a host name may hold: RFC 3261's `hostname`, the underscore of real networks, and bytes
/// above ASCII.
const HOST: [bool; 256] = table(b"-._", true);
/// What may stand in a Request-URI: everything printable but white space, quotes and brackets.
/// Each character beyond RFC 3261's list is left to whom it concerns.
const URI: [bool; 256] = table(b"-_.!~*'();/?:@&=+$,%[]#\\^`{|}", true);

/// What may stand in a tag or a branch: everything printable but quotes, backslashes, angle
/// brackets and commas.
const IDENTIFIER: [bool; 256] = table(b"-_.!~*'();/?:@&=+$%[]#^`{|}", false);

pub(crate) fn is_identifier(byte: u8) -> bool {
    IDENTIFIER[usize::from(byte)]
}

/// What can end or divide a parameter: delimiters, `=`, and a quote.
const DIVIDER: [bool; 256] = {
    let mut table = [false; 256];
    let (set, mut index) = (b";,&=\"", 0);
    while index < set.len() {
        table[set[index] as usize] = true;
        index += 1;
    }
    table
};

pub(crate) fn is_divider(byte: u8) -> bool {
    DIVIDER[usize::from(byte)]
}

/// The first byte at or behind `at` that is not of a class, or the end.
pub(crate) fn end_of(bytes: &[u8], at: usize, is: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !is(*byte)).unwrap_or(rest.len())
}

pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

pub(crate) fn is_host(byte: u8) -> bool {
    HOST[usize::from(byte)]
}

pub(crate) fn is_uri(byte: u8) -> bool {
    URI[usize::from(byte)]
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
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
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
    if bytes.is_empty() {
        return None;
    }
    let mut number = 0u32;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.saturating_mul(10).saturating_add(u32::from(digit));
    }
    Some(number)
}

/// A port: digits up to 65,535.
pub(crate) fn port(bytes: &[u8]) -> Option<u16> {
    number(bytes).and_then(|port| u16::try_from(port).ok())
}

/// `offset + index`, saturating: messages end below 65,536, so only a caller's wrong offset can
/// saturate.
pub(crate) fn offset_at(offset: u16, index: usize) -> u16 {
    u16::try_from(usize::from(offset).saturating_add(index)).unwrap_or(u16::MAX)
}
