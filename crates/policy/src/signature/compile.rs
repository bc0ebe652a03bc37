//! From conditions to numbered facts, and from facts to signatures.

use super::condition::{Condition, SignatureError};
use super::facts::{self, Facts, Reading};
use super::questions::{self, Questions};
use super::template::{Shows, Varying};
use super::{HITS_MAX, Hits, SignatureSpec};
use crate::Mode;
use wire::Message;

/// Signatures that a catalogue may have.
const SIGNATURES_MAX: usize = 512;
/// How deep conditions may join conditions.
const DEPTH_MAX: usize = 8;

/// A compiled catalogue.
#[derive(Debug)]
pub(super) struct Compiled {
    /// Of each message this is asked: triggers, which most honest ones lack.
    sieve: Facts,
    /// Of a message that has one, what else it takes.
    facts: Facts,
    /// The heaviest first.
    signatures: Box<[Armed]>,
    /// By fact: the signatures that may match when it is true.
    triggers: Box<[Box<[u16]>]>,
    /// Signatures that nothing triggers.
    always: Slots,
    /// Signatures that look at what varies under one template.
    varying: Slots,
    /// Whether a trigger is where nothing is looked at that varies: no template says anything.
    unseen: bool,
}

/// A set of signatures, by their place.
type Slots = [u64; SIGNATURES_MAX / 64];

/// A signature that can match.
#[derive(Debug)]
struct Armed {
    index: u16,
    when: Expression,
}

#[derive(Debug)]
enum Expression {
    Fact(u16),
    Not(Box<Expression>),
    AtLeast(u8, Box<[Expression]>),
}

impl Compiled {
    pub(super) fn new(specs: &[SignatureSpec]) -> Result<Self, SignatureError> {
        if let Some(spec) = specs.get(SIGNATURES_MAX) {
            let problem = format!("there are more than {SIGNATURES_MAX} signatures");
            return Err(error(SIGNATURES_MAX, spec, None, problem));
        }
        let mut builder = Builder::default();
        let mut armed = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            (builder.signature, builder.leaf) = (index, 0);
            let when = builder
                .expression(&spec.when, 0)
                .map_err(|problem| error(index, spec, builder.leaf.checked_sub(1), problem))?;
            if spec.mode != Mode::Off {
                armed.push((spec.ceiling, Armed { index: index as u16, when }));
            }
        }
        armed.sort_by_key(|(ceiling, armed)| (std::cmp::Reverse(*ceiling), armed.index));
        let signatures: Box<[Armed]> = armed.into_iter().map(|(_, armed)| armed).collect();
        let mut triggers = vec![Vec::new(); builder.costs.len()];
        let (mut always, mut varying): (Slots, Slots) = Default::default();
        for (slot, armed) in signatures.iter().enumerate() {
            if armed.when.any(&|fact| builder.shows(fact) != Shows::Stays) {
                varying[slot / 64] |= 1 << (slot % 64);
            }
            match armed.when.triggers(&builder.costs) {
                Some((_, facts)) => {
                    facts
                        .into_iter()
                        .for_each(|fact| triggers[usize::from(fact)].push(slot as u16));
                }
                None => always[slot / 64] |= 1 << (slot % 64),
            }
        }
        let is_asked = |fact: u16| !triggers[usize::from(fact)].is_empty();
        let mut all = 0..builder.costs.len() as u16;
        let unseen = all.any(|fact| is_asked(fact) && builder.shows(fact) == Shows::Unseen);
        let sieve = builder.sieve(is_asked, specs)?;
        let facts = builder.finish(specs)?;
        let triggers = triggers.into_iter().map(Vec::into_boxed_slice).collect();
        Ok(Compiled { sieve, facts, signatures, triggers, always, varying, unseen })
    }

    /// Whether something that varies under a template may make a signature match.
    pub(super) fn may_differ(&self, varying: &Varying<'_>) -> bool {
        self.unseen || self.sieve.any_of(varying)
    }

    /// Which match, and whether one of those that came into question looks at what varies.
    pub(super) fn matches(&self, message: &Message<'_>) -> (Hits, bool) {
        let mut candidates = self.always;
        let sieved = self.sieve.all(message);
        sieved.each(|fact| {
            for slot in self.triggers.get(fact).map_or(&[][..], |slots| slots) {
                if let Some(word) = candidates.get_mut(usize::from(slot / 64)) {
                    *word |= 1 << (slot % 64);
                }
            }
        });
        let mut hits = Hits::new();
        if candidates.iter().all(|word| *word == 0) {
            return (hits, false);
        }
        let varies = candidates.iter().zip(&self.varying).any(|(a, b)| a & b != 0);
        let mut reading = self.facts.of(message, &self.sieve, sieved);
        for (word, bits) in candidates.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let Some(armed) = self.signatures.get(slot) else { break };
                if armed.when.holds(&mut reading) {
                    hits.push(armed.index);
                    if hits.len() == HITS_MAX {
                        return (hits, varies);
                    }
                }
            }
        }
        (hits, varies)
    }
}

impl Expression {
    fn holds(&self, reading: &mut Reading<'_, '_>) -> bool {
        match self {
            Expression::Fact(fact) => reading.has(*fact),
            Expression::Not(inner) => !inner.holds(reading),
            Expression::AtLeast(least, list) => {
                let (mut missing, mut left) = (usize::from(*least), list.len());
                for inner in list {
                    if missing > left {
                        return false;
                    }
                    left -= 1;
                    missing -= usize::from(inner.holds(reading));
                    if missing == 0 {
                        return true;
                    }
                }
                missing == 0
            }
        }
    }

