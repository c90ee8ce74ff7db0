//! Metric queries: every node yields all its points at once.

use std::time::Duration;

use regex::Regex;
use signal::{Labels, Nanos, go_regex};
use store::Snapshot;

use super::{EvalError, MAX_POINTS, Point, RangeSeries, aggregate, binary, window};
use crate::Cancel;
use crate::logql::ast::{AggregateOp, Grouping, MetricExpr, RangeOp};

/// The instants of an answer, ascending.
pub(super) struct Steps(Vec<Nanos>);

impl Steps {
    pub(super) fn new(start: Nanos, end: Nanos, step: Duration) -> Result<Self, EvalError> {
        let step = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX);
        if step == 0 {
            return Err(EvalError::NoStep);
        }
        let mut instants = Vec::new();
        let mut at = start.0;
        while at <= end.0 {
            if instants.len() >= MAX_POINTS {
                return Err(EvalError::TooManyPoints);
            }
            instants.push(Nanos(at));
            let Some(next) = at.checked_add(step) else { break };
            at = next;
        }
        Ok(Self(instants))
    }

    pub(super) fn at(at: Nanos) -> Self {
        Self(vec![at])
    }

    pub(super) fn as_slice(&self) -> &[Nanos] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// One series: a value or none for each step.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) labels: Labels,
    pub(super) values: Vec<Option<f64>>,
}

/// What a node yields.
pub(super) enum Grid {
    Scalar(f64),
    Rows(Vec<Row>),
}

pub(super) struct Evaluation<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) steps: &'a Steps,
    pub(super) cancel: &'a Cancel,
}

impl Evaluation<'_> {
    pub(super) fn eval(&self, expr: &MetricExpr) -> Result<Grid, EvalError> {
        if self.cancel.is_canceled() {
            return Err(EvalError::Canceled);
        }
        match expr {
            MetricExpr::Number(value) => Ok(Grid::Scalar(*value)),
            MetricExpr::Vector(value) => {
                let values = vec![Some(*value); self.steps.len()];
                Ok(Grid::Rows(vec![Row { labels: Labels::empty(), values }]))
            }
            MetricExpr::Range(range) => window::eval(range, range.grouping.as_ref(), self).map(Grid::Rows),
            MetricExpr::Aggregate { op, limit, grouping, inner } => {
                let rows = match &**inner {
                    // The lines are put together at once: most labels of a line need never be built.
                    MetricExpr::Range(range) if range.grouping.is_none() && folds(*op, range.op) => {
                        let none = Grouping { without: false, labels: Vec::new() };
                        window::eval(range, Some(grouping.as_ref().unwrap_or(&none)), self)?
                    }
                    _ => self.rows(inner)?,
                };
                Ok(Grid::Rows(aggregate::aggregate(*op, *limit, grouping.as_ref(), rows, self.steps.len())))
            }
            MetricExpr::Binary { op, returns_bool, matching, left, right } => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                binary::combine(
                    binary::Operator { op: *op, returns_bool: *returns_bool, matching: matching.as_ref() },
                    left,
                    right,
                )
            }
            MetricExpr::LabelReplace { inner, target, replacement, source, pattern } => {
                let pattern =
                    go_regex::compile(&format!("^(?:{pattern})$")).map_err(|reason| EvalError::Stage { reason })?;
                let mut rows = self.rows(inner)?;
                for row in &mut rows {
                    row.labels = replace_label(&row.labels, &pattern, target, replacement, source);
                }
                Ok(Grid::Rows(rows))
            }
        }
    }

    /// The series of a node; a bare number is a series without labels.
    fn rows(&self, expr: &MetricExpr) -> Result<Vec<Row>, EvalError> {
        Ok(match self.eval(expr)? {
            Grid::Rows(rows) => rows,
            Grid::Scalar(value) => vec![Row { labels: Labels::empty(), values: vec![Some(value); self.steps.len()] }],
        })
    }
}

/// Whether aggregating over series equals computing over all their lines together.
fn folds(op: AggregateOp, inner: RangeOp) -> bool {
    match op {
        AggregateOp::Sum => matches!(
            inner,
            RangeOp::Rate | RangeOp::CountOverTime | RangeOp::BytesRate | RangeOp::BytesOverTime | RangeOp::SumOverTime
        ),
        AggregateOp::Min => inner == RangeOp::MinOverTime,
        AggregateOp::Max => inner == RangeOp::MaxOverTime,
        AggregateOp::Avg
        | AggregateOp::Count
        | AggregateOp::Stddev
        | AggregateOp::Stdvar
        | AggregateOp::Topk
        | AggregateOp::Bottomk
        | AggregateOp::ApproxTopk
        | AggregateOp::Sort
        | AggregateOp::SortDesc => false,
    }
}

fn replace_label(labels: &Labels, pattern: &Regex, target: &str, replacement: &str, source: &str) -> Labels {
    let Some(captures) = pattern.captures(labels.get_or_empty(source)) else { return labels.clone() };
    let mut value = String::new();
    captures.expand(replacement, &mut value);
    labels.with(target, &value)
}

/// Rows to series; those without any value are left out.
pub(super) fn matrix(grid: Grid, steps: &Steps) -> Vec<RangeSeries> {
    let rows = match grid {
        Grid::Scalar(value) => vec![Row { labels: Labels::empty(), values: vec![Some(value); steps.len()] }],
        Grid::Rows(rows) => rows,
    };
    let mut series: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let points = steps
                .as_slice()
                .iter()
                .zip(&row.values)
                .filter_map(|(at, value)| Some(Point { at: *at, value: (*value)? }));
            RangeSeries { points: points.collect(), labels: row.labels }
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}
