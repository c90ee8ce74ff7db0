//! What a group has gathered, step by step.

use std::sync::Arc;

use signal::Histogram;

use crate::promql::annotations::Annotation;
use crate::promql::eval::math::{self, Mean, Sum};
use crate::promql::eval::rows::{ABSENT, Points, is_present};
use crate::promql::native::{self, Mismatch};

/// How values become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fold {
    Sum,
    Mean,
    Least,
    Greatest,
    Count,
    /// One when there is anything.
    Any,
    Deviation,
    Variance,
}

/// One group's state at every step.
#[derive(Debug)]
pub(super) struct Column {
    fold: Fold,
    numbers: Numbers,
    /// Only there once a histogram was.
    histograms: Vec<Slot>,
    /// Histograms were passed over.
    has_ignored: bool,
    remarks: Vec<Annotation>,
}

#[derive(Debug)]
enum Numbers {
    /// Sums and what rounding lost of them, apart because most steps are done in one go.
    Sums(Vec<f64>, Vec<f64>),
    Means(Vec<Mean>),
    Least(Vec<f64>),
    Greatest(Vec<f64>),
    Counts(Vec<f64>),
    /// One where there is anything.
    Any(Vec<f64>),
    Spreads(Vec<Spread>),
}

/// The histograms of one step.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// Sum or mean so far.
    total: Option<Histogram>,
    count: f64,
    /// They do not fit together.
    is_broken: bool,
}

/// Mean and summed squares of the distances from it (Welford).
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn join(self, other: Self) -> Self {
        if self.count == 0.0 || other.count == 0.0 {
            return if self.count == 0.0 { other } else { self };
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * other.count / count,
            squares: self.squares + other.squares + delta * delta * self.count * other.count / count,
        }
    }
}

impl Column {
    pub(super) fn new(fold: Fold, count: usize) -> Self {
        let numbers = match fold {
            Fold::Sum => Numbers::Sums(vec![ABSENT; count], vec![0.0; count]),
            Fold::Mean => Numbers::Means(vec![Mean::default(); count]),
            Fold::Least => Numbers::Least(vec![ABSENT; count]),
            Fold::Greatest => Numbers::Greatest(vec![ABSENT; count]),
            Fold::Count => Numbers::Counts(vec![ABSENT; count]),
            Fold::Any => Numbers::Any(vec![ABSENT; count]),
            Fold::Deviation | Fold::Variance => Numbers::Spreads(vec![Spread::default(); count]),
        };
        Self { fold, numbers, histograms: Vec::new(), has_ignored: false, remarks: Vec::new() }
    }

