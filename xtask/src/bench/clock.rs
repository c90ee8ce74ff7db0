//! The one place where a bench reads the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix seconds.
pub(super) fn unix_seconds() -> i64 {
    unix_nanos() / 1_000_000_000
}

/// Unix nanoseconds.
#[expect(clippy::disallowed_methods, reason = "the clock file of this program")]
pub(super) fn unix_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Measures how long something takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the clock file of this program")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
