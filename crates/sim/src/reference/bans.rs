//! "Smallest key first", and how long bans last.

use super::Reference;
use admission::{BanId, BanKey};
use policy::{Network, Time};
use std::collections::HashMap;
use wire::Flow;

/// What is banned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Source(Network),
    Network(Network),
    Campaign(u64),
    Flow(String, Flow),
    Pair(String, Network),
}

/// A ban in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ban {
    pub since: Time,
    pub until: Time,
    pub narrowed: bool,
    /// Its place in [`Reference::banned`].
    number: usize,
}

/// How often something was banned, less what is forgiven up to `last`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeats {
    times: u32,
    last: Time,
}

/// A ban, as it is compared: to the second.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Banned {
    /// Its kind, as [`BanKey::kind`] calls it.
    pub kind: &'static str,
    /// Source, network, or flow; nothing for a campaign.
    pub of: String,
    /// When it began.
    pub since: u64,
    /// When it ended or will; nothing for a campaign, which lasts for as long as it is seen.
    pub until: u64,
    /// It slows; it does not drop.
    pub narrowed: bool,
}

/// The gate's own bans, as its tape tells them.
#[derive(Debug, Default)]
pub(super) struct Really {
    bans: Vec<Banned>,
    numbers: HashMap<BanId, usize>,
}

impl Really {
    pub fn began(&mut self, now: Time, ban: &admission::Ban) {
        let campaign = matches!(ban.key, BanKey::Campaign(_));
        let of = match ban.key {
            BanKey::Source(of) | BanKey::Network(of) => of.to_string(),
            BanKey::AorSource { source, .. } => source.to_string(),
            BanKey::AorFlow { flow, .. } => format!("{flow:?}"),
            BanKey::Campaign(_) => String::new(),
        };
        let until = if campaign { 0 } else { ban.until.as_secs() };
        if ban.since == now || !self.numbers.contains_key(&ban.id) {
            let (kind, since, narrowed) = (ban.key.kind(), ban.since.as_secs(), ban.narrowed);
            self.numbers.insert(ban.id, self.bans.len());
            self.bans.push(Banned { kind, of, since, until, narrowed });
        } else if let Some(known) = self.numbers.get(&ban.id) {
            self.bans[*known].until = until;
            self.bans[*known].narrowed = ban.narrowed;
        }
    }

    pub fn ended(&mut self, now: Time, id: BanId) {
        if let Some(number) = self.numbers.remove(&id) {
            let ban = &mut self.bans[number];
            ban.until = if ban.kind == "campaign" { 0 } else { now.as_secs() };
        }
    }

    /// What began before a restart is not the ban of that number after it.
    pub fn forget(&mut self) {
        self.numbers.clear();
    }

    pub fn all(&self) -> Vec<Banned> {
        self.bans.clone()
    }
}

impl Reference {
    pub(super) fn ban_of(&self, now: Time, key: &Key) -> Option<Ban> {
        self.bans.get(key).copied().filter(|ban| now < ban.until)
    }

    /// "Bans last 10 min, then 4 times as long each time, at most 24 h (pairs: 1 min to 1 h); what
    /// the long memory alone bans, at once as long as bans last".
    pub(super) fn ban(&mut self, now: Time, key: Key, narrowed: bool, slow: bool) {
        let rules = self.rules().bans;
        let campaign = self.rules().campaign.lifetime;
        let (kind, of, first, longest) = match &key {
            Key::Source(of) => ("address", of.to_string(), rules.first, rules.longest),
            Key::Network(of) => ("network", of.to_string(), rules.first, rules.longest),
            Key::Campaign(_) => ("campaign", String::new(), campaign, campaign),
            Key::Flow(_, of) => ("flow", format!("{of:?}"), rules.pair_first, rules.pair_longest),
            Key::Pair(_, of) => ("aor", of.to_string(), rules.pair_first, rules.pair_longest),
        };
        let running = self.ban_of(now, &key);
        if running.is_none() {
            self.spoken_against(now, &key);
        }
        let repeats = self.repeats.entry(key.clone()).or_insert(Repeats { times: 0, last: now });
        repeats.times += u32::from(running.is_none());
        repeats.last = now;
        let grown = rules.factor.saturating_pow(repeats.times.saturating_sub(1).min(16));
        let length = if slow { longest } else { first.saturating_mul(grown).min(longest) };
        let until = (now + length).max(running.map_or(now, |ban| ban.until));
        let since = running.map_or(now, |ban| ban.since);
        let number = running.map_or(self.banned.len(), |ban| ban.number);
        let end = if kind == "campaign" { 0 } else { until.as_secs() };
        let banned = Banned { kind, of, since: since.as_secs(), until: end, narrowed };
        match self.banned.get_mut(number) {
            Some(known) => *known = banned,
            None => self.banned.push(banned),
        }
        self.bans.insert(key, Ban { since, until, narrowed, number });
    }

    /// "A level is forgiven for each 24 h without evidence."
    pub(super) fn spoken_against(&mut self, now: Time, key: &Key) {
        let forgive = self.rules().bans.forgive;
        if let Some(repeats) = self.repeats.get_mut(key) {
            let days = now.since(repeats.last).as_nanos() / forgive.as_nanos().max(1);
            repeats.times = repeats.times.saturating_sub(days as u32);
            repeats.last = now;
        }
    }

    /// "for 24 h after its last hit"
    pub(super) fn lengthen_campaign(&mut self, now: Time, shape: u64) {
        let lifetime = self.rules().campaign.lifetime;
        if let Some(ban) = self.bans.get_mut(&Key::Campaign(shape)) {
            ban.until = ban.until.max(now + lifetime);
        }
    }

    /// "When a ban ends its evidence is halved twice."
    pub(super) fn lift(&mut self, now: Time) {
        let over = self.bans.iter().filter(|(_, ban)| ban.until <= now);
        let over: Vec<(Key, Ban)> = over.map(|(key, ban)| (key.clone(), *ban)).collect();
        for (key, ban) in over {
            self.bans.remove(&key);
            let banned = &mut self.banned[ban.number];
            banned.until = if banned.kind == "campaign" { 0 } else { now.as_secs() };
            match &key {
                Key::Source(source) => {
                    let it = self.sources.entry(*source).or_default();
                    it.short.quarter();
                    it.long.quarter();
                }
                Key::Flow(..) | Key::Pair(..) => {
                    let pair = self.pairs.entry(key).or_default();
                    pair.short.quarter();
                    pair.long.quarter();
                }
                // That of a network are its banned sources, which count no more.
                Key::Network(network) => {
                    self.forgotten.insert(*network, now);
                }
                Key::Campaign(_) => {}
            }
        }
    }
}
