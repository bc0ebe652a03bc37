//! Lines of a text: of SDP, say.

/// The lines of a text without their LF (and with a CR before it, if there is one), as
/// [`slice::split`] gives them, but for an empty one at the end; eight bytes are looked at in one
/// step, because lines are too short for a search by vectors.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    text: &'a [u8],
    /// Where the next line begins.
    start: usize,
    /// The first byte that was not looked at.
    seen: usize,
    /// The highest bit of each byte of the eight before `seen` that is an LF not yet met.
    ends: u64,
}

/// Lines of a text.
#[must_use]
pub fn lines(text: &[u8]) -> Lines<'_> {
    Lines { text, start: 0, seen: 0, ends: 0 }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while self.ends == 0 {
            let rest = self.text.get(self.seen..)?;
            let Some(eight) = rest.first_chunk::<8>() else { return self.next_of_tail() };
            self.ends = feeds(u64::from_le_bytes(*eight));
            self.seen += 8;
        }
        let end = self.seen - 8 + self.ends.trailing_zeros() as usize / 8;
        self.ends &= self.ends - 1;
        let line = self.text.get(self.start..end);
        self.start = end + 1;
        line
    }
}

impl<'a> Lines<'a> {
    /// With fewer than eight bytes that were not looked at.
    fn next_of_tail(&mut self) -> Option<&'a [u8]> {
        let rest = self.text.get(self.seen..)?;
        let length = rest.iter().position(|byte| *byte == b'\n');
        let end = self.seen + length.unwrap_or(rest.len());
        let line = self.text.get(self.start..end).filter(|_| self.start < self.text.len());
        self.seen = end + 1;
        self.start = end + 1;
        line
    }
}

/// The highest bit of each byte that is an LF.
fn feeds(eight: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let zero_at_feeds = eight ^ 0x0a0a_0a0a_0a0a_0a0a;
    !(((zero_at_feeds & LOW) + LOW) | zero_at_feeds | LOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_split_gives() {
        // every text of up to 20 bytes with up to 3 line ends, and bytes that resemble one
        for length in 0..20usize {
            for (a, b, c) in (0..20 * 20 * 20).map(|n| (n % 20, n / 20 % 20, n / 400)) {
                let mut text = vec![0x8a; length];
                for at in [a, b, c] {
                    if let Some(byte) = text.get_mut(at) {
                        *byte = b'\n';
                    }
                    if let Some(byte) = text.get_mut(at + 1) {
                        *byte = 0x0b;
                    }
                }
                let mut expected: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
                if expected.last().is_some_and(|last| last.is_empty()) {
                    expected.pop();
                }
                assert_eq!(lines(&text).collect::<Vec<_>>(), expected, "{text:x?}");
            }
        }
    }
}
