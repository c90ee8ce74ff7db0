//! Walking over buckets.

use signal::{BucketSpan, Buckets, Histogram};

use super::bounds::upper_bound;

/// One bucket with its bounds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether an observation equal to the lower bound is counted here.
    pub has_lower: bool,
    /// Whether an observation equal to the upper bound is counted here.
    pub has_upper: bool,
    /// Observations.
    pub count: f64,
}

/// Which half of a histogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Negative,
    Positive,
}

impl Bucket {
    /// Bucket `index` of one side.
    pub(super) fn of(histogram: &Histogram, side: Side, index: i64, count: f64) -> Self {
        let (near, far) = (upper_bound(histogram, index.saturating_sub(1)), upper_bound(histogram, index));
        let (lower, upper) = match side {
            Side::Positive => (near, far),
            Side::Negative => (-far, -near),
        };
        if histogram.has_custom_buckets() {
            return Self { lower, upper, has_lower: index == 0, has_upper: true, count };
        }
        Self { lower, upper, has_lower: lower < 0.0, has_upper: upper > 0.0, count }
    }
}

/// Index and count of each bucket, by rising distance from zero. Ends with the counts or the spans, whichever are fewer.
pub(super) fn indexed(buckets: &Buckets) -> impl DoubleEndedIterator<Item = (i64, f64)> {
    let mut indexes = Vec::with_capacity(buckets.counts.len());
    let mut next = 0_i64;
    for span in &buckets.spans {
        next = next.saturating_add(i64::from(span.offset));
        let room = buckets.counts.len() - indexes.len();
        let length = usize::try_from(span.length).unwrap_or(usize::MAX).min(room);
        for _ in 0..length {
            indexes.push(next);
            next = next.saturating_add(1);
        }
    }
    let counts: Vec<f64> = buckets.counts.iter().copied().take(indexes.len()).collect();
    indexes.into_iter().zip(counts)
}

/// Index and count at a lower resolution, `levels` schemas below.
pub(super) fn merged(buckets: &Buckets, levels: u32) -> Vec<(i64, f64)> {
    let mut merged: Vec<(i64, f64)> = Vec::with_capacity(buckets.counts.len());
    for (index, count) in indexed(buckets) {
        let index = if levels == 0 { index } else { ((index - 1) >> levels.min(62)) + 1 };
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => merged.push((index, count)),
        }
    }
    merged
}

/// Lays buckets out in spans; they come with rising indexes.
pub(super) fn laid_out(buckets: impl IntoIterator<Item = (i64, f64)>) -> Buckets {
    let mut laid = Buckets::default();
    let mut next = 0_i64;
    for (index, count) in buckets {
        match laid.spans.last_mut() {
            Some(span) if index == next && span.length < u32::MAX => span.length += 1,
            _ => {
                // Indexes further apart than this come only from broken input and mean nothing.
                let offset = i32::try_from(index.saturating_sub(next)).unwrap_or(i32::MAX);
                laid.spans.push(BucketSpan { offset, length: 1 });
            }
        }
        laid.counts.push(count);
        next = index.saturating_add(1);
    }
    laid
}

/// All buckets from the lowest to the highest, with the zero bucket when it is not empty. Buckets next to the zero bucket
/// begin where that ends.
#[must_use]
pub fn buckets(histogram: &Histogram) -> Vec<Bucket> {
    let threshold = histogram.zero_threshold;
    let mut all = Vec::with_capacity(histogram.negative.counts.len() + histogram.positive.counts.len() + 1);
    for (index, count) in indexed(&histogram.negative).rev() {
        let bucket = Bucket::of(histogram, Side::Negative, index, count);
        let overlaps = bucket.upper < 0.0 && bucket.upper > -threshold;
        all.push(Bucket { upper: if overlaps { -threshold } else { bucket.upper }, ..bucket });
    }
    if histogram.zero_count > 0.0 {
        let (lower, upper) = (-threshold, threshold);
        all.push(Bucket { lower, upper, has_lower: true, has_upper: true, count: histogram.zero_count });
    }
    for (index, count) in indexed(&histogram.positive) {
        let bucket = Bucket::of(histogram, Side::Positive, index, count);
        let overlaps = bucket.lower > 0.0 && bucket.lower < threshold;
        all.push(Bucket { lower: if overlaps { threshold } else { bucket.lower }, ..bucket });
    }
    all
}
