//! Edits on the original bytes. Everything that is not edited leaves bit for bit.
use crate::{Message, Span, Value};
use arrayvec::ArrayVec;

/// Edits that one message may need at most (Vias, Routes, Contacts, challenges…).
pub const EDITS_MAX: usize = 96;

/// A list of edits on one message. Texts are collected in a scratch buffer lent by the caller, so
/// nothing is allocated in the steady state. Edits may be made in any order; several inserts at
/// one place keep their order; overlapping replacements are a caller's mistake (`debug_assert`),
/// the first wins.
pub struct Splice<'m, 'a> {
    message: &'m Message<'a>,
    text: &'m mut Vec<u8>,
    edits: ArrayVec<(Span, (u32, u32)), EDITS_MAX>,
}

/// More than [`EDITS_MAX`] edits: the message has too many values to be ours to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too_many_edits")]
pub struct TooManyEdits;

#[allow(clippy::todo, missing_docs, unused_variables, dead_code, unreachable_code)]
impl<'m, 'a> Splice<'m, 'a> {
    /// Clears `text` and starts with no edits.
    pub fn new(message: &'m Message<'a>, text: &'m mut Vec<u8>) -> Self {
        todo!()
    }
    pub fn message(&self) -> &'m Message<'a> {
        self.message
    }
    pub fn replace(&mut self, span: Span, with: &[u8]) {
        todo!()
    }
    /// Inserts at an offset what `write` appends to the buffer.
    pub fn insert(&mut self, at: u16, write: impl FnOnce(&mut Vec<u8>)) {
        todo!()
    }
    pub fn delete(&mut self, span: Span) {
        todo!()
    }
    /// Takes away a whole header line.
    pub fn delete_line(&mut self, header: usize) {
        todo!()
    }
    /// Takes away one element of a comma-joined header, with the comma that parted it, or the
    /// whole line when it is (or becomes) the last one left in it.
    pub fn delete_value(&mut self, value: &Value<'a>) {
        todo!()
    }
    /// Appends the edited message to `out`. When the edit list was full, nothing is written.
    pub fn write(self, out: &mut Vec<u8>) -> Result<(), TooManyEdits> {
        todo!()
    }
}
