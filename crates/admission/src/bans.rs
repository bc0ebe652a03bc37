//! Bans in force, and of ended ones how often they had to be: the next lasts longer.
//!
//! By source, by network (few lengths of prefix are in use, and only those are looked up), by shape
//! and by pair. Nobody whom the trust oracle covers gets in.

mod coming;
mod held;

use coming::Coming;
use held::{Held, Kinds, SOURCE_V4, SOURCE_V6, What, network_bytes};

use crate::index::Index;
use crate::store::{Rank, Store};
use crate::trust::{Trust, overlap};
use crate::{Ban, BanId, BanKey, BanMemory, Key, Lift, Origin, Proof, TableUse};
use policy::{Admission, BanRules, Network, Reason, Time};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use wire::{Flow, ShardId};

/// What bans an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// What decisions on what it keeps out have for their reason.
    pub(crate) reason: Reason,
    /// It slows; it does not drop.
    pub(crate) narrowed: bool,
}

/// What bans a pair or a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InForce {
    /// Its number.
    pub(crate) id: BanId,
    /// Until when.
    pub(crate) until: Time,
    /// It slows; it does not drop.
    pub(crate) narrowed: bool,
}

/// Why a ban begins.
#[derive(Clone, Debug)]
pub(crate) struct Cause<'a> {
    /// The outcome's or rule's name.
    pub(crate) why: &'a str,
    /// What decisions on what it keeps out have for their reason.
    pub(crate) reason: Reason,
    /// How the source was proven.
    pub(crate) proof: Option<Proof>,
    /// Score that the evidence had.
    pub(crate) score: f32,
    /// The source is known: it is only narrowed.
    pub(crate) narrowed: bool,
    /// The long memory speaks: whoever comes slowly never notices a short ban, so it lasts as long
    /// as bans may.
    pub(crate) slow: bool,
    /// Version of the policy that judged.
    pub(crate) policy_version: u64,
}

/// One shard's bans.
#[derive(Debug)]
pub(crate) struct Bans {
    key: Key,
    shard: ShardId,
    rules: BanRules,
    campaign: Duration,
    store: Store<Held>,
    /// When each entry's state changes next; an item whose entry has gone or changes later is
    /// void.
    deadlines: BinaryHeap<Reverse<(Time, u64)>>,
    kinds: Kinds,
    /// The networks whose bans drop, and those whose bans narrow, with their reasons: what each
    /// datagram asks, in one look.
    walls: [Index<REASON_BITS>; 2],
    coming: Coming,
    lifts: VecDeque<Lift>,
    /// What changed since somebody asked; each once.
    changed: VecDeque<BanKey>,
    /// Of those that something spoke against since, each once.
    late: VecDeque<BanKey>,
    made: u64,
}

/// Bits of a [`Reason`] in a wall. The other 56 of the key are compared: by chance one stranger's
/// datagram in 10¹⁵ meets a ban that is not his.
const REASON_BITS: u32 = 8;

impl Bans {
    /// None yet. `shard` is the top byte of the numbers they get.
    pub(crate) fn new(secret: &[u8; 32], shard: ShardId, rules: &Admission) -> Self {
        Bans {
            key: Key::derive(secret, "bans"),
            shard,
            rules: rules.bans,
            campaign: rules.campaign.lifetime,
            store: Store::new(rules.capacities.bans),
            deadlines: BinaryHeap::new(),
            kinds: Kinds::default(),
            walls: [Index::default(), Index::default()],
            coming: Coming::default(),
            lifts: VecDeque::new(),
            changed: VecDeque::new(),
            late: VecDeque::new(),
            made: 0,
        }
    }

    /// New rules, for bans to come, and a new oracle: bans of those whom it covers are lifted.
    pub(crate) fn configure(&mut self, now: Time, rules: &Admission, trust: &Trust) {
        self.rules = rules.bans;
        self.campaign = rules.campaign.lifetime;
        while self.store.len() > rules.capacities.bans.max(1) {
            let least = Rank::ALL.into_iter().find_map(|rank| self.store.oldest(rank));
            let Some(key) = least.map(|held| held.key) else { break };
            self.forget(key);
        }
        self.store.configure(rules.capacities.bans);
        self.lift_trusted(now, trust);
    }

