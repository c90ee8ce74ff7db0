//! Function calls.

use signal::{Histogram, Labels, MatchOp, Timestamp};

use super::over::Over;
use super::rows::{ABSENT, Grid, Points, Row, is_present, merge};
use super::source::Pick;
use super::{EvalError, Evaluator, Output, calendar};
use crate::promql::ast::{Call, Expr};
use crate::promql::functions::{Body, Special};
use crate::promql::native;

impl Evaluator<'_> {
    pub(super) fn call(&mut self, call: &Call, grid: Grid) -> Result<Output, EvalError> {
        match call.function.body {
            Body::Map(map) => self.mapped(call, grid, |_, value| map(value)).map(Output::Vector),
            Body::Calendar(read) => {
                let read = |seconds: f64| calendar::date(seconds).map_or(f64::NAN, |date| read(&date));
                if call.args.is_empty() {
                    let values = grid.times().map(|at| read(Timestamp(at).as_secs_f64())).collect();
                    return Ok(Output::Vector(vec![Row::floats(Labels::empty(), values)]));
                }
                self.mapped(call, grid, |_, value| read(value)).map(Output::Vector)
            }
            Body::Over(over) => {
                let supply = self.over(over, call, grid)?;
                let rows = self.collect(supply, grid)?;
                Ok(Output::Vector(if over == Over::Absent { absent(call, &rows, grid) } else { rows }))
            }
            Body::Special(special) => self.special(special, call, grid),
        }
    }

    fn special(&mut self, special: Special, call: &Call, grid: Grid) -> Result<Output, EvalError> {
        match special {
            Special::Pi => self.constant(std::f64::consts::PI, grid).map(Output::Scalar),
            Special::Time => {
                self.budget.check(grid.count)?;
                Ok(Output::Scalar(grid.times().map(|at| Timestamp(at).as_secs_f64()).collect()))
            }
            Special::Scalar => self.only_value(call, grid).map(Output::Scalar),
            Special::Vector => {
                let values = self.scalar(argument(call, 0)?, grid)?;
                Ok(Output::Vector(vec![Row::floats(Labels::empty(), values)]))
            }
            Special::Timestamp => self.timestamp(call, grid).map(Output::Vector),
            Special::Absent => {
                let rows = self.vector(argument(call, 0)?, grid)?;
                Ok(Output::Vector(absent(call, &rows, grid)))
            }
            Special::Clamp => self.clamp(call, Some(1), Some(2), grid),
            Special::ClampMin => self.clamp(call, Some(1), None, grid),
            Special::ClampMax => self.clamp(call, None, Some(1), grid),
            Special::Round => {
                let to = match call.args.get(1) {
                    Some(to) => self.scalar(to, grid)?,
                    None => self.constant(1.0, grid)?,
                };
                // By the inverse, so that rounding to 0.1 gives 0.3 and not 0.30000000000000004.
                let round = |step: usize, value: f64| {
                    let inverse = 1.0 / at(&to, step);
                    (value * inverse + 0.5).floor() / inverse
                };
                self.mapped(call, grid, round).map(Output::Vector)
            }
            Special::Sort | Special::SortDesc => {
                let mut rows = self.vector(argument(call, 0)?, grid)?;
                sort_by_value(&mut rows, special == Special::SortDesc, grid);
                Ok(Output::Vector(rows))
            }
            Special::SortByLabel | Special::SortByLabelDesc => self.sort_by_label(special, call, grid),
            Special::LabelReplace => self.label_replace(call, grid).map(Output::Vector),
            Special::LabelJoin => self.label_join(call, grid).map(Output::Vector),
            Special::Info => self.info(call, grid).map(Output::Vector),
            Special::HistogramQuantile => self.histogram_quantile(call, grid).map(Output::Vector),
            Special::HistogramQuantiles => self.histogram_quantiles(call, grid).map(Output::Vector),
            Special::HistogramFraction => self.histogram_fraction(call, grid).map(Output::Vector),
            Special::HistogramAvg => self.summary(call, grid, native::mean),
            Special::HistogramCount => self.summary(call, grid, |histogram| histogram.count),
            Special::HistogramSum => self.summary(call, grid, |histogram| histogram.sum),
            Special::HistogramStddev => self.summary(call, grid, |histogram| native::variance(histogram).sqrt()),
            Special::HistogramStdvar => self.summary(call, grid, native::variance),
        }
    }

    /// Evaluates the first argument and changes its numbers; histograms are passed over. Drops metric names.
    fn mapped(&mut self, call: &Call, grid: Grid, change: impl Fn(usize, f64) -> f64) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(argument(call, 0)?, grid)?;
        for row in &mut rows {
            for (step, value) in row.points.values.iter_mut().enumerate().filter(|(_, value)| is_present(**value)) {
                *value = change(step, *value);
            }
            row.points.histograms.clear();
        }
        self.changed(rows)
    }

    /// Rows that have become something else: without names, and without those that have nothing left.
    fn changed(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
        rows.retain(|row| !row.is_absent());
        self.drop_names(&mut rows);
        if self.settings.delayed_name_removal { Ok(rows) } else { merge(rows) }
    }

    /// Evaluates the first argument and reads a number off its histograms; numbers are passed over.
    fn summary(&mut self, call: &Call, grid: Grid, read: impl Fn(&Histogram) -> f64) -> Result<Output, EvalError> {
        let mut rows = self.vector(argument(call, 0)?, grid)?;
        for row in &mut rows {
            let mut points = Points::absent(grid.count);
            for (value, histogram) in points.values.iter_mut().zip(&row.points.histograms) {
                if let Some(histogram) = histogram {
                    *value = read(histogram);
                }
            }
            row.points = points;
        }
        self.changed(rows).map(Output::Vector)
    }

    /// Bounds numbers by the scalar arguments at these places.
    fn clamp(&mut self, call: &Call, low: Option<usize>, high: Option<usize>, grid: Grid) -> Result<Output, EvalError> {
        let mut bound = |index: Option<usize>, none: f64| match index {
            Some(index) => self.scalar(argument(call, index)?, grid),
            None => Ok(vec![none; grid.count]),
        };
        let (low, high) = (bound(low, f64::NEG_INFINITY)?, bound(high, f64::INFINITY)?);
        let rows = self.mapped(call, grid, |step, value| {
            let (low, high) = (at(&low, step), at(&high, step));
            if high < low { ABSENT } else { at_least(at_most(value, high), low) }
        })?;
        Ok(Output::Vector(rows))
    }

    /// The number of a vector with exactly one series of numbers, else NaN.
    fn only_value(&mut self, call: &Call, grid: Grid) -> Result<Vec<f64>, EvalError> {
        let rows = self.vector(argument(call, 0)?, grid)?;
        let mut values = vec![ABSENT; grid.count];
        let mut counts = vec![0_usize; grid.count];
        for row in &rows {
            for ((value, count), found) in values.iter_mut().zip(&mut counts).zip(&row.points.values) {
                if is_present(*found) {
                    *value = *found;
                    *count += 1;
                }
            }
        }
        Ok(values.into_iter().zip(counts).map(|(value, count)| if count == 1 { value } else { f64::NAN }).collect())
    }

    fn timestamp(&mut self, call: &Call, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let arg = argument(call, 0)?;
        if let Expr::Selector(selector) = arg.unwrapped() {
            let supply = self.instant(selector, grid, Pick::Time)?;
            let rows = self.collect(supply, grid)?;
            return self.changed(rows);
        }
        let mut rows = self.vector(arg, grid)?;
        for row in &mut rows {
            let mut points = Points::absent(grid.count);
            for (step, (value, time)) in points.values.iter_mut().zip(grid.times()).enumerate() {
                if row.points.is_present(step) {
                    *value = Timestamp(time).as_secs_f64();
                }
            }
            row.points = points;
        }
        self.changed(rows)
    }
}

