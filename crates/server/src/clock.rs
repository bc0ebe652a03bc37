//! The one place that reads the clock.

use policy::Time;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock, anchored to the wall once: never goes back while the process runs, and its
/// times mean the same after a restart. All shards hold a copy of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: Duration,
    anchor: Instant,
}

impl Clock {
    #[allow(clippy::disallowed_methods)] // the driver's clock: everything else gets the time from it
    pub(crate) fn new() -> Self {
        // A wall clock before 1970 counts as 1970: tokens made then have expired anyway.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { wall, anchor: Instant::now() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.wall + self.anchor.elapsed()
    }

    /// The runtime's instant of `time`.
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        let since = time.since(Time::ZERO + self.wall);
        // The runtime cannot wait longer than some years, and nobody will.
        let since = since.min(Duration::from_secs(365 * 86_400));
        (self.anchor + since).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_go_back_and_is_near_the_wall() {
        let clock = Clock::new();
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first);
        assert!(first.as_secs() > 1_700_000_000);
        assert!(Time::ZERO + clock.wall <= first);
    }

    #[test]
    fn deadlines_map_to_instants_in_order() {
        let clock = Clock::new();
        let now = clock.now();
        let near = clock.instant(now + Duration::from_secs(1));
        let far = clock.instant(Time::FOREVER);
        assert!(clock.instant(Time::ZERO) <= near && near < far);
    }
}
