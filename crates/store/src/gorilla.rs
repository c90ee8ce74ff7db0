//! Samples as bits: delta-of-delta timestamps and XORed values, after "Gorilla: A Fast, Scalable, In-Memory Time Series
//! Database" (VLDB 2015, section 4.1). The buckets are narrower than the paper's because scrapes jitter by a few
//! milliseconds. Kept in memory only, so the layout may change freely. Every bit of a value survives.

use signal::{Sample, Timestamp};

use crate::bits::{BitReader, BitWriter};

/// Takes samples of ascending time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Encoder {
    bits: BitWriter,
    times: Times,
    count: u32,
    first: i64,
    value: u64,
    leading: u32,
    trailing: u32,
    has_window: bool,
}

impl Encoder {
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn first(&self) -> Timestamp {
        Timestamp(self.first)
    }

    pub(crate) fn last(&self) -> Timestamp {
        Timestamp(self.times.at)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bits.bytes()
    }

    /// Adds a sample; its time must lie after the last one's.
    pub(crate) fn push(&mut self, sample: Sample) {
        let value = sample.value.to_bits();
        self.times.put(&mut self.bits, sample.at, self.count == 0);
        if self.count == 0 {
            self.bits.write(value, 64);
            self.first = sample.at.0;
        } else {
            self.push_xor(value ^ self.value);
        }
        self.value = value;
        self.count += 1;
    }

    fn push_xor(&mut self, xor: u64) {
        if xor == 0 {
            self.bits.write(0b0, 1);
            return;
        }
        let leading = xor.leading_zeros().min(31);
        let trailing = xor.trailing_zeros();
        if self.has_window && leading >= self.leading && trailing >= self.trailing {
            self.bits.write(0b10, 2);
            self.bits.write(xor >> self.trailing, 64 - self.leading - self.trailing);
            return;
        }
        let len = 64 - leading - trailing;
        self.bits.write(0b11, 2);
        self.bits.write(u64::from(leading), 5);
        self.bits.write(u64::from(len - 1), 6);
        self.bits.write(xor >> trailing, len);
        (self.leading, self.trailing, self.has_window) = (leading, trailing, true);
    }
}

/// Instants as changes of the distance between neighbours, most of them zero or small.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    at: i64,
    delta: i64,
}

/// Prefix, its length, and the bits that follow, for small changes of the delta.
const BUCKETS: [(u64, u32, u32); 3] = [(0b10, 2, 7), (0b110, 3, 13), (0b1110, 4, 20)];

impl Times {
    pub(crate) fn put(&mut self, bits: &mut BitWriter, at: Timestamp, is_first: bool) {
        if is_first {
            bits.write(at.0 as u64, 64);
        } else {
            // Wrapping on both sides makes the round trip exact even between the two ends of time.
            let delta = at.0.wrapping_sub(self.at);
            put_change(bits, delta.wrapping_sub(self.delta));
            self.delta = delta;
        }
        self.at = at.0;
    }

    pub(crate) fn take(&mut self, bits: &mut BitReader<'_>, is_first: bool) -> Option<Timestamp> {
        if is_first {
            self.at = bits.read(64)? as i64;
        } else {
            self.delta = self.delta.wrapping_add(take_change(bits)?);
            self.at = self.at.wrapping_add(self.delta);
        }
        Some(Timestamp(self.at))
    }
}

fn put_change(bits: &mut BitWriter, change: i64) {
    if change == 0 {
        bits.write(0b0, 1);
        return;
    }
    for (prefix, prefix_len, len) in BUCKETS {
        let half = 1_i64 << (len - 1);
        if (-half..half).contains(&change) {
            bits.write(prefix, prefix_len);
            bits.write((change + half) as u64, len);
            return;
        }
    }
    bits.write(0b1111, 4);
    bits.write(change as u64, 64);
}

