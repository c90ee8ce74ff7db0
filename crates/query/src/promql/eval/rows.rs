//! The shape of intermediate results: series by steps, dense.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use signal::{Histogram, HistogramSample, Labels, STALE_NAN, Sample, Timestamp, is_stale};
use store::Series;

use super::EvalError;

/// Stands for "no number at this step". Staleness markers never come out of a selector and no arithmetic makes their bits
/// (it quiets NaNs), so they are free to mean this.
pub(super) const ABSENT: f64 = f64::from_bits(STALE_NAN);

/// What a histogram counts against the limit on samples when it has no buckets (upstream `HPoint.size`).
const BARE_HISTOGRAM: usize = 10;

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

    /// Only the first time.
    pub(super) fn first(self) -> Self {
        Self { count: self.count.min(1), ..self }
    }

    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |index| self.time(index))
    }

    pub(super) fn time(self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)))
    }

    /// The last time.
    pub(super) fn end(self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }
}

/// What a series has at one step.
#[derive(Clone, Debug)]
pub(super) enum Point {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// What a series has at every step.
#[derive(Clone, Debug, Default)]
pub(super) struct Points {
    /// One per step, [`ABSENT`] where there is no number.
    pub(super) values: Vec<f64>,
    /// Empty, or one entry per step; at a step there is a number or a histogram, never both.
    pub(super) histograms: Vec<Option<Arc<Histogram>>>,
}

impl Points {
    pub(super) fn absent(count: usize) -> Self {
        Self { values: vec![ABSENT; count], histograms: Vec::new() }
    }

    /// Nothing at any of `count` steps, keeping the memory.
    pub(super) fn reset(&mut self, count: usize) {
        self.values.clear();
        self.values.resize(count, ABSENT);
        self.histograms.clear();
    }

    pub(super) fn at(&self, step: usize) -> Option<Point> {
        if let Some(value) = self.values.get(step).copied().filter(|value| is_present(*value)) {
            return Some(Point::Float(value));
        }
        self.histogram(step).cloned().map(Point::Histogram)
    }

    pub(super) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(step)?.as_ref()
    }

    pub(super) fn is_present(&self, step: usize) -> bool {
        self.values.get(step).copied().is_some_and(is_present) || self.histogram(step).is_some()
    }

    pub(super) fn is_absent(&self) -> bool {
        !self.values.iter().copied().any(is_present) && self.histograms.iter().all(Option::is_none)
    }

    /// Sets what is at `step`; whatever was there goes.
    pub(super) fn put(&mut self, step: usize, point: Point) {
        self.blank(step);
        match point {
            Point::Float(value) => {
                if let Some(slot) = self.values.get_mut(step) {
                    *slot = value;
                }
            }
            Point::Histogram(histogram) => {
                if self.histograms.is_empty() {
                    self.histograms.resize(self.values.len(), None);
                }
                if let Some(slot) = self.histograms.get_mut(step) {
                    *slot = Some(histogram);
                }
            }
        }
    }

    pub(super) fn blank(&mut self, step: usize) {
        if let Some(slot) = self.values.get_mut(step) {
            *slot = ABSENT;
        }
        if let Some(slot) = self.histograms.get_mut(step) {
            *slot = None;
        }
    }

    /// The steps that have something, with it.
    pub(super) fn present(&self) -> impl Iterator<Item = (usize, Point)> {
        (0..self.values.len()).filter_map(|step| Some((step, self.at(step)?)))
    }

    /// Adds to `present` where there is something.
    pub(super) fn mark(&self, present: &mut [bool]) {
        for (present, value) in present.iter_mut().zip(&self.values) {
            *present |= is_present(*value);
        }
        for (present, histogram) in present.iter_mut().zip(&self.histograms) {
            *present |= histogram.is_some();
        }
    }

    /// How much of the limit on samples they take.
    pub(super) fn size(&self) -> usize {
        self.values.len() + self.histograms.iter().flatten().map(|histogram| histogram_size(histogram)).sum::<usize>()
    }

    /// One step's point at `count` steps.
    fn repeated(self, count: usize) -> Self {
        let Self { values, histograms } = self;
        let value = values.first().copied().unwrap_or(ABSENT);
        let histograms = histograms.into_iter().next().flatten().map(|histogram| vec![Some(histogram); count]);
        Self { values: vec![value; count], histograms: histograms.unwrap_or_default() }
    }
}

/// What a histogram counts against the limit on samples: a number for each 16 bytes, as upstream.
pub(super) fn histogram_size(histogram: &Histogram) -> usize {
    let sides = [&histogram.positive, &histogram.negative];
    let buckets: usize = sides.iter().map(|side| side.counts.len() + side.spans.len()).sum();
    BARE_HISTOGRAM + (buckets + histogram.custom_values.len()) / 2
}

/// Whether the name of a row's metric still counts. With it go its type and unit, as upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Name {
    /// It is a label like any other.
    Kept,
    /// It goes when the query is done; until then it is a label like any other.
    Leaving,
    /// It is gone, even while the row's label set still has it.
    Gone,
}

