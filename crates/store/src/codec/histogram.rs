//! A native histogram as bytes.

use std::sync::Arc;

use signal::{BucketSpan, Buckets, Histogram, ResetHint};

use crate::wire::{DecodeError, Reader, put_float, put_len, put_signed, put_varint};

pub(crate) fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    put_signed(out, i64::from(histogram.schema));
    out.push(hint_to_byte(histogram.reset_hint));
    for value in [histogram.zero_threshold, histogram.zero_count, histogram.count, histogram.sum] {
        put_float(out, value);
    }
    put_buckets(out, &histogram.positive);
    put_buckets(out, &histogram.negative);
    put_len(out, histogram.custom_values.len());
    histogram.custom_values.iter().for_each(|bound| put_float(out, *bound));
}

fn put_buckets(out: &mut Vec<u8>, buckets: &Buckets) {
    put_len(out, buckets.spans.len());
    for span in &buckets.spans {
        put_signed(out, i64::from(span.offset));
        put_varint(out, u64::from(span.length));
    }
    put_len(out, buckets.counts.len());
    buckets.counts.iter().for_each(|count| put_float(out, *count));
}

pub(crate) fn take_histogram(reader: &mut Reader<'_>) -> Result<Histogram, DecodeError> {
    let schema = i32::try_from(reader.signed()?).map_err(|_| DecodeError("a histogram's schema is too large"))?;
    Ok(Histogram {
        schema,
        reset_hint: hint_from_byte(reader.byte()?)?,
        zero_threshold: reader.float()?,
        zero_count: reader.float()?,
        count: reader.float()?,
        sum: reader.float()?,
        positive: take_buckets(reader)?,
        negative: take_buckets(reader)?,
        custom_values: {
            let count = reader.count()?;
            (0..count).map(|_| reader.float()).collect::<Result<Arc<[f64]>, _>>()?
        },
    })
}

fn take_buckets(reader: &mut Reader<'_>) -> Result<Buckets, DecodeError> {
    let count = reader.count()?;
    let span = |reader: &mut Reader<'_>| {
        let offset = i32::try_from(reader.signed()?).map_err(|_| DecodeError("a bucket's offset is too large"))?;
        let length = u32::try_from(reader.varint()?).map_err(|_| DecodeError("a run of buckets is too long"))?;
        Ok(BucketSpan { offset, length })
    };
    let spans = (0..count).map(|_| span(reader)).collect::<Result<Vec<_>, _>>()?;
    let count = reader.count()?;
    let counts = (0..count).map(|_| reader.float()).collect::<Result<Vec<_>, _>>()?;
    Ok(Buckets { spans, counts })
}

fn hint_to_byte(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

fn hint_from_byte(byte: u8) -> Result<ResetHint, DecodeError> {
    match byte {
        0 => Ok(ResetHint::Unknown),
        1 => Ok(ResetHint::Reset),
        2 => Ok(ResetHint::NotReset),
        3 => Ok(ResetHint::Gauge),
        _ => Err(DecodeError("a histogram has an unknown reset hint")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buckets() -> impl Strategy<Value = Buckets> {
        let span = (any::<i32>(), any::<u32>()).prop_map(|(offset, length)| BucketSpan { offset, length });
        let counts = proptest::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..5);
        (proptest::collection::vec(span, 0..4), counts).prop_map(|(spans, counts)| Buckets { spans, counts })
    }

    proptest! {
        #[test]
        fn a_histogram_survives(
            schema in any::<i32>(),
            bits in any::<[u64; 4]>(),
            positive in buckets(),
            negative in buckets(),
            bounds in proptest::collection::vec(any::<f64>(), 0..4),
            hint in 0_u8..4,
        ) {
            let [zero_threshold, zero_count, count, sum] = bits.map(f64::from_bits);
            let custom_values = Arc::from(bounds);
            let reset_hint = hint_from_byte(hint).unwrap();
            let histogram =
                Histogram { schema, zero_threshold, zero_count, count, sum, positive, negative, custom_values, reset_hint };
            let mut out = Vec::new();
            put_histogram(&mut out, &histogram);
            let mut reader = Reader::new(&out);
            prop_assert!(take_histogram(&mut reader).unwrap().is_identical(&histogram));
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = take_histogram(&mut Reader::new(&bytes));
        }
    }
}
