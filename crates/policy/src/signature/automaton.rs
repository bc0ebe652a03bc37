//! One automaton for all patterns of a field.

use super::outline::Outline;
use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

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
    /// Most texts are none that a pattern matches, which shows without reading them.
    outline: Outline,
    facts: Box<[u16]>,
}

impl Automaton {
    /// `None` for no patterns.
    pub(super) fn new(patterns: &[(String, u16)]) -> Result<Option<Self>, String> {
        if patterns.is_empty() {
            return Ok(None);
        }
        let texts: Vec<&str> = patterns.iter().map(|(text, _)| text.as_str()).collect();
        let parsed = parse(&texts)?;
        let nfa = assemble(&parsed)?;
        let dfa = determinize(&nfa)?;
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .map_err(|error| error.to_string())?;
        let outline = Outline::new(&parsed, &nfa);
        let facts = patterns.iter().map(|(_, fact)| *fact).collect();
        Ok(Some(Automaton { dfa, start, outline, facts }))
    }

    /// Says the fact of each pattern that matches; one may be said several times.
    #[inline]
    pub(super) fn scan(&self, text: &[u8], on_fact: impl FnMut(u16)) {
        if self.outline.may_match(text) {
            self.walk(text, |_| false, on_fact);
        }
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
        if text.first().is_none_or(|first| self.outline.may_begin(*first) || ends(*first)) {
            self.walk(text, ends, on_fact);
        }
    }

    #[inline(never)]
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
    determinize(&assemble(&parse(&[pattern])?)?).map(drop)
}

fn parse(patterns: &[&str]) -> Result<Vec<Hir>, String> {
    if patterns.iter().any(|pattern| pattern.len() > PATTERN_MAX) {
        return Err(format!("the pattern is longer than {PATTERN_MAX} bytes"));
    }
    let mut parser =
        regex_syntax::ParserBuilder::new().unicode(false).utf8(false).nest_limit(32).build();
    patterns.iter().map(|text| parser.parse(text).map_err(|error| reason(&error))).collect()
}

fn assemble(patterns: &[Hir]) -> Result<NFA, String> {
    NFA::compiler()
        .configure(thompson::Config::new().utf8(false).nfa_size_limit(Some(NFA_MAX)))
        .build_many_from_hir(patterns)
        .map_err(|error| reason(&error))
}

fn determinize(nfa: &NFA) -> Result<dense::DFA<Vec<u32>>, String> {
    dense::Builder::new()
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Anchored)
                .accelerate(false)
                .dfa_size_limit(Some(DFA_MAX))
                .determinize_size_limit(Some(DETERMINIZE_MAX)),
        )
        .build_from_nfa(nfa)
        .map_err(|error| reason(&error))
}

/// The innermost reason, which names the place in the pattern.
fn reason(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    // the library draws the pattern with a caret; its last line says what is wrong
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_ruled_out_unread_that_a_pattern_matches() {
        let patterns = [
            r"(?:(?:a{2,3}))\z",
            r"(?:(?:(ab|c)+d?))\z",
            r"(?:abc|d)",
            r"(?s:.)*(?:cd)",
            r"(?s:.)*(?:b)\z",
            r"(?i)(?:DA)\z",
            r"(?:)\z",
            r"(?:(?:[^a]{4}))\z",
        ];
        let alone =
            patterns.map(|pattern| Automaton::new(&[(pattern.into(), 7)]).unwrap().unwrap());
        let all: Vec<_> = (0..).zip(patterns).map(|(fact, it)| (it.to_owned(), fact)).collect();
        let together = Automaton::new(&all).unwrap().unwrap();
        let is_so = |automaton: &Automaton, text: &[u8], fact: u16| {
            let (mut seen, mut read) = (false, false);
            automaton.scan(text, |it| seen |= it == fact);
            automaton.walk(text, |_| false, |it| read |= it == fact);
            assert_eq!(seen, read, "{}", text.escape_ascii());
            seen
        };
        let mut matched = 0;
        for number in 0..5usize.pow(6) {
            let letters = (0..6).map(|at| b" abcd"[number / 5usize.pow(at) % 5]);
            let text: Vec<u8> = letters.take_while(|letter| *letter != b' ').collect();
            for (fact, alone) in (0..).zip(&alone) {
                let so = is_so(alone, &text, 7);
                assert_eq!(is_so(&together, &text, fact), so, "{}", text.escape_ascii());
                matched += usize::from(so);
            }
        }
        assert!(matched > 1_000);
    }

    #[test]
    fn a_text_is_not_read_that_is_too_long_or_begins_or_goes_on_in_another_way() {
        let digits = [(r"(?:(?:\d{1,10}))\z".to_owned(), 0), (r"(?:ab)".to_owned(), 1)];
        let outline = Automaton::new(&digits).unwrap().unwrap().outline;
        for (text, may) in [("1", true), ("12345678901", false), ("abc", true), ("bc", false)] {
            assert_eq!(outline.may_match(text.as_bytes()), may, "{text}");
        }
        assert!(!outline.may_match(b"") && !outline.may_match(&[b'1'; 500]));
        assert!(!outline.may_match(&[b'a'; 500]));
        assert!(outline.may_match("ab".repeat(500).as_bytes()));
        // the byte that tells most stands behind what all begin with
        let alike = ["z9hG4bK-a", "z9hG4bK-b", "z9hG4bK"].map(|it| (format!("(?:{it})"), 0));
        let outline = Automaton::new(&alike[..2]).unwrap().unwrap().outline;
        for (text, may) in [("z9hG4bK-a1", true), ("z9hG4bKPja", false), ("z9hG4bK-c", false)] {
            assert_eq!(outline.may_match(text.as_bytes()), may, "{text}");
        }
        let outline = Automaton::new(&alike).unwrap().unwrap().outline;
        assert!(outline.may_match(b"z9hG4bKPja"));
    }
}
