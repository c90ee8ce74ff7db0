//! A column of whole numbers.
//!
//! Each number is told from the ones before it, what is left is divided by what all of it has in common, and the rest is
//! written 128 at a time in the shape that is shortest for those. What repeats costs next to nothing, and a counter's or
//! a gauge's noise costs about what it holds. Every bit of a number survives; sums wrap.

use super::bitstream::{BitReader, BitWriter, LOOK, low_bits};
use crate::wire::{DecodeError, Reader, put_signed, put_varint};

/// Numbers that share a shape.
const GROUP: usize = 128;
/// From this many units on, a number is written whole behind them.
const ESCAPE: u32 = 20;
/// Remainders up to this length are read together with their units.
const SHORT: u32 = LOOK - ESCAPE - 1;

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

const MODE_BITS: u32 = 3;
const WIDTH_BITS: u32 = 6;

/// The shape of one group; numbers are the bits of a remainder, or of a whole number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// All zero.
    Zeros,
    /// So many bits each.
    Packed(u32),
    /// Units, then a remainder of so many bits (Golomb's code, "Run-length encodings", 1966, for powers of two).
    Units(u32),
    /// A bit for zero or not, then like `Units`.
    Flagged(u32),
    /// Places of those that are not zero, then like `Units`.
    Placed(u32),
}

/// Room that encoding needs, to be used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    units: Vec<i64>,
    rest: Vec<i64>,
    folded: Vec<u64>,
}

