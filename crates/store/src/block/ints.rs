//! A column of whole numbers.
//!
//! Each number is told from the ones before it, what is left is divided by what all of it has in common, and the rest is
//! written 128 at a time in the shape that is shortest for those. What repeats costs next to nothing, and a counter's or
//! a gauge's noise costs about what it holds. Every bit of a number survives; sums wrap.

mod groups;

use std::ops::Range;

use self::groups::{GROUP, length, put_group, take_group};
use super::bitstream::{BitReader, BitWriter};
use crate::wire::{DecodeError, Reader, put_len, put_signed, put_varint};

/// How the next number is told from those before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guess {
    /// The first one again.
    Level,
    /// The last one again.
    Step,
    /// The last change again.
    Slope,
    /// On a straight line, so much further each time.
    Line(i64),
}

const CONSTANT: u8 = 1 << 3;
const SIGNED: u8 = 1 << 2;
const DIVIDED: u8 = 1 << 4;
const KNOWN: u8 = 0x1f;

/// Room that encoding needs, to be used again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    units: Vec<i64>,
    rest: Vec<i64>,
    folded: Vec<u64>,
    groups: Vec<u8>,
}

/// Writes `values` behind `out`; whoever reads knows how many there are.
pub(crate) fn encode(values: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let Some(first) = values.first().copied() else { return };
    let common = common_factor(values, first);
    if common == 0 {
        out.push(CONSTANT);
        put_signed(out, first);
        return;
    }
    let Scratch { units, rest, folded, groups } = scratch;
    units.clear();
    if common == 1 {
        units.extend(values.iter().map(|value| value.wrapping_sub(first)));
    } else {
        units.extend(values.iter().map(|value| value.wrapping_sub(first) / common));
    }
    let guess = best_guess(units, rest);
    guess.apart(units, rest);
    let (base, is_signed) = best_base(rest);
    let kind = match guess {
        Guess::Level => 0,
        Guess::Step => 1,
        Guess::Slope => 2,
        Guess::Line(_) => 3,
    };
    out.push(kind | if is_signed { SIGNED } else { 0 } | if common == 1 { 0 } else { DIVIDED });
    put_signed(out, first);
    if common != 1 {
        put_varint(out, common.unsigned_abs());
    }
    if let Guess::Line(slope) = guess {
        put_signed(out, slope);
    }
    put_signed(out, base);
    fold(rest, base, is_signed, folded);
    groups.clear();
    let mut before = 0;
    for (number, group) in folded.chunks(GROUP).enumerate() {
        let start = groups.len();
        let mut bits = BitWriter::after(std::mem::take(groups));
        put_group(group, &mut bits);
        *groups = bits.finish();
        // Behind a group that is not the last: where the next one begins, and what its sums begin with.
        let next = units.get(number * GROUP..).and_then(|units| units.get(GROUP - 1..=GROUP));
        if let Some([last_but_one, last]) = next
            && folded.len() > (number + 1) * GROUP
        {
            put_len(out, groups.len() - start);
            let whole = last.wrapping_sub(before);
            match guess {
                Guess::Level | Guess::Line(_) => {}
                Guess::Step => put_signed(out, whole.wrapping_sub(base.wrapping_mul(GROUP as i64))),
                Guess::Slope => {
                    put_signed(out, whole);
                    put_signed(out, last.wrapping_sub(*last_but_one));
                }
            }
            before = *last;
        }
    }
    out.extend_from_slice(groups);
}

/// What every distance from `first` is a multiple of: zero when all are zero.
fn common_factor(values: &[i64], first: i64) -> i64 {
    let mut common = 0_u64;
    for value in values {
        let distance = value.wrapping_sub(first).unsigned_abs();
        if common == 0 {
            common = distance;
        } else if common.is_power_of_two() {
            // The usual case, without a division.
            common = common.min(1 << (common | distance).trailing_zeros());
        } else if !distance.is_multiple_of(common) {
            common = greatest_common(common, distance);
        }
        if common == 1 {
            return 1;
        }
    }
    i64::try_from(common).unwrap_or(1)
}

