//! Values of one kind, each with a name that no later one has. They lie apart from what lives long,
//! so that nothing small holds the pages of a burst that is over.

use crate::slots::{PIECE, Place, Slots};

/// Names a slot; a stale one names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId {
    pub(crate) slot: u32,
    pub(crate) generation: u16,
}

/// The values.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Slots,
    /// Without slots where the memory was given back.
    pieces: Vec<Box<[Option<T>]>>,
    /// How often each slot was emptied.
    generations: Vec<u16>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Slots::default(), pieces: Vec::new(), generations: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// How many slots are reserved or filled.
    pub(crate) fn len(&self) -> usize {
        self.slots.taken()
    }

    /// A slot for a new value.
    pub(crate) fn reserve(&mut self) -> SlotId {
        let place = self.slots.take(|piece| {
            if piece == self.pieces.len() {
                self.pieces.push(Box::default());
                self.generations.resize(self.pieces.len() * PIECE, 0);
            }
            self.pieces[piece] = (0..PIECE).map(|_| None).collect();
        });
        let slot = place.slot();
        SlotId { slot, generation: self.generations[slot as usize] }
    }

    /// Fills a reserved slot.
    pub(crate) fn fill(&mut self, id: SlotId, value: T) {
        let Place { piece, within } = Place::of(id.slot);
        self.pieces[piece][within] = Some(value);
    }

    /// Empties a slot, reserved or filled. Its name names nothing any more.
    pub(crate) fn release(&mut self, id: SlotId) {
        let Some(generation) = self.generations.get_mut(id.slot as usize) else { return };
        if *generation != id.generation {
            return;
        }
        *generation = generation.wrapping_add(1);
        let place = Place::of(id.slot);
        self.pieces[place.piece][place.within] = None;
        if let Some(gone) = self.slots.free(place) {
            self.pieces[gone] = Box::default();
        }
    }

    pub(crate) fn at(&self, id: SlotId) -> Option<&T> {
        let Place { piece, within } = Place::of(id.slot);
        let current = *self.generations.get(id.slot as usize)? == id.generation;
        self.pieces.get(piece)?.get(within)?.as_ref().filter(|_| current)
    }

    pub(crate) fn at_mut(&mut self, id: SlotId) -> Option<&mut T> {
        let Place { piece, within } = Place::of(id.slot);
        let current = *self.generations.get(id.slot as usize)? == id.generation;
        self.pieces.get_mut(piece)?.get_mut(within)?.as_mut().filter(|_| current)
    }

    /// The name of what is in a slot now.
    pub(crate) fn name(&self, slot: u32) -> Option<SlotId> {
        let generation = *self.generations.get(slot as usize)?;
        Some(SlotId { slot, generation })
    }
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
        slab.pieces.iter().filter(|piece| !piece.is_empty()).count()
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
