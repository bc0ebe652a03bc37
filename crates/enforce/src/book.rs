//! What the helper knows: who is banned, until when, and what the kernel still has to be told.

use crate::drop_set::{Change, Entry, Set};
use crate::exempt::Exempt;
use policy::{Network, Time};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

/// How much there may be, and how wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most banned sources: IPv4 addresses and IPv6 /64s.
    pub sources: usize,
    /// Most banned networks of other lengths.
    pub networks: usize,
    /// The shortest prefix of an IPv4 network.
    pub widest_v4: u8,
    /// The shortest prefix of an IPv6 network.
    pub widest_v6: u8,
}

/// Why a ban is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Somebody exempt would be hit.
    #[error("somebody exempt is in it")]
    Exempt,
    /// Its prefix is too short.
    #[error("it is too wide")]
    TooWide,
    /// The bound is reached.
    #[error("there are as many as there may be")]
    Full,
}

/// The bans that the kernel should know.
///
/// Sources go to the kernel as they are. Of networks within each other it gets the widest, because
/// intervals of a set must not overlap; when that one ends, those in it take its place.
#[derive(Debug)]
pub struct Book {
    bounds: Bounds,
    exempt: Exempt,
    sources: HashMap<Network, Time>,
    networks: HashMap<Network, Time>,
    /// The networks that the kernel has.
    shown: BTreeMap<Network, Time>,
    /// When entries end; an item whose entry ends otherwise is void.
    ends: BinaryHeap<Reverse<(Time, Network)>>,
    /// Sources of which the kernel does not know yet, and whether it has them.
    pending: HashMap<Network, bool>,
    networks_differ: bool,
    /// While a full list comes: what it has named.
    listed: Option<HashSet<Network>>,
}

impl Book {
    /// Empty.
    #[must_use]
    pub fn new(bounds: Bounds, exempt: Exempt) -> Self {
        Book {
            bounds,
            exempt,
            sources: HashMap::new(),
            networks: HashMap::new(),
            shown: BTreeMap::new(),
            ends: BinaryHeap::new(),
            pending: HashMap::new(),
            networks_differ: false,
            listed: None,
        }
    }

