//! The index of the tables, one cache line a look-up.

use wide::u32x8;

/// From keyed hashes to numbers of `BITS` bits (at most 32): open addressing by lines of eight
/// buckets. A bucket is the key with the number in place of its lowest bits. Its upper half alone
/// says where the bucket belongs, so the index grows without reading anything else.
///
/// A look-up compares a whole line at once, without a branch for each bucket: which branches it
/// takes does not depend on what is in memory, so the processor goes on while it waits for that.
#[derive(Debug, Default)]
pub(crate) struct Index<const BITS: u32> {
    /// At least one of them is not full.
    lines: Vec<Line>,
    used: usize,
}

/// A cache line of buckets, filled from the front.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    upper: [u32; BUCKETS],
    /// [`EMPTY`] when nothing is in the bucket: no number is all ones.
    lower: [u32; BUCKETS],
}

/// Buckets in a line.
const BUCKETS: usize = 8;
const EMPTY: u32 = u32::MAX;

/// Where a bucket is: its line, and its place in that.
type At = (usize, usize);

impl<const BITS: u32> Index<BITS> {
    /// The number that stands for `key`, of those that `is_it` takes. The lowest `BITS` of the key
    /// are not compared: that is left to `is_it`, or to luck.
    #[inline]
    pub(crate) fn find(&self, key: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.position(key, is_it).map(|(line, place)| number::<BITS>(self.lines[line].lower[place]))
    }

    /// Where a look-up of `key` begins, read and of no meaning: for whoever adds up several before
    /// he looks them up waits for memory once, not once for each.
    #[inline]
    pub(crate) fn touch(&self, key: u64) -> u32 {
        let home = self.home((key >> 32) as u32);
        self.lines.get(home).map_or(0, |line| line.upper[0])
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds one. That it is not in is for the caller to know.
    pub(crate) fn insert(&mut self, key: u64, number: u32) {
        // four fifths at most are in use, so that few lines are full
        if (self.used + 1) * 5 > self.lines.len() * BUCKETS * 4 {
            self.rebuild((self.used + 1) * 5 / 4);
        }
        self.place((key >> 32) as u32, lower::<BITS>(key, number));
        self.used += 1;
    }

    /// Takes one out, if it is in.
    pub(crate) fn remove(&mut self, key: u64, number: u32) {
        let Some((mut hole, place)) = self.position(key, |at| at == number) else { return };
        self.used -= 1;
        let mut was_full = self.lines[hole].is_full();
        self.lines[hole].remove(place);
        // what found no place in a line that was full stands behind it, and moves up
        let mut at = self.next(hole);
        while was_full {
            let line = &self.lines[at];
            was_full = line.is_full();
            let moves = |place: &usize| {
                self.distance(self.home(line.upper[*place]), at) >= self.distance(hole, at)
            };
            if let Some(place) = (0..line.len()).find(moves) {
                let (upper, lower) = self.lines[at].remove(place);
                self.lines[hole].push(upper, lower);
                hole = at;
            }
            at = self.next(at);
        }
    }

    /// Changes a number.
    pub(crate) fn renumber(&mut self, key: u64, from: u32, to: u32) {
        if let Some((line, place)) = self.position(key, |number| number == from) {
            self.lines[line].lower[place] = lower::<BITS>(key, to);
        }
    }

    /// Makes room for `entries`, not more.
    pub(crate) fn rebuild(&mut self, entries: usize) {
        let buckets = entries.max(self.used) * 5 / 4 + BUCKETS;
        let lines = vec![Line::EMPTY; buckets.div_ceil(BUCKETS)];
        for line in std::mem::replace(&mut self.lines, lines) {
            for place in 0..line.len() {
                self.place(line.upper[place], line.lower[place]);
            }
        }
    }

    fn place(&mut self, upper: u32, lower: u32) {
        let mut at = self.home(upper);
        while self.lines[at].is_full() {
            at = self.next(at);
        }
        self.lines[at].push(upper, lower);
    }

    #[inline]
    fn position(&self, key: u64, is_it: impl Fn(u32) -> bool) -> Option<At> {
        let (upper, same) = ((key >> 32) as u32, lower::<BITS>(key, 0));
        let mut at = self.home(upper);
        let mut line = self.lines.get(at)?;
        loop {
            let mut met = line.met(upper);
            while met != 0 {
                let place = met.trailing_zeros() as usize & (BUCKETS - 1);
                let lower = line.lower[place];
                let number = number::<BITS>(lower);
                if lower != EMPTY && lower ^ number == same && is_it(number) {
                    return Some((at, place));
                }
                met &= met - 1;
            }
            if !line.is_full() {
                return None;
            }
            at = self.next(at);
            line = &self.lines[at];
        }
    }

    /// The upper half, as a fraction of the length.
    fn home(&self, upper: u32) -> usize {
        ((u64::from(upper) * self.lines.len() as u64) >> 32) as usize
    }

    /// What its buckets take.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.lines.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.lines.len() - from }
    }
}

impl Line {
    const EMPTY: Line = Line { upper: [0; BUCKETS], lower: [EMPTY; BUCKETS] };

    fn is_full(&self) -> bool {
        self.lower[BUCKETS - 1] != EMPTY
    }

    fn len(&self) -> usize {
        let empty = u32x8::new(self.lower).simd_eq(u32x8::splat(EMPTY)).to_bitmask();
        (empty | 1 << BUCKETS).trailing_zeros() as usize
    }

    /// The buckets with that upper half as bits, empty ones perhaps.
    #[inline]
    fn met(&self, upper: u32) -> u32 {
        u32x8::new(self.upper).simd_eq(u32x8::splat(upper)).to_bitmask()
    }

    fn push(&mut self, upper: u32, lower: u32) {
        let place = self.len();
        (self.upper[place], self.lower[place]) = (upper, lower);
    }

    /// Takes a bucket out; the last one moves into its place.
    fn remove(&mut self, place: usize) -> (u32, u32) {
        let last = self.len() - 1;
        let gone = (self.upper[place], self.lower[place]);
        (self.upper[place], self.lower[place]) = (self.upper[last], self.lower[last]);
        (self.upper[last], self.lower[last]) = (0, EMPTY);
        gone
    }
}

/// The lower half of a key with a number in place of its lowest bits.
fn lower<const BITS: u32>(key: u64, number: u32) -> u32 {
    (key >> BITS << BITS) as u32 | number
}

fn number<const BITS: u32>(lower: u32) -> u32 {
    (u64::from(lower) & ((1 << BITS) - 1)) as u32
}
