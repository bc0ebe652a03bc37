//! What outlives a restart: a walk through sources and pairs from time to time, and bans as they
//! change; and the way back.

use super::Gate;
use super::numbers::GONE;
use crate::memory::{BanMemory, Memory, SourceMemory};
use crate::store::{Portion, Rank};
use crate::{Ban, BanKey, Effect};
use policy::{Network, Time};
use std::time::Duration;

/// From a change to the walk that finds it: half of what a restart may lose of trust.
const WALK_AFTER: Duration = Duration::from_secs(30);
/// From one portion of a walk to the next.
const PORTION_EVERY: Duration = Duration::from_millis(2);
/// Entries that one portion looks at, and how many it may find changed.
const PORTION: Portion = Portion { looked_at: 4_096, found: 256 };

/// Where a walk is.
#[derive(Debug)]
pub(super) struct Walk {
    due: Time,
    pairs: bool,
    at: usize,
    /// Something changed since the walk began.
    again: bool,
    /// The edge ends: all that changed is told at once.
    hurried: bool,
}

impl Default for Walk {
    fn default() -> Self {
        Walk { due: Time::FOREVER, pairs: false, at: 0, again: false, hurried: false }
    }
}

impl Walk {
    /// Something changed that is worth remembering.
    pub(super) fn wanted(&mut self, now: Time) {
        match self.due {
            Time::FOREVER => self.due = now + WALK_AFTER,
            _ => self.again |= self.is_under_way(),
        }
    }

    pub(super) fn due(&self) -> Option<Time> {
        (self.due != Time::FOREVER).then_some(self.due)
    }

    fn is_under_way(&self) -> bool {
        self.pairs || self.at > 0
    }

    fn end(&mut self, now: Time) {
        let again = self.again;
        *self = Walk::default();
        if again {
            self.wanted(now);
        }
    }
}

impl Gate {
    /// One portion of the walk, when it is due.
    pub(super) fn walk(&mut self, now: Time) {
        if self.walk.due > now {
            return;
        }
        self.bans.tell_late(PORTION.found);
        let mut changed = Vec::new();
        let from = self.walk.at;
        let done = match self.walk.pairs {
            false => self.sources.changed(from, PORTION, &mut changed),
            true => self.pairs.changed(from, PORTION, &mut changed),
        };
        for memory in changed {
            self.say(Effect::Remember(memory));
        }
        self.walk.due = now + PORTION_EVERY;
        match done {
            Some(at) => self.walk.at = at,
            None if self.walk.pairs => {
                self.walk.again |= self.bans.is_late();
                self.walk.end(now);
            }
            None => (self.walk.pairs, self.walk.at) = (true, 0),
        }
    }

    /// What a hurried walk finds next.
    pub(super) fn walk_on(&mut self) -> Option<Effect> {
        while self.walk.hurried {
            self.walk.due = self.clock;
            self.walk(self.clock);
            self.tell_hits(Time::FOREVER);
            let effect = self.effects.pop_front();
            let effect = effect.or_else(|| self.poll_changed_ban().map(Effect::Remember));
            if effect.is_some() {
                return effect;
            }
        }
        None
    }

    /// The edge ends: what was to be remembered within half a minute is told now.
    pub(super) fn hurry(&mut self) {
        if self.walk.due != Time::FOREVER || self.tally.due().is_some() {
            self.walk.hurried = true;
        }
    }

    /// The next ban that changed.
    pub(super) fn poll_changed_ban(&mut self) -> Option<Memory> {
        let key = self.bans.poll_changed()?;
        Some(match self.bans.memory(&key) {
            None => Memory::Forgotten(key),
            Some(mut memory) => {
                if memory.ban.until > self.clock {
                    memory.ban.evidence = self.chain_of(&key);
                    memory.names = self.hash_of_names();
                }
                Memory::Ban(Box::new(memory))
            }
        })
    }

    /// Rules and signatures go by number: what the numbers mean today.
    fn hash_of_names(&self) -> u64 {
        let rules = &self.policy.admission;
        let names = rules.rules.iter().map(|rule| rule.name.as_bytes());
        let ids = rules.signatures.list().iter().map(|signature| signature.id.as_bytes());
        let all: Vec<&[u8]> = names.chain([&b"|"[..]]).chain(ids).collect();
        self.names.hash(&all)
    }

    /// Takes back what an earlier life remembered.
    pub(super) fn on_recalled(&mut self, now: Time, memory: &Memory) {
        match memory {
            Memory::Source(source) => self.on_recalled_source(now, source),
            Memory::Pair(pair) => {
                self.pairs.recall(now, pair, self.policy.admission.trust.window);
            }
            Memory::Ban(memory) => self.on_recalled_ban(now, memory),
            Memory::Forgotten(_) => {}
            Memory::Trust { network, until } => self.trust.give(now, *network, *until),
            Memory::Realm { pbx, realm, algorithms } => {
                let all = &self.policy.pbx[..];
                let found = match (pbx, all) {
                    (0, [only]) => Some(only),
                    _ => all.iter().find(|it| it.id() == *pbx),
                };
                if let Some(id) = found.map(policy::Pbx::id) {
                    self.challenges.of_mut(id).on_learned(realm, *algorithms);
                }
            }
            Memory::Hits(hits) => self.on_recalled_hits(now, hits),
        }
    }

    fn on_recalled_source(&mut self, now: Time, memory: &SourceMemory) {
        let window = self.policy.admission.trust.window;
        let ip = memory.network.address();
        let key = self.sources.key_of(ip);
        if self.sources.recall(now, key, memory, window) {
            self.networks.recall(memory.known.min(now), Network::around(ip));
        }
    }

    fn on_recalled_ban(&mut self, now: Time, memory: &BanMemory) {
        let later = memory.begun_later(now);
        let (memory, wrong) = (later.as_ref().unwrap_or(memory), later.is_some());
        let ban = &memory.ban;
        if !self.bans.recall(now, &self.trust, memory) || ban.until <= now {
            return;
        }
        if wrong {
            // else each restart would begin it again
            self.bans.note_change(ban.key);
        }
        self.on_recalled_chain(memory);
        if let BanKey::Source(network) = ban.key {
            let ip = network.address();
            let key = self.sources.key_of(ip);
            let _ = self.sources.enter(key, ip, Rank::Proven);
            self.sources.set_banned(key, true);
            self.chains.hold(key);
            if !ban.narrowed {
                let _ = self.networks.banned(now, Network::around(ip), key, ban.until);
            }
        }
        // what is of one source is told to its shard only
        if self.shard.0 == 0 || !ban.key.is_of_all() {
            self.say(Effect::Recalled(Box::new(Ban { evidence: Vec::new(), ..ban.clone() })));
        }
    }

    /// The evidence of the source that is banned, or at which a pair is.
    fn on_recalled_chain(&mut self, memory: &BanMemory) {
        let source = match memory.ban.key {
            BanKey::Source(source) | BanKey::AorSource { source, .. } => source.address(),
            BanKey::AorFlow { flow, .. } => flow.remote.ip(),
            BanKey::Network(_) | BanKey::Campaign(_) => return,
        };
        let same = memory.names == self.hash_of_names();
        let records = memory.ban.evidence.iter().cloned().map(|mut record| {
            if !same {
                record.rule = record.rule.max(GONE);
                record.signature = record.signature.max(GONE);
            }
            record
        });
        let half_life = self.policy.admission.half_life.short;
        self.chains.recall(self.sources.key_of(source), records, half_life);
    }
}
