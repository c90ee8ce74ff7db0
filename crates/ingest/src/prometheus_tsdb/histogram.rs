//! Chunks of native histograms.
//!
//! All samples of a chunk share resolution, bounds and spans, which stand in front. A staleness marker is a sum with the
//! marker's bits and no buckets.

use std::sync::Arc;

use signal::{BucketSpan, Buckets, Histogram, HistogramSample, ResetHint, SeriesWrite, Timestamp, is_stale};

use super::bits::{Bits, Xor};
use super::chunk::{ENDS, count};

/// Buckets on one side of a histogram; the other server makes at most a few hundred.
const MAX_BUCKETS: usize = 1 << 16;
/// Buckets of all samples of a chunk. A bucket takes one bit, so few bytes could ask for much memory.
const MAX_CHUNK_BUCKETS: usize = 8 << 20;

/// Adds the samples of a chunk of histograms with whole counts.
pub(super) fn integers(data: &[u8], series: &mut SeriesWrite) -> Result<(), &'static str> {
    let (layout, count, mut bits) = Layout::read(data)?;
    let mut times = Steps::default();
    let (mut observed, mut zero) = (Steps::default(), Steps::default());
    let mut sum = Xor::default();
    let mut positive = vec![Steps::default(); layout.positive_buckets];
    let mut negative = vec![Steps::default(); layout.negative_buckets];
    for number in 0..count {
        if number == 0 {
            times = Steps::starting(bits.varbit().ok_or(ENDS)?);
            observed = Steps::starting(bits.uvarbit().ok_or(ENDS)? as i64);
            zero = Steps::starting(bits.uvarbit().ok_or(ENDS)? as i64);
            sum = Xor::starting(bits.float().ok_or(ENDS)?);
            for bucket in positive.iter_mut().chain(&mut negative) {
                *bucket = Steps::starting(bits.varbit().ok_or(ENDS)?);
            }
        } else {
            for step in [&mut times, &mut observed, &mut zero] {
                step.read(&mut bits).ok_or(ENDS)?;
            }
            if !is_stale(sum.read(&mut bits).ok_or(ENDS)?) {
                for bucket in positive.iter_mut().chain(&mut negative) {
                    bucket.read(&mut bits).ok_or(ENDS)?;
                }
            }
        }
        let counts = Counts {
            count: observed.value as u64 as f64,
            zero_count: zero.value as u64 as f64,
            positive: running(&positive),
            negative: running(&negative),
        };
        series.histograms.push(layout.sample(number, times.value, sum.value, counts));
    }
    Ok(())
}

/// Adds the samples of a chunk of histograms with counts of any value.
pub(super) fn floats(data: &[u8], series: &mut SeriesWrite) -> Result<(), &'static str> {
    let (layout, count, mut bits) = Layout::read(data)?;
    let mut times = Steps::default();
    let mut numbers = [Xor::default(); 3];
    let mut positive = vec![Xor::default(); layout.positive_buckets];
    let mut negative = vec![Xor::default(); layout.negative_buckets];
    for number in 0..count {
        if number == 0 {
            times = Steps::starting(bits.varbit().ok_or(ENDS)?);
            for value in numbers.iter_mut().chain(&mut positive).chain(&mut negative) {
                *value = Xor::starting(bits.float().ok_or(ENDS)?);
            }
        } else {
            times.read(&mut bits).ok_or(ENDS)?;
            for value in &mut numbers {
                value.read(&mut bits).ok_or(ENDS)?;
            }
            let [_, _, sum] = &numbers;
            if !is_stale(sum.value) {
                for value in positive.iter_mut().chain(&mut negative) {
                    value.read(&mut bits).ok_or(ENDS)?;
                }
            }
        }
        let [observed, zero, sum] = numbers.map(|number| number.value);
        let values = |buckets: &[Xor]| buckets.iter().map(|bucket| bucket.value).collect();
        let counts =
            Counts { count: observed, zero_count: zero, positive: values(&positive), negative: values(&negative) };
        series.histograms.push(layout.sample(number, times.value, sum, counts));
    }
    Ok(())
}

/// Counts of buckets from the differences between neighbours.
fn running(buckets: &[Steps]) -> Vec<f64> {
    let sums = buckets.iter().scan(0_i64, |sum, bucket| {
        *sum = sum.wrapping_add(bucket.value);
        Some(*sum as f64)
    });
    sums.collect()
}

/// A whole number stored as the change of its change.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    value: i64,
    delta: i64,
}

impl Steps {
    fn starting(value: i64) -> Self {
        Self { value, delta: 0 }
    }

