//! Points in Prometheus' chunk encodings, XOR and float histogram (`tsdb/chunkenc`).

use query::promql::native::is_reset;
use signal::{BucketSpan, Histogram, HistogramSample, ResetHint, Sample};

use super::Point;
use super::bits::{Bits, Xor};
use super::messages::{Chunk, Encoding};

/// Samples in a chunk, as upstream cuts them.
const SAMPLES: usize = 120;

/// Cuts the points of a series, in order of time, into chunks.
pub(super) fn cut<'a>(points: impl Iterator<Item = Point<'a>>) -> Vec<Chunk> {
    let mut done = Vec::new();
    let mut open: Option<Open<'a>> = None;
    let is_sound = |point: &Point<'_>| match point {
        Point::Float(_) => true,
        Point::Histogram(sample) => is_sound(&sample.histogram),
    };
    for point in points.filter(is_sound) {
        open = match (open, point) {
            (Some(Open::Floats(mut chunk)), Point::Float(sample)) if chunk.clock.count < SAMPLES => {
                chunk.push(sample);
                Some(Open::Floats(chunk))
            }
            (Some(Open::Histograms(mut chunk)), Point::Histogram(sample)) if chunk.takes(&sample.histogram) => {
                chunk.push(sample);
                Some(Open::Histograms(chunk))
            }
            (before, point) => {
                let last = match &before {
                    Some(Open::Histograms(chunk)) => Some(chunk.last),
                    Some(Open::Floats(_)) | None => None,
                };
                done.extend(before.map(Open::close));
                Some(match point {
                    Point::Float(sample) => Open::Floats(FloatChunk::starting(sample)),
                    Point::Histogram(sample) => Open::Histograms(HistogramChunk::starting(sample, last)),
                })
            }
        };
    }
    done.extend(open.map(Open::close));
    done
}

/// A chunk that may take more.
enum Open<'a> {
    Floats(FloatChunk),
    Histograms(HistogramChunk<'a>),
}

impl Open<'_> {
    fn close(self) -> Chunk {
        match self {
            Self::Floats(chunk) => chunk.clock.close(chunk.bits, Encoding::Xor),
            Self::Histograms(chunk) => chunk.clock.close(chunk.bits, Encoding::FloatHistogram),
        }
    }
}

/// The times in a chunk.
struct Clock {
    first: i64,
    last: i64,
    delta: i64,
    count: usize,
}

impl Clock {
    fn starting(at: i64) -> Self {
        Self { first: at, last: at, delta: 0, count: 1 }
    }

    /// The distance to the time before, and its difference to the distance before that.
    fn advance(&mut self, at: i64) -> (i64, i64) {
        let delta = at.wrapping_sub(self.last);
        let second = delta.wrapping_sub(self.delta);
        self.last = at;
        self.delta = delta;
        self.count += 1;
        (delta, second)
    }

    /// Every encoding begins with the number of samples in two bytes.
    fn close(self, bits: Bits, encoding: Encoding) -> Chunk {
        let mut data = bits.into_bytes();
        let count = u16::try_from(self.count).unwrap_or(u16::MAX).to_be_bytes();
        for (byte, count) in data.iter_mut().zip(count) {
            *byte = count;
        }
        Chunk { min_time_ms: self.first, max_time_ms: self.last, encoding: encoding.into(), data }
    }
}

struct FloatChunk {
    bits: Bits,
    clock: Clock,
    value: Xor,
}

impl FloatChunk {
    fn starting(sample: Sample) -> Self {
        let mut bits = Bits::after(&[0, 0]);
        bits.varint(sample.at.0);
        bits.double(sample.value);
        Self { bits, clock: Clock::starting(sample.at.0), value: Xor::starting(sample.value) }
    }

    fn push(&mut self, sample: Sample) {
        let (delta, second) = self.clock.advance(sample.at.0);
        if self.clock.count == 2 {
            self.bits.uvarint(delta as u64);
        } else {
            second_delta(&mut self.bits, second);
        }
        self.value.write(&mut self.bits, sample.value);
    }
}

fn second_delta(bits: &mut Bits, value: i64) {
    if value == 0 {
        return bits.push(0, 1);
    }
    for (mark, length, width) in [(0b10, 2, 14), (0b110, 3, 17), (0b1110, 4, 20)] {
        let half = 1_i64 << (width - 1);
        if -(half - 1) <= value && value <= half {
            bits.push(mark, length);
            return bits.push(value as u64, width);
        }
    }
    bits.push(0b1111, 4);
    bits.push(value as u64, 64);
}

struct HistogramChunk<'a> {
    bits: Bits,
    clock: Clock,
    last: &'a Histogram,
    numbers: Vec<Xor>,
}

/// The bits of a chunk's header that say what is known about resets before its first sample.
const RESET: u8 = 0b1000_0000;
const NO_RESET: u8 = 0b0100_0000;
const GAUGE: u8 = 0b1100_0000;

