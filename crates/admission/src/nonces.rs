//! Which nonce was relayed to which source.
//!
//! Asterisk's nonce is a hash over time and *source address*; behind the edge that address is the
//! same for everybody, so a nonce fetched by one is good for all for its whole life. The edge
//! restores what standing in front took away: credentials pass only if their nonce was relayed to
//! the address that uses it, and to the PBX that made it: another would take the answer for a
//! wrong one.

use crate::digests::Digests;
use crate::key::Key;
use policy::Time;
use std::net::IpAddr;
use std::time::Duration;

/// A bounded memory of (nonce, PBX, source), 8 to 10 bytes each, in two generations: an entry is
/// remembered at least for `memory` (unless more than half the capacity comes in that time; then
/// the older half goes, and is counted) and at most for twice that.
///
/// Forgetting costs an honest client one silent round trip: its credentials are stripped and it
/// is challenged anew with `stale=true`.
#[derive(Debug)]
pub struct RelayedNonces {
    key: Key,
    young: Digests,
    old: Digests,
    turned: Time,
    memory: Duration,
    capacity: usize,
    evictions: u64,
}

impl RelayedNonces {
    /// An empty memory for at most `capacity` pairs.
    #[must_use]
    pub fn new(secret: &[u8; 32], capacity: usize, memory: Duration) -> Self {
        RelayedNonces {
            key: Key::derive(secret, "nonces"),
            young: Digests::default(),
            old: Digests::default(),
            turned: Time::ZERO,
            memory,
            capacity,
            evictions: 0,
        }
    }

    /// Changes the bounds; what is remembered stays.
    pub fn configure(&mut self, capacity: usize, memory: Duration) {
        self.capacity = capacity;
        self.memory = memory;
    }

    /// A challenge of `pbx` with `nonce` goes out to `source`.
    pub fn relayed(&mut self, now: Time, nonce: &[u8], pbx: u32, source: IpAddr) {
        self.turn(now);
        let hash = self.hash(nonce, pbx, source);
        self.remember(now, hash);
    }

    /// Whether `nonce` of `pbx` was relayed to `source`. A nonce in use stays remembered.
    pub fn was_relayed(&mut self, now: Time, nonce: &[u8], pbx: u32, source: IpAddr) -> bool {
        self.turn(now);
        let hash = self.hash(nonce, pbx, source);
        if self.young.contains(hash) {
            return true;
        }
        let known = self.old.contains(hash);
        if known && self.young.len() < self.capacity / 2 {
            self.young.insert(hash);
        }
        known
    }

    /// Pairs remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pairs forgotten before their time.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    fn remember(&mut self, now: Time, hash: u64) {
        if self.young.len() >= (self.capacity / 2).max(1) && !self.young.contains(hash) {
            self.evictions += self.old.len() as u64;
            self.age(now);
        }
        self.young.insert(hash);
    }

    fn turn(&mut self, now: Time) {
        if now.since(self.turned) >= self.memory {
            self.age(now);
        }
    }

    fn age(&mut self, now: Time) {
        // after a silence of two memories what is young is old too
        if now.since(self.turned) >= self.memory * 2 {
            self.young.clear();
        }
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
        self.turned = now;
    }

    fn hash(&self, nonce: &[u8], pbx: u32, source: IpAddr) -> u64 {
        let nonce = self.key.hash_one(nonce);
        self.key.mix(self.key.mix_address(nonce, source), pbx.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 2));

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(1_000_000 + seconds)
    }

    fn nonces(capacity: usize) -> RelayedNonces {
        RelayedNonces::new(&[5; 32], capacity, Duration::from_secs(60))
    }

    #[test]
    fn a_nonce_serves_only_the_source_it_was_relayed_to() {
        let mut nonces = nonces(100);
        nonces.relayed(at(0), b"n1", 1, A);
        assert!(nonces.was_relayed(at(1), b"n1", 1, A));
        assert!(!nonces.was_relayed(at(1), b"n1", 1, B));
        assert!(!nonces.was_relayed(at(1), b"n2", 1, A));
        assert!(!nonces.was_relayed(at(1), b"n1", 2, A), "another PBX");
    }

    #[test]
    fn it_is_remembered_for_its_time_and_longer_in_use() {
        let mut nonces = nonces(100);
        nonces.relayed(at(0), b"n1", 1, A);
        nonces.relayed(at(0), b"n2", 1, A);
        for second in (0..300).step_by(50) {
            assert!(nonces.was_relayed(at(second), b"n1", 1, A), "{second}");
        }
        assert!(!nonces.was_relayed(at(300), b"n2", 1, A));
        assert!(!nonces.was_relayed(at(1_000), b"n1", 1, A));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let mut nonces = nonces(100);
        for n in 0..1_000u32 {
            nonces.relayed(at(0), &n.to_be_bytes(), 1, A);
            assert!(nonces.len() <= 100);
        }
        assert!(nonces.was_relayed(at(0), &999u32.to_be_bytes(), 1, A));
        assert!(!nonces.was_relayed(at(0), &0u32.to_be_bytes(), 1, A));
        assert!(nonces.evictions() >= 850);
    }
}
