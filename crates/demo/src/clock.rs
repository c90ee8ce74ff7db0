//! The demo's only reader of the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use signal::{Nanos, Timestamp};

/// Wall-clock time in nanoseconds.
pub(crate) fn now_nanos() -> Nanos {
    #[expect(clippy::disallowed_methods, reason = "the one file of this crate that reads the clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Wall-clock time in milliseconds.
pub(crate) fn now() -> Timestamp {
    now_nanos().to_timestamp()
}

/// Measures durations; unaffected by changes of the wall clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the one file of this crate that reads the clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
