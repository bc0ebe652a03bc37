//! Chains of evidence: what explains a ban, kept for as many sources as there is room for.

use crate::fade::faded;
use crate::store::{Entry, Rank, Store};
use crate::{Ban, Record, TableUse};
use std::collections::VecDeque;
use std::time::Duration;

/// Longest text of a record, in bytes.
const TEXT_BYTES_MAX: usize = 64;

/// The last [`Ban::RECORDS_MAX`] records of each source.
#[derive(Debug)]
pub(crate) struct Chains {
    store: Store<Chain>,
}

#[derive(Debug)]
struct Chain {
    key: u64,
    /// Oldest first.
    records: VecDeque<Record>,
}

impl Entry for Chain {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Chains {
    /// For so many sources.
    pub(crate) fn new(capacity: usize) -> Self {
        Chains { store: Store::new(capacity) }
    }

    /// Another bound; what is too much goes.
    pub(crate) fn configure(&mut self, capacity: usize) {
        self.store.configure(capacity);
    }

    /// Adds to the chain of the source with this key. Of a long chain the oldest record goes, of
    /// a full table the oldest chain, those of banned sources last.
    ///
    /// Tries on what is banned already come in hundreds, and must not push out what it was banned
    /// for: those of one AOR are one record, whose weight fades by `half_life`, and where there is
    /// no room they go first.
    pub(crate) fn add(&mut self, key: u64, mut record: Record, half_life: Duration) {
        let rank = self.store.rank(key).unwrap_or(Rank::Proven);
        if !self.store.touch(key, rank) {
            self.store.insert(rank, Chain { key, records: VecDeque::new() });
        }
        let Some(chain) = self.store.find_mut(key) else { return };
        if let Some(at) = chain.records.iter().position(|old| are_tries(old, &record)) {
            let old = chain.records.remove(at);
            let left = |old: Record| faded(old.weight, record.at.since(old.at), half_life);
            record.weight += old.map_or(0.0, left);
        } else if chain.records.len() >= Ban::RECORDS_MAX {
            let first = chain.records.iter().position(Record::is_try).unwrap_or(0);
            chain.records.remove(first);
        }
        chain.records.push_back(record);
    }

    /// Records of an earlier life, as two bans of one source may both tell them.
    pub(crate) fn recall(
        &mut self,
        key: u64,
        records: impl Iterator<Item = Record>,
        half_life: Duration,
    ) {
        let mut all = self.of(key);
        for record in records {
            // the later of two that tell of the same tries has them all
            match all.iter().position(|old| are_tries(old, &record)) {
                Some(old) if all[old].at < record.at => all[old] = record,
                None if !all.contains(&record) => all.push(record),
                _ => {}
            }
        }
        all.sort_by_key(|record| record.at);
        if let Some(chain) = self.store.find_mut(key) {
            chain.records.clear();
        }
        all.into_iter().for_each(|record| self.add(key, record, half_life));
    }

    /// A ban on the source begins: until it ends its chain stays.
    pub(crate) fn hold(&mut self, key: u64) {
        self.store.touch(key, Rank::Banned);
    }

    /// The ban ended, and so much of the evidence is left: the records weigh as much less, so that
    /// they go on to sum up to the score.
    pub(crate) fn forgive(&mut self, key: u64, left: f32) {
        self.store.touch(key, Rank::Proven);
        if let Some(chain) = self.store.find_mut(key) {
            chain.records.iter_mut().for_each(|record| record.weight *= left);
        }
    }

    /// All records, of whomever.
    pub(crate) fn records_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.store.iter_mut().flat_map(|chain| chain.records.iter_mut())
    }

