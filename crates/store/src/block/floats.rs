//! The values of a run of samples.
//!
//! Most are decimals with a few digits: they are kept as whole numbers and the power of ten that divides them. Others are
//! kept as the whole numbers their bits are, in an order in which close values are close numbers, or, when they are few,
//! once each and then by their number. Staleness markers and the few that do not fit stand beside. Every bit of a value
//! survives.

use std::ops::Range;

use super::ints;
use crate::wire::{DecodeError, Reader, put_len};

const DECIMAL: u8 = 0;
const BITS: u8 = 1;
const EXCEPTIONS: u8 = 1 << 1;
const DISTINCT: u8 = BITS | EXCEPTIONS;
const EXPONENT_SHIFT: u32 = 2;

/// The powers of ten that decimals are divided by; each is exact.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
/// Whole numbers below are exact floats.
const WHOLE: f64 = 9_007_199_254_740_992.0;
/// Values looked at before it is decided whether they are decimals.
const TRIED: usize = 24;

/// Room that encoding and decoding need, to be used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    whole: Vec<i64>,
    exceptions: Vec<(usize, f64)>,
    distinct: Vec<i64>,
    ints: ints::Scratch,
}

/// Writes `values` behind `out`; whoever reads knows how many there are.
pub(super) fn encode(values: &[f64], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let Scratch { whole, exceptions, distinct, ints } = scratch;
    // Usually a few values tell the exponent of all.
    let mut exponent = exponent_of(values.iter().step_by(values.len() / TRIED + 1));
    if let Some(some) = exponent {
        take_decimals(values, some, whole, exceptions);
        if !exceptions.is_empty() {
            exponent = exponent_of(values.iter()).filter(|exponent| {
                take_decimals(values, *exponent, whole, exceptions);
                exceptions.len() <= values.len() / 16 + 1
            });
        }
    }
    match exponent {
        Some(exponent) if exceptions.is_empty() => out.push(DECIMAL | (exponent as u8) << EXPONENT_SHIFT),
        Some(exponent) => {
            out.push(DECIMAL | EXCEPTIONS | (exponent as u8) << EXPONENT_SHIFT);
            put_len(out, exceptions.len());
            let mut next = 0;
            for (place, value) in exceptions.iter() {
                put_len(out, place - next);
                out.extend_from_slice(&value.to_bits().to_le_bytes());
                next = place + 1;
            }
        }
        None => {
            whole.clear();
            whole.extend(values.iter().map(|value| ordered(*value)));
            number_distinct(whole, distinct, out);
        }
    }
    ints::encode(whole, ints, out);
}

/// Says whether numbers are kept as they are, or each once; in that case they become places among those.
fn number_distinct(whole: &mut [i64], distinct: &mut Vec<i64>, out: &mut Vec<u8>) {
    distinct.clear();
    distinct.extend_from_slice(whole);
    distinct.sort_unstable();
    distinct.dedup();
    // Numbers without much in common take most of their eight bytes each time.
    let is_worth_it = distinct.len() > 1 && distinct.len() <= whole.len() / 4;
    if !is_worth_it {
        out.push(BITS);
        return;
    }
    out.push(DISTINCT);
    put_len(out, distinct.len());
    distinct.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    for number in whole {
        *number = distinct.partition_point(|known| known < number) as i64;
    }
}

/// The power of ten that makes values whole numbers; `None` when they are no decimals.
fn exponent_of<'a>(values: impl Iterator<Item = &'a f64>) -> Option<usize> {
    let mut exponent = 0;
    let mut others = 0;
    for (at, value) in values.enumerate() {
        if decimal(*value, exponent).is_some() {
            continue;
        }
        let found = (exponent + 1..POWERS.len()).find(|exponent| decimal(*value, *exponent).is_some());
        match found {
            Some(found) => exponent = found,
            None => others += 1,
        }
        if others > TRIED / 2 && others > at / 16 {
            return None;
        }
    }
    Some(exponent)
}

fn take_decimals(values: &[f64], exponent: usize, whole: &mut Vec<i64>, exceptions: &mut Vec<(usize, f64)>) {
    whole.clear();
    exceptions.clear();
    let mut last = None;
    for (place, value) in values.iter().enumerate() {
        let number = match decimal(*value, exponent) {
            Some(number) => {
                if last.is_none() {
                    whole.fill(number);
                }
                last = Some(number);
                number
            }
            None => {
                exceptions.push((place, *value));
                last.unwrap_or_default()
            }
        };
        whole.push(number);
    }
}

/// The whole number that gives back every bit of `value` when it is divided by the power of ten.
fn decimal(value: f64, exponent: usize) -> Option<i64> {
    let power = POWERS.get(exponent)?;
    let scaled = value * power;
    if scaled.is_nan() || scaled.abs() >= WHOLE {
        return None;
    }
    let number = if exponent == 0 { scaled as i64 } else { (scaled + 0.5_f64.copysign(scaled)) as i64 };
    ((number as f64 / power).to_bits() == value.to_bits()).then_some(number)
}

