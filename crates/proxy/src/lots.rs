//! Lots among SRV records (RFC 2782), drawn anew for each call.
//!
//! A lot is a keyed hash of the call and the record, so nothing is remembered: a call that is
//! challenged comes again to the target that has its nonce, and all shards draw the same.

use crate::io::Target;
use admission::Key;
use policy::Rank;

/// The chance of a record of weight 0 beside others: RFC 2782 wants a very small one.
const NO_WEIGHT: f64 = 1.0 / 64.0;

/// Draws them.
#[derive(Debug)]
pub(crate) struct Lots {
    key: Key,
}

impl Lots {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Lots { key: Key::derive(secret, "lots") }
    }

    /// What all requests of one call have in common, and all of one registration.
    pub(crate) fn key(&self, call_id: &[u8]) -> u64 {
        self.key.hash(&[call_id])
    }

    /// Puts targets in the order in which this call tries them: by their steps, in each the records
    /// by their lots, and the addresses of one record as they are.
    pub(crate) fn order(&self, targets: &mut [Target], key: u64) {
        if targets.iter().all(|target| target.rank == Rank::default()) {
            return;
        }
        let place =
            |target: &Target| (target.rank.step, self.lot(target.rank, key), target.rank.record);
        targets.sort_by(|a, b| {
            let (a, b) = (place(a), place(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
        });
    }

    /// When this record's Poisson process has its first event: the earliest is each one's in
    /// proportion to its weight, the next among the rest likewise, as RFC 2782 draws them.
    fn lot(&self, rank: Rank, key: u64) -> f64 {
        let hash = self.key.hash(&[&key.to_be_bytes(), &rank.record.to_be_bytes()]);
        let uniform = (hash as f64 + 1.0) / (u64::MAX as f64 + 2.0);
        -uniform.ln() / f64::from(rank.weight).max(NO_WEIGHT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use wire::Transport;

    fn target(host: u8, step: u16, weight: u16, record: u32) -> Target {
        let at = |host| SocketAddr::from(([198, 51, 100, host], 5060));
        let rank = Rank { step, weight, record };
        Target { transport: Transport::Udp, local: at(254), remote: at(host), rank }
    }

    fn hosts(targets: &[Target]) -> Vec<u8> {
        targets
            .iter()
            .map(|target| match target.remote {
                SocketAddr::V4(it) => it.ip().octets()[3],
                SocketAddr::V6(_) => 0,
            })
            .collect()
    }

    /// How often each host was first and second in the order of so many calls.
    fn drawn(targets: &[Target], calls: u32) -> [[u32; 8]; 2] {
        let lots = Lots::new(&[7; 32]);
        let mut counts = [[0; 8]; 2];
        for call in 0..calls {
            let mut targets = targets.to_vec();
            lots.order(&mut targets, lots.key(&call.to_be_bytes()));
            for (count, host) in counts.iter_mut().zip(hosts(&targets)) {
                count[usize::from(host)] += 1;
            }
        }
        counts
    }

    /// Within six deviations of a binomial's mean. The key and the calls are fixed, so the numbers
    /// are always the same.
    fn about(count: u32, calls: u32, chance: f64) -> bool {
        let mean = f64::from(calls) * chance;
        (f64::from(count) - mean).abs() <= 6.0 * (mean * (1.0 - chance)).sqrt()
    }

    #[test]
    fn calls_are_shared_by_weight_first_and_after_a_failure() {
        const CALLS: u32 = 40_000;
        let [first, second] =
            drawn(&[target(1, 0, 60, 1), target(2, 0, 30, 2), target(3, 0, 10, 3)], CALLS);
        for (host, chance) in [(1, 0.6), (2, 0.3), (3, 0.1)] {
            assert!(about(first[host], CALLS, chance), "{host}: {first:?}");
        }
        // who failed is out, and the rest draw by their own weights
        let chance = 0.6 * (30.0 / 40.0) + 0.1 * (30.0 / 90.0);
        assert!(about(second[2], CALLS, chance), "{second:?}");
    }

    #[test]
    fn equals_share_alike_and_a_weight_of_zero_is_a_small_chance() {
        const CALLS: u32 = 40_000;
        let [first, _] = drawn(&[target(1, 0, 0, 1), target(2, 0, 0, 2)], CALLS);
        assert!(about(first[1], CALLS, 0.5), "{first:?}");
        let [first, _] = drawn(&[target(1, 0, 0, 1), target(2, 0, 1, 2)], CALLS);
        assert!(about(first[1], CALLS, 1.0 / 65.0), "{first:?}");
    }

    #[test]
    fn priorities_go_before_lots_and_the_addresses_of_a_record_stay_together() {
        let targets = [
            target(5, 1, 60_000, 9),
            target(1, 0, 1, 1),
            target(2, 0, 1, 1),
            target(3, 0, 1, 2),
            target(4, 0, 1, 2),
        ];
        let lots = Lots::new(&[7; 32]);
        let mut seen = std::collections::BTreeSet::new();
        for call in 0u32..64 {
            let mut targets = targets;
            lots.order(&mut targets, lots.key(&call.to_be_bytes()));
            seen.insert(hosts(&targets));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]]);
    }

    #[test]
    fn a_call_keeps_its_lots_whatever_the_order_of_an_answer() {
        let mut one = [target(1, 0, 3, 1), target(2, 0, 2, 2), target(3, 0, 1, 3)];
        let mut other = [one[2], one[0], one[1]];
        let lots = Lots::new(&[7; 32]);
        for call in [b"a", b"b", b"c"] {
            lots.order(&mut one, lots.key(call));
            lots.order(&mut other, lots.key(call));
            assert_eq!(one, other);
        }
    }

    #[test]
    fn targets_without_records_stay_as_they_are() {
        let targets = [3, 1, 2].map(|host| target(host, 0, 0, 0));
        let mut ordered = targets;
        let lots = Lots::new(&[7; 32]);
        lots.order(&mut ordered, lots.key(b"a"));
        assert_eq!(ordered, targets);
    }
}
