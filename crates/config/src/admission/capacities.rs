//! `capacities.gate`: bounds of the gate's tables (`docs/policy/capacities.md`).

use crate::form::Count;
use crate::keys::{Element, Keys};
use policy::GateCapacities;

const ENTRIES: Count = Count(16, 1 << 26);

impl Element for GateCapacities {
    fn keys(&mut self, keys: &mut impl Keys) {
        let GateCapacities {
            ledger,
            sources,
            pairs,
            aors,
            networks,
            shapes,
            bans,
            rates,
            chains,
            tries,
            passing,
        } = self;
        keys.key("ledger", "Open challenges", ledger, ENTRIES);
        keys.key("sources", "Sources of which something is known", sources, ENTRIES);
        keys.key("pairs", "Accounts at sources: homes and refusals", pairs, ENTRIES);
        keys.key("aors", "Accounts of which strangers were refused", aors, ENTRIES);
        keys.key("networks", "Networks with banned sources", networks, ENTRIES);
        keys.key("shapes", "Shapes of messages", shapes, ENTRIES);
        keys.key("bans", "Bans", bans, ENTRIES);
        keys.key("rates", "Rate buckets", rates, ENTRIES);
        keys.key("chains", "Sources whose evidence is kept to explain it", chains, ENTRIES);
        keys.key("tries", "Accounts whose credentials are with the PBX", tries, ENTRIES);
        keys.key("passing", "Strangers whose requests are with the PBX", passing, ENTRIES);
    }
}
