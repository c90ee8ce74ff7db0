//! The one file of this crate that reads the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use signal::Timestamp;

/// Wall-clock time, for records.
#[expect(clippy::disallowed_methods, reason = "this is the clock file of an edge crate")]
pub(crate) fn wall() -> Timestamp {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
}

/// Monotonic time, for deadlines.
#[expect(clippy::disallowed_methods, reason = "this is the clock file of an edge crate")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
