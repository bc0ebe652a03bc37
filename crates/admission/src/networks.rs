//! Networks with banned sources.

use crate::fade::{stamp, within};
use crate::store::{Entry, Rank, Store};
use crate::{Key, TableUse};
use arrayvec::ArrayVec;
use policy::{Network, Time};
use std::time::Duration;

/// Banned sources that one network remembers.
pub(crate) const SOURCES_MAX: usize = 16;

#[derive(Debug)]
struct Around {
    key: u64,
    /// Hashes of banned sources, and until when.
    banned: ArrayVec<(u64, Time), SOURCES_MAX>,
    known: Time,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Networks {
    hash: Key,
    store: Store<Around>,
}

impl Entry for Around {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Networks {
    pub(crate) fn new(secret: &[u8; 32], capacity: usize) -> Self {
        Networks { hash: Key::derive(secret, "networks"), store: Store::new(capacity) }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.store.configure(capacity);
    }

    /// A source in `network` is banned. How many are now.
    pub(crate) fn banned(&mut self, now: Time, network: Network, source: u64, until: Time) -> u32 {
        let Some(around) = self.enter(network, Rank::Proven) else { return 0 };
        around.banned.retain(|(other, until)| *other != source && *until > now);
        if around.banned.is_full() {
            around.banned.remove(0);
        }
        around.banned.push((source, until));
        around.banned.len() as u32
    }

    /// Somebody authenticated in it.
    pub(crate) fn know(&mut self, now: Time, network: Network) {
        if let Some(around) = self.enter(network, Rank::Known) {
            around.known = stamp(now);
            let key = around.key;
            self.store.touch(key, Rank::Known);
        }
    }

    /// Whether somebody authenticated in it.
    pub(crate) fn is_known(&self, now: Time, network: Network, window: Duration) -> bool {
        let around = self.store.find(self.key_of(network));
        around.is_some_and(|around| within(now, around.known, window))
    }

    /// Its bans are forgiven.
    pub(crate) fn forgive(&mut self, network: Network) {
        let key = self.key_of(network);
        if let Some(around) = self.store.find_mut(key) {
            around.banned.clear();
        }
    }

    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }

    fn key_of(&self, network: Network) -> u64 {
        self.hash.hash(&[&crate::key::address_bytes(network.address()), &[network.prefix()]])
    }

    fn enter(&mut self, network: Network, rank: Rank) -> Option<&mut Around> {
        let key = self.key_of(network);
        if self.store.find(key).is_none() {
            let around = Around { key, banned: ArrayVec::new(), known: Time::ZERO };
            let _ = self.store.insert(rank, around);
        }
        self.store.find_mut(key)
    }
}
