//! What Loki's clients write into their parameters, and what Loki says when that is wrong.

use std::time::Duration;

use query::logql::{Direction, Expr};
use signal::Nanos;

use super::Handles;
use crate::params::{Params, loki_duration};
use crate::reply::Refusal;

/// Loki's `max_entries_limit_per_query`.
pub(super) const MAX_LINES: usize = 5_000;
/// Lines given when the request names no limit.
const DEFAULT_LINES: usize = 100;
/// Loki's `max_query_length`.
const MAX_LENGTH: Duration = Duration::from_secs(721 * 3_600);
/// The same as Loki writes it.
pub(super) const MAX_LENGTH_TEXT: &str = "30d1h";
/// Steps of a range.
const MAX_STEPS: u128 = 11_000;

/// The time a request is about, both ends inside the search.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) start: Nanos,
    pub(super) end: Nanos,
}

impl Window {
    pub(super) fn read(params: &Params, handles: &Handles, default: Duration) -> Result<Self, Refusal> {
        let now = (handles.now)().to_nanos();
        let since = match params.get("since") {
            Some(text) => loki_duration(text).ok_or_else(|| {
                Refusal::bad(format!("could not parse 'since' parameter: not a valid duration string: \"{text}\""))
            })?,
            None => default,
        };
        let end = params.nanos("end")?.unwrap_or(now);
        // A time ahead of the clock is no good place to count back from.
        let start = params.nanos("start")?.unwrap_or_else(|| end.min(now).minus(since));
        if end < start {
            return Err(Refusal::bad("end timestamp must not be before or equal to start time"));
        }
        Ok(Self { start, end })
    }

    fn length(self) -> Duration {
        self.end.since(self.start)
    }

    /// Refuses what Loki finds too long for one query.
    pub(super) fn check_length(self) -> Result<(), Refusal> {
        if self.length() <= MAX_LENGTH {
            return Ok(());
        }
        let length = go_duration(self.length());
        Err(Refusal::bad(format!(
            "the query time range exceeds the limit (query length: {length}, limit: {MAX_LENGTH_TEXT})"
        )))
    }

    /// `step`, or what Loki takes for it.
    pub(super) fn step(self, params: &Params) -> Result<Duration, Refusal> {
        let zero =
            || Refusal::bad("zero or negative query resolution step widths are not accepted. Try a positive integer");
        let step = match params.get("step") {
            None => Duration::from_secs((self.length().as_secs() / 250).max(1)),
            Some(text) if text.parse::<f64>().is_ok_and(|seconds| seconds <= 0.0) => return Err(zero()),
            Some(text) => duration(text)?,
        };
        if step.is_zero() {
            return Err(zero());
        }
        if self.length().as_nanos() / step.as_nanos() > MAX_STEPS {
            return Err(Refusal::bad(
                "exceeded maximum resolution of 11,000 points per time series. \
                 Try increasing the value of the step parameter",
            ));
        }
        Ok(step)
    }
}

/// `interval`: lines closer together than this are left out.
pub(super) fn interval(params: &Params) -> Result<Duration, Refusal> {
    match params.get("interval") {
        None => Ok(Duration::ZERO),
        Some(text) if text.parse::<f64>().is_ok_and(|seconds| seconds < 0.0) => {
            Err(Refusal::bad("interval must be >= 0"))
        }
        Some(text) => duration(text),
    }
}

fn duration(text: &str) -> Result<Duration, Refusal> {
    loki_duration(text).ok_or_else(|| Refusal::bad(format!("cannot parse \"{text}\" to a valid duration")))
}

/// `limit`, whatever it counts.
pub(super) fn count(params: &Params) -> Result<usize, Refusal> {
    let Some(text) = params.get("limit") else { return Ok(DEFAULT_LINES) };
    let limit: i64 =
        text.parse().map_err(|_| Refusal::bad(format!("strconv.Atoi: parsing \"{text}\": invalid syntax")))?;
    usize::try_from(limit).ok().filter(|limit| *limit > 0).ok_or_else(|| Refusal::bad("limit must be a positive value"))
}

/// `limit` for what answers with lines; numbers have no such limit.
pub(super) fn lines(params: &Params, expr: &Expr) -> Result<usize, Refusal> {
    let limit = count(params)?;
    match expr {
        Expr::Log(_) if limit > MAX_LINES => Err(Refusal::bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {MAX_LINES})"
        ))),
        Expr::Log(_) | Expr::Metric(_) => Ok(limit),
    }
}

/// `direction`.
pub(super) fn direction(params: &Params) -> Result<Direction, Refusal> {
    match params.get("direction").map(str::to_ascii_lowercase).as_deref() {
        None | Some("backward") => Ok(Direction::Backward),
        Some("forward") => Ok(Direction::Forward),
        Some(_) => {
            let text = params.get("direction").unwrap_or_default();
            Err(Refusal::bad(format!("invalid direction '{text}'")))
        }
    }
}

/// As Go writes durations of a second and more: `721h0m0s`, `1m0.5s`.
fn go_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let fraction = if nanos == 0 { String::new() } else { format!(".{nanos:09}").trim_end_matches('0').to_owned() };
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}{fraction}s"),
        (0, _) => format!("{minutes}m{rest}{fraction}s"),
        (_, _) => format!("{hours}h{minutes}m{rest}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_as_in_go() {
        for (ms, want) in [(2_595_600_000, "721h0m0s"), (61_500, "1m1.5s"), (3_600_001, "1h0m0.001s"), (2_000, "2s")] {
            assert_eq!(go_duration(Duration::from_millis(ms)), want);
        }
    }
}
