//! What a query cost, for `stats=`: times, and the samples it looked at.

use std::fmt::Write as _;
use std::time::Duration;

use query::Cancel;
use query::promql::{At, EvalError, Expr, Selector, Settings, Steps, TimeShift};
use signal::{TimeRange, Timestamp, is_stale};
use store::Snapshot;

use crate::handles::Clock;
use crate::json;
use crate::params::Params;

/// How much the client wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Detail {
    /// Totals.
    Basic,
    /// Samples for each step, too.
    PerStep,
}

impl Detail {
    /// Any value of `stats` asks for totals, `all` for everything.
    pub(super) fn read(params: &Params) -> Option<Self> {
        match params.get("stats") {
            None => None,
            Some("all") => Some(Self::PerStep),
            Some(_) => Some(Self::Basic),
        }
    }
}

/// Takes the time of one query. Upstream measures in nanoseconds; the clock handed in here knows milliseconds.
pub(super) struct Watch {
    now: Clock,
    detail: Option<Detail>,
    asked: Timestamp,
    begun: Timestamp,
}

impl Watch {
    /// The query has been asked and now waits for its turn.
    pub(super) fn start(now: &Clock, detail: Option<Detail>) -> Self {
        let asked = now();
        Self { now: now.clone(), detail, asked, begun: asked }
    }

    /// Its turn has come.
    pub(super) fn dequeued(mut self) -> Self {
        self.begun = (self.now)();
        self
    }

