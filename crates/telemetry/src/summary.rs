//! The counters for people: sums that a status page shows.

use crate::Telemetry;
use crate::shard::{Cell, REASONS, TABLES, VERDICTS};
use policy::{Outcome, Reason};
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

/// Sums over all shards since the start, and what each shard did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests from outside by verdict: `forward`, `absorb`, `reject`, `drop`.
    pub verdicts: Vec<(&'static str, u64)>,
    /// Those that were rejected or dropped, by reason.
    pub refused: Vec<(&'static str, u64)>,
    /// The funnel: challenges issued, and how they ended.
    pub challenges: Vec<(&'static str, u64)>,
    /// Tables: name, entries, bound, evictions.
    pub tables: Vec<(&'static str, u64, u64, u64)>,
    /// Bans in force.
    pub bans: u64,
    /// Requests in passage that have no final response yet.
    pub unanswered: u64,
    /// Shards that challenge strangers by themselves.
    pub under_attack: u64,
    /// Of each shard: wake-ups, stimuli, and requests from outside.
    pub shards: Vec<ShardSummary>,
}

/// What one shard did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSummary {
    /// Times it woke up.
    pub wakeups: u64,
    /// Stimuli that its engine got.
    pub inputs: u64,
    /// Requests from outside.
    pub requests: u64,
}

/// A table, in the shard where it is fullest: that one turns away, however much room others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Its name.
    pub table: &'static str,
    /// That shard.
    pub shard: usize,
    /// How full it is; 0 where it has no bound.
    pub percent: u64,
}

impl Telemetry {
    /// How full each table of the shards is.
    pub fn fills(&self) -> impl Iterator<Item = Fill> {
        let fullest = |(index, &table): (usize, &&'static str)| {
            let shards = self.shards().iter().enumerate();
            let fills = shards.map(|(shard, it)| (it.tables[index].percent(), shard));
            // of shards that are as full as each other the first
            let (percent, shard) = fills.max_by_key(|&(percent, shard)| (percent, !shard))?;
            Some(Fill { table, shard, percent })
        };
        TABLES.iter().enumerate().filter_map(fullest)
    }

    /// The sums of this moment.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut verdicts = [0; VERDICTS.len()];
        let mut refused = [0; REASONS];
        let mut shards = Vec::new();
        for shard in self.shards() {
            let mut requests = 0;
            for (index, cell) in shard.requests.iter().enumerate() {
                let (verdict, reason) = (index / REASONS % VERDICTS.len(), index % REASONS);
                let count = cell.value();
                verdicts[verdict] += count;
                requests += count;
                if matches!(VERDICTS[verdict], "reject" | "drop") {
                    refused[reason] += count;
                }
            }
            let (wakeups, inputs) = (shard.wakeups.value(), shard.inputs.value());
            shards.push(ShardSummary { wakeups, inputs, requests });
        }
        let sum = |cell: &dyn Fn(&crate::ShardMetrics) -> u64| -> u64 {
            self.shards().iter().map(|shard| cell(shard)).sum()
        };
        let outcomes = Outcome::ALL.iter().map(|outcome| outcome.as_str());
        let steps = ["issued", "issued_by_edge"].into_iter().chain(outcomes).enumerate();
        let table = |(index, name): (usize, &&'static str)| {
            let of = |cell: fn(&crate::shard::TableCells) -> &Cell| {
                sum(&|shard| cell(&shard.tables[index]).value())
            };
            (*name, of(|it| &it.entries), of(|it| &it.capacity), of(|it| &it.evictions))
        };
        let reasons = Reason::ALL.iter().zip(refused);
        Summary {
            verdicts: VERDICTS.into_iter().zip(verdicts).collect(),
            refused: reasons
                .filter(|(_, count)| *count > 0)
                .map(|(reason, count)| (reason.as_str(), count))
                .collect(),
            challenges: steps
                .map(|(index, name)| (name, sum(&|shard| shard.challenges[index].value())))
                .collect(),
            tables: TABLES.iter().enumerate().map(table).collect(),
            bans: sum(&|shard| {
                let bans = shard.bans.lock().unwrap_or_else(PoisonError::into_inner);
                bans.rows().map(|(_, numbers)| numbers.standing).sum()
            }),
            unanswered: sum(&|shard| shard.unanswered.value()),
            under_attack: sum(&|shard| shard.under_attack.load(Relaxed).into()),
            shards,
        }
    }
}