/// One series of an intermediate result.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// May still hold a name that is [`Name::Gone`]: most rows are aggregated before anybody looks.
    labels: Labels,
    name: Name,
    pub(super) points: Points,
}

impl Row {
    pub(super) fn new(labels: Labels, name: Name, points: Points) -> Self {
        Self { labels, name, points }
    }

    /// Numbers under a label set.
    pub(super) fn floats(labels: Labels, values: Vec<f64>) -> Self {
        Self::new(labels, Name::Kept, Points { values, histograms: Vec::new() })
    }

    pub(super) fn absent(labels: Labels, name: Name, grid: Grid) -> Self {
        Self::new(labels, name, Points::absent(grid.count))
    }

    pub(super) fn is_absent(&self) -> bool {
        self.points.is_absent()
    }

    pub(super) fn name(&self) -> Name {
        self.name
    }

    /// The label set as it is, for who takes [`Name::Gone`] into account.
    pub(super) fn raw_labels(&self) -> &Labels {
        &self.labels
    }

    /// The label set, without a name that is gone.
    pub(super) fn labels(&self) -> Labels {
        match self.name {
            Name::Gone => nameless(&self.labels),
            Name::Kept | Name::Leaving => self.labels.clone(),
        }
    }

    /// The name of the metric, unless it is gone.
    pub(super) fn metric_name(&self) -> &str {
        match self.name {
            Name::Gone => "",
            Name::Kept | Name::Leaving => self.labels.get_or_empty(Labels::NAME),
        }
    }

    /// Takes the name away, now or later.
    pub(super) fn drop_name(&mut self, how: Name) {
        if self.name != Name::Gone {
            self.name = how;
        }
    }

    /// Gives the row other labels; their name counts.
    pub(super) fn relabel(&mut self, labels: Labels, name: Name) {
        (self.labels, self.name) = (labels, name);
    }

    /// Takes a name that is leaving.
    pub(super) fn finish(&mut self) {
        if self.name != Name::Kept {
            self.labels = nameless(&self.labels);
            self.name = Name::Kept;
        }
    }

    pub(super) fn into_series(self, grid: Grid) -> Series {
        let labels = self.labels();
        let Points { values, histograms } = self.points;
        let at = |(time, value): (i64, f64)| is_present(value).then_some(Sample { at: Timestamp(time), value });
        let samples = grid.times().zip(values).filter_map(at).collect();
        let histograms = grid
            .times()
            .zip(histograms)
            .filter_map(|(time, histogram)| Some(HistogramSample { at: Timestamp(time), histogram: histogram? }))
            .collect();
        Series { labels, samples, histograms }
    }

    /// A row of one step at every step of `grid`.
    pub(super) fn repeated(self, grid: Grid) -> Self {
        Self { points: self.points.repeated(grid.count), ..self }
    }
}

/// Whether a label goes with the metric's name.
pub(super) fn is_name(label: &str) -> bool {
    matches!(label, Labels::NAME | "__type__" | "__unit__")
}

pub(super) fn nameless(labels: &Labels) -> Labels {
    labels.without(is_name)
}

/// Whether a label set has a type or a unit beside its name.
pub(super) fn is_typed(labels: &Labels) -> bool {
    labels.get("__type__").is_some() || labels.get("__unit__").is_some()
}

pub(super) fn same_labelset() -> EvalError {
    EvalError::execution("vector cannot contain metrics with the same labelset")
}

/// Whether rows that were different before their names went still are, as far as that is seen without comparing them.
fn certainly_differ(rows: &[Row]) -> bool {
    let Some(first) = rows.first() else {
        return true;
    };
    let name = first.raw_labels().get(Labels::NAME);
    rows.len() == 1 || rows.iter().all(|row| row.raw_labels().get(Labels::NAME) == name && !is_typed(row.raw_labels()))
}

/// Joins rows with equal labels, which must not both have something at the same step.
pub(super) fn merge(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    if certainly_differ(&rows) { Ok(rows) } else { merge_relabelled(rows) }
}

/// Like [`merge`], for rows whose labels have changed in other ways than by losing a name.
pub(super) fn merge_relabelled(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    let mut places: HashMap<Labels, usize> = HashMap::with_capacity(rows.len());
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let labels = row.labels();
        let Some(known) = places.get(&labels).and_then(|place| merged.get_mut(*place)) else {
            places.insert(labels, merged.len());
            merged.push(row);
            continue;
        };
        for (step, point) in row.points.present() {
            if known.points.is_present(step) {
                return Err(same_labelset());
            }
            known.points.put(step, point);
        }
    }
    Ok(merged)
}

/// Refuses rows with equal labels even when they have something at different steps only, as upstream does after functions
/// of ranges.
pub(super) fn unique(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    if certainly_differ(&rows) { Ok(rows) } else { unique_relabelled(rows) }
}

/// Like [`unique`], for rows whose labels have changed in other ways than by losing a name.
pub(super) fn unique_relabelled(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    let mut seen = HashSet::with_capacity(rows.len());
    if rows.iter().filter(|row| !row.is_absent()).all(|row| seen.insert(row.labels())) {
        return Ok(rows);
    }
    Err(same_labelset())
}
