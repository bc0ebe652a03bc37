//! Edits on the original bytes. Everything that is not edited leaves bit for bit.

use crate::{Message, Span, Value};
use arrayvec::ArrayVec;

/// Edits that one message may need at most (Vias, Routes, Contacts, challenges…).
pub const EDITS_MAX: usize = 96;

/// Bytes to take away, and the text (a range of the scratch buffer) to put in their place.
#[derive(Clone, Copy, Debug)]
struct Edit {
    span: Span,
    text: (u32, u32),
}

impl Edit {
    /// The order in which edits are made, as one number. Texts are appended, so their start tells
    /// the order in which inserts came.
    fn order(&self) -> u64 {
        let [start, end] = [self.span.start, self.span.end].map(u64::from);
        start << 48 | end << 32 | u64::from(self.text.0)
    }
}

/// A list of edits on one message. Texts are collected in a scratch buffer lent by the caller, so
/// nothing is allocated in the steady state. Edits may be made in any order; several inserts at
/// one place keep their order and stand before what replaces the bytes there; an insert inside
/// replaced bytes comes out behind the replacement; overlapping replacements are a caller's
/// mistake (`debug_assert`), the first in the message wins.
pub struct Splice<'m, 'a> {
    message: &'m Message<'a>,
    text: &'m mut Vec<u8>,
    edits: ArrayVec<Edit, EDITS_MAX>,
    /// Elements to take away: what that means for their commas is known only at the end.
    deleted: ArrayVec<Deleted, EDITS_MAX>,
    full: bool,
}

/// An element to take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deleted {
    line: u8,
    span: Span,
    /// It is all that its line has.
    alone: bool,
}

/// How far a list of edits is.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    edits: usize,
    text: usize,
}

/// More than [`EDITS_MAX`] edits: the message has too many values to be ours to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too_many_edits")]
pub struct TooManyEdits;

impl<'m, 'a> Splice<'m, 'a> {
    /// Clears `text` and starts with no edits.
    pub fn new(message: &'m Message<'a>, text: &'m mut Vec<u8>) -> Self {
        text.clear();
        Splice { message, text, edits: ArrayVec::new(), deleted: ArrayVec::new(), full: false }
    }

    /// The message as it came.
    #[must_use]
    pub fn message(&self) -> &'m Message<'a> {
        self.message
    }

    /// Puts `with` in the place of a span.
    pub fn replace(&mut self, span: Span, with: &[u8]) {
        self.edit(span, |text| text.extend_from_slice(with));
    }

    /// Puts what `write` appends to the buffer in the place of a span.
    pub fn replace_with(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        self.edit(span, write);
    }

    /// Inserts at an offset what `write` appends to the buffer.
    pub fn insert(&mut self, at: u16, write: impl FnOnce(&mut Vec<u8>)) {
        self.edit(Span { start: at, end: at }, write);
    }

    /// Takes a span away.
    pub fn delete(&mut self, span: Span) {
        self.edit(span, |_| {});
    }

    /// Takes away a whole header line.
    pub fn delete_line(&mut self, header: usize) {
        match self.message.headers().get(header) {
            Some(header) => self.delete(header.line),
            None => debug_assert!(false, "no header line {header}"),
        }
    }

    /// Takes away one element of a comma-joined header, with the comma that parted it, or the
    /// whole line when it is (or becomes) the last one left in it. A new line in its place is
    /// inserted at the line's start, not at the element's.
    pub fn delete_value(&mut self, value: &Value<'a>) {
        let Ok(line) = u8::try_from(value.header) else { return };
        let deleted = Deleted { line, span: value.span, alone: value.first && value.last };
        if !self.deleted.contains(&deleted) {
            self.full |= self.deleted.try_push(deleted).is_err();
        }
    }

    /// A mark behind all edits so far. Whether an element goes with its line is decided by then.
    pub fn mark(&mut self) -> Mark {
        self.cut_deleted_values();
        Mark { edits: self.edits.len(), text: self.text.len() }
    }

