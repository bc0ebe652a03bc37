//! `half_life` and `levels`: how fast evidence fades, and at how much of it something is done
//! (`docs/policy/evidence.md`).

use crate::form::{TIME, Weight};
use crate::keys::{Element, Keys};
use crate::problem::Complaint;
use crate::table::Field;
use policy::{HalfLife, Levels};

/// Evidence is added up to a thousand.
const LEVEL: Weight = Weight(0.01, 1_000.0);

impl Element for HalfLife {
    fn keys(&mut self, keys: &mut impl Keys) {
        let HalfLife { short, long, pair } = self;
        keys.key("short", "Of a burst", short, TIME);
        keys.key("long", "Of low and slow", long, TIME);
        keys.key("pair", "Of refusals of one account at one source", pair, TIME);
    }

    fn check(&self, field: &Field<'_>) {
        if self.long < self.short {
            field.error(Complaint::new("long fades faster than short").hint("exchange them"));
        }
    }
}

impl Element for Levels {
    fn keys(&mut self, keys: &mut impl Keys) {
        let Levels { watch, narrow, ban, ban_long, pair } = self;
        keys.key("watch", "A source is listed", watch, LEVEL);
        keys.key("narrow", "It is narrowed", narrow, LEVEL);
        keys.key("ban", "It is banned by its short memory", ban, LEVEL);
        keys.key("ban_long", "It is banned by its long memory", ban_long, LEVEL);
        keys.key("pair", "An account at a source is banned", pair, LEVEL);
    }

    fn check(&self, field: &Field<'_>) {
        if self.watch > self.narrow || self.narrow > self.ban {
            let Levels { watch, narrow, ban, .. } = self;
            let text = format!("watch ({watch}), narrow ({narrow}), ban ({ban}) do not ascend");
            field.error(Complaint::new(text).hint("each is at least as high as the one before"));
        }
        if self.ban_long < self.ban {
            let text = format!("ban_long ({}) is below ban ({})", self.ban_long, self.ban);
            field.error(Complaint::new(text).hint("what bans in a week must be more"));
        }
    }
}
