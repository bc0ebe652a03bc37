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
    /// When the other shards were told so last.
    told: Time,
}

/// In how many parts of the trust window the other shards are told of somebody known once each.
const TOLD: u32 = 24;

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

    /// Somebody authenticated in it. Whether the other shards are to be told.
    pub(crate) fn know(&mut self, now: Time, network: Network, window: Duration) -> bool {
        let Some(around) = self.enter(network, Rank::Known) else { return false };
        around.known = around.known.max(stamp(now));
        let news = !within(now, around.told, window / TOLD);
        if news {
            around.told = stamp(now);
        }
        let key = around.key;
        self.store.touch(key, Rank::Known);
        news
    }

    /// Another shard knows somebody in it, and says so once in a while: it counts for so much
    /// longer.
    pub(crate) fn heard(&mut self, now: Time, network: Network, window: Duration) {
        self.recall(now + window / TOLD, network);
    }

    /// Somebody authenticated in it at that time.
    pub(crate) fn recall(&mut self, at: Time, network: Network) {
        if let Some(around) = self.enter(network, Rank::Known) {
            around.known = around.known.max(stamp(at));
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
            let (known, told) = (Time::ZERO, Time::ZERO);
            let around = Around { key, banned: ArrayVec::new(), known, told };
            let _ = self.store.insert(rank, around);
        }
        self.store.find_mut(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(86_400);

    fn at(hours: u64) -> Time {
        Time::ZERO + Duration::from_secs(1_700_000_000 + hours * 3_600)
    }

    #[test]
    fn a_network_is_known_as_long_as_somebody_in_it() {
        let mut networks = Networks::new(&[1; 32], 10);
        let network = Network::around("192.0.2.1".parse().unwrap());
        // a phone that registers each half hour for three days: the others hear of it each hour
        let mut told = 0;
        for half in 0..144 {
            let now = at(0) + Duration::from_secs(half * 1_800);
            told += u32::from(networks.know(now, network, WINDOW));
        }
        assert!((48..=73).contains(&told), "{told}");
        assert!(networks.is_known(at(95), network, WINDOW), "a day after its last success");
        assert!(!networks.is_known(at(96), network, WINDOW));
    }

    #[test]
    fn what_another_shard_knows_counts_until_it_says_so_again() {
        let mut networks = Networks::new(&[1; 32], 10);
        let network = Network::around("192.0.2.1".parse().unwrap());
        networks.heard(at(0), network, WINDOW);
        assert!(networks.is_known(at(25), network, WINDOW));
        assert!(!networks.is_known(at(26), network, WINDOW));
        networks.recall(at(0), network);
        networks.know(at(0), network, WINDOW);
        assert!(networks.is_known(at(25), network, WINDOW), "nothing older takes its place");
    }
}
