//! Requests of strangers that are with the PBX, which has said nothing to them yet. Until it does
//! each counts as the challenge that it may fetch: else whoever sends all he has at once has it
//! all there before the first challenge opens.

use crate::TableUse;
use crate::store::{Entry, Rank, Store};
use policy::Time;
use std::time::Duration;

/// After so long without another one, what nobody ended is forgotten: RFC 3261's 64·T1, when each
/// transaction has its answer or none.
const FORGOTTEN: Duration = Duration::from_secs(32);

/// Requests in passage by their source.
#[derive(Debug)]
pub(crate) struct Passing {
    store: Store<OfSource>,
}

/// A kind of request, as the shares of strangers tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) invite: bool,
    /// It proves its source's return path by itself.
    pub(crate) proven: bool,
}

#[derive(Debug)]
struct OfSource {
    key: u64,
    /// INVITEs and others; of either those that are proven behind.
    counts: [[u16; 2]; 2],
    last: Time,
}

impl Entry for OfSource {
    fn key(&self) -> u64 {
        self.key
    }
}

impl OfSource {
    fn add(&mut self, now: Time, kind: Kind) {
        if now.since(self.last) >= FORGOTTEN {
            self.counts = [[0; 2]; 2];
        }
        self.last = now;
        let count = self.count(kind);
        *count = count.saturating_add(1);
    }

    fn count(&mut self, kind: Kind) -> &mut u16 {
        &mut self.counts[usize::from(!kind.invite)][usize::from(kind.proven)]
    }
}

impl Passing {
    pub(crate) fn new(capacity: usize) -> Self {
        Passing { store: Store::new(capacity) }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.store.configure(capacity);
    }

    /// One more of that source.
    pub(crate) fn begin(&mut self, now: Time, source: u64, kind: Kind) {
        let rank = if kind.proven { Rank::Proven } else { Rank::Unproven };
        let first = || OfSource { key: source, counts: [[0; 2]; 2], last: now };
        if let Some(of_source) = self.store.enter(source, rank, first) {
            of_source.add(now, kind);
        }
    }

    /// One of them ended.
    pub(crate) fn end(&mut self, source: u64, kind: Kind) {
        let Some(of_source) = self.store.find_mut(source) else { return };
        let count = of_source.count(kind);
        *count = count.saturating_sub(1);
        if of_source.counts == [[0; 2]; 2] {
            let _ = self.store.remove(source);
        }
    }

    /// How many INVITEs, or others, of that source there are: all, and those that are proven.
    pub(crate) fn of(&self, now: Time, source: u64, invite: bool) -> (u32, u32) {
        let [unproven, proven] = self.counts(now, source)[usize::from(!invite)].map(u32::from);
        (unproven + proven, proven)
    }

    fn counts(&self, now: Time, source: u64) -> [[u16; 2]; 2] {
        let of_source = self.store.find(source);
        let of_source = of_source.filter(|it| now.since(it.last) < FORGOTTEN);
        of_source.map_or([[0; 2]; 2], |it| it.counts)
    }

    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Kind = Kind { invite: true, proven: false };
    const PROVEN: Kind = Kind { invite: true, proven: true };
    const OTHER: Kind = Kind { invite: false, proven: false };

    #[test]
    fn what_begins_ends_or_is_forgotten() {
        let mut passing = Passing::new(10);
        let now = Time::ZERO + Duration::from_secs(1_000);
        for kind in [CALL, CALL, PROVEN, OTHER] {
            passing.begin(now, 1, kind);
        }
        passing.begin(now, 2, OTHER);
        assert_eq!([1, 2, 3].map(|key| passing.of(now, key, true)), [(3, 1), (0, 0), (0, 0)]);
        assert_eq!([1, 2, 3].map(|key| passing.of(now, key, false)), [(1, 0), (1, 0), (0, 0)]);
        for (key, kind) in [(1, PROVEN), (1, PROVEN), (2, OTHER), (2, OTHER), (3, CALL)] {
            passing.end(key, kind);
        }
        assert_eq!([1, 2, 3].map(|key| passing.of(now, key, true)), [(2, 0), (0, 0), (0, 0)]);
        assert_eq!(passing.table().entries, 1, "what has none is not kept");
        assert_eq!(passing.of(now + FORGOTTEN, 1, true), (0, 0), "nobody told its end");
        passing.begin(now + FORGOTTEN, 1, CALL);
        assert_eq!(passing.of(now + FORGOTTEN, 1, true), (1, 0));
    }

    #[test]
    fn forgers_push_out_nobody_who_proved_himself() {
        let mut passing = Passing::new(10);
        passing.begin(Time::ZERO, 0, CALL);
        passing.begin(Time::ZERO, 0, PROVEN);
        for key in 1..1_000 {
            passing.begin(Time::ZERO, key, CALL);
        }
        assert_eq!(passing.of(Time::ZERO, 0, true), (2, 1));
        assert_eq!((passing.table().entries, passing.table().evictions), (10, 990));
    }
}
