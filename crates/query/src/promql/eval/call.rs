//! Function calls.

use signal::{Labels, MatchOp, Timestamp};

use super::rows::{ABSENT, Grid, Row, is_present, merge, unique};
use super::window::{self, Window};
use super::{EvalError, Evaluator, Output, calendar};
use crate::promql::ast::{Call, Expr, ValueType};
use crate::promql::functions::{Body, Special};
use crate::promql::print::number_text;

impl Evaluator<'_> {
    pub(super) fn call(&mut self, call: &Call, grid: Grid) -> Result<Output, EvalError> {
        match call.function.body {
            Body::Map(map) => self.mapped(call, grid, |_, value| map(value)).map(Output::Vector),
            Body::Calendar(read) => {
                let read = |seconds: f64| calendar::date(seconds).map_or(f64::NAN, |date| read(&date));
                if call.args.is_empty() {
                    let values = grid.times().map(|at| read(Timestamp(at).as_secs_f64())).collect();
                    return Ok(Output::Vector(vec![Row { labels: Labels::empty(), values }]));
                }
                self.mapped(call, grid, |_, value| read(value)).map(Output::Vector)
            }
            Body::Window(body) => {
                let rows = self.windowed(call, grid, |_, window| body(&window))?;
                if matches!(call.function.name, "rate" | "increase") {
                    self.doubt_counter(call, &rows);
                }
                nameless(rows).and_then(unique).map(Output::Vector)
            }
            Body::Pick(body) => self.windowed(call, grid, |_, window| body(&window)).map(Output::Vector),
            Body::Special(special) => self.special(special, call, grid),
        }
    }

    fn special(&mut self, special: Special, call: &Call, grid: Grid) -> Result<Output, EvalError> {
        match special {
            Special::Pi => self.constant(std::f64::consts::PI, grid).map(Output::Scalar),
            Special::Time => Ok(Output::Scalar(grid.times().map(|at| Timestamp(at).as_secs_f64()).collect())),
            Special::Scalar => self.only_value(call, grid).map(Output::Scalar),
            Special::Vector => {
                let values = self.scalar(argument(call, 0)?, grid)?;
                Ok(Output::Vector(vec![Row { labels: Labels::empty(), values }]))
            }
            Special::Timestamp => self.timestamp(call, grid).map(Output::Vector),
            Special::Absent => {
                let rows = self.vector(argument(call, 0)?, grid)?;
                Ok(Output::Vector(absent(call, &rows, grid)))
            }
            Special::AbsentOverTime => {
                let rows = self.windowed(call, grid, |_, _| Some(1.0))?;
                Ok(Output::Vector(absent(call, &rows, grid)))
            }
            Special::Clamp => {
                let (low, high) = (self.scalar(argument(call, 1)?, grid)?, self.scalar(argument(call, 2)?, grid)?);
                let bounds = |step: usize| (at(&low, step), at(&high, step));
                let rows = self.mapped(call, grid, |step, value| {
                    let (low, high) = bounds(step);
                    if high < low { ABSENT } else { at_least(at_most(value, high), low) }
                })?;
                Ok(Output::Vector(rows))
            }
            Special::ClampMin => {
                let low = self.scalar(argument(call, 1)?, grid)?;
                self.mapped(call, grid, |step, value| at_least(value, at(&low, step))).map(Output::Vector)
            }
            Special::ClampMax => {
                let high = self.scalar(argument(call, 1)?, grid)?;
                self.mapped(call, grid, |step, value| at_most(value, at(&high, step))).map(Output::Vector)
            }
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
            Special::QuantileOverTime => {
                let q = self.scalar(argument(call, 0)?, grid)?;
                if let Some(odd) = q.iter().find(|q| !(0.0..=1.0).contains(*q)) {
                    self.warn(&bad_quantile(*odd), argument(call, 0)?.place());
                }
                let rows = self.windowed(call, grid, |step, window| {
                    window::quantile(&Window { parameter: at(&q, step), ..window })
                })?;
                nameless(rows).and_then(unique).map(Output::Vector)
            }
            Special::DoubleExponentialSmoothing => {
                let (level, trend) = (self.scalar(argument(call, 1)?, grid)?, self.scalar(argument(call, 2)?, grid)?);
                check_factors("smoothing", "sf", &level)?;
                check_factors("trend", "tf", &trend)?;
                let rows = self.windowed(call, grid, |step, window| {
                    window::double_exponential_smoothing(&window, at(&level, step), at(&trend, step))
                })?;
                nameless(rows).and_then(unique).map(Output::Vector)
            }
            Special::Sort | Special::SortDesc => {
                let mut rows = self.vector(argument(call, 0)?, grid)?;
                sort_by_value(&mut rows, special == Special::SortDesc, grid);
                Ok(Output::Vector(rows))
            }
            Special::SortByLabel | Special::SortByLabelDesc => self.sort_by_label(special, call, grid),
            Special::LabelReplace => self.label_replace(call, grid).map(Output::Vector),
            Special::LabelJoin => self.label_join(call, grid).map(Output::Vector),
            Special::HistogramQuantile => self.histogram_quantile(call, grid).map(Output::Vector),
            Special::HistogramFraction => self.histogram_fraction(call, grid).map(Output::Vector),
            Special::NativeHistogram => {
                self.vector(argument(call, 0)?, grid)?;
                Ok(Output::Vector(Vec::new()))
            }
        }
    }

    /// Evaluates the first argument and changes its values; drops metric names.
    fn mapped(&mut self, call: &Call, grid: Grid, change: impl Fn(usize, f64) -> f64) -> Result<Vec<Row>, EvalError> {
        let mut rows = self.vector(argument(call, 0)?, grid)?;
        for row in &mut rows {
            for (step, value) in row.values.iter_mut().enumerate().filter(|(_, value)| is_present(**value)) {
                *value = change(step, *value);
            }
        }
        nameless(rows).and_then(merge)
    }

    /// Evaluates the argument that is a range vector, and its scalar neighbour, window by window.
    fn windowed(
        &mut self,
        call: &Call,
        grid: Grid,
        mut body: impl FnMut(usize, Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Row>, EvalError> {
        let is_matrix = |expr: &&Expr| expr.value_type() == ValueType::Matrix;
        let source = call.args.iter().find(is_matrix).ok_or_else(|| EvalError::execution("expected a range vector"))?;
        let parameter = match (call.function.body, call.args.get(1)) {
            (Body::Window(_), Some(parameter)) => self.scalar(parameter, grid)?,
            _ => Vec::new(),
        };
        let windows = self.windows(source, grid)?;
        self.over_windows(windows, grid, |step, window| {
            body(step, Window { parameter: at(&parameter, step), ..window })
        })
    }

    /// Says so when a metric used as a counter is not named like one.
    fn doubt_counter(&mut self, call: &Call, rows: &[Row]) {
        let (Some(name), Some(arg)) = (rows.first().and_then(|row| row.labels.metric_name()), call.args.first()) else {
            return;
        };
        if ["_total", "_sum", "_count", "_bucket"].iter().any(|ending| name.ends_with(ending)) {
            return;
        }
        let message =
            format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}");
        self.inform(&message, arg.place());
    }

    /// The value of a vector with exactly one series, else NaN.
    fn only_value(&mut self, call: &Call, grid: Grid) -> Result<Vec<f64>, EvalError> {
        let rows = self.vector(argument(call, 0)?, grid)?;
        let mut values = vec![ABSENT; grid.count];
        let mut counts = vec![0_usize; grid.count];
        for row in &rows {
            for ((value, count), found) in values.iter_mut().zip(&mut counts).zip(&row.values) {
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
            let rows = self.select(selector, grid, |sample| sample.at.as_secs_f64())?;
            return nameless(rows).and_then(merge);
        }
        let times: Vec<f64> = grid.times().map(|at| Timestamp(at).as_secs_f64()).collect();
        self.mapped(call, grid, |step, _| at(&times, step))
    }
}

/// The argument at `index`; the parser has counted them.
pub(super) fn argument(call: &Call, index: usize) -> Result<&Expr, EvalError> {
    call.args
        .get(index)
        .ok_or_else(|| EvalError::execution(format!("missing argument in call to {:?}", call.function.name)))
}

fn at(values: &[f64], step: usize) -> f64 {
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

pub(super) fn bad_quantile(q: f64) -> String {
    format!("quantile value should be between 0 and 1, got {}", number_text(q))
}

fn nameless(mut rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    for row in &mut rows {
        row.labels = row.labels.without_name();
    }
    Ok(rows)
}

fn check_factors(what: &str, short: &str, factors: &[f64]) -> Result<(), EvalError> {
    match factors.iter().find(|factor| !(**factor > 0.0 && **factor < 1.0)) {
        Some(factor) => {
            Err(EvalError::execution(format!("invalid {what} factor. Expected: 0 < {short} < 1, got: {factor:.6}")))
        }
        None => Ok(()),
    }
}

/// Sorting means something only for a single step: a range query's answer is sorted by labels anyway. NaN comes last.
fn sort_by_value(rows: &mut [Row], descending: bool, grid: Grid) {
    if grid.count != 1 {
        return;
    }
    let value = |row: &Row| row.values.first().copied().unwrap_or(f64::NAN);
    rows.sort_by(|a, b| {
        let (a, b) = (value(a), value(b));
        let order = if descending { b.partial_cmp(&a) } else { a.partial_cmp(&b) };
        order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    });
}

/// One series that is there whenever none of `rows` is, with the labels that the argument's matchers pin down.
fn absent(call: &Call, rows: &[Row], grid: Grid) -> Vec<Row> {
    let mut values = vec![1.0; grid.count];
    for row in rows {
        for (value, found) in values.iter_mut().zip(&row.values) {
            if is_present(*found) {
                *value = ABSENT;
            }
        }
    }
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
    let row = Row { labels, values };
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
