//! Selectors and subqueries: which series, and what time each step looks at.

use std::time::Duration;

use signal::{MatchOp, TimeRange, Timestamp};
use store::{Series, SeriesReader};

use super::over::{Frame, Over, OverCall, extended};
use super::rows::{Grid, Name, Row, is_typed, unique};
use super::source::{Instant, Pick, Scratch, Source, Supply, Windowed};
use super::{EvalError, Evaluator, Expr, Selector, Subquery, TimeShift, ValueType};
use crate::parallel::in_chunks;
use crate::promql::ast::{Call, Reach};
use crate::promql::functions::Body;

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// So few series are put in order of their labels, because that reads better; for more it is not worth the time.
const WORTH_SORTING: usize = 256;

/// How many series a worker takes at a time when each becomes a row.
const ROWS_AT_A_TIME: usize = 64;

/// Numbers that have to be looked at before a second thread pays.
const WORTH_A_THREAD: usize = 60_000;

/// The samples a range function sees, and how to cut them into windows.
struct Windows<'a> {
    source: Source<'a>,
    ends: Vec<i64>,
    range: i64,
    reach: Reach,
    /// Whether all series are of one metric.
    one_metric: bool,
}

impl<'a> Evaluator<'a> {
    fn find(&self, selector: &Selector, range: TimeRange) -> Result<Vec<SeriesReader<'a>>, EvalError> {
        self.budget.check_canceled()?;
        let mut readers = self.snapshot.find(&selector.matchers, range);
        if readers.len() > self.settings.max_series {
            return Err(EvalError::TooManySeries { found: readers.len(), limit: self.settings.max_series });
        }
        if readers.len() <= WORTH_SORTING {
            readers.sort_by(|a, b| a.labels().cmp(b.labels()));
        }
        Ok(readers)
    }

    /// The time each step looks at.
    fn ends(&self, shift: TimeShift, grid: Grid) -> Result<Vec<i64>, EvalError> {
        self.budget.check(grid.count)?;
        Ok(grid.times().map(|at| self.shifted(shift, at)).collect())
    }

    /// The newest sample of every selected series at every step.
    pub(super) fn instant(&self, selector: &Selector, grid: Grid, pick: Pick) -> Result<Supply<'a>, EvalError> {
        let lookback = millis(self.settings.lookback);
        let ends = self.ends(selector.shift, grid)?;
        let is_smoothed = selector.reach == Reach::Smoothed;
        let range = reach(&ends, lookback, if is_smoothed { lookback } else { 0 });
        let readers = if ends.is_empty() { Vec::new() } else { self.find(selector, range)? };
        let pick = if is_smoothed { Pick::Smoothed } else { pick };
        Ok(Supply::Instant(Instant { readers, range, ends, lookback, pick }))
    }

    /// The series of an expression, read as they are needed if that can be.
    pub(super) fn supply(&mut self, expr: &Expr, grid: Grid) -> Result<Supply<'a>, EvalError> {
        if grid.count <= 1 || !is_step_invariant(expr) {
            match expr.unwrapped() {
                Expr::Selector(selector) => return self.instant(selector, grid, Pick::Value),
                Expr::Call(call) => {
                    if let Body::Over(over) = call.function.body
                        && over != Over::Absent
                    {
                        return self.over(over, call, grid);
                    }
                }
                Expr::Number(_) | Expr::Text(_) | Expr::Range(_) | Expr::Subquery(_) => {}
                Expr::Aggregate(_) | Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(..) => {}
            }
        }
        self.vector(expr, grid).map(Supply::Rows)
    }

    /// A function of a range vector.
    pub(super) fn over(&mut self, over: Over, call: &Call, grid: Grid) -> Result<Supply<'a>, EvalError> {
        let is_matrix = |expr: &&Expr| expr.value_type() == ValueType::Matrix;
        let source = call.args.iter().find(is_matrix).ok_or_else(no_windows)?;
        let mut scalars = Vec::new();
        for arg in call.args.iter().filter(|arg| arg.value_type() == ValueType::Scalar) {
            scalars.push(self.scalar(arg, grid)?);
        }
        let mut scalars = scalars.into_iter();
        let windows = self.windows(source, grid)?;
        let place = call.args.first().unwrap_or(source).place();
        let name = if over.keeps_name() { Name::Kept } else { self.nameless() };
        extended::check(windows.reach, over, call.function.name)?;
        let lookback = millis(self.settings.lookback);
        let frame = Frame { grid, ends: windows.ends, range: windows.range, reach: windows.reach, lookback };
        let (first, second) = (scalars.next().unwrap_or_default(), scalars.next().unwrap_or_default());
        let typed = self.settings.type_and_unit_labels;
        let call = OverCall { over, frame, first, second, place, typed };
        let supply = Supply::Over(Box::new(Windowed { source: windows.source, call, name }));
        // Series that only their metrics told apart clash once the names are gone; then they have to be compared first.
        let is_certain = windows.one_metric || name != Name::Gone;
        if is_certain || over == Over::Absent {
            return Ok(supply);
        }
        self.collect(supply, grid).and_then(unique).map(Supply::Rows)
    }

    fn windows(&mut self, expr: &Expr, grid: Grid) -> Result<Windows<'a>, EvalError> {
        match expr.unwrapped() {
            Expr::Range(range) => {
                let length = millis(range.range);
                let ends = self.ends(range.selector.shift, grid)?;
                let (before, behind) = extended::margins(range.selector.reach, millis(self.settings.lookback));
                let all = reach(&ends, length.saturating_add(before), behind);
                let readers = if ends.is_empty() { Vec::new() } else { self.find(&range.selector, all)? };
                let names = |matcher: &signal::Matcher| {
                    matcher.name == signal::Labels::NAME && matcher.op == MatchOp::Equal && !matcher.value.is_empty()
                };
                let one_metric = range.selector.matchers.iter().any(names)
                    && !readers.iter().any(|reader| is_typed(reader.labels()));
                let (source, reach) = (Source::Store(readers, all), range.selector.reach);
                Ok(Windows { source, ends, range: length, reach, one_metric })
            }
            Expr::Subquery(subquery) => self.subquery(subquery, grid),
            Expr::Number(_) | Expr::Text(_) | Expr::Selector(_) | Expr::Call(_) | Expr::Aggregate(_) => {
                Err(no_windows())
            }
            Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(..) => Err(no_windows()),
        }
    }

    /// Evaluates the inner expression once over all windows, at absolute multiples of the subquery's step.
    fn subquery(&mut self, subquery: &Subquery, grid: Grid) -> Result<Windows<'a>, EvalError> {
        let length = millis(subquery.range);
        let step = millis(subquery.step.unwrap_or(self.settings.subquery_step)).max(1);
        let ends = self.ends(subquery.shift, grid)?;
        let after = ends.first().copied().unwrap_or(0).saturating_sub(length);
        let until = ends.last().copied().unwrap_or(0);
        let start = after.div_euclid(step).saturating_add(1).saturating_mul(step);
        let inner = Grid::over(start, until, step);
        let rows = if inner.count == 0 || ends.is_empty() { Vec::new() } else { self.vector(&subquery.expr, inner)? };
        let mut names = rows.iter().map(|row| row.raw_labels().metric_name());
        let first = names.next();
        let one_metric = names.all(|name| Some(name) == first) && !rows.iter().any(|row| is_typed(row.raw_labels()));
        Ok(Windows { source: Source::Rows(rows, inner), ends, range: length, reach: Reach::Window, one_metric })
    }

    /// The samples in the only window of each series.
    pub(super) fn raw(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let Windows { source, ends, range, reach, .. } = self.windows(expr, grid)?;
        let end = ends.first().copied().unwrap_or(0);
        let start = end.saturating_sub(range);
        let inside = |at: Timestamp| start < at.0 && at.0 <= end;
        let mut found = Vec::new();
        for index in 0..source.len() {
            let (mut samples, mut histograms) = (Vec::new(), Vec::new());
            source.read(index, &mut samples, &mut histograms);
            if reach == Reach::Window {
                samples.retain(|sample| inside(sample.at));
                histograms.retain(|sample| inside(sample.at));
            } else if histograms.is_empty() {
                samples = extended::shown(reach, &samples, (start, end));
            } else {
                return Err(EvalError::execution("anchored modifier is not supported with histograms"));
            }
            self.budget.hold(samples.len() + histograms.len())?;
            let Some(labels) = source.labels(index).filter(|_| !samples.is_empty() || !histograms.is_empty()) else {
                continue;
            };
            let mut row = Row::absent(labels.clone(), source.name(index), grid);
            row.finish();
            found.push(Series { labels: row.labels(), samples, histograms });
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    /// How many threads a piece of work is worth.
    pub(super) fn threads_for(&self, cost: usize) -> usize {
        (cost / WORTH_A_THREAD + 1).min(self.settings.threads.max(1))
    }

    /// Makes rows of all series that have anything.
    pub(super) fn collect(&mut self, supply: Supply<'a>, grid: Grid) -> Result<Vec<Row>, EvalError> {
        if let Supply::Rows(rows) = supply {
            return Ok(rows);
        }
        let budget = &self.budget;
        let threads = self.threads_for(supply.cost(grid));
        let chunks = in_chunks(threads, supply.len(), ROWS_AT_A_TIME, |scratch: &mut Scratch, range| {
            let mut rows = Vec::with_capacity(range.len());
            for index in range {
                let points = supply.read(index, scratch, budget)?;
                if points.is_absent() {
                    continue;
                }
                budget.hold(points.size())?;
                let Some(labels) = supply.raw_labels(index) else { continue };
                rows.push(Row::new(labels.clone(), supply.name(index), scratch.take_points()));
            }
            Ok((rows, std::mem::take(&mut scratch.notes)))
        })?;
        let mut rows = Vec::with_capacity(chunks.iter().map(|(rows, _)| rows.len()).sum());
        for (more, notes) in chunks {
            rows.extend(more);
            self.notes.merge(notes);
        }
        Ok(rows)
    }
}

/// All that steps look at which look back `before` milliseconds from `ends`, and ahead `behind`.
fn reach(ends: &[i64], before: i64, behind: i64) -> TimeRange {
    let first = ends.iter().min().copied().unwrap_or(0);
    let last = ends.iter().max().copied().unwrap_or(0);
    TimeRange::new(Timestamp(first.saturating_sub(before).saturating_add(1)), Timestamp(last.saturating_add(behind)))
}

/// Whether an expression has the same value at every step of a query.
pub(super) fn is_step_invariant(expr: &Expr) -> bool {
    match expr {
        Expr::Number(_) | Expr::Text(_) => true,
        Expr::Selector(selector) => selector.shift.at.is_some(),
        Expr::Range(range) => range.selector.shift.at.is_some(),
        Expr::Subquery(subquery) => subquery.shift.at.is_some(),
        Expr::Call(call) => !call.function.looks_at_the_time() && expr.children().into_iter().all(is_step_invariant),
        Expr::Aggregate(_) | Expr::Binary(_) | Expr::Unary(_) | Expr::Paren(..) => {
            expr.children().into_iter().all(is_step_invariant)
        }
    }
}

fn no_windows() -> EvalError {
    EvalError::execution("expected a range vector")
}