/// The bits of a value as a number that rises with it.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn unordered(number: i64) -> f64 {
    f64::from_bits((number ^ ((number >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
}

/// Reads the values in `wanted`, of `count`, into `out`, which is emptied before.
pub(super) fn decode(
    bytes: &[u8],
    count: usize,
    wanted: Range<usize>,
    whole: &mut Vec<i64>,
    out: &mut Vec<f64>,
) -> Result<(), DecodeError> {
    out.clear();
    whole.clear();
    let mut reader = Reader::new(bytes);
    let kind = reader.byte()?;
    if kind == BITS {
        ints::decode(reader.rest(), count, wanted, whole)?;
        out.extend(whole.iter().map(|number| unordered(*number)));
        return Ok(());
    }
    if kind == DISTINCT {
        let count_of_distinct = reader.count()?;
        let (distinct, rest) = reader
            .rest()
            .split_at_checked(count_of_distinct.saturating_mul(8))
            .ok_or(DecodeError("values end early"))?;
        ints::decode(rest, count, wanted, whole)?;
        let (distinct, _) = distinct.as_chunks::<8>();
        let value = |place: &i64| {
            let number = usize::try_from(*place).ok().and_then(|place| distinct.get(place));
            number.map(|bytes| unordered(i64::from_le_bytes(*bytes))).ok_or(DecodeError("a value is not there"))
        };
        for place in whole.iter() {
            out.push(value(place)?);
        }
        return Ok(());
    }
    let power = POWERS.get(usize::from(kind >> EXPONENT_SHIFT)).filter(|_| kind & BITS == 0);
    let power = *power.ok_or(DecodeError("values have an unknown shape"))?;
    let mut exceptions = reader;
    if kind & EXCEPTIONS != 0 {
        for _ in 0..reader.count()? {
            reader.index()?;
            reader.array::<8>()?;
        }
    }
    ints::decode(reader.rest(), count, wanted.clone(), whole)?;
    if power == 1.0 {
        out.extend(whole.iter().map(|number| *number as f64));
    } else {
        out.extend(whole.iter().map(|number| *number as f64 / power));
    }
    if kind & EXCEPTIONS != 0 {
        let mut next = 0_usize;
        for _ in 0..exceptions.count()? {
            let place = next.saturating_add(exceptions.index()?);
            let value = f64::from_bits(u64::from_le_bytes(exceptions.array()?));
            if place >= count {
                return Err(DecodeError("an exception lies outside its values"));
            }
            if let Some(slot) = place.checked_sub(wanted.start).and_then(|place| out.get_mut(place)) {
                *slot = value;
            }
            next = place + 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::tests::values::values;

    fn there_and_back(values: &[f64]) -> usize {
        let mut bytes = Vec::new();
        encode(values, &mut Scratch::default(), &mut bytes);
        let all = values.len();
        for wanted in [0..all, 0..all / 2, all / 3..all, all.saturating_sub(1)..all] {
            let mut read = vec![1.0];
            decode(&bytes, all, wanted.clone(), &mut Vec::new(), &mut read).unwrap();
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&read), bits(&values[wanted]));
        }
        bytes.len()
    }

    #[test]
    fn special_values_keep_their_bits() {
        let stale = signal::stale_marker();
        let cases: [(&str, Vec<f64>, usize); 11] = [
            ("thirds", (0..480).map(|at| f64::from(at * at % 5) / 3.0).collect(), 260),
            ("whole numbers", (0..480).map(|at| f64::from(at * 3)).collect(), 20),
            ("hundredths", (0..480).map(|at| f64::from(at * 7) / 100.0).collect(), 20),
            ("tenths below zero", (0..480).map(|at| f64::from(at * -7) / 10.0).collect(), 20),
            ("one number", vec![0.1; 480], 4),
            ("ends stale", (0..480).map(|at| if at == 479 { stale } else { f64::from(at) }).collect(), 40),
            ("begins stale", (0..480).map(|at| if at == 0 { stale } else { f64::from(at) + 1e9 }).collect(), 50),
            ("zeros of both signs", vec![0.0, -0.0, 0.0, -0.0], 64),
            ("no numbers", vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, stale, f64::MIN, f64::MAX], 120),
            ("smallest", vec![f64::MIN_POSITIVE, 5e-324, -5e-324, 1e-15, 123_456_789e-15], 90),
            ("beyond whole", vec![9_007_199_254_740_992.0, 9_007_199_254_740_994.0, 1e22, 1e23], 60),
        ];
        for (case, values, most) in cases {
            let bytes = there_and_back(&values);
            assert!(bytes <= most, "{case}: {bytes} bytes");
        }
        for value in [0.0, -0.0, 1.5, -1.5, f64::NAN, -f64::NAN, stale, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(unordered(ordered(value)).to_bits(), value.to_bits(), "{value}");
        }
        assert!(ordered(-2.0) < ordered(-1.0) && ordered(-1.0) < ordered(0.0) && ordered(0.0) < ordered(1.0));
    }

    proptest! {
        #[test]
        fn values_survive(values in values(600)) {
            there_and_back(&values);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0_usize..5000) {
            let mut out = Vec::new();
            if decode(&bytes, count, 0..count, &mut Vec::new(), &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
        }
    }
}