    /// Whether one of its facts is so.
    fn any(&self, is_so: &impl Fn(u16) -> bool) -> bool {
        match self {
            Expression::Fact(fact) => is_so(*fact),
            Expression::Not(inner) => inner.any(is_so),
            Expression::AtLeast(_, list) => list.iter().any(|inner| inner.any(is_so)),
        }
    }

    /// Facts of which at least one is true whenever this holds, with how common they are together;
    /// `None` when it can hold without any.
    fn triggers(&self, costs: &[u32]) -> Option<(u32, Vec<u16>)> {
        match self {
            Expression::Fact(fact) => {
                Some((costs.get(usize::from(*fact)).copied().unwrap_or_default(), vec![*fact]))
            }
            Expression::Not(_) => None,
            Expression::AtLeast(least, list) => {
                // of k conditions n hold, so one of any k - n + 1 does
                let needed = (list.len() + 1).checked_sub(usize::from(*least))?;
                let mut each: Vec<_> = list.iter().filter_map(|i| i.triggers(costs)).collect();
                each.sort_by_key(|(cost, _)| *cost);
                if each.len() < needed {
                    return None;
                }
                each.truncate(needed);
                let cost = each.iter().map(|(cost, _)| cost).sum();
                Some((cost, each.into_iter().flat_map(|(_, facts)| facts).collect()))
            }
        }
    }
}

fn error(
    signature: usize,
    spec: &SignatureSpec,
    condition: Option<usize>,
    problem: String,
) -> SignatureError {
    SignatureError { signature, id: spec.id.clone(), condition, problem }
}

/// Collects facts while conditions are read.
#[derive(Default)]
struct Builder {
    /// The signature being read.
    signature: usize,
    /// Leaves read of it.
    leaf: usize,
    /// Every different leaf: its index is its fact.
    known: Vec<Condition>,
    costs: Vec<u32>,
    /// By fact: the signature and its condition that brought it.
    origins: Vec<(usize, usize)>,
    questions: Questions,
}

impl Builder {
    fn expression(&mut self, condition: &Condition, depth: usize) -> Result<Expression, String> {
        if depth > DEPTH_MAX {
            return Err(format!("conditions are nested more than {DEPTH_MAX} deep"));
        }
        let (least, list) = match condition {
            Condition::All(list) => (list.len(), list),
            Condition::Any(list) => (1, list),
            Condition::AtLeast(least, list) => (usize::from(*least), list),
            Condition::Not(inner) => {
                return Ok(Expression::Not(Box::new(self.expression(inner, depth + 1)?)));
            }
            leaf => {
                self.leaf += 1;
                return self.fact(leaf).map(Expression::Fact);
            }
        };
        if list.is_empty() {
            return Err("no conditions: it would match every message".into());
        }
        if least == 0 || least > list.len() {
            return Err(format!("at least {least} of {} conditions can't be", list.len()));
        }
        let least = u8::try_from(least).map_err(|_| "more than 255 conditions".to_owned())?;
        let list: Result<Vec<_>, _> =
            list.iter().map(|inner| self.expression(inner, depth + 1)).collect();
        let mut list = list?;
        // what is rarely so decides first
        list.sort_by_key(|inner| inner.triggers(&self.costs).map_or(u32::MAX, |(cost, _)| cost));
        Ok(Expression::AtLeast(least, list.into()))
    }

    /// The fact of a leaf.
    fn fact(&mut self, leaf: &Condition) -> Result<u16, String> {
        if let Some(fact) = self.known.iter().position(|known| known == leaf) {
            return Ok(fact as u16);
        }
        let fact = self.known.len() as u16;
        if usize::from(fact) >= facts::FACTS_MAX {
            return Err(format!("more than {} different conditions", facts::FACTS_MAX));
        }
        self.questions.ask(leaf, fact)?;
        self.costs.push(questions::cost(leaf));
        self.origins.push((self.signature, self.leaf - 1));
        self.known.push(leaf.clone());
        Ok(fact)
    }

    fn shows(&self, fact: u16) -> Shows {
        self.known.get(usize::from(fact)).map_or(Shows::Unseen, Shows::of)
    }

    /// What asks some of the facts only.
    fn sieve(
        &self,
        is_asked: impl Fn(u16) -> bool,
        specs: &[SignatureSpec],
    ) -> Result<Facts, SignatureError> {
        let mut some = Questions::default();
        for (fact, leaf) in self.known.iter().enumerate().filter(|(fact, _)| is_asked(*fact as u16))
        {
            some.ask(leaf, fact as u16)
                .map_err(|problem| self.blame(fact as u16, specs, problem))?;
        }
        some.finish().map_err(|(fact, problem)| self.blame(fact, specs, problem))
    }

    fn finish(mut self, specs: &[SignatureSpec]) -> Result<Facts, SignatureError> {
        let questions = std::mem::take(&mut self.questions);
        questions.finish().map_err(|(fact, problem)| self.blame(fact, specs, problem))
    }

    /// The signature that brought a fact.
    fn blame(&self, fact: u16, specs: &[SignatureSpec], problem: String) -> SignatureError {
        let (index, condition) = self.origins.get(usize::from(fact)).copied().unwrap_or_default();
        let spec = specs.get(index).or(specs.first());
        let id = spec.map(|spec| spec.id.clone()).unwrap_or_default();
        SignatureError { signature: index, id, condition: Some(condition), problem }
    }
}
