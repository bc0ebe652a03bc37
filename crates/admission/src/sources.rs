//! What is known of each source: evidence in a short and a long memory, proof, trust, and how many
//! challenges are open.

use crate::fade::{Moment, faded, within};
use crate::memory::is_news;
use crate::store::{Entry, Portion, Rank, Store};
use crate::{Key, Memory, Proof, SourceMemory, TableUse};
use policy::{HalfLife, Network, Time, TrustRules, Who};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// One source. What requests ask of it comes first, in this order: with the table's links an entry is as
/// long as a cache line, and so they meet one line, also where memory begins 16 bytes behind the start of
/// one, as large blocks do.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Source {
    key: u64,
    short: f32,
    long: f32,
    /// When both were last brought up to date.
    at: Moment,
    proven: Moment,
    known: Moment,
    suspect: Moment,
    /// Open INVITE challenges.
    pub(crate) invites: u16,
    /// Other open challenges.
    pub(crate) others: u16,
    /// Of both those that are proven: nobody else can open one in its name.
    pub(crate) proven_invites: u8,
    pub(crate) proven_others: u8,
    proof: Option<Proof>,
    /// Since it was last saved.
    changed: bool,
    address: u64,
}

/// Evidence on a source, as it is at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Score {
    pub(crate) short: f32,
    pub(crate) long: f32,
}

/// What a source has in passage at a moment, and whether something unproven spoke of it lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Passage {
    /// As [`Source::invites`], and the others likewise.
    pub(crate) invites: u32,
    pub(crate) others: u32,
    pub(crate) proven_invites: u32,
    pub(crate) proven_others: u32,
    pub(crate) suspect: bool,
}

/// All sources.
#[derive(Debug)]
pub(crate) struct Sources {
    hash: Key,
    store: Store<Source>,
}

impl Entry for Source {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Sources {
    pub(crate) fn new(secret: &[u8; 32], capacity: usize) -> Self {
        Sources { hash: Key::derive(secret, "sources"), store: Store::new(capacity) }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.store.configure(capacity);
    }

    /// The key of an address's source, the same in all shards.
    pub(crate) fn key_of(&self, ip: IpAddr) -> u64 {
        self.hash.hash_one(&pack(ip).to_be_bytes())
    }

    pub(crate) fn find(&self, key: u64) -> Option<&Source> {
        self.store.find(key)
    }

    pub(crate) fn find_mut(&mut self, key: u64) -> Option<&mut Source> {
        self.store.find_mut(key)
    }

    /// The source, new if it has to be; `None` when the table is full of worthier ones.
    pub(crate) fn enter(&mut self, key: u64, ip: IpAddr, rank: Rank) -> Option<&mut Source> {
        if self.store.find(key).is_none() {
            let _ = self.store.insert(rank, Source::new(key, pack(ip)));
        }
        self.store.find_mut(key)
    }

    /// The same, as the youngest of `rank` or of its own rank where that is higher.
    fn raise(&mut self, key: u64, ip: IpAddr, rank: Rank) -> Option<&mut Source> {
        self.store.enter(key, rank, || Source::new(key, pack(ip)))
    }

    /// Its return path was proven.
    pub(crate) fn prove(&mut self, now: Time, key: u64, ip: IpAddr, proof: Proof) {
        let Some(source) = self.raise(key, ip, Rank::Proven) else { return };
        source.proven = Moment::stamp(now);
        source.proof = Some(proof);
    }

    /// Somebody authenticated there.
    pub(crate) fn know(&mut self, now: Time, key: u64, ip: IpAddr) {
        let Some(source) = self.raise(key, ip, Rank::Known) else { return };
        source.changed |= is_news(source.known.time(), now);
        source.known = Moment::stamp(now);
    }

    /// Something unproven speaks of it.
    pub(crate) fn suspect(&mut self, now: Time, key: u64, ip: IpAddr) {
        if let Some(source) = self.enter(key, ip, Rank::Unproven) {
            source.suspect = Moment::stamp(now);
        }
    }

    /// A ban rests on it, or does no more.
    pub(crate) fn set_banned(&mut self, key: u64, banned: bool) {
        let rank = match self.store.find(key) {
            _ if banned => Rank::Banned,
            Some(source) if source.known != Moment::NEVER => Rank::Known,
            _ => Rank::Proven,
        };
        self.store.touch(key, rank);
    }

    /// Forgets one of which nothing is known any more but that it was there.
    pub(crate) fn drop_idle(&mut self, key: u64) {
        if self.store.find(key).is_some_and(Source::is_idle) {
            let _ = self.store.remove(key);
        }
    }

