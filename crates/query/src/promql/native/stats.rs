//! What a histogram says about its observations as a whole.

use signal::Histogram;

use super::super::eval::math::Sum;
use super::buckets::buckets;

/// The mean of the observations.
#[must_use]
pub fn mean(histogram: &Histogram) -> f64 {
    histogram.sum / histogram.count
}

/// The variance, with every observation taken to lie at its bucket's middle: the geometric one, for custom buckets the
/// arithmetic one, and zero for a bucket around zero.
#[must_use]
pub fn variance(histogram: &Histogram) -> f64 {
    let mean = mean(histogram);
    let mut squares = Sum::default();
    for bucket in buckets(histogram).into_iter().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = middle - mean;
        squares.add(bucket.count * delta * delta);
    }
    squares.total() / histogram.count
}
