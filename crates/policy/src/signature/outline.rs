//! What shows without reading a text: that no pattern begins with its first byte, has another certain
//! byte of it at that place, and can be as long as it is.

use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;
use regex_syntax::hir::{Hir, Look};

/// Texts of this length and longer are not told apart.
const LONG: usize = 127;
/// Bytes from the beginning among which the telling one is sought.
const PLACES: usize = 16;

/// Patterns as bits; where there are more than 64, some share one.
type Patterns = u64;

/// By byte: which patterns may have it at a place.
type Column = Box<[Patterns; 256]>;

/// With which byte patterns begin, how they go on, and how long what they match is.
#[derive(Debug)]
pub(super) struct Outline {
    begin: Column,
    /// The place at which the fewest patterns have the same byte: behind what they have in common.
    telling: (usize, Column),
    length: Box<[Patterns; LONG + 1]>,
}

impl Outline {
    /// Of patterns that begin at the text's start, and the automaton that they were made into.
    pub(super) fn new(patterns: &[Hir], nfa: &NFA) -> Self {
        let mut length = Box::new([0; LONG + 1]);
        let mut columns: Vec<Column> = vec![Box::new([0; 256]); PLACES];
        for (pattern, id) in patterns.iter().zip(nfa.patterns()) {
            let bit = 1 << (id.as_usize() % 64);
            if let Some(start) = nfa.start_pattern(id) {
                walk(nfa, start, bit, &mut columns);
            }
            // what a pattern matches may be followed by more, unless it says that the text ends
            let ends = pattern.properties().look_set_suffix().contains(Look::End);
            let least = pattern.properties().minimum_len().unwrap_or(0).min(LONG);
            let most = pattern.properties().maximum_len().filter(|_| ends).unwrap_or(LONG);
            length[least..=most.min(LONG)].iter_mut().for_each(|bits| *bits |= bit);
        }
        let most = |column: &Column| column.iter().map(|bits| bits.count_ones()).max();
        let place = (1..PLACES).min_by_key(|place| most(&columns[*place])).unwrap_or(1);
        let telling = (place, columns.swap_remove(place));
        Outline { begin: columns.swap_remove(0), telling, length }
    }

    /// Whether some pattern may match it.
    #[inline]
    pub(super) fn may_match(&self, text: &[u8]) -> bool {
        let begin = text.first().map_or(Patterns::MAX, |first| self.begin[usize::from(*first)]);
        let may = begin & self.length[text.len().min(LONG)];
        may != 0 && self.may_go_on(text, may)
    }

    #[inline]
    fn may_go_on(&self, text: &[u8], may: Patterns) -> bool {
        let (place, column) = &self.telling;
        text.get(*place).is_none_or(|byte| may & column[usize::from(*byte)] != 0)
    }

    /// Whether some pattern begins with it.
    #[inline]
    pub(super) fn may_begin(&self, first: u8) -> bool {
        self.begin[usize::from(first)] != 0
    }
}

/// Notes the bytes that lead on from `start`, place by place.
fn walk(nfa: &NFA, start: StateID, bit: Patterns, columns: &mut [Column]) {
    let mut states = vec![start];
    for column in columns {
        let mut next = Vec::new();
        let mut on = |first: u8, last: u8, id: StateID| {
            (first..=last).for_each(|byte| column[usize::from(byte)] |= bit);
            next.push(id);
        };
        let mut seen = vec![false; nfa.states().len()];
        while let Some(id) = states.pop() {
            if std::mem::replace(&mut seen[id.as_usize()], true) {
                continue;
            }
            match nfa.state(id) {
                State::ByteRange { trans } => on(trans.start, trans.end, trans.next),
                State::Sparse(sparse) => {
                    sparse.transitions.iter().for_each(|it| on(it.start, it.end, it.next));
                }
                State::Dense(dense) => (0..=u8::MAX).for_each(|byte| {
                    if let Some(next) = dense.matches_byte(byte) {
                        on(byte, byte, next);
                    }
                }),
                // an assertion may hold: what stands behind it may go on
                State::Look { next, .. } | State::Capture { next, .. } => states.push(*next),
                State::Union { alternates } => states.extend(alternates.iter()),
                State::BinaryUnion { alt1, alt2 } => states.extend([*alt1, *alt2]),
                // it matches every text that ends or goes on here
                State::Match { .. } => on(0, u8::MAX, id),
                State::Fail => {}
            }
        }
        states = next;
    }
}
