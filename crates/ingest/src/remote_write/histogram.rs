//! The native histogram of both protocols: `Histogram` of `prompb/types.proto`.

use std::sync::Arc;

use signal::{HistogramSample, ResetHint, Timestamp};

use crate::native::{InvalidHistogram, WireCounts, WireHistogram};
use crate::wire::{Field, WireError, fields};

/// Reads one with at most `limit` buckets; longer lists are not kept, so that a short message cannot fill the memory.
pub(super) fn read(field: Field<'_>, limit: usize) -> Result<Result<HistogramSample, InvalidHistogram>, WireError> {
    // One past the limit is enough to see that there are too many.
    let most = limit.saturating_add(1);
    let mut wire = WireHistogram::default();
    let (mut count, mut zero_count) = (Number::Whole(0), Number::Whole(0));
    let mut at = Timestamp(0);
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => count = Number::Whole(field.unsigned()?),
            2 => count = Number::Float(field.double()?),
            3 => wire.sum = field.double()?,
            4 => wire.schema = i32::try_from(field.signed()?).unwrap_or(i32::MAX),
            5 => wire.zero_threshold = field.double()?,
            6 => zero_count = Number::Whole(field.unsigned()?),
            7 => zero_count = Number::Float(field.double()?),
            8 => wire.negative.add_span(field, most)?,
            9 => field.add_signed(&mut wire.negative.deltas, most)?,
            10 => field.add_doubles(&mut wire.negative.counts, most)?,
            11 => wire.positive.add_span(field, most)?,
            12 => field.add_signed(&mut wire.positive.deltas, most)?,
            13 => field.add_doubles(&mut wire.positive.counts, most)?,
            14 => wire.reset_hint = reset_hint(field.unsigned()?),
            15 => at = Timestamp(field.int()?),
            16 => field.add_doubles(&mut wire.custom_values, most)?,
            _ => {}
        }
    }
    wire.counts = match count {
        Number::Whole(count) => WireCounts::Whole { count, zero_count: zero_count.whole() },
        Number::Float(count) => WireCounts::Float { count, zero_count: zero_count.float() },
    };
    let histogram = wire.into_histogram(limit);
    Ok(histogram.map(|histogram| HistogramSample { at, histogram: Arc::new(histogram) }))
}

/// Counts are written in one of two fields.
#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    Float(f64),
}

impl Number {
    /// Of a histogram of whole numbers; a float there belongs to another kind and is as good as not written.
    fn whole(self) -> u64 {
        match self {
            Self::Whole(number) => number,
            Self::Float(_) => 0,
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Whole(_) => 0.0,
            Self::Float(number) => number,
        }
    }
}

fn reset_hint(number: u64) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}
