//! Rules and signatures go by their numbers in the policy. What is known of them over a change of
//! the policy goes by today's numbers, and by none where there is no such rule or signature today.

use super::Gate;
use crate::Ticket;
use policy::Admission;
use std::collections::HashMap;

/// Number of a rule or signature that another policy had.
pub(super) const GONE: u16 = u16::MAX - 1;

/// What the numbers of the policy before are today.
#[derive(Debug)]
struct Renumbered {
    rules: Vec<u16>,
    signatures: Vec<u16>,
}

impl Renumbered {
    /// `None` when they mean what they meant.
    fn between(old: &Admission, new: &Admission) -> Option<Self> {
        let rules = numbers(names_of_rules(old), names_of_rules(new));
        let signatures = numbers(ids(old), ids(new));
        let stays = |all: &[u16]| (0..).zip(all).all(|(at, number)| at == *number);
        let same = stays(&rules) && stays(&signatures);
        (!same).then_some(Renumbered { rules, signatures })
    }

    fn rule(&self, number: u16) -> u16 {
        today(&self.rules, number)
    }

    fn signature(&self, number: u16) -> u16 {
        today(&self.signatures, number)
    }
}

fn names_of_rules(policy: &Admission) -> impl Iterator<Item = &str> {
    policy.rules.iter().map(|rule| &*rule.name)
}

fn ids(policy: &Admission) -> impl Iterator<Item = &str> {
    policy.signatures.list().iter().map(|signature| &*signature.id)
}

fn numbers<'n>(old: impl Iterator<Item = &'n str>, new: impl Iterator<Item = &'n str>) -> Vec<u16> {
    let new: HashMap<&str, u16> = new.zip(0..).collect();
    old.map(|name| new.get(name).copied().unwrap_or(GONE)).collect()
}

/// None stays none, and what was gone stays so.
fn today(numbers: &[u16], number: u16) -> u16 {
    numbers.get(usize::from(number)).copied().unwrap_or(number.max(GONE))
}

impl Gate {
    /// The policy is another one: what is open and what explains bans goes by its numbers.
    pub(super) fn renumber(&mut self, old: &Admission) {
        let Some(numbers) = Renumbered::between(old, &self.policy.admission) else { return };
        self.numbers = self.numbers.wrapping_add(1);
        for open in self.ledger.iter_mut() {
            open.signature = numbers.signature(open.signature);
            open.raised_by = numbers.rule(open.raised_by);
        }
        for record in self.chains.records_mut() {
            record.signature = numbers.signature(record.signature);
            record.raised_by = numbers.rule(record.raised_by);
            record.rule = numbers.rule(record.rule);
        }
    }

    /// A ticket that was given out under other numbers says no more which rule and signature it
    /// met: calls that are asked for just when the policy changes teach nothing of signatures.
    pub(super) fn of_today(&self, ticket: &Ticket) -> Ticket {
        let mut ticket = *ticket;
        if ticket.numbers != self.numbers {
            ticket.signature = ticket.signature.max(GONE);
            ticket.raised_by = ticket.raised_by.max(GONE);
        }
        ticket
    }
}