fn greatest_common(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The guess that leaves the fewest bits where it is tried: everywhere in a short column, in four places of a long one.
fn best_guess(units: &[i64], rest: &mut Vec<i64>) -> Guess {
    const TRIED: usize = 48;
    let len = units.len();
    let whole = units.last().copied().unwrap_or_default();
    let slope = whole.checked_div(len as i64 - 1).unwrap_or_default();
    let mut best = (u64::MAX, Guess::Step);
    let step = if len <= 4 * TRIED { TRIED } else { (len - TRIED) / 3 };
    for guess in [Guess::Step, Guess::Level, Guess::Slope, Guess::Line(slope)] {
        rest.clear();
        for start in (0..len.saturating_sub(1)).step_by(step) {
            // One number before the place, so that there is a first change.
            let tried = units.get(start..len.min(start + TRIED + 1)).unwrap_or_default();
            guess.apart_from(start as i64, tried, rest);
        }
        let middle = sampled(rest).1;
        let bits: u64 = rest.iter().map(|rest| u64::from(length(rest.wrapping_sub(middle).unsigned_abs()))).sum();
        if bits < best.0 {
            best = (bits, guess);
        }
        // Nothing is shorter than nothing.
        if bits == 0 {
            break;
        }
    }
    best.1
}

impl Guess {
    /// What the guess leaves of all numbers but the first.
    fn apart(self, units: &[i64], rest: &mut Vec<i64>) {
        rest.clear();
        self.apart_from(0, units, rest);
    }

    /// Adds what the guess leaves of all of `units` but the first, which is number `place` of its column.
    fn apart_from(self, place: i64, units: &[i64], rest: &mut Vec<i64>) {
        let Some((first, others)) = units.split_first() else { return };
        match self {
            Self::Level => rest.extend_from_slice(others),
            Self::Step => rest.extend(units.iter().zip(others).map(|(before, unit)| unit.wrapping_sub(*before))),
            Self::Slope => {
                // In the middle of a column the change before is not known, and one number does not matter.
                let mut step = if place == 0 { 0 } else { others.first().map_or(0, |next| next.wrapping_sub(*first)) };
                rest.extend(units.iter().zip(others).map(|(before, unit)| {
                    let next = unit.wrapping_sub(*before);
                    let change = next.wrapping_sub(step);
                    step = next;
                    change
                }));
            }
            Self::Line(slope) => {
                let mut expected = slope.wrapping_mul(place);
                rest.extend(others.iter().map(|unit| {
                    expected = expected.wrapping_add(slope);
                    unit.wrapping_sub(expected)
                }));
            }
        }
    }
}

/// A low, the middle and a high one of the numbers, from a few of them.
fn sampled(values: &[i64]) -> (i64, i64, i64) {
    const FEW: usize = 31;
    let mut few = [0_i64; FEW];
    let step = values.len().div_ceil(FEW).max(1);
    let mut len = 0;
    for (slot, value) in few.iter_mut().zip(values.iter().step_by(step)) {
        *slot = *value;
        len += 1;
    }
    let Some(few) = few.get_mut(..len) else { return (0, 0, 0) };
    few.sort_unstable();
    let at = |place: usize| few.get(place).copied().unwrap_or_default();
    (at(len / 4), at(len / 2), at(len * 3 / 4))
}

/// What to take off every number, and whether what is then left lies on both sides of zero.
fn best_base(rest: &[i64]) -> (i64, bool) {
    let (low, middle, high) = sampled(rest);
    // A reset is far below everything else and must not lift all others.
    let spread = high.saturating_sub(low).saturating_add(1);
    let floor = low.saturating_sub(spread.saturating_mul(8));
    let least = rest.iter().copied().filter(|rest| *rest >= floor).min().unwrap_or_default();
    let mut sum_above = 0_u128;
    let mut sum_around = 0_u128;
    for rest in rest {
        let above = rest.wrapping_sub(least).cast_unsigned();
        if above >> 62 == 0 {
            sum_above += u128::from(above);
            sum_around += u128::from(zigzag(rest.wrapping_sub(middle)));
        }
    }
    // The mean decides the length of the remainder in either form.
    if sum_around < sum_above { (middle, true) } else { (least, false) }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn fold(rest: &[i64], base: i64, is_signed: bool, folded: &mut Vec<u64>) {
    folded.clear();
    if is_signed {
        folded.extend(rest.iter().map(|rest| zigzag(rest.wrapping_sub(base))));
    } else {
        folded.extend(rest.iter().map(|rest| rest.wrapping_sub(base).cast_unsigned()));
    }
}

/// Reads the numbers in `wanted`, of `count`, behind `out`. Only the groups they are in are looked at.
pub(crate) fn decode(bytes: &[u8], count: usize, wanted: Range<usize>, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    let (from, to) = (wanted.start, wanted.end.min(count));
    if from >= to {
        return Ok(());
    }
    let mut header = Reader::new(bytes);
    let kind = header.byte()?;
    if kind & !KNOWN != 0 {
        return Err(DecodeError("a column has an unknown shape"));
    }
    let first = header.signed()?;
    if kind & CONSTANT != 0 {
        out.resize(out.len().saturating_add(to - from), first);
        return Ok(());
    }
    let common = if kind & DIVIDED == 0 { 1 } else { header.varint()?.cast_signed() };
    let guess = match kind & 3 {
        0 => Guess::Level,
        1 => Guess::Step,
        2 => Guess::Slope,
        _ => Guess::Line(header.signed()?),
    };
    let base = header.signed()?;
    let mut sum = Sum { guess, base, common, first, last: 0, step: 0 };
    let is_signed = kind & SIGNED != 0;
    out.reserve(to - from);
    if from == 0 {
        out.push(first);
    }
    // The first number stands in the header, so that the groups begin with the second.
    let (from, to) = (from.max(1) - 1, to - 1);
    let (first_group, groups) = (from / GROUP, (count - 1).div_ceil(GROUP));
    let mut skipped = 0;
    for number in 1..groups {
        let len = header.index()?;
        let (last, step) = match guess {
            Guess::Level => (0, 0),
            Guess::Line(slope) => (slope.wrapping_mul(GROUP as i64), 0),
            Guess::Step => (header.signed()?.wrapping_add(base.wrapping_mul(GROUP as i64)), 0),
            Guess::Slope => (header.signed()?, header.signed()?),
        };
        if number <= first_group {
            skipped += len.min(bytes.len());
            (sum.last, sum.step) = (sum.last.wrapping_add(last), step);
        }
    }
    let mut rest = header.rest().get(skipped..).ok_or(DecodeError("a column ends early"))?;
    let mut start = first_group * GROUP;
    let mut room = [0_u64; GROUP];
    while start < to {
        let Some(group) = room.get_mut(..(count - 1 - start).min(GROUP)) else { break };
        let mut bits = BitReader::new(rest);
        take_group(&mut bits, group)?;
        rest = rest.get(bits.bytes_read()..).ok_or(DecodeError("a column ends early"))?;
        let group = group.get(..to - start).unwrap_or(group);
        let before = out.len();
        if is_signed {
            sum.add(group.iter().map(|value| unzigzag(*value)), out);
        } else {
            sum.add(group.iter().map(|value| value.cast_signed()), out);
        }
        if from > start {
            out.drain(before..(before + from - start).min(out.len()));
        }
        start += GROUP;
    }
    Ok(())
}

/// The first number, without reading the others.
pub(super) fn first(bytes: &[u8]) -> Result<i64, DecodeError> {
    let mut header = Reader::new(bytes);
    header.byte()?;
    header.signed()
}

/// Puts numbers together again.
struct Sum {
    guess: Guess,
    base: i64,
    common: i64,
    first: i64,
    last: i64,
    step: i64,
}

impl Sum {
    #[inline]
    fn add(&mut self, rest: impl ExactSizeIterator<Item = i64>, out: &mut Vec<i64>) {
        let (base, common, first) = (self.base, self.common, self.first);
        let (mut last, mut step) = (self.last, self.step);
        let whole = |unit: i64| first.wrapping_add(unit.wrapping_mul(common));
        match self.guess {
            Guess::Level => out.extend(rest.map(|rest| whole(rest.wrapping_add(base)))),
            Guess::Step => out.extend(rest.map(|rest| {
                last = last.wrapping_add(rest.wrapping_add(base));
                whole(last)
            })),
            Guess::Slope => out.extend(rest.map(|rest| {
                step = step.wrapping_add(rest.wrapping_add(base));
                last = last.wrapping_add(step);
                whole(last)
            })),
            Guess::Line(slope) => out.extend(rest.map(|rest| {
                last = last.wrapping_add(slope);
                whole(last.wrapping_add(rest.wrapping_add(base)))
            })),
        }
        (self.last, self.step) = (last, step);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::tests::values::whole_numbers;

    fn there_and_back(values: &[i64]) -> usize {
        let mut bytes = Vec::new();
        encode(values, &mut Scratch::default(), &mut bytes);
        let all = values.len();
        for wanted in
            [0..all, 0..all / 2, 0..1.min(all), all / 3..all, all.saturating_sub(1)..all, all / 2..all / 2 + 1]
        {
            let wanted = wanted.start..wanted.end.min(all);
            let mut read = vec![7];
            decode(&bytes, all, wanted.clone(), &mut read).unwrap();
            assert_eq!(read[1..], values[wanted.clone()], "{wanted:?} of {all}");
        }
        bytes.len()
    }

    /// Noise that is the same every time.
    fn noise(at: i64) -> i64 {
        let mixed = at.wrapping_mul(6_364_136_223_846_793_005).cast_unsigned();
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40).cast_signed() & 0xffff
    }

    #[test]
    fn what_repeats_is_short() {
        let cases: [(&str, Vec<i64>, usize); 11] = [
            ("nothing", vec![], 0),
            ("one", vec![-7], 2),
            ("all the same", vec![42; 480], 2),
            ("a clock", (0..480).map(|at| 1_700_000_000_000 + at * 15_000).collect(), 20),
            ("a clock with a gap", (0..480).map(|at| (at + at / 300 * 5) * 15_000).collect(), 28),
            ("a counter with a reset", (0..480).map(|at| (at % 240) * 1_000).collect(), 40),
            ("pages of 4096", (0..480).map(|at| noise(at) % 16 * 4096).collect(), 260),
            ("even noise of ten bits", (0..480).map(|at| at * 5_000 + noise(at) % 1024).collect(), 680),
            ("one in a hundred", (0..480).map(|at| i64::from(at % 100 == 7)).collect(), 30),
            ("a few steps", (0..480).map(|at| at / 100).collect(), 28),
            ("extremes", (0..480).map(|at| if at % 2 == 0 { i64::MIN } else { i64::MAX }).collect(), 4_000),
        ];
        for (case, values, most) in cases {
            let bytes = there_and_back(&values);
            assert!(bytes <= most, "{case}: {bytes} bytes");
        }
    }

    proptest! {
        #[test]
        fn numbers_survive(values in whole_numbers(600)) {
            there_and_back(&values);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0_usize..5000) {
            for wanted in [0..count, count / 2..count] {
                let mut out = Vec::new();
                if decode(&bytes, count, wanted.clone(), &mut out).is_ok() {
                    prop_assert_eq!(out.len(), wanted.len());
                }
            }
        }
    }
}
