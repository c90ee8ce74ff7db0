//! Quantiles and fractions of histograms: native ones, and classic ones, which are series per bucket told apart by `le`.

use signal::{Histogram, Labels};

use super::call::{argument, at};
use super::keys::{Choice, Places};
use super::rows::{ABSENT, Grid, Name, Points, Row, is_present, merge_relabelled};
use super::{EvalError, Evaluator};
use crate::lex::parse_number;
use crate::promql::annotations::Annotation;
use crate::promql::ast::{Call, Place};
use crate::promql::native;
use crate::promql::print::general_text;

const BOUND: &str = "le";

/// Relative difference of counts that is put down to rounding (upstream `smallDeltaTolerance`).
const SMALL_DELTA: f64 = 1e-12;

/// One bucket at one step: how many observations were at most `bound`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// What is known under one set of labels.
struct Family {
    labels: Labels,
    name: Name,
    /// Bound of a classic bucket and the row with its counts.
    buckets: Vec<(f64, usize)>,
    /// The row with native histograms.
    native: Option<usize>,
}

/// What a function makes of one histogram at one step.
trait Measure {
    fn native(&self, step: usize, histogram: &Histogram, metric: &str) -> (f64, Option<Annotation>);
    /// The number, and whether counts had to be repaired.
    fn classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> (f64, bool);
}

struct Quantile(Vec<f64>);

struct Fraction(Vec<f64>, Vec<f64>);

impl Measure for Quantile {
    fn native(&self, step: usize, histogram: &Histogram, metric: &str) -> (f64, Option<Annotation>) {
        native::quantile(at(&self.0, step), histogram, metric)
    }

    fn classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> (f64, bool) {
        quantile(at(&self.0, step), buckets)
    }
}

impl Measure for Fraction {
    fn native(&self, step: usize, histogram: &Histogram, metric: &str) -> (f64, Option<Annotation>) {
        native::fraction(at(&self.0, step), at(&self.1, step), histogram, metric)
    }

    fn classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> (f64, bool) {
        (fraction(at(&self.0, step), at(&self.1, step), buckets), false)
    }
}

