//! Texts looked at sixteen bytes a step. What SIP's parser looks for is near (the end of a name,
//! of a parameter, of a line), so a search that sets itself up for long texts costs more than it
//! saves, and a loop over bytes costs half a dozen instructions for each. A block is compared with
//! a whole set of characters at once; what comes out is a number with a bit for each byte, and the
//! lowest set bit is the place that was looked for.

use wide::u8x16;

/// Bytes in a block.
const WIDTH: usize = 16;

/// Sixteen bytes of a text; behind the text's end zeros.
#[derive(Clone, Copy)]
pub(crate) struct Block(u8x16);

/// Which bytes of a block are of a set: all bits of a byte, or none.
pub(crate) type Lanes = u8x16;

/// The bytes of a block as bits, the first one lowest.
#[inline]
fn bits(lanes: Lanes) -> u32 {
    lanes.to_bitmask()
}

impl Block {
    /// The block that begins at `at`.
    #[inline]
    pub fn at(bytes: &[u8], at: usize) -> Self {
        match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(whole) => Block(u8x16::new(*whole)),
            None => Block(u8x16::new(padded(bytes, at).to_le_bytes())),
        }
    }

    /// Where it is this byte.
    #[inline]
    pub fn is(self, byte: u8) -> Lanes {
        self.0.simd_eq(u8x16::splat(byte))
    }

    /// Where it is at most this byte.
    #[inline]
    pub fn is_up_to(self, last: u8) -> Lanes {
        self.0.min(u8x16::splat(last)).simd_eq(self.0)
    }

    /// Where it is from `first` to `last`.
    #[inline]
    pub fn is_within(self, first: u8, last: u8) -> Lanes {
        Block(self.0 - u8x16::splat(first)).is_up_to(last - first)
    }

    /// Where it is one of two bytes that differ in `bit` only; `byte` is the one that has it.
    #[inline]
    pub fn is_but_for(self, bit: u8, byte: u8) -> Lanes {
        Block(self.0 | u8x16::splat(bit)).is(byte)
    }

    /// Where it is above ASCII. (Only the highest bit of a byte says so.)
    #[inline]
    pub fn is_high(self) -> Lanes {
        self.0
    }

    /// Where the first byte of a set stands in it.
    #[inline]
    pub fn first(lanes: Lanes) -> Option<usize> {
        let bits = bits(lanes);
        (bits != 0).then(|| bits.trailing_zeros() as usize)
    }

    /// Its first `length` bytes in lower case, the rest zeros: as a number, whose lowest byte is
    /// the first one.
    #[inline]
    pub fn lower_case(self, length: usize) -> u128 {
        const KEPT: [u8x16; WIDTH + 1] = {
            let mut kept = [u8x16::new([0; WIDTH]); WIDTH + 1];
            let mut length = 0;
            while length <= WIDTH {
                let (mut bytes, mut at) = ([0; WIDTH], 0);
                while at < length {
                    bytes[at] = u8::MAX;
                    at += 1;
                }
                kept[length] = u8x16::new(bytes);
                length += 1;
            }
            kept
        };
        let lower = self.0 | (self.is_within(b'A', b'Z') & u8x16::splat(0x20));
        u128::from_le_bytes((lower & KEPT[length.min(WIDTH)]).to_array())
    }
}

/// The bytes from `at` on, fewer than sixteen, as a number, from words that overlap where they do not
/// fill two. Apart, so that the loops around it stay small.
#[inline(never)]
fn padded(bytes: &[u8], at: usize) -> u128 {
    let bytes = bytes.get(at..).unwrap_or_default();
    let length = bytes.len() as u32;
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        // in two steps, because the last word may be the first
        let behind = last >> (8 * (15 - length)) >> 8;
        u128::from(first) | u128::from(behind) << 64
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        u128::from(u64::from(first) | u64::from(last) << (8 * (length - 4)))
    } else {
        bytes.iter().rev().fold(0, |text, byte| text << 8 | u64::from(*byte)).into()
    }
}

/// The first place of a byte in a text, which may be short: nothing has to be set up.
#[inline]
#[must_use]
pub fn find_byte(byte: u8, text: &[u8]) -> Option<usize> {
    find(text, 0, |block| block.is(byte))
}

/// Where what a text begins with ends that is made of digits, dots and colons, as IPv4 addresses
/// with their ports are.
#[inline]
#[must_use]
pub fn numeric_end(text: &[u8]) -> usize {
    find_or_end(text, 0, |block| !(block.is_within(b'0', b':') | block.is(b'.')))
}

/// The first byte at or behind `at` that is of a set.
#[inline]
pub(crate) fn find(bytes: &[u8], at: usize, set: impl Fn(Block) -> Lanes) -> Option<usize> {
    let mut next = at;
    while next < bytes.len() {
        if let Some(place) = Block::first(set(Block::at(bytes, next))) {
            // a block that reaches over the end is filled with zeros
            return Some(next + place).filter(|found| *found < bytes.len());
        }
        next += WIDTH;
    }
    None
}

/// The first byte at or behind `at` that is of a set, or the end.
#[inline]
pub(crate) fn find_or_end(bytes: &[u8], at: usize, set: impl Fn(Block) -> Lanes) -> usize {
    find(bytes, at, set).unwrap_or(bytes.len().max(at))
}

/// Whether no byte is of a set.
#[inline]
pub(crate) fn has_none(bytes: &[u8], set: impl Fn(Block) -> Lanes) -> bool {
    find(bytes, 0, set).is_none()
}

/// Goes from one byte of a set to the next, in order, each block looked at once, and so many blocks
/// in one step: one where the next stop is near, more where the whole text is gone through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stops<'a, const BLOCKS: usize = 1> {
    bytes: &'a [u8],
    /// Where the next step begins.
    next: usize,
    /// The bytes of the set that the last step still has, the first byte lowest.
    bits: u64,
}

