//! `bans`: how long they last (`docs/policy/bans.md`).

use crate::form::{Count, TIME};
use crate::keys::{Element, Keys};
use crate::problem::Complaint;
use crate::table::Field;
use crate::value::print_duration;
use policy::BanRules;

impl Element for BanRules {
    fn keys(&mut self, keys: &mut impl Keys) {
        let BanRules { first, factor, longest, pair_first, pair_longest, forgive, network } = self;
        keys.key("first", "The first of a source or network", first, TIME);
        keys.key("factor", "Each next lasts so many times as long", factor, Count(1, 100));
        keys.key("longest", "No longer than this", longest, TIME);
        keys.key("pair_first", "The first of an account at a source", pair_first, TIME);
        keys.key("pair_longest", "The longest of an account at a source", pair_longest, TIME);
        keys.key("forgive", "Good time that forgives one repetition", forgive, TIME);
        let about = "Banned sources that ban their /24 or /48";
        keys.key("network", about, network, Count(2, 256));
    }

    fn check(&self, field: &Field<'_>) {
        for (least, most, names) in [
            (self.first, self.longest, ["first", "longest"]),
            (self.pair_first, self.pair_longest, ["pair_first", "pair_longest"]),
        ] {
            if least > most {
                let (least, most) = (print_duration(least), print_duration(most));
                let [first, longest] = names;
                let text = format!("{first} ({least}) is longer than {longest} ({most})");
                field.error(Complaint::new(text).hint(format!("raise {longest}")));
            }
        }
    }
}