    /// What bans this address, if something does: its source or a network around it. One that
    /// drops goes before one that narrows; the former lasts until [`Bans::handle_timeout`] has
    /// ended it, so that a datagram that is dropped costs one look in memory.
    pub(crate) fn of_source(&self, now: Time, ip: IpAddr) -> Option<Standing> {
        if let Some((_, reason)) = self.look(false, ip, None) {
            return Some(Standing { reason, narrowed: false });
        }
        let (key, reason) = self.look(true, ip, None)?;
        self.in_force(now, key).map(|_| Standing { reason, narrowed: true })
    }

    /// Why what comes from this address is dropped, if it is banned: the first half of
    /// [`Bans::of_source`], which is all that most datagrams ask.
    pub(crate) fn drops(&mut self, ip: IpAddr) -> Option<Reason> {
        let own = self.coming.take(ip);
        self.look(false, ip, own).map(|(_, reason)| reason)
    }

    /// [`Bans::drops`] will be asked for these addresses next, in this order: what it reads is
    /// fetched from memory for all of them at once.
    pub(crate) fn expect(&mut self, sources: &[IpAddr]) {
        self.coming.clear();
        let wall = &self.walls[0];
        if wall.is_empty() {
            return;
        }
        for ip in sources {
            self.coming.push(*ip, self.network_key(Network::source(*ip)));
        }
        // a loop so short that the processor has all of them under way before the first is there
        let touched = self.coming.keys().fold(0, |all, key| all ^ wall.touch(key));
        std::hint::black_box(touched);
    }

    /// What bans this AOR over this flow or at its source. One that drops goes before one that
    /// narrows.
    pub(crate) fn of_pair(&self, now: Time, aor: u64, flow: &Flow) -> Option<InForce> {
        let by_flow = (self.kinds.pairs[0] > 0)
            .then(|| self.in_force(now, self.flow_key(aor, flow)))
            .flatten();
        if by_flow.is_some_and(|ban| !ban.narrowed) || self.kinds.pairs[1] == 0 {
            return by_flow;
        }
        let source = Network::source(flow.remote.ip());
        match self.in_force(now, self.source_key(aor, source)) {
            Some(ban) if !ban.narrowed => Some(ban),
            by_source => by_flow.or(by_source),
        }
    }

    /// What bans this shape.
    pub(crate) fn of_shape(&self, now: Time, shape: u64) -> Option<InForce> {
        (self.kinds.campaigns > 0).then(|| self.in_force(now, self.shape_key(shape))).flatten()
    }

    /// Bans `what` by our own evidence, or renews its ban, for as long as the rules say: each time
    /// longer. `None` when somebody trusted would be banned. The chain of the result is empty.
    pub(crate) fn ban(
        &mut self,
        now: Time,
        trust: &Trust,
        what: BanKey,
        cause: &Cause<'_>,
    ) -> Option<Ban> {
        let what = What::from(what);
        if what.is_trusted(now, trust) {
            return None;
        }
        let key = self.key_of(&what);
        let old = self.store.find(key);
        let renewed = old.filter(|held| held.is_in_force(now));
        let (id, since, until) = match renewed {
            Some(held) => (held.id, held.since, held.until),
            None => (self.next_id(), now, now),
        };
        let times = match old {
            Some(held) if renewed.is_some() => held.times,
            Some(held) => held.times_at(now, self.rules.forgive).saturating_add(1),
            None => 1,
        };
        let until = until.max(now + self.duration(&what, times, cause.slow));
        self.made += u64::from(renewed.is_none());
        let held = Held {
            key,
            until,
            id,
            reason: cause.reason,
            narrowed: cause.narrowed,
            in_force: true,
            proof: cause.proof,
            origin: Origin::Local,
            times,
            score: cause.score,
            since,
            evidence: now,
            policy_version: cause.policy_version,
            what,
            why: cause.why.into(),
            late: false,
        };
        self.note_change(BanKey::from(&held.what));
        self.hold(held)
    }

