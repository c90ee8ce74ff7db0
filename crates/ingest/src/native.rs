//! Native histograms on their way in: from the shapes of the wire to absolute counts, checked.
//!
//! The rules are those of Prometheus (`model/histogram`, `Validate` and `ReduceResolution`).

use signal::{BucketSpan, Buckets, Histogram, Labels, ResetHint};

use crate::rejection::excerpt;
use crate::wire::{Field, WireError, fields};

/// The finest and the coarsest resolution that is kept.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// Resolutions beyond the finest that are kept; they are reduced to it.
const FINER_SCHEMAS: std::ops::RangeInclusive<i32> = 9..=52;

/// Why a native histogram is refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHistogram {
    /// More than anybody needs.
    #[error("has more than {limit} buckets (max_histogram_buckets)")]
    TooManyBuckets {
        /// Buckets allowed.
        limit: usize,
    },
    /// A resolution nobody knows.
    #[error("has the schema {schema}; known are -4 to 8, and -53 for custom buckets")]
    UnknownSchema {
        /// What was found.
        schema: i32,
    },
    /// Only the first run may lie below zero.
    #[error("has a {side} span with the offset {offset}")]
    NegativeOffset {
        /// `positive` or `negative`.
        side: &'static str,
        /// What was found.
        offset: i32,
    },
    /// Spans and counts do not fit together.
    #[error("has {side} spans for {spans} buckets, but counts of {counts}")]
    SpanMismatch {
        /// `positive` or `negative`.
        side: &'static str,
        /// Buckets in the spans.
        spans: u64,
        /// Counts found.
        counts: usize,
    },
    /// A bucket outside of the numbers buckets may have.
    #[error("has a {side} bucket with a number beyond the 32 bits of bucket numbers")]
    BucketOutOfRange {
        /// `positive` or `negative`.
        side: &'static str,
    },
    /// Fewer than no observations.
    #[error("has a {side} bucket with the count {count}")]
    NegativeBucket {
        /// `positive`, `negative` or `zero`.
        side: &'static str,
        /// What was found.
        count: f64,
    },
    /// Fewer than no observations in all.
    #[error("has the count {count}")]
    NegativeCount {
        /// What was found.
        count: f64,
    },
    /// The buckets do not hold what the count says.
    #[error("has the count {count}, but its buckets hold {buckets}")]
    CountMismatch {
        /// Observations it claims.
        count: u64,
        /// Observations in its buckets.
        buckets: u64,
    },
    /// More observations than 64 bits count.
    #[error("holds more observations than 64 bits can count")]
    TooManyObservations,
    /// Bounds of custom buckets ascend.
    #[error("has the custom bound {bound} after {before}")]
    BoundsOutOfOrder {
        /// A bound.
        before: f64,
        /// The next one.
        bound: f64,
    },
    /// The infinite bound is there without being written, and NaN bounds nothing.
    #[error("has the custom bound {bound}")]
    NoBound {
        /// What was found.
        bound: f64,
    },
    /// Buckets beyond the last bound.
    #[error("has {bounds} custom bounds for {buckets} buckets")]
    TooFewBounds {
        /// Bounds found.
        bounds: usize,
        /// Buckets up to the last of the spans.
        buckets: u64,
    },
    /// Custom buckets have neither a zero bucket nor a negative side.
    #[error("has custom buckets and also {found}")]
    NotCustom {
        /// What does not belong there.
        found: &'static str,
    },
    /// Custom bounds without custom buckets.
    #[error("has {bounds} custom bounds, but exponential buckets")]
    UnexpectedBounds {
        /// Bounds found.
        bounds: usize,
    },
}

