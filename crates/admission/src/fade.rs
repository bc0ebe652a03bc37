//! Evidence fades: what it weighs halves in a half-life. Moments in little room.

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

/// A moment in six bytes: in steps of 2¹⁶ ns (66 µs), rounded up, until the year 2549.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment([u16; 3]);

impl Moment {
    pub(crate) const NEVER: Moment = Moment([0; 3]);

    /// Of [`Time::ZERO`] it is never.
    pub(crate) fn of(time: Time) -> Self {
        let steps = time.as_nanos().div_ceil(1 << 16).min((1 << 48) - 1);
        Moment([steps as u16, (steps >> 16) as u16, (steps >> 32) as u16])
    }

    /// A moment that is not never.
    pub(crate) fn stamp(now: Time) -> Self {
        Moment::of(stamp(now))
    }

    pub(crate) fn time(self) -> Time {
        let [low, middle, high] = self.0.map(u64::from);
        Time::from_nanos((high << 32 | middle << 16 | low) << 16)
    }

    /// Whether it is at most `length` ago.
    pub(crate) fn is_within(self, now: Time, length: Duration) -> bool {
        within(now, self.time(), length)
    }
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
        assert!(Moment::stamp(Time::ZERO).is_within(Time::ZERO, Duration::from_secs(1)));
        assert!(!Moment::NEVER.is_within(Time::ZERO, Duration::from_secs(1)));
    }

    #[test]
    fn a_moment_is_kept_to_66_microseconds() {
        for nanos in [0, 1, 65_535, 65_536, 1_800_000_000_123_456_789, 1 << 63] {
            let (time, kept) = (Time::from_nanos(nanos), Moment::of(Time::from_nanos(nanos)));
            assert!(kept.time() >= time && kept.time().since(time) < Duration::from_nanos(1 << 16));
            assert_eq!(Moment::of(kept.time()), kept);
        }
        assert_eq!(Moment::of(Time::ZERO), Moment::NEVER);
        assert!(Moment::of(Time::FOREVER).time().as_secs() > 18_000_000_000);
        let (at, hour) = (Moment::stamp(Time::from_nanos(77)), Duration::from_secs(3_600));
        assert!(at.is_within(Time::from_nanos(77) + hour, hour), "to the end");
        assert!(!at.is_within(Time::from_nanos(77 + (1 << 16)) + hour, hour));
    }
}