    /// It is answered: `,"stats":{…}`, or nothing when nobody asked. Only then are samples counted.
    pub(super) fn stop(self, count: impl FnOnce() -> Result<Samples, EvalError>) -> Result<String, EvalError> {
        let Some(detail) = self.detail else { return Ok(String::new()) };
        let end = (self.now)();
        let [queue, work, total] =
            [self.begun.since(self.asked), end.since(self.begun), end.since(self.asked)].map(|time| time.as_secs_f64());
        let samples = count()?;
        let mut out = format!(
            r#","stats":{{"timings":{{"evalTotalTime":{work},"resultSortTime":0,"queryPreparationTime":0,"innerEvalTime":{work},"execQueueTime":{queue},"execTotalTime":{total}}},"samples":{{"#
        );
        if detail == Detail::PerStep {
            out.push_str(r#""totalQueryableSamplesPerStep":"#);
            json::array(&mut out, samples.grid.times().zip(&samples.per_step), |out, (at, count)| {
                out.push('[');
                json::push_seconds(out, Timestamp(at));
                let _ = write!(out, ",{count}]");
            });
            out.push(',');
        }
        let (all, peak) = (samples.total(), samples.per_step.iter().max().copied().unwrap_or(0));
        let _ = write!(out, r#""totalQueryableSamples":{all},"peakSamples":{peak}}}}}"#);
        Ok(out)
    }
}

/// Evenly spaced times.
#[derive(Clone, Copy)]
struct Grid {
    start: i64,
    step: i64,
    count: usize,
}

impl Grid {
    fn over(start: i64, end: i64, step: i64) -> Self {
        let step = step.max(1);
        let count = if end < start { 0 } else { usize::try_from((end - start) / step).unwrap_or(0) + 1 };
        Self { start, step, count }
    }

    fn times(self) -> impl Iterator<Item = i64> {
        let (start, step) = (self.start, self.step);
        (0_i64..).take(self.count).map(move |k| start.saturating_add(step.saturating_mul(k)))
    }

    fn end(self) -> i64 {
        self.times().last().unwrap_or(self.start)
    }
}

/// How many stored samples the selectors of a query looked at, as upstream counts: the points of a subquery are not
/// counted again where it is used.
pub(super) struct Samples {
    grid: Grid,
    per_step: Vec<u64>,
}

impl Samples {
    fn total(&self) -> u64 {
        self.per_step.iter().sum()
    }

    fn add(&mut self, step: usize, count: u64) {
        if let Some(sum) = self.per_step.get_mut(step) {
            *sum = sum.saturating_add(count);
        }
    }
}

/// Counts for a query at one time.
pub(super) fn at(
    expr: &Expr,
    snapshot: &Snapshot,
    at: Timestamp,
    settings: &Settings,
    cancel: &Cancel,
) -> Result<Samples, EvalError> {
    let grid = Grid { start: at.0, step: 1, count: 1 };
    Count { snapshot, settings, cancel, query: grid }.of(expr, grid)
}

/// Counts for a query over a range.
pub(super) fn over(
    expr: &Expr,
    snapshot: &Snapshot,
    steps: Steps,
    settings: &Settings,
    cancel: &Cancel,
) -> Result<Samples, EvalError> {
    let grid = Grid::over(steps.start.0, steps.end.0, millis(steps.step));
    Count { snapshot, settings, cancel, query: grid }.of(expr, grid)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

struct Count<'a> {
    snapshot: &'a Snapshot,
    settings: &'a Settings,
    cancel: &'a Cancel,
    /// For `@ start()` and `@ end()`.
    query: Grid,
}

impl Count<'_> {
    fn of(&self, expr: &Expr, grid: Grid) -> Result<Samples, EvalError> {
        let mut samples = Samples { grid, per_step: vec![0; grid.count] };
        self.walk(expr, &mut samples)?;
        Ok(samples)
    }

    fn walk(&self, expr: &Expr, samples: &mut Samples) -> Result<(), EvalError> {
        match expr {
            Expr::Selector(selector) => self.selector(selector, None, samples),
            Expr::Range(range) => self.selector(&range.selector, Some(range.range), samples),
            Expr::Subquery(subquery) => {
                let step = millis(subquery.step.unwrap_or(self.settings.subquery_step)).max(1);
                let first = self.shifted(subquery.shift, samples.grid.start).saturating_sub(millis(subquery.range));
                // The window is open on the left, and steps are multiples of the step.
                let start = first.div_euclid(step).saturating_add(1).saturating_mul(step);
                let end = self.shifted(subquery.shift, samples.grid.end());
                let grid = Grid::over(start, end, step);
                if grid.count > self.settings.max_samples {
                    return Err(EvalError::TooManySamples);
                }
                let inner = self.of(&subquery.expr, grid)?.total();
                samples.add(samples.grid.count.saturating_sub(1), inner);
                Ok(())
            }
            Expr::Number(_) | Expr::Text(_) => Ok(()),
            Expr::Call(_) | Expr::Aggregate(_) | Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(..) => {
                expr.children().into_iter().try_for_each(|child| self.walk(child, samples))
            }
        }
    }

    fn shifted(&self, shift: TimeShift, at: i64) -> i64 {
        let base = match shift.at {
            None => at,
            Some(At::Time(fixed)) => fixed.0,
            Some(At::Start) => self.query.start,
            Some(At::End) => self.query.end(),
        };
        base.saturating_sub(shift.offset_ms.unwrap_or(0))
    }

    /// One sample a series within the lookback time, or all samples of a window.
    fn selector(&self, selector: &Selector, window: Option<Duration>, samples: &mut Samples) -> Result<(), EvalError> {
        let grid = samples.grid;
        let length = millis(window.unwrap_or(self.settings.lookback));
        let times: Vec<i64> = grid.times().map(|at| self.shifted(selector.shift, at)).collect();
        let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return Ok(()) };
        let range = TimeRange::new(Timestamp(first.saturating_sub(length)), Timestamp(*last));
        let (mut floats, mut histograms, mut points) = (Vec::new(), Vec::new(), Vec::new());
        for series in self.snapshot.find(&selector.matchers, range) {
            if self.cancel.is_canceled() {
                return Err(EvalError::Canceled);
            }
            floats.clear();
            histograms.clear();
            points.clear();
            series.read(range, &mut floats, &mut histograms);
            points.extend(floats.iter().map(|sample| (sample.at.0, is_stale(sample.value))));
            if !histograms.is_empty() {
                points.extend(histograms.iter().map(|sample| (sample.at.0, sample.histogram.is_stale())));
                points.sort_unstable();
            }
            for (step, at) in times.iter().enumerate() {
                let from = points.partition_point(|(point, _)| *point <= at.saturating_sub(length));
                let to = points.partition_point(|(point, _)| point <= at);
                let inside = points.get(from..to).unwrap_or_default();
                let count = match window {
                    Some(_) => inside.iter().filter(|(_, is_stale)| !is_stale).count(),
                    None => usize::from(inside.last().is_some_and(|(_, is_stale)| !is_stale)),
                };
                samples.add(step, u64::try_from(count).unwrap_or(u64::MAX));
            }
        }
        Ok(())
    }
}