impl InvalidHistogram {
    /// The word for it in [`Rejection`](crate::Rejection).
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::TooManyBuckets { .. } => "too_many_buckets",
            Self::UnknownSchema { .. }
            | Self::NegativeOffset { .. }
            | Self::SpanMismatch { .. }
            | Self::BucketOutOfRange { .. }
            | Self::NegativeBucket { .. }
            | Self::NegativeCount { .. }
            | Self::CountMismatch { .. }
            | Self::TooManyObservations
            | Self::BoundsOutOfOrder { .. }
            | Self::NoBound { .. }
            | Self::TooFewBounds { .. }
            | Self::NotCustom { .. }
            | Self::UnexpectedBounds { .. } => "invalid_native_histogram",
        }
    }

    /// The same as a sentence about a series.
    pub(crate) fn about(self, series: &Labels) -> String {
        format!("native histogram {self}: `{}`", excerpt(&series.to_string()))
    }
}

/// A histogram as senders write it.
#[derive(Debug, Default)]
pub(crate) struct WireHistogram {
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) sum: f64,
    pub(crate) counts: WireCounts,
    pub(crate) positive: WireBuckets,
    pub(crate) negative: WireBuckets,
    pub(crate) custom_values: Vec<f64>,
    pub(crate) reset_hint: ResetHint,
}

/// Observations in all and in the zero bucket, which also say how those of the buckets are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum WireCounts {
    /// Whole numbers; buckets are differences from bucket to bucket.
    Whole { count: u64, zero_count: u64 },
    /// Floats; buckets are absolute.
    Float { count: f64, zero_count: f64 },
}

impl Default for WireCounts {
    fn default() -> Self {
        Self::Whole { count: 0, zero_count: 0 }
    }
}

/// One side; which of the two lists counts is said by [`WireCounts`].
#[derive(Debug, Default)]
pub(crate) struct WireBuckets {
    pub(crate) spans: Vec<BucketSpan>,
    pub(crate) deltas: Vec<i64>,
    pub(crate) counts: Vec<f64>,
}

impl WireHistogram {
    /// The histogram with absolute counts, if it keeps the rules. A staleness marker is nothing but that.
    pub(crate) fn into_histogram(self, limit: usize) -> Result<Histogram, InvalidHistogram> {
        if signal::is_stale(self.sum) {
            return Ok(Histogram::stale());
        }
        let sides = [&self.positive, &self.negative];
        let buckets: usize = sides.iter().map(|side| side.deltas.len().max(side.counts.len())).sum();
        let spans: usize = sides.iter().map(|side| side.spans.len()).sum();
        if buckets.max(spans).max(self.custom_values.len()) > limit {
            return Err(InvalidHistogram::TooManyBuckets { limit });
        }
        let has_custom_buckets = self.schema == Histogram::CUSTOM_BUCKETS;
        let is_exponential = SCHEMAS.contains(&self.schema) || FINER_SCHEMAS.contains(&self.schema);
        if !has_custom_buckets && !is_exponential {
            return Err(InvalidHistogram::UnknownSchema { schema: self.schema });
        }
        let (positive, negative, count, zero_count) = match self.counts {
            WireCounts::Whole { count, zero_count } => {
                let (positive, above) = self.positive.into_summed("positive")?;
                let (negative, below) = self.negative.into_summed("negative")?;
                let buckets = above.checked_add(below).and_then(|both| both.checked_add(zero_count));
                let buckets = buckets.ok_or(InvalidHistogram::TooManyObservations)?;
                // An observed NaN is counted, and no bucket holds it.
                if buckets > count || (buckets < count && !self.sum.is_nan()) {
                    return Err(InvalidHistogram::CountMismatch { count, buckets });
                }
                (positive, negative, count as f64, zero_count as f64)
            }
            WireCounts::Float { count, zero_count } => {
                let positive = self.positive.into_checked("positive")?;
                let negative = self.negative.into_checked("negative")?;
                if zero_count < 0.0 {
                    return Err(InvalidHistogram::NegativeBucket { side: "zero", count: zero_count });
                }
                if count < 0.0 {
                    return Err(InvalidHistogram::NegativeCount { count });
                }
                // The sum of floats is not exact, so that it proves nothing.
                (positive, negative, count, zero_count)
            }
        };
        let histogram = Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count,
            count,
            sum: self.sum,
            positive,
            negative,
            custom_values: self.custom_values.into(),
            reset_hint: self.reset_hint,
        };
        if has_custom_buckets {
            check_custom(&histogram)?;
            return Ok(histogram);
        }
        if !histogram.custom_values.is_empty() {
            return Err(InvalidHistogram::UnexpectedBounds { bounds: histogram.custom_values.len() });
        }
        Ok(reduce(histogram, *SCHEMAS.end()))
    }
}

