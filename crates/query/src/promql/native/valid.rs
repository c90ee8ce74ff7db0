//! Whether a histogram can be one.

use signal::{Buckets, Histogram};

use super::buckets::indexed;

/// What is wrong with a histogram.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Invalid {
    /// A schema that nobody defined.
    #[error("histogram has schema {0}, but only -4 to 8 and -53 exist")]
    Schema(i32),
    /// Spans and counts that do not fit.
    #[error("{side} side has {counts} buckets, but its spans need {spanned}")]
    Spans {
        /// `positive` or `negative`.
        side: &'static str,
        /// Counts that are there.
        counts: usize,
        /// Counts that the spans tell of.
        spanned: u64,
    },
    /// A span that reaches back into the one before.
    #[error("{side} side has a span with offset {offset} after another span")]
    Offset {
        /// `positive` or `negative`.
        side: &'static str,
        /// The offset.
        offset: i32,
    },
    /// A count below zero.
    #[error("{what} is {count}, but a count cannot be negative")]
    Negative {
        /// Which count.
        what: &'static str,
        /// The count.
        count: f64,
    },
    /// Custom bounds out of order, infinite or NaN.
    #[error("custom bounds have to be finite and ascending, but {0} is not")]
    Bounds(f64),
    /// More buckets than custom bounds make room for.
    #[error("bucket {index} lies behind the last of {bounds} custom bounds")]
    BehindBounds {
        /// The bucket.
        index: i64,
        /// How many bounds there are.
        bounds: usize,
    },
    /// Something exponential in a histogram with custom buckets, or the other way round.
    #[error("histogram with {0}")]
    Foreign(&'static str),
}

/// Checks that spans fit to counts, that nothing was counted negatively, and that custom buckets are that alone.
///
/// # Errors
/// `Invalid` for the first thing that is wrong.
pub fn validate(histogram: &Histogram) -> Result<(), Invalid> {
    if histogram.has_custom_buckets() {
        check_custom(histogram)?;
    } else if !(-4..=8).contains(&histogram.schema) {
        return Err(Invalid::Schema(histogram.schema));
    } else if !histogram.custom_values.is_empty() {
        return Err(Invalid::Foreign("an exponential schema and custom bounds"));
    }
    check_side("negative", &histogram.negative)?;
    check_side("positive", &histogram.positive)?;
    for (what, count) in [("zero bucket", histogram.zero_count), ("observation count", histogram.count)] {
        if count < 0.0 {
            return Err(Invalid::Negative { what, count });
        }
    }
    Ok(())
}

fn check_custom(histogram: &Histogram) -> Result<(), Invalid> {
    let mut before = f64::NEG_INFINITY;
    for bound in histogram.custom_values.iter().copied() {
        if !bound.is_finite() || bound <= before {
            return Err(Invalid::Bounds(bound));
        }
        before = bound;
    }
    if histogram.zero_count != 0.0 || histogram.zero_threshold != 0.0 {
        return Err(Invalid::Foreign("custom buckets and a zero bucket"));
    }
    if !histogram.negative.spans.is_empty() || !histogram.negative.counts.is_empty() {
        return Err(Invalid::Foreign("custom buckets and a negative side"));
    }
    let bounds = histogram.custom_values.len();
    let outside = |index: i64| usize::try_from(index).map_or(true, |index| index > bounds);
    match indexed(&histogram.positive).find(|(index, _)| outside(*index)) {
        Some((index, _)) => Err(Invalid::BehindBounds { index, bounds }),
        None => Ok(()),
    }
}

fn check_side(side: &'static str, buckets: &Buckets) -> Result<(), Invalid> {
    if let Some(span) = buckets.spans.iter().skip(1).find(|span| span.offset < 0) {
        return Err(Invalid::Offset { side, offset: span.offset });
    }
    let spanned: u64 = buckets.spans.iter().map(|span| u64::from(span.length)).sum();
    if u64::try_from(buckets.counts.len()) != Ok(spanned) {
        return Err(Invalid::Spans { side, counts: buckets.counts.len(), spanned });
    }
    match buckets.counts.iter().find(|count| **count < 0.0) {
        Some(count) => Err(Invalid::Negative { what: side, count: *count }),
        None => Ok(()),
    }
}
