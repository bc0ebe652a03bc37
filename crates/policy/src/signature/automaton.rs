//! One automaton for all patterns of a field.

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};

/// Bytes that one pattern may have.
const PATTERN_MAX: usize = 4_096;
/// Bytes that the parsed patterns of one field may take.
const NFA_MAX: usize = 256 << 10;
/// Bytes that one field's automaton may take.
const DFA_MAX: usize = 1 << 20;
/// Bytes that making it may take.
const DETERMINIZE_MAX: usize = 2 << 20;

/// The patterns of a field, each with the fact that it makes true. All begin at the text's start.
#[derive(Debug)]
pub(super) struct Automaton {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
    /// Bytes that some pattern can begin with: most texts begin with another.
    begins: Box<[bool; 256]>,
    facts: Box<[u16]>,
}

impl Automaton {
    /// `None` for no patterns.
    pub(super) fn new(patterns: &[(String, u16)]) -> Result<Option<Self>, String> {
        if patterns.is_empty() {
            return Ok(None);
        }
        let texts: Vec<&str> = patterns.iter().map(|(text, _)| text.as_str()).collect();
        let dfa = build(&texts)?;
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .map_err(|error| error.to_string())?;
        let facts = patterns.iter().map(|(_, fact)| *fact).collect();
        let begins =
            std::array::from_fn(|byte| !dfa.is_dead_state(dfa.next_state(start, byte as u8)));
        Ok(Some(Automaton { dfa, start, begins: Box::new(begins), facts }))
    }

    /// Says the fact of each pattern that matches; one may be said several times.
    pub(super) fn scan(&self, text: &[u8], on_fact: impl FnMut(u16)) {
        self.scan_until(text, |_| false, on_fact);
    }

    /// The same for the text that the first such byte ends, which is looked for no further than a
    /// pattern can match.
    #[inline]
    pub(super) fn scan_until(
        &self,
        text: &[u8],
        ends: impl Fn(u8) -> bool,
        on_fact: impl FnMut(u16),
    ) {
        if text.first().is_none_or(|first| self.begins[usize::from(*first)] || ends(*first)) {
            self.walk(text, ends, on_fact);
        }
    }

    fn walk(&self, text: &[u8], ends: impl Fn(u8) -> bool, mut on_fact: impl FnMut(u16)) {
        let mut state = self.start;
        for byte in text {
            if ends(*byte) {
                break;
            }
            state = self.dfa.next_state(state, *byte);
            if self.dfa.is_special_state(state) {
                if self.dfa.is_match_state(state) {
                    self.say(state, &mut on_fact);
                } else if self.dfa.is_dead_state(state) {
                    return;
                }
            }
        }
        let state = self.dfa.next_eoi_state(state);
        if self.dfa.is_match_state(state) {
            self.say(state, &mut on_fact);
        }
    }

    fn say(&self, state: StateID, on_fact: &mut impl FnMut(u16)) {
        for index in 0..self.dfa.match_len(state) {
            let pattern = self.dfa.match_pattern(state, index).as_usize();
            if let Some(fact) = self.facts.get(pattern) {
                on_fact(*fact);
            }
        }
    }
}

/// Whether one pattern can be compiled.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    build(&[pattern]).map(|_| ())
}

fn build(patterns: &[&str]) -> Result<dense::DFA<Vec<u32>>, String> {
    if patterns.iter().any(|pattern| pattern.len() > PATTERN_MAX) {
        return Err(format!("the pattern is longer than {PATTERN_MAX} bytes"));
    }
    dense::Builder::new()
        .syntax(syntax::Config::new().unicode(false).utf8(false).nest_limit(32))
        .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(NFA_MAX)))
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Anchored)
                .accelerate(false)
                .dfa_size_limit(Some(DFA_MAX))
                .determinize_size_limit(Some(DETERMINIZE_MAX)),
        )
        .build_many(patterns)
        .map_err(|error| reason(&error))
}

/// The innermost reason, which names the place in the pattern.
fn reason(error: &dense::BuildError) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    // the library draws the pattern with a caret; its last line says what is wrong
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
