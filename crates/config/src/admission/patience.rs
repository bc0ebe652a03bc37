//! `patience`: how long a challenge may stay unanswered (`docs/policy/patience.md`).

use crate::form::Time;
use crate::keys::{Element, Keys};
use policy::Patience;
use std::time::Duration;

/// A ledger entry is not held longer than a nonce is remembered by default.
const PATIENCE: Time = Time(Duration::from_secs(1), Duration::from_secs(600));

impl Element for Patience {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Patience { invite, other } = self;
        keys.key("invite", "For calls", invite, PATIENCE);
        keys.key("other", "For registrations and all else", other, PATIENCE);
    }
}