    fn read(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        self.delta = self.delta.wrapping_add(bits.varbit()?);
        self.value = self.value.wrapping_add(self.delta);
        Some(())
    }
}

/// What all samples of a chunk share.
#[derive(Debug)]
struct Layout {
    /// The two highest bits say what is known about a reset before the chunk.
    reset: u8,
    schema: i32,
    zero_threshold: f64,
    positive: Vec<BucketSpan>,
    negative: Vec<BucketSpan>,
    positive_buckets: usize,
    negative_buckets: usize,
    custom_values: Arc<[f64]>,
}

struct Counts {
    count: f64,
    zero_count: f64,
    positive: Vec<f64>,
    negative: Vec<f64>,
}

impl Layout {
    fn read(data: &[u8]) -> Result<(Self, u16, Bits<'_>), &'static str> {
        let (count, rest) = count(data)?;
        let (flags, rest) = rest.split_first().ok_or(ENDS)?;
        let mut bits = Bits::new(rest);
        let layout = Self::parse(flags >> 6, &mut bits).ok_or("a chunk of histograms has no valid layout")?;
        let buckets = layout.positive_buckets + layout.negative_buckets;
        if buckets.saturating_mul(count.into()) > MAX_CHUNK_BUCKETS {
            return Err("a chunk of histograms has more buckets than the limit of 8388608");
        }
        if !(-4..=8).contains(&layout.schema) && layout.schema != Histogram::CUSTOM_BUCKETS {
            return Err("a chunk of histograms has a schema that is not known");
        }
        Ok((layout, count, bits))
    }

    fn parse(reset: u8, bits: &mut Bits<'_>) -> Option<Self> {
        let zero_threshold = match bits.number(8)? {
            0 => 0.0,
            255 => bits.float()?,
            // Powers of two, from 2^-243 to 2^10.
            power => 2.0_f64.powi(power as i32 - 244),
        };
        let schema = i32::try_from(bits.varbit()?).ok()?;
        let (positive, positive_buckets) = spans(bits)?;
        let (negative, negative_buckets) = spans(bits)?;
        let mut custom_values = Vec::new();
        if schema == Histogram::CUSTOM_BUCKETS {
            let count = bits.uvarbit()?;
            for _ in 0..count {
                custom_values.push(bound(bits)?);
            }
        }
        let custom_values = custom_values.into();
        Some(Self {
            reset,
            schema,
            zero_threshold,
            positive,
            negative,
            positive_buckets,
            negative_buckets,
            custom_values,
        })
    }

    fn sample(&self, number: u16, at: i64, sum: f64, counts: Counts) -> HistogramSample {
        let at = Timestamp(at);
        if is_stale(sum) {
            return HistogramSample { at, histogram: Arc::new(Histogram::stale()) };
        }
        let Counts { count, zero_count, positive, negative } = counts;
        let histogram = Histogram {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count,
            count,
            sum,
            positive: Buckets { spans: self.positive.clone(), counts: positive },
            negative: Buckets { spans: self.negative.clone(), counts: negative },
            custom_values: Arc::clone(&self.custom_values),
            reset_hint: self.hint(number),
        };
        HistogramSample { at, histogram: Arc::new(histogram) }
    }

    /// A chunk of a counter ends where it is reset, so only its first sample can come after one. That there was none
    /// before the first holds only as long as the chunk before is there, so it counts as not known.
    fn hint(&self, number: u16) -> ResetHint {
        match (self.reset, number) {
            (0b11, _) => ResetHint::Gauge,
            (0b10, 0) => ResetHint::Reset,
            (_, 0) => ResetHint::Unknown,
            (_, _) => ResetHint::NotReset,
        }
    }
}

fn spans(bits: &mut Bits<'_>) -> Option<(Vec<BucketSpan>, usize)> {
    let count = bits.uvarbit()?;
    let mut spans = Vec::new();
    let mut buckets = 0_usize;
    for _ in 0..count {
        let length = u32::try_from(bits.uvarbit()?).ok()?;
        let offset = i32::try_from(bits.varbit()?).ok()?;
        buckets = buckets.checked_add(length as usize).filter(|buckets| *buckets <= MAX_BUCKETS)?;
        spans.push(BucketSpan { offset, length });
    }
    Some((spans, buckets))
}

/// A bound of custom buckets: thousandths, or a float where they do not do.
fn bound(bits: &mut Bits<'_>) -> Option<f64> {
    match bits.uvarbit()? {
        0 => bits.float(),
        thousandths => Some((thousandths - 1) as f64 / 1000.0),
    }
}
