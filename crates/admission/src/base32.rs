//! Bytes as digits and lower-case letters: what survives in any tag, branch or quoted string.

/// Lower case only: some peers fold the case of tags.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Digits for so many bytes.
pub(crate) const fn digits(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Writes `bytes` as the [`digits`] of their number; `text` must have room for them.
pub(crate) fn encode(bytes: &[u8], text: &mut [u8]) {
    let (mut bits, mut count) = (0u32, 0);
    let mut places = text.iter_mut();
    let mut write = |value: u32| {
        if let Some(place) = places.next() {
            *place = ALPHABET[value as usize & 31];
        }
    };
    for &byte in bytes {
        bits = (bits << 8) | u32::from(byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            write(bits >> count);
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        write(bits << (5 - count));
    }
}

/// Reads `digits` of either case; `None` when one is none or they are no `bytes`' number. Padding
/// bits are not looked at.
pub(crate) fn decode(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != digits(bytes.len()) {
        return None;
    }
    let (mut bits, mut count, mut at) = (0u32, 0, 0);
    for &digit in text {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'v' => digit - b'a' + 10,
            b'A'..=b'V' => digit - b'A' + 10,
            _ => return None,
        };
        bits = (bits << 5) | u32::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            *bytes.get_mut(at)? = (bits >> count) as u8;
            at += 1;
            bits &= (1 << count) - 1;
        }
    }
    Some(())
}