/// Writes `values` behind `out`; whoever reads knows how many there are.
pub(super) fn encode(values: &[i64], scratch: &mut Scratch, out: &mut Vec<u8>) {
    let Some(first) = values.first().copied() else { return };
    let common = common_factor(values, first);
    if common == 0 {
        out.push(CONSTANT);
        put_signed(out, first);
        return;
    }
    let Scratch { units, rest, folded } = scratch;
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
    let mut bits = BitWriter::after(std::mem::take(out));
    for group in folded.chunks(GROUP) {
        put_group(group, &mut bits);
    }
    *out = bits.finish();
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

/// The guess that leaves the fewest bits.
fn best_guess(units: &[i64], rest: &mut Vec<i64>) -> Guess {
    let len = units.len() as i64;
    let whole = units.last().copied().unwrap_or_default();
    let slope = whole.checked_div(len - 1).unwrap_or_default();
    let mut best = (u64::MAX, Guess::Step);
    for guess in [Guess::Step, Guess::Level, Guess::Slope, Guess::Line(slope)] {
        guess.apart(units, rest);
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

fn length(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

impl Guess {
    /// What the guess leaves of all numbers but the first.
    fn apart(self, units: &[i64], rest: &mut Vec<i64>) {
        rest.clear();
        let Some((first, others)) = units.split_first() else { return };
        match self {
            Self::Level => rest.extend(others.iter().map(|unit| unit.wrapping_sub(*first))),
            Self::Step => rest.extend(units.iter().zip(others).map(|(before, unit)| unit.wrapping_sub(*before))),
            Self::Slope => {
                let mut step = 0_i64;
                rest.extend(units.iter().zip(others).map(|(before, unit)| {
                    let next = unit.wrapping_sub(*before);
                    let change = next.wrapping_sub(step);
                    step = next;
                    change
                }));
            }
            Self::Line(slope) => {
                let mut expected = *first;
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

fn put_group(group: &[u64], bits: &mut BitWriter) {
    let shape = best_shape(group);
    let (mode, width) = match shape {
        Shape::Zeros => (0, 0),
        Shape::Packed(width) => (1, width - 1),
        Shape::Units(width) => (2, width),
        Shape::Flagged(width) => (3, width),
        Shape::Placed(width) => (4, width),
    };
    bits.put(mode, MODE_BITS);
    if mode == 0 {
        return;
    }
    bits.put(u64::from(width), WIDTH_BITS);
    match shape {
        Shape::Zeros => {}
        Shape::Packed(width) => group.iter().for_each(|value| bits.put(*value, width)),
        Shape::Units(width) => group.iter().for_each(|value| put_units(*value, width, bits)),
        Shape::Flagged(width) => {
            for value in group {
                bits.put(u64::from(*value != 0), 1);
                if *value != 0 {
                    put_units(value - 1, width, bits);
                }
            }
        }
        Shape::Placed(width) => {
            let placed = || group.iter().enumerate().filter(|(_, value)| **value != 0);
            bits.put(placed().count() as u64, PLACE_BITS);
            for (place, value) in placed() {
                bits.put(place as u64, PLACE_BITS);
                put_units(value - 1, width, bits);
            }
        }
    }
}

/// Bits of a place in a group; a group in which more could be placed has a shorter shape.
const PLACE_BITS: u32 = GROUP.trailing_zeros();

fn put_units(value: u64, width: u32, bits: &mut BitWriter) {
    let units = value >> width;
    if units >= u64::from(ESCAPE) {
        bits.put(low_bits(ESCAPE), ESCAPE);
        bits.put(value, 64);
        return;
    }
    let units = units as u32;
    bits.put(low_bits(units), units + 1);
    bits.put(value, width);
}

fn best_shape(group: &[u64]) -> Shape {
    let all = group.iter().fold(0, |all, value| all | value);
    if all == 0 {
        return Shape::Zeros;
    }
    let packed = length(all);
    let mut best = (packed as usize * group.len(), Shape::Packed(packed));
    let mut filled = [0_u64; GROUP];
    let mut len = 0;
    for (slot, value) in filled.iter_mut().zip(group.iter().filter(|value| **value != 0)) {
        *slot = value - 1;
        len += 1;
    }
    let filled = filled.get(..len).unwrap_or_default();
    let (width, cost) = best_width(group);
    // The plain shape reads twice as fast; a saving of less than one in thirty-two is not worth it.
    if cost + cost / 32 < best.0 {
        best = (cost, Shape::Units(width));
    }
    if len < group.len() {
        let (width, cost) = best_width(filled);
        if cost + group.len() < best.0 {
            best = (cost + group.len(), Shape::Flagged(width));
        }
        let placed = cost + len * PLACE_BITS as usize + PLACE_BITS as usize;
        if placed < best.0 {
            best = (placed, Shape::Placed(width));
        }
    }
    best.1
}

/// The length of the remainder that costs least, and the bits it costs.
fn best_width(values: &[u64]) -> (u32, usize) {
    // Those that will be written whole must not count for the mean.
    let cost = |width: u32| -> usize {
        let units = |value: &u64| (value >> width).min(u64::from(ESCAPE)) as u32;
        let each = |value: &u64| {
            let units = units(value);
            if units == ESCAPE { ESCAPE + 64 } else { units + 1 + width }
        };
        values.iter().map(each).sum::<u32>() as usize
    };
    let middle = values.get(values.len() / 2).copied().unwrap_or_default();
    let mut best = length(middle).saturating_sub(1).min(62);
    let mut least = cost(best);
    for (towards, last) in [(1_i32, 62), (-1, 0)] {
        while best != last {
            let width = best.saturating_add_signed(towards);
            let bits = cost(width);
            if bits >= least {
                break;
            }
            (best, least) = (width, bits);
        }
    }
    (best, least)
}

/// Reads the first `wanted` of `count` numbers behind `out`; never more than `count`.
pub(super) fn decode(bytes: &[u8], count: usize, wanted: usize, out: &mut Vec<i64>) -> Result<(), DecodeError> {
    let wanted = wanted.min(count);
    if wanted == 0 {
        return Ok(());
    }
    let mut header = Reader::new(bytes);
    let kind = header.byte()?;
    if kind & !KNOWN != 0 {
        return Err(DecodeError("a column has an unknown shape"));
    }
    let first = header.signed()?;
    if kind & CONSTANT != 0 {
        out.resize(out.len().saturating_add(wanted), first);
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
    let is_signed = kind & SIGNED != 0;
    let mut bits = BitReader::new(header.rest());
    out.reserve(wanted);
    out.push(first);
    let mut left = count - 1;
    let mut to_read = wanted - 1;
    let mut sum = Sum { guess, base, common, first, last: 0, step: 0 };
    let mut group = [0_u64; GROUP];
    while to_read > 0 {
        let Some(group) = group.get_mut(..left.min(GROUP)) else { break };
        take_group(&mut bits, group)?;
        if bits.is_over() {
            return Err(DecodeError("a column ends early"));
        }
        left -= group.len();
        let wanted = group.get(..to_read.min(group.len())).unwrap_or_default();
        to_read -= wanted.len();
        if is_signed {
            sum.add(wanted.iter().map(|value| unzigzag(*value)), out);
        } else {
            sum.add(wanted.iter().map(|value| value.cast_signed()), out);
        }
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

fn take_group(bits: &mut BitReader<'_>, group: &mut [u64]) -> Result<(), DecodeError> {
    let mode = bits.take(MODE_BITS);
    if mode == 0 {
        group.fill(0);
        return Ok(());
    }
    let width = bits.take(WIDTH_BITS) as u32;
    match mode {
        1 => take_packed(bits, width + 1, group),
        2 => take_units(bits, width, group),
        3 => {
            for slot in group.iter_mut() {
                *slot = if bits.take(1) == 0 { 0 } else { take_one(bits, width).wrapping_add(1) };
            }
        }
        4 => {
            group.fill(0);
            for _ in 0..bits.take(PLACE_BITS) {
                let place = bits.take(PLACE_BITS) as usize;
                let value = take_one(bits, width).wrapping_add(1);
                *group.get_mut(place).ok_or(DecodeError("a place lies outside its group"))? = value;
            }
        }
        _ => return Err(DecodeError("a group of a column has an unknown shape")),
    }
    Ok(())
}

fn take_packed(bits: &mut BitReader<'_>, width: u32, group: &mut [u64]) {
    if width > LOOK {
        group.iter_mut().for_each(|slot| *slot = bits.take(width));
        return;
    }
    let mask = low_bits(width);
    for slot in group {
        *slot = bits.look() & mask;
        bits.skip(width);
    }
}

fn take_units(bits: &mut BitReader<'_>, width: u32, group: &mut [u64]) {
    if width > SHORT {
        group.iter_mut().for_each(|slot| *slot = take_one(bits, width));
        return;
    }
    let mask = low_bits(width);
    for slot in group {
        let word = bits.look();
        let units = word.trailing_ones();
        if units >= ESCAPE {
            bits.skip(ESCAPE);
            *slot = bits.take(64);
        } else {
            *slot = u64::from(units) << width | (word >> (units + 1)) & mask;
            bits.skip(units + 1 + width);
        }
    }
}

#[inline]
fn take_one(bits: &mut BitReader<'_>, width: u32) -> u64 {
    let units = bits.look().trailing_ones();
    if units >= ESCAPE {
        bits.skip(ESCAPE);
        return bits.take(64);
    }
    bits.skip(units + 1);
    u64::from(units) << width | bits.take(width)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::tests::whole_numbers;

    fn there_and_back(values: &[i64]) -> usize {
        let mut bytes = Vec::new();
        encode(values, &mut Scratch::default(), &mut bytes);
        for wanted in [values.len(), values.len() / 2, 1] {
            let mut read = Vec::new();
            decode(&bytes, values.len(), wanted, &mut read).unwrap();
            assert_eq!(read, values[..wanted.min(values.len())], "{wanted} of {}", values.len());
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
            ("a clock", (0..480).map(|at| 1_700_000_000_000 + at * 15_000).collect(), 16),
            ("a clock with a gap", (0..480).map(|at| (at + at / 300 * 5) * 15_000).collect(), 24),
            ("a counter with a reset", (0..480).map(|at| (at % 240) * 1_000).collect(), 26),
            ("pages of 4096", (0..480).map(|at| noise(at) % 16 * 4096).collect(), 260),
            ("even noise of ten bits", (0..480).map(|at| at * 5_000 + noise(at) % 1024).collect(), 680),
            ("one in a hundred", (0..480).map(|at| i64::from(at % 100 == 7)).collect(), 30),
            ("a few steps", (0..480).map(|at| at / 100).collect(), 24),
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
            let mut out = Vec::new();
            if decode(&bytes, count, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
        }
    }
}