    /// The chain of a source, oldest record first; empty when none is kept.
    pub(crate) fn of(&self, key: u64) -> Vec<Record> {
        self.store
            .find(key)
            .map(|chain| chain.records.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Chains, bound and evictions.
    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }
}

/// Whether both are tries at one AOR.
fn are_tries(one: &Record, other: &Record) -> bool {
    one.is_try() && other.is_try() && one.aor == other.aor
}

/// As much of a text as a record keeps.
pub(crate) fn text(bytes: &[u8]) -> Box<[u8]> {
    bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Outcome, Time};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn record(weight: f32) -> Record {
        Record {
            at: Time::ZERO,
            method: 4,
            outcome: Outcome::Abandoned,
            aor: text(b"100@pbx"),
            dialled: text(&[b'9'; 500]),
            shape: 1,
            proof: None,
            rule: u16::MAX,
            raised_by: u16::MAX,
            signature: u16::MAX,
            weight,
        }
    }

    #[test]
    fn a_chain_keeps_its_last_records_in_order() {
        let mut chains = Chains::new(10);
        assert!(chains.of(1).is_empty());
        for n in 0..100u8 {
            chains.add(1, record(n.into()), HOUR);
        }
        let weights: Vec<_> = chains.of(1).iter().map(|record| record.weight).collect();
        assert_eq!(weights, (84..100u8).map(f32::from).collect::<Vec<_>>());
        assert_eq!(chains.of(1)[0].dialled.len(), TEXT_BYTES_MAX);
        chains.forgive(1, 0.25);
        assert_eq!(chains.of(1)[0].weight, 21.0);
    }

    #[test]
    fn tries_leave_what_it_was_banned_for() {
        let mut chains = Chains::new(10);
        let at = |second: u64| Time::ZERO + Duration::from_secs(second);
        let tried = |aor: &[u8], second| Record {
            at: at(second),
            outcome: Outcome::Refused,
            aor: text(aor),
            ..record(0.5)
        };
        for _ in 0..14 {
            chains.add(1, Record { rule: 3, ..tried(b"100@pbx", 0) }, HOUR);
        }
        // two half-lives of one of them, half of it an hour late
        for second in [0, 3_600, 7_200] {
            chains.add(1, tried(b"100@pbx", second), HOUR);
        }
        let last = |chains: &Chains| chains.of(1).last().map(|last| last.weight);
        assert_eq!((chains.of(1).len(), last(&chains)), (15, Some(0.875)));
        let earlier = chains.of(1);
        chains.add(1, tried(b"100@pbx", 10_800), HOUR);
        let later = chains.of(1);
        let mut again = Chains::new(10);
        again.recall(1, later.into_iter(), HOUR);
        again.recall(1, earlier.into_iter(), HOUR);
        assert_eq!(last(&again), Some(0.9375), "told twice, there once");
        for n in 0..50 {
            chains.add(1, tried(format!("{n}@pbx").as_bytes(), 10_800), HOUR);
        }
        let outcomes = chains.of(1).iter().filter(|record| !record.is_try()).count();
        assert_eq!((outcomes, chains.of(1).len()), (14, Ban::RECORDS_MAX));
    }

    #[test]
    fn what_is_recalled_twice_is_there_once_and_in_order() {
        let mut chains = Chains::new(10);
        let at = |second: u64| Time::ZERO + std::time::Duration::from_secs(second);
        let records = |seconds: [u64; 3]| {
            seconds.into_iter().map(move |second| Record { at: at(second), ..record(1.0) })
        };
        chains.recall(1, records([2, 4, 6]), HOUR);
        chains.recall(1, records([1, 4, 6]), HOUR);
        let times: Vec<_> = chains.of(1).iter().map(|record| record.at).collect();
        assert_eq!(times, [1, 2, 4, 6].map(at));
    }

    #[test]
    fn the_banned_keep_theirs_in_a_flood() {
        let mut chains = Chains::new(10);
        chains.add(1, record(1.0), HOUR);
        chains.hold(1);
        for key in 2..10_000 {
            chains.add(key, record(1.0), HOUR);
        }
        assert_eq!(chains.table().entries, 10);
        assert_eq!(chains.of(1).len(), 1);
        chains.configure(1);
        assert_eq!(chains.of(1).len(), 1);
        chains.add(2, record(1.0), HOUR);
        assert!(chains.of(2).is_empty(), "no room for it");
        chains.forgive(1, 1.0);
        chains.add(2, record(1.0), HOUR);
        assert!(chains.of(1).is_empty());
    }
}
