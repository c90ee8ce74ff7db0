//! Evaluation: every node answers for all steps of the query at once, each selector reads the store once.

use std::time::Duration;

use signal::{Labels, Sample, Timestamp};
use store::{Series, Snapshot};

use super::ast::{At, Expr, Place, RangeSelector, Selector, Subquery, TimeShift, Unary, ValueType};
use crate::Cancel;

mod aggregate;
mod binary;
pub(super) mod calendar;
mod call;
mod histogram;
mod labels;
pub(super) mod math;
mod rows;
mod select;
pub(super) mod window;

use rows::{ABSENT, Grid, Row, is_present, map_values, unique};

/// What evaluation may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long a sample stays the value of its series. Default 5 minutes.
    pub lookback: Duration,
    /// Samples one query may hold in memory at a time. Default 50 million.
    pub max_samples: usize,
    /// Step of subqueries that name none; in Prometheus the global evaluation interval. Default 1 minute.
    pub subquery_step: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lookback: Duration::from_secs(300), max_samples: 50_000_000, subquery_step: Duration::from_secs(60) }
    }
}

/// A value and what the query's author should know about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// Likely mistakes; each begins with `PromQL warning: `.
    pub warnings: Vec<String>,
    /// Possible mistakes; each begins with `PromQL info: `.
    pub infos: Vec<String>,
}

/// One series at one time.
#[derive(Clone, PartialEq, Debug)]
pub struct VectorSample {
    /// Identity.
    pub labels: Labels,
    /// Value and evaluation time.
    pub sample: Sample,
}

/// What a query gives.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// One number.
    Scalar(Sample),
    /// One number per series; sorted only if the query sorts.
    Vector(Vec<VectorSample>),
    /// Several samples per series; sorted by labels.
    Matrix(Vec<Series>),
    /// A text.
    String(Timestamp, String),
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The query cannot be evaluated on this data; the text is upstream's.
    #[error("{0}")]
    Execution(String),
    /// The expression has a type that a range query cannot give.
    #[error("invalid expression type \"{0}\" for range query, must be Scalar or instant Vector")]
    NotForRange(ValueType),
    /// More samples than `Settings::max_samples`.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// Somebody asked to stop.
    #[error("query was canceled in query execution")]
    Canceled,
}

impl EvalError {
    fn execution(message: impl Into<String>) -> Self {
        Self::Execution(message.into())
    }
}

/// The value of `expr` at `at`.
///
/// # Errors
/// `EvalError` when the data does not fit the query, or limits are reached.
pub fn instant(
    expr: &Expr,
    snapshot: &Snapshot,
    at: Timestamp,
    settings: &Settings,
    cancel: &Cancel,
) -> Result<Answer, EvalError> {
    let grid = Grid { start: at.0, step: 1, count: 1 };
    let mut evaluator = Evaluator::new(snapshot, settings, cancel, grid);
    let sample = |value: f64| Sample { at, value };
    let value = match expr.unwrapped() {
        Expr::Range(_) | Expr::Subquery(_) => {
            let mut series = Vec::new();
            for source in evaluator.windows(expr, grid)?.cut() {
                if !source.samples.is_empty() {
                    series.push(source);
                }
            }
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            Value::Matrix(series)
        }
        _ => match evaluator.eval(expr, grid)? {
            Output::Scalar(values) => Value::Scalar(sample(values.first().copied().unwrap_or(f64::NAN))),
            Output::Text(text) => Value::String(at, text),
            Output::Vector(rows) => {
                let one = |row: Row| {
                    let value = row.values.first().copied().filter(|value| is_present(*value))?;
                    Some(VectorSample { labels: row.labels, sample: sample(value) })
                };
                Value::Vector(rows.into_iter().filter_map(one).collect())
            }
        },
    };
    Ok(evaluator.answer(value))
}

/// The values of `expr` at `start`, `start + step`, … up to `end`; always a matrix.
///
/// # Errors
/// `EvalError` as for [`instant`], and `NotForRange` for an expression that is neither scalar nor instant vector.
pub fn range(
    expr: &Expr,
    snapshot: &Snapshot,
    range: Steps,
    settings: &Settings,
    cancel: &Cancel,
) -> Result<Answer, EvalError> {
    match expr.value_type() {
        ValueType::Scalar | ValueType::Vector => {}
        found @ (ValueType::Matrix | ValueType::String) => return Err(EvalError::NotForRange(found)),
    }
    let grid = Grid::over(range.start.0, range.end.0, select::millis(range.step));
    let mut evaluator = Evaluator::new(snapshot, settings, cancel, grid);
    let rows = match evaluator.eval(expr, grid)? {
        Output::Scalar(values) => vec![Row { labels: Labels::empty(), values }],
        Output::Vector(rows) => rows,
        Output::Text(_) => return Err(EvalError::NotForRange(ValueType::String)),
    };
    let mut series: Vec<Series> = rows.into_iter().map(|row| row.into_series(grid)).collect();
    series.retain(|series| !series.samples.is_empty());
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(evaluator.answer(Value::Matrix(series)))
}

/// The times of a range query; both ends inside, `step` at least a millisecond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steps {
    /// First evaluation.
    pub start: Timestamp,
    /// No evaluation after this.
    pub end: Timestamp,
    /// Distance of evaluations.
    pub step: Duration,
}

