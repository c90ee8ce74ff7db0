//! Where series come from: the store, read one series at a time, or rows that are there already.

use std::sync::Arc;

use signal::{HistogramSample, Labels, ResetHint, Sample, TimeRange, Timestamp, is_stale};
use store::{Latest, SeriesReader};

use super::notes::Notes;
use super::over::{Input, OverCall, Work, extended};
use super::rows::{ABSENT, Grid, Name, Point, Points, Row, is_present};
use super::{Budget, EvalError};

/// Memory of one worker, used again for every series.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    samples: Vec<Sample>,
    histograms: Vec<HistogramSample>,
    points: Points,
    work: Work,
    /// What the worker has found worth telling.
    pub(super) notes: Notes,
}

impl Scratch {
    /// The points of the series read last, leaving none.
    pub(super) fn take_points(&mut self) -> Points {
        std::mem::take(&mut self.points)
    }
}

/// Series that give a value at every step.
pub(super) enum Supply<'a> {
    Rows(Vec<Row>),
    Instant(Instant<'a>),
    Over(Box<Windowed<'a>>),
}

/// The newest sample of each series within the lookback.
pub(super) struct Instant<'a> {
    pub(super) readers: Vec<SeriesReader<'a>>,
    /// All that any step looks at.
    pub(super) range: TimeRange,
    /// The time each step looks at.
    pub(super) ends: Vec<i64>,
    pub(super) lookback: i64,
    pub(super) pick: Pick,
}

/// What of a sample is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pick {
    Value,
    /// Its time in unix seconds.
    Time,
    /// The value on the line between this one and the next.
    Smoothed,
}

/// A function of the windows of each series.
pub(super) struct Windowed<'a> {
    pub(super) source: Source<'a>,
    pub(super) call: OverCall,
    /// What becomes of the metric's name.
    pub(super) name: Name,
}

/// Where the samples in windows come from.
pub(super) enum Source<'a> {
    Store(Vec<SeriesReader<'a>>, TimeRange),
    /// A subquery's answer and its steps.
    Rows(Vec<Row>, Grid),
}

impl Source<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Store(readers, _) => readers.len(),
            Self::Rows(rows, _) => rows.len(),
        }
    }

    pub(super) fn labels(&self, index: usize) -> Option<&Labels> {
        match self {
            Self::Store(readers, _) => readers.get(index).map(SeriesReader::labels),
            Self::Rows(rows, _) => rows.get(index).map(Row::raw_labels),
        }
    }

    pub(super) fn name(&self, index: usize) -> Name {
        match self {
            Self::Store(..) => Name::Kept,
            Self::Rows(rows, _) => rows.get(index).map_or(Name::Kept, Row::name),
        }
    }

    /// The samples of one series, without staleness markers.
    pub(super) fn read(&self, index: usize, samples: &mut Vec<Sample>, histograms: &mut Vec<HistogramSample>) {
        samples.clear();
        histograms.clear();
        match self {
            Self::Store(readers, range) => {
                if let Some(reader) = readers.get(index) {
                    reader.read(*range, samples, histograms);
                }
                samples.retain(|sample| !is_stale(sample.value));
                histograms.retain(|sample| !sample.histogram.is_stale());
            }
            Self::Rows(rows, grid) => {
                let Some(row) = rows.get(index) else { return };
                let there = grid.times().zip(&row.points.values).filter(|(_, value)| is_present(**value));
                samples.extend(there.map(|(at, value)| Sample { at: Timestamp(at), value: *value }));
                for (at, histogram) in grid.times().zip(&row.points.histograms) {
                    let Some(histogram) = histogram else { continue };
                    let mut histogram = Arc::clone(histogram);
                    // What the sender said about resets holds between its own samples, not between the subquery's steps.
                    if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
                        Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
                    }
                    histograms.push(HistogramSample { at: Timestamp(at), histogram });
                }
            }
        }
    }
}

impl Supply<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Instant(instant) => instant.readers.len(),
            Self::Over(windowed) => windowed.source.len(),
        }
    }

    /// About how many numbers it takes to read everything.
    pub(super) fn cost(&self, grid: Grid) -> usize {
        // Samples are mostly some ten seconds apart.
        let samples = |range: TimeRange| usize::try_from(range.length().as_millis() / 10_000).unwrap_or(usize::MAX);
        let each = match self {
            Self::Rows(_) => grid.count,
            Self::Instant(_) if grid.count == 1 => 16,
            Self::Instant(instant) => samples(instant.range).saturating_add(grid.count),
            Self::Over(windowed) => match &windowed.source {
                Source::Store(_, range) => samples(*range).saturating_add(grid.count),
                Source::Rows(_, inner) => inner.count.saturating_add(grid.count),
            },
        };
        self.len().saturating_mul(each)
    }

    /// Label set of one series; see [`name`](Self::name).
    pub(super) fn raw_labels(&self, index: usize) -> Option<&Labels> {
        match self {
            Self::Rows(rows) => rows.get(index).map(Row::raw_labels),
            Self::Instant(instant) => instant.readers.get(index).map(SeriesReader::labels),
            Self::Over(windowed) => windowed.source.labels(index),
        }
    }

    /// Whether the name among those labels counts.
    pub(super) fn name(&self, index: usize) -> Name {
        match self {
            Self::Rows(rows) => rows.get(index).map_or(Name::Kept, Row::name),
            Self::Instant(_) => Name::Kept,
            Self::Over(windowed) => match windowed.source.name(index) {
                Name::Gone => Name::Gone,
                inner if windowed.name == Name::Kept => inner,
                Name::Kept | Name::Leaving => windowed.name,
            },
        }
    }

    /// The points of one series.
    pub(super) fn read<'s>(
        &'s self,
        index: usize,
        scratch: &'s mut Scratch,
        budget: &Budget<'_>,
    ) -> Result<&'s Points, EvalError> {
        match self {
            Self::Rows(rows) => {
                if let Some(row) = rows.get(index) {
                    return Ok(&row.points);
                }
                scratch.points.reset(0);
            }
            Self::Instant(instant) => instant.read(index, scratch, budget)?,
            Self::Over(windowed) => windowed.read(index, scratch, budget)?,
        }
        Ok(&scratch.points)
    }
}

