use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment: nanoseconds since the Unix epoch. It is an argument everywhere below the driver, who
/// anchors a monotonic clock to the wall once at its start, so it never goes back within a
/// process and still means the same after a restart (tokens and branch keys live in it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch; the simulator's and the replay's zero.
    pub const ZERO: Time = Time(0);
    /// Further than any deadline.
    pub const FOREVER: Time = Time(u64::MAX);

    /// From nanoseconds since the epoch.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Self {
        Time(nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Year, month and day in UTC.
    #[must_use]
    pub fn date(self) -> (u64, u64, u64) {
        civil(self.as_secs() / 86_400)
    }

    /// Hour, minute and second in UTC.
    #[must_use]
    pub fn time_of_day(self) -> (u64, u64, u64) {
        let second = self.as_secs() % 86_400;
        (second / 3_600, second / 60 % 60, second % 60)
    }

    /// As machines and people both read it (RFC 3339): `2026-11-22T20:40:08Z`.
    #[must_use]
    pub fn utc(self) -> String {
        let ((year, month, day), (hour, minute, second)) = (self.date(), self.time_of_day());
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// As [`Time::utc`], with milliseconds: `2026-11-22T20:40:08.125Z`.
    #[must_use]
    pub fn utc_millis(self) -> String {
        let whole = self.utc();
        format!("{}.{:03}Z", whole.trim_end_matches('Z'), self.0 / 1_000_000 % 1_000)
    }

    /// How long since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, length: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, length: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    /// Seconds with microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// Year, month and day of the `days`-th day after 1970-01-01, in the Gregorian calendar. Counted
/// in years from March and eras of 400 of them, which all have the same days.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_rfc_3339_has_it() {
        let time = Time::ZERO + Duration::from_secs(1_795_380_008);
        assert_eq!(time.utc(), "2026-11-22T20:40:08Z");
        let later = time + Duration::from_micros(45_999);
        assert_eq!(later.utc_millis(), "2026-11-22T20:40:08.045Z");
        assert!(Time::FOREVER.utc().starts_with("2554-"));
    }

    #[test]
    fn days_have_their_dates() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_088, (2024, 12, 31)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date, "{days}");
        }
        // each day follows the one before
        let mut last = civil(0);
        for days in 1..150_000 {
            let next = civil(days);
            let follows = next == (last.0, last.1, last.2 + 1)
                || next == (last.0, last.1 + 1, 1)
                || next == (last.0 + 1, 1, 1) && last.1 == 12;
            assert!(follows, "{last:?} {next:?}");
            last = next;
        }
    }
}
