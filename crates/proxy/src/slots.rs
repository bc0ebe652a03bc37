//! Which slots are free, piece by piece, so that a piece whose slots are all free can go back to the
//! system: what a burst has filled is given back when it is over.

/// Slots of a piece.
pub(crate) const PIECE: usize = 256;
/// Bits of a word.
const WORD: usize = u64::BITS as usize;

/// The free and the taken slots.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// For each piece a bit for each slot that is free.
    free: Vec<[u64; PIECE / WORD]>,
    /// A bit for each piece that is there and has room.
    room: Vec<u64>,
    /// Pieces whose memory was given back.
    given_back: Vec<usize>,
    /// The one empty piece that is kept, against a load that moves around its border.
    empty: Option<usize>,
    taken: usize,
}

/// A slot: its piece, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) piece: usize,
    pub(crate) within: usize,
}

impl Place {
    pub(crate) fn of(slot: u32) -> Self {
        Place { piece: slot as usize / PIECE, within: slot as usize % PIECE }
    }

    pub(crate) fn slot(self) -> u32 {
        (self.piece * PIECE + self.within) as u32
    }
}

impl Slots {
    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes the lowest, so that the others can become empty. `make` gets the piece whose memory
    /// is needed first.
    pub(crate) fn take(&mut self, make: impl FnOnce(usize)) -> Place {
        let piece = lowest(&self.room).unwrap_or_else(|| {
            let piece = self.add_piece();
            make(piece);
            piece
        });
        let free = &mut self.free[piece];
        let within = lowest(free).unwrap_or_default();
        clear(free, within);
        if free.iter().all(|word| *word == 0) {
            clear(&mut self.room, piece);
        }
        if self.empty == Some(piece) {
            self.empty = None;
        }
        self.taken += 1;
        Place { piece, within }
    }

    /// Frees a slot that was taken; the piece whose memory is to be given back.
    pub(crate) fn free(&mut self, place: Place) -> Option<usize> {
        let Place { piece, within } = place;
        let free = &mut self.free[piece];
        set(free, within);
        set(&mut self.room, piece);
        self.taken -= 1;
        if free.iter().any(|word| *word != u64::MAX) {
            return None;
        }
        // the lower is kept
        let other = self.empty.replace(self.empty.map_or(piece, |other| other.min(piece)))?;
        let gone = other.max(piece);
        clear(&mut self.room, gone);
        self.given_back.push(gone);
        Some(gone)
    }

    fn add_piece(&mut self) -> usize {
        let piece = self.given_back.pop().unwrap_or_else(|| {
            self.free.push([u64::MAX; PIECE / WORD]);
            self.room.resize(self.free.len().div_ceil(WORD), 0);
            self.free.len() - 1
        });
        set(&mut self.room, piece);
        piece
    }
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
