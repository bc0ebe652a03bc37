//! The one bounded table that all of the gate's memory is made of: entries by a keyed hash, in age
//! order within a rank, the least worthy pushed out when it is full.
//!
//! An entry costs its own size, 8 bytes of links and at most 13 of index; memory grows with what is
//! in it, not with its bound. A look-up meets two cache lines, the index's and the entry's, however
//! many entries there are.

use crate::TableUse;
use crate::index::Index;

/// Something that is kept by a keyed hash.
pub(crate) trait Entry {
    /// Its key: a keyed hash ([`crate::Key::hash`]), so that nobody outside can aim at the index.
    /// It must not change while the entry is in a table.
    fn key(&self) -> u64;
}

/// How much of a walk is one portion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion {
    /// Entries that are looked at, at most.
    pub(crate) looked_at: usize,
    /// Entries that are found, at most.
    pub(crate) found: usize,
}

/// How worthy an entry is of its place: the lowest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Rank {
    /// Its address may be forged.
    Unproven,
    /// Its return path was proven.
    Proven,
    /// Somebody authenticated.
    Known,
    /// A ban rests on it.
    Banned,
}

impl Rank {
    /// All, the lowest first.
    pub(crate) const ALL: [Rank; 4] = [Rank::Unproven, Rank::Proven, Rank::Known, Rank::Banned];
}

/// No slot: the end of a list.
const NONE: u32 = (1 << 30) - 1;
/// Bits of a slot's number in the index.
const SLOT_BITS: u32 = 32;
/// Most entries of a table: two of a link's bits tell the rank.
const ENTRIES_MAX: usize = NONE as usize;

/// A table of at most `capacity` entries.
#[derive(Debug)]
pub(crate) struct Store<V> {
    /// Without holes: the last one moves into the place of one that goes.
    slots: Vec<Slot<V>>,
    index: Index<SLOT_BITS>,
    lists: [List; Rank::ALL.len()],
    capacity: usize,
    evictions: u64,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    /// Neighbour on the old side; the rank in the two highest bits.
    older: u32,
    younger: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u32,
    youngest: u32,
}

impl<V: Entry> Store<V> {
    /// An empty table. A capacity of 0 counts as 1.
    pub(crate) fn new(capacity: usize) -> Self {
        Store {
            slots: Vec::new(),
            index: Index::default(),
            lists: [List { oldest: NONE, youngest: NONE }; Rank::ALL.len()],
            capacity: capacity.clamp(1, ENTRIES_MAX),
            evictions: 0,
        }
    }

    /// Changes the bound. What is too much goes, the oldest of the lowest rank first; the memory
    /// that it took is given back.
    pub(crate) fn configure(&mut self, capacity: usize) {
        self.capacity = capacity.clamp(1, ENTRIES_MAX);
        if self.len() <= self.capacity {
            return;
        }
        while self.len() > self.capacity && self.evict(Rank::Banned).is_some() {}
        self.slots.shrink_to_fit();
        self.index.rebuild(self.slots.len());
    }

    /// The entry of that key.
    pub(crate) fn find(&self, key: u64) -> Option<&V> {
        self.at(self.slot_of(key)?)
    }

    /// The same, to be changed (but for its key).
    pub(crate) fn find_mut(&mut self, key: u64) -> Option<&mut V> {
        let slot = self.slot_of(key)?;
        self.slots.get_mut(slot as usize).map(|slot| &mut slot.value)
    }

    /// The rank of that key's entry.
    pub(crate) fn rank(&self, key: u64) -> Option<Rank> {
        let slot = self.slot_of(key)?;
        self.slots.get(slot as usize).map(Slot::rank)
    }

    /// Takes an entry in, as the youngest of `rank`. Gives back what has no place any more: the
    /// older entry of the same key; or the oldest of the lowest rank; or, when all others are of a
    /// higher rank than the newcomer, `value` itself.
    pub(crate) fn insert(&mut self, rank: Rank, value: V) -> Option<V> {
        let key = value.key();
        if let Some(slot) = self.slot_of(key) {
            self.relink(slot, rank);
            return self
                .slots
                .get_mut(slot as usize)
                .map(|slot| std::mem::replace(&mut slot.value, value));
        }
        match self.add(key, rank, value) {
            Ok((_, evicted)) => evicted,
            Err(value) => Some(value),
        }
    }

    /// Makes an entry the youngest of `rank`; `false` when there is none of that key.
    pub(crate) fn touch(&mut self, key: u64, rank: Rank) -> bool {
        let Some(slot) = self.slot_of(key) else { return false };
        self.relink(slot, rank);
        true
    }

    /// The entry of that key, to be changed (but for its key), as the youngest of `rank` or of its own
    /// rank where that is higher; `new` if there is none. `None` when the table is full of worthier ones.
    pub(crate) fn enter(
        &mut self,
        key: u64,
        rank: Rank,
        new: impl FnOnce() -> V,
    ) -> Option<&mut V> {
        let slot = match self.slot_of(key) {
            Some(slot) => {
                let own = self.slots.get(slot as usize)?.rank();
                self.relink(slot, own.max(rank));
                slot
            }
            None => self.add(key, rank, new()).ok()?.0,
        };
        self.slots.get_mut(slot as usize).map(|slot| &mut slot.value)
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: u64) -> Option<V> {
        let slot = self.slot_of(key)?;
        Some(self.take(slot))
    }

