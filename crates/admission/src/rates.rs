//! Rates: the GCRA of `governor` on the policy's time, over a table of our own, because governor's
//! never forgets a key. A full bucket says no more than none: where there are many it is kept only until
//! somebody else needs one, so that the table is as long as what has been asked for lately. Whoever is pushed out
//! begins anew, with one burst at most.

use crate::TableUse;
use crate::store::{Entry, Rank, Store};
use governor::clock::Clock;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use policy::{Rate, Time};
use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::time::Duration;

/// The key of what all share: its bucket is never pushed out.
pub(crate) const ALL: u64 = 0;

/// Rules from here on are the gate's own, whose buckets only real refusals and bans make: no flood
/// of other keys pushes them out.
pub(crate) const OWN_RULES: u16 = u16::MAX - 15;

/// Buckets that are looked at for each new one, whether they are full. What takes the place of one
/// that goes is mostly not, so this lets two go for each that comes.
const LOOKED_AT: usize = 4;
/// So many may stay full, some 150 KB: who comes again and again does not make his bucket anew.
const KEPT: usize = 4_096;

/// Longest time that a full bucket stands for: nothing overflows before the year 2400.
const LONGEST: u64 = 1 << 62;

/// All buckets of a shard.
#[derive(Debug)]
pub struct Rates {
    store: Store<Bucket>,
    /// Where a full one is looked for next.
    hand: usize,
    /// What was asked for and how governor counts it: as many as the policy has rates.
    quotas: Vec<(Rate, Quota)>,
}

#[derive(Debug)]
struct Bucket {
    key: u64,
    /// The theoretical arrival time of what comes next.
    next: Nanos,
}

impl Entry for Bucket {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Rates {
    /// At most so many buckets.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Rates { store: Store::new(capacity), hand: 0, quotas: Vec::new() }
    }

    /// Another policy: `rule` means something else now, so all begin anew.
    pub fn configure(&mut self, capacity: usize) {
        self.store.clear();
        self.store.configure(capacity);
        self.quotas.clear();
    }

    /// Takes one from the bucket of `rule` and `key` (a keyed hash, or 0 for all); `false` when it
    /// is empty.
    pub fn allows(&mut self, now: Time, rule: u16, key: u64, rate: Rate) -> bool {
        let rank = match (key, rule) {
            (ALL, _) => Rank::Banned,
            (_, OWN_RULES..) => Rank::Known,
            _ => Rank::Unproven,
        };
        let (quota, before) = (self.quota(rate), self.store.len());
        let now = Nanos::from(now.as_nanos().min(1 << 63));
        let store = Buckets { store: RefCell::new(&mut self.store), rank };
        let limiter = RateLimiter::<u64, _, _>::new(quota, store, Watch::default());
        limiter.clock().0.set(now);
        let allowed = limiter.check_key(&(key ^ spread(rule))).is_ok();
        if self.store.len() > before.max(KEPT) {
            self.store.sweep(&mut self.hand, LOOKED_AT, |bucket| bucket.next <= now);
        }
        allowed
    }

    fn quota(&mut self, rate: Rate) -> Quota {
        if let Some((_, quota)) = self.quotas.iter().find(|(known, _)| *known == rate) {
            return *quota;
        }
        let quota = quota(rate);
        self.quotas.push((rate, quota));
        quota
    }

    /// Buckets, bound and evictions.
    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }
}

