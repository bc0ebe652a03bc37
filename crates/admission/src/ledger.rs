//! The ledger: challenges that are open, and how long yet.

use crate::store::{Entry, Rank, Store};
use crate::{Proof, TableUse};
use policy::{Patience, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of an AOR, and of a dialled user, that are kept for explanations.
pub(crate) const TEXT_MAX: usize = 64;
/// Bytes of texts for each entry of the ledger's bound: short ones for all.
const TEXT_SHARE: usize = 32;
/// An answered challenge that the PBX is silent on: longer than any call rings.
const ANSWERED: Duration = Duration::from_secs(600);

/// What an entry waits for, and what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const AT_HOME: Flags = Flags(1);
    pub(crate) const HONEYTOKEN: Flags = Flags(2);
    /// A carrier that moved, perhaps.
    pub(crate) const CANDIDATE: Flags = Flags(4);
    /// Opened by a refusal: silence is no offence.
    pub(crate) const FOLLOWS: Flags = Flags(8);
    /// Its credentials are on their way to the PBX.
    pub(crate) const ANSWERED: Flags = Flags(16);
    /// No challenge: a 403 or 404 whose ACK is awaited.
    pub(crate) const NOT_FOUND: Flags = Flags(32);
    /// No challenge: a 2xx whose ACK is awaited.
    pub(crate) const ACCEPTED: Flags = Flags(64);
    /// Its request had a To-tag, so that an echo of the answer's says nothing.
    pub(crate) const TAGGED: Flags = Flags(128);
    /// It took one of the tries that strangers have at its account.
    pub(crate) const GUARDED: Flags = Flags(256);
    /// It took one of the tries of its narrowed source, or slowed home.
    pub(crate) const SLOWED: Flags = Flags(512);

    pub(crate) fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Flags, on: bool) {
        self.0 = if on { self.0 | flag.0 } else { self.0 & !flag.0 };
    }

    /// What a request of its took, the entry has.
    pub(crate) fn take(&mut self, ticket: &crate::Ticket) {
        for (flag, taken) in [(Flags::GUARDED, ticket.guarded), (Flags::SLOWED, ticket.slowed)] {
            self.set(flag, self.has(flag) || taken);
        }
    }
}

/// An open challenge.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) key: u64,
    pub(crate) source: u64,
    pub(crate) account: u64,
    pub(crate) shape: u64,
    /// From when patience runs.
    pub(crate) since: Time,
    text: u32,
    pub(crate) signature: u16,
    pub(crate) raised_by: u16,
    lengths: [u8; 2],
    pub(crate) method: u8,
    pub(crate) factor: u8,
    /// How many challenges: each counts as open.
    pub(crate) challenges: u8,
    pub(crate) proof: Option<Proof>,
    pub(crate) flags: Flags,
}

impl Entry for Open {
    fn key(&self) -> u64 {
        self.key
    }
}

impl Open {
    pub(crate) fn new(now: Time, ticket: &crate::Ticket, source: u64) -> Self {
        let mut flags = Flags::default();
        flags.set(Flags::AT_HOME, ticket.at_home);
        flags.set(Flags::HONEYTOKEN, ticket.honeytoken);
        flags.set(Flags::CANDIDATE, ticket.candidate);
        flags.set(Flags::TAGGED, ticket.tagged);
        flags.take(ticket);
        Open {
            key: ticket.entry,
            source,
            account: ticket.account,
            shape: ticket.shape,
            since: now,
            text: 0,
            signature: ticket.signature,
            raised_by: ticket.raised_by,
            lengths: [0; 2],
            method: ticket.method,
            factor: ticket.factor,
            challenges: 1,
            proof: ticket.proof,
            flags,
        }
    }

    pub(crate) fn is_invite(&self) -> bool {
        self.method == INVITE
    }
}

/// Index of INVITE in [`policy::METHODS`].
pub(crate) const INVITE: u8 = 4;

/// All of them.
#[derive(Debug)]
pub(crate) struct Ledger {
    store: Store<Open>,
    /// INVITEs and others, as their patience ends. An item is void when its entry has gone or
    /// waits longer.
    queues: [VecDeque<(Time, u64)>; 2],
    patience: Patience,
    unproven: usize,
    texts: Texts,
}

impl Ledger {
    pub(crate) fn new(capacity: usize, patience: Patience) -> Self {
        Ledger {
            store: Store::new(capacity),
            queues: Default::default(),
            patience,
            unproven: 0,
            texts: Texts::new(capacity.saturating_mul(TEXT_SHARE)),
        }
    }

    /// Takes out one that is too many for `capacity`, the least worthy first.
    pub(crate) fn pop_over(&mut self, capacity: usize) -> Option<Open> {
        if self.store.len() <= capacity.max(1) {
            return None;
        }
        let gone = self.store.evict(Rank::Banned)?;
        self.unproven -= usize::from(gone.proof.is_none());
        Some(gone)
    }

    pub(crate) fn configure(&mut self, capacity: usize, patience: Patience) {
        if capacity != self.store.table().capacity {
            self.texts.clear(capacity.saturating_mul(TEXT_SHARE));
        }
        self.store.configure(capacity);
        self.patience = patience;
        self.unproven = self.store.iter().filter(|open| open.proof.is_none()).count();
        self.queues = Default::default();
        let mut items: Vec<_> =
            self.store.iter().map(|open| (self.deadline(open), open.key, open.method)).collect();
        items.sort_unstable();
        for (at, key, method) in items {
            self.queues[queue(method)].push_back((at, key));
        }
    }

