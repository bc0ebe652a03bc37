//! Bytes kept for retransmissions and for building ACK, CANCEL and late answers. Recycled by size
//! class, so the steady state allocates nothing.

use crate::io::Table;
use bytes::BytesMut;

/// Capacities of the size classes.
const CLASSES: [usize; 7] = [512, 1_024, 2_048, 4_096, 8_192, 16_384, 65_536];
/// Buffers that are asked of the allocator in one piece, as far as [`PIECE_BYTES`] goes: shards share
/// one heap, and while their tables fill they would wait for each other at its door.
const PIECES: usize = 32;
/// A piece is no larger, or one buffer.
const PIECE_BYTES: usize = 32 << 10;
/// Free bytes kept in a class at most.
const FREE_BYTES_PER_CLASS: usize = 1 << 20;

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
    bytes: BytesMut,
    owner: Owner,
}

impl Buffer {
    /// An empty one for what will be kept of this owner.
    pub(crate) fn of(owner: Owner) -> Self {
        Buffer { bytes: BytesMut::new(), owner }
    }
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// All buffers of a shard.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: [Vec<BytesMut>; CLASSES.len()],
    /// What is left of the piece that was asked for last.
    rest: [BytesMut; CLASSES.len()],
    retained: usize,
    /// Of them by strangers.
    strangers: usize,
    capacity: usize,
    refused: u64,
}

impl Buffers {
    pub(crate) fn new(capacity: usize) -> Self {
        let (free, rest) = Default::default();
        Buffers { free, rest, retained: 0, strangers: 0, capacity, refused: 0 }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Keeps a copy of `bytes`; `None` when the bound on retained bytes is met.
    pub(crate) fn try_keep(&mut self, owner: Owner, bytes: &[u8]) -> Option<Buffer> {
        let Some(class) = CLASSES.iter().position(|&size| size >= bytes.len()) else {
            self.refused += 1;
            return None;
        };
        let full = match owner {
            Owner::Known => self.retained + CLASSES[class] > self.capacity,
            Owner::Stranger => {
                self.retained + CLASSES[class] > self.capacity
                    || self.strangers + CLASSES[class] > self.capacity / 2
            }
        };
        if full {
            self.refused += 1;
            return None;
        }
        let mut kept = self.free[class].pop().unwrap_or_else(|| self.cut(class));
        self.retained += kept.capacity();
        if owner == Owner::Stranger {
            self.strangers += kept.capacity();
        }
        kept.extend_from_slice(bytes);
        Some(Buffer { bytes: kept, owner })
    }

    /// A buffer that was not there before.
    fn cut(&mut self, class: usize) -> BytesMut {
        let (size, rest) = (CLASSES[class], &mut self.rest[class]);
        if rest.capacity() < size {
            *rest = BytesMut::with_capacity(size * PIECES.min(PIECE_BYTES / size).max(1));
        }
        let behind = rest.split_off(size);
        std::mem::replace(rest, behind)
    }

    /// Replaces what `buffer` holds. When the bound is met it holds nothing afterwards.
    pub(crate) fn replace(&mut self, buffer: &mut Buffer, bytes: &[u8]) {
        if !bytes.is_empty() && buffer.bytes.capacity() >= bytes.len() {
            buffer.bytes.clear();
            buffer.bytes.extend_from_slice(bytes);
            return;
        }
        let owner = buffer.owner;
        self.give_back(std::mem::take(buffer));
        *buffer = match bytes {
            [] => Buffer::of(owner),
            _ => self.try_keep(owner, bytes).unwrap_or(Buffer::of(owner)),
        };
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        let Buffer { mut bytes, owner } = buffer;
        let size = bytes.capacity();
        if size == 0 {
            return;
        }
        self.retained -= size;
        if owner == Owner::Stranger {
            self.strangers -= size;
        }
        if let Some(class) = CLASSES.iter().position(|&class| class == size)
            && (self.free[class].len() + 1) * size <= FREE_BYTES_PER_CLASS
        {
            bytes.clear();
            self.free[class].push(bytes);
        }
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
        assert_eq!((first.bytes().len(), buffers.table().entries), (600, 1_024));
        assert!(buffers.try_keep(Owner::Known, &[2; 600]).is_none(), "the bound holds");
        buffers.replace(&mut first, &[3; 1_000]);
        assert_eq!((first.bytes(), buffers.table().entries), (&[3; 1_000][..], 1_024));
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
    fn nothing_larger_than_a_message_is_kept() {
        assert!(Buffers::new(1 << 30).try_keep(Owner::Known, &[0; 65_537]).is_none());
    }
}
