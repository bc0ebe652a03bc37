//! `campaign`: many addresses with one shape of message (`docs/policy/campaign.md`).

use crate::form::{Count, TIME};
use crate::keys::{Element, Keys};
use policy::CampaignRules;

impl Element for CampaignRules {
    fn keys(&mut self, keys: &mut impl Keys) {
        let CampaignRules { sources, lifetime } = self;
        // The gate remembers the first few addresses of a shape.
        keys.key("sources", "Addresses that failed", sources, Count(2, 64));
        keys.key("lifetime", "How long after its last sign it lasts", lifetime, TIME);
    }
}