    /// Opens one, with its texts. Gives back the one that had to go for it, or `open` itself.
    pub(crate) fn open(&mut self, mut open: Open, aor: &[u8], dialled: &[u8]) -> Option<Open> {
        (open.text, open.lengths) = self.texts.keep(aor, dialled);
        let (key, method, deadline) = (open.key, open.method, self.deadline(&open));
        let rank = if open.proof.is_some() { Rank::Proven } else { Rank::Unproven };
        self.unproven += usize::from(open.proof.is_none());
        let gone = self.store.insert(rank, open);
        if let Some(gone) = &gone {
            self.unproven -= usize::from(gone.proof.is_none());
        }
        self.schedule(deadline, key, method);
        gone
    }

    pub(crate) fn find(&self, key: u64) -> Option<&Open> {
        self.store.find(key)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Open> {
        self.store.iter_mut()
    }

    pub(crate) fn find_mut(&mut self, key: u64) -> Option<&mut Open> {
        self.store.find_mut(key)
    }

    /// Whether something was proven that was not before.
    pub(crate) fn prove(&mut self, key: u64, proof: Proof) -> bool {
        match self.store.find_mut(key) {
            Some(open) if open.proof.is_none() => {
                open.proof = Some(proof);
                self.unproven -= 1;
                self.store.touch(key, Rank::Proven);
                true
            }
            _ => false,
        }
    }

    /// Patience begins anew.
    pub(crate) fn restart(&mut self, now: Time, key: u64) {
        let Some(open) = self.store.find_mut(key) else { return };
        open.since = now;
        open.flags.set(Flags::ANSWERED, false);
        let (method, open) = (open.method, open.clone());
        self.schedule(self.deadline(&open), key, method);
    }

    pub(crate) fn close(&mut self, key: u64) -> Option<Open> {
        let open = self.store.remove(key)?;
        self.unproven -= usize::from(open.proof.is_none());
        Some(open)
    }

    /// The next whose patience is at its end; it is closed.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Open> {
        for at in 0..self.queues.len() {
            while let Some((due, key)) = self.queues[at].front().copied() {
                if due > now {
                    break;
                }
                self.queues[at].pop_front();
                let Some(open) = self.store.find(key) else { continue };
                if self.deadline(open) > now {
                    continue;
                }
                if open.flags.has(Flags::ANSWERED) && now.since(open.since) < ANSWERED {
                    let again = now + self.patience_of(open.method);
                    self.queues[at].push_back((again, key));
                    continue;
                }
                return self.close(key);
            }
        }
        None
    }

    /// When [`Ledger::pop_due`] may have something.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.queues.iter().filter_map(|queue| queue.front()).map(|(at, _)| *at).min()
    }

    /// Open entries that are not proven.
    pub(crate) fn unproven(&self) -> usize {
        self.unproven
    }

    /// The texts of an entry: AOR and dialled user; empty when newer ones took their place.
    pub(crate) fn texts(&self, open: &Open) -> (Box<[u8]>, Box<[u8]>) {
        self.texts.read(open.text, open.lengths)
    }

    pub(crate) fn table(&self) -> TableUse {
        self.store.table()
    }

    fn deadline(&self, open: &Open) -> Time {
        open.since + self.patience_of(open.method)
    }

    fn patience_of(&self, method: u8) -> Duration {
        if method == INVITE { self.patience.invite } else { self.patience.other }
    }

    /// Each entry has an item; void ones are as many again at most.
    fn schedule(&mut self, deadline: Time, key: u64, method: u8) {
        let bound = self.store.len() * 2 + 64;
        let items = &mut self.queues[queue(method)];
        items.push_back((deadline, key));
        if items.len() > bound {
            let mut items = std::mem::take(&mut self.queues[queue(method)]);
            items.retain(|(at, key)| {
                let open = self.store.find(*key);
                open.is_some_and(|open| {
                    self.deadline(open) == *at || open.flags.has(Flags::ANSWERED)
                })
            });
            self.queues[queue(method)] = items;
        }
    }
}

fn queue(method: u8) -> usize {
    usize::from(method != INVITE)
}

/// Hostile text for explanations, in a ring: new overwrites old.
#[derive(Debug)]
struct Texts {
    ring: Vec<u8>,
    /// Bytes ever written, modulo 2³².
    head: u32,
}

impl Texts {
    fn new(bound: usize) -> Self {
        // all at once: pages that nobody wrote to cost nothing, and no message waits for more
        Texts { ring: vec![0; bound.clamp(4 * TEXT_MAX, 1 << 28)], head: 0 }
    }

    /// Another bound, and nothing of what was kept.
    fn clear(&mut self, bound: usize) {
        let texts = Texts::new(bound);
        // as if what was kept were overwritten
        let head = self.head.wrapping_add(texts.ring.len() as u32);
        *self = Texts { head, ..texts };
    }

    fn keep(&mut self, a: &[u8], b: &[u8]) -> (u32, [u8; 2]) {
        let (a, b) = (&a[..a.len().min(TEXT_MAX)], &b[..b.len().min(TEXT_MAX)]);
        let at = self.head;
        for byte in a.iter().chain(b) {
            let place = self.head as usize % self.ring.len();
            self.ring[place] = *byte;
            self.head = self.head.wrapping_add(1);
        }
        (at, [a.len() as u8, b.len() as u8])
    }

    fn read(&self, at: u32, [a, b]: [u8; 2]) -> (Box<[u8]>, Box<[u8]>) {
        if self.head.wrapping_sub(at) as usize > self.ring.len() {
            return (Box::default(), Box::default());
        }
        let byte = |offset: u32| self.ring[at.wrapping_add(offset) as usize % self.ring.len()];
        let (a, b) = (u32::from(a), u32::from(b));
        ((0..a).map(byte).collect(), (a..a + b).map(byte).collect())
    }
}

#[cfg(test)]
mod tests;