impl Windowed<'_> {
    fn read(&self, index: usize, scratch: &mut Scratch, budget: &Budget<'_>) -> Result<(), EvalError> {
        let Scratch { samples, histograms, points, work, notes } = scratch;
        self.source.read(index, samples, histograms);
        budget.look_at(samples.len() + histograms.len())?;
        let labels = self.source.labels(index);
        let is_named = self.source.name(index) != Name::Gone;
        let text = |name: &str| labels.filter(|_| is_named).map_or("", |labels| labels.get_or_empty(name));
        let kind = if self.call.typed { text("__type__") } else { "" };
        let series = Input { samples, histograms, metric: text(Labels::NAME), kind };
        self.call.fill(&series, work, notes, points)
    }
}

impl Instant<'_> {
    fn read(&self, index: usize, scratch: &mut Scratch, budget: &Budget<'_>) -> Result<(), EvalError> {
        let Scratch { samples, histograms, points, .. } = scratch;
        points.reset(self.ends.len());
        let Some(reader) = self.readers.get(index) else {
            return Ok(());
        };
        if self.ends.len() == 1 && self.pick != Pick::Smoothed {
            budget.look_at(1)?;
            match reader.latest(self.range) {
                Some(Latest::Sample(sample)) => self.put(points, 0, sample.at, Point::Float(sample.value)),
                Some(Latest::Histogram(HistogramSample { at, histogram })) => {
                    self.put(points, 0, at, Point::Histogram(histogram));
                }
                None => {}
            }
            return Ok(());
        }
        samples.clear();
        histograms.clear();
        reader.read(self.range, samples, histograms);
        budget.look_at(samples.len() + histograms.len())?;
        if self.pick == Pick::Smoothed {
            return self.smooth(samples, histograms, &mut points.values);
        }
        if histograms.is_empty() {
            self.fill(samples, &mut points.values);
            return Ok(());
        }
        let (mut numbers, mut others) = (samples.iter().peekable(), histograms.iter().peekable());
        let mut newest: Option<(Timestamp, Point)> = None;
        for (step, end) in self.ends.iter().enumerate() {
            loop {
                let number = numbers.peek().map(|sample| sample.at.0).filter(|at| at <= end);
                let other = others.peek().map(|sample| sample.at.0).filter(|at| at <= end);
                if number.is_some() && other.is_none_or(|other| number <= Some(other)) {
                    newest = numbers.next().map(|sample| (sample.at, Point::Float(sample.value)));
                } else if other.is_some() {
                    newest = others.next().map(|sample| (sample.at, Point::Histogram(Arc::clone(&sample.histogram))));
                } else {
                    break;
                }
            }
            match &newest {
                Some((at, point)) if at.0 > end.saturating_sub(self.lookback) => {
                    self.put(points, step, *at, point.clone());
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    fn put(&self, points: &mut Points, step: usize, at: Timestamp, point: Point) {
        let is_over = match &point {
            Point::Float(value) => is_stale(*value),
            Point::Histogram(histogram) => histogram.is_stale(),
        };
        if is_over {
            return;
        }
        let point = match self.pick {
            Pick::Value | Pick::Smoothed => point,
            Pick::Time => Point::Float(at.as_secs_f64()),
        };
        points.put(step, point);
    }

    /// The usual case: numbers only. A staleness marker is what stands for nothing anyway.
    fn fill(&self, samples: &[Sample], values: &mut [f64]) {
        let mut rest = samples.iter();
        let mut next = rest.next();
        let mut newest = Sample { at: Timestamp::MIN, value: ABSENT };
        for (slot, end) in values.iter_mut().zip(&self.ends) {
            while let Some(sample) = next.filter(|sample| sample.at.0 <= *end) {
                newest = *sample;
                next = rest.next();
            }
            if newest.at.0 > end.saturating_sub(self.lookback) && is_present(newest.value) {
                *slot = match self.pick {
                    Pick::Value | Pick::Smoothed => newest.value,
                    Pick::Time => newest.at.as_secs_f64(),
                };
            }
        }
    }

    fn smooth(
        &self,
        samples: &mut Vec<Sample>,
        histograms: &mut Vec<HistogramSample>,
        values: &mut [f64],
    ) -> Result<(), EvalError> {
        samples.retain(|sample| !is_stale(sample.value));
        histograms.retain(|sample| !sample.histogram.is_stale());
        if !histograms.is_empty() {
            return Err(EvalError::execution("smoothed and anchored modifiers do not work with native histograms"));
        }
        for (slot, end) in values.iter_mut().zip(&self.ends) {
            *slot = extended::smoothed(samples, *end, self.lookback).unwrap_or(ABSENT);
        }
        Ok(())
    }
}
