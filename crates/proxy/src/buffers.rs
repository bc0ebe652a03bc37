//! Bytes kept for retransmissions and for building ACK, CANCEL and late answers. They lie in pieces
//! by size class, used again from the lowest on, so that the steady state allocates nothing and what
//! a burst has filled goes back to the system.

use crate::io::Table;
use crate::slots::{PIECE, Place, Slots};

/// Capacities of the size classes.
const CLASSES: [usize; 7] = [512, 1_024, 2_048, 4_096, 8_192, 16_384, 65_536];

/// Whose bytes are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Somebody known, or the PBX.
    #[default]
    Known,
    /// A stranger: all of them together may hold half.
    Stranger,
}

/// A message kept. Give it back with [`Buffers::give_back`]; an empty one holds nothing.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    slot: u32,
    length: u32,
    class: u8,
    owner: Owner,
}

impl Buffer {
    /// An empty one for what will be kept of this owner.
    pub(crate) fn of(owner: Owner) -> Self {
        Buffer { owner, ..Buffer::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// All buffers of a shard.
#[derive(Debug)]
pub(crate) struct Buffers {
    classes: [Class; CLASSES.len()],
    retained: usize,
    /// Of them by strangers.
    strangers: usize,
    capacity: usize,
    refused: u64,
}

/// Buffers of one size.
#[derive(Debug, Default)]
struct Class {
    slots: Slots,
    /// Empty where the memory was given back.
    pieces: Vec<Box<[u8]>>,
}

impl Class {
    fn take(&mut self, size: usize) -> Place {
        self.slots.take(|piece| {
            if piece == self.pieces.len() {
                self.pieces.push(Box::default());
            }
            // as zeros come from the system: what is never written costs nothing
            self.pieces[piece] = vec![0; PIECE * size].into();
        })
    }

    fn free(&mut self, place: Place) {
        if let Some(gone) = self.slots.free(place) {
            self.pieces[gone] = Box::default();
        }
    }
}

impl Buffers {
    pub(crate) fn new(capacity: usize) -> Self {
        Buffers { classes: Default::default(), retained: 0, strangers: 0, capacity, refused: 0 }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Keeps a copy of `bytes`; `None` when the bound on retained bytes is met.
    pub(crate) fn try_keep(&mut self, owner: Owner, bytes: &[u8]) -> Option<Buffer> {
        if bytes.is_empty() {
            return Some(Buffer::of(owner));
        }
        let Some(class) = CLASSES.iter().position(|&size| size >= bytes.len()) else {
            self.refused += 1;
            return None;
        };
        let size = CLASSES[class];
        let full = self.retained + size > self.capacity
            || owner == Owner::Stranger && self.strangers + size > self.capacity / 2;
        if full {
            self.refused += 1;
            return None;
        }
        let slot = self.classes[class].take(size).slot();
        self.retained += size;
        if owner == Owner::Stranger {
            self.strangers += size;
        }
        let mut buffer = Buffer { slot, length: 0, class: class as u8, owner };
        self.write(&mut buffer, bytes);
        Some(buffer)
    }

    /// What is kept.
    pub(crate) fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let class = usize::from(buffer.class);
        let (size, Place { piece, within }) = (CLASSES[class], Place::of(buffer.slot));
        let from = within * size;
        let piece = self.classes[class].pieces.get(piece);
        piece.and_then(|piece| piece.get(from..from + buffer.length as usize)).unwrap_or_default()
    }

    fn write(&mut self, buffer: &mut Buffer, bytes: &[u8]) {
        let class = usize::from(buffer.class);
        let (size, Place { piece, within }) = (CLASSES[class], Place::of(buffer.slot));
        let from = within * size;
        self.classes[class].pieces[piece][from..from + bytes.len()].copy_from_slice(bytes);
        buffer.length = bytes.len() as u32;
    }

    /// Replaces what `buffer` holds. When the bound is met it holds nothing afterwards.
    pub(crate) fn replace(&mut self, buffer: &mut Buffer, bytes: &[u8]) {
        if bytes.is_empty() || buffer.is_empty() || bytes.len() > CLASSES[usize::from(buffer.class)]
        {
            let owner = buffer.owner;
            self.give_back(std::mem::take(buffer));
            *buffer = self.try_keep(owner, bytes).unwrap_or(Buffer::of(owner));
        } else {
            self.write(buffer, bytes);
        }
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        if buffer.is_empty() {
            return;
        }
        let class = usize::from(buffer.class);
        self.retained -= CLASSES[class];
        if buffer.owner == Owner::Stranger {
            self.strangers -= CLASSES[class];
        }
        self.classes[class].free(Place::of(buffer.slot));
    }

    pub(crate) fn table(&self) -> Table {
        Table { entries: self.retained, capacity: self.capacity, evictions: self.refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_counted_and_given_back() {
        let mut buffers = Buffers::new(2_000);
        let mut first = buffers.try_keep(Owner::Known, &[1; 600]).expect("room");
        assert_eq!((buffers.bytes(&first).len(), buffers.table().entries), (600, 1_024));
        assert!(buffers.try_keep(Owner::Known, &[2; 600]).is_none(), "the bound holds");
        buffers.replace(&mut first, &[3; 1_000]);
        assert_eq!((buffers.bytes(&first), buffers.table().entries), (&[3; 1_000][..], 1_024));
        buffers.give_back(first);
        assert_eq!(buffers.table(), Table { entries: 0, capacity: 2_000, evictions: 1 });
    }

    #[test]
    fn strangers_hold_half_at_most() {
        let mut buffers = Buffers::new(4_096);
        let kept: Vec<_> =
            (0..9).filter_map(|_| buffers.try_keep(Owner::Stranger, &[1; 500])).collect();
        assert_eq!((kept.len(), buffers.table().entries), (4, 2_048));
        assert!(buffers.try_keep(Owner::Known, &[1; 2_000]).is_some(), "there is room for others");
        kept.into_iter().for_each(|buffer| buffers.give_back(buffer));
        assert!(buffers.try_keep(Owner::Stranger, &[1; 1_000]).is_some());
    }

    #[test]
    fn what_a_burst_has_filled_is_given_back() {
        let mut buffers = Buffers::new(1 << 30);
        let fill = |byte| vec![byte as u8; 400 + byte % 1_000];
        let burst: Vec<_> =
            (0..10_000).map(|n| buffers.try_keep(Owner::Known, &fill(n)).expect("room")).collect();
        assert!(burst.iter().enumerate().all(|(n, kept)| buffers.bytes(kept) == fill(n)));
        let there = |buffers: &Buffers| -> usize {
            buffers.classes.iter().flat_map(|class| &class.pieces).map(|piece| piece.len()).sum()
        };
        assert!(there(&buffers) >= buffers.table().entries);
        let full = there(&buffers);
        let (long, short): (Vec<_>, Vec<_>) =
            burst.into_iter().enumerate().partition(|(n, _)| *n < 10);
        short.into_iter().for_each(|(_, kept)| buffers.give_back(kept));
        assert!(long.iter().all(|(n, kept)| buffers.bytes(kept) == fill(*n)));
        // a piece that holds them and one to spare, in each of two classes
        assert!(there(&buffers) <= 4 * PIECE * 2_048 && there(&buffers) < full / 8);
    }

    #[test]
    fn nothing_larger_than_a_message_is_kept() {
        assert!(Buffers::new(1 << 30).try_keep(Owner::Known, &[0; 65_537]).is_none());
    }
}
