//! Runs of native histograms.
//!
//! Neighbours usually have the same buckets: their layout is written once, and then each field and each bucket as the
//! column of values it is over time.

use std::ops::Range;
use std::sync::Arc;

use signal::{BucketSpan, Buckets, Histogram, HistogramSample, ResetHint};

use super::floats;
use crate::wire::{DecodeError, Reader, put_bytes, put_len, put_signed, put_varint};

/// Most histograms of a run.
pub(super) const RUN: usize = 256;
/// Most values of a run of more than one histogram.
const VALUES: usize = 1 << 16;
/// Fields that are columns beside the buckets.
const FIELDS: usize = 3;

/// Room that encoding needs, to be used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    column: Vec<f64>,
    bytes: Vec<u8>,
    floats: floats::Scratch,
}

/// How many of the first histograms fit one run.
pub(super) fn run_len(samples: &[HistogramSample]) -> usize {
    let mut values = 0;
    let fits = samples.iter().take(RUN).take_while(|sample| {
        values += value_count(&sample.histogram);
        values <= VALUES
    });
    fits.count().max(1).min(samples.len())
}

fn value_count(histogram: &Histogram) -> usize {
    let of = |buckets: &Buckets| buckets.spans.len() + buckets.counts.len();
    FIELDS + of(&histogram.positive) + of(&histogram.negative)
}

fn has_layout_of(a: &Histogram, b: &Histogram) -> bool {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    a.schema == b.schema
        && same(a.zero_threshold, b.zero_threshold)
        && a.positive.spans == b.positive.spans
        && a.negative.spans == b.negative.spans
        && a.positive.counts.len() == b.positive.counts.len()
        && a.negative.counts.len() == b.negative.counts.len()
        && a.custom_values.len() == b.custom_values.len()
        && a.custom_values.iter().zip(b.custom_values.iter()).all(|(a, b)| same(*a, *b))
}

/// Writes a run that [`run_len`] allows behind `out`; whoever reads knows how many there are.
pub(super) fn encode(run: &[HistogramSample], scratch: &mut Scratch, out: &mut Vec<u8>) {
    for hints in run.chunk_by(|a, b| a.histogram.reset_hint == b.histogram.reset_hint) {
        let Some(first) = hints.first() else { continue };
        out.push(match first.histogram.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        });
        put_len(out, hints.len());
    }
    for alike in run.chunk_by(|a, b| has_layout_of(&a.histogram, &b.histogram)) {
        let Some(first) = alike.first() else { continue };
        let layout = &*first.histogram;
        put_len(out, alike.len());
        put_signed(out, i64::from(layout.schema));
        out.extend_from_slice(&layout.zero_threshold.to_bits().to_le_bytes());
        put_len(out, layout.custom_values.len());
        layout.custom_values.iter().for_each(|bound| out.extend_from_slice(&bound.to_bits().to_le_bytes()));
        for buckets in [&layout.positive, &layout.negative] {
            put_len(out, buckets.spans.len());
            for span in &buckets.spans {
                put_signed(out, i64::from(span.offset));
                put_varint(out, u64::from(span.length));
            }
            put_len(out, buckets.counts.len());
        }
        let mut put = |value: &dyn Fn(&Histogram) -> f64| {
            let Scratch { column, bytes, floats } = &mut *scratch;
            column.clear();
            column.extend(alike.iter().map(|sample| value(&sample.histogram)));
            bytes.clear();
            floats::encode(column, floats, bytes);
            put_bytes(out, bytes);
        };
        put(&|histogram| histogram.zero_count);
        put(&|histogram| histogram.count);
        put(&|histogram| histogram.sum);
        for at in 0..layout.positive.counts.len() {
            put(&|histogram| histogram.positive.counts.get(at).copied().unwrap_or_default());
        }
        for at in 0..layout.negative.counts.len() {
            put(&|histogram| histogram.negative.counts.get(at).copied().unwrap_or_default());
        }
    }
}

/// Reads the histograms in `wanted`, of `count`.
pub(super) fn decode(bytes: &[u8], count: usize, wanted: Range<usize>) -> Result<Vec<Histogram>, DecodeError> {
    if count > RUN {
        return Err(DecodeError("a run has too many histograms"));
    }
    let mut reader = Reader::new(bytes);
    let mut hints = Vec::with_capacity(count);
    while hints.len() < count {
        let hint = match reader.byte()? {
            0 => ResetHint::Unknown,
            1 => ResetHint::Reset,
            2 => ResetHint::NotReset,
            3 => ResetHint::Gauge,
            _ => return Err(DecodeError("a reset hint is unknown")),
        };
        let len = reader.index()?;
        if len == 0 || len > count - hints.len() {
            return Err(DecodeError("reset hints do not fit their histograms"));
        }
        hints.resize(hints.len() + len, hint);
    }
    let (from, to) = (wanted.start, wanted.end.min(count));
    let mut read = Vec::with_capacity(to.saturating_sub(from));
    let mut done = 0;
    let mut room = Room::default();
    while done < to {
        let len = reader.index()?;
        if len == 0 || len > count - done {
            return Err(DecodeError("a layout does not fit its histograms"));
        }
        let inside = from.saturating_sub(done).min(len)..(to - done).min(len);
        take_alike(&mut reader, len, inside, &mut room, &mut read)?;
        done += len;
    }
    for (histogram, hint) in read.iter_mut().zip(hints.into_iter().skip(from)) {
        histogram.reset_hint = hint;
    }
    Ok(read)
}