/// A rule's own part of a key.
fn spread(rule: u16) -> u64 {
    (u64::from(rule) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn quota(rate: Rate) -> Quota {
    let per_one = (rate.per / rate.count.max(1)).max(Duration::from_nanos(1));
    let per_one = per_one.min(Duration::from_nanos(LONGEST));
    let nanos = u64::try_from(per_one.as_nanos()).unwrap_or(LONGEST);
    let burst_max = u32::try_from(LONGEST / nanos).unwrap_or(u32::MAX);
    let burst = NonZeroU32::new(rate.burst.min(burst_max)).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(per_one).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

/// The policy's time as governor reads it. It begins with the epoch, so that what is in the table
/// means the same to each limiter.
#[derive(Debug, Default)]
struct Watch(Cell<Nanos>);

impl Clock for Watch {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        self.0.get()
    }
}

/// The table as governor sees it.
struct Buckets<'s> {
    store: RefCell<&'s mut Store<Bucket>>,
    rank: Rank,
}

impl StateStore for Buckets<'_> {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut store = self.store.borrow_mut();
        // whoever is refused stays young, too: asking again must not be a way to be forgotten
        let full = || Bucket { key: *key, next: Nanos::default() };
        let Some(bucket) = store.enter(*key, self.rank, full) else {
            return measure(None).map(|(outcome, _)| outcome);
        };
        let (outcome, next) = measure(Some(bucket.next))?;
        bucket.next = next;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(1_700_000_000_000 + millis)
    }

    fn rate(count: u32, seconds: u64, burst: u32) -> Rate {
        Rate { count, per: Duration::from_secs(seconds), burst }
    }

    fn passed(rates: &mut Rates, now: Time, key: u64, rate: Rate, tries: u32) -> usize {
        (0..tries).filter(|_| rates.allows(now, 1, key, rate)).count()
    }

    #[test]
    fn a_burst_passes_and_refills_at_its_rate() {
        let mut rates = Rates::new(10);
        let ten = rate(10, 1, 5);
        assert_eq!(passed(&mut rates, at(0), 7, ten, 100), 5);
        assert_eq!(passed(&mut rates, at(99), 7, ten, 100), 0);
        assert_eq!(passed(&mut rates, at(100), 7, ten, 100), 1);
        assert_eq!(passed(&mut rates, at(400), 7, ten, 100), 3);
        assert_eq!(passed(&mut rates, at(60_000), 7, ten, 100), 5, "never more than a burst");
        let slow = rate(1, 60, 1);
        assert_eq!(passed(&mut rates, at(0), 8, slow, 3), 1);
        assert_eq!(passed(&mut rates, at(59_999), 8, slow, 3), 0);
        assert_eq!(passed(&mut rates, at(60_000), 8, slow, 3), 1);
    }

    #[test]
    fn in_the_long_run_the_rate_holds() {
        let mut rates = Rates::new(10);
        let limit = rate(50, 1, 200);
        let all: usize = (0..600_000).filter(|ms| rates.allows(at(*ms), 0, 1, limit)).count();
        assert_eq!(all, 200 + 50 * 600 - 1, "ten minutes of a thousand a second");
    }

    #[test]
    fn rules_and_keys_have_buckets_of_their_own() {
        let mut rates = Rates::new(10);
        let one = rate(1, 1, 1);
        for rule in 0..3 {
            for key in 1..4 {
                assert!(rates.allows(at(0), rule, key, one), "{rule} {key}");
                assert!(!rates.allows(at(0), rule, key, one), "{rule} {key}");
            }
        }
        assert_eq!(rates.table().entries, 9);
    }

    #[test]
    fn a_million_keys_stay_within_the_bound_and_never_the_shared_pool_forgotten() {
        let mut rates = Rates::new(1_000);
        let pool = rate(1, 3_600, 100);
        let own = rate(1, 1, 1);
        let mut through = 0;
        for n in 1..=1_000_000u64 {
            through += usize::from(rates.allows(at(0), 0, ALL, pool));
            rates.allows(at(0), 1, n.wrapping_mul(0x9e37_79b9_7f4a_7c15), own);
            assert!(rates.table().entries <= 1_000);
        }
        assert_eq!(through, 100);
        assert_eq!(rates.table().evictions, 1_000_000 - 999);
    }

    #[test]
    fn full_buckets_make_room_and_others_stay() {
        let mut rates = Rates::new(100_000);
        let quick = rate(50, 1, 200);
        let of = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // each is full again after 20 ms, and one comes a millisecond
        for n in 1..=50_000 {
            assert!(rates.allows(at(n), 1, of(n), quick));
            assert!(rates.table().entries <= KEPT + 100, "{}", rates.table().entries);
        }
        // a burst goes again as quickly as others come
        for n in 1..=10_000 {
            assert!(rates.allows(at(60_000), 2, of(n), quick));
        }
        for n in 1..=10_100 {
            rates.allows(at(61_000 + n), 1, of(n), quick);
        }
        assert!(rates.table().entries <= KEPT + 100, "{}", rates.table().entries);
        assert_eq!(rates.table().evictions, 0);
        // one that is not full is not forgotten, whoever else comes
        let slow = rate(1, 60, 1);
        assert!(rates.allows(at(100_000), 3, 7, slow));
        for n in 1..=10_000 {
            rates.allows(at(100_000 + n), 1, of(n), quick);
        }
        assert!(!rates.allows(at(110_000), 3, 7, slow));
    }

    #[test]
    fn no_flood_gives_a_guarded_account_another_try() {
        let mut rates = Rates::new(1_000);
        let (slow, own) = (rate(1, 30, 1), rate(1, 1, 1));
        assert!(rates.allows(at(0), OWN_RULES, 7, slow));
        for n in 1..=10_000u64 {
            rates.allows(at(0), 1, n.wrapping_mul(0x9e37_79b9_7f4a_7c15), own);
        }
        assert!(!rates.allows(at(0), OWN_RULES, 7, slow));
    }

    #[test]
    fn no_flood_refills_what_all_share() {
        let mut rates = Rates::new(1_000);
        let (pool, own) = (rate(1, 3_600, 1), rate(1, 1, 1));
        assert!(rates.allows(at(0), 0, ALL, pool));
        for n in 1..=10_000u64 {
            rates.allows(at(0), 1, n.wrapping_mul(0x9e37_79b9_7f4a_7c15), own);
        }
        assert!(!rates.allows(at(0), 0, ALL, pool));
    }

    #[test]
    fn another_policy_begins_with_full_buckets() {
        let mut rates = Rates::new(10);
        let slow = rate(1, 60, 1);
        assert_eq!(passed(&mut rates, at(0), 7, slow, 3), 1);
        rates.configure(10);
        assert_eq!(rates.table().entries, 0);
        assert_eq!(passed(&mut rates, at(0), 7, slow, 3), 1);
    }

    #[test]
    fn whoever_is_pushed_out_gets_a_burst_and_not_more() {
        let mut rates = Rates::new(2);
        let limit = rate(1, 60, 3);
        assert_eq!(passed(&mut rates, at(0), 1, limit, 9), 3);
        rates.allows(at(0), 1, 2, limit);
        assert_eq!(passed(&mut rates, at(0), 1, limit, 9), 0, "asking keeps it young");
        rates.allows(at(0), 1, 3, limit);
        assert_eq!(passed(&mut rates, at(0), 1, limit, 9), 0);
        rates.allows(at(0), 1, 4, limit);
        rates.allows(at(0), 1, 5, limit);
        assert_eq!(passed(&mut rates, at(0), 1, limit, 9), 3);
    }

    #[test]
    fn no_rate_or_time_is_too_much() {
        let mut rates = Rates::new(10);
        let huge = [
            rate(0, 0, 0),
            rate(1, u64::MAX, u32::MAX),
            rate(u32::MAX, 1, u32::MAX),
            rate(u32::MAX, 0, 1),
        ];
        for (rule, rate) in huge.into_iter().enumerate() {
            for now in [Time::ZERO, at(0), Time::FOREVER] {
                rates.allows(now, rule as u16, 1, rate);
                rates.allows(now, rule as u16, 1, rate);
            }
        }
    }
}
