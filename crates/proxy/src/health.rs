//! Whether a PBX is there, by what it says, by what ICMP and connections say of it, by its answers to
//! OPTIONS, and by what becomes of the requests that go to it. A PBX that is gone is nobody's fault
//! outside.

use policy::{Checks, Time};
use std::time::Duration;

/// While a PBX is down one request a second goes through to it where there is no other, to find it
/// up again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Requests are counted over this long, and the time of this length before.
const WINDOW: Duration = Duration::from_secs(10);

/// What is known of one PBX.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Health {
    heard: Time,
    refused: Time,
    probed: Time,
    down: bool,
    /// It failed requests, whatever it answers to OPTIONS: left alone until then.
    rests_until: Time,
    /// When the next OPTIONS is due, and whether the last waits for its answer.
    pub(crate) due: Time,
    waiting: bool,
    /// A request waits for its answer rather long, and nothing was heard since it went out.
    doubted: bool,
    /// OPTIONS in a row without an answer, or with one.
    unanswered: u32,
    answered: u32,
    /// (served, failed) in this window and in the last.
    counted: [(u32, u32); 2],
    since: Time,
}

impl Health {
    pub(crate) fn new() -> Self {
        Health {
            heard: Time::ZERO,
            refused: Time::ZERO,
            probed: Time::ZERO,
            down: false,
            rests_until: Time::ZERO,
            due: Time::ZERO,
            waiting: false,
            doubted: false,
            unanswered: 0,
            answered: 0,
            counted: [(0, 0); 2],
            since: Time::ZERO,
        }
    }

    /// It said something. One that is asked by OPTIONS is up when it answers these.
    pub(crate) fn on_heard(&mut self, now: Time, checked: bool) {
        self.heard = now;
        self.doubted = false;
        self.down &= checked;
    }

    /// A request that went out at `since` is not answered yet. A message that a PBX which lives says
    /// nothing to is easily made: before it counts as silent it is asked.
    pub(crate) fn on_doubt(&mut self, now: Time, since: Time) {
        if self.heard < since && !self.doubted && !self.down {
            (self.doubted, self.waiting, self.unanswered) = (true, false, 0);
            self.due = now;
        }
    }

    /// Whether one that is not asked for ever is asked now.
    pub(crate) fn is_asked(&self) -> bool {
        self.doubted || self.down
    }

    /// ICMP: nobody listens there; or a connection was refused or lost.
    pub(crate) fn on_refused(&mut self, now: Time) {
        self.refused = now;
    }

