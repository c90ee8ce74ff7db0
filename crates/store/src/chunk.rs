//! Samples packed in memory. Nothing of this is kept on disk, so the layout may change freely.
//!
//! Everything is whole bytes: reading is a run of short steps, and counters and gauges in hundredths take one to three
//! bytes a sample.

use signal::{Sample, TimeRange, Timestamp};

use crate::wire::{Reader, put_signed};

/// Powers of ten a value is tried with.
const SCALES: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// Beyond this, whole numbers are not exact.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// All values are the same bits.
const CONSTANT: u8 = 0;
/// Values as bits, each XORed with the one before.
const BITS: u8 = 1;
/// Values as whole numbers, times a power of ten; the power is added to this.
const DECIMAL: u8 = 2;
/// Set when all samples are equally far apart.
const REGULAR: u8 = 0x80;

/// Samples of ascending time that no longer change.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    first: Timestamp,
    last: Timestamp,
    count: u32,
    bytes: Box<[u8]>,
}

impl Chunk {
    /// Packs samples of strictly ascending time; `None` when there are none.
    ///
    /// `room` is only there to be used again.
    pub(crate) fn pack(samples: &[Sample], room: &mut Vec<u8>) -> Option<Self> {
        let (first, last) = (samples.first()?, samples.last()?);
        room.clear();
        room.push(0);
        let regular = put_times(room, samples);
        let values = put_values(room, samples);
        if let Some(kind) = room.first_mut() {
            *kind = values | regular;
        }
        let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        Some(Self { first: first.at, last: last.at, count, bytes: Box::from(room.as_slice()) })
    }

    /// The same with `more` behind it, of strictly ascending time after this. `None` when all of them have to be packed
    /// anew, because they go together in another way than these alone.
    pub(crate) fn extended(&self, more: &[Sample], room: &mut Vec<u8>) -> Option<Self> {
        let last = more.last()?;
        let (kind, rest) = self.bytes.split_first()?;
        room.clear();
        room.push(*kind);
        let mut bytes = Bytes(rest);
        let mut before = self.last.0;
        let steps = more.iter().map(|sample| sample.at.0.wrapping_sub(std::mem::replace(&mut before, sample.at.0)));
        if kind & REGULAR != 0 {
            // Of one sample it is not known how far apart they will be.
            let step = if self.count > 1 { bytes.signed()? } else { return None };
            if !{ steps }.all(|other| other == step) {
                return None;
            }
            put_signed(room, step);
        } else {
            let mut step = 0_i64;
            for _ in 1..self.count {
                step = step.wrapping_add(bytes.signed()?);
            }
            room.extend_from_slice(rest.get(..rest.len() - bytes.0.len())?);
            for next in steps {
                put_signed(room, next.wrapping_sub(step));
                step = next;
            }
        }
        room.extend_from_slice(bytes.0);
        match kind & !REGULAR {
            CONSTANT => {
                let value = u64::from_le_bytes(bytes.array()?);
                if more.iter().any(|sample| sample.value.to_bits() != value) {
                    return None;
                }
            }
            BITS => {
                let mut value = 0_u64;
                for _ in 0..self.count {
                    value ^= bytes.xored()?;
                }
                for sample in more {
                    put_xored(room, sample.value.to_bits() ^ value);
                    value = sample.value.to_bits();
                }
            }
            decimal => {
                let scale = *SCALES.get(usize::from(decimal - DECIMAL))?;
                let mut number = 0_i64;
                for _ in 0..self.count {
                    number = number.wrapping_add(bytes.signed()?);
                }
                for sample in more {
                    let next = scaled(sample.value, scale)?;
                    put_signed(room, next.wrapping_sub(number));
                    number = next;
                }
            }
        }
        let count = u32::try_from(more.len()).ok().and_then(|more| self.count.checked_add(more))?;
        Some(Self { first: self.first, last: last.at, count, bytes: Box::from(room.as_slice()) })
    }

    pub(crate) fn first(&self) -> Timestamp {
        self.first
    }