impl<'a> HistogramChunk<'a> {
    fn starting(sample: &'a HistogramSample, before: Option<&Histogram>) -> Self {
        let histogram = &*sample.histogram;
        let flags = match (histogram.reset_hint, before) {
            (ResetHint::Gauge, _) => GAUGE,
            (ResetHint::Reset, _) => RESET,
            (ResetHint::Unknown | ResetHint::NotReset, Some(before)) if !before.is_stale() && !histogram.is_stale() => {
                if is_reset(histogram, before) {
                    RESET
                } else {
                    NO_RESET
                }
            }
            (ResetHint::NotReset, _) => NO_RESET,
            (ResetHint::Unknown, _) => 0,
        };
        let mut bits = Bits::after(&[0, 0, flags]);
        layout(&mut bits, histogram);
        bits.varbit(sample.at.0);
        let mut numbers = Vec::new();
        for value in values(histogram) {
            bits.double(value);
            numbers.push(Xor::starting(value));
        }
        Self { bits, clock: Clock::starting(sample.at.0), last: histogram, numbers }
    }

    /// Whether `histogram` can follow in this chunk: readers take everything after the first sample for "no reset".
    fn takes(&self, histogram: &Histogram) -> bool {
        let last = self.last;
        let is_gauge = |one: &Histogram| one.reset_hint == ResetHint::Gauge;
        self.clock.count < SAMPLES
            && !last.is_stale()
            && !histogram.is_stale()
            && last.schema == histogram.schema
            && last.zero_threshold.to_bits() == histogram.zero_threshold.to_bits()
            && last.positive.spans == histogram.positive.spans
            && last.negative.spans == histogram.negative.spans
            && last.custom_values == histogram.custom_values
            && is_gauge(last) == is_gauge(histogram)
            && histogram.reset_hint != ResetHint::Reset
            && (is_gauge(histogram) || !is_reset(histogram, last))
    }

    fn push(&mut self, sample: &'a HistogramSample) {
        let (_, second) = self.clock.advance(sample.at.0);
        self.bits.varbit(second);
        for (number, value) in self.numbers.iter_mut().zip(values(&sample.histogram)) {
            number.write(&mut self.bits, value);
        }
        self.last = &sample.histogram;
    }
}

/// What is the same for all histograms of a chunk. A staleness marker has nothing but its sum.
fn layout(bits: &mut Bits, histogram: &Histogram) {
    if histogram.is_stale() {
        zero_threshold(bits, 0.0);
        for _ in 0..3 {
            bits.varbit(0);
        }
        return;
    }
    zero_threshold(bits, histogram.zero_threshold);
    bits.varbit(histogram.schema.into());
    spans(bits, &histogram.positive.spans);
    spans(bits, &histogram.negative.spans);
    if histogram.has_custom_buckets() {
        bits.varbit_unsigned(histogram.custom_values.len() as u64);
        for bound in histogram.custom_values.iter() {
            // Upstream has a shorter form for thousandths; readers take both.
            bits.push(0, 1);
            bits.double(*bound);
        }
    }
}

fn spans(bits: &mut Bits, spans: &[BucketSpan]) {
    bits.varbit_unsigned(spans.len() as u64);
    for span in spans {
        bits.varbit_unsigned(span.length.into());
        bits.varbit(span.offset.into());
    }
}

/// One byte for zero and for the usual powers of two, nine for anything else.
fn zero_threshold(bits: &mut Bits, threshold: f64) {
    if threshold == 0.0 {
        return bits.push(0, 8);
    }
    // `threshold` = 0.5 × 2^exponent exactly when no bit of the mantissa is set.
    let exponent = ((threshold.to_bits() >> 52) & 0x7ff) as i64 - 1022;
    let is_power = threshold > 0.0 && threshold.to_bits().trailing_zeros() >= 52;
    if is_power && (-242..=11).contains(&exponent) {
        return bits.push((exponent + 243) as u64, 8);
    }
    bits.push(255, 8);
    bits.double(threshold);
}

/// Everything of a histogram that differs from sample to sample: as many numbers for each histogram of one layout.
fn values(histogram: &Histogram) -> Vec<f64> {
    if histogram.is_stale() {
        return vec![0.0, 0.0, histogram.sum];
    }
    let mut values = vec![histogram.count, histogram.zero_count, histogram.sum];
    for buckets in [&histogram.positive, &histogram.negative] {
        values.extend(&buckets.counts);
    }
    values
}

/// Whether there is a count for each bucket of the spans; a chunk cannot hold anything else.
fn is_sound(histogram: &Histogram) -> bool {
    [&histogram.positive, &histogram.negative].into_iter().all(|buckets| {
        let promised: u64 = buckets.spans.iter().map(|span| u64::from(span.length)).sum();
        promised == buckets.counts.len() as u64
    })
}
