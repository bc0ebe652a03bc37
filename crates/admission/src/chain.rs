//! Chains of evidence: what explains a ban, kept for as many sources as there is room for.

use crate::store::{Entry, Rank, Store};
use crate::{Ban, Record, TableUse};
use std::collections::VecDeque;

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
    pub(crate) fn add(&mut self, key: u64, record: Record) {
        let rank = self.store.rank(key).unwrap_or(Rank::Proven);
        if !self.store.touch(key, rank) {
            self.store.insert(rank, Chain { key, records: VecDeque::new() });
        }
        let Some(chain) = self.store.find_mut(key) else { return };
        if chain.records.len() >= Ban::RECORDS_MAX {
            chain.records.pop_front();
        }
        chain.records.push_back(record);
    }

    /// Records of an earlier life, as two bans of one source may both tell them.
    pub(crate) fn recall(&mut self, key: u64, records: impl Iterator<Item = Record>) {
        let mut all = self.of(key);
        for record in records {
            if !all.contains(&record) {
                all.push(record);
            }
        }
        all.sort_by_key(|record| record.at);
        if let Some(chain) = self.store.find_mut(key) {
            chain.records.clear();
        }
        all.into_iter().for_each(|record| self.add(key, record));
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

/// As much of a text as a record keeps.
pub(crate) fn text(bytes: &[u8]) -> Box<[u8]> {
    bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{Outcome, Time};

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
            chains.add(1, record(n.into()));
        }
        let weights: Vec<_> = chains.of(1).iter().map(|record| record.weight).collect();
        assert_eq!(weights, (84..100u8).map(f32::from).collect::<Vec<_>>());
        assert_eq!(chains.of(1)[0].dialled.len(), TEXT_BYTES_MAX);
        chains.forgive(1, 0.25);
        assert_eq!(chains.of(1)[0].weight, 21.0);
    }

    #[test]
    fn what_is_recalled_twice_is_there_once_and_in_order() {
        let mut chains = Chains::new(10);
        let at = |second: u64| Time::ZERO + std::time::Duration::from_secs(second);
        let records = |seconds: [u64; 3]| {
            seconds.into_iter().map(move |second| Record { at: at(second), ..record(1.0) })
        };
        chains.recall(1, records([2, 4, 6]));
        chains.recall(1, records([1, 4, 6]));
        let times: Vec<_> = chains.of(1).iter().map(|record| record.at).collect();
        assert_eq!(times, [1, 2, 4, 6].map(at));
    }

    #[test]
    fn the_banned_keep_theirs_in_a_flood() {
        let mut chains = Chains::new(10);
        chains.add(1, record(1.0));
        chains.hold(1);
        for key in 2..10_000 {
            chains.add(key, record(1.0));
        }
        assert_eq!(chains.table().entries, 10);
        assert_eq!(chains.of(1).len(), 1);
        chains.configure(1);
        assert_eq!(chains.of(1).len(), 1);
        chains.add(2, record(1.0));
        assert!(chains.of(2).is_empty(), "no room for it");
        chains.forgive(1, 1.0);
        chains.add(2, record(1.0));
        assert!(chains.of(1).is_empty());
    }
}
