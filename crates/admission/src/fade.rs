//! Evidence fades: what it weighs halves in a half-life.

use policy::Time;
use std::time::Duration;

/// What is left of `score` after `length`.
pub(crate) fn faded(score: f32, length: Duration, half_life: Duration) -> f32 {
    if score == 0.0 || half_life.is_zero() {
        return 0.0;
    }
    score * (-length.as_secs_f32() / half_life.as_secs_f32()).exp2()
}

/// A moment that is kept: [`Time::ZERO`] there means *never*.
pub(crate) fn stamp(now: Time) -> Time {
    now.max(Time::from_nanos(1))
}

/// Whether what was stamped is at most `length` old.
pub(crate) fn within(now: Time, stamped: Time, length: Duration) -> bool {
    stamped != Time::ZERO && now.since(stamped) <= length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves() {
        let half = Duration::from_secs(600);
        assert_eq!(faded(4.0, Duration::ZERO, half), 4.0);
        assert!((faded(4.0, half, half) - 2.0).abs() < 1e-6);
        assert!((faded(4.0, half * 2, half) - 1.0).abs() < 1e-6);
        assert_eq!(faded(0.0, half, half), 0.0);
        assert_eq!(faded(1.0, half, Duration::ZERO), 0.0);
    }

    #[test]
    fn never_is_not_within() {
        assert!(!within(Time::ZERO, Time::ZERO, Duration::from_secs(1)));
        assert!(within(Time::ZERO, stamp(Time::ZERO), Duration::from_secs(1)));
    }
}
