//! Storm: known phones come back all at once.

use policy::{Rate, Time};
use std::time::Duration;

/// Between two alerts.
const QUIET: Duration = Duration::from_secs(600);

/// Registrations of one home that no rate is asked about in a storm.
pub(crate) const PACE: Rate = Rate { count: 1, per: Duration::from_secs(1), burst: 8 };

/// Registrations of known phones in this second.
#[derive(Debug, Default)]
pub(crate) struct Storm {
    second: u64,
    count: u32,
    /// Nobody is judged by rates until then.
    until: Time,
    said: Time,
}

impl Storm {
    /// One more. Whether a storm began that is to be said.
    pub(crate) fn registered(&mut self, now: Time, most: u32) -> bool {
        if self.second != now.as_secs() {
            (self.second, self.count) = (now.as_secs(), 0);
        }
        self.count = self.count.saturating_add(1);
        if self.count <= most {
            return false;
        }
        self.until = now + Duration::from_secs(10);
        let news = now >= self.said;
        self.said = now + QUIET;
        news
    }

    /// Whether one is on.
    pub(crate) fn is_on(&self, now: Time) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once() {
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        let mut storm = Storm::default();
        let said = (0..5_000).filter(|n| storm.registered(at(*n), 20)).count();
        assert_eq!(said, 1);
        assert!(storm.is_on(at(5_000)) && !storm.is_on(at(60_000)));
    }

    #[test]
    fn a_few_are_none() {
        let mut storm = Storm::default();
        for n in 0..100 {
            assert!(!storm.registered(Time::ZERO + Duration::from_millis(50 * n), 20));
        }
    }
}
