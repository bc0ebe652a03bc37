//! What shows without reading a text: that no pattern begins with its first byte and can be as
//! long as it is.

use regex_automata::nfa::thompson::{NFA, State};
use regex_automata::util::primitives::StateID;
use regex_syntax::hir::{Hir, Look};

/// Texts of this length and longer are not told apart.
const LONG: usize = 127;

/// Patterns as bits; where there are more than 64, some share one.
type Patterns = u64;

/// With which byte patterns begin, and how long what they match is.
#[derive(Debug)]
pub(super) struct Outline {
    begin: Box<[Patterns; 256]>,
    length: Box<[Patterns; LONG + 1]>,
}

impl Outline {
    /// Of patterns that begin at the text's start, and the automaton that they were made into.
    pub(super) fn new(patterns: &[Hir], nfa: &NFA) -> Self {
        let mut outline = Outline { begin: Box::new([0; 256]), length: Box::new([0; LONG + 1]) };
        for (pattern, id) in patterns.iter().zip(nfa.patterns()) {
            let bit = 1 << (id.as_usize() % 64);
            if let Some(start) = nfa.start_pattern(id) {
                outline.begins(nfa, start, bit);
            }
            // what a pattern matches may be followed by more, unless it says that the text ends
            let ends = pattern.properties().look_set_suffix().contains(Look::End);
            let least = pattern.properties().minimum_len().unwrap_or(0).min(LONG);
            let most = pattern.properties().maximum_len().filter(|_| ends).unwrap_or(LONG);
            outline.length[least..=most.min(LONG)].iter_mut().for_each(|bits| *bits |= bit);
        }
        outline
    }

    /// Whether some pattern may match it.
    #[inline]
    pub(super) fn may_match(&self, text: &[u8]) -> bool {
        let begin = text.first().map_or(Patterns::MAX, |first| self.begin[usize::from(*first)]);
        begin & self.length[text.len().min(LONG)] != 0
    }

    /// Whether some pattern begins with it.
    #[inline]
    pub(super) fn may_begin(&self, first: u8) -> bool {
        self.begin[usize::from(first)] != 0
    }

    /// Notes each byte that leads on from `start`.
    fn begins(&mut self, nfa: &NFA, start: StateID, bit: Patterns) {
        let (mut stack, mut seen) = (vec![start], vec![false; nfa.states().len()]);
        while let Some(id) = stack.pop() {
            if std::mem::replace(&mut seen[id.as_usize()], true) {
                continue;
            }
            let mut range = |first: u8, last: u8| {
                (first..=last).for_each(|byte| self.begin[usize::from(byte)] |= bit);
            };
            match nfa.state(id) {
                State::ByteRange { trans } => range(trans.start, trans.end),
                State::Sparse(sparse) => {
                    sparse.transitions.iter().for_each(|trans| range(trans.start, trans.end));
                }
                State::Dense(dense) => (0..=u8::MAX)
                    .filter(|byte| dense.matches_byte(*byte).is_some())
                    .for_each(|byte| range(byte, byte)),
                // an assertion may hold: what stands behind it may begin
                State::Look { next, .. } | State::Capture { next, .. } => stack.push(*next),
                State::Union { alternates } => stack.extend(alternates.iter()),
                State::BinaryUnion { alt1, alt2 } => stack.extend([*alt1, *alt2]),
                // it matches every text that ends or goes on here
                State::Match { .. } => range(0, u8::MAX),
                State::Fail => {}
            }
        }
    }
}