    /// A request that went out at `since` was never answered, nor anything else said since.
    pub(crate) fn on_silence(&mut self, since: Time) -> bool {
        if self.heard < since {
            self.fall();
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

    /// What became of a request: it was served, or it failed (no answer, 503, connection lost).
    pub(crate) fn on_outcome(&mut self, now: Time, served: bool, checks: &Checks) {
        if now.since(self.since) >= WINDOW {
            let late = now.since(self.since) >= WINDOW * 2;
            self.counted = [(0, 0), if late { (0, 0) } else { self.counted[0] }];
            self.since = now;
        }
        let (good, bad) = &mut self.counted[0];
        let count = if served { good } else { bad };
        *count = count.saturating_add(1);
        let sum = |of: fn(&(u32, u32)) -> u32| self.counted.iter().map(of).map(u64::from).sum();
        let (good, bad): (u64, u64) = (sum(|it| it.0), sum(|it| it.1));
        let failing = checks.failing > 0
            && good + bad >= u64::from(checks.least)
            && bad * 100 >= (good + bad) * u64::from(checks.failing);
        if failing && !served {
            self.fall();
            self.rests_until = now + checks.rest;
            self.counted = [(0, 0); 2];
        }
    }

    /// An OPTIONS goes out; whether the last one had no answer and so it is down.
    pub(crate) fn on_check(&mut self, now: Time, checks: &Checks) {
        if std::mem::replace(&mut self.waiting, true) {
            self.on_unanswered(checks);
        }
        self.due = now + checks.every;
    }

    /// Its answer: whether that says that it serves.
    pub(crate) fn on_checked(&mut self, now: Time, serves: bool, checks: &Checks) {
        self.waiting = false;
        if !serves {
            return self.on_unanswered(checks);
        }
        self.unanswered = 0;
        self.answered = self.answered.saturating_add(1);
        if self.answered >= checks.answered && self.rests_until <= now {
            self.down = false;
        }
    }

    fn on_unanswered(&mut self, checks: &Checks) {
        self.answered = 0;
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered >= checks.unanswered {
            self.fall();
        }
    }

    fn fall(&mut self) {
        self.down = true;
        self.answered = 0;
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
        health.on_heard(at(20), false);
        assert!(!health.on_silence(at(10)));
        assert!(health.is_up() && health.admits(at(40)));
    }

    #[test]
    fn a_silent_pbx_is_probed_once_a_second_until_it_speaks() {
        let mut health = Health::new();
        assert!(health.on_silence(at(5)));
        assert!(health.admits(at(40)) && !health.admits(at(40)));
        assert!(health.admits(at(41)));
        health.on_heard(at(42), false);
        assert!(health.is_up() && health.admits(at(42)) && health.admits(at(42)));
    }

    #[test]
    fn one_that_leaves_a_request_unanswered_is_asked_and_is_up_while_it_answers() {
        let checks = Checks::default();
        let mut health = Health::new();
        health.on_heard(at(0), false);
        health.on_doubt(at(9), at(5));
        assert!(health.is_asked() && health.due <= at(9));
        health.on_check(at(9), &checks);
        health.on_heard(at(9), false);
        assert!(!health.is_asked() && !health.on_silence(at(5)));
        // the next request like it is another one
        health.on_doubt(at(14), at(10));
        for second in [14, 16] {
            health.on_check(at(second), &checks);
            assert!(health.is_up());
        }
        health.on_check(at(18), &checks);
        assert!(!health.is_up() && health.is_asked(), "until it says something");
        health.on_heard(at(19), false);
        assert!(health.is_up() && !health.is_asked());
    }

    #[test]
    fn a_refusal_counts_until_the_pbx_speaks() {
        let mut health = Health::new();
        health.on_refused(at(10));
        assert!(health.is_refusing(at(10)));
        assert!(!health.is_refusing(at(11)), "older than the request");
        health.on_heard(at(12), false);
        assert!(!health.is_refusing(at(10)));
    }

    #[test]
    fn options_without_an_answer_take_it_down_and_answers_in_a_row_bring_it_back() {
        let checks = Checks::default();
        let mut health = Health::new();
        health.on_check(at(0), &checks);
        health.on_check(at(2), &checks);
        assert!(health.is_up(), "one is lost now and then");
        health.on_check(at(4), &checks);
        assert!(!health.is_up());
        health.on_heard(at(5), true);
        assert!(!health.is_up(), "it speaks before it serves");
        health.on_checked(at(5), true, &checks);
        health.on_check(at(6), &checks);
        health.on_checked(at(6), false, &checks);
        health.on_checked(at(8), true, &checks);
        assert!(!health.is_up(), "not in a row");
        health.on_checked(at(10), true, &checks);
        assert!(health.is_up());
    }

    #[test]
    fn one_that_fails_half_of_its_requests_rests() {
        let checks = Checks::default();
        let mut health = Health::new();
        for _ in 0..100 {
            health.on_outcome(at(0), true, &checks);
        }
        for _ in 0..9 {
            health.on_outcome(at(25), false, &checks);
        }
        assert!(health.is_up(), "fewer than ten say nothing, and what was is forgotten");
        health.on_outcome(at(26), false, &checks);
        assert!(!health.is_up());
        for second in 27..60 {
            health.on_checked(at(second), true, &checks);
            assert_eq!(health.is_up(), second >= 56, "{second}");
        }
    }
}
