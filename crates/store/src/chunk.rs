//! Samples that no longer change, as small as they get. Kept in memory only, so the layout may change freely.

use std::sync::Arc;

use signal::Sample;

use crate::bits::{BitReader, BitWriter};
use crate::gorilla::{self, Times};

/// Powers of ten a value is tried with.
const SCALES: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// Beyond this, whole numbers are not exact.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Packed samples.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    count: u32,
    coding: Coding,
    bytes: Arc<[u8]>,
}

#[derive(Clone, Copy, Debug)]
enum Coding {
    /// See [`gorilla`].
    Xor,
    /// Whole numbers over a common power of ten: the first in full, then the differences, all of one width.
    Decimal { scale: f64, width: u32 },
}

impl Packed {
    /// Packs samples of ascending time, in the smaller of two ways.
    pub(crate) fn new(samples: &gorilla::Encoder) -> Self {
        let mut plain = Vec::new();
        gorilla::decode(samples.bytes(), samples.count(), &mut plain);
        let count = samples.count();
        match pack_decimal(&plain) {
            Some((coding, bytes)) if bytes.len() < samples.bytes().len() => {
                Self { count, coding, bytes: Arc::from(bytes) }
            }
            Some(_) | None => Self { count, coding: Coding::Xor, bytes: Arc::from(samples.bytes()) },
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Appends the samples to `samples`.
    pub(crate) fn unpack(&self, samples: &mut Vec<Sample>) {
        match self.coding {
            Coding::Xor => gorilla::decode(&self.bytes, self.count, samples),
            Coding::Decimal { scale, width } => unpack_decimal(&self.bytes, self.count, scale, width, samples),
        }
    }
}

fn pack_decimal(samples: &[Sample]) -> Option<(Coding, Vec<u8>)> {
    let (scale, numbers) = SCALES.into_iter().find_map(|scale| Some((scale, whole_numbers(samples, scale)?)))?;
    let differences = numbers.iter().zip(numbers.iter().skip(1)).map(|(before, after)| zigzag(after - before));
    let width = 64 - differences.max().unwrap_or(0).leading_zeros();
    let (mut bits, mut times) = (BitWriter::default(), Times::default());
    let mut before = None;
    for (sample, number) in samples.iter().zip(numbers) {
        times.put(&mut bits, sample.at, before.is_none());
        match before {
            None => bits.write(number as u64, 64),
            Some(before) => bits.write(zigzag(number - before), width),
        }
        before = Some(number);
    }
    Some((Coding::Decimal { scale, width }, bits.bytes().to_vec()))
}

/// Every value times `scale`, when that gives whole numbers which give back each value bit by bit.
fn whole_numbers(samples: &[Sample], scale: f64) -> Option<Vec<i64>> {
    let whole = |value: f64| {
        let scaled = (value * scale).round();
        let number = scaled as i64;
        (scaled.abs() < WHOLE && (number as f64 / scale).to_bits() == value.to_bits()).then_some(number)
    };
    samples.iter().map(|sample| whole(sample.value)).collect()
}

fn unpack_decimal(bytes: &[u8], count: u32, scale: f64, width: u32, samples: &mut Vec<Sample>) {
    samples.reserve(count as usize);
    let (mut bits, mut times, mut number) = (BitReader::new(bytes), Times::default(), 0_i64);
    for position in 0..count {
        let is_first = position == 0;
        let Some(at) = times.take(&mut bits, is_first) else { return };
        let Some(read) = bits.read(if is_first { 64 } else { width }) else { return };
        number = if is_first { read as i64 } else { number.wrapping_add(unzigzag(read)) };
        samples.push(Sample { at, value: number as f64 / scale });
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use signal::{Timestamp, stale_marker};

    use super::*;

    fn pack(values: &[f64]) -> (Packed, Vec<(i64, u64)>) {
        let mut encoder = gorilla::Encoder::default();
        let samples = values
            .iter()
            .enumerate()
            .map(|(step, value)| Sample { at: Timestamp(step as i64 * 15_000), value: *value });
        samples.clone().for_each(|sample| encoder.push(sample));
        (Packed::new(&encoder), samples.map(|sample| (sample.at.0, sample.value.to_bits())).collect())
    }

    fn unpack(packed: &Packed) -> Vec<(i64, u64)> {
        let mut samples = Vec::new();
        packed.unpack(&mut samples);
        samples.iter().map(|sample| (sample.at.0, sample.value.to_bits())).collect()
    }

    #[test]
    fn usual_values_take_little() {
        let seconds = |step: i32| f64::from(step * 7919 % 1000) / 1000.0;
        for (case, values, most_bytes) in [
            ("constant", vec![1.0; 120], 40),
            ("counter", (0..120).map(|step| f64::from(step * 37 + step % 11)).collect(), 200),
            ("milliseconds", (0..120).map(seconds).collect(), 240),
            ("irrational", (0..120).map(|step| f64::from(step).sqrt()).collect(), 1000),
            (
                "ends stale",
                (0..120).map(|step| if step == 119 { stale_marker() } else { f64::from(step) }).collect(),
                1000,
            ),
            ("minus zero", vec![0.0, -0.0, 0.0], 100),
            ("large", vec![1e300, -1e15, 9_007_199_254_740_993.0], 100),
            ("one", vec![0.1], 20),
        ] {
            let (packed, want) = pack(&values);
            assert_eq!(unpack(&packed), want, "{case}");
            assert!(packed.bytes.len() <= most_bytes, "{case}: {} bytes", packed.bytes.len());
        }
    }

    proptest! {
        #[test]
        fn every_bit_survives(bits in proptest::collection::vec(any::<u64>(), 1..130)) {
            let values: Vec<_> = bits.into_iter().map(f64::from_bits).collect();
            let (packed, want) = pack(&values);
            prop_assert_eq!(unpack(&packed), want);
        }

        #[test]
        fn decimals_survive(numbers in proptest::collection::vec(-9_000_000_000_000_000_i64..9_000_000_000_000_000, 1..130), scale in 0_usize..7) {
            let values: Vec<_> = numbers.into_iter().map(|number| number as f64 / SCALES[scale]).collect();
            let (packed, want) = pack(&values);
            prop_assert_eq!(unpack(&packed), want);
        }
    }
}