    /// Takes back all edits that came behind a mark.
    pub fn back_to(&mut self, mark: Mark) {
        self.edits.truncate(mark.edits);
        self.deleted.clear();
        self.text.truncate(mark.text);
    }

    /// How many bytes [`Splice::write`] would append.
    pub fn length(&mut self) -> usize {
        self.cut_deleted_values();
        let added = self.text.len() + self.missing_end().len();
        let away = |edit: &Edit| usize::from(edit.span.end - edit.span.start);
        // edits that overlap, of which `write` leaves one out, must not make it negative
        (self.message.bytes().len() + added).saturating_sub(self.edits.iter().map(away).sum())
    }

    /// Appends the edited message to `out`. When the edit list was full, nothing is written.
    pub fn write(&mut self, out: &mut Vec<u8>) -> Result<(), TooManyEdits> {
        self.cut_deleted_values();
        if self.full {
            return Err(TooManyEdits);
        }
        self.edits.sort_unstable_by_key(Edit::order);
        let bytes = self.message.bytes();
        out.reserve(bytes.len() + self.text.len());
        let mut done = 0usize;
        for edit in &self.edits {
            let (start, end) = (usize::from(edit.span.start), usize::from(edit.span.end));
            let overlaps = start < done && start < end;
            debug_assert!(!overlaps, "overlapping edits: {:?}", self.edits);
            if overlaps {
                continue;
            }
            out.extend_from_slice(bytes.get(done..start).unwrap_or_default());
            let text = edit.text.0 as usize..edit.text.1 as usize;
            out.extend_from_slice(self.text.get(text).unwrap_or_default());
            done = done.max(end);
        }
        out.extend_from_slice(bytes.get(done..).unwrap_or_default());
        out.extend_from_slice(self.missing_end());
        Ok(())
    }

    /// The empty line where a datagram ended without.
    fn missing_end(&self) -> &'static [u8] {
        let ends = usize::from(self.message.headers_end()) < self.message.bytes().len();
        if ends { b"" } else { b"\r\n" }
    }

    fn edit(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        let in_message =
            span.start <= span.end && usize::from(span.end) <= self.message.bytes().len();
        debug_assert!(in_message, "{span:?} is not of this message");
        if !in_message {
            return;
        }
        let start = self.text.len();
        write(self.text);
        let text = (start as u32, self.text.len() as u32);
        self.full |= self.edits.try_push(Edit { span, text }).is_err();
    }

    /// Turns deleted elements into deleted spans, a line at a time.
    fn cut_deleted_values(&mut self) {
        for index in 0..self.deleted.len() {
            let Deleted { line, alone, .. } = self.deleted[index];
            let is_first = !self.deleted.iter().take(index).any(|earlier| earlier.line == line);
            match is_first {
                true if alone => self.delete_line(usize::from(line)),
                true => self.cut_values_of(usize::from(line)),
                false => {}
            }
        }
        self.deleted.clear();
    }

    fn cut_values_of(&mut self, line: usize) {
        let (message, deleted) = (self.message, self.deleted.clone());
        let Some(header) = message.headers().get(line) else { return };
        let is_deleted =
            |span: Span| deleted.iter().any(|it| usize::from(it.line) == line && it.span == span);
        let elements = message.elements(line, header);
        if elements.clone().all(|element| is_deleted(element.span)) {
            return self.delete(header.line);
        }
        // Before a survivor an element goes with the comma behind it; those behind the last
        // survivor go with the comma before them.
        let survivors_end = elements
            .clone()
            .filter(|element| !is_deleted(element.span))
            .last()
            .map_or(header.value.start, |element| element.span.end);
        let mut from: Option<u16> = None;
        for element in elements {
            if element.span.start >= survivors_end {
                return self.delete(Span { start: survivors_end, end: header.value.end });
            }
            if is_deleted(element.span) {
                from = from.or(Some(element.span.start));
            } else if let Some(start) = from.take() {
                self.delete(Span { start, end: element.span.start });
            }
        }
    }
}

#[cfg(test)]
mod tests;