    /// Takes in a series; `metric` is asked when there are histograms.
    pub(super) fn add<'l>(&mut self, points: &Points, metric: impl FnOnce() -> &'l str) {
        let there = |values| std::iter::zip(values, &points.values).filter(|(_, value)| is_present(**value));
        match &mut self.numbers {
            Numbers::Sums(sums, rests) => {
                for ((sum, rest), value) in sums.iter_mut().zip(rests).zip(&points.values) {
                    if is_present(*value) {
                        if is_present(*sum) {
                            let mut total = Sum { sum: *sum, rest: *rest };
                            total.add(*value);
                            (*sum, *rest) = (total.sum, total.rest);
                        } else {
                            *sum = *value;
                        }
                    }
                }
            }
            Numbers::Means(means) => {
                for (mean, value) in means.iter_mut().zip(&points.values).filter(|(_, value)| is_present(**value)) {
                    mean.add(*value);
                }
            }
            Numbers::Spreads(spreads) => {
                for (spread, value) in spreads.iter_mut().zip(&points.values).filter(|(_, value)| is_present(**value)) {
                    spread.add(*value);
                }
            }
            Numbers::Least(values) => {
                there(values).for_each(|(slot, value)| join_value(slot, *value, math::lesser));
            }
            Numbers::Greatest(values) => {
                there(values).for_each(|(slot, value)| join_value(slot, *value, math::greater));
            }
            Numbers::Counts(values) => there(values).for_each(|(slot, _)| join_value(slot, 1.0, |a, b| a + b)),
            Numbers::Any(values) => there(values).for_each(|(slot, _)| *slot = 1.0),
        }
        if !points.histograms.is_empty() {
            self.add_histograms(points, metric());
        }
    }

    fn add_histograms(&mut self, points: &Points, metric: &str) {
        let there = points.histograms.iter().enumerate().filter_map(|(step, found)| Some((step, found.as_ref()?)));
        match &mut self.numbers {
            Numbers::Sums(..) | Numbers::Means(_) => {
                let is_mean = self.fold == Fold::Mean;
                self.histograms.resize(points.values.len(), Slot::default());
                for (step, histogram) in there {
                    let Some(slot) = self.histograms.get_mut(step) else { continue };
                    if let Err(mismatch) = slot.add(histogram, is_mean) {
                        remark(&mut self.remarks, mismatch.annotation(metric));
                    }
                }
            }
            Numbers::Counts(values) => {
                for (step, _) in there {
                    if let Some(slot) = values.get_mut(step) {
                        join_value(slot, 1.0, |a, b| a + b);
                    }
                }
            }
            Numbers::Any(values) => {
                for (step, _) in there {
                    if let Some(slot) = values.get_mut(step) {
                        *slot = 1.0;
                    }
                }
            }
            Numbers::Least(_) | Numbers::Greatest(_) | Numbers::Spreads(_) => self.has_ignored |= there.count() > 0,
        }
    }

    /// Takes in what another column of the same group has gathered from later series.
    pub(super) fn join(&mut self, other: Self) {
        match (&mut self.numbers, other.numbers) {
            (Numbers::Sums(sums, rests), Numbers::Sums(others, other_rests)) => {
                for ((sum, rest), (other, other_rest)) in
                    sums.iter_mut().zip(rests).zip(others.into_iter().zip(other_rests))
                {
                    if !is_present(*sum) {
                        (*sum, *rest) = (other, other_rest);
                    } else if is_present(other) {
                        let total = Sum { sum: *sum, rest: *rest }.join(Sum { sum: other, rest: other_rest });
                        (*sum, *rest) = (total.sum, total.rest);
                    }
                }
            }
            (Numbers::Means(means), Numbers::Means(others)) => {
                for (mean, other) in means.iter_mut().zip(others) {
                    *mean = mean.join(other);
                }
            }
            (Numbers::Spreads(spreads), Numbers::Spreads(others)) => {
                for (spread, other) in spreads.iter_mut().zip(others) {
                    *spread = spread.join(other);
                }
            }
            (Numbers::Least(values), Numbers::Least(others)) => join_values(values, others, math::lesser),
            (Numbers::Greatest(values), Numbers::Greatest(others)) => join_values(values, others, math::greater),
            (Numbers::Counts(values), Numbers::Counts(others)) => join_values(values, others, |a, b| a + b),
            (Numbers::Any(values), Numbers::Any(others)) => join_values(values, others, |_, b| b),
            // Columns of one group are of one kind.
            (Numbers::Sums(..) | Numbers::Means(_) | Numbers::Spreads(_), _)
            | (Numbers::Least(_) | Numbers::Greatest(_) | Numbers::Counts(_) | Numbers::Any(_), _) => {}
        }
        if self.histograms.is_empty() {
            self.histograms = other.histograms;
        } else {
            for (slot, other) in self.histograms.iter_mut().zip(other.histograms) {
                if let Err(mismatch) = slot.join(other, self.fold == Fold::Mean) {
                    remark(&mut self.remarks, mismatch.annotation(""));
                }
            }
        }
        self.has_ignored |= other.has_ignored;
        other.remarks.into_iter().for_each(|found| remark(&mut self.remarks, found));
    }

    /// The group's value at every step, and what there is to say about it.
    pub(super) fn finish(self, operator: &str) -> (Points, Vec<Annotation>) {
        let Self { fold, numbers, histograms, has_ignored, mut remarks } = self;
        let value = |there: bool, value: f64| if there { value } else { ABSENT };
        let values: Vec<f64> = match numbers {
            Numbers::Sums(mut sums, rests) => {
                for (sum, rest) in sums.iter_mut().zip(rests).filter(|(sum, _)| is_present(**sum)) {
                    *sum = Sum { sum: *sum, rest }.total();
                }
                sums
            }
            Numbers::Means(means) => means.iter().map(|mean| value(mean.count() > 0.0, mean.value())).collect(),
            Numbers::Least(values) | Numbers::Greatest(values) | Numbers::Counts(values) | Numbers::Any(values) => {
                values
            }
            Numbers::Spreads(spreads) => {
                let variance = |spread: &Spread| spread.squares / spread.count;
                let root =
                    |spread: &Spread| if fold == Fold::Deviation { variance(spread).sqrt() } else { variance(spread) };
                spreads.iter().map(|spread| value(spread.count > 0.0, root(spread))).collect()
            }
        };
        let mut points = Points { values, histograms: Vec::new() };
        if has_ignored {
            remark(&mut remarks, Annotation::histogram_ignored_in_aggregation(operator));
        }
        for (step, slot) in histograms.into_iter().enumerate().filter(|(_, slot)| slot.count > 0.0) {
            if points.is_present(step) {
                points.blank(step);
                remark(&mut remarks, Annotation::mixed_floats_histograms_aggregation());
            } else if let Some(mut total) = slot.total.filter(|_| !slot.is_broken) {
                native::compact(&mut total);
                points.put(step, super::super::Point::Histogram(Arc::new(total)));
            }
        }
        (points, remarks)
    }
}

