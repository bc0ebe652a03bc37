//! Shapes of messages: under which of them nobody ever succeeded.

use crate::store::{Entry, Rank, Store};
use crate::{Key, TableUse};
use arrayvec::ArrayVec;
use policy::Time;
use std::time::Duration;

/// Failed sources that one shape remembers; more of them make no difference.
pub(crate) const SOURCES_MAX: usize = 32;

#[derive(Debug)]
struct Shape {
    key: u64,
    /// Hashes of sources that failed.
    failed: ArrayVec<u32, SOURCES_MAX>,
    succeeded: bool,
    at: Time,
}

/// All of them, by a keyed hash: their own anybody can compute.
#[derive(Debug)]
pub(crate) struct Shapes {
    hash: Key,
    store: Store<Shape>,
}

impl Entry for Shape {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Shapes {
    pub(crate) fn new(secret: &[u8; 32], capacity: usize) -> Self {
        Shapes { hash: Key::derive(secret, "shapes"), store: Store::new(capacity) }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.store.configure(capacity);
    }

    /// A proven source failed under it: how many did, if nobody ever succeeded. Failures are
    /// remembered for `lifetime` after the last.
    pub(crate) fn failed(
        &mut self,
        now: Time,
        shape: u64,
        source: u64,
        lifetime: Duration,
    ) -> Option<u32> {
        let entry = self.enter(now, shape, Rank::Proven)?;
        if entry.succeeded {
            return None;
        }
        if now.since(entry.at) > lifetime {
            entry.failed.clear();
        }
        entry.at = now;
        let source = (source >> 32) as u32;
        if !entry.failed.contains(&source) && !entry.failed.is_full() {
            entry.failed.push(source);
        }
        let count = entry.failed.len() as u32;
        let key = entry.key;
        self.store.touch(key, Rank::Proven);
        Some(count)
    }

    /// Somebody succeeded under it. Whether that was news.
    pub(crate) fn succeeded(&mut self, now: Time, shape: u64) -> bool {
        let Some(entry) = self.enter(now, shape, Rank::Known) else { return false };
        let news = !entry.succeeded;
        entry.succeeded = true;
        entry.failed.clear();
        let key = entry.key;
        self.store.touch(key, Rank::Known);
        news
    }

    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }

    fn enter(&mut self, now: Time, shape: u64, rank: Rank) -> Option<&mut Shape> {
        let key = self.hash.hash(&[&shape.to_be_bytes()]);
        if self.store.find(key).is_none() {
            let entry = Shape { key, failed: ArrayVec::new(), succeeded: false, at: now };
            let _ = self.store.insert(rank, entry);
        }
        self.store.find_mut(key)
    }
}