impl Evaluator<'_> {
    /// `histogram_quantile(q, histograms)`
    pub(super) fn histogram_quantile(&mut self, call: &Call, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let q = self.scalar(argument(call, 0)?, grid)?;
        for odd in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.note(Annotation::invalid_quantile(*odd), argument(call, 0)?.place());
        }
        self.measured(call, 1, grid, &Quantile(q))
    }

    /// `histogram_quantiles(histograms, label, q, …)`: the label says which quantile a series is.
    pub(super) fn histogram_quantiles(&mut self, call: &Call, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let label = self.text(argument(call, 1)?, grid)?;
        let rows = self.vector(argument(call, 0)?, grid)?;
        let place = argument(call, 0)?.place();
        let mut answers = Vec::new();
        for arg in call.args.iter().skip(2) {
            let q = self.scalar(arg, grid)?;
            for odd in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                self.note(Annotation::invalid_quantile(*odd), arg.place());
            }
            // A quantile may be another one at every step, and is then another series.
            let mut quantiles = q.clone();
            quantiles.sort_by(f64::total_cmp);
            quantiles.dedup_by_key(|q| q.to_bits());
            for quantile in quantiles {
                for mut row in self.measured_rows(&rows, (place, place), grid, &Quantile(q.clone()))? {
                    for (slot, q) in row.points.values.iter_mut().zip(&q) {
                        if q.to_bits() != quantile.to_bits() {
                            *slot = ABSENT;
                        }
                    }
                    let labels = row.raw_labels().with(&label, &quantile_text(quantile));
                    row.relabel(labels, row.name());
                    answers.push(row);
                }
            }
        }
        merge_relabelled(answers)
    }

    /// `histogram_fraction(lower, upper, histograms)`
    pub(super) fn histogram_fraction(&mut self, call: &Call, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let (lower, upper) = (self.scalar(argument(call, 0)?, grid)?, self.scalar(argument(call, 1)?, grid)?);
        self.measured(call, 2, grid, &Fraction(lower, upper))
    }

    /// Measures every histogram of an argument at every step.
    fn measured(
        &mut self,
        call: &Call,
        index: usize,
        grid: Grid,
        measure: &impl Measure,
    ) -> Result<Vec<Row>, EvalError> {
        let arg = argument(call, index)?;
        let rows = self.vector(arg, grid)?;
        self.measured_rows(&rows, (arg.place(), argument(call, 0)?.place()), grid, measure)
    }

    /// Measures every histogram among `rows` at every step. What is wrong with the input is told of the first place, what
    /// is worth knowing of the answer of the second.
    fn measured_rows(
        &mut self,
        rows: &[Row],
        (place, first): (Place, Place),
        grid: Grid,
        measure: &impl Measure,
    ) -> Result<Vec<Row>, EvalError> {
        let mut answers = Vec::new();
        let mut buckets = Vec::new();
        for family in self.families(rows, place) {
            self.budget.hold(grid.count)?;
            let classic: Vec<(f64, &Points)> =
                family.buckets.iter().filter_map(|(bound, row)| Some((*bound, &rows.get(*row)?.points))).collect();
            let native = family.native.and_then(|row| rows.get(row)).map(|row| &row.points);
            let metric = if family.name == Name::Gone { "" } else { family.labels.get_or_empty(Labels::NAME) };
            let kept = if self.settings.delayed_name_removal { metric } else { "" };
            let mut points = Points::absent(grid.count);
            for (step, slot) in points.values.iter_mut().enumerate() {
                buckets.clear();
                for (bound, counts) in &classic {
                    if let Some(count) = counts.values.get(step).copied().filter(|count| is_present(*count)) {
                        buckets.push(Bucket { bound: *bound, count });
                    }
                }
                match native.and_then(|native| native.histogram(step)) {
                    Some(_) if !buckets.is_empty() => self.note(Annotation::mixed_classic_native(metric), place),
                    Some(histogram) => {
                        let (value, remark) = measure.native(step, histogram, kept);
                        *slot = value;
                        if let Some(remark) = remark {
                            self.note(remark, first);
                        }
                    }
                    None if buckets.is_empty() => {}
                    None => {
                        let (value, repaired) = measure.classic(step, &mut buckets);
                        *slot = value;
                        if repaired {
                            self.note(Annotation::forced_monotonicity(metric), place);
                        }
                    }
                }
            }
            if points.is_absent() {
                continue;
            }
            // The labels of buckets are put together anew, so that their name goes at once.
            let name = if native.is_some() { self.nameless() } else { Name::Gone };
            let labels = if classic.is_empty() { family.labels } else { family.labels.without(|label| label == BOUND) };
            answers.push(Row::new(labels, name, points));
        }
        merge_relabelled(answers)
    }

    /// Puts the series of each histogram together. Two metrics are two histograms, even when nothing but the name, which
    /// is dropped later, tells them apart.
    fn families(&mut self, rows: &[Row], place: Place) -> Vec<Family> {
        let choice = Choice::Without(vec![BOUND.to_owned()]);
        let (mut places, mut families, mut key) = (Places::default(), Vec::<Family>::new(), Vec::new());
        for (index, row) in rows.iter().enumerate() {
            let has_numbers = row.points.values.iter().copied().any(is_present);
            let has_histograms = !row.points.histograms.is_empty();
            let written = row.raw_labels().get_or_empty(BOUND);
            let bound = parse_number(written).filter(|_| has_numbers);
            if bound.is_none() && has_numbers {
                self.note(Annotation::bad_bucket_label(row.metric_name(), written), place);
            }
            if bound.is_none() && !has_histograms {
                continue;
            }
            choice.write(row.raw_labels(), row.name() == Name::Gone, &mut key);
            let (place, is_new) = places.place(&key);
            if is_new {
                let labels = row.raw_labels().clone();
                families.push(Family { labels, name: row.name(), buckets: Vec::new(), native: None });
            }
            let Some(family) = families.get_mut(place) else { continue };
            family.buckets.extend(bound.map(|bound| (bound, index)));
            family.native = if has_histograms { Some(index) } else { family.native };
        }
        for family in &mut families {
            family.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        families
    }
}

/// A quantile as a label value: always with a decimal point.
fn quantile_text(q: f64) -> String {
    let text = general_text(q);
    if q.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

/// Adds up buckets with the same bound. They are sorted.
fn coalesce(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
}

/// Whether two counts differ by no more than rounding (upstream `almost.Equal`).
fn almost_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

/// Makes counts rise with the bounds; true when more than rounding had to be repaired.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut forced = false;
    let Some((first, rest)) = buckets.split_first_mut() else {
        return false;
    };
    let mut highest = first.count;
    for bucket in rest {
        if almost_equal(highest, bucket.count) {
            bucket.count = highest;
        } else if bucket.count < highest {
            bucket.count = highest;
            forced = true;
        } else {
            highest = bucket.count;
        }
    }
    forced
}

