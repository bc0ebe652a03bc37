//! How many lines of one reason are let through in a second.

use policy::{Outcome, Reason, Time};

/// Reasons and outcomes: what lines are capped by.
pub(crate) const KEYS: usize = Reason::ALL.len() + Outcome::ALL.len();

/// What a line is capped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(usize);

impl Key {
    pub(crate) fn of_reason(reason: Reason) -> Key {
        Key(reason as usize)
    }

    pub(crate) fn of_outcome(outcome: Outcome) -> Key {
        Key(Reason::ALL.len() + outcome as usize)
    }

    pub(crate) fn all() -> impl Iterator<Item = Key> {
        (0..KEYS).map(Key)
    }

    pub(crate) fn index(self) -> usize {
        self.0
    }

    /// The field and the word by which lines call it.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        match Reason::ALL.get(self.0) {
            Some(reason) => ("reason", reason.as_str()),
            None => {
                let outcome = Outcome::ALL.get(self.0 - Reason::ALL.len());
                ("outcome", outcome.map_or("other", |outcome| outcome.as_str()))
            }
        }
    }
}

/// Lines of each key in the second that runs.
#[derive(Debug)]
pub(crate) struct Caps([Window; KEYS]);

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    second: u64,
    count: u32,
}

impl Caps {
    pub(crate) fn new() -> Self {
        Caps([Window::default(); KEYS])
    }

    /// Whether one more is let through.
    pub(crate) fn allows(&mut self, now: Time, key: Key, rate: u32) -> bool {
        let Some(window) = self.0.get_mut(key.0) else { return false };
        let second = now.as_secs();
        if window.second != second {
            *window = Window { second, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        window.count <= rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn keys_have_their_own_words() {
        let words: Vec<_> = Key::all().map(Key::words).collect();
        assert!(words.contains(&("reason", "banned")) && words.contains(&("outcome", "abandoned")));
        for reason in Reason::ALL {
            assert_eq!(Key::of_reason(reason).words(), ("reason", reason.as_str()));
        }
        for outcome in Outcome::ALL {
            assert_eq!(Key::of_outcome(outcome).words(), ("outcome", outcome.as_str()));
        }
    }

    #[test]
    fn a_second_lets_so_many_of_a_key_through() {
        let mut caps = Caps::new();
        let (banned, rate) = (Key::of_reason(Reason::Banned), Key::of_reason(Reason::Rate));
        let mut passed = |at: u64, key| {
            let now = Time::ZERO + Duration::from_millis(at);
            caps.allows(now, key, 2)
        };
        assert_eq!([1, 2, 3].map(|at| passed(at, banned)), [true, true, false]);
        assert!(passed(4, rate), "another reason has its own");
        assert!(!passed(999, banned) && passed(1_000, banned));
    }
}
