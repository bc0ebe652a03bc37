//! Tries under way: credentials that are with the PBX, which has not said yet what it makes of
//! them. Until it does they count as refusals would: else whoever sends all his guesses at once
//! has them all.

use crate::TableUse;
use crate::store::{Entry, Rank, Store};
use policy::Time;
use std::time::Duration;

/// After so long without another one, tries that nobody ended are forgotten: RFC 3261's 64·T1, when
/// each transaction has its answer or none.
const FORGOTTEN: Duration = Duration::from_secs(32);

/// Tries by what they are made at: a pair's or an account's hash.
#[derive(Debug)]
pub(crate) struct Tries {
    store: Store<Tried>,
}

#[derive(Debug)]
struct Tried {
    key: u64,
    count: u32,
    last: Time,
}

impl Entry for Tried {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Tries {
    pub(crate) fn new(capacity: usize) -> Self {
        Tries { store: Store::new(capacity) }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.store.configure(capacity);
    }

    /// One more.
    pub(crate) fn begin(&mut self, now: Time, key: u64) {
        let none = || Tried { key, count: 0, last: now };
        let Some(tried) = self.store.enter(key, Rank::Proven, none) else { return };
        if now.since(tried.last) >= FORGOTTEN {
            tried.count = 0;
        }
        (tried.count, tried.last) = (tried.count + 1, now);
    }

    /// One of them ended.
    pub(crate) fn end(&mut self, key: u64) {
        let Some(tried) = self.store.find_mut(key) else { return };
        tried.count = tried.count.saturating_sub(1);
        if tried.count == 0 {
            let _ = self.store.remove(key);
        }
    }

    /// How many there are.
    pub(crate) fn under_way(&self, now: Time, key: u64) -> u32 {
        let tried = self.store.find(key).filter(|tried| now.since(tried.last) < FORGOTTEN);
        tried.map_or(0, |tried| tried.count)
    }

    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_ends_or_is_forgotten() {
        let mut tries = Tries::new(10);
        let now = Time::ZERO + Duration::from_secs(1_000);
        tries.begin(now, 1);
        tries.begin(now, 1);
        tries.begin(now, 2);
        assert_eq!([1, 2, 3].map(|key| tries.under_way(now, key)), [2, 1, 0]);
        tries.end(1);
        tries.end(2);
        tries.end(3);
        assert_eq!([1, 2, 3].map(|key| tries.under_way(now, key)), [1, 0, 0]);
        assert_eq!(tries.table().entries, 1, "what is at none is not kept");
        assert_eq!(tries.under_way(now + FORGOTTEN, 1), 0, "nobody told its end");
        tries.begin(now + FORGOTTEN, 1);
        assert_eq!(tries.under_way(now + FORGOTTEN, 1), 1);
    }

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        let mut tries = Tries::new(10);
        for key in 0..1_000 {
            tries.begin(Time::ZERO, key);
        }
        assert_eq!((tries.table().entries, tries.table().evictions), (10, 990));
    }
}