    /// The one of that rank that was untouched for longest.
    pub(crate) fn oldest(&self, rank: Rank) -> Option<&V> {
        self.at(self.lists[rank as usize].oldest)
    }

    /// Looks at `looks` entries from the `hand`-th on, all round, and takes out those that `is_idle`.
    pub(crate) fn sweep(&mut self, hand: &mut usize, looks: usize, is_idle: impl Fn(&V) -> bool) {
        for _ in 0..looks {
            match self.slots.get(*hand) {
                None => *hand = 0,
                Some(slot) if is_idle(&slot.value) => drop(self.take(*hand as u32)),
                Some(_) => *hand += 1,
            }
        }
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().map(|slot| &slot.value)
    }

    /// All entries, in no order, to be changed (but for their keys).
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().map(|slot| &mut slot.value)
    }

    /// One portion of a walk through all entries, in no order that lasts: collects what `find` gives
    /// of those from the `from`-th on, which it may change (but for their keys). Gives where to go
    /// on.
    pub(crate) fn walk<T>(
        &mut self,
        from: usize,
        portion: Portion,
        found: &mut Vec<T>,
        mut find: impl FnMut(&mut V) -> Option<T>,
    ) -> Option<usize> {
        let mut at = from;
        let slots = self.slots.get_mut(from..).unwrap_or_default();
        for slot in slots.iter_mut().take(portion.looked_at) {
            at += 1;
            found.extend(find(&mut slot.value));
            if found.len() >= portion.found {
                break;
            }
        }
        (at < self.slots.len()).then_some(at)
    }

    /// Takes everything out and gives the memory back.
    pub(crate) fn clear(&mut self) {
        *self = Store { evictions: self.evictions, ..Store::new(self.capacity) };
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Entries, bound and evictions, for metrics.
    pub(crate) fn table(&self) -> TableUse {
        TableUse { entries: self.len(), capacity: self.capacity, evictions: self.evictions }
    }

    fn at(&self, slot: u32) -> Option<&V> {
        self.slots.get(slot as usize).map(|slot| &slot.value)
    }

    fn slot_of(&self, key: u64) -> Option<u32> {
        self.index.find(key, |slot| self.at(slot).is_some_and(|value| value.key() == key))
    }

    /// Takes out the oldest of the lowest rank, which is at most `highest`.
    pub(crate) fn evict(&mut self, highest: Rank) -> Option<V> {
        let lowest = self.lists.iter().position(|list| list.oldest != NONE)?;
        if lowest > highest as usize {
            return None;
        }
        self.evictions += 1;
        Some(self.take(self.lists[lowest].oldest))
    }

    /// Takes in an entry of a key that is not there: its slot, and what went for it. `value` comes back
    /// when all others are of a higher rank.
    fn add(&mut self, key: u64, rank: Rank, value: V) -> Result<(u32, Option<V>), V> {
        let mut evicted = None;
        if self.len() >= self.capacity {
            evicted = self.evict(rank);
            if evicted.is_none() {
                self.evictions += 1;
                return Err(value);
            }
        }
        let slot = self.slots.len() as u32;
        self.slots.push(Slot { value, older: NONE, younger: NONE });
        self.index.insert(key, slot);
        self.link(slot, rank);
        Ok((slot, evicted))
    }

    fn take(&mut self, slot: u32) -> V {
        self.unlink(slot);
        let taken = self.slots.swap_remove(slot as usize);
        self.index.remove(taken.value.key(), slot);
        let last = self.slots.len() as u32;
        if let Some(moved) = self.slots.get(slot as usize) {
            let (rank, older, younger) = (moved.rank(), moved.older(), moved.younger);
            self.index.renumber(moved.value.key(), last, slot);
            self.set_younger(rank, older, slot);
            self.set_older(rank, younger, slot);
        }
        taken.value
    }

    fn relink(&mut self, slot: u32, rank: Rank) {
        if self.lists[rank as usize].youngest != slot {
            self.unlink(slot);
            self.link(slot, rank);
        }
    }

    fn link(&mut self, slot: u32, rank: Rank) {
        let youngest = self.lists[rank as usize].youngest;
        if let Some(linked) = self.slots.get_mut(slot as usize) {
            linked.older = youngest | (rank as u32) << 30;
            linked.younger = NONE;
        }
        self.set_younger(rank, youngest, slot);
        self.lists[rank as usize].youngest = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let Some(linked) = self.slots.get(slot as usize) else { return };
        let (rank, older, younger) = (linked.rank(), linked.older(), linked.younger);
        self.set_younger(rank, older, younger);
        self.set_older(rank, younger, older);
    }

    /// Of the slot `of`, or of the list's end when there is none.
    fn set_younger(&mut self, rank: Rank, of: u32, younger: u32) {
        match self.slots.get_mut(of as usize) {
            Some(slot) => slot.younger = younger,
            None => self.lists[rank as usize].oldest = younger,
        }
    }

    fn set_older(&mut self, rank: Rank, of: u32, older: u32) {
        match self.slots.get_mut(of as usize) {
            Some(slot) => slot.older = older | (rank as u32) << 30,
            None => self.lists[rank as usize].youngest = older,
        }
    }
}

impl<V> Slot<V> {
    fn rank(&self) -> Rank {
        Rank::ALL[(self.older >> 30) as usize]
    }

    fn older(&self) -> u32 {
        self.older & NONE
    }
}

#[cfg(test)]
mod tests;
