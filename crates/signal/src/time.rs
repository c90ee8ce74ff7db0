//! Points in time and ranges of it. Nothing here reads a clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC; negative before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Nanoseconds since the Unix epoch, UTC: the resolution of log lines and spans.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub i64);

/// A span of time; both ends belong to it. Empty when `end < start`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TimeRange {
    /// First instant inside.
    pub start: Timestamp,
    /// Last instant inside.
    pub end: Timestamp,
}

/// A text that is not a time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot parse `{text}` as a time; expected RFC 3339 or unix seconds")]
pub struct TimestampError {
    /// What was given.
    pub text: String,
}

impl Timestamp {
    /// The earliest representable instant.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest representable instant.
    pub const MAX: Self = Self(i64::MAX);

    /// This instant moved forward; saturates at the end of time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This instant moved back; saturates at the beginning of time.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Unix seconds with a fraction.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// From unix seconds, rounded to the millisecond; `None` unless finite and in range.
    #[must_use]
    pub fn from_secs_f64(seconds: f64) -> Option<Self> {
        let ms = (seconds * 1000.0).round();
        (ms.is_finite() && ms.abs() < 9.2e18).then_some(Self(ms as i64))
    }

    /// The same instant in nanoseconds; saturates.
    #[must_use]
    pub fn to_nanos(self) -> Nanos {
        Nanos(self.0.saturating_mul(1_000_000))
    }

    /// Reads unix seconds (with fraction) or RFC 3339.
    ///
    /// # Errors
    /// `TimestampError` when it is neither.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let error = || TimestampError { text: text.to_owned() };
        if let Ok(seconds) = text.parse::<f64>() {
            return Self::from_secs_f64(seconds).ok_or_else(error);
        }
        text.parse::<jiff::Timestamp>().map(|at| Self(at.as_millisecond())).map_err(|_| error())
    }
}

impl Nanos {
    /// The millisecond this instant falls in (rounded down).
    #[must_use]
    pub fn to_timestamp(self) -> Timestamp {
        Timestamp(self.0.div_euclid(1_000_000))
    }

    /// Unix seconds with a fraction.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This instant moved forward; saturates.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// This instant moved back; saturates.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl TimeRange {
    /// From `start` to `end`, both inside.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// The `length` before and including `end`.
    #[must_use]
    pub fn last(length: Duration, end: Timestamp) -> Self {
        Self { start: end.minus(length), end }
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self { start: Timestamp::MIN, end: Timestamp::MAX }
    }

    /// Whether `at` lies inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at <= self.end
    }

    /// Whether the two ranges share an instant.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Length from start to end; zero when empty.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.end.since(self.start)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with as many decimals as needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Display for Nanos {
    /// RFC 3339 in UTC with as many decimals as needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

fn millis(by: Duration) -> i64 {
    i64::try_from(by.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_two_spellings_of_time() {
        for (text, want) in [
            ("1706189400", Some(1_706_189_400_000)),
            ("1706189400.25", Some(1_706_189_400_250)),
            ("2024-01-25T13:30:00Z", Some(1_706_189_400_000)),
            ("2024-01-25T14:30:00.5+01:00", Some(1_706_189_400_500)),
            ("yesterday", None),
            ("NaN", None),
            ("1e300", None),
        ] {
            assert_eq!(Timestamp::parse(text).ok().map(|at| at.0), want, "{text}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
        assert_eq!(Nanos(-1).to_timestamp(), Timestamp(-1));
    }
}
