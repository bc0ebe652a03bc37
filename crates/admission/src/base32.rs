//! Bytes as digits and lower-case letters: what survives in any tag, branch or quoted string.
//! Five bytes are eight digits, so that is the step, in one word; the text is cut where its bytes
//! end. The digits are `0` to `9` and `a` to `v`: lower case only, because some peers fold the case
//! of tags.

const STEP_BYTES: usize = 5;
const STEP_DIGITS: usize = 8;

/// One in each byte of a word.
const ONES: u64 = u64::MAX / 255;
/// The highest bit of each byte.
const HIGH: u64 = ONES << 7;
/// From the values of letters to letters: behind the nine comes no `:`.
const GAP: u64 = (b'a' - b'0' - 10) as u64;

/// Digits for so many bytes.
pub(crate) const fn digits(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Writes `bytes` as the [`digits`] of their number; `text` must have room for them.
pub(crate) fn encode(bytes: &[u8], text: &mut [u8]) {
    let (steps, rest) = bytes.as_chunks::<STEP_BYTES>();
    let (places, tail) = text.as_chunks_mut::<STEP_DIGITS>();
    for (step, place) in steps.iter().zip(&mut *places) {
        *place = step_digits(*step);
    }
    let mut last = [0; STEP_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    // its digits are fewer than a step's
    tail.iter_mut().zip(step_digits(last)).for_each(|(place, digit)| *place = digit);
}

/// Reads `digits` of either case; `None` when one is none or they are no `bytes`' number. Padding
/// bits are not looked at.
pub(crate) fn decode(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != digits(bytes.len()) {
        return None;
    }
    let (steps, rest) = text.as_chunks::<STEP_DIGITS>();
    let (places, tail) = bytes.as_chunks_mut::<STEP_BYTES>();
    let mut are_digits = true;
    for (step, place) in steps.iter().zip(&mut *places) {
        *place = step_bytes(*step, &mut are_digits);
    }
    let mut last = [b'0'; STEP_DIGITS];
    last[..rest.len()].copy_from_slice(rest);
    let last = step_bytes(last, &mut are_digits);
    tail.iter_mut().zip(last).for_each(|(place, byte)| *place = byte);
    are_digits.then_some(())
}

/// Where a byte is at least that, its highest bit; no byte may have it yet.
#[inline]
const fn at_least(bytes: u64, least: u8) -> u64 {
    (bytes + ONES * (0x80 - least) as u64) & HIGH
}

#[inline]
fn step_digits([a, b, c, d, e]: [u8; STEP_BYTES]) -> [u8; STEP_DIGITS] {
    // forty bits become two times twenty, four times ten, eight times five
    let bits = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
    let bits = (bits & 0xff_fff0_0000) << 12 | bits & 0xf_ffff;
    let bits = (bits & 0xf_fc00_000f_fc00) << 6 | bits & 0x3ff_0000_03ff;
    let values = (bits & 0x3e0_03e0_03e0_03e0) << 3 | bits & 0x1f_001f_001f_001f;
    let letters = at_least(values, 10) >> 7;
    (values + ONES * u64::from(b'0') + letters * GAP).to_be_bytes()
}

/// The bytes of eight digits, and whether all were digits.
#[inline]
fn step_bytes(digits: [u8; STEP_DIGITS], are_digits: &mut bool) -> [u8; STEP_BYTES] {
    let written = u64::from_be_bytes(digits);
    let ascii = written & !HIGH;
    // what has the bit of letters becomes lower case
    let text = ascii | (ascii & (ONES << 6)) >> 1;
    let numbers = at_least(text, b'0') & !at_least(text, b'9' + 1);
    let letters = at_least(text, b'a') & !at_least(text, b'v' + 1);
    *are_digits &= (numbers | letters) & !written == HIGH;
    let values = text.wrapping_sub(ONES * u64::from(b'0')).wrapping_sub((letters >> 7) * GAP);
    let bits = (values & (0x1f00_1f00_1f00_1f00)) >> 3 | values & 0x1f_001f_001f_001f;
    let bits = (bits & 0x3ff_0000_03ff_0000) >> 6 | bits & 0x3ff_0000_03ff;
    let bits = (bits & 0xf_ffff_0000_0000) >> 12 | bits & 0xf_ffff;
    let [_, _, _, a, b, c, d, e] = bits.to_be_bytes();
    [a, b, c, d, e]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

    /// Digit by digit, as one would write it down.
    fn plain(bytes: &[u8]) -> Vec<u8> {
        let bits: Vec<u8> =
            bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1)).collect();
        let value = |bits: &[u8]| (0..5).fold(0, |all, at| all << 1 | bits.get(at).unwrap_or(&0));
        bits.chunks(5).map(|bits| ALPHABET[usize::from(value(bits))]).collect()
    }

    #[test]
    fn each_length_there_and_back() {
        for length in 0..24 {
            let bytes: Vec<u8> =
                (0..length).map(|at| (at as u8).wrapping_mul(0x9d) ^ 0x5a).collect();
            let mut text = vec![0; digits(length)];
            encode(&bytes, &mut text);
            assert_eq!(text, plain(&bytes));
            for written in [text.clone(), text.to_ascii_uppercase()] {
                let mut read = vec![0; length];
                assert_eq!(decode(&written, &mut read), Some(()));
                assert_eq!(read, bytes);
            }
        }
    }

    #[test]
    fn what_is_no_digit_is_refused_wherever_it_stands() {
        for length in [5, 7, 22] {
            let text = vec![b'0'; digits(length)];
            for at in 0..text.len() {
                for byte in (0..=255).filter(|byte: &u8| !byte.is_ascii_alphanumeric()) {
                    let mut changed = text.clone();
                    changed[at] = byte;
                    assert_eq!(decode(&changed, &mut vec![0; length]), None, "{at} {byte}");
                }
                for byte in [b'w', b'z', b'W', b'Z'] {
                    let mut changed = text.clone();
                    changed[at] = byte;
                    assert_eq!(decode(&changed, &mut vec![0; length]), None, "{at} {byte}");
                }
            }
            assert_eq!(decode(&text[1..], &mut vec![0; length]), None);
        }
    }
}
