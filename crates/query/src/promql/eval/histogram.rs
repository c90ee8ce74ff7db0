//! Quantiles and fractions of classic histograms: series per bucket, told apart by `le`.
//!
//! Native histograms would enter here too, as a second kind of value in a row.

use std::collections::HashMap;

use signal::Labels;

use super::call::{argument, bad_quantile};
use super::rows::{ABSENT, Grid, Row, is_present, merge};
use super::{EvalError, Evaluator};
use crate::lex::parse_number;
use crate::promql::ast::{Call, Place};

const BOUND: &str = "le";

/// Relative difference of counts that is put down to rounding (upstream `smallDeltaTolerance`).
const SMALL_DELTA: f64 = 1e-12;

/// One bucket at one step: how many observations were at most `bound`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// The bucket series of one histogram.
struct Histogram {
    labels: Labels,
    name: String,
    /// Bound and counts by step.
    buckets: Vec<(f64, Vec<f64>)>,
}

impl Evaluator<'_> {
    /// `histogram_quantile(q, buckets)`
    pub(super) fn histogram_quantile(&mut self, call: &Call, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let q = self.scalar(argument(call, 0)?, grid)?;
        let place = argument(call, 1)?.place();
        if let Some(odd) = q.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            self.warn(&bad_quantile(*odd), argument(call, 0)?.place());
        }
        let (rows, fixed) = self.over_histograms(call, 1, grid, |step, buckets| {
            quantile(q.get(step).copied().unwrap_or(f64::NAN), buckets)
        })?;
        for name in fixed {
            let see = "see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";
            let what = "input to histogram_quantile needed to be fixed for monotonicity";
            self.inform(&format!("{what} ({see}) for metric name {name:?}"), place);
        }
        Ok(rows)
    }

    /// `histogram_fraction(lower, upper, buckets)`
    pub(super) fn histogram_fraction(&mut self, call: &Call, grid: Grid) -> Result<Vec<Row>, EvalError> {
        let (lower, upper) = (self.scalar(argument(call, 0)?, grid)?, self.scalar(argument(call, 1)?, grid)?);
        let (rows, _) = self.over_histograms(call, 2, grid, |step, buckets| {
            let at = |values: &[f64]| values.get(step).copied().unwrap_or(f64::NAN);
            (fraction(at(&lower), at(&upper), buckets), false)
        })?;
        Ok(rows)
    }

    /// Applies `body` to the buckets of every histogram at every step. Also answers the names of the metrics for which
    /// it had to repair the counts.
    fn over_histograms(
        &mut self,
        call: &Call,
        index: usize,
        grid: Grid,
        mut body: impl FnMut(usize, &mut Vec<Bucket>) -> (f64, bool),
    ) -> Result<(Vec<Row>, Vec<String>), EvalError> {
        let arg = argument(call, index)?;
        let input = self.vector(arg, grid)?;
        let histograms = self.histograms(input, arg.place());
        let (mut rows, mut fixed) = (Vec::new(), Vec::new());
        for histogram in histograms {
            self.check_canceled()?;
            let mut row = Row::absent(histogram.labels.without_name(), grid);
            let mut repaired = false;
            for (step, value) in row.values.iter_mut().enumerate() {
                let mut buckets: Vec<Bucket> = Vec::with_capacity(histogram.buckets.len());
                for (bound, counts) in &histogram.buckets {
                    let count = counts.get(step).copied().unwrap_or(ABSENT);
                    if is_present(count) {
                        buckets.push(Bucket { bound: *bound, count });
                    }
                }
                if buckets.is_empty() {
                    continue;
                }
                let forced;
                (*value, forced) = body(step, &mut buckets);
                repaired |= forced;
            }
            if repaired && !fixed.contains(&histogram.name) {
                fixed.push(histogram.name);
            }
            if !row.is_absent() {
                rows.push(row);
            }
        }
        Ok((merge(rows)?, fixed))
    }

    fn histograms(&mut self, rows: Vec<Row>, place: Place) -> Vec<Histogram> {
        let mut places: HashMap<Labels, usize> = HashMap::new();
        let mut histograms: Vec<Histogram> = Vec::new();
        for row in rows {
            let name = row.labels.get_or_empty(Labels::NAME).to_owned();
            let written = row.labels.get_or_empty(BOUND);
            let Some(bound) = parse_number(written) else {
                let message = format!(
                    "bucket label \"le\" is missing or has a malformed value of {written:?} for metric name {name:?}"
                );
                self.warn(&message, place);
                continue;
            };
            // Two metrics are two histograms, even when nothing but the name, which is dropped later, tells them apart.
            let labels = row.labels.without(|label| label == BOUND);
            let at = *places.entry(labels.clone()).or_insert(histograms.len());
            match histograms.get_mut(at) {
                Some(histogram) => histogram.buckets.push((bound, row.values)),
                None => histograms.push(Histogram { labels, name, buckets: vec![(bound, row.values)] }),
            }
        }
        for histogram in &mut histograms {
            histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        histograms
    }
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
