//! From conditions to numbered facts, and from facts to signatures.

use super::automaton::Automaton;
use super::condition::{Condition, Order, Peculiarity, SignatureError, Test, TextField};
use super::facts::{self, Facts, Order as Sequence, Watched};
use super::{HITS_MAX, Hits, SignatureSpec};
use crate::{MethodSet, Mode};
use wire::Message;

/// Signatures that a catalogue may have.
const SIGNATURES_MAX: usize = 512;
/// How deep conditions may join conditions.
const DEPTH_MAX: usize = 8;

/// A compiled catalogue.
#[derive(Debug)]
pub(super) struct Compiled {
    facts: Facts,
    /// The heaviest first.
    signatures: Box<[Armed]>,
    /// By fact: the signatures that may match when it is true.
    triggers: Box<[Box<[u16]>]>,
    /// Signatures that nothing triggers.
    always: [u64; SIGNATURES_MAX / 64],
}

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
        let mut always = [0; SIGNATURES_MAX / 64];
        for (slot, armed) in signatures.iter().enumerate() {
            match armed.when.triggers(&builder.costs) {
                Some((_, facts)) => {
                    facts
                        .into_iter()
                        .for_each(|fact| triggers[usize::from(fact)].push(slot as u16));
                }
                None => always[slot / 64] |= 1 << (slot % 64),
            }
        }
        let facts = builder.finish(specs)?;
        let triggers = triggers.into_iter().map(Vec::into_boxed_slice).collect();
        Ok(Compiled { facts, signatures, triggers, always })
    }

    pub(super) fn matches(&self, message: &Message<'_>) -> Hits {
        let facts = self.facts.read(message);
        let mut candidates = self.always;
        facts.each(|fact| {
            for slot in self.triggers.get(fact).map_or(&[][..], |slots| slots) {
                if let Some(word) = candidates.get_mut(usize::from(slot / 64)) {
                    *word |= 1 << (slot % 64);
                }
            }
        });
        let mut hits = Hits::new();
        for (word, bits) in candidates.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let Some(armed) = self.signatures.get(slot) else { break };
                if armed.when.holds(&facts) {
                    hits.push(armed.index);
                    if hits.len() == HITS_MAX {
                        return hits;
                    }
                }
            }
        }
        hits
    }
}

