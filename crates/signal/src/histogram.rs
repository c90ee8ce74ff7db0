//! Native histograms: one sample that holds a whole distribution.

use std::sync::Arc;

use crate::{Timestamp, is_stale, stale_marker};

/// A native histogram as PromQL sees it: counts are floats and absolute, also when they arrived as integers or deltas.
///
/// The shape is that of Prometheus' `FloatHistogram`. With `schema` from -4 to 8, bucket `i` of `positive` reaches from
/// `base^(i-1)`, not included, to `base^i`, included, with `base = 2^(2^-schema)`; `negative` mirrors it, and the zero
/// bucket holds what lies within `zero_threshold`. With [`CUSTOM_BUCKETS`](Self::CUSTOM_BUCKETS), bucket `i` ends at
/// `custom_values[i]`, and only `positive` is used.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Histogram {
    /// Resolution, or [`CUSTOM_BUCKETS`](Self::CUSTOM_BUCKETS).
    pub schema: i32,
    /// Width of the zero bucket to both sides.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Observations in all.
    pub count: f64,
    /// Their sum; the staleness marker here ends the series.
    pub sum: f64,
    /// Buckets above zero.
    pub positive: Buckets,
    /// Buckets below zero, by absolute value.
    pub negative: Buckets,
    /// Upper bounds of custom buckets, ascending, without the last, infinite one.
    pub custom_values: Arc<[f64]>,
    /// What is known about a reset before this sample.
    pub reset_hint: ResetHint,
}

/// Buckets next to each other in runs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Buckets {
    /// Where the runs lie.
    pub spans: Vec<BucketSpan>,
    /// Observations per bucket, one for each bucket of the spans.
    pub counts: Vec<f64>,
}

/// A run of buckets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct BucketSpan {
    /// Buckets left out before the run; for the first run its index.
    pub offset: i32,
    /// Buckets in the run.
    pub length: u32,
}

/// What the sender says about a counter reset between the sample before and this one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ResetHint {
    /// Nothing: compare the counts.
    #[default]
    Unknown,
    /// There was one.
    Reset,
    /// There was none.
    NotReset,
    /// It is no counter.
    Gauge,
}

impl Histogram {
    /// The schema of histograms with explicit bounds.
    pub const CUSTOM_BUCKETS: i32 = -53;

    /// The sample that ends a series of histograms.
    #[must_use]
    pub fn stale() -> Self {
        Self { sum: stale_marker(), ..Self::default() }
    }

    /// Whether this ends a series.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        is_stale(self.sum)
    }

    /// Whether the bounds are explicit.
    #[must_use]
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == Self::CUSTOM_BUCKETS
    }

    /// Whether both hold the same, NaNs bit by bit: for finding duplicates.
    #[must_use]
    pub fn is_identical(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        let same_all = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(*a, *b));
        self.schema == other.schema
            && self.reset_hint == other.reset_hint
            && same(self.zero_threshold, other.zero_threshold)
            && same(self.zero_count, other.zero_count)
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && self.positive.spans == other.positive.spans
            && self.negative.spans == other.negative.spans
            && same_all(&self.positive.counts, &other.positive.counts)
            && same_all(&self.negative.counts, &other.negative.counts)
            && same_all(&self.custom_values, &other.custom_values)
    }
}

/// A native histogram at one time.
#[derive(Clone, PartialEq, Debug)]
pub struct HistogramSample {
    /// When.
    pub at: Timestamp,
    /// What.
    pub histogram: Arc<Histogram>,
}
