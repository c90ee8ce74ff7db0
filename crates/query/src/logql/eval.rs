//! A parsed query to its answer.

mod aggregate;
mod binary;
mod columns;
mod gather;
mod lines;
mod metric;
mod narrow;
mod source;
mod window;

use std::time::Duration;

use signal::{Labels, Nanos};
use store::Snapshot;

use super::ast::{Expr, MetricExpr};
use crate::Cancel;

/// Most points one series of an answer may have.
const MAX_POINTS: usize = 11_000;

/// Most bytes the lines of one answer may have.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeQuery {
    /// First instant inside.
    pub start: Nanos,
    /// For lines the first instant outside, as in Loki; for numbers the last possible point.
    pub end: Nanos,
    /// Distance of the points of a metric query; not zero.
    pub step: Duration,
    /// Most lines over all streams.
    pub limit: usize,
    /// Which lines come first and count against the limit first.
    pub direction: Direction,
}

impl RangeQuery {
    /// Asks for the newest `limit` lines.
    #[must_use]
    pub fn lines(start: Nanos, end: Nanos, limit: usize) -> Self {
        Self { start, end, step: Duration::from_secs(1), limit, direction: Direction::Backward }
    }

    /// Asks for numbers.
    #[must_use]
    pub fn points(start: Nanos, end: Nanos, step: Duration) -> Self {
        Self { start, end, step, limit: 0, direction: Direction::Backward }
    }
}

/// Order of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    #[default]
    Backward,
}

/// What a query yields.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// Lines, one element for each distinct set of labels, sorted by labels.
    Streams(Vec<StreamAnswer>),
    /// Numbers at one instant; sorted by labels unless the query sorts.
    Vector(Vec<(Labels, Point)>),
    /// Numbers over time, sorted by labels.
    Matrix(Vec<RangeSeries>),
    /// One number without labels.
    Scalar(Point),
}

/// Lines that share all their labels.
#[derive(Clone, PartialEq, Debug)]
pub struct StreamAnswer {
    /// All labels together.
    pub labels: Labels,
    /// Those of the stored stream that are left.
    pub stream: Labels,
    /// Those from structured metadata.
    pub structured: Labels,
    /// Those the pipeline made, `__error__` among them.
    pub parsed: Labels,
    /// In the order asked for.
    pub lines: Vec<(Nanos, String)>,
}

/// One series of a metric query.
#[derive(Clone, PartialEq, Debug)]
pub struct RangeSeries {
    /// Identity; no metric name.
    pub labels: Labels,
    /// Ascending time; instants without value are left out.
    pub points: Vec<Point>,
}

/// A number at a time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// When.
    pub at: Nanos,
    /// What.
    pub value: f64,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A stage that does not compile; impossible for what [`parse`](super::parse) accepted.
    #[error("{reason}")]
    Stage {
        /// Why.
        reason: String,
    },
    /// A log query where only numbers have a meaning.
    #[error("log queries are not supported as an instant query type, please change your query to a range query type")]
    LinesAtInstant,
    /// A line of a metric query failed in a stage and was not filtered out.
    #[error(
        "pipeline error: '{error}' for series: '{series}'.\nUse a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\nTo skip all potential errors you can match empty errors.(e.g __error__=\"\")\nThe label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
    )]
    Pipeline {
        /// What `__error__` says.
        error: &'static str,
        /// Labels of the line.
        series: String,
    },
    /// Two series of one side where the operator needs one.
    #[error("{reason}")]
    Matching {
        /// Which, in Prometheus' words.
        reason: String,
    },
    /// More points than anybody looks at.
    #[error(
        "exceeded maximum resolution of {MAX_POINTS} points per time series. Try increasing the value of the step parameter"
    )]
    TooManyPoints,
    /// More series than fit the number of points.
    #[error(
        "{series} series are too many for a single query; consider a more specific selector, a grouping, or a longer step"
    )]
    TooManySeries {
        /// How many there were.
        series: usize,
    },
    /// More text than an answer may hold.
    #[error("the lines of the answer exceed {} MiB; ask for fewer", MAX_ANSWER_BYTES >> 20)]
    TooManyBytes,
    /// A step that never arrives.
    #[error("the step must be longer than zero")]
    NoStep,
    /// Stopped from outside.
    #[error("the query was canceled")]
    Canceled,
}

/// Answers a query over a range of time: streams for a log query, otherwise a matrix.
///
/// # Errors
/// [`EvalError`]; a metric query fails as a whole when a line that reaches the function carries `__error__`.
pub fn range(expr: &Expr, snapshot: &Snapshot, query: RangeQuery, cancel: &Cancel) -> Result<Answer, EvalError> {
    match expr {
        Expr::Log(log) => lines::select(log, snapshot, query, cancel).map(Answer::Streams),
        Expr::Metric(expr) => {
            let steps = metric::Steps::new(query.start, query.end, query.step)?;
            let value = metric::Evaluation { snapshot, steps: &steps, cancel }.eval(expr)?;
            Ok(Answer::Matrix(metric::matrix(value, &steps)))
        }
    }
}

/// Answers a metric query at one instant: a vector, or a scalar for a query of literals.
///
/// # Errors
/// [`EvalError::LinesAtInstant`] for a log query, otherwise as [`range`].
pub fn instant(expr: &Expr, snapshot: &Snapshot, at: Nanos, cancel: &Cancel) -> Result<Answer, EvalError> {
    let Expr::Metric(expr) = expr else { return Err(EvalError::LinesAtInstant) };
    let steps = metric::Steps::at(at);
    let value = metric::Evaluation { snapshot, steps: &steps, cancel }.eval(expr)?;
    Ok(match value {
        metric::Grid::Scalar(value) => Answer::Scalar(Point { at, value }),
        metric::Grid::Rows(mut rows) => {
            let sorted_by_value = matches!(expr, MetricExpr::Aggregate { op, .. } if op.sorts());
            if !sorted_by_value {
                rows.sort_by(|a, b| a.labels.cmp(&b.labels));
            }
            let first = |row: &metric::Row| row.values.first().copied().flatten();
            let points = rows.iter().filter_map(|row| Some((row.labels.clone(), Point { at, value: first(row)? })));
            Answer::Vector(points.collect())
        }
    })
}
