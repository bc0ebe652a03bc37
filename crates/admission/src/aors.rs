//! The per-AOR guard: how often strangers were refused on an AOR, over all shards.

use crate::TableUse;
use crate::fade::faded;
use crate::store::{Entry, Rank, Store};
use policy::Time;
use std::time::Duration;

#[derive(Debug)]
struct Aor {
    key: u64,
    /// By proven sources.
    refusals: f32,
    /// By others: only suspicion.
    doubts: f32,
    at: Time,
}

/// AORs of which strangers were refused, by their hash.
#[derive(Debug)]
pub(crate) struct Aors {
    store: Store<Aor>,
}

impl Entry for Aor {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Aors {
    pub(crate) fn new(capacity: usize) -> Self {
        Aors { store: Store::new(capacity) }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.store.configure(capacity);
    }

    /// A stranger was refused.
    pub(crate) fn refused(&mut self, now: Time, aor: u64, proven: bool, half_life: Duration) {
        let rank = if proven { Rank::Proven } else { Rank::Unproven };
        if self.store.find(aor).is_none() {
            let _ = self.store.insert(rank, Aor { key: aor, refusals: 0.0, doubts: 0.0, at: now });
        }
        let Some(entry) = self.store.find_mut(aor) else { return };
        let length = now.since(entry.at);
        entry.refusals = faded(entry.refusals, length, half_life) + f32::from(u8::from(proven));
        entry.doubts = faded(entry.doubts, length, half_life) + f32::from(u8::from(!proven));
        entry.at = now;
        if proven {
            self.store.touch(aor, Rank::Proven);
        }
    }

    /// Refusals by proven strangers, and by others, faded.
    pub(crate) fn refusals(&self, now: Time, aor: u64, half_life: Duration) -> (f32, f32) {
        self.store.find(aor).map_or((0.0, 0.0), |entry| {
            let length = now.since(entry.at);
            (faded(entry.refusals, length, half_life), faded(entry.doubts, length, half_life))
        })
    }

    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }
}