    /// Takes up a ban that somebody else made: an operator, a feed, another shard. Its number and
    /// its end are theirs. `false` when it is over, or somebody trusted would be banned.
    pub(crate) fn impose(&mut self, now: Time, trust: &Trust, ban: &Ban) -> bool {
        let what = What::from(ban.key);
        if ban.until <= now || what.is_trusted(now, trust) {
            return false;
        }
        let key = self.key_of(&what);
        let old = self.store.find(key);
        let times = old.map_or(1, |held| held.times.max(1));
        // only an operator shortens what is in force
        let least = old.filter(|held| held.is_in_force(now) && ban.origin != Origin::Operator);
        let held = Held {
            key,
            until: ban.until.max(least.map_or(now, |held| held.until)),
            id: ban.id,
            reason: ban.reason,
            narrowed: ban.narrowed,
            in_force: true,
            proof: ban.proof,
            origin: ban.origin,
            times,
            score: ban.score,
            since: ban.since,
            evidence: now,
            policy_version: ban.policy_version,
            what,
            why: ban.why.clone(),
            late: false,
        };
        self.note_change(ban.key);
        self.hold(held).is_some()
    }

    /// Something spoke against `what`: forgiveness waits from now on.
    pub(crate) fn evidence(&mut self, now: Time, what: &BanKey) {
        let forgive = self.rules.forgive;
        let key = self.key_of(&What::from(*what));
        let Some(held) = self.store.find_mut(key) else { return };
        held.times = held.times_at(now, forgive);
        held.evidence = now;
        let told = std::mem::replace(&mut held.late, true);
        // an entry that was pushed out and came again may be there twice
        if !told && self.late.len() <= self.store.table().capacity {
            self.late.push_back(*what);
        }
    }

    /// Counts as changed what [`Bans::evidence`] came for since, so many at most.
    pub(crate) fn tell_late(&mut self, portion: usize) {
        for what in self.late.drain(..portion.min(self.late.len())).collect::<Vec<_>>() {
            let key = self.key_of(&What::from(what));
            if let Some(held) = self.store.find_mut(key) {
                held.late = false;
                self.note_change(what);
            }
        }
    }

    /// Whether [`Bans::tell_late`] would find something.
    pub(crate) fn is_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// Lifts the bans of addresses in `network`, networks around it included; with `forgive` they
    /// are as if they had never been.
    pub(crate) fn lift(&mut self, now: Time, network: Network, forgive: bool) {
        self.lift_where(now, forgive, |what| what.network().is_some_and(|it| overlap(it, network)));
    }

    /// Lifts the ban of `what`; with `forgive` it is as if it had never been.
    pub(crate) fn lift_key(&mut self, now: Time, what: &BanKey, forgive: bool) {
        let key = self.key_of(&What::from(*what));
        match self.store.find(key).map(|held| held.in_force) {
            Some(_) if forgive => self.forget(key),
            Some(true) => self.end(now, key, false),
            _ => {}
        }
    }

    /// Lifts the bans of those whom the oracle covers now, and forgets that they were.
    pub(crate) fn lift_trusted(&mut self, now: Time, trust: &Trust) {
        self.lift_where(now, true, |what| what.is_trusted(now, trust));
    }

    /// Ends what has run out, `portion` entries at most.
    pub(crate) fn handle_timeout(&mut self, now: Time, portion: usize) {
        for _ in 0..portion {
            let Some(Reverse((at, key))) = self.deadlines.peek().copied() else { return };
            if at > now {
                return;
            }
            self.deadlines.pop();
            let Some(held) = self.store.find(key) else { continue };
            let due = held.deadline(self.rules.forgive);
            match held.in_force {
                _ if due > now => self.deadlines.push(Reverse((due, key))),
                true => self.end(now, key, true),
                false => {
                    let gone = self.store.remove(key);
                    gone.into_iter().for_each(|gone| self.note_change(BanKey::from(&gone.what)));
                }
            }
        }
    }

    /// When [`Bans::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// The next ban that ended: ran out, lifted, or pushed out because the table is full.
    pub(crate) fn poll_lift(&mut self) -> Option<Lift> {
        self.lifts.pop_front()
    }

    /// The next that began, ended or was forgotten. As many wait as there are bans at most; more
    /// are told by the next change of theirs.
    pub(crate) fn poll_changed(&mut self) -> Option<BanKey> {
        self.changed.pop_front()
    }

