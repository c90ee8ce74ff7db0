//! Aggregations: series into groups by label, groups into numbers or into some of their series.

use std::cmp::Ordering;
use std::collections::HashMap;

use signal::Labels;

use super::call::bad_quantile;
use super::math::{self, Mean, Sum};
use super::rows::{ABSENT, Grid, Row, is_present};
use super::{EvalError, Evaluator};
use crate::promql::ast::{Aggregate, AggregateOp, Expr};
use crate::promql::print::number_text;

impl Evaluator<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, grid: Grid) -> Result<Vec<Row>, EvalError> {
        match aggregate.op {
            AggregateOp::Sum
            | AggregateOp::Avg
            | AggregateOp::Min
            | AggregateOp::Max
            | AggregateOp::Count
            | AggregateOp::Group
            | AggregateOp::Stddev
            | AggregateOp::Stdvar => {
                let rows = self.vector(&aggregate.expr, grid)?;
                self.folded(aggregate, rows, grid)
            }
            AggregateOp::Quantile => {
                let param = parameter(aggregate)?;
                let q = self.scalar(param, grid)?;
                if let Some(odd) = q.iter().find(|q| !(0.0..=1.0).contains(*q)) {
                    self.warn(&bad_quantile(*odd), param.place());
                }
                let rows = self.vector(&aggregate.expr, grid)?;
                self.quantiles(aggregate, &q, &rows, grid)
            }
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                let counts = counts(&self.scalar(parameter(aggregate)?, grid)?)?;
                let rows = self.vector(&aggregate.expr, grid)?;
                Ok(chosen(aggregate, &counts, rows, grid))
            }
            AggregateOp::CountValues => {
                let label = self.text(parameter(aggregate)?, grid)?;
                if label.is_empty() {
                    return Err(EvalError::execution(format!("invalid label name {label:?}")));
                }
                let rows = self.vector(&aggregate.expr, grid)?;
                self.value_counts(aggregate, &label, &rows, grid)
            }
        }
    }

    /// One number per group, gathered value by value.
    fn folded(&mut self, aggregate: &Aggregate, rows: Vec<Row>, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let mut groups: Vec<(Labels, Vec<Fold>)> = Vec::new();
        for (labels, members) in grouped(aggregate, &rows) {
            self.hold(grid.count)?;
            let mut folds = vec![Fold::default(); grid.count];
            for row in members.iter().filter_map(|member| rows.get(*member)) {
                for (fold, value) in folds.iter_mut().zip(&row.values) {
                    if is_present(*value) {
                        fold.add(aggregate.op, *value);
                    }
                }
            }
            groups.push((labels, folds));
        }
        drop(rows);
        let finish = |(labels, folds): (Labels, Vec<Fold>)| Row {
            labels,
            values: folds.into_iter().map(|fold| fold.value(aggregate.op)).collect(),
        };
        Ok(groups.into_iter().map(finish).filter(|row| !row.is_absent()).collect())
    }

    fn quantiles(&mut self, aggregate: &Aggregate, q: &[f64], rows: &[Row], grid: Grid) -> Result<Vec<Row>, EvalError> {
        let mut answers = Vec::new();
        for (labels, members) in grouped(aggregate, rows) {
            self.hold(grid.count)?;
            let mut answer = Row::absent(labels, grid);
            for (step, (value, q)) in answer.values.iter_mut().zip(q).enumerate() {
                let mut values: Vec<f64> = members_at(rows, &members, step).map(|(_, value)| value).collect();
                if !values.is_empty() {
                    *value = math::quantile(*q, &mut values);
                }
            }
            answers.push(answer);
        }
        answers.retain(|row| !row.is_absent());
        Ok(answers)
    }

    fn value_counts(
        &mut self,
        aggregate: &Aggregate,
        label: &str,
        rows: &[Row],
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut answers: Vec<Row> = Vec::new();
        for row in rows {
            let group = group_labels(aggregate, &row.labels);
            for (step, value) in row.present() {
                let labels = group.with(label, &number_text(value));
                let place = match places.get(&labels) {
                    Some(place) => *place,
                    None => {
                        self.hold(grid.count)?;
                        places.insert(labels.clone(), answers.len());
                        answers.push(Row::absent(labels, grid));
                        answers.len() - 1
                    }
                };
                if let Some(count) = answers.get_mut(place).and_then(|row| row.values.get_mut(step)) {
                    *count = if is_present(*count) { *count + 1.0 } else { 1.0 };
                }
            }
        }
        Ok(answers)
    }
}

fn parameter(aggregate: &Aggregate) -> Result<&Expr, EvalError> {
    let missing = || EvalError::execution(format!("{} needs a parameter", aggregate.op.as_str()));
    aggregate.param.as_deref().ok_or_else(missing)
}

