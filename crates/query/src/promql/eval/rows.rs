//! The shape of intermediate results: series by steps, dense.

use std::collections::HashMap;

use signal::{Labels, STALE_NAN, Sample, Timestamp, is_stale};
use store::Series;

use super::EvalError;

/// Stands for "no value at this step". Staleness markers never come out of a selector and no arithmetic makes their bits
/// (it quiets NaNs), so they are free to mean this.
pub(super) const ABSENT: f64 = f64::from_bits(STALE_NAN);

pub(super) fn is_present(value: f64) -> bool {
    !is_stale(value)
}

/// Applies `change` to the values that are there.
pub(super) fn map_values(values: &mut [f64], mut change: impl FnMut(f64) -> f64) {
    for value in values.iter_mut().filter(|value| is_present(**value)) {
        *value = change(*value);
    }
}

/// Evaluation times: `count` of them from `start` on, `step` milliseconds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) start: i64,
    pub(super) step: i64,
    pub(super) count: usize,
}

impl Grid {
    /// All multiples of `step` after `start` that are not after `end`.
    pub(super) fn over(start: i64, end: i64, step: i64) -> Self {
        let step = step.max(1);
        let count = match end.checked_sub(start) {
            Some(length) if length >= 0 => usize::try_from(length / step).unwrap_or(usize::MAX).saturating_add(1),
            Some(_) => 0,
            None => usize::MAX,
        };
        Self { start, step, count }
    }

    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |index| self.time(index))
    }

    fn time(self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)))
    }

    /// The last time.
    pub(super) fn end(self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }
}

/// One series of an intermediate result.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) labels: Labels,
    /// One value per step, [`ABSENT`] where there is none.
    pub(super) values: Vec<f64>,
}

impl Row {
    pub(super) fn absent(labels: Labels, grid: Grid) -> Self {
        Self { labels, values: vec![ABSENT; grid.count] }
    }

    pub(super) fn is_absent(&self) -> bool {
        !self.values.iter().copied().any(is_present)
    }

    /// The steps that have a value, with it.
    pub(super) fn present(&self) -> impl Iterator<Item = (usize, f64)> {
        self.values.iter().copied().enumerate().filter(|(_, value)| is_present(*value))
    }

    pub(super) fn into_series(self, grid: Grid) -> Series {
        let samples = grid.times().zip(self.values).filter(|(_, value)| is_present(*value));
        Series {
            labels: self.labels,
            samples: samples.map(|(at, value)| Sample { at: Timestamp(at), value }).collect(),
            histograms: Vec::new(),
        }
    }
}

pub(super) fn same_labelset() -> EvalError {
    EvalError::execution("vector cannot contain metrics with the same labelset")
}

/// Joins rows with equal labels, which must not both have a value at the same step.
pub(super) fn merge(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(rows.len());
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(known) = places.get(&row.labels).and_then(|place| merged.get_mut(*place)) else {
            places.insert(row.labels.clone(), merged.len());
            merged.push(row);
            continue;
        };
        for (target, value) in known.values.iter_mut().zip(row.values) {
            if is_present(value) {
                if is_present(*target) {
                    return Err(same_labelset());
                }
                *target = value;
            }
        }
    }
    Ok(merged)
}

/// Refuses rows with equal labels even when their values lie at different steps, as upstream does after range functions.
pub(super) fn unique(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    let mut seen = std::collections::HashSet::with_capacity(rows.len());
    if rows.iter().filter(|row| !row.is_absent()).all(|row| seen.insert(&row.labels)) {
        drop(seen);
        return Ok(rows);
    }
    Err(same_labelset())
}
