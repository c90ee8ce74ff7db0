//! Reading the store: instant selectors, windows and subqueries.

use std::time::Duration;

use signal::{Sample, TimeRange, Timestamp, is_stale};
use store::Series;

use super::window::Window;
use super::{ABSENT, EvalError, Evaluator, Expr, Grid, RangeSelector, Row, Selector, Subquery, TimeShift};

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How many series are worked on between two looks at the cancel flag.
const SERIES_PER_CHECK: usize = 256;

/// The samples a range function sees, and how to cut them into windows.
pub(super) struct Windows {
    series: Vec<Series>,
    /// Window end of every step.
    ends: Vec<i64>,
    range: i64,
}

impl Windows {
    /// The window of a query with a single step, as series.
    pub(super) fn cut(self) -> Vec<Series> {
        let end = self.ends.first().copied().unwrap_or(0);
        let start = end.saturating_sub(self.range);
        let mut series = self.series;
        for one in &mut series {
            one.samples.retain(|sample| start < sample.at.0 && sample.at.0 <= end);
        }
        series
    }
}

impl Evaluator<'_> {
    fn load(&mut self, selector: &Selector, after: i64, until: i64) -> Result<Vec<Series>, EvalError> {
        let range = TimeRange::new(Timestamp(after.saturating_add(1)), Timestamp(until));
        let series = self.snapshot.select(&selector.matchers, range);
        self.hold(series.iter().map(|series| series.samples.len()).sum())?;
        Ok(series)
    }

    /// The value of every selected series at every step: the newest sample within the lookback.
    pub(super) fn select(
        &mut self,
        selector: &Selector,
        grid: Grid,
        pick: impl Fn(&Sample) -> f64,
    ) -> Result<Vec<Row>, EvalError> {
        let lookback = millis(self.settings.lookback);
        let first = self.shifted(selector.shift, grid.start);
        let last = self.shifted(selector.shift, grid.end());
        let series = self.load(selector, first.saturating_sub(lookback), last)?;
        self.hold(series.len().saturating_mul(grid.count))?;
        let mut rows = Vec::with_capacity(series.len());
        for (index, series) in series.into_iter().enumerate() {
            if index % SERIES_PER_CHECK == 0 {
                self.check_canceled()?;
            }
            let mut samples = series.samples.iter().peekable();
            let mut newest: Option<&Sample> = None;
            let mut row = Row { labels: series.labels.clone(), values: Vec::with_capacity(grid.count) };
            for at in grid.times() {
                let at = self.shifted(selector.shift, at);
                while let Some(sample) = samples.next_if(|sample| sample.at.0 <= at) {
                    newest = Some(sample);
                }
                let live = newest.filter(|sample| sample.at.0 > at.saturating_sub(lookback) && !is_stale(sample.value));
                row.values.push(live.map_or(ABSENT, &pick));
            }
            if !row.is_absent() {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// The windows of a range selector or subquery for every step.
    pub(super) fn windows(&mut self, expr: &Expr, grid: Grid) -> Result<Windows, EvalError> {
        match expr.unwrapped() {
            Expr::Range(range) => self.selector_windows(range, grid),
            Expr::Subquery(subquery) => self.subquery_windows(subquery, grid),
            Expr::Number(_) | Expr::Text(_) | Expr::Selector(_) | Expr::Call(_) | Expr::Aggregate(_) => {
                Err(no_windows())
            }
            Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(..) => Err(no_windows()),
        }
    }

    fn ends(&mut self, shift: TimeShift, grid: Grid) -> Result<Vec<i64>, EvalError> {
        self.hold(grid.count)?;
        Ok(grid.times().map(|at| self.shifted(shift, at)).collect())
    }

    fn selector_windows(&mut self, range: &RangeSelector, grid: Grid) -> Result<Windows, EvalError> {
        let length = millis(range.range);
        let ends = self.ends(range.selector.shift, grid)?;
        let (first, last) = (ends.first().copied().unwrap_or(0), ends.last().copied().unwrap_or(0));
        let mut series = self.load(&range.selector, first.saturating_sub(length), last)?;
        for one in &mut series {
            one.samples.retain(|sample| !is_stale(sample.value));
        }
        Ok(Windows { series, ends, range: length })
    }

    /// Evaluates the inner expression once over all windows, at absolute multiples of the subquery's step.
    fn subquery_windows(&mut self, subquery: &Subquery, grid: Grid) -> Result<Windows, EvalError> {
        let length = millis(subquery.range);
        let step = millis(subquery.step.unwrap_or(self.settings.subquery_step)).max(1);
        let ends = self.ends(subquery.shift, grid)?;
        let after = ends.first().copied().unwrap_or(0).saturating_sub(length);
        let until = ends.last().copied().unwrap_or(0);
        let start = after.div_euclid(step).saturating_add(1).saturating_mul(step);
        let inner = Grid::over(start, until, step);
        if inner.count == 0 {
            return Ok(Windows { series: Vec::new(), ends, range: length });
        }
        let rows = self.vector(&subquery.expr, inner)?;
        let series = rows.into_iter().map(|row| row.into_series(inner)).collect();
        Ok(Windows { series, ends, range: length })
    }

    /// Applies `body` to every window of every series; series without any answer are left out.
    pub(super) fn over_windows(
        &mut self,
        windows: Windows,
        grid: Grid,
        mut body: impl FnMut(usize, Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Row>, EvalError> {
        self.hold(windows.series.len().saturating_mul(grid.count))?;
        let mut rows = Vec::with_capacity(windows.series.len());
        for series in windows.series {
            self.check_canceled()?;
            let samples = series.samples.as_slice();
            let mut row = Row { labels: series.labels, values: Vec::with_capacity(grid.count) };
            let (mut from, mut to) = (0, 0);
            for (step, (at, end)) in grid.times().zip(&windows.ends).enumerate() {
                let (start, end) = (end.saturating_sub(windows.range), *end);
                let rest = |from: usize| samples.get(from..).unwrap_or_default().iter();
                from += rest(from).take_while(|sample| sample.at.0 <= start).count();
                to = to.max(from);
                to += rest(to).take_while(|sample| sample.at.0 <= end).count();
                let inside = samples.get(from..to).unwrap_or_default();
                let value = (!inside.is_empty())
                    .then_some(Window {
                        samples: inside,
                        start: Timestamp(start),
                        end: Timestamp(end),
                        at: Timestamp(at),
                        parameter: f64::NAN,
                    })
                    .and_then(|window| body(step, window));
                row.values.push(value.unwrap_or(ABSENT));
            }
            if !row.is_absent() {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

fn no_windows() -> EvalError {
    EvalError::execution("expected a range vector")
}
