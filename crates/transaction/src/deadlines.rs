use crate::Reliability;
use policy::{Time, TimerBase};
use std::time::Duration;

/// When a machine acts by itself. [`Time::FOREVER`] stands for "not running", so that a machine
/// stays small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadlines {
    /// Timer A, E or G.
    resend: Time,
    /// All others.
    end: Time,
    /// From one retransmission to the next.
    interval: Duration,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The state ends.
    End,
    /// What was sent is sent again.
    Resend,
}

impl Deadlines {
    /// Of a state that the owner ends.
    pub(crate) const NONE: Deadlines = Deadlines::until(Time::FOREVER);

    /// Of a state in which nothing is sent again.
    pub(crate) const fn until(end: Time) -> Self {
        Deadlines { resend: Time::FOREVER, end, interval: Duration::ZERO }
    }

    /// Of a state in which what is sent now is sent again, first after T1, and over an unreliable
    /// transport only.
    pub(crate) fn repeating(now: Time, reliability: Reliability, base: &TimerBase) -> Self {
        Deadlines {
            resend: if reliability.is_reliable() { Time::FOREVER } else { now + base.t1 },
            end: now + patience(base),
            interval: base.t1,
        }
    }

    /// What is due; the end comes before a retransmission.
    pub(crate) fn due(&self, now: Time) -> Option<Due> {
        if now >= self.end {
            Some(Due::End)
        } else if now >= self.resend {
            Some(Due::Resend)
        } else {
            None
        }
    }

    /// Twice the interval that has passed, as timers A, E and G go on.
    pub(crate) fn doubled(&self) -> Duration {
        self.interval.saturating_mul(2)
    }

    /// It is sent again, and the next time after this interval. Late owners send one for all they
    /// missed.
    pub(crate) fn resent(&mut self, now: Time, interval: Duration) {
        let next = self.resend + interval;
        self.resend = if next > now { next } else { now + interval.max(Duration::from_millis(1)) };
        self.interval = interval;
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Time> {
        let earliest = self.resend.min(self.end);
        (earliest != Time::FOREVER).then_some(earliest)
    }
}

/// Until when a client waits, and how long an INVITE's 2xx are let through: timers B, F, H, J, L
/// and M are all 64·T1.
pub(crate) fn patience(base: &TimerBase) -> Duration {
    base.t1.saturating_mul(64)
}
