//! Whether the PBX is there, by what it says and what ICMP says of it. A PBX that is gone is
//! nobody's fault outside.

use policy::Time;
use std::time::Duration;

/// While the PBX is down one request a second goes through to it, to find it up again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of the PBX.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Health {
    heard: Time,
    refused: Time,
    probed: Time,
    down: bool,
}

impl Health {
    pub(crate) fn new() -> Self {
        Health { heard: Time::ZERO, refused: Time::ZERO, probed: Time::ZERO, down: false }
    }

    /// It said something.
    pub(crate) fn on_heard(&mut self, now: Time) {
        self.heard = now;
        self.down = false;
    }

    /// ICMP: nobody listens there.
    pub(crate) fn on_refused(&mut self, now: Time) {
        self.refused = now;
    }

    /// A request that went out at `since` was never answered, nor anything else said since.
    pub(crate) fn on_silence(&mut self, since: Time) -> bool {
        if self.heard < since {
            self.down = true;
        }
        self.down
    }

    /// Whether what was sent at `since` was refused, and nothing was heard since.
    pub(crate) fn is_refusing(&self, since: Time) -> bool {
        self.refused >= since && self.heard < since
    }

    /// Whether a new request goes through: always while it is up, else as a probe.
    pub(crate) fn admits(&mut self, now: Time) -> bool {
        if !self.down {
            return true;
        }
        if now.since(self.probed) >= PROBE_INTERVAL {
            self.probed = now;
            return true;
        }
        false
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn one_unanswered_request_does_not_make_a_talking_pbx_dead() {
        let mut health = Health::new();
        health.on_heard(at(20));
        assert!(!health.on_silence(at(10)));
        assert!(health.is_up() && health.admits(at(40)));
    }

    #[test]
    fn a_silent_pbx_is_probed_once_a_second_until_it_speaks() {
        let mut health = Health::new();
        assert!(health.on_silence(at(5)));
        assert!(health.admits(at(40)) && !health.admits(at(40)));
        assert!(health.admits(at(41)));
        health.on_heard(at(42));
        assert!(health.is_up() && health.admits(at(42)) && health.admits(at(42)));
    }

    #[test]
    fn a_refusal_counts_until_the_pbx_speaks() {
        let mut health = Health::new();
        health.on_refused(at(10));
        assert!(health.is_refusing(at(10)));
        assert!(!health.is_refusing(at(11)), "older than the request");
        health.on_heard(at(12));
        assert!(!health.is_refusing(at(10)));
    }
}