/// The argument at `index`; the parser has counted them.
pub(super) fn argument(call: &Call, index: usize) -> Result<&Expr, EvalError> {
    call.args
        .get(index)
        .ok_or_else(|| EvalError::execution(format!("missing argument in call to {:?}", call.function.name)))
}

/// The scalar of a step.
pub(super) fn at(values: &[f64], step: usize) -> f64 {
    values.get(step).copied().unwrap_or(f64::NAN)
}

/// The larger of two; NaN if either is.
fn at_least(value: f64, bound: f64) -> f64 {
    if value.is_nan() || bound.is_nan() { f64::NAN } else { value.max(bound) }
}

/// The smaller of two; NaN if either is.
fn at_most(value: f64, bound: f64) -> f64 {
    if value.is_nan() || bound.is_nan() { f64::NAN } else { value.min(bound) }
}

/// Sorting means something only for a single step: a range query's answer is sorted by labels anyway. NaN comes last;
/// histograms are left out.
fn sort_by_value(rows: &mut Vec<Row>, descending: bool, grid: Grid) {
    for row in rows.iter_mut() {
        row.points.histograms.clear();
    }
    rows.retain(|row| !row.is_absent());
    if grid.count != 1 {
        return;
    }
    let value = |row: &Row| row.points.values.first().copied().unwrap_or(f64::NAN);
    rows.sort_by(|a, b| {
        let (a, b) = (value(a), value(b));
        let order = if descending { b.partial_cmp(&a) } else { a.partial_cmp(&b) };
        order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    });
}

/// One series that is there whenever none of `rows` is, with the labels that the argument's matchers pin down.
fn absent(call: &Call, rows: &[Row], grid: Grid) -> Vec<Row> {
    let mut found = vec![false; grid.count];
    for row in rows {
        row.points.mark(&mut found);
    }
    let values: Vec<f64> = found.into_iter().map(|found| if found { ABSENT } else { 1.0 }).collect();
    let matchers = match call.args.first().map(Expr::unwrapped) {
        Some(Expr::Selector(selector)) => selector.matchers.as_slice(),
        Some(Expr::Range(range)) => range.selector.matchers.as_slice(),
        _ => &[],
    };
    let named = matchers.iter().filter(|matcher| matcher.name != Labels::NAME);
    let pinned = named.clone().filter(|matcher| {
        let alike = named.clone().filter(|other| other.name == matcher.name).count();
        matcher.op == MatchOp::Equal && alike == 1
    });
    let labels = Labels::from_pairs(pinned.map(|matcher| (&matcher.name, &matcher.value)));
    let row = Row::floats(labels, values);
    if row.is_absent() { Vec::new() } else { vec![row] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_spread_nan() {
        assert_eq!(at_least(1.0, 2.0), 2.0);
        assert_eq!(at_most(1.0, 2.0), 1.0);
        assert!(at_least(1.0, f64::NAN).is_nan() && at_most(f64::NAN, 1.0).is_nan());
    }

    #[test]
    fn absent_values_stay_absent() {
        let mut values = [1.0, ABSENT];
        super::super::rows::map_values(&mut values, |value| -value);
        assert_eq!(values.map(is_present), [true, false]);
    }
}
