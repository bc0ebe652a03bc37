//! Lines of a text: of SDP, say.

use crate::block::Stops;

/// The lines of a text without their LF (and with a CR before it, if there is one), as
/// [`slice::split`] gives them, but for an empty one at the end.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    text: &'a [u8],
    /// Where the next line begins.
    start: usize,
    ends: Stops<'a, 4>,
}

/// Lines of a text.
#[must_use]
pub fn lines(text: &[u8]) -> Lines<'_> {
    Lines { text, start: 0, ends: Stops::new(text) }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.ends.next(|block| block.is(b'\n')).map_or(self.text.len(), |(at, _)| at);
        let line = self.text.get(self.start..end).filter(|_| self.start < self.text.len());
        self.start = end + 1;
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_split_gives() {
        // every text of up to 20 bytes with up to 3 line ends, and bytes that resemble one; behind
        // as much as is looked at in one step, and within it
        for (before, length) in (0..20usize).flat_map(|length| [(0, length), (55, length)]) {
            for (a, b, c) in (0..20 * 20 * 20).map(|n| (n % 20, n / 20 % 20, n / 400)) {
                let mut text = vec![0x8a; before + length];
                for at in [a, b, c].map(|at| before + at) {
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