/// The labels of the group that a series belongs to.
fn group_labels(aggregate: &Aggregate, labels: &Labels) -> Labels {
    let listed = |name: &str| aggregate.grouping.iter().any(|label| label == name);
    if aggregate.without {
        return labels.without(|name| name == Labels::NAME || listed(name));
    }
    labels.without(|name| !listed(name))
}

/// Groups in order of their first member, with the indices of their members.
fn grouped(aggregate: &Aggregate, rows: &[Row]) -> Vec<(Labels, Vec<usize>)> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, Vec<usize>)> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let labels = group_labels(aggregate, &row.labels);
        let place = *places.entry(labels.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, members)) => members.push(index),
            None => groups.push((labels, vec![index])),
        }
    }
    groups
}

/// The members of a group that have a value at `step`.
fn members_at(rows: &[Row], members: &[usize], step: usize) -> impl Iterator<Item = (usize, f64)> {
    members.iter().filter_map(move |member| {
        let value = rows.get(*member)?.values.get(step).copied()?;
        is_present(value).then_some((*member, value))
    })
}

/// How many series to keep at each step. Numbers below 1 keep none.
fn counts(values: &[f64]) -> Result<Vec<usize>, EvalError> {
    let count = |value: &f64| {
        if value.is_nan() {
            return Err(EvalError::execution("Parameter value is NaN"));
        }
        if value.abs() >= 9_223_372_036_854_775_807.0 {
            return Err(EvalError::execution(format!("Scalar value {} overflows int64", number_text(*value))));
        }
        Ok(if *value < 1.0 { 0 } else { *value as usize })
    };
    values.iter().map(count).collect()
}

/// Keeps some series of every group: topk, bottomk, limitk.
fn chosen(aggregate: &Aggregate, counts: &[usize], mut rows: Vec<Row>, grid: Grid) -> Vec<Row> {
    let mut order = Vec::with_capacity(rows.len());
    for (_, members) in grouped(aggregate, &rows) {
        for (step, count) in counts.iter().enumerate() {
            let mut candidates: Vec<(usize, f64)> = members_at(&rows, &members, step).collect();
            // The sort is stable: among equals the earlier series wins.
            match aggregate.op {
                AggregateOp::Topk => candidates.sort_by(|a, b| nan_last(b.1.partial_cmp(&a.1), a.1, b.1)),
                AggregateOp::Bottomk => candidates.sort_by(|a, b| nan_last(a.1.partial_cmp(&b.1), a.1, b.1)),
                _ => {}
            }
            let kept = (*count).min(candidates.len());
            for (member, _) in candidates.iter().skip(kept) {
                if let Some(value) = rows.get_mut(*member).and_then(|row| row.values.get_mut(step)) {
                    *value = ABSENT;
                }
            }
            if grid.count == 1 {
                order.extend(candidates.iter().take(kept).map(|(member, _)| *member));
            }
        }
    }
    if grid.count == 1 {
        return order.into_iter().filter_map(|member| rows.get(member).cloned()).collect();
    }
    rows.retain(|row| !row.is_absent());
    rows
}

fn nan_last(order: Option<Ordering>, a: f64, b: f64) -> Ordering {
    order.unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// What a group has gathered at one step.
#[derive(Clone, Copy, Debug, Default)]
struct Fold {
    count: f64,
    sum: Sum,
    mean: Mean,
    /// Smallest or largest value; running mean of the variance.
    value: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

impl Fold {
    fn add(&mut self, op: AggregateOp, value: f64) {
        self.count += 1.0;
        let first = self.count == 1.0;
        match op {
            AggregateOp::Sum => self.sum.add(value),
            AggregateOp::Avg => self.mean.add(value),
            AggregateOp::Min => self.value = if first { value } else { math::lesser(self.value, value) },
            AggregateOp::Max => self.value = if first { value } else { math::greater(self.value, value) },
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                let delta = value - self.value;
                self.value += delta / self.count;
                self.squares += delta * (value - self.value);
            }
            AggregateOp::Count | AggregateOp::Group => {}
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {}
            AggregateOp::Quantile | AggregateOp::CountValues => {}
        }
    }

    fn value(&self, op: AggregateOp) -> f64 {
        if self.count == 0.0 {
            return ABSENT;
        }
        match op {
            AggregateOp::Sum => self.sum.total(),
            AggregateOp::Avg => self.mean.value(),
            AggregateOp::Min | AggregateOp::Max => self.value,
            AggregateOp::Group => 1.0,
            AggregateOp::Stdvar => self.squares / self.count,
            AggregateOp::Stddev => (self.squares / self.count).sqrt(),
            AggregateOp::Count => self.count,
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => self.count,
            AggregateOp::Quantile | AggregateOp::CountValues => self.count,
        }
    }
}