    pub(crate) fn last(&self) -> Timestamp {
        self.last
    }

    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        range.overlaps(&TimeRange::new(self.first, self.last))
    }

    /// Adds the samples to `out`.
    pub(crate) fn unpack(&self, out: &mut Vec<Sample>) {
        // Bytes that this module wrote cannot fail to be read; if they did, the chunk would end early.
        let _ = self.try_unpack(out);
    }

    fn try_unpack(&self, out: &mut Vec<Sample>) -> Option<()> {
        let count = self.count();
        let (kind, rest) = self.bytes.split_first()?;
        let mut bytes = Bytes(rest);
        let from = out.len();
        out.reserve(count);
        out.push(Sample { at: self.first, value: 0.0 });
        if kind & REGULAR != 0 {
            let step = if count > 1 { bytes.signed()? } else { 0 };
            let mut at = self.first.0;
            out.extend((1..count).map(|_| {
                at = at.wrapping_add(step);
                Sample { at: Timestamp(at), value: 0.0 }
            }));
        } else {
            let (mut at, mut step) = (self.first.0, 0_i64);
            for _ in 1..count {
                step = step.wrapping_add(bytes.signed()?);
                at = at.wrapping_add(step);
                out.push(Sample { at: Timestamp(at), value: 0.0 });
            }
        }
        let samples = out.get_mut(from..)?;
        match kind & !REGULAR {
            CONSTANT => {
                let value = f64::from_bits(u64::from_le_bytes(bytes.array()?));
                samples.iter_mut().for_each(|sample| sample.value = value);
            }
            BITS => {
                let mut value = 0_u64;
                for sample in samples {
                    value ^= bytes.xored()?;
                    sample.value = f64::from_bits(value);
                }
            }
            decimal => {
                let scale = *SCALES.get(usize::from(decimal - DECIMAL))?;
                let mut number = 0_i64;
                if scale == 1.0 {
                    for sample in samples {
                        number = number.wrapping_add(bytes.signed()?);
                        sample.value = number as f64;
                    }
                } else {
                    for sample in samples {
                        number = number.wrapping_add(bytes.signed()?);
                        sample.value = number as f64 / scale;
                    }
                }
            }
        }
        Some(())
    }
}

/// Answers [`REGULAR`] or nothing.
fn put_times(out: &mut Vec<u8>, samples: &[Sample]) -> u8 {
    let steps = || samples.iter().zip(samples.iter().skip(1)).map(|(a, b)| b.at.0.wrapping_sub(a.at.0));
    let Some(step) = steps().next() else { return REGULAR };
    if steps().all(|other| other == step) {
        put_signed(out, step);
        return REGULAR;
    }
    let mut before = 0;
    for step in steps() {
        put_signed(out, step.wrapping_sub(before));
        before = step;
    }
    0
}

/// Answers how the values are written.
fn put_values(out: &mut Vec<u8>, samples: &[Sample]) -> u8 {
    let first = samples.first().map_or(0, |sample| sample.value.to_bits());
    if samples.iter().all(|sample| sample.value.to_bits() == first) {
        out.extend_from_slice(&first.to_le_bytes());
        return CONSTANT;
    }
    if let Some(power) = scale(samples) {
        let by = SCALES.get(power).copied().unwrap_or(1.0);
        let mut before = 0_i64;
        for sample in samples {
            let number = nearest(sample.value * by) as i64;
            put_signed(out, number.wrapping_sub(before));
            before = number;
        }
        return DECIMAL + power as u8;
    }
    let mut before = 0;
    for sample in samples {
        put_xored(out, sample.value.to_bits() ^ before);
        before = sample.value.to_bits();
    }
    BITS
}

/// The smallest power of ten that makes every value a whole number and gives it back by division, bit for bit.
fn scale(samples: &[Sample]) -> Option<usize> {
    let mut by = 1.0;
    let (mut power, mut changed) = (0, 0);
    for (at, sample) in samples.iter().enumerate() {
        while scaled(sample.value, by).is_none() {
            power += 1;
            by = *SCALES.get(power)?;
            changed = at;
        }
    }
    // A power that a later value needs must also fit those before it.
    samples.iter().take(changed).all(|sample| scaled(sample.value, by).is_some()).then_some(power)
}

/// The whole number next to a value that is not too large; without a call where the processor has no instruction for it.
fn nearest(value: f64) -> f64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    if value.abs() < 2_251_799_813_685_248.0 { (value + SHIFT) - SHIFT } else { value.round_ties_even() }
}

/// A value as a whole number, if dividing that gives it back bit for bit.
fn scaled(value: f64, scale: f64) -> Option<i64> {
    let number = nearest(value * scale);
    let is_same = number.abs() < WHOLE && (number as i64 as f64 / scale).to_bits() == value.to_bits();
    is_same.then_some(number as i64)
}

/// A byte that tells how many zero bytes there are at the end and how many bytes are left, then those.
fn put_xored(out: &mut Vec<u8>, bits: u64) {
    if bits == 0 {
        out.push(0);
        return;
    }
    let low = bits.trailing_zeros() / 8;
    let used = 8 - bits.leading_zeros() / 8 - low;
    out.push((low << 4 | used) as u8);
    out.extend((bits >> (8 * low)).to_le_bytes().iter().take(used as usize));
}

