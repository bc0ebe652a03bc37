//! What tools look like: signatures, compiled into sets that are matched in one pass.

use crate::Mode;
use arrayvec::ArrayVec;
use wire::Message;

/// The most that a match may do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ceiling {
    /// It is counted.
    Note,
    /// The outcome of the challenge weighs twice.
    Score,
    /// The outcome of the challenge weighs three times.
    Fast,
    /// The packet is dropped.
    Drop,
}

/// One signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Its name in metrics, events and the file.
    pub id: Box<str>,
    /// What a match may do.
    pub ceiling: Ceiling,
    /// Whether it acts.
    pub mode: Mode,
}

/// Signatures, ready to match. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Signatures {
    list: Vec<Signature>,
}

/// Most signatures that one message is said to match.
pub const HITS_MAX: usize = 8;

/// Which matched, by index.
pub type Hits = ArrayVec<u16, HITS_MAX>;

impl Signatures {
    /// In the file's order.
    #[must_use]
    pub fn list(&self) -> &[Signature] {
        &self.list
    }

    /// Which of them a request matches: one pass, no backtracking, no allocation.
    #[must_use]
    pub fn matches(&self, message: &Message<'_>) -> Hits {
        let _ = message;
        Hits::new()
    }
}