    /// Bans a network for so long from now on, in place of what it was banned for. A time of zero
    /// lifts.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn ban(&mut self, now: Time, entry: Entry) -> Result<(), Refusal> {
        let Entry { network, remaining } = entry;
        if remaining.is_zero() {
            self.lift(network);
            return Ok(());
        }
        let (widest, is_source) = match network.address() {
            IpAddr::V4(_) => (self.bounds.widest_v4, network.prefix() == 32),
            IpAddr::V6(_) => (self.bounds.widest_v6, network.prefix() == 64),
        };
        if network.prefix() < widest {
            return Err(Refusal::TooWide);
        }
        if self.exempt.covers(network) {
            return Err(Refusal::Exempt);
        }
        let full = if is_source {
            self.sources.len() >= self.bounds.sources && !self.sources.contains_key(&network)
        } else {
            self.networks.len() >= self.bounds.networks && !self.networks.contains_key(&network)
        };
        if full {
            return Err(Refusal::Full);
        }
        if let Some(listed) = &mut self.listed {
            listed.insert(network);
        }
        let until = now + remaining;
        let known = if is_source { &self.sources } else { &self.networks };
        if known.get(&network).is_some_and(|known| *known > now && is_same(*known, until)) {
            return Ok(());
        }
        if is_source {
            let old = self.sources.insert(network, until);
            self.pending.entry(network).or_insert(old.is_some_and(|old| old > now));
        } else {
            self.networks.insert(network, until);
            self.networks_differ = true;
        }
        self.schedule(until, network);
        Ok(())
    }

    /// Lifts the ban of a network.
    pub fn lift(&mut self, network: Network) {
        if self.sources.remove(&network).is_some() {
            self.pending.entry(network).or_insert(true);
        }
        self.networks_differ |= self.networks.remove(&network).is_some();
        if let Some(listed) = &mut self.listed {
            listed.remove(&network);
        }
    }

    /// A full list begins: what is not banned again until [`Book::end_list`] goes then.
    pub fn begin_list(&mut self) {
        self.listed = Some(HashSet::new());
    }

    /// The full list is complete. Without a beginning it says nothing.
    pub fn end_list(&mut self) {
        let Some(listed) = self.listed.take() else { return };
        let known = self.sources.keys().chain(self.networks.keys());
        let gone: Vec<Network> = known.filter(|known| !listed.contains(known)).copied().collect();
        gone.into_iter().for_each(|network| self.lift(network));
    }

    /// A list that breaks off says nothing.
    pub fn forget_list(&mut self) {
        self.listed = None;
    }

    /// Takes up what a former run left in the kernel, as far as it may stand; how many that is.
    pub fn adopt(&mut self, now: Time, found: impl IntoIterator<Item = Entry>) -> usize {
        found.into_iter().filter(|entry| self.ban(now, *entry).is_ok()).count()
    }

    /// Another word on whom nothing bans: bans that hit them end.
    pub fn set_exempt(&mut self, exempt: Exempt) {
        self.exempt = exempt;
        self.sweep();
    }

    /// The addresses that this machine has now: bans that hit them end.
    pub fn set_own_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.exempt.set_own_addresses(addresses);
        self.sweep();
    }

    fn sweep(&mut self) {
        let known = self.sources.keys().chain(self.networks.keys());
        let hit: Vec<Network> =
            known.filter(|known| self.exempt.covers(**known)).copied().collect();
        hit.into_iter().for_each(|network| self.lift(network));
    }

    /// Forgets what has run out: the kernel has done so by itself.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(Reverse((until, network))) = self.ends.peek().copied() {
            if until > now {
                return;
            }
            self.ends.pop();
            if self.sources.get(&network).is_some_and(|until| *until <= now) {
                // one that was shortened and not told is still longer in the kernel
                self.sources.remove(&network);
            }
            if self.networks.get(&network).is_some_and(|until| *until <= now) {
                self.networks.remove(&network);
                self.networks_differ = true;
            }
        }
    }

    /// When [`Book::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.ends.peek().map(|Reverse((until, _))| *until)
    }

    /// What the kernel must be told now; it counts as told.
    pub fn changes(&mut self, now: Time) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.pending.len());
        for (network, known) in self.pending.drain() {
            match self.sources.get(&network).filter(|until| **until > now) {
                Some(until) => {
                    let entry = Entry { network, remaining: until.since(now) };
                    changes.push(if known { Change::Renew(entry) } else { Change::Add(entry) });
                }
                None if known => changes.push(Change::Remove(network)),
                None => {}
            }
        }
        // neighbours of a kind share a message
        changes.sort_unstable_by_key(|change| (rank(change), Set::of(change.network()) as u8));
        if std::mem::take(&mut self.networks_differ) {
            changes.extend(self.network_changes(now));
        }
        changes
    }

    /// From the networks that the kernel has to those that it should have: what goes first makes
    /// room for what overlaps it.
    fn network_changes(&mut self, now: Time) -> Vec<Change> {
        let wanted = self.widest(now);
        self.shown.retain(|_, until| *until > now);
        let gone = self.shown.keys().filter(|shown| !wanted.contains_key(shown));
        let mut changes: Vec<Change> = gone.map(|network| Change::Remove(*network)).collect();
        for (network, until) in &wanted {
            let entry = Entry { network: *network, remaining: until.since(now) };
            match self.shown.get(network) {
                Some(shown) if shown == until => {}
                Some(_) => changes.push(Change::Renew(entry)),
                None => changes.push(Change::Add(entry)),
            }
        }
        self.shown = wanted;
        changes
    }

    /// Networks in force that lie in no other. A network stands before those in it.
    fn widest(&self, now: Time) -> BTreeMap<Network, Time> {
        let mut all: Vec<_> = self.networks.iter().filter(|(_, until)| **until > now).collect();
        all.sort_unstable_by_key(|(network, _)| (network.address(), network.prefix()));
        let mut widest: BTreeMap<Network, Time> = BTreeMap::new();
        let mut around: Option<Network> = None;
        for (network, until) in all {
            if around.is_none_or(|around| !around.contains(network.address())) {
                widest.insert(*network, *until);
                around = Some(*network);
            }
        }
        widest
    }

    /// All that the kernel should have; it counts as told.
    pub fn restore(&mut self, now: Time) -> Vec<Entry> {
        self.pending.clear();
        self.networks_differ = false;
        self.shown = self.widest(now);
        let sources = self.sources.iter().filter(|(_, until)| **until > now);
        let entry = |(network, until): (&Network, &Time)| Entry {
            network: *network,
            remaining: until.since(now),
        };
        sources.map(entry).chain(self.shown.iter().map(entry)).collect()
    }

    /// All bans in force, networks within others included.
    pub fn iter(&self, now: Time) -> impl Iterator<Item = Entry> {
        let all = self.sources.iter().chain(&self.networks);
        all.filter(move |(_, until)| **until > now)
            .map(move |(network, until)| Entry { network: *network, remaining: until.since(now) })
    }

    /// Bans of each set, in the order of [`Set::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        for network in self.sources.keys().chain(self.networks.keys()) {
            counts[Set::of(*network) as usize] += 1;
        }
        counts
    }

    /// Each entry has an item; void ones are as many again at most.
    fn schedule(&mut self, until: Time, network: Network) {
        self.ends.push(Reverse((until, network)));
        let entries = self.sources.len() + self.networks.len();
        if self.ends.len() > entries * 2 + 64 {
            let all = self.sources.iter().chain(&self.networks);
            self.ends = all.map(|(network, until)| Reverse((*until, *network))).collect();
        }
    }
}

/// Whether two ends are the same, but for the time that the telling took: nothing is told anew
/// when a full list names what is known.
fn is_same(a: Time, b: Time) -> bool {
    const TELLING: Duration = Duration::from_secs(1);
    a.since(b).max(b.since(a)) < TELLING
}

/// Removals first: they make room.
fn rank(change: &Change) -> u8 {
    match change {
        Change::Remove(_) => 0,
        Change::Renew(_) => 1,
        Change::Add(_) => 2,
    }
}

#[cfg(test)]
mod tests;
