//! Bans, counted by what is banned and what led to it: in the words that lists and explanations have.

use admission::{Ban, BanId, Lift};
use std::collections::BTreeMap;

/// Bans in force that are told apart; more are not in the gauge.
const STANDING_MAX: usize = 1 << 20;
/// Rows; a policy has a few rules that weigh, and reloads may bring others. What comes later is of
/// [`OTHER`].
const ROWS_MAX: usize = 512;
const OTHER: &str = "other";

/// What bans are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    /// As [`admission::BanKey::kind`] has it.
    pub(crate) kind: &'static str,
    /// As [`Ban::cause`] has it.
    pub(crate) reason: Box<str>,
    /// A known source is only slowed.
    pub(crate) narrowed: bool,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    /// Began or were renewed, ever.
    pub(crate) began: u64,
    /// Are in force.
    pub(crate) standing: u64,
}

/// One shard's.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    rows: Vec<(Labels, Numbers)>,
    /// Those in force, each with its row, so that each that ends is known by its labels.
    standing: BTreeMap<BanId, usize>,
}

impl Bans {
    pub(crate) fn on_ban(&mut self, ban: &Ban) {
        let at = self.row(ban);
        self.rows[at].1.began += 1;
        match self.standing.insert(ban.id, at) {
            Some(old) => self.end(old),
            None if self.standing.len() > STANDING_MAX => {
                self.standing.remove(&ban.id);
                return;
            }
            None => {}
        }
        self.rows[at].1.standing += 1;
    }

    pub(crate) fn on_lift(&mut self, lift: &Lift) {
        if let Some(at) = self.standing.remove(&lift.id) {
            self.end(at);
        }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &(Labels, Numbers)> {
        self.rows.iter()
    }

    fn end(&mut self, at: usize) {
        let standing = &mut self.rows[at].1.standing;
        *standing = standing.saturating_sub(1);
    }

    fn row(&mut self, ban: &Ban) -> usize {
        let full = self.rows.len() >= ROWS_MAX;
        let mut labels =
            Labels { kind: ban.key.kind(), reason: ban.cause().into(), narrowed: ban.narrowed };
        let place =
            |rows: &[(Labels, Numbers)], of: &Labels| rows.iter().position(|it| it.0 == *of);
        if let Some(at) = place(&self.rows, &labels) {
            return at;
        }
        if full {
            labels.reason = OTHER.into();
        }
        place(&self.rows, &labels).unwrap_or_else(|| {
            self.rows.push((labels, Numbers::default()));
            self.rows.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admission::Origin;

    fn ban(id: u64, why: &str, origin: Origin) -> Ban {
        Ban { why: why.into(), origin, ..crate::tests::ban(id) }
    }

    #[test]
    fn what_led_to_bans_is_told_apart_and_what_people_write_is_no_label() {
        let mut bans = Bans::default();
        bans.on_ban(&ban(1, "honeytoken", Origin::Local));
        bans.on_ban(&ban(2, "abandoned-invite", Origin::Local));
        bans.on_ban(&ban(3, "rang at night", Origin::Operator));
        bans.on_ban(&ban(4, "and again", Origin::Operator));
        bans.on_ban(&Ban { narrowed: true, ..ban(5, "honeytoken", Origin::Local) });
        let rows = bans.rows().map(|(it, count)| (&*it.reason, it.narrowed, count.standing));
        let expected = [
            ("honeytoken", false, 1),
            ("abandoned-invite", false, 1),
            ("operator", false, 2),
            ("honeytoken", true, 1),
        ];
        assert_eq!(rows.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_ban_that_is_renewed_for_another_reason_stands_once() {
        let mut bans = Bans::default();
        bans.on_ban(&ban(1, "abandoned-invite", Origin::Local));
        bans.on_ban(&ban(1, "honeytoken", Origin::Local));
        let counts = |bans: &Bans| -> Vec<_> {
            bans.rows().map(|(_, count)| (count.began, count.standing)).collect()
        };
        assert_eq!(counts(&bans), [(1, 0), (1, 1)]);
        let lift = Lift {
            id: BanId(1),
            key: ban(1, "", Origin::Local).key,
            expired: true,
            replaced: false,
        };
        bans.on_lift(&lift);
        assert_eq!(counts(&bans), [(1, 0), (1, 0)]);
    }

    #[test]
    fn names_of_ever_new_policies_have_a_bound() {
        let mut bans = Bans::default();
        for n in 0..10_000 {
            bans.on_ban(&ban(n, &format!("rule-{n}"), Origin::Local));
        }
        assert_eq!(bans.rows().count(), ROWS_MAX + 1);
        assert_eq!(bans.rows().map(|(_, count)| count.standing).sum::<u64>(), 10_000);
    }
}