impl Expression {
    fn holds(&self, facts: &facts::Set) -> bool {
        match self {
            Expression::Fact(fact) => facts.has(*fact),
            Expression::Not(inner) => !inner.holds(facts),
            Expression::AtLeast(least, list) => {
                let (mut missing, mut left) = (usize::from(*least), list.len());
                for inner in list {
                    if missing > left {
                        return false;
                    }
                    left -= 1;
                    missing -= usize::from(inner.holds(facts));
                    if missing == 0 {
                        return true;
                    }
                }
                missing == 0
            }
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

/// How often a fact is true for honest messages, in a hundred.
mod cost {
    pub(super) const METHOD: u32 = 40;
    pub(super) const PRESENT: u32 = 60;
    pub(super) const RELATION: u32 = 20;
    pub(super) const TEXT: u32 = 2;
    pub(super) const ORDER: u32 = 3;
}

/// Collects facts while conditions are read.
#[derive(Default)]
struct Builder {
    /// The signature being read.
    signature: usize,
    /// Leaves read of it.
    leaf: usize,
    /// Every different leaf and its fact.
    known: Vec<(Condition, u16)>,
    costs: Vec<u32>,
    /// By fact: the signature and its condition that brought it.
    origins: Vec<(usize, usize)>,
    names: facts::Names,
    fields: [Vec<(String, u16)>; facts::FIELDS],
    values: Vec<Vec<(String, u16)>>,
    facts: Facts,
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
        let list: Result<_, _> =
            list.iter().map(|inner| self.expression(inner, depth + 1)).collect();
        Ok(Expression::AtLeast(least, list?))
    }

    /// The fact of a leaf.
    fn fact(&mut self, leaf: &Condition) -> Result<u16, String> {
        if let Some((_, fact)) = self.known.iter().find(|(known, _)| known == leaf) {
            return Ok(*fact);
        }
        let fact = self.costs.len() as u16;
        if usize::from(fact) >= facts::FACTS_MAX {
            return Err(format!("more than {} different conditions", facts::FACTS_MAX));
        }
        let cost = self.learn(leaf, fact)?;
        self.costs.push(cost);
        self.origins.push((self.signature, self.leaf - 1));
        self.known.push((leaf.clone(), fact));
        Ok(fact)
    }

    fn learn(&mut self, leaf: &Condition, fact: u16) -> Result<u32, String> {
        match leaf {
            Condition::All(_) | Condition::Any(_) | Condition::AtLeast(..) | Condition::Not(_) => {
                Ok(0)
            }
            Condition::Text(field, test) => self.text(*field, test, fact),
            Condition::Header(name, test) => {
                let symbol = self.symbol(name)?;
                let pattern = test.pattern("", true)?;
                self.values[usize::from(symbol)].push((pattern, fact));
                Ok(cost::TEXT)
            }
            Condition::Present(name) => {
                let symbol = self.symbol(name)?;
                self.facts.watched(symbol).present.push(fact);
                Ok(cost::PRESENT)
            }
            Condition::Padded(name) => {
                let symbol = self.symbol(name)?;
                self.facts.watched(symbol).padded.push(fact);
                Ok(cost::TEXT)
            }
            Condition::HeaderOrder(order, names) => self.order(*order, names, fact),
            Condition::ViaParams(names) => {
                let names = names.iter().map(|name| name.as_bytes().into()).collect();
                self.facts.via_params.push((names, fact));
                Ok(cost::RELATION)
            }
            Condition::MaxForwards(list) => {
                self.facts.max_forwards.push((list.clone().into(), fact));
                Ok(if list.contains(&70) { cost::PRESENT } else { cost::TEXT })
            }
            Condition::Method(set) => {
                self.methods(*set, fact);
                Ok(cost::METHOD)
            }
            Condition::Transport(list) => {
                let list = list.iter().map(|word| word.as_bytes().into()).collect();
                self.facts.transports.push((list, fact));
                Ok(cost::PRESENT)
            }
            Condition::Peculiar(peculiarity) => {
                self.facts.peculiar.push((*peculiarity, fact));
                let common = *peculiarity == Peculiarity::FromIsTo;
                Ok(if common { cost::METHOD } else { cost::TEXT })
            }
        }
    }

    fn text(&mut self, field: TextField, test: &Test, fact: u16) -> Result<u32, String> {
        let prefix = match field {
            TextField::SdpSession => "s=",
            TextField::SdpOrigin => "o=",
            _ => "",
        };
        let pattern = test.pattern(prefix, field.ignores_case())?;
        for slot in facts::slots(field) {
            self.fields[*slot].push((pattern.clone(), fact));
        }
        Ok(cost::TEXT)
    }

    fn order(&mut self, order: Order, names: &[Box<str>], fact: u16) -> Result<u32, String> {
        if names.is_empty() {
            return Err("the list is empty".into());
        }
        let symbols: Result<_, _> = names.iter().map(|name| self.symbol(name)).collect();
        self.facts.orders.push(Sequence { order, symbols: symbols?, fact });
        Ok(if order == Order::Before { cost::RELATION } else { cost::ORDER })
    }

    fn methods(&mut self, set: MethodSet, fact: u16) {
        for (index, facts) in self.facts.methods.iter_mut().enumerate() {
            if set.has(index as u8) {
                facts.push(fact);
            }
        }
    }

    /// The number of a header's name.
    fn symbol(&mut self, name: &str) -> Result<u8, String> {
        let symbol = self.names.symbol(name)?;
        self.values.resize_with(self.values.len().max(usize::from(symbol) + 1), Vec::new);
        Ok(symbol)
    }

    fn finish(mut self, specs: &[SignatureSpec]) -> Result<Facts, SignatureError> {
        for slot in 0..facts::FIELDS {
            let patterns = std::mem::take(&mut self.fields[slot]);
            self.facts.fields[slot] = self.automaton(&patterns, specs)?;
        }
        for (symbol, patterns) in std::mem::take(&mut self.values).iter().enumerate() {
            if !patterns.is_empty() {
                let values = self.automaton(patterns, specs)?;
                let watched: &mut Watched = self.facts.watched(symbol as u8);
                watched.values = values;
            }
        }
        self.facts.names = self.names;
        Ok(self.facts)
    }

    /// The automaton of all patterns, or the first that it cannot take.
    fn automaton(
        &self,
        patterns: &[(String, u16)],
        specs: &[SignatureSpec],
    ) -> Result<Option<Automaton>, SignatureError> {
        let problem = match Automaton::new(patterns) {
            Ok(automaton) => return Ok(automaton),
            Err(problem) => problem,
        };
        let alone = patterns.iter().find(|(text, _)| super::automaton::check(text).is_err());
        let (mut good, mut bad) = (0, patterns.len());
        while alone.is_none() && good + 1 < bad {
            let middle = good.midpoint(bad);
            match Automaton::new(&patterns[..middle]) {
                Ok(_) => good = middle,
                Err(_) => bad = middle,
            }
        }
        let problem = match alone {
            Some(_) => problem,
            None => format!("together with the patterns before it on this field: {problem}"),
        };
        let fact = alone.or(patterns.get(bad - 1)).map_or(0, |(_, fact)| usize::from(*fact));
        let (signature, condition) = self.origins.get(fact).copied().unwrap_or_default();
        let spec = specs.get(signature).or(specs.first());
        let id = spec.map(|spec| spec.id.clone()).unwrap_or_default();
        Err(SignatureError { signature, id, condition: Some(condition), problem })
    }
}
