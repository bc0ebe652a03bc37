//! What a gate wants to be remembered over a restart, and what it is told of that afterwards.
//!
//! Keys are hashes with the edge's secret, so they mean the same as long as that stays.

use crate::{Ban, BanKey};
use policy::{Network, Time};
use wire::ShardId;

/// A piece of memory. A later one of the same [`Memory::key`] takes its place.
#[derive(Clone, Debug, PartialEq)]
pub enum Memory {
    /// What a source did, and whether somebody authenticated from it.
    Source(SourceMemory),
    /// What was tried at an account from a source, or over a flow.
    Pair(PairMemory),
    /// A ban, or after its end how often there was one.
    Ban(Box<BanMemory>),
    /// A ban that is as if it had never been.
    Forgotten(BanKey),
    /// An operator's trust in a network.
    Trust {
        /// Whom.
        network: Network,
        /// Until when.
        until: Time,
    },
    /// How a PBX challenges.
    Realm {
        /// [`policy::Pbx::id`]; 0: of the only one there is.
        pbx: u32,
        /// Realm.
        realm: Box<[u8]>,
        /// As in [`crate::Learned::Realm`].
        algorithms: u8,
    },
    /// How often a rule or signature was met.
    Hits(HitsMemory),
}

/// By what a piece of memory is found again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MemoryKey {
    /// Of [`Memory::Source`].
    Source(Network),
    /// Of [`Memory::Pair`].
    Pair(u64),
    /// Of [`Memory::Ban`] and [`Memory::Forgotten`].
    Ban(BanKey),
    /// Of [`Memory::Trust`].
    Trust(Network),
    /// Of [`Memory::Realm`].
    Realm(u32),
    /// Of [`Memory::Hits`].
    Hits(ShardId, Counted, Box<str>),
}

/// The long memory of a source. What it did just now is too short-lived to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceMemory {
    /// An IPv4 address or an IPv6 /64.
    pub network: Network,
    /// Evidence in the long memory, as it was at `at`.
    pub long: f32,
    /// When that was.
    pub at: Time,
    /// When somebody last authenticated from it; [`Time::ZERO`] for never.
    pub known: Time,
}

/// Refusals and home of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairMemory {
    /// Hash of the pair.
    pub key: u64,
    /// Refusals, as they were at `at`.
    pub refusals: f32,
    /// The same in the long memory.
    pub long: f32,
    /// When that was.
    pub at: Time,
    /// When it last authenticated; [`Time::ZERO`] for never.
    pub home: Time,
}

/// A ban with what the next one's length depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct BanMemory {
    /// The ban; over when its `until` is.
    pub ban: Ban,
    /// How many there were.
    pub times: u8,
    /// When something last spoke against it.
    pub evidence: Time,
    /// Hash of the names that its evidence's rules and signatures have.
    pub names: u64,
}

impl BanMemory {
    /// What it is by a clock that was set back since it began: it begins now, and lasts no longer
    /// than it was to last. `None` when it began before now, as almost always.
    pub(crate) fn begun_later(&self, now: Time) -> Option<BanMemory> {
        let ahead = self.ban.since.since(now);
        if ahead.is_zero() {
            return None;
        }
        let mut memory = self.clone();
        memory.ban.since = now;
        if memory.ban.until != Time::FOREVER {
            memory.ban.until = memory.ban.until - ahead;
        }
        Some(memory)
    }
}

/// What a shard counted under a name, in all its lives.
#[derive(Clone, Debug, PartialEq)]
pub struct HitsMemory {
    /// Whose count it is.
    pub shard: ShardId,
    /// What has the name.
    pub of: Counted,
    /// The name.
    pub name: Box<str>,
    /// By whoever had not authenticated.
    pub others: u64,
    /// By the authenticated; a rule's are not told apart.
    pub authenticated: u64,
    /// When that was.
    pub at: Time,
}

/// What hits are counted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counted {
    /// A rule.
    Rule,
    /// A signature.
    Signature,
}

impl Memory {
    /// By what it is found again.
    #[must_use]
    pub fn key(&self) -> MemoryKey {
        match self {
            Memory::Source(source) => MemoryKey::Source(source.network),
            Memory::Pair(pair) => MemoryKey::Pair(pair.key),
            Memory::Ban(memory) => MemoryKey::Ban(memory.ban.key),
            Memory::Forgotten(key) => MemoryKey::Ban(*key),
            Memory::Trust { network, .. } => MemoryKey::Trust(*network),
            Memory::Realm { pbx, .. } => MemoryKey::Realm(*pbx),
            Memory::Hits(hits) => MemoryKey::Hits(hits.shard, hits.of, hits.name.clone()),
        }
    }

    /// Whether there is nothing in it to be remembered: what was under its key can go.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        match self {
            Memory::Source(source) => source.long == 0.0 && source.known == Time::ZERO,
            Memory::Pair(pair) => [pair.refusals, pair.long] == [0.0; 2] && pair.home == Time::ZERO,
            Memory::Hits(hits) => [hits.others, hits.authenticated] == [0; 2],
            Memory::Forgotten(_) => true,
            Memory::Ban(_) | Memory::Trust { .. } | Memory::Realm { .. } => false,
        }
    }
}

/// Whether a moment that took the place of another is worth saving: to the hour is enough.
pub(crate) fn is_news(old: Time, new: Time) -> bool {
    old == Time::ZERO || old.as_secs() / 3_600 != new.as_secs() / 3_600
}
