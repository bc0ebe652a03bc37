//! How often each rule and signature was met, over reloads and restarts: what is told of it, from
//! time to time, and taken back.

use super::Gate;
use crate::memory::{Counted, HitsMemory, Memory};
use crate::{Counts, Effect};
use policy::{Policy, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// From a hit to the memory of it.
const TELL_AFTER: Duration = Duration::from_secs(60);
/// From one portion to the next, and how many names it has.
const PORTION_EVERY: Duration = Duration::from_millis(2);
const PORTION: usize = 256;
/// Names that are known; a policy has hundreds, and each reload may bring others.
const NAMES_MAX: usize = 8_192;

type Name = (Counted, Box<str>);

/// What was counted before the gate's own count began, and what was told.
#[derive(Debug, Default)]
pub(super) struct Tally {
    due: Option<Time>,
    names: BTreeMap<Name, Told>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Under policies before this one: by others, by the authenticated.
    before: (u64, u64),
    /// In all, as it was told last.
    told: (u64, u64),
}

impl Tally {
    /// Something was hit.
    pub(super) fn wanted(&mut self, now: Time) {
        self.due = self.due.or(Some(now + TELL_AFTER));
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.due
    }

    /// The gate's count ends, and another begins at nothing.
    pub(super) fn keep(&mut self, policy: &Policy, counts: &Counts) {
        for (name, count) in counted(policy, counts) {
            if let Some(told) = self.of(name) {
                told.before = sum(told.before, count);
            }
        }
    }

    fn of(&mut self, name: Name) -> Option<&mut Told> {
        if self.names.len() >= NAMES_MAX && !self.names.contains_key(&name) {
            return None;
        }
        Some(self.names.entry(name).or_default())
    }
}

/// What has a name, with its count.
fn counted<'a>(
    policy: &'a Policy,
    counts: &'a Counts,
) -> impl Iterator<Item = (Name, (u64, u64))> + 'a {
    let rules = policy.admission.rules.iter().zip(&counts.rules);
    let signatures = policy.admission.signatures.list().iter().zip(&counts.signatures);
    let rules = rules.map(|(rule, hits)| ((Counted::Rule, rule.name.clone()), (*hits, 0)));
    let signatures = signatures.map(|(it, hits)| ((Counted::Signature, it.id.clone()), *hits));
    rules.chain(signatures)
}

fn sum(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
}

impl Gate {
    /// Tells what was counted since, when it is due.
    pub(super) fn tell_hits(&mut self, now: Time) {
        if self.tally.due.is_none_or(|due| due > now) {
            return;
        }
        let policy = self.policy.clone();
        let mut news = Vec::new();
        for (name, count) in counted(&policy, &self.counts) {
            let (of, text) = name.clone();
            let Some(told) = self.tally.of(name) else { continue };
            let (others, authenticated) = sum(told.before, count);
            if told.told == (others, authenticated) {
                continue;
            }
            if news.len() == PORTION {
                self.tally.due = Some(now + PORTION_EVERY);
                break;
            }
            told.told = (others, authenticated);
            let shard = self.shard;
            news.push(HitsMemory { shard, of, name: text, others, authenticated, at: now });
        }
        if news.len() < PORTION {
            self.tally.due = None;
        }
        news.into_iter().for_each(|hits| self.say(Effect::Remember(Memory::Hits(hits))));
    }

    /// Goes on from the count of an earlier life: this shard's, or one's that is no more.
    pub(super) fn on_recalled_hits(&mut self, now: Time, hits: &HitsMemory) {
        let count = (hits.others, hits.authenticated);
        let name = (hits.of, hits.name.clone());
        let own = hits.shard == self.shard;
        let position = match hits.of {
            Counted::Rule => {
                let rules = &self.policy.admission.rules;
                rules.iter().position(|rule| rule.name == hits.name)
            }
            Counted::Signature => {
                let signatures = self.policy.admission.signatures.list();
                signatures.iter().position(|signature| signature.id == hits.name)
            }
        };
        let Some(told) = self.tally.of(name) else { return };
        if own {
            told.told = sum(told.told, count);
        }
        match (hits.of, position) {
            // a policy that has the name no more may have it again
            (_, None) => told.before = sum(told.before, count),
            (Counted::Rule, Some(at)) => self.counts.rules[at] += count.0,
            (Counted::Signature, Some(at)) => {
                self.counts.signatures[at] = sum(self.counts.signatures[at], count);
            }
        }
        if !own {
            let gone = HitsMemory { others: 0, authenticated: 0, ..hits.clone() };
            self.say(Effect::Remember(Memory::Hits(gone)));
            self.tally.wanted(now);
        }
    }
}
