//! Aggregations: series into groups by label, groups into numbers or into some of their series.

use signal::{Histogram, Labels};

use super::call::at;
use super::keys::{Choice, Places};
use super::rows::{Grid, Name, Points, Row, is_present};
use super::source::Scratch;
use super::{EvalError, Evaluator, math};
use crate::parallel::in_chunks;
use crate::promql::annotations::Annotation;
use crate::promql::ast::{Aggregate, AggregateOp, Expr};
use crate::promql::native;
use crate::promql::print::{general_text, number_text};

mod choose;
mod fold;

use choose::Kept;
use fold::{Column, Fold};

/// How many series a worker takes at a time. The order in which numbers are added depends on it, so it is always the
/// same, and larger than what people count by hand.
const SERIES_AT_A_TIME: usize = 256;

/// The groups that a worker has seen.
#[derive(Default)]
struct Groups {
    places: Places,
    list: Vec<Group>,
}

struct Group {
    labels: Labels,
    /// Whether a member's name is to leave; then that of the group is too.
    is_leaving: bool,
    column: Column,
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, grid: Grid) -> Result<Vec<Row>, EvalError> {
        match aggregate.op {
            AggregateOp::Sum => self.folded(aggregate, Fold::Sum, grid),
            AggregateOp::Avg => self.folded(aggregate, Fold::Mean, grid),
            AggregateOp::Min => self.folded(aggregate, Fold::Least, grid),
            AggregateOp::Max => self.folded(aggregate, Fold::Greatest, grid),
            AggregateOp::Count => self.folded(aggregate, Fold::Count, grid),
            AggregateOp::Group => self.folded(aggregate, Fold::Any, grid),
            AggregateOp::Stddev => self.folded(aggregate, Fold::Deviation, grid),
            AggregateOp::Stdvar => self.folded(aggregate, Fold::Variance, grid),
            AggregateOp::Quantile => {
                let param = parameter(aggregate)?;
                let q = self.scalar(param, grid)?;
                let rows = self.vector(&aggregate.expr, grid)?;
                // Of odd parameters, upstream names the largest and the smallest.
                let nan = q.iter().copied().find(|q| q.is_nan());
                let largest = q.iter().copied().reduce(f64::max).filter(|q| *q > 1.0);
                let smallest = q.iter().copied().reduce(f64::min).filter(|q| *q < 0.0);
                for odd in [nan, largest, smallest].into_iter().flatten() {
                    self.note(Annotation::invalid_quantile(odd), param.place());
                }
                self.quantiles(aggregate, &q, &rows, grid)
            }
            AggregateOp::Topk => self.some(aggregate, Kept::Largest, grid),
            AggregateOp::Bottomk => self.some(aggregate, Kept::Smallest, grid),
            AggregateOp::Limitk => self.some(aggregate, Kept::First, grid),
            AggregateOp::LimitRatio => self.some(aggregate, Kept::Sampled, grid),
            AggregateOp::CountValues => {
                let label = self.text(parameter(aggregate)?, grid)?;
                if label.is_empty() || label.contains('\u{fffd}') {
                    let quoted = parameter(aggregate)?.unwrapped().to_string();
                    return Err(EvalError::execution(format!("invalid label name {quoted}")));
                }
                let rows = self.vector(&aggregate.expr, grid)?;
                self.value_counts(aggregate, &label, &rows, grid)
            }
        }
    }

    /// Some of the series of every group.
    fn some(&mut self, aggregate: &Aggregate, kept: Kept, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let params = self.scalar(parameter(aggregate)?, grid)?;
        let rows = self.vector(&aggregate.expr, grid)?;
        self.chosen((aggregate, kept), &params, rows, grid)
    }

    /// One value per group and step. Each series is taken in when it has been read, so that only groups stay in memory.
    fn folded(&mut self, aggregate: &Aggregate, fold: Fold, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let choice = choice(aggregate);
        let supply = self.supply(&aggregate.expr, grid)?;
        let budget = &self.budget;
        let threads = self.threads_for(supply.cost(grid));
        let chunks = in_chunks(threads, supply.len(), SERIES_AT_A_TIME, |scratch: &mut Scratch, range| {
            let mut groups = Groups::default();
            let mut key = Vec::new();
            for index in range {
                let Some(labels) = supply.raw_labels(index) else { continue };
                let points = supply.read(index, scratch, budget)?;
                if points.is_absent() {
                    continue;
                }
                let name = supply.name(index);
                choice.write(labels, name == Name::Gone, &mut key);
                let (place, is_new) = groups.places.place(&key);
                if is_new {
                    budget.hold(grid.count)?;
                    let labels = choice.of(labels, name == Name::Gone);
                    groups.list.push(Group { labels, is_leaving: false, column: Column::new(fold, grid.count) });
                }
                let Some(group) = groups.list.get_mut(place) else { continue };
                group.is_leaving |= name == Name::Leaving;
                group.column.add(points, || if name == Name::Gone { "" } else { labels.get_or_empty(Labels::NAME) });
            }
            Ok((groups, std::mem::take(&mut scratch.notes)))
        })?;
        let mut all = Groups::default();
        for (groups, notes) in chunks {
            self.notes.merge(notes);
            if all.list.is_empty() {
                all = groups;
                continue;
            }
            for (key, group) in groups.places.into_keys().into_iter().zip(groups.list) {
                let (place, is_new) = all.places.place(&key);
                if is_new {
                    all.list.push(group);
                } else if let Some(known) = all.list.get_mut(place) {
                    known.is_leaving |= group.is_leaving;
                    known.column.join(group.column);
                }
            }
        }
        let (place, operator) = (aggregate.expr.place(), aggregate.op.as_str());
        let mut rows = Vec::with_capacity(all.list.len());
        for group in all.list {
            let (points, remarks) = group.column.finish(operator);
            for remark in remarks {
                self.note(remark, place);
            }
            if !points.is_absent() {
                rows.push(Row::new(group.labels, if group.is_leaving { Name::Leaving } else { Name::Kept }, points));
            }
        }
        Ok(rows)
    }

    fn quantiles(&mut self, aggregate: &Aggregate, q: &[f64], rows: &[Row], grid: Grid) -> Result<Vec<Row>, EvalError> {
        let mut answers = Vec::new();
        for (labels, name, members) in grouped(aggregate, rows) {
            self.budget.hold(grid.count)?;
            let mut answer = Row::absent(labels, name, grid);
            for (step, slot) in answer.points.values.iter_mut().enumerate() {
                let mut values: Vec<f64> = members_at(rows, &members, step).map(|(_, value)| value).collect();
                if !values.is_empty() {
                    *slot = math::quantile(at(q, step), &mut values);
                }
            }
            answers.push(answer);
        }
        if rows.iter().any(|row| !row.points.histograms.is_empty()) {
            self.note(Annotation::histogram_ignored_in_aggregation("quantile"), aggregate.expr.place());
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
        let choice = choice(aggregate);
        let mut places = std::collections::HashMap::new();
        let mut answers: Vec<Row> = Vec::new();
        for row in rows {
            let group = choice.of(row.raw_labels(), row.name() == Name::Gone);
            for (step, point) in row.points.present() {
                let labels = group.with(
                    label,
                    &match point {
                        super::Point::Float(value) => number_text(value),
                        super::Point::Histogram(histogram) => histogram_text(&histogram),
                    },
                );
                let place = match places.get(&labels) {
                    Some(place) => *place,
                    None => {
                        self.budget.hold(grid.count)?;
                        places.insert(labels.clone(), answers.len());
                        answers.push(Row::absent(labels, Name::Kept, grid));
                        answers.len() - 1
                    }
                };
                if let Some(count) = answers.get_mut(place).and_then(|row| row.points.values.get_mut(step)) {
                    *count = if is_present(*count) { *count + 1.0 } else { 1.0 };
                }
            }
        }
        Ok(answers)
    }
}