#[derive(Default)]
struct Room {
    whole: Vec<i64>,
    column: Vec<f64>,
}

fn take_alike(
    reader: &mut Reader<'_>,
    len: usize,
    wanted: Range<usize>,
    room: &mut Room,
    read: &mut Vec<Histogram>,
) -> Result<(), DecodeError> {
    let schema = i32::try_from(reader.signed()?).map_err(|_| DecodeError("a schema is too large"))?;
    let zero_threshold = f64::from_bits(u64::from_le_bytes(reader.array()?));
    let bounds = reader.count()?;
    let bounds = (0..bounds).map(|_| reader.array().map(|bits| f64::from_bits(u64::from_le_bytes(bits))));
    let custom_values: Arc<[f64]> = Arc::from(bounds.collect::<Result<Vec<f64>, _>>()?);
    let (positive, positives) = take_spans(reader)?;
    let (negative, negatives) = take_spans(reader)?;
    let columns = FIELDS.saturating_add(positives).saturating_add(negatives);
    let values = columns.saturating_add(positive.len()).saturating_add(negative.len());
    // Each column takes a byte at least, and what few bytes can stand for is bounded.
    if columns > reader.rest().len() || (len > 1 && values.saturating_mul(len) > VALUES) {
        return Err(DecodeError("a run has too many buckets"));
    }
    let first = read.len();
    let buckets =
        |spans: &Vec<BucketSpan>, counts| Buckets { spans: spans.clone(), counts: Vec::with_capacity(counts) };
    read.extend(wanted.clone().map(|_| Histogram {
        schema,
        zero_threshold,
        zero_count: 0.0,
        count: 0.0,
        sum: 0.0,
        positive: buckets(&positive, positives),
        negative: buckets(&negative, negatives),
        custom_values: Arc::clone(&custom_values),
        reset_hint: ResetHint::Unknown,
    }));
    let read = read.get_mut(first..).unwrap_or_default();
    let mut take = |set: &dyn Fn(&mut Histogram, f64)| {
        let column = reader.bytes()?;
        if wanted.is_empty() {
            return Ok(());
        }
        floats::decode(column, len, wanted.clone(), &mut room.whole, &mut room.column)?;
        read.iter_mut().zip(&room.column).for_each(|(histogram, value)| set(histogram, *value));
        Ok::<_, DecodeError>(())
    };
    take(&|histogram, value| histogram.zero_count = value)?;
    take(&|histogram, value| histogram.count = value)?;
    take(&|histogram, value| histogram.sum = value)?;
    for _ in 0..positives {
        take(&|histogram, value| histogram.positive.counts.push(value))?;
    }
    for _ in 0..negatives {
        take(&|histogram, value| histogram.negative.counts.push(value))?;
    }
    Ok(())
}

fn take_spans(reader: &mut Reader<'_>) -> Result<(Vec<BucketSpan>, usize), DecodeError> {
    let count = reader.count()?;
    let spans = (0..count).map(|_| {
        let offset = i32::try_from(reader.signed()?).map_err(|_| DecodeError("a span lies too far"))?;
        let length = u32::try_from(reader.varint()?).map_err(|_| DecodeError("a span is too long"))?;
        Ok(BucketSpan { offset, length })
    });
    let spans = spans.collect::<Result<Vec<_>, DecodeError>>()?;
    Ok((spans, reader.count()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::tests::values::histograms;

    #[test]
    fn steady_histograms_cost_little() {
        let samples: Vec<HistogramSample> = (0..240)
            .map(|at| {
                let counts: Vec<f64> = (0..40).map(|bucket| f64::from(at * (bucket % 7))).collect();
                let histogram = Histogram {
                    count: counts.iter().sum(),
                    sum: f64::from(at) * 2.5,
                    positive: Buckets { spans: vec![BucketSpan { offset: -3, length: 40 }], counts },
                    ..Histogram::default()
                };
                HistogramSample { at: signal::Timestamp(i64::from(at)), histogram: Arc::new(histogram) }
            })
            .collect();
        let mut bytes = Vec::new();
        encode(&samples, &mut Scratch::default(), &mut bytes);
        assert!(bytes.len() < 500, "{}", bytes.len());
    }

    proptest! {
        #[test]
        fn histograms_survive(samples in histograms(40)) {
            let mut rest = &samples[..];
            while !rest.is_empty() {
                let (run, behind) = rest.split_at(run_len(rest));
                rest = behind;
                let mut bytes = Vec::new();
                encode(run, &mut Scratch::default(), &mut bytes);
                for wanted in [0..run.len(), 0..run.len() / 2, run.len() / 2..run.len(), run.len() - 1..run.len()] {
                    let read = decode(&bytes, run.len(), wanted.clone()).unwrap();
                    prop_assert_eq!(read.len(), wanted.len());
                    for (read, sample) in read.iter().zip(&run[wanted]) {
                        prop_assert!(read.is_identical(&sample.histogram), "{:?}", sample);
                    }
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0_usize..300) {
            let _ = decode(&bytes, count, 0..count);
        }
    }
}