    /// What is to be remembered of the ban of `what`, without its chain.
    pub(crate) fn memory(&self, what: &BanKey) -> Option<BanMemory> {
        let held = self.store.find(self.key_of(&What::from(*what)))?;
        Some(BanMemory { ban: held.ban(), times: held.times, evidence: held.evidence, names: 0 })
    }

    /// Takes up a ban of an earlier life, in force or not. `false` when it is forgiven by now, or
    /// somebody trusted would be banned.
    pub(crate) fn recall(&mut self, now: Time, trust: &Trust, memory: &BanMemory) -> bool {
        let BanMemory { ban, times, evidence, .. } = memory;
        let what = What::from(ban.key);
        let key = self.key_of(&what);
        let held = Held {
            key,
            until: ban.until,
            id: ban.id,
            reason: ban.reason,
            narrowed: ban.narrowed,
            in_force: ban.until > now,
            proof: ban.proof,
            origin: ban.origin,
            times: *times,
            score: ban.score,
            since: ban.since,
            evidence: (*evidence).min(now),
            policy_version: ban.policy_version,
            what,
            why: ban.why.clone(),
            late: false,
        };
        if held.what.is_trusted(now, trust) || held.deadline(self.rules.forgive) <= now {
            return false;
        }
        if ban.id.shard() == self.shard.0 {
            self.made = self.made.max(ban.id.count().saturating_add(1));
        }
        if held.in_force {
            return self.hold(held).is_some();
        }
        let deadline = held.deadline(self.rules.forgive);
        let _ = self.store.insert(Rank::Unproven, held);
        self.schedule(deadline, key);
        true
    }

    pub(crate) fn note_change(&mut self, what: BanKey) {
        if self.changed.len() <= self.store.table().capacity {
            self.changed.push_back(what);
        }
    }

    /// Those in force, without their chains.
    pub(crate) fn iter(&self, now: Time) -> impl Iterator<Item = Ban> {
        self.store.iter().filter(move |held| held.is_in_force(now)).map(Held::ban)
    }

    /// The same, of the `count` entries from the `from`-th on; and whether there are more behind.
    pub(crate) fn portion(
        &self,
        now: Time,
        from: usize,
        count: usize,
    ) -> (impl Iterator<Item = Ban>, bool) {
        let entries = self.store.iter().skip(from).take(count);
        let more = from.saturating_add(count) < self.store.len();
        (entries.filter(move |held| held.is_in_force(now)).map(Held::ban), more)
    }

