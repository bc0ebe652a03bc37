//! `narrow`: what strangers and narrowed sources may have in passage (`docs/policy/narrow.md`).

use super::rate::RATE;
use crate::form::Count;
use crate::keys::{Element, Keys};
use policy::NarrowRules;

/// Open challenges of one source.
const OPEN: Count = Count(1, 65_535);

impl Element for NarrowRules {
    fn keys(&mut self, keys: &mut impl Keys) {
        let NarrowRules {
            invites,
            others,
            others_unproven,
            narrowed,
            tries,
            strange_aor,
            home_aor,
        } = self;
        keys.key("invites", "Open call challenges of a stranger", invites, OPEN);
        keys.key("others", "Open other challenges of a stranger", others, OPEN);
        let about = "The same for a request that proves nothing; more get the edge's own challenge";
        keys.key("others_unproven", about, others_unproven, OPEN);
        keys.key("narrowed", "Open challenges of a narrowed one", narrowed, OPEN);
        let about = "Logins of one address that the PBX has not judged yet";
        keys.key("tries", about, tries, OPEN);
        let about = "Tries of a narrowed known source for accounts not at home there";
        keys.key("strange_aor", about, strange_aor, RATE);
        let about = "Tries of an account at home whose password is wrong again and again";
        keys.key("home_aor", about, home_aor, RATE);
    }
}
