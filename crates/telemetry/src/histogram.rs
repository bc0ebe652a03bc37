//! Lengths of time in buckets, for one writer: two stores and no lock each time.

use crate::shard::Cell;
use std::time::Duration;

/// Bounds: 1, 1.5, 2, 3, 4, 6, … microseconds, two to an octave.
pub(crate) const BOUNDS: usize = 48;

/// So many lengths up to each bound, and those that are longer.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [Cell; BOUNDS + 1],
    /// All lengths together, in nanoseconds.
    sum: Cell,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: std::array::from_fn(|_| Cell::default()), sum: Cell::default() }
    }
}

/// The upper bound of a bucket in nanoseconds.
fn bound(index: usize) -> u64 {
    let octave = 1_000 << (index / 2);
    if index.is_multiple_of(2) { octave } else { octave / 2 * 3 }
}

/// The bucket that a length falls into.
fn bucket(nanos: u64) -> usize {
    if nanos <= 1_000 {
        return 0;
    }
    // whole octaves below it, then which half
    let octave = ((nanos - 1) / 1_000).ilog2() as usize;
    let index = 2 * octave + 1;
    if index < BOUNDS { index + usize::from(nanos > bound(index)) } else { BOUNDS }
}

impl Histogram {
    /// Counts `count` lengths that are alike.
    pub(crate) fn add(&self, length: Duration, count: u64) {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].add(count);
        self.sum.add(nanos.saturating_mul(count));
    }

    /// What was counted, as Prometheus wants it: each bound in seconds with how many do not exceed
    /// it, how many there are in all, and their sum in seconds.
    pub(crate) fn merge<'h>(all: impl Iterator<Item = &'h Histogram>) -> Merged {
        let mut counts = [0; BOUNDS + 1];
        let mut sum = 0_u128;
        for histogram in all {
            for (count, cell) in counts.iter_mut().zip(&histogram.buckets) {
                *count += cell.value();
            }
            sum += u128::from(histogram.sum.value());
        }
        let mut below = 0;
        let buckets = counts.iter().take(BOUNDS).enumerate().map(|(index, count)| {
            below += count;
            (bound(index) as f64 / 1e9, below)
        });
        let buckets = buckets.collect();
        Merged { buckets, count: counts.iter().sum(), sum: sum as f64 / 1e9 }
    }
}

/// Several shards' lengths.
#[derive(Debug, PartialEq)]
pub(crate) struct Merged {
    pub(crate) buckets: Vec<(f64, u64)>,
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_falls_into_the_first_bucket_that_is_not_too_short() {
        let bounds: Vec<u64> = (0..BOUNDS).map(bound).collect();
        assert_eq!(bounds[..6], [1_000, 1_500, 2_000, 3_000, 4_000, 6_000]);
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
        let about = bounds.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]);
        for nanos in about.chain([0, 1, u64::MAX]) {
            let first = bounds.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS);
            assert_eq!(bucket(nanos), first, "{nanos} ns");
        }
    }

    #[test]
    fn shards_are_merged() {
        let [one, two] = [Histogram::default(), Histogram::default()];
        one.add(Duration::from_micros(5), 3);
        two.add(Duration::from_micros(1), 1);
        two.add(Duration::from_secs(60), 1);
        let merged = Histogram::merge([&one, &two].into_iter());
        assert_eq!((merged.count, merged.sum), (5, 60.000_016));
        assert_eq!(merged.buckets[0], (0.000_001, 1));
        assert_eq!(merged.buckets[4], (0.000_004, 1));
        assert_eq!(merged.buckets[5], (0.000_006, 4));
        assert_eq!(merged.buckets.last(), Some(&(12.582_912, 4)), "a minute is beyond");
    }
}