impl WireBuckets {
    /// One span of a repeated field; nothing is added past `most`.
    pub(crate) fn add_span(&mut self, field: Field<'_>, most: usize) -> Result<(), WireError> {
        let mut span = BucketSpan::default();
        for field in fields(field.bytes()?) {
            let field = field?;
            match field.number {
                1 => span.offset = i32::try_from(field.signed()?).unwrap_or(i32::MIN),
                2 => span.length = u32::try_from(field.unsigned()?).unwrap_or(u32::MAX),
                _ => {}
            }
        }
        if self.spans.len() < most {
            self.spans.push(span);
        }
        Ok(())
    }

    /// Absolute counts and their sum.
    fn into_summed(self, side: &'static str) -> Result<(Buckets, u64), InvalidHistogram> {
        check_spans(&self.spans, self.deltas.len(), side)?;
        let (mut count, mut sum) = (0_i64, 0_u64);
        let mut counts = Vec::with_capacity(self.deltas.len());
        for delta in self.deltas {
            count = count.checked_add(delta).ok_or(InvalidHistogram::TooManyObservations)?;
            let Ok(observations) = u64::try_from(count) else {
                return Err(InvalidHistogram::NegativeBucket { side, count: count as f64 });
            };
            sum = sum.checked_add(observations).ok_or(InvalidHistogram::TooManyObservations)?;
            counts.push(count as f64);
        }
        Ok((Buckets { spans: self.spans, counts }, sum))
    }

    fn into_checked(self, side: &'static str) -> Result<Buckets, InvalidHistogram> {
        check_spans(&self.spans, self.counts.len(), side)?;
        if let Some(count) = self.counts.iter().copied().find(|count| *count < 0.0) {
            return Err(InvalidHistogram::NegativeBucket { side, count });
        }
        Ok(Buckets { spans: self.spans, counts: self.counts })
    }
}

fn check_spans(spans: &[BucketSpan], counts: usize, side: &'static str) -> Result<(), InvalidHistogram> {
    if let Some(span) = spans.iter().skip(1).find(|span| span.offset < 0) {
        return Err(InvalidHistogram::NegativeOffset { side, offset: span.offset });
    }
    let buckets = spans.iter().fold(0_u64, |sum, span| sum.saturating_add(u64::from(span.length)));
    if u64::try_from(counts) != Ok(buckets) {
        return Err(InvalidHistogram::SpanMismatch { side, spans: buckets, counts });
    }
    let mut end = 0_i64;
    for span in spans {
        end = end.saturating_add(i64::from(span.offset)).saturating_add(i64::from(span.length));
        if i32::try_from(end).is_err() {
            return Err(InvalidHistogram::BucketOutOfRange { side });
        }
    }
    Ok(())
}

