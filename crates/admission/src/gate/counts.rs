//! What the gate counts, and how large it is.

use super::{FeedCount, Gate};
use crate::Proof;
use policy::Outcome;

/// Entries and bound of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableUse {
    /// Entries now.
    pub entries: usize,
    /// Bound.
    pub capacity: usize,
    /// Entries pushed out because the table was full, ever.
    pub evictions: u64,
}

/// What was counted, ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Challenges that went out.
    pub issued: u64,
    /// Of them the edge's own.
    pub issued_by_edge: u64,
    /// By [`Outcome`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// By [`Proof`].
    pub proofs: [u64; Proof::ALL.len()],
    /// Signature hits: (by others, by the authenticated), by index.
    pub signatures: Vec<(u64, u64)>,
    /// What each rule met, by index: what it did, or in `observe` would have done.
    pub rules: Vec<u64>,
    /// What each feed met, by its place among the feeds.
    pub feeds: Vec<FeedCount>,
}

/// A look at the gate for metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateSnapshot {
    /// Open ledger entries.
    pub ledger: TableUse,
    /// Sources.
    pub sources: TableUse,
    /// Pairs.
    pub pairs: TableUse,
    /// AORs.
    pub aors: TableUse,
    /// Networks.
    pub networks: TableUse,
    /// Shapes.
    pub shapes: TableUse,
    /// Bans.
    pub bans: TableUse,
    /// Rate buckets.
    pub rates: TableUse,
    /// Chains.
    pub chains: TableUse,
    /// Tries under way.
    pub tries: TableUse,
    /// Sources with requests in passage.
    pub passing: TableUse,
    /// Templates of requests that are known.
    pub templates: TableUse,
    /// Nonces.
    pub nonces: TableUse,
    /// Whether the edge challenges strangers by itself now.
    pub under_attack: bool,
}

impl Gate {
    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Sizes.
    #[must_use]
    pub fn snapshot(&self) -> GateSnapshot {
        GateSnapshot {
            ledger: self.ledger.table(),
            sources: self.sources.table(),
            pairs: self.pairs.table(),
            aors: self.aors.table(),
            networks: self.networks.table(),
            shapes: self.shapes.table(),
            bans: self.bans.table(),
            rates: self.rates.table(),
            chains: self.chains.table(),
            tries: self.tries.table(),
            passing: self.passing.table(),
            templates: self.templates.table(),
            nonces: TableUse {
                entries: self.nonces.len(),
                capacity: self.policy.capacities.nonces,
                evictions: self.nonces.evictions(),
            },
            under_attack: self.under_attack,
        }
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        self.counts.outcomes[outcome as usize] += 1;
    }

    pub(super) fn count_rule(&mut self, index: usize) {
        if let Some(count) = self.counts.rules.get_mut(index) {
            *count += 1;
            self.tally.wanted(self.clock);
        }
    }

    pub(super) fn count_signature(&mut self, index: u16, authenticated: bool) {
        if let Some(hits) = self.counts.signatures.get_mut(usize::from(index)) {
            let hits = if authenticated { &mut hits.1 } else { &mut hits.0 };
            *hits += 1;
            self.tally.wanted(self.clock);
        }
    }

    pub(super) fn reset_counts(&mut self) {
        let rules = &self.policy.admission;
        self.counts.rules = vec![0; rules.rules.len()];
        self.counts.signatures = vec![(0, 0); rules.signatures.list().len()];
        self.demoted = vec![false; rules.signatures.list().len()];
    }
}