impl<'a, const BLOCKS: usize> Stops<'a, BLOCKS> {
    /// Bytes of a step: there is a bit for each.
    const STEP: usize = {
        assert!(BLOCKS * WIDTH <= u64::BITS as usize);
        BLOCKS * WIDTH
    };

    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Stops { bytes, next: 0, bits: 0 }
    }

    /// The next byte of a set, the same one at each call, and where it stands.
    #[inline]
    pub fn next(&mut self, set: impl Fn(Block) -> Lanes) -> Option<(usize, u8)> {
        while self.bits == 0 {
            if self.next >= self.bytes.len() {
                return None;
            }
            self.bits = self.step(&set);
            self.next += Self::STEP;
        }
        let at = self.next - Self::STEP + self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        // a block that reaches over the end is filled with zeros
        self.bytes.get(at).map(|byte| (at, *byte))
    }

    #[inline]
    fn step(&self, set: impl Fn(Block) -> Lanes) -> u64 {
        let step = self.bytes.get(self.next..self.next + Self::STEP);
        let block = |index: usize| match step.and_then(|step| step.as_chunks().0.get(index)) {
            Some(whole) => Block(u8x16::new(*whole)),
            None => Block::at(self.bytes, self.next + index * WIDTH),
        };
        (0..BLOCKS)
            .fold(0, |all, index| all | u64::from(bits(set(block(index)))) << (index * WIDTH))
    }

    /// Goes on at `at`, which is not in front of what was already met.
    #[inline]
    pub fn skip_to(&mut self, at: usize) {
        if at >= self.next {
            (self.next, self.bits) = (at, 0);
        } else {
            let ahead = at.saturating_sub(self.next.saturating_sub(Self::STEP));
            self.bits &= u64::MAX << (ahead & 63);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_what_they_say() {
        let all: Vec<u8> = (0..=255).collect();
        let check = |name, set: fn(Block) -> Lanes, is: fn(u8) -> bool| {
            let mut stops = Stops::<1>::new(&all);
            let met: Vec<usize> =
                std::iter::from_fn(|| stops.next(set)).map(|(at, _)| at).collect();
            let expected: Vec<usize> = (0..256).filter(|byte| is(*byte as u8)).collect();
            assert_eq!(met, expected, "{name}");
        };
        check("is", |block| block.is(b':'), |byte| byte == b':');
        check("is_up_to", |block| block.is_up_to(13), |byte| byte <= 13);
        check("is_within", |block| block.is_within(b'A', b'Z'), |byte| byte.is_ascii_uppercase());
        check("is_but_for", |block| block.is_but_for(2, b'>'), |b| matches!(b, b'<' | b'>'));
        check("is_high", |block| block.is_high(), |byte| !byte.is_ascii());
    }

    #[test]
    fn numeric_texts_end_where_something_else_begins() {
        for (text, end) in
            [("", 0), ("192.0.2.1:5060;x", 14), ("198.51.100.7:50601", 18), ("-1", 0)]
        {
            assert_eq!(numeric_end(text.as_bytes()), end, "{text}");
        }
        for byte in 0..=u8::MAX {
            let is_numeric = byte.is_ascii_digit() || matches!(byte, b'.' | b':');
            assert_eq!(numeric_end(&[b'1', byte]) == 2, is_numeric, "{byte}");
        }
    }

    #[test]
    fn each_length_and_place() {
        for length in 0..40 {
            for place in 0..length + 3 {
                let mut text = vec![b'x'; length];
                if let Some(byte) = text.get_mut(place) {
                    *byte = b';';
                }
                for at in 0..length + 3 {
                    let expected = (at <= place && place < length).then_some(place);
                    assert_eq!(find(&text, at, |block| block.is(b';')), expected, "{length} {at}");
                    // what stands behind the end is no zero
                    assert_eq!(find(&text, at, |block| block.is(0)), None);
                }
                let expected = (place + 1 < length).then_some(place + 1);
                let mut stops = Stops::<1>::new(&text);
                stops.skip_to(place);
                let next = stops.next(|block| block.is(b'x')).map(|(at, _)| at);
                assert_eq!(next, expected, "{length} {place}");
                let mut stops = Stops::<4>::new(&text);
                stops.skip_to(place);
                let next = stops.next(|block| block.is(b'x')).map(|(at, _)| at);
                assert_eq!(next, expected, "{length} {place}");
            }
        }
    }

    #[test]
    fn steps_of_several_blocks_meet_the_same() {
        let set = |block: Block| block.is_up_to(b' ');
        for length in 0..200 {
            let text: Vec<u8> =
                (0..length).map(|at: usize| (at.wrapping_mul(0x9e5) >> 3) as u8 & 0x3f).collect();
            let (mut one, mut four) = (Stops::<1>::new(&text), Stops::<4>::new(&text));
            for step in 0.. {
                let met = one.next(set);
                assert_eq!(four.next(set), met, "{length}");
                let Some((at, _)) = met else { break };
                // sometimes a few bytes are passed over, sometimes more than a step
                let skipped = at + 1 + [0, 3, 20, 0, 70][step % 5];
                one.skip_to(skipped);
                four.skip_to(skipped);
            }
        }
    }

    #[test]
    fn lower_case() {
        let text = b"Call-ID\r: @[`{Zz\xc1";
        for length in 0..=16 {
            let mut expected = [0; 16];
            expected[..length].copy_from_slice(&text[..length].to_ascii_lowercase());
            assert_eq!(Block::at(text, 0).lower_case(length).to_le_bytes(), expected);
        }
    }
}
