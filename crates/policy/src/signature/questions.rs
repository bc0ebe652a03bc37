//! What is asked of a request, collected leaf by leaf and compiled.

use super::automaton::{self, Automaton};
use super::condition::{Condition, Order, Peculiarity, Test, TextField};
use super::facts::{self, Facts, Order as Sequence};

/// How much speaks against asking every request for it, in order to know whether it needs a closer
/// look: how often it is true for honest requests, in a hundred, and how long it takes.
pub(super) fn cost(leaf: &Condition) -> u32 {
    match leaf {
        // what begins as written is out at its first byte
        Condition::Text(_, Test::Is(_) | Test::Starts(_)) => 2,
        Condition::Text(..) | Condition::Header(..) => 4,
        Condition::HeaderOrder(Order::Before, _) | Condition::ViaParams(_) => 20,
        Condition::HeaderOrder(..) => 3,
        Condition::Peculiar(Peculiarity::UserAgentIsFromUser | Peculiarity::ViaIsTarget)
        | Condition::Padded(_) => 5,
        Condition::MaxForwards(list) if list.contains(&70) => 60,
        Condition::MaxForwards(_) => 2,
        Condition::Peculiar(Peculiarity::FromIsTo) => 60,
        Condition::Peculiar(_) => 2,
        Condition::Method(_) => 40,
        _ => 60,
    }
}

/// Questions with the facts that answer them.
#[derive(Default)]
pub(super) struct Questions {
    facts: Facts,
    names: facts::Names,
    fields: [Vec<(String, u16)>; facts::FIELDS],
    /// By name symbol.
    values: Vec<Vec<(String, u16)>>,
}

impl Questions {
    /// One more question.
    pub(super) fn ask(&mut self, leaf: &Condition, fact: u16) -> Result<(), String> {
        let part = match leaf {
            Condition::All(_) | Condition::Any(_) | Condition::AtLeast(..) | Condition::Not(_) => {
                return Ok(());
            }
            Condition::Text(field, test) => return self.text(*field, test, fact),
            Condition::Header(name, test) => {
                let symbol = self.symbol(name)?;
                let pattern = test.pattern("", true)?;
                self.values[usize::from(symbol)].push((pattern, fact));
                facts::WATCHED
            }
            Condition::Present(name) => {
                let symbol = self.symbol(name)?;
                self.facts.watched(symbol).present.push(fact);
                facts::WATCHED
            }
            Condition::Padded(name) => {
                let symbol = self.symbol(name)?;
                self.facts.watched(symbol).padded.push(fact);
                facts::WATCHED
            }
            Condition::HeaderOrder(order, names) => {
                self.order(*order, names, fact)?;
                facts::ORDER
            }
            Condition::ViaParams(names) => {
                let names = names.iter().map(|name| name.as_bytes().into()).collect();
                self.facts.via_params.push((names, fact));
                facts::VIA_PARAMS
            }
            Condition::MaxForwards(list) => {
                self.facts.max_forwards.push((list.clone().into(), fact));
                facts::FRAME
            }
            Condition::Method(set) => {
                for (index, facts) in self.facts.methods.iter_mut().enumerate() {
                    if set.has(index as u8) {
                        facts.push(fact);
                    }
                }
                facts::FRAME
            }
            Condition::Transport(list) => {
                let list = list.iter().map(|word| word.as_bytes().into()).collect();
                self.facts.transports.push((list, fact));
                facts::FRAME
            }
            Condition::Peculiar(peculiarity) => {
                self.facts.peculiar[*peculiarity as usize].push(fact);
                facts::PECULIAR + *peculiarity as usize
            }
        };
        self.facts.tell(fact, part);
        Ok(())
    }

    fn text(&mut self, field: TextField, test: &Test, fact: u16) -> Result<(), String> {
        let prefix = match field {
            TextField::SdpSession => "s=",
            TextField::SdpOrigin => "o=",
            _ => "",
        };
        let pattern = test.pattern(prefix, field.ignores_case())?;
        for slot in facts::slots(field) {
            self.fields[*slot].push((pattern.clone(), fact));
            self.facts.tell(fact, facts::part_of(*slot));
        }
        Ok(())
    }

    fn order(&mut self, order: Order, names: &[Box<str>], fact: u16) -> Result<(), String> {
        if names.is_empty() {
            return Err("the list is empty".into());
        }
        let symbols: Result<_, _> = names.iter().map(|name| self.symbol(name)).collect();
        self.facts.orders.push(Sequence { order, symbols: symbols?, fact });
        Ok(())
    }

    /// The number of a header's name.
    fn symbol(&mut self, name: &str) -> Result<u8, String> {
        let symbol = self.names.symbol(name)?;
        self.values.resize_with(self.values.len().max(usize::from(symbol) + 1), Vec::new);
        Ok(symbol)
    }

    /// # Errors
    /// The fact whose question is too much, and why.
    pub(super) fn finish(mut self) -> Result<Facts, (u16, String)> {
        for (slot, patterns) in self.fields.iter().enumerate() {
            self.facts.fields[slot] = compile(patterns)?;
        }
        for (symbol, patterns) in self.values.iter().enumerate() {
            if !patterns.is_empty() {
                self.facts.watched(symbol as u8).values = compile(patterns)?;
            }
        }
        self.facts.names = self.names;
        Ok(self.facts)
    }
}

/// The automaton of all patterns, or the fact of the first that it cannot take.
fn compile(patterns: &[(String, u16)]) -> Result<Option<Automaton>, (u16, String)> {
    let problem = match Automaton::new(patterns) {
        Ok(automaton) => return Ok(automaton),
        Err(problem) => problem,
    };
    let alone = patterns.iter().find(|(text, _)| automaton::check(text).is_err());
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
    let fact = alone.or(patterns.get(bad - 1)).map_or(0, |(_, fact)| *fact);
    Err((fact, problem))
}