    /// Entries (ended ones that are remembered, too), bound and evictions.
    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }

    /// The first of an address's networks that is in that wall, its source first, whose key the
    /// caller may know.
    fn look(&self, narrowed: bool, ip: IpAddr, own: Option<u64>) -> Option<(u64, Reason)> {
        let wall = &self.walls[usize::from(narrowed)];
        if wall.is_empty() {
            return None;
        }
        let ip = ip.to_canonical();
        // only lengths of prefix that are in use are looked up
        let (length, in_use, lengths) = match ip {
            IpAddr::V4(_) => (SOURCE_V4, self.kinds.v4[32], &self.kinds.lengths_v4),
            IpAddr::V6(_) => (SOURCE_V6, self.kinds.v6[64], &self.kinds.lengths_v6),
        };
        let key = |length: &u8| self.network_key(Network::new(ip, *length));
        let own = (in_use > 0).then(|| own.unwrap_or_else(|| key(&length)));
        own.into_iter().chain(lengths.iter().map(key)).find_map(|key| {
            let reason = wall.find(key, |_| true)?;
            Some((key, *Reason::ALL.get(reason as usize)?))
        })
    }

    fn in_force(&self, now: Time, key: u64) -> Option<InForce> {
        let held = self.store.find(key).filter(|held| held.is_in_force(now))?;
        Some(InForce { id: held.id, until: held.until, narrowed: held.narrowed })
    }

    fn next_id(&self) -> BanId {
        BanId::of(self.shard.0, self.made)
    }

    /// How long the `times`-th ban lasts.
    fn duration(&self, what: &What, times: u8, slow: bool) -> Duration {
        let (first, longest) = match what {
            What::Campaign(_) => return self.campaign,
            What::Network(_) => (self.rules.first, self.rules.longest),
            What::AorSource(..) | What::AorFlow(_) => {
                (self.rules.pair_first, self.rules.pair_longest)
            }
        };
        if slow {
            return longest;
        }
        let factor = self.rules.factor.saturating_pow(u32::from(times.saturating_sub(1)));
        first.saturating_mul(factor).min(longest)
    }

    fn hold(&mut self, held: Held) -> Option<Ban> {
        let (key, deadline, ban) = (held.key, held.until, held.ban());
        self.kinds.count(&held.what, 1);
        if let Some((wall, reason)) = held.wall() {
            self.walls[wall].insert(key, reason as u32);
        }
        if let Some(gone) = self.store.insert(Rank::Banned, held).filter(|gone| gone.in_force) {
            self.uncount(gone.key, &gone.what, gone.wall());
            let replaced = gone.key == key;
            if !replaced {
                self.note_change(BanKey::from(&gone.what));
            }
            if !replaced || gone.id != ban.id {
                self.lifts.push_back(Lift { replaced, ..gone.lift(false) });
            }
        }
        self.schedule(deadline, key);
        Some(ban)
    }

    /// Each entry has an item; void ones are as many again at most.
    fn schedule(&mut self, deadline: Time, key: u64) {
        self.deadlines.push(Reverse((deadline, key)));
        if self.deadlines.len() > self.store.len() * 2 + 64 {
            let forgive = self.rules.forgive;
            let all = self.store.iter().map(|held| Reverse((held.deadline(forgive), held.key)));
            self.deadlines = all.collect();
        }
    }

    /// A ban in force is no more; how often there was one is remembered.
    fn end(&mut self, now: Time, key: u64, expired: bool) {
        let Some(held) = self.store.find_mut(key) else { return };
        held.in_force = false;
        held.until = held.until.min(now);
        let (lift, due) = (held.lift(expired), held.deadline(self.rules.forgive));
        let (what, wall) = (held.what.clone(), held.wall());
        self.uncount(key, &what, wall);
        self.lifts.push_back(lift);
        self.store.touch(key, Rank::Unproven);
        self.note_change(lift.key);
        self.schedule(due, key);
    }

    fn forget(&mut self, key: u64) {
        let Some(held) = self.store.remove(key) else { return };
        self.note_change(BanKey::from(&held.what));
        if held.in_force {
            self.uncount(key, &held.what, held.wall());
            self.lifts.push_back(held.lift(false));
        }
    }

    fn lift_where(&mut self, now: Time, forgive: bool, is_it: impl Fn(&What) -> bool) {
        let met = self.store.iter().filter(|held| is_it(&held.what));
        let met: Vec<_> = met.map(|held| (held.key, held.in_force)).collect();
        for (key, in_force) in met {
            match (forgive, in_force) {
                (true, _) => self.forget(key),
                (false, true) => self.end(now, key, false),
                (false, false) => {}
            }
        }
    }

    fn uncount(&mut self, key: u64, what: &What, wall: Option<(usize, Reason)>) {
        self.kinds.count(what, -1);
        if let Some((wall, reason)) = wall {
            self.walls[wall].remove(key, reason as u32);
        }
    }

    fn key_of(&self, what: &What) -> u64 {
        match what {
            What::Network(network) => self.network_key(*network),
            What::Campaign(shape) => self.shape_key(*shape),
            What::AorSource(aor, source) => self.source_key(*aor, *source),
            What::AorFlow(pair) => self.flow_key(pair.0, &pair.1),
        }
    }

    fn network_key(&self, network: Network) -> u64 {
        self.key.hash_one(&network_bytes(network))
    }

    fn shape_key(&self, shape: u64) -> u64 {
        self.key.hash(&[b"shape", &shape.to_be_bytes()])
    }

    fn source_key(&self, aor: u64, source: Network) -> u64 {
        self.key.hash(&[b"source", &aor.to_be_bytes(), &network_bytes(source)])
    }

    fn flow_key(&self, aor: u64, flow: &Flow) -> u64 {
        let source = self.network_key(Network::source(flow.remote.ip()));
        self.key.mix(aor, self.key.hash_flow(source, flow))
    }
}

#[cfg(test)]
mod tests;