impl Slot {
    fn add(&mut self, histogram: &Histogram, is_mean: bool) -> Result<(), Mismatch> {
        self.count += 1.0;
        let Some(total) = self.total.as_mut().filter(|_| !self.is_broken) else {
            self.total.get_or_insert_with(|| histogram.clone());
            return Ok(());
        };
        let added = if is_mean { add_to_mean(total, histogram, self.count) } else { native::add(total, histogram) };
        self.is_broken = added.is_err();
        added
    }

    fn join(&mut self, other: Self, is_mean: bool) -> Result<(), Mismatch> {
        let (before, behind) = (self.count, other.count);
        self.count += behind;
        self.is_broken |= other.is_broken;
        let Some(mut theirs) = other.total.filter(|_| !self.is_broken) else {
            return Ok(());
        };
        let Some(mine) = &mut self.total else {
            self.total = Some(theirs);
            return Ok(());
        };
        if is_mean {
            native::multiply(mine, before / self.count);
            native::multiply(&mut theirs, behind / self.count);
        }
        let joined = native::add(mine, &theirs);
        self.is_broken = joined.is_err();
        joined
    }
}

/// Makes the mean of `count - 1` histograms that of `count`, without a sum that could overflow.
fn add_to_mean(mean: &mut Histogram, histogram: &Histogram, count: f64) -> Result<(), Mismatch> {
    let (mut step, mut share) = (histogram.clone(), mean.clone());
    native::divide(&mut step, count);
    native::divide(&mut share, count);
    native::subtract(&mut step, &share)?;
    native::add(mean, &step)
}

fn join_value(slot: &mut f64, value: f64, join: impl Fn(f64, f64) -> f64) {
    *slot = if is_present(*slot) { join(*slot, value) } else { value };
}

fn join_values(values: &mut [f64], others: Vec<f64>, join: impl Fn(f64, f64) -> f64) {
    for (slot, other) in values.iter_mut().zip(others).filter(|(_, other)| is_present(*other)) {
        join_value(slot, other, &join);
    }
}

fn remark(remarks: &mut Vec<Annotation>, annotation: Annotation) {
    if !remarks.contains(&annotation) {
        remarks.push(annotation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(fold: Fold, chunks: &[&[f64]]) -> f64 {
        let mut columns = chunks.iter().map(|values| {
            let mut column = Column::new(fold, 1);
            for value in *values {
                column.add(&Points { values: vec![*value], histograms: Vec::new() }, || "");
            }
            column
        });
        let mut first = columns.next().unwrap();
        columns.for_each(|column| first.join(column));
        first.finish("").0.values[0]
    }

    #[test]
    fn chunks_join_to_what_one_would_have_been() {
        let inf = f64::INFINITY;
        for (case, fold, chunks, want) in [
            ("sum", Fold::Sum, &[&[1.0, 2.0][..], &[3.0]][..], 6.0),
            ("sum keeps what rounding loses", Fold::Sum, &[&[1e100, 1.0], &[1.0, -1e100]], 2.0),
            ("sum of infinities", Fold::Sum, &[&[inf], &[inf, 1.0]], inf),
            ("sum with an empty chunk", Fold::Sum, &[&[], &[3.0]], 3.0),
            ("mean", Fold::Mean, &[&[1.0, 2.0], &[6.0]], 3.0),
            ("mean without overflow", Fold::Mean, &[&[f64::MAX], &[f64::MAX]], f64::MAX),
            ("mean of infinity", Fold::Mean, &[&[inf, 1.0], &[2.0]], inf),
            ("least passes over NaN", Fold::Least, &[&[f64::NAN], &[2.0, 1.0]], 1.0),
            ("greatest", Fold::Greatest, &[&[3.0, 1.0], &[2.0]], 3.0),
            ("count", Fold::Count, &[&[3.0, 1.0], &[2.0]], 3.0),
            ("any", Fold::Any, &[&[3.0], &[2.0]], 1.0),
            ("variance", Fold::Variance, &[&[1.0, 3.0], &[5.0, 7.0]], 5.0),
            ("deviation", Fold::Deviation, &[&[2.0], &[4.0]], 1.0),
        ] {
            assert_eq!(folded(fold, chunks), want, "{case}");
        }
        assert!(!is_present(folded(Fold::Sum, &[&[], &[]])));
    }
}
