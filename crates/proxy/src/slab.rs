//! A slab in pieces. What a burst has filled goes back to the system when it is empty again: it
//! lies apart from what lives long, and nothing small holds its pages.

/// Slots of a piece.
const PIECE: usize = 256;
/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// Names a slot; a stale one names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId {
    pub(crate) slot: u32,
    pub(crate) generation: u16,
}

/// Values of one kind, each with a name that no later one has.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    pieces: Vec<Piece<T>>,
    /// A bit for each piece that is there and has room.
    room: Vec<u64>,
    /// Pieces whose memory was given back.
    given_back: Vec<usize>,
    /// The one empty piece that is kept, against a load that moves around its border.
    empty: Option<usize>,
    /// How often each slot was emptied.
    generations: Vec<u16>,
    reserved: usize,
}

#[derive(Debug)]
struct Piece<T> {
    /// Nothing when its memory was given back.
    slots: Box<[Option<T>]>,
    /// A bit for each slot that is free.
    free: [u64; PIECE / WORD],
}

impl<T> Piece<T> {
    fn new() -> Self {
        Piece { slots: (0..PIECE).map(|_| None).collect(), free: [u64::MAX; PIECE / WORD] }
    }

    fn is_empty(&self) -> bool {
        self.free.iter().all(|word| *word == u64::MAX)
    }

    fn is_full(&self) -> bool {
        self.free.iter().all(|word| *word == 0)
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            pieces: Vec::new(),
            room: Vec::new(),
            given_back: Vec::new(),
            empty: None,
            generations: Vec::new(),
            reserved: 0,
        }
    }
}

impl<T> Slab<T> {
    /// How many slots are reserved or filled.
    pub(crate) fn len(&self) -> usize {
        self.reserved
    }

    /// A slot for a new value: the lowest, so that the others can become empty.
    pub(crate) fn reserve(&mut self) -> SlotId {
        let at = match lowest(&self.room) {
            Some(at) => at,
            None => self.add_piece(),
        };
        let piece = &mut self.pieces[at];
        let within = lowest(&piece.free).unwrap_or_default();
        clear(&mut piece.free, within);
        if piece.is_full() {
            clear(&mut self.room, at);
        }
        if self.empty == Some(at) {
            self.empty = None;
        }
        self.reserved += 1;
        let slot = at * PIECE + within;
        SlotId { slot: slot as u32, generation: self.generations[slot] }
    }

    /// Fills a reserved slot.
    pub(crate) fn fill(&mut self, id: SlotId, value: T) {
        let (at, within) = place(id.slot);
        self.pieces[at].slots[within] = Some(value);
    }

    /// Empties a slot, reserved or filled. Its name names nothing any more.
    pub(crate) fn release(&mut self, id: SlotId) {
        let (at, within) = place(id.slot);
        let Some(generation) = self.generations.get_mut(id.slot as usize) else { return };
        if *generation != id.generation {
            return;
        }
        *generation = generation.wrapping_add(1);
        self.reserved -= 1;
        let piece = &mut self.pieces[at];
        piece.slots[within] = None;
        set(&mut piece.free, within);
        set(&mut self.room, at);
        if piece.is_empty() {
            self.on_empty(at);
        }
    }

    pub(crate) fn at(&self, id: SlotId) -> Option<&T> {
        let (at, within) = place(id.slot);
        let current = *self.generations.get(id.slot as usize)? == id.generation;
        self.pieces.get(at)?.slots.get(within)?.as_ref().filter(|_| current)
    }

    pub(crate) fn at_mut(&mut self, id: SlotId) -> Option<&mut T> {
        let (at, within) = place(id.slot);
        let current = *self.generations.get(id.slot as usize)? == id.generation;
        self.pieces.get_mut(at)?.slots.get_mut(within)?.as_mut().filter(|_| current)
    }