fn take_change(bits: &mut BitReader<'_>) -> Option<i64> {
    if bits.read(1)? == 0 {
        return Some(0);
    }
    for (_, _, len) in BUCKETS {
        if bits.read(1)? == 0 {
            return Some(bits.read(len)? as i64 - (1_i64 << (len - 1)));
        }
    }
    Some(bits.read(64)? as i64)
}

/// Appends what `bytes` hold to `samples`; stops early when the bytes end early.
pub(crate) fn decode(bytes: &[u8], count: u32, samples: &mut Vec<Sample>) {
    samples.reserve(count as usize);
    let mut decoder = Decoder { bits: BitReader::new(bytes), times: Times::default(), value: 0, leading: 0, len: 64 };
    for position in 0..count {
        let Some(sample) = decoder.next(position == 0) else { return };
        samples.push(sample);
    }
}

struct Decoder<'a> {
    bits: BitReader<'a>,
    times: Times,
    value: u64,
    leading: u32,
    len: u32,
}

impl Decoder<'_> {
    fn next(&mut self, first: bool) -> Option<Sample> {
        let at = self.times.take(&mut self.bits, first)?;
        if first {
            self.value = self.bits.read(64)?;
        } else {
            self.value ^= self.xor()?;
        }
        Some(Sample { at, value: f64::from_bits(self.value) })
    }

    fn xor(&mut self) -> Option<u64> {
        if self.bits.read(1)? == 0 {
            return Some(0);
        }
        if self.bits.read(1)? == 1 {
            self.leading = self.bits.read(5)? as u32;
            self.len = self.bits.read(6)? as u32 + 1;
        }
        let trailing = 64_u32.checked_sub(self.leading)?.checked_sub(self.len)?;
        self.bits.read(self.len).map(|bits| bits << trailing)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(samples: &[Sample]) -> Encoder {
        let mut encoder = Encoder::default();
        samples.iter().for_each(|sample| encoder.push(*sample));
        encoder
    }

    fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
        samples.iter().map(|sample| (sample.at.0, sample.value.to_bits())).collect()
    }

    #[test]
    fn a_scrape_costs_less_than_six_bytes_a_sample() {
        // A counter, a gauge with two decimals and a constant, 15 s apart with 2 ms of jitter.
        let mut total = 0;
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for kind in 0..3 {
            let mut counter = 0.0;
            let samples: Vec<_> = (0..120_i64)
                .map(|step| {
                    counter += random(100) as f64;
                    let value = [counter, random(10_000) as f64 / 100.0, 1.0][kind];
                    Sample { at: Timestamp(1_700_000_000_000 + step * 15_000 + random(3) as i64), value }
                })
                .collect();
            total += encode(&samples).bytes().len();
        }
        assert!(total < 6 * 360, "{total} bytes for 360 samples");
    }

    proptest! {
        #[test]
        fn every_bit_survives(values in proptest::collection::btree_map(any::<i64>(), any::<u64>(), 0..200)) {
            let samples: Vec<_> = values.into_iter().map(|(at, value)| Sample { at: Timestamp(at), value: f64::from_bits(value) }).collect();
            let encoder = encode(&samples);
            let mut back = Vec::new();
            decode(encoder.bytes(), encoder.count(), &mut back);
            prop_assert_eq!(bits(&back), bits(&samples));
        }

        #[test]
        fn near_neighbours_survive(steps in proptest::collection::vec((1_i64..200_000, -50_i64..50), 1..200)) {
            let mut at = 0;
            let samples: Vec<_> = steps.iter().map(|(step, value)| { at += step; Sample { at: Timestamp(at), value: *value as f64 / 4.0 } }).collect();
            let encoder = encode(&samples);
            let mut back = Vec::new();
            decode(encoder.bytes(), encoder.count(), &mut back);
            prop_assert_eq!(bits(&back), bits(&samples));
        }

        #[test]
        fn broken_bytes_end_early(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut back = Vec::new();
            decode(&bytes, 120, &mut back);
            prop_assert!(back.len() <= 120);
        }
    }
}
