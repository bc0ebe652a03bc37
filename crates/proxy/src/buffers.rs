//! Bytes kept for retransmissions and for building ACK, CANCEL and late answers. Recycled by size
//! class, so the steady state allocates nothing.

use crate::io::Table;

/// Capacities of the size classes.
const CLASSES: [usize; 7] = [512, 1_024, 2_048, 4_096, 8_192, 16_384, 65_536];
/// Free bytes kept in a class at most.
const FREE_BYTES_PER_CLASS: usize = 4 << 20;

/// A message kept. Give it back with [`Buffers::give_back`]; an empty one holds nothing.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All buffers of a shard.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: [Vec<Vec<u8>>; CLASSES.len()],
    retained: usize,
    capacity: usize,
    refused: u64,
}

impl Buffers {
    pub(crate) fn new(capacity: usize) -> Self {
        Buffers { free: Default::default(), retained: 0, capacity, refused: 0 }
    }

    pub(crate) fn configure(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Keeps a copy of `bytes`; `None` when the bound on retained bytes is met.
    pub(crate) fn try_keep(&mut self, bytes: &[u8]) -> Option<Buffer> {
        let Some(class) = CLASSES.iter().position(|&size| size >= bytes.len()) else {
            self.refused += 1;
            return None;
        };
        if self.retained + CLASSES[class] > self.capacity {
            self.refused += 1;
            return None;
        }
        let mut kept = self.free[class].pop().unwrap_or_else(|| Vec::with_capacity(CLASSES[class]));
        self.retained += kept.capacity();
        kept.extend_from_slice(bytes);
        Some(Buffer(kept))
    }

    /// Replaces what `buffer` holds. When the bound is met it holds nothing afterwards.
    pub(crate) fn replace(&mut self, buffer: &mut Buffer, bytes: &[u8]) {
        if !bytes.is_empty() && buffer.0.capacity() >= bytes.len() {
            buffer.0.clear();
            buffer.0.extend_from_slice(bytes);
            return;
        }
        self.give_back(std::mem::take(buffer));
        if !bytes.is_empty() {
            *buffer = self.try_keep(bytes).unwrap_or_default();
        }
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        let mut bytes = buffer.0;
        let size = bytes.capacity();
        if size == 0 {
            return;
        }
        self.retained -= size;
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
        let mut first = buffers.try_keep(&[1; 600]).expect("room");
        assert_eq!((first.bytes().len(), buffers.table().entries), (600, 1_024));
        assert!(buffers.try_keep(&[2; 600]).is_none(), "the bound holds");
        buffers.replace(&mut first, &[3; 1_000]);
        assert_eq!((first.bytes(), buffers.table().entries), (&[3; 1_000][..], 1_024));
        buffers.give_back(first);
        assert_eq!(buffers.table(), Table { entries: 0, capacity: 2_000, evictions: 1 });
    }

    #[test]
    fn nothing_larger_than_a_message_is_kept() {
        assert!(Buffers::new(1 << 30).try_keep(&[0; 65_537]).is_none());
    }
}
