//! Pairs (AOR, source) and (AOR, flow): where an AOR is at home, and how often it was refused.

use crate::fade::{Moment, faded, within};
use crate::memory::is_news;
use crate::store::{Entry, Portion, Rank, Store};
use crate::{Key, Memory, PairMemory, TableUse};
use policy::{HalfLife, Time};
use std::time::Duration;
use wire::Flow;

/// One pair.
#[derive(Debug)]
pub(crate) struct Pair {
    key: u64,
    refusals: f32,
    /// The same in a long memory: who guesses slowly.
    long: f32,
    at: Moment,
    home: Moment,
    /// When it was refused last; of one that never was, when it abandoned a challenge.
    failed: Moment,
    /// The faces with which it succeeded last.
    faces: [u32; FACES],
    /// Since it was last saved.
    changed: bool,
}

/// Of each pair so many faces are known: of registrations, calls, subscriptions, and of identifiers
/// that are not always as long.
const FACES: usize = 8;

/// All pairs.
#[derive(Debug)]
pub(crate) struct Pairs {
    hash: Key,
    store: Store<Pair>,
}

impl Entry for Pair {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Pairs {
    pub(crate) fn new(secret: &[u8; 32], capacity: usize) -> Self {
        Pairs { hash: Key::derive(secret, "pairs"), store: Store::new(capacity) }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.store.configure(capacity);
    }

    /// Key of an AOR at a source.
    pub(crate) fn at_source(&self, aor: u64, source: u64) -> u64 {
        self.hash.mix(aor, source)
    }

    /// Key of an AOR over a flow of that source.
    pub(crate) fn over_flow(&self, aor: u64, source: u64, flow: &Flow) -> u64 {
        self.hash.mix(aor, self.hash.hash_flow(source, flow))
    }

    pub(crate) fn find(&self, key: u64) -> Option<&Pair> {
        self.store.find(key)
    }

    /// The AOR authenticated there.
    pub(crate) fn authenticated(&mut self, now: Time, key: u64) {
        if let Some(pair) = self.enter(key, Rank::Known) {
            pair.changed |= is_news(pair.home.time(), now);
            pair.home = Moment::stamp(now);
        }
        self.store.touch(key, Rank::Known);
    }

    /// It succeeded there with that face; 0 for none.
    pub(crate) fn shown(&mut self, key: u64, face: u32) {
        if let Some(pair) = self.store.find_mut(key)
            && face != 0
            && !pair.has_shown(face)
        {
            pair.faces.rotate_right(1);
            pair.faces[0] = face;
        }
    }

    /// It was refused there: all its refusals, faded, in its short and in its long memory.
    pub(crate) fn refused(&mut self, now: Time, key: u64, half_life: &HalfLife) -> (f32, f32) {
        let Some(pair) = self.enter(key, Rank::Proven) else { return (0.0, 0.0) };
        pair.refusals = pair.refusals(now, half_life.pair) + 1.0;
        pair.long = faded(pair.long, now.since(pair.at.time()), half_life.long) + 1.0;
        (pair.at, pair.failed) = (Moment::of(now), Moment::stamp(now));
        pair.changed = true;
        (pair.refusals, pair.long)
    }

    /// A challenge of its was abandoned there.
    pub(crate) fn abandoned(&mut self, now: Time, key: u64) {
        if let Some(pair) = self.enter(key, Rank::Proven)
            && pair.long == 0.0
        {
            pair.failed = Moment::stamp(now);
        }
    }

    /// A ban of it ended.
    pub(crate) fn forgive(&mut self, key: u64, left: f32) {
        if let Some(pair) = self.store.find_mut(key) {
            pair.refusals *= left;
            pair.long *= left;
            pair.changed = true;
        }
    }

    /// What an earlier life knew of it.
    pub(crate) fn recall(&mut self, now: Time, memory: &PairMemory, window: Duration) {
        let home = memory.home.min(now);
        let is_home = within(now, home, window);
        if !is_home && memory.refusals.max(memory.long) == 0.0 {
            return;
        }
        let rank = if is_home { Rank::Known } else { Rank::Proven };
        let Some(pair) = self.enter(memory.key, rank) else { return };
        (pair.refusals, pair.long) = (memory.refusals, memory.long);
        let at = memory.at.min(now);
        (pair.at, pair.home) = (Moment::of(at), Moment::of(home));
        if memory.refusals > 0.0 {
            pair.failed = Moment::stamp(at);
        }
    }

    /// As [`Store::walk`]: what changed since it was saved.
    pub(crate) fn changed(
        &mut self,
        from: usize,
        portion: Portion,
        changed: &mut Vec<Memory>,
    ) -> Option<usize> {
        self.store.walk(from, portion, changed, |pair| {
            std::mem::take(&mut pair.changed).then(|| Memory::Pair(pair.memory()))
        })
    }

    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }

    fn enter(&mut self, key: u64, rank: Rank) -> Option<&mut Pair> {
        if self.store.find(key).is_none() {
            let _ = self.store.insert(rank, Pair::new(key));
        }
        self.store.find_mut(key)
    }
}

impl Pair {
    fn new(key: u64) -> Self {
        let never = Moment::NEVER;
        Pair {
            key,
            refusals: 0.0,
            long: 0.0,
            at: never,
            home: never,
            failed: never,
            faces: [0; FACES],
            changed: false,
        }
    }

    fn memory(&self) -> PairMemory {
        let Pair { key, refusals, long, .. } = *self;
        PairMemory { key, refusals, long, at: self.at.time(), home: self.home.time() }
    }

    /// Whether it is a home.
    pub(crate) fn is_home(&self, now: Time, window: Duration) -> bool {
        self.home.is_within(now, window)
    }

    /// Whether it succeeded with that face.
    pub(crate) fn has_shown(&self, face: u32) -> bool {
        self.faces.contains(&face)
    }

    /// Whether it was refused in the last `window`.
    pub(crate) fn was_refused(&self, now: Time, window: Duration) -> bool {
        self.long > 0.0 && self.failed.is_within(now, window)
    }

    /// Whether all it did wrong is to abandon a challenge in the last `window`.
    pub(crate) fn only_abandoned(&self, now: Time, window: Duration) -> bool {
        self.long == 0.0 && self.failed.is_within(now, window)
    }

    pub(crate) fn refusals(&self, now: Time, half_life: Duration) -> f32 {
        faded(self.refusals, now.since(self.at.time()), half_life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_small() {
        assert!(size_of::<Pair>() <= 72, "{}", size_of::<Pair>());
    }
}
