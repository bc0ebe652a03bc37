//! `guard`: protects one account against many addresses (`docs/policy/guard.md`).

use super::rate::RATE;
use crate::form::Weight;
use crate::keys::{Element, Keys};
use policy::GuardRules;

impl Element for GuardRules {
    fn keys(&mut self, keys: &mut impl Keys) {
        let GuardRules { refusals, rate } = self;
        keys.key("refusals", "Wrong passwords of strangers", refusals, Weight(1.0, 100_000.0));
        keys.key("rate", "What strangers may try then", rate, RATE);
    }
}
