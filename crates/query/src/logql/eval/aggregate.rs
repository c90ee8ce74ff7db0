//! Functions over the series of one instant.

use std::cmp::Ordering;
use std::collections::HashMap;

use signal::Labels;

use super::metric::Row;
use crate::logql::ast::{AggregateOp, Grouping};

impl AggregateOp {
    /// Whether the order of an instant answer is its own.
    pub(super) fn sorts(self) -> bool {
        match self {
            Self::Sort | Self::SortDesc | Self::Topk | Self::Bottomk | Self::ApproxTopk => true,
            Self::Sum | Self::Avg | Self::Min | Self::Max | Self::Count | Self::Stddev | Self::Stdvar => false,
        }
    }
}

pub(super) fn aggregate(
    op: AggregateOp,
    limit: Option<u32>,
    grouping: Option<&Grouping>,
    rows: Vec<Row>,
    steps: usize,
) -> Vec<Row> {
    match op {
        AggregateOp::Sort | AggregateOp::SortDesc => sorted(rows, op == AggregateOp::SortDesc),
        AggregateOp::Topk | AggregateOp::ApproxTopk | AggregateOp::Bottomk => {
            let limit = usize::try_from(limit.unwrap_or(1)).unwrap_or(usize::MAX);
            extremes(rows, grouping, limit, op != AggregateOp::Bottomk, steps)
        }
        AggregateOp::Sum
        | AggregateOp::Avg
        | AggregateOp::Min
        | AggregateOp::Max
        | AggregateOp::Count
        | AggregateOp::Stddev
        | AggregateOp::Stdvar => {
            let mut groups: Vec<Row> = Vec::new();
            let mut members: Vec<Vec<Fold>> = Vec::new();
            let mut by_labels: HashMap<Labels, usize> = HashMap::new();
            for row in rows {
                let labels = group_of(&row.labels, grouping);
                let index = *by_labels.entry(labels.clone()).or_insert_with(|| {
                    groups.push(Row { labels, values: Vec::new() });
                    members.push(vec![Fold::default(); steps]);
                    members.len() - 1
                });
                let Some(folds) = members.get_mut(index) else { continue };
                for (fold, value) in folds.iter_mut().zip(row.values) {
                    if let Some(value) = value {
                        fold.add(value);
                    }
                }
            }
            for (group, folds) in groups.iter_mut().zip(members) {
                group.values = folds.iter().map(|fold| fold.finish(op)).collect();
            }
            groups
        }
    }
}

fn group_of(labels: &Labels, grouping: Option<&Grouping>) -> Labels {
    match grouping {
        None => Labels::empty(),
        Some(grouping) => {
            let named = |name: &str| grouping.labels.iter().any(|label| label == name);
            labels.without(|name| named(name) == grouping.without)
        }
    }
}

/// All that any of the functions needs, gathered in one pass.
#[derive(Clone, Default)]
struct Fold {
    count: usize,
    sum: f64,
    least: f64,
    most: f64,
    mean: f64,
    squares: f64,
}

impl Fold {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        if self.count == 1 {
            (self.least, self.most) = (value, value);
        }
        if value < self.least || self.least.is_nan() {
            self.least = value;
        }
        if value > self.most || self.most.is_nan() {
            self.most = value;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
    }

    fn finish(&self, op: AggregateOp) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let count = self.count as f64;
        Some(match op {
            AggregateOp::Sum => self.sum,
            AggregateOp::Avg => self.sum / count,
            AggregateOp::Min => self.least,
            AggregateOp::Max => self.most,
            AggregateOp::Count => count,
            AggregateOp::Stdvar => self.squares / count,
            AggregateOp::Stddev => (self.squares / count).sqrt(),
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::ApproxTopk
            | AggregateOp::Sort
            | AggregateOp::SortDesc => return None,
        })
    }
}

/// NaN comes last in either order.
fn order(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if descending => b.total_cmp(&a),
        (false, false) => a.total_cmp(&b),
    }
}

fn sorted(mut rows: Vec<Row>, descending: bool) -> Vec<Row> {
    let first = |row: &Row| row.values.first().copied().flatten().unwrap_or(f64::NAN);
    rows.sort_by(|a, b| order(first(a), first(b), descending).then_with(|| a.labels.cmp(&b.labels)));
    rows
}

fn extremes(rows: Vec<Row>, grouping: Option<&Grouping>, limit: usize, largest: bool, steps: usize) -> Vec<Row> {
    let mut rows = rows;
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    let groups: Vec<Labels> = rows.iter().map(|row| group_of(&row.labels, grouping)).collect();
    let mut kept: Vec<Row> =
        rows.iter().map(|row| Row { labels: row.labels.clone(), values: vec![None; steps] }).collect();
    for step in 0..steps {
        let mut members: HashMap<&Labels, Vec<(usize, f64)>> = HashMap::new();
        for (at, (row, group)) in rows.iter().zip(&groups).enumerate() {
            if let Some(value) = row.values.get(step).copied().flatten() {
                members.entry(group).or_default().push((at, value));
            }
        }
        for candidates in members.values_mut() {
            candidates.sort_by(|a, b| order(a.1, b.1, largest).then(a.0.cmp(&b.0)));
            for (at, value) in candidates.iter().take(limit) {
                if let Some(place) = kept.get_mut(*at).and_then(|row| row.values.get_mut(step)) {
                    *place = Some(*value);
                }
            }
        }
    }
    kept.retain(|row| row.values.iter().any(Option::is_some));
    sorted(kept, largest)
}