/// What a node gives for every step.
enum Output {
    Scalar(Vec<f64>),
    Vector(Vec<Row>),
    Text(String),
}

impl Output {
    /// Values held in memory.
    fn size(&self) -> usize {
        match self {
            Self::Scalar(values) => values.len(),
            Self::Vector(rows) => rows.iter().map(|row| row.values.len()).sum(),
            Self::Text(_) => 0,
        }
    }
}

struct Evaluator<'a> {
    snapshot: &'a Snapshot,
    settings: &'a Settings,
    cancel: &'a Cancel,
    /// The query's own grid, for `@ start()` and `@ end()`.
    query: Grid,
    /// Samples in memory now.
    held: usize,
    warnings: Vec<String>,
    infos: Vec<String>,
}

impl<'a> Evaluator<'a> {
    fn new(snapshot: &'a Snapshot, settings: &'a Settings, cancel: &'a Cancel, query: Grid) -> Self {
        Self { snapshot, settings, cancel, query, held: 0, warnings: Vec::new(), infos: Vec::new() }
    }

    fn answer(self, value: Value) -> Answer {
        Answer { value, warnings: self.warnings, infos: self.infos }
    }

    fn warn(&mut self, message: &str, place: Place) {
        let text = format!("PromQL warning: {message} ({})", place.position);
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    fn inform(&mut self, message: &str, place: Place) {
        let text = format!("PromQL info: {message} ({})", place.position);
        if !self.infos.contains(&text) {
            self.infos.push(text);
        }
    }

    /// Accounts for samples about to be held in memory.
    fn hold(&mut self, samples: usize) -> Result<(), EvalError> {
        self.held = self.held.saturating_add(samples);
        if self.held > self.settings.max_samples {
            return Err(EvalError::TooManySamples);
        }
        self.check_canceled()
    }

    fn check_canceled(&self) -> Result<(), EvalError> {
        if self.cancel.is_canceled() { Err(EvalError::Canceled) } else { Ok(()) }
    }

    /// The time that an expression under `shift` looks at when evaluated at `at`.
    fn shifted(&self, shift: TimeShift, at: i64) -> i64 {
        let base = match shift.at {
            None => at,
            Some(At::Time(fixed)) => fixed.0,
            Some(At::Start) => self.query.start,
            Some(At::End) => self.query.end(),
        };
        base.saturating_sub(shift.offset_ms.unwrap_or(0))
    }

    fn eval(&mut self, expr: &Expr, grid: Grid) -> Result<Output, EvalError> {
        self.check_canceled()?;
        if grid.count > self.settings.max_samples {
            return Err(EvalError::TooManySamples);
        }
        let before = self.held;
        let output = self.eval_node(expr, grid)?;
        // What the children held is gone by now.
        self.held = before;
        self.hold(output.size())?;
        Ok(output)
    }

    fn eval_node(&mut self, expr: &Expr, grid: Grid) -> Result<Output, EvalError> {
        match expr {
            Expr::Number(number) => Ok(Output::Scalar(self.constant(number.value, grid)?)),
            Expr::Text(text) => Ok(Output::Text(text.value.clone())),
            Expr::Paren(inner, _) => self.eval(inner, grid),
            Expr::Selector(selector) => self.select(selector, grid, |sample| sample.value).map(Output::Vector),
            Expr::Range(_) | Expr::Subquery(_) => {
                Err(EvalError::execution("a range vector can only be the argument of a function"))
            }
            Expr::Call(call) => self.call(call, grid),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, grid).map(Output::Vector),
            Expr::Binary(binary) => self.binary(binary, grid),
            Expr::Unary(unary) => self.unary(unary, grid),
        }
    }

    fn unary(&mut self, unary: &Unary, grid: Grid) -> Result<Output, EvalError> {
        let operand = self.eval(&unary.expr, grid)?;
        if !unary.negative {
            return Ok(operand);
        }
        match operand {
            Output::Scalar(values) => Ok(Output::Scalar(values.into_iter().map(|value| -value).collect())),
            Output::Vector(mut rows) => {
                for row in &mut rows {
                    row.labels = row.labels.without_name();
                    map_values(&mut row.values, |value| -value);
                }
                unique(rows).map(Output::Vector)
            }
            Output::Text(_) => Err(EvalError::execution("unary expression on a string")),
        }
    }

    fn constant(&mut self, value: f64, grid: Grid) -> Result<Vec<f64>, EvalError> {
        self.hold(grid.count)?;
        Ok(vec![value; grid.count])
    }

    fn scalar(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, EvalError> {
        match self.eval(expr, grid)? {
            Output::Scalar(values) => Ok(values),
            Output::Vector(_) | Output::Text(_) => Err(EvalError::execution("expected a scalar")),
        }
    }

    fn vector(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<Row>, EvalError> {
        match self.eval(expr, grid)? {
            Output::Vector(rows) => Ok(rows),
            Output::Scalar(_) | Output::Text(_) => Err(EvalError::execution("expected an instant vector")),
        }
    }

    fn text(&mut self, expr: &Expr, grid: Grid) -> Result<String, EvalError> {
        match self.eval(expr, grid)? {
            Output::Text(text) => Ok(text),
            Output::Scalar(_) | Output::Vector(_) => Err(EvalError::execution("expected a string")),
        }
    }
}

#[cfg(test)]
mod tests;
