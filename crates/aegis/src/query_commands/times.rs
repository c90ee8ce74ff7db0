//! Times and steps as people type them.

use std::time::Duration;

use signal::{Timestamp, parse_duration};

/// A time of day, or a distance from now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    At(Timestamp),
    Before(Duration),
}

impl Moment {
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Before(by) => now.minus(by),
        }
    }
}

pub(crate) fn parse(text: &str) -> Result<Moment, String> {
    let Some(distance) = text.strip_prefix("now") else {
        return Timestamp::parse(text).map(Moment::At).map_err(|_| wrong(text));
    };
    if distance.is_empty() {
        return Ok(Moment::Before(Duration::ZERO));
    }
    let distance = distance.strip_prefix('-').and_then(|distance| parse_duration(distance).ok());
    distance.map(Moment::Before).ok_or_else(|| wrong(text))
}

fn wrong(text: &str) -> String {
    format!("`{text}` is no time; write unix seconds, RFC 3339, `now` or `now-1h30m`")
}

/// A duration, or seconds.
pub(crate) fn step(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let step = seconds.or_else(|| parse_duration(text).ok()).filter(|step| step.as_millis() > 0);
    step.ok_or_else(|| format!("`{text}` is no step; write something like `15s`, `1m30s`, or seconds above zero"))
}
