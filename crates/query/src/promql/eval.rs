//! Evaluation: every node answers for all steps of the query at once, each selector reads the store once.
//!
//! Series are read one at a time, by as many threads as the work is worth; an aggregation takes each in as it is read, so
//! that only groups stay in memory. What an answer is does not depend on the number of threads.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use signal::{Histogram, Labels, Sample, Timestamp};
use store::{Series, Snapshot};

use super::annotations::Annotation;
use super::ast::{At, Expr, Place, Selector, Subquery, TimeShift, Unary, ValueType};
use super::native;
use crate::Cancel;

mod aggregate;
mod binary;
pub(super) mod calendar;
mod call;
mod histogram;
mod info;
mod keys;
mod labels;
pub(super) mod math;
mod notes;
pub(super) mod over;
mod rows;
mod select;
mod source;

use notes::Notes;
use rows::{Grid, Name, Point, Row, map_values, unique};
use select::is_step_invariant;
use source::Pick;

/// What evaluation may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long a sample stays the value of its series. Default 5 minutes.
    pub lookback: Duration,
    /// Samples one query may hold in memory at a time, about 16 bytes each. Default 50 million.
    pub max_samples: usize,
    /// Series one selector may find. Default without limit.
    pub max_series: usize,
    /// Step of subqueries that name none; in Prometheus the global evaluation interval. Default 1 minute.
    pub subquery_step: Duration,
    /// Threads one query may use. Default as many as the machine runs at once.
    pub threads: usize,
    /// Whether metric names go only when the whole query is done (upstream's `promql-delayed-name-removal`).
    pub delayed_name_removal: bool,
    /// Whether types are told by the label `__type__` (upstream's `type-and-unit-labels`).
    pub type_and_unit_labels: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lookback: Duration::from_secs(300),
            max_samples: 50_000_000,
            max_series: usize::MAX,
            subquery_step: Duration::from_secs(60),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            delayed_name_removal: false,
            type_and_unit_labels: false,
        }
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
    /// Value and evaluation time; the value is NaN when there is a histogram instead.
    pub sample: Sample,
    /// Native histogram in place of a number.
    pub histogram: Option<Arc<Histogram>>,
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
    /// More series than `Settings::max_series`.
    #[error("a selector finds {found} series; the limit is {limit}")]
    TooManySeries {
        /// How many it finds.
        found: usize,
        /// How many it may find.
        limit: usize,
    },
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
    let expr = &*resolved(expr, Duration::ZERO, Duration::ZERO)?;
    let mut evaluator = Evaluator::new(snapshot, settings, cancel, grid);
    let value = match expr.unwrapped() {
        found @ (Expr::Range(_) | Expr::Subquery(_)) => Value::Matrix(evaluator.raw(found, grid)?),
        _ => match evaluator.eval(expr, grid)? {
            Output::Scalar(values) => Value::Scalar(Sample { at, value: values.first().copied().unwrap_or(f64::NAN) }),
            Output::Text(text) => Value::String(at, text),
            Output::Vector(rows) => {
                let one = |row: Row| {
                    let (value, histogram) = match row.points.at(0)? {
                        Point::Float(value) => (value, None),
                        Point::Histogram(histogram) => (f64::NAN, Some(histogram)),
                    };
                    Some(VectorSample { labels: row.labels(), sample: Sample { at, value }, histogram })
                };
                Value::Vector(evaluator.finished(rows)?.into_iter().filter_map(one).collect())
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
    let expr = &*resolved(expr, range.step, range.end.since(range.start))?;
    let grid = Grid::over(range.start.0, range.end.0, select::millis(range.step));
    let mut evaluator = Evaluator::new(snapshot, settings, cancel, grid);
    let rows = match evaluator.eval(expr, grid)? {
        Output::Scalar(values) => vec![Row::floats(Labels::empty(), values)],
        Output::Vector(rows) => evaluator.finished(rows)?,
        Output::Text(_) => return Err(EvalError::NotForRange(ValueType::String)),
    };
    let mut series: Vec<Series> = rows.into_iter().map(|row| row.into_series(grid)).collect();
    series.retain(|series| !series.samples.is_empty() || !series.histograms.is_empty());
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(evaluator.answer(Value::Matrix(series)))
}

/// The expression with the durations that depend on the query calculated.
fn resolved(expr: &Expr, step: Duration, range: Duration) -> Result<Cow<'_, Expr>, EvalError> {
    expr.resolved(step, range).map_err(|error| EvalError::execution(error.to_string()))
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
    /// What it takes of the limit on samples.
    fn size(&self) -> usize {
        match self {
            Self::Scalar(values) => values.len(),
            Self::Vector(rows) => rows.iter().map(|row| row.points.size()).sum(),
            Self::Text(_) => 0,
        }
    }

    /// One step's output at every step of `grid`.
    fn repeated(self, grid: Grid) -> Self {
        match self {
            Self::Scalar(values) => Self::Scalar(vec![values.first().copied().unwrap_or(f64::NAN); grid.count]),
            Self::Vector(rows) => Self::Vector(rows.into_iter().map(|row| row.repeated(grid)).collect()),
            Self::Text(text) => Self::Text(text),
        }
    }
}

/// What a query has used of what it may use; shared by its threads.
struct Budget<'a> {
    cancel: &'a Cancel,
    max_samples: usize,
    /// Samples in memory now.
    held: AtomicUsize,
}