/// A histogram as a label's value (upstream `FloatHistogram.String`).
fn histogram_text(histogram: &Histogram) -> String {
    let mut text = format!("{{count:{}, sum:{}", general_text(histogram.count), general_text(histogram.sum));
    for bucket in native::buckets(histogram).into_iter().filter(|bucket| bucket.count != 0.0) {
        let (open, close) = (if bucket.has_lower { '[' } else { '(' }, if bucket.has_upper { ']' } else { ')' });
        let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(general_text);
        text.push_str(&format!(", {open}{lower},{upper}{close}:{count}"));
    }
    text.push('}');
    text
}

fn parameter(aggregate: &Aggregate) -> Result<&Expr, EvalError> {
    let missing = || EvalError::execution(format!("{} needs a parameter", aggregate.op.as_str()));
    aggregate.param.as_deref().ok_or_else(missing)
}

/// The labels that make a group.
fn choice(aggregate: &Aggregate) -> Choice {
    if aggregate.without { Choice::without(&aggregate.grouping) } else { Choice::only(&aggregate.grouping) }
}

/// Groups in order of their first member: labels, what becomes of the name, and the indices of their members.
fn grouped(aggregate: &Aggregate, rows: &[Row]) -> Vec<(Labels, Name, Vec<usize>)> {
    let choice = choice(aggregate);
    let mut places = Places::default();
    let mut groups: Vec<(Labels, Name, Vec<usize>)> = Vec::new();
    let mut key = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let is_gone = row.name() == Name::Gone;
        choice.write(row.raw_labels(), is_gone, &mut key);
        let (place, is_new) = places.place(&key);
        if is_new {
            groups.push((choice.of(row.raw_labels(), is_gone), Name::Kept, Vec::new()));
        }
        let Some((_, name, members)) = groups.get_mut(place) else { continue };
        if row.name() == Name::Leaving {
            *name = Name::Leaving;
        }
        members.push(index);
    }
    groups
}

/// The members of a group that have a number at `step`.
fn members_at(rows: &[Row], members: &[usize], step: usize) -> impl Iterator<Item = (usize, f64)> {
    members.iter().filter_map(move |member| {
        let value = rows.get(*member)?.points.values.get(step).copied()?;
        is_present(value).then_some((*member, value))
    })
}

/// The members of a group that have anything at `step`.
fn there_at<'r>(rows: &'r [Row], members: &'r [usize], step: usize) -> impl Iterator<Item = (usize, &'r Points)> {
    members.iter().filter_map(move |member| {
        let points = &rows.get(*member)?.points;
        points.is_present(step).then_some((*member, points))
    })
}