/// Bytes taken from the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn signed(&mut self) -> Option<i64> {
        let mut reader = Reader::new(self.0);
        let value = reader.signed().ok();
        self.0 = reader.rest();
        value
    }

    fn xored(&mut self) -> Option<u64> {
        let (head, rest) = self.0.split_first()?;
        let (low, used) = (u32::from(head >> 4), usize::from(head & 0xf));
        let (bytes, rest) = rest.split_at_checked(used)?;
        self.0 = rest;
        let bits = bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        bits.checked_shl(8 * low)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use signal::stale_marker;

    use super::*;

    fn samples(values: &[f64]) -> Vec<Sample> {
        let at = |step: usize| Timestamp(1_700_000_000_000 + step as i64 * 15_000);
        values.iter().enumerate().map(|(step, value)| Sample { at: at(step), value: *value }).collect()
    }

    fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
        samples.iter().map(|sample| (sample.at.0, sample.value.to_bits())).collect()
    }

    fn back(chunk: &Chunk) -> Vec<Sample> {
        let mut samples = Vec::new();
        chunk.unpack(&mut samples);
        samples
    }

    #[test]
    fn usual_values_take_little() {
        let seconds = |step: i32| f64::from(step * 7919 % 1000) / 1000.0;
        for (case, values, most_bytes) in [
            ("constant", vec![1.0; 120], 12),
            ("counter", (0..120).map(|step| f64::from(step * 37 + step % 11)).collect(), 140),
            ("hundredths", (0..120).map(|step| f64::from(step * 1234) / 100.0).collect(), 250),
            ("milliseconds", (0..120).map(seconds).collect(), 250),
            ("irrational", (0..120).map(|step| f64::from(step).sqrt()).collect(), 1000),
            ("ends stale", (0..120).map(|step| if step == 119 { stale_marker() } else { 1.0 }).collect(), 150),
            ("minus zero", vec![0.0, -0.0, 0.0], 20),
            ("large", vec![1e300, -1e15, 9_007_199_254_740_993.0], 40),
            ("one", vec![0.1], 10),
        ] {
            let want = samples(&values);
            let chunk = Chunk::pack(&want, &mut Vec::new()).unwrap();
            assert_eq!(bits(&back(&chunk)), bits(&want), "{case}");
            assert!(chunk.bytes.len() <= most_bytes, "{case}: {} bytes", chunk.bytes.len());
        }
        assert!(Chunk::pack(&[], &mut Vec::new()).is_none());
    }

    proptest! {
        #[test]
        fn every_bit_survives(points in proptest::collection::vec((any::<i64>(), any::<u64>()), 1..130)) {
            let want: Vec<_> =
                points.into_iter().map(|(at, bits)| Sample { at: Timestamp(at), value: f64::from_bits(bits) }).collect();
            prop_assert_eq!(bits(&back(&Chunk::pack(&want, &mut vec![7]).unwrap())), bits(&want));
        }

        #[test]
        fn extending_is_packing_all(
            numbers in proptest::collection::vec((0_i64..3, -300_i64..300), 2..130),
            kind in 0..4,
            is_regular in any::<bool>(),
            split in 1_usize..129,
        ) {
            let mut at = 0;
            let all: Vec<_> = numbers.iter().map(|(step, number)| {
                at += if is_regular { 15_000 } else { 1 + step };
                let value = match kind {
                    0 => 1.0,
                    1 => *number as f64,
                    2 => *number as f64 / 100.0,
                    _ => (*number as f64).sqrt(),
                };
                Sample { at: Timestamp(at), value }
            }).collect();
            let (front, back) = all.split_at(split.min(all.len() - 1));
            let whole = Chunk::pack(&all, &mut Vec::new()).unwrap();
            let part = Chunk::pack(front, &mut Vec::new()).unwrap();
            if let Some(extended) = part.extended(back, &mut vec![7]) {
                prop_assert_eq!((extended.first, extended.last, extended.count), (whole.first, whole.last, whole.count));
                prop_assert_eq!(extended.bytes, whole.bytes);
            } else if is_regular && (kind == 0 || kind == 1 && part.bytes.first() == whole.bytes.first()) {
                prop_assert!(front.len() == 1, "a counter goes on");
            }
        }

        #[test]
        fn decimals_survive(numbers in proptest::collection::vec(-9_000_000_000_000_000_i64..9_000_000_000_000_000, 1..130), scale in 0_usize..7) {
            let values: Vec<_> = numbers.into_iter().map(|number| number as f64 / SCALES[scale]).collect();
            let want = samples(&values);
            prop_assert_eq!(bits(&back(&Chunk::pack(&want, &mut vec![7]).unwrap())), bits(&want));
        }
    }
}
