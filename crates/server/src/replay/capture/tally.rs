//! What was decided of whom.

use super::stage::Decision;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// Sources of which something is remembered.
const SOURCES_MAX: usize = 262_144;
/// Users of whom it is remembered that the PBX let them in.
const USERS_MAX: usize = 65_536;
/// Addresses of each.
const ADDRESSES_MAX: usize = 16;
/// Users of a source of whom it is remembered that something was stopped.
const AFFECTED_MAX: usize = 64;

/// Both edges' decisions about one message; the second is there only with two policies.
pub(super) type Pair = (Option<Decision>, Option<Decision>);

/// One source.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Its messages.
    pub(super) messages: u64,
    /// By what the first policy decided.
    decided: Vec<(Decision, u64)>,
    /// Where the two decided otherwise.
    pub(super) differences: Vec<(Pair, u64)>,
    /// In whose name messages came that were stopped, or decided otherwise.
    affected: BTreeSet<Box<[u8]>>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sources: HashMap<IpAddr, Source>,
    /// Messages of sources for which there was no room.
    pub(super) untold: u64,
    /// Messages from outside.
    pub(super) messages: u64,
    /// Who authenticated at the PBX in the capture, from where.
    users: HashMap<Box<[u8]>, BTreeSet<IpAddr>>,
}

/// A line of the table of verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) messages: u64,
    pub(super) sources: u64,
}

impl Tally {
    /// A message of a source in somebody's name, and what was decided. Where the two differ counts
    /// only with `compared`.
    pub(super) fn decided(
        &mut self,
        source: IpAddr,
        names: [&[u8]; 2],
        pair: Pair,
        compared: bool,
    ) {
        self.messages += 1;
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&source) {
            self.untold += 1;
            return;
        }
        let source = self.sources.entry(source).or_default();
        source.messages += 1;
        if let Some(decision) = pair.0 {
            count(&mut source.decided, decision);
        }
        let word = |decision: Option<Decision>| decision.map(|decision| decision.verdict);
        let differs = compared && word(pair.0) != word(pair.1);
        if differs {
            count(&mut source.differences, pair);
        }
        if differs || (!compared && pair.0.is_some_and(|decision| decision.stops())) {
            for name in names.into_iter().filter(|name| !name.is_empty()) {
                if source.affected.len() < AFFECTED_MAX && !source.affected.contains(name) {
                    source.affected.insert(name.into());
                }
            }
        }
    }

    /// The PBX let somebody in.
    pub(super) fn authenticated(&mut self, user: &[u8], source: IpAddr) {
        if let Some(from) = self.users.get_mut(user) {
            if from.len() < ADDRESSES_MAX {
                from.insert(source);
            }
        } else if self.users.len() < USERS_MAX {
            self.users.insert(user.into(), BTreeSet::from([source]));
        }
    }

    /// Takes another's, which has other sources.
    pub(super) fn absorb(&mut self, other: Tally) {
        self.messages += other.messages;
        self.untold += other.untold;
        // in order: what there is no room for is the same each time
        let mut sources: Vec<_> = other.sources.into_iter().collect();
        sources.sort_unstable_by_key(|(address, _)| *address);
        for (address, source) in sources {
            if self.sources.len() < SOURCES_MAX {
                self.sources.insert(address, source);
            } else {
                self.untold += source.messages;
            }
        }
        let users: BTreeMap<_, _> = other.users.iter().collect();
        let pairs = users.iter().flat_map(|(user, from)| from.iter().map(move |it| (user, it)));
        pairs.for_each(|(user, source)| self.authenticated(user, *source));
    }

    pub(super) fn users(&self) -> usize {
        self.users.len()
    }

    /// The authenticated users in whose name something was stopped or decided otherwise, or whose
    /// address is banned, in order.
    pub(super) fn touched(&self, is_banned: impl Fn(IpAddr) -> bool) -> Vec<(&[u8], IpAddr)> {
        let is_touched = |user: &[u8], address: IpAddr| {
            is_banned(address)
                || self.sources.get(&address).is_some_and(|source| source.is_affected(user))
        };
        let mut touched: Vec<(&[u8], IpAddr)> = self
            .users
            .iter()
            .filter_map(|(user, from)| {
                let address = from.iter().find(|address| is_touched(user, **address))?;
                Some((&**user, *address))
            })
            .collect();
        touched.sort_unstable();
        touched
    }

    pub(super) fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The verdicts of the first policy.
    pub(super) fn verdicts(&self) -> BTreeMap<Decision, Sum> {
        let mut sums: BTreeMap<Decision, Sum> = BTreeMap::new();
        for (decision, messages) in self.sources.values().flat_map(|source| &source.decided) {
            let sum = sums.entry(*decision).or_default();
            sum.messages += messages;
            sum.sources += 1;
        }
        sums
    }

    /// Where the two policies differ.
    pub(super) fn differences(&self) -> BTreeMap<Pair, Sum> {
        let mut sums: BTreeMap<Pair, Sum> = BTreeMap::new();
        for (pair, messages) in self.sources.values().flat_map(|source| &source.differences) {
            let sum = sums.entry(*pair).or_default();
            sum.messages += messages;
            sum.sources += 1;
        }
        sums
    }

    /// The sources with the most messages that went no further, or of which the two differ.
    pub(super) fn worst(&self, compared: bool, most: usize) -> Vec<(IpAddr, &Source, u64)> {
        let mut worst: Vec<(IpAddr, &Source, u64)> = self
            .sources
            .iter()
            .map(|(address, source)| {
                let weight = match compared {
                    true => source.differences.iter().map(|(_, count)| count).sum(),
                    false => source.stopped(),
                };
                (*address, source, weight)
            })
            .filter(|(_, _, weight)| *weight > 0)
            .collect();
        worst.sort_unstable_by_key(|(address, _, weight)| (std::cmp::Reverse(*weight), *address));
        worst.truncate(most);
        worst
    }
}

impl Source {
    /// Messages that went no further, challenges apart.
    pub(super) fn stopped(&self) -> u64 {
        let stopped = self.decided.iter().filter(|(decision, _)| decision.stops());
        stopped.map(|(_, count)| count).sum()
    }

    /// Whether something of that user's was stopped, or decided otherwise; also when there were so
    /// many that not all are known.
    fn is_affected(&self, user: &[u8]) -> bool {
        self.affected.contains(user) || self.affected.len() >= AFFECTED_MAX
    }

    /// What was decided most often of those that went no further.
    pub(super) fn mostly(&self) -> Option<Decision> {
        let stopped = self.decided.iter().filter(|(decision, _)| decision.stops());
        stopped.max_by_key(|(decision, count)| (*count, *decision)).map(|(decision, _)| *decision)
    }
}

fn count<K: PartialEq>(list: &mut Vec<(K, u64)>, key: K) {
    match list.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count += 1,
        None => list.push((key, 1)),
    }
}
