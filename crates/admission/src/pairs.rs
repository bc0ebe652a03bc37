//! Pairs (AOR, source) and (AOR, flow): where an AOR is at home, and how often it was refused.

use crate::fade::{faded, stamp, within};
use crate::key::address_bytes;
use crate::store::{Entry, Rank, Store};
use crate::{Key, TableUse};
use policy::{HalfLife, Time};
use std::time::Duration;
use wire::{ConnectionId, Flow};

/// One pair.
#[derive(Debug)]
pub(crate) struct Pair {
    key: u64,
    refusals: f32,
    /// The same in a long memory: who guesses slowly.
    long: f32,
    at: Time,
    home: Time,
    refused: Time,
    /// The faces with which it succeeded last.
    faces: [u32; FACES],
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
        self.hash.hash_one((u128::from(aor) << 64 | u128::from(source)).to_be_bytes().as_slice())
    }

    /// Key of an AOR over a flow.
    pub(crate) fn over_flow(&self, aor: u64, flow: &Flow) -> u64 {
        let connection = flow.connection.map_or(u64::MAX, ConnectionId::to_bits);
        self.hash.hash(&[
            &aor.to_be_bytes(),
            &[flow.transport as u8],
            &address_bytes(flow.local.ip()),
            &flow.local.port().to_be_bytes(),
            &address_bytes(flow.remote.ip()),
            &flow.remote.port().to_be_bytes(),
            &connection.to_be_bytes(),
        ])
    }

    pub(crate) fn find(&self, key: u64) -> Option<&Pair> {
        self.store.find(key)
    }

    /// The AOR authenticated there.
    pub(crate) fn authenticated(&mut self, now: Time, key: u64) {
        if let Some(pair) = self.enter(key, Rank::Known) {
            pair.home = stamp(now);
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
        pair.long = faded(pair.long, now.since(pair.at), half_life.long) + 1.0;
        (pair.at, pair.refused) = (now, stamp(now));
        (pair.refusals, pair.long)
    }

    /// A ban of it ended.
    pub(crate) fn forgive(&mut self, key: u64, left: f32) {
        if let Some(pair) = self.store.find_mut(key) {
            pair.refusals *= left;
            pair.long *= left;
        }
    }

    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }

    fn enter(&mut self, key: u64, rank: Rank) -> Option<&mut Pair> {
        if self.store.find(key).is_none() {
            let never = Time::ZERO;
            let pair = Pair {
                key,
                refusals: 0.0,
                long: 0.0,
                at: never,
                home: never,
                refused: never,
                faces: [0; FACES],
            };
            let _ = self.store.insert(rank, pair);
        }
        self.store.find_mut(key)
    }
}

impl Pair {
    /// Whether it is a home.
    pub(crate) fn is_home(&self, now: Time, window: Duration) -> bool {
        within(now, self.home, window)
    }

    /// Whether it succeeded with that face.
    pub(crate) fn has_shown(&self, face: u32) -> bool {
        self.faces.contains(&face)
    }

    /// Whether it was refused in the last `window`.
    pub(crate) fn was_refused(&self, now: Time, window: Duration) -> bool {
        within(now, self.refused, window)
    }

    pub(crate) fn refusals(&self, now: Time, half_life: Duration) -> f32 {
        faded(self.refusals, now.since(self.at), half_life)
    }
}