    /// The name of what is in a slot now.
    pub(crate) fn name(&self, slot: u32) -> Option<SlotId> {
        let generation = *self.generations.get(slot as usize)?;
        Some(SlotId { slot, generation })
    }

    fn add_piece(&mut self) -> usize {
        let at = match self.given_back.pop() {
            Some(at) => {
                self.pieces[at] = Piece::new();
                at
            }
            None => {
                self.pieces.push(Piece::new());
                self.generations.resize(self.pieces.len() * PIECE, 0);
                self.room.resize(self.pieces.len().div_ceil(WORD), 0);
                self.pieces.len() - 1
            }
        };
        set(&mut self.room, at);
        at
    }

    /// One empty piece is kept, the lower; another's memory is given back.
    fn on_empty(&mut self, at: usize) {
        let kept = self.empty.map_or(at, |other| other.min(at));
        if let Some(other) = self.empty {
            let gone = other.max(at);
            self.pieces[gone].slots = Box::default();
            clear(&mut self.room, gone);
            self.given_back.push(gone);
        }
        self.empty = Some(kept);
    }
}

fn place(slot: u32) -> (usize, usize) {
    (slot as usize / PIECE, slot as usize % PIECE)
}

fn lowest(words: &[u64]) -> Option<usize> {
    let word = words.iter().position(|word| *word != 0)?;
    Some(word * WORD + words[word].trailing_zeros() as usize)
}

fn set(words: &mut [u64], bit: usize) {
    words[bit / WORD] |= 1 << (bit % WORD);
}

fn clear(words: &mut [u64], bit: usize) {
    words[bit / WORD] &= !(1 << (bit % WORD));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn filled(slab: &mut Slab<usize>, count: usize) -> Vec<SlotId> {
        let fill = |n| {
            let id = slab.reserve();
            slab.fill(id, n);
            id
        };
        (0..count).map(fill).collect()
    }

    fn there(slab: &Slab<usize>) -> usize {
        slab.pieces.iter().filter(|piece| !piece.slots.is_empty()).count()
    }

    #[test]
    fn what_a_burst_has_filled_is_given_back() {
        let mut slab = Slab::default();
        let burst = filled(&mut slab, 100 * PIECE + 1);
        assert_eq!((slab.len(), there(&slab)), (100 * PIECE + 1, 101));
        let (first, rest) = burst.split_first().expect("some");
        rest.iter().for_each(|id| slab.release(*id));
        assert_eq!((slab.len(), there(&slab)), (1, 2), "its piece, and an empty one");
        assert_eq!(slab.at(*first), Some(&0));
        let again = filled(&mut slab, 100 * PIECE);
        assert_eq!(there(&slab), 101);
        assert_eq!(slab.at(burst[1]), None, "a stale name names nothing");
        assert_eq!(slab.at(again[0]), Some(&0));
    }

    #[test]
    fn a_load_around_a_border_moves_no_memory() {
        let mut slab = Slab::default();
        let _ = filled(&mut slab, PIECE);
        for _ in 0..10 {
            let id = filled(&mut slab, 1)[0];
            assert_eq!(there(&slab), 2);
            slab.release(id);
            assert_eq!(there(&slab), 2);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), any::<u16>()), 1..4_000)) {
            let (mut slab, mut model) = (Slab::default(), HashMap::new());
            let mut names: Vec<SlotId> = Vec::new();
            for (n, (add, which)) in steps.into_iter().enumerate() {
                if add || names.is_empty() {
                    let id = slab.reserve();
                    slab.fill(id, n);
                    prop_assert!(model.insert((id.slot, id.generation), n).is_none());
                    names.push(id);
                } else {
                    // some of them a second time
                    let id = names[usize::from(which) % names.len()];
                    slab.release(id);
                    model.remove(&(id.slot, id.generation));
                }
                prop_assert_eq!(slab.len(), model.len());
            }
            for id in names {
                prop_assert_eq!(slab.at(id), model.get(&(id.slot, id.generation)));
            }
        }
    }
}
