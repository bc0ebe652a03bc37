//! The index of the tables, one cache line a look-up.

/// From keyed hashes to numbers of `BITS` bits (at most 32): open addressing with linear probing.
/// A bucket is the key with the number in place of its lowest bits. Its upper half alone says where
/// the bucket belongs, so the index grows without reading anything else.
#[derive(Debug, Default)]
pub(crate) struct Index<const BITS: u32> {
    /// [`EMPTY`] when nothing is in it: no number is all ones.
    buckets: Vec<u64>,
    used: usize,
}

const EMPTY: u64 = u64::MAX;

impl<const BITS: u32> Index<BITS> {
    /// The number that stands for `key`, of those that `is_it` takes. The lowest `BITS` of the key
    /// are not compared: that is left to `is_it`, or to luck.
    pub(crate) fn find(&self, key: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.position(key, is_it).map(|at| number::<BITS>(self.buckets[at]))
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds one. That it is not in is for the caller to know.
    pub(crate) fn insert(&mut self, key: u64, number: u32) {
        // two thirds at most are in use, so that a search meets few buckets
        if (self.used + 1) * 3 > self.buckets.len() * 2 {
            self.rebuild((self.used + 1).max(8) * 5 / 4);
        }
        self.place(bucket::<BITS>(key, number));
        self.used += 1;
    }

    /// Takes one out, if it is in.
    pub(crate) fn remove(&mut self, key: u64, number: u32) {
        let Some(mut hole) = self.position(key, |at| at == number) else { return };
        self.used -= 1;
        let mut at = self.next(hole);
        // whatever stands behind the hole and belongs at it or before moves up
        while self.buckets[at] != EMPTY {
            let home = self.home(self.buckets[at]);
            if self.distance(home, at) >= self.distance(hole, at) {
                self.buckets[hole] = self.buckets[at];
                hole = at;
            }
            at = self.next(at);
        }
        self.buckets[hole] = EMPTY;
    }

    /// Changes a number.
    pub(crate) fn renumber(&mut self, key: u64, from: u32, to: u32) {
        if let Some(at) = self.position(key, |number| number == from) {
            self.buckets[at] = bucket::<BITS>(key, to);
        }
    }

    /// Makes room for `entries`, not more.
    pub(crate) fn rebuild(&mut self, entries: usize) {
        let buckets = vec![EMPTY; entries.max(self.used) * 3 / 2 + 4];
        let old = std::mem::replace(&mut self.buckets, buckets);
        for bucket in old.into_iter().filter(|bucket| *bucket != EMPTY) {
            self.place(bucket);
        }
    }

    fn place(&mut self, bucket: u64) {
        let mut at = self.home(bucket);
        while self.buckets[at] != EMPTY {
            at = self.next(at);
        }
        self.buckets[at] = bucket;
    }

    fn position(&self, key: u64, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        if self.buckets.is_empty() {
            return None;
        }
        let mut at = self.home(key);
        loop {
            let bucket = self.buckets[at];
            if bucket == EMPTY {
                return None;
            }
            if (bucket ^ key) >> BITS == 0 && is_it(number::<BITS>(bucket)) {
                return Some(at);
            }
            at = self.next(at);
        }
    }

    /// The upper half, as a fraction of the length.
    fn home(&self, key: u64) -> usize {
        ((u128::from(key >> 32) * self.buckets.len() as u128) >> 32) as usize
    }

    /// What its buckets take.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<u64>()
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.buckets.len() - from }
    }
}

fn bucket<const BITS: u32>(key: u64, number: u32) -> u64 {
    key >> BITS << BITS | u64::from(number)
}

fn number<const BITS: u32>(bucket: u64) -> u32 {
    (bucket & ((1 << BITS) - 1)) as u32
}
