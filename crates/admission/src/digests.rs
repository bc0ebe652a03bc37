//! A set of keyed hashes that grows, and goes as a whole.

/// Hashes, of each 48 bits: open addressing with linear probing, 7.5 to 9.5 bytes for each. A hash
/// that is not in is taken for one that is with a chance of one in 2⁴⁸ for each that is.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    places: Vec<Digest>,
    used: usize,
}

/// The hash's upper bytes: of these the upper four alone say where it belongs.
type Digest = [u8; 6];

const EMPTY: Digest = [0xff; 6];
/// For so many more there is always room.
const RESERVE: usize = 8;

impl Digests {
    /// How many are in it.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Whether it is in.
    pub(crate) fn contains(&self, hash: u64) -> bool {
        let digest = digest(hash);
        self.place_of(digest).is_some_and(|at| self.places[at] == digest)
    }

    /// Puts one in, if it is not.
    pub(crate) fn insert(&mut self, hash: u64) {
        // four fifths at most are in use, so that a search meets few places
        if (self.used + 1) * 5 > self.places.len() * 4 {
            let places = vec![EMPTY; (self.used + RESERVE) * 25 / 16];
            let old = std::mem::replace(&mut self.places, places);
            for digest in old.into_iter().filter(|digest| *digest != EMPTY) {
                self.put(digest);
            }
        }
        self.used += usize::from(self.put(digest(hash)));
    }

    /// Takes all out. The places stay for as many again; if they are many more, they are given back.
    pub(crate) fn clear(&mut self) {
        if self.places.len() > (self.used + RESERVE) * 4 {
            self.places = Vec::new();
        }
        self.places.fill(EMPTY);
        self.used = 0;
    }

    /// Whether it was not there.
    fn put(&mut self, digest: Digest) -> bool {
        let Some(at) = self.place_of(digest) else { return false };
        std::mem::replace(&mut self.places[at], digest) == EMPTY
    }

    /// Where it is, or may be put. `None` when there are no places at all.
    fn place_of(&self, digest: Digest) -> Option<usize> {
        let [a, b, c, d, ..] = digest;
        let upper = u32::from_be_bytes([a, b, c, d]);
        let home = (u64::from(upper) * self.places.len() as u64) >> 32;
        let (before, behind) = self.places.split_at_checked(home as usize)?;
        let is_it = |place: &Digest| *place == digest || *place == EMPTY;
        let behind_home = behind.iter().position(is_it).map(|at| at + before.len());
        behind_home.or_else(|| before.iter().position(is_it))
    }
}

fn digest(hash: u64) -> Digest {
    let [a, b, c, d, e, f, ..] = hash.to_be_bytes();
    match [a, b, c, d, e, f] {
        EMPTY => [a, b, c, d, e, 0xfe],
        digest => digest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_in_and_nothing_else() {
        let mut set = Digests::default();
        let of = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for n in 0..100_000 {
            assert!(!set.contains(of(n)), "{n}");
            set.insert(of(n));
            set.insert(of(n));
            assert_eq!(set.len() as u64, n + 1);
        }
        assert!((0..100_000).all(|n| set.contains(of(n))));
        assert!(!(100_000..200_000).any(|n| set.contains(of(n))));
        assert!(set.places.len() * size_of::<Digest>() <= 950_000, "{}", set.places.len());
    }

    #[test]
    fn places_that_are_not_needed_are_given_back() {
        let mut set = Digests::default();
        let of = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..1_000).for_each(|n| set.insert(of(n)));
        let places = set.places.len();
        set.clear();
        assert_eq!((set.len(), set.places.len()), (0, places));
        assert!(!(0..1_000).any(|n| set.contains(of(n))));
        set.insert(7);
        set.clear();
        assert_eq!(set.places.len(), 0);
    }

    #[test]
    fn no_hash_is_out_of_place() {
        let mut set = Digests::default();
        // at both ends, more than their places hold
        let hashes = || (0..50).flat_map(|n| [n << 16, u64::MAX - (n << 16)]);
        hashes().for_each(|hash| set.insert(hash));
        assert!(hashes().all(|hash| set.contains(hash)));
        // all ones mean an empty place, so the hash of all ones counts as its neighbour
        assert_eq!(set.len(), 99);
    }
}