    /// Forgets suspicions older than `length`, `portion` at most.
    pub(crate) fn drop_old_suspects(&mut self, now: Time, length: Duration, portion: usize) {
        for _ in 0..portion {
            match self.store.oldest(Rank::Unproven) {
                Some(source) if source.suspect != Moment::NEVER => {
                    let key = source.key;
                    if source.suspect.is_within(now, length) || source.has_open() {
                        return;
                    }
                    let _ = self.store.remove(key);
                }
                _ => return,
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.store.iter()
    }

    /// What an earlier life knew of it. Whether somebody is known there.
    pub(crate) fn recall(
        &mut self,
        now: Time,
        key: u64,
        memory: &SourceMemory,
        window: Duration,
    ) -> bool {
        let known = memory.known.min(now);
        let is_known = within(now, known, window);
        if !is_known && memory.long == 0.0 {
            return false;
        }
        let rank = if is_known { Rank::Known } else { Rank::Proven };
        let Some(source) = self.raise(key, memory.network.address(), rank) else { return false };
        (source.long, source.at) = (memory.long, Moment::of(memory.at.min(now)));
        source.known = Moment::of(known);
        is_known
    }

    /// As [`Store::walk`]: what changed since it was saved.
    pub(crate) fn changed(
        &mut self,
        from: usize,
        portion: Portion,
        changed: &mut Vec<Memory>,
    ) -> Option<usize> {
        self.store.walk(from, portion, changed, |source| {
            std::mem::take(&mut source.changed).then(|| Memory::Source(source.memory()))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Source> {
        self.store.iter_mut()
    }

    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }
}

impl Source {
    fn new(key: u64, address: u64) -> Self {
        Source {
            key,
            short: 0.0,
            long: 0.0,
            at: Moment::NEVER,
            proven: Moment::NEVER,
            known: Moment::NEVER,
            suspect: Moment::NEVER,
            invites: 0,
            others: 0,
            proven_invites: 0,
            proven_others: 0,
            proof: None,
            changed: false,
            address,
        }
    }

    /// Its address or /64.
    pub(crate) fn network(&self) -> Network {
        Network::source(unpack(self.address))
    }

    /// Its latest proof, while that counts.
    pub(crate) fn proof(&self, now: Time, lifetime: Duration) -> Option<Proof> {
        self.proof.filter(|_| self.proven.is_within(now, lifetime))
    }

    /// What is known of it.
    pub(crate) fn who(&self, now: Time, trust: &TrustRules, lifetime: Duration) -> Who {
        if self.known.is_within(now, trust.window) {
            Who::Known
        } else if self.proven.is_within(now, lifetime) {
            Who::Proven
        } else {
            Who::Unproven
        }
    }

    /// What it has in passage, and whether something unproven spoke of it in the last `length`.
    pub(crate) fn passage(&self, now: Time, length: Duration) -> Passage {
        Passage {
            invites: self.invites.into(),
            others: self.others.into(),
            proven_invites: self.proven_invites.into(),
            proven_others: self.proven_others.into(),
            suspect: self.suspect.is_within(now, length),
        }
    }

    pub(crate) fn score(&self, now: Time, half_life: &HalfLife) -> Score {
        let length = now.since(self.at.time());
        Score {
            short: faded(self.short, length, half_life.short),
            long: faded(self.long, length, half_life.long),
        }
    }

    /// More evidence; the long memory takes only what `lasts`.
    pub(crate) fn add(
        &mut self,
        now: Time,
        weight: f32,
        lasts: bool,
        half_life: &HalfLife,
    ) -> Score {
        let old = self.score(now, half_life);
        let lasting = if lasts { weight } else { 0.0 };
        (self.short, self.long) = (old.short + weight, old.long + lasting);
        self.at = Moment::of(now);
        self.changed |= lasting > 0.0;
        Score { short: self.short, long: self.long }
    }

    /// A part of the evidence stays: a quarter when a ban ends, none when it is forgiven.
    pub(crate) fn forgive(&mut self, left: f32) {
        self.short *= left;
        self.long *= left;
        self.changed = true;
    }

    fn memory(&self) -> SourceMemory {
        let (at, known) = (self.at.time(), self.known.time());
        SourceMemory { network: self.network(), long: self.long, at, known }
    }

    fn has_open(&self) -> bool {
        self.invites > 0 || self.others > 0
    }

    fn is_idle(&self) -> bool {
        !self.has_open()
            && [self.short, self.long] == [0.0; 2]
            && [self.proven, self.known, self.suspect] == [Moment::NEVER; 3]
    }
}

/// A source in 64 bits: the /64 of IPv6; IPv4 addresses stand where multicast is, which sends
/// nothing.
fn pack(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => u64::from(u32::MAX) << 32 | u64::from(u32::from(v4)),
        IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
    }
}

fn unpack(address: u64) -> IpAddr {
    if address >> 32 == u64::from(u32::MAX) {
        Ipv4Addr::from(address as u32).into()
    } else {
        Ipv6Addr::from(u128::from(address) << 64).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_small() {
        assert!(size_of::<Source>() <= 56, "{}", size_of::<Source>());
        assert!(std::mem::offset_of!(Source, address) <= 48, "two cache lines");
    }

    #[test]
    fn an_address_comes_back_as_its_source() {
        for (ip, network) in [
            ("198.51.100.7", "198.51.100.7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(Network::source(unpack(pack(ip))).to_string(), network);
        }
    }

    #[test]
    fn trust_and_proof_end() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let rules = policy::Admission::default();
        let ip = "192.0.2.1".parse().unwrap();
        let mut sources = Sources::new(&[1; 32], 10);
        let key = sources.key_of(ip);
        sources.prove(at(0), key, ip, Proof::AckTag);
        let who = |sources: &Sources, now| {
            sources.find(key).map(|it| it.who(now, &rules.trust, rules.proof.lifetime))
        };
        assert_eq!(who(&sources, at(600)), Some(Who::Proven));
        assert_eq!(who(&sources, at(601)), Some(Who::Unproven));
        sources.know(at(0), key, ip);
        sources.know(at(1), key, ip);
        assert_eq!(who(&sources, at(86_401)), Some(Who::Known));
        assert_eq!(who(&sources, at(86_402)), Some(Who::Unproven));
    }
}