/// The quantile, interpolated linearly inside its bucket, and whether counts had to be repaired (upstream `BucketQuantile`).
fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return (f64::NAN, false);
    }
    coalesce(buckets);
    let forced = make_monotonic(buckets);
    (interpolate(q, buckets).unwrap_or(f64::NAN), forced)
}

fn interpolate(q: f64, buckets: &[Bucket]) -> Option<f64> {
    let (last, finite) = buckets.split_last()?;
    let highest = finite.last()?;
    if last.count == 0.0 || last.count.is_nan() {
        return None;
    }
    let rank = q * last.count;
    let Some(at) = finite.iter().position(|bucket| bucket.count >= rank) else {
        return Some(highest.bound);
    };
    let bucket = finite.get(at)?;
    let before = at.checked_sub(1).and_then(|before| finite.get(before));
    match before {
        // The first bucket begins at zero, unless it holds negative observations.
        None if bucket.bound <= 0.0 => Some(bucket.bound),
        None => Some(bucket.bound * (rank / bucket.count)),
        Some(before) => {
            let share = (rank - before.count) / (bucket.count - before.count);
            Some(before.bound + (bucket.bound - before.bound) * share)
        }
    }
}

/// The share of observations between two values, interpolated like the quantile (upstream `BucketFraction`).
fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return f64::NAN;
    }
    coalesce(buckets);
    make_monotonic(buckets);
    let total = buckets.last().map_or(0.0, |last| last.count);
    if total == 0.0 || total.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets, total) - rank_of(lower, buckets, total)) / total
}

/// How many observations are at most `value`.
fn rank_of(value: f64, buckets: &[Bucket], total: f64) -> f64 {
    if value == f64::INFINITY {
        return total;
    }
    let (mut lower, mut below) = (None, 0.0);
    for bucket in buckets {
        if value < bucket.bound {
            let start = match lower {
                Some(start) => start,
                None if bucket.bound <= 0.0 => f64::NEG_INFINITY,
                None => 0.0,
            };
            if value <= start || start == f64::NEG_INFINITY {
                return below;
            }
            // Nothing is known inside the last, unbounded bucket: its observations count as above.
            if bucket.bound == f64::INFINITY {
                return below;
            }
            return below + (bucket.count - below) * (value - start) / (bucket.bound - start);
        }
        lower = Some(bucket.bound);
        below = bucket.count;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(f64, f64)]) -> Vec<Bucket> {
        counts.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect()
    }

    #[test]
    fn quantiles_follow_upstream() {
        let inf = f64::INFINITY;
        for (case, q, counts, want, forced) in [
            ("inside", 0.5, &[(1.0, 10.0), (2.0, 20.0), (inf, 20.0)][..], 1.0, false),
            ("first bucket from zero", 0.25, &[(1.0, 10.0), (2.0, 20.0), (inf, 20.0)], 0.5, false),
            ("last finite bound", 0.99, &[(1.0, 1.0), (2.0, 2.0), (inf, 10.0)], 2.0, false),
            ("negative first bound", 0.1, &[(-1.0, 10.0), (inf, 20.0)], -1.0, false),
            ("repaired", 0.5, &[(1.0, 10.0), (2.0, 5.0), (inf, 20.0)], 1.0, true),
            ("same bound twice", 0.5, &[(1.0, 5.0), (1.0, 5.0), (inf, 20.0)], 1.0, false),
            ("below zero", -1.0, &[(inf, 1.0)], f64::NEG_INFINITY, false),
            ("above one", 2.0, &[(inf, 1.0)], inf, false),
        ] {
            assert_eq!(quantile(q, &mut buckets(counts)), (want, forced), "{case}");
        }
        for (case, counts) in [
            ("no +Inf", &[(1.0, 1.0), (2.0, 2.0)][..]),
            ("only +Inf", &[(inf, 2.0)]),
            ("empty", &[(1.0, 0.0), (inf, 0.0)]),
        ] {
            assert!(quantile(0.5, &mut buckets(counts)).0.is_nan(), "{case}");
        }
    }

    #[test]
    fn fractions_interpolate() {
        let counts = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)];
        for (lower, upper, want) in
            [(0.0, 2.0, 0.5), (0.5, 1.5, 0.25), (f64::NEG_INFINITY, f64::INFINITY, 1.0), (2.0, 1.0, 0.0)]
        {
            assert_eq!(fraction(lower, upper, &mut buckets(&counts)), want, "{lower} to {upper}");
        }
    }
}
