//! Quantiles and fractions. In exponential buckets observations are taken to be spread evenly over the logarithm, in the
//! zero bucket and in custom buckets evenly over the value.

use signal::Histogram;

use super::buckets::{Bucket, buckets};
use crate::promql::annotations::Annotation;

/// The `q`-quantile; ±Inf for a `q` outside 0 to 1. NaN observations count as the largest, which the annotation then says.
#[must_use]
pub fn quantile(q: f64, histogram: &Histogram, metric: &str) -> (f64, Option<Annotation>) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, None);
    }
    // NaN observations are in no bucket, so that only counting from below is right.
    let forward = histogram.sum.is_nan() || q < 0.5;
    let rank = if forward { q * histogram.count } else { (1.0 - q) * histogram.count };
    let mut all = buckets(histogram);
    if !forward {
        all.reverse();
    }
    let mut rest = all.into_iter();
    let mut bucket = Bucket { lower: 0.0, upper: 0.0, has_lower: false, has_upper: false, count: 0.0 };
    let mut passed = 0.0;
    for next in rest.by_ref() {
        bucket = next;
        passed += next.count;
        if next.count != 0.0 && passed >= rank {
            break;
        }
    }
    if histogram.has_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        bucket = one_sided(histogram, bucket);
    }
    passed = passed.min(histogram.count);
    if passed < rank {
        if histogram.sum.is_nan() {
            return (f64::NAN, Some(Annotation::quantile_nan_result(metric)));
        }
        return (bucket.upper, None);
    }
    let into = if forward { rank - (passed - bucket.count) } else { passed - rank };
    // A NaN sum may also come from both infinities, which have buckets: only what is in none of them skews.
    let seen = passed + rest.map(|bucket| bucket.count).sum::<f64>();
    let skewed = histogram.sum.is_nan() && seen < histogram.count;
    let value = interpolate(histogram, bucket, into / bucket.count);
    (value, skewed.then(|| Annotation::quantile_nan_skew(metric)))
}

/// The zero bucket of a histogram that has only positive or only negative buckets ends at zero.
fn one_sided(histogram: &Histogram, bucket: Bucket) -> Bucket {
    match (histogram.negative.counts.is_empty(), histogram.positive.counts.is_empty()) {
        (true, false) => Bucket { lower: 0.0, ..bucket },
        (false, true) => Bucket { upper: 0.0, ..bucket },
        (true, true) | (false, false) => bucket,
    }
}

fn interpolate(histogram: &Histogram, bucket: Bucket, share: f64) -> f64 {
    if histogram.has_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * share;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        return (lower + (upper - lower) * share).exp2();
    }
    -(upper + (lower - upper) * (1.0 - share)).exp2()
}

/// The share of all observations that lie between two values. NaN observations are in no share, which the annotation says.
#[must_use]
pub fn fraction(lower: f64, upper: f64, histogram: &Histogram, metric: &str) -> (f64, Option<Annotation>) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let all = buckets(histogram);
    let counted = if histogram.sum.is_nan() { all.iter().map(|bucket| bucket.count).sum() } else { histogram.count };
    let rank = |value: f64| rank_of(value, histogram, &all).map_or(counted, |rank| rank.min(counted));
    let share = (rank(upper) - rank(lower)) / histogram.count;
    (share, (counted < histogram.count).then(|| Annotation::fraction_nan(metric)))
}

/// How many observations are below `value`; `None` when it lies above all buckets.
fn rank_of(value: f64, histogram: &Histogram, all: &[Bucket]) -> Option<f64> {
    let mut rank = 0.0;
    for bucket in all {
        let mut bucket = *bucket;
        let around_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if around_zero {
            bucket = one_sided(histogram, bucket);
        }
        if bucket.lower >= value {
            return Some(rank);
        }
        if bucket.upper > value {
            if !histogram.has_custom_buckets() && !around_zero {
                return Some(rank + bucket.count * logarithmic_share(value, bucket));
            }
            // Nothing is known about where in an endless bucket the observations lie.
            if bucket.lower == f64::NEG_INFINITY {
                return Some(bucket.count);
            }
            return Some(rank + bucket.count * (value - bucket.lower) / (bucket.upper - bucket.lower));
        }
        rank += bucket.count;
    }
    None
}

fn logarithmic_share(value: f64, bucket: Bucket) -> f64 {
    let (lower, upper, value_log) = (bucket.lower.abs().log2(), bucket.upper.abs().log2(), value.abs().log2());
    if value > 0.0 {
        return (value_log - lower) / (upper - lower);
    }
    1.0 - (value_log - upper) / (lower - upper)
}