fn check_custom(histogram: &Histogram) -> Result<(), InvalidHistogram> {
    let bounds = &histogram.custom_values;
    if let Some(bound) = bounds.iter().copied().find(|bound| !bound.is_finite()) {
        return Err(InvalidHistogram::NoBound { bound });
    }
    if let Some((before, bound)) = bounds.iter().zip(bounds.iter().skip(1)).find(|(before, bound)| before >= bound) {
        return Err(InvalidHistogram::BoundsOutOfOrder { before: *before, bound: *bound });
    }
    if let Some(span) = histogram.positive.spans.first().filter(|span| span.offset < 0) {
        return Err(InvalidHistogram::NegativeOffset { side: "positive", offset: span.offset });
    }
    let buckets = histogram.positive.spans.iter().fold(0_u64, |sum, span| {
        sum.saturating_add(u64::from(span.offset.unsigned_abs())).saturating_add(u64::from(span.length))
    });
    if u64::try_from(bounds.len()).is_ok_and(|bounds| buckets > bounds.saturating_add(1)) {
        return Err(InvalidHistogram::TooFewBounds { bounds: bounds.len(), buckets });
    }
    for (found, is_there) in [
        ("a zero count", histogram.zero_count != 0.0),
        ("a zero threshold", histogram.zero_threshold != 0.0),
        ("negative buckets", histogram.negative != Buckets::default()),
    ] {
        if is_there {
            return Err(InvalidHistogram::NotCustom { found });
        }
    }
    Ok(())
}

/// The histogram with no finer resolution than `schema`: neighbouring buckets are merged. Custom buckets stay.
#[must_use]
pub fn reduce(mut histogram: Histogram, schema: i32) -> Histogram {
    if histogram.has_custom_buckets() || histogram.schema <= schema {
        return histogram;
    }
    let by = histogram.schema.abs_diff(schema);
    histogram.positive = merge(&histogram.positive, by);
    histogram.negative = merge(&histogram.negative, by);
    histogram.schema = schema;
    histogram
}

/// The histogram with at most `limit` buckets, at the cost of resolution; `None` when even the coarsest has more.
#[must_use]
pub fn fit(mut histogram: Histogram, limit: usize) -> Option<Histogram> {
    while bucket_count(&histogram) > limit {
        if histogram.has_custom_buckets() || histogram.schema <= *SCHEMAS.start() {
            return None;
        }
        let coarser = histogram.schema - 1;
        histogram = reduce(histogram, coarser);
    }
    Some(histogram)
}

/// Buckets of both sides, the zero bucket not counted.
#[must_use]
pub fn bucket_count(histogram: &Histogram) -> usize {
    histogram.positive.counts.len() + histogram.negative.counts.len()
}

fn merge(buckets: &Buckets, by: u32) -> Buckets {
    let mut merged = Collector::default();
    let mut counts = buckets.counts.iter();
    let mut at = 0_i64;
    for span in &buckets.spans {
        at += i64::from(span.offset);
        // A run is as long as its counts, whatever it says.
        for count in counts.by_ref().take(usize::try_from(span.length).unwrap_or(usize::MAX)) {
            merged.add(coarser(at, by), *count);
            at += 1;
        }
    }
    merged.buckets
}

/// The number of the bucket that holds bucket `at` when 2^`by` buckets become one.
pub(crate) fn coarser(at: i64, by: u32) -> i64 {
    ((at - 1) >> by.min(63)) + 1
}

/// Puts buckets together that come in order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    pub(crate) buckets: Buckets,
    /// One past the last bucket.
    next: i64,
}

impl Collector {
    /// Adds to a bucket not before the last one. Gaps of two buckets and fewer are filled, since a run costs more.
    pub(crate) fn add(&mut self, at: i64, count: f64) {
        if at < self.next
            && let Some(last) = self.buckets.counts.last_mut()
        {
            *last += count;
            return;
        }
        let gap = at - self.next;
        match self.buckets.spans.last_mut() {
            Some(span) if gap <= 2 => {
                let filled = u32::try_from(gap).unwrap_or(0);
                self.buckets.counts.extend((0..filled).map(|_| 0.0));
                span.length = span.length.saturating_add(filled + 1);
            }
            Some(_) | None => {
                let offset = i32::try_from(gap).unwrap_or(if gap < 0 { i32::MIN } else { i32::MAX });
                self.buckets.spans.push(BucketSpan { offset, length: 1 });
            }
        }
        self.buckets.counts.push(count);
        self.next = at + 1;
    }
}

#[cfg(test)]
mod tests;
