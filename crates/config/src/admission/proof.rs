//! `proof`: how a source shows that its address is not forged (`docs/policy/proof.md`).

use crate::form::{Time, Truth};
use crate::keys::{Element, Keys};
use policy::ProofRules;
use std::time::Duration;

impl Element for ProofRules {
    fn keys(&mut self, keys: &mut impl Keys) {
        let ProofRules { lifetime, opaque, amplify } = self;
        let time = Time(Duration::from_secs(10), Duration::from_secs(86_400));
        keys.key("lifetime", "How long a proof over UDP counts", lifetime, time);
        keys.key("opaque", "Whether challenges carry a proof in opaque", opaque, Truth);
        let about = "Whether an unproven source may get longer answers than it sent";
        keys.key("amplify", about, amplify, Truth);
    }
}