impl Budget<'_> {
    /// Accounts for samples about to be held in memory.
    fn hold(&self, samples: usize) -> Result<(), EvalError> {
        let held = self.held.fetch_add(samples, Ordering::Relaxed).saturating_add(samples);
        if held > self.max_samples {
            return Err(EvalError::TooManySamples);
        }
        self.check_canceled()
    }

    /// Whether so many samples fit beside those held now.
    fn check(&self, samples: usize) -> Result<(), EvalError> {
        if self.held.load(Ordering::Relaxed).saturating_add(samples) > self.max_samples {
            return Err(EvalError::TooManySamples);
        }
        self.check_canceled()
    }

    /// Called with the samples of each series that is read, which are let go before the next.
    fn look_at(&self, samples: usize) -> Result<(), EvalError> {
        self.check(samples)
    }

    fn check_canceled(&self) -> Result<(), EvalError> {
        if self.cancel.is_canceled() { Err(EvalError::Canceled) } else { Ok(()) }
    }
}

struct Evaluator<'a> {
    snapshot: &'a Snapshot,
    settings: &'a Settings,
    /// The query's own grid, for `@ start()` and `@ end()`.
    query: Grid,
    budget: Budget<'a>,
    notes: Notes,
}

impl<'a> Evaluator<'a> {
    fn new(snapshot: &'a Snapshot, settings: &'a Settings, cancel: &'a Cancel, query: Grid) -> Self {
        let budget = Budget { cancel, max_samples: settings.max_samples, held: AtomicUsize::new(0) };
        Self { snapshot, settings, query, budget, notes: Notes::default() }
    }

    fn answer(self, value: Value) -> Answer {
        let (warnings, infos) = self.notes.into_texts();
        Answer { value, warnings, infos }
    }

    /// Takes the names that were to go at the end.
    fn finished(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
        if !self.settings.delayed_name_removal {
            return Ok(rows);
        }
        rows.iter_mut().for_each(Row::finish);
        rows::merge_relabelled(rows)
    }

    fn note(&mut self, annotation: Annotation, place: Place) {
        self.notes.add(annotation, place);
    }

    /// What becomes of a metric's name when the metric has become something else.
    fn nameless(&self) -> Name {
        if self.settings.delayed_name_removal { Name::Leaving } else { Name::Gone }
    }

    /// Takes the names of rows, now or later.
    fn drop_names(&self, rows: &mut [Row]) {
        let how = self.nameless();
        rows.iter_mut().for_each(|row| row.drop_name(how));
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
        if grid.count > self.settings.max_samples {
            return Err(EvalError::TooManySamples);
        }
        self.budget.check_canceled()?;
        let before = *self.budget.held.get_mut();
        let output = if grid.count > 1 && is_step_invariant(expr) {
            self.eval_node(expr, grid.first())?.repeated(grid)
        } else {
            self.eval_node(expr, grid)?
        };
        // What the children held is gone by now.
        *self.budget.held.get_mut() = before;
        self.budget.hold(output.size())?;
        Ok(output)
    }

    fn eval_node(&mut self, expr: &Expr, grid: Grid) -> Result<Output, EvalError> {
        match expr {
            Expr::Number(number) => Ok(Output::Scalar(self.constant(number.value, grid)?)),
            Expr::Text(text) => Ok(Output::Text(text.value.clone())),
            Expr::Paren(inner, _) => self.eval(inner, grid),
            Expr::Selector(selector) => {
                let supply = self.instant(selector, grid, Pick::Value)?;
                self.collect(supply, grid).map(Output::Vector)
            }
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
                    map_values(&mut row.points.values, |value| -value);
                    for histogram in row.points.histograms.iter_mut().flatten() {
                        native::multiply(Arc::make_mut(histogram), -1.0);
                    }
                }
                self.drop_names(&mut rows);
                if self.settings.delayed_name_removal { Ok(rows) } else { unique(rows) }.map(Output::Vector)
            }
            Output::Text(_) => Err(EvalError::execution("unary expression on a string")),
        }
    }

    fn constant(&mut self, value: f64, grid: Grid) -> Result<Vec<f64>, EvalError> {
        self.budget.check(grid.count)?;
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
