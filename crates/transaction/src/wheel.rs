use policy::Time;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fmt;

/// A tick is 2²⁰ ns, 1.05 ms.
const TICK_BITS: u32 = 20;
/// Each level has 2⁶ slots, each as wide as the whole level below.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Eight levels of 6 bits hold every tick of a 64-bit time: nothing lies beyond the wheel.
const LEVELS: usize = 8;
/// End of a list.
const NIL: u32 = u32::MAX;
/// Entries for which room is always kept.
const ROOM_MIN: usize = 1_024;
/// Less than this part of the room is used when it is given back.
const USED_MIN: usize = 8;

/// A hierarchical timing wheel: deadlines with a key each.
///
/// Inserting is O(1); each entry moves down at most seven levels in its life. Entries live in one
/// slab and are linked into slots, so the steady state allocates nothing and the memory is that of
/// the most entries held at once since [`Timers::give_back`] found the slab nearly empty. An entry
/// never comes out early, and at most one tick (1.05 ms) late. There is no cancellation: an owner
/// ignores keys that mean nothing to it any more. Up to 2³²-2 entries; the owner's tables have lower
/// bounds.
pub struct Timers<K: Copy> {
    entries: Vec<Entry<K>>,
    free: u32,
    levels: [Level; LEVELS],
    /// All before this tick is in `due`.
    elapsed: u64,
    due: BinaryHeap<Reverse<Due<K>>>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Entry<K> {
    at: Time,
    next: u32,
    key: K,
}

#[derive(Clone, Copy)]
struct Level {
    /// A bit for each slot that holds something.
    occupied: u64,
    heads: [u32; SLOTS],
    /// Earliest tick in each occupied slot.
    earliest: [u64; SLOTS],
}

const EMPTY: [Level; LEVELS] =
    [Level { occupied: 0, heads: [NIL; SLOTS], earliest: [0; SLOTS] }; LEVELS];

#[derive(Clone, Copy)]
struct Due<K> {
    at: Time,
    key: K,
}

impl<K: Copy> Timers<K> {
    /// An empty wheel.
    #[must_use]
    pub fn new() -> Self {
        Timers {
            entries: Vec::new(),
            free: NIL,
            levels: EMPTY,
            elapsed: 0,
            due: BinaryHeap::new(),
            len: 0,
        }
    }

    /// Adds a deadline. One that is past comes out at the next [`Timers::pop_due`].
    pub fn insert(&mut self, at: Time, key: K) {
        self.len += 1;
        if tick_after(at) <= self.elapsed {
            self.due.push(Reverse(Due { at, key }));
            return;
        }
        let entry = Entry { at, next: NIL, key };
        let index = if self.free == NIL {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.entries[index as usize].next;
            self.entries[index as usize] = entry;
            index
        };
        self.link(index);
    }

    /// The next entry whose deadline is at or before `now`, earliest first within a tick's
    /// granularity; `None` when no more is due.
    pub fn pop_due(&mut self, now: Time) -> Option<(Time, K)> {
        let reached = now.as_nanos() >> TICK_BITS;
        loop {
            if let Some(Reverse(first)) = self.due.peek() {
                if first.at > now {
                    return None;
                }
                let Reverse(Due { at, key }) = self.due.pop()?;
                self.len -= 1;
                return Some((at, key));
            }
            let Some((level, slot)) = self.first_slot() else {
                self.elapsed = self.elapsed.max(reached);
                return None;
            };
            let start = self.slot_start(level, slot);
            if start > reached {
                self.elapsed = self.elapsed.max(reached);
                return None;
            }
            self.elapsed = self.elapsed.max(start);
            self.empty_slot(level, slot);
        }
    }

    /// When [`Timers::pop_due`] has something to give: the earliest deadline, rounded up by less
    /// than a tick. Cancelled entries count until they come out.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        if let Some(Reverse(first)) = self.due.peek() {
            return Some(first.at);
        }
        let (level, slot) = self.first_slot()?;
        let tick = self.levels[level].earliest[slot];
        Some(Time::from_nanos(tick.saturating_mul(1 << TICK_BITS)))
    }

    /// Entries held, cancelled ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives memory back once a burst is over: when less than an eighth of the room is used, what is
    /// held is moved together. What that costs is bounded by that eighth, and the burst paid for it.
    pub fn give_back(&mut self) {
        let linked = self.len - self.due.len();
        if self.due.capacity() > ROOM_MIN && self.due.len() < self.due.capacity() / USED_MIN {
            self.due.shrink_to(ROOM_MIN.max(2 * self.due.len()));
        }
        if self.entries.capacity() > ROOM_MIN && linked < self.entries.capacity() / USED_MIN {
            self.move_together(linked);
        }
    }

    fn move_together(&mut self, linked: usize) {
        let levels = std::mem::replace(&mut self.levels, EMPTY);
        let room = Vec::with_capacity(ROOM_MIN.max(2 * linked));
        let entries = std::mem::replace(&mut self.entries, room);
        self.free = NIL;
        for mut index in levels.iter().flat_map(|level| level.heads) {
            while index != NIL {
                let entry = entries[index as usize];
                self.entries.push(entry);
                self.link((self.entries.len() - 1) as u32);
                index = entry.next;
            }
        }
    }

    /// The slot that holds the earliest entries. A level's entries share all higher digits with
    /// `elapsed`, so they all come before those of the next level, and lower slots come first.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        Some((level, self.levels[level].occupied.trailing_zeros() as usize))
    }

    /// First tick of a slot's range.
    fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = SLOT_BITS * level as u32;
        let above = u64::MAX.checked_shl(shift + SLOT_BITS).unwrap_or(0);
        (self.elapsed & above) | (slot as u64) << shift
    }

    /// Moves a slot's entries down, those of the current tick to `due`.
    fn empty_slot(&mut self, level: usize, slot: usize) {
        let mut index = std::mem::replace(&mut self.levels[level].heads[slot], NIL);
        self.levels[level].occupied &= !(1 << slot);
        while index != NIL {
            let Entry { at, next, key } = self.entries[index as usize];
            if tick_after(at) <= self.elapsed {
                self.due.push(Reverse(Due { at, key }));
                self.entries[index as usize].next = self.free;
                self.free = index;
            } else {
                self.link(index);
            }
            index = next;
        }
    }

    /// Puts an entry that lies ahead of `elapsed` into its slot: the level of the highest digit
    /// in which the two differ.
    fn link(&mut self, index: u32) {
        let tick = tick_after(self.entries[index as usize].at);
        let differing = u64::BITS - 1 - (self.elapsed ^ tick | 1).leading_zeros();
        let level = (differing / SLOT_BITS) as usize;
        let slot = (tick >> (SLOT_BITS * level as u32)) as usize % SLOTS;
        let level = &mut self.levels[level];
        if level.occupied & 1 << slot == 0 || tick < level.earliest[slot] {
            level.earliest[slot] = tick;
        }
        level.occupied |= 1 << slot;
        self.entries[index as usize].next = std::mem::replace(&mut level.heads[slot], index);
    }
}

/// The first tick that is not before `at`: nothing comes out early.
fn tick_after(at: Time) -> u64 {
    let nanos = at.as_nanos();
    (nanos >> TICK_BITS) + u64::from(nanos & ((1 << TICK_BITS) - 1) != 0)
}

impl<K: Copy> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy> fmt::Debug for Timers<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<K> PartialEq for Due<K> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}
impl<K> Eq for Due<K> {}
impl<K> PartialOrd for Due<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Due<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests;
