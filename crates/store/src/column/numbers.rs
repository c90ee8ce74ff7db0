//! Decimal numbers, each written the one way that gives it back.
//!
//! ```text
//! column := decimals (five bits) and form (two bits), clock (a byte), prefix, suffix, packed numbers
//! ```
//!
//! A number is what stands there without the point. With a clock `k` above zero the row's own time, in units of
//! 10^(k-1) ns and rounded down, is taken off: instants in seconds or milliseconds since 1970 become small.
//!
//! Either all rows have as many decimals, or as many as they need, as programs write floats: then the decimals are those
//! of the row with most, and zeros at the end are not written.

use super::affix::Affix;
use super::packed::Packed;
use super::rows::Rows;
use super::texts::{Filling, Texts};
use crate::wire::{DecodeError, Reader, put_bytes};

/// Decimals that fit in 64 bits with a digit before them.
const MOST_DECIMALS: u32 = 18;
const MOST_CLOCK: u8 = 10;

/// How the decimals of a column end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// All rows have as many.
    Fixed,
    /// Without zeros, and without a point that has nothing behind it: `7`, `7.5`.
    Short,
    /// Without zeros, but always with a decimal: `7.0`, `7.5`.
    Float,
}

impl Form {
    const ALL: [Self; 3] = [Self::Fixed, Self::Short, Self::Float];

    /// Decimals that are always there.
    fn least(self, decimals: u32) -> u32 {
        match self {
            Self::Fixed => decimals,
            Self::Short => 0,
            Self::Float => decimals.min(1),
        }
    }
}

/// Writes the column if all values are such numbers; whatever is behind `out` otherwise is to be cut off.
pub(super) fn encode(values: &Texts, times: &[i64], affix: Affix<'_>, out: &mut Vec<u8>) -> Option<()> {
    let affix = affix.around_numbers();
    let decimals = decimals(affix.strip(values.get(0).as_bytes())?)?;
    let mut numbers = Vec::with_capacity(values.len());
    for text in values.iter() {
        let Some(number) = parse(affix.strip(text.as_bytes())?, decimals) else {
            return encode_trimmed(values, affix, numbers, out);
        };
        numbers.push(number);
    }
    let clock = clock(&mut numbers, times);
    put_header(decimals, Form::Fixed, clock, affix, out);
    super::packed::pack(&numbers, out);
    Some(())
}

fn put_header(decimals: u32, form: Form, clock: u8, affix: Affix<'_>, out: &mut Vec<u8>) {
    out.push(decimals as u8 | (form as u8) << FORM_SHIFT);
    out.push(clock);
    put_bytes(out, affix.prefix);
    put_bytes(out, affix.suffix);
}

const FORM_SHIFT: u32 = 5;

/// The same for values that have as many decimals as they need; `numbers` is room.
fn encode_trimmed(values: &Texts, affix: Affix<'_>, mut numbers: Vec<i64>, out: &mut Vec<u8>) -> Option<()> {
    numbers.clear();
    let mut lengths = Vec::with_capacity(values.len());
    let (mut fewest, mut most) = (u32::MAX, 0);
    for text in values.iter() {
        let text = affix.strip(text.as_bytes())?;
        let decimals = decimals(text)?;
        numbers.push(parse(text, decimals)?);
        lengths.push(decimals as u8);
        (fewest, most) = (fewest.min(decimals), most.max(decimals));
    }
    let form = if fewest == 0 { Form::Short } else { Form::Float };
    let least = form.least(most);
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let length = u32::from(length);
        if length > least && *number % 10 == 0 {
            return None;
        }
        *number = number.checked_mul(10_i64.checked_pow(most - length)?)?;
    }
    let start = out.len();
    put_header(most, form, 0, affix, out);
    super::packed::pack(&numbers, out);
    // One value of many decimals makes all others long.
    (out.len() - start <= values.bytes().len() / 2).then_some(())
}

fn decimals(text: &[u8]) -> Option<u32> {
    let decimals =
        text.iter().rev().take(MOST_DECIMALS as usize + 1).position(|byte| *byte == b'.').unwrap_or_default();
    u32::try_from(decimals).ok()
}

/// A number without its point, unless it would be written in another way.
pub(super) fn parse(text: &[u8], decimals: u32) -> Option<i64> {
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some(_) | None => (false, text),
    };
    let value = if decimals == 0 {
        let value = whole(digits)?;
        if digits.len() > 1 && digits.first() == Some(&b'0') {
            return None;
        }
        value
    } else {
        let (before, rest) = digits.split_at_checked(digits.len().checked_sub(decimals as usize + 1)?)?;
        let (point, after) = rest.split_first()?;
        if *point != b'.' || before.is_empty() || (before.len() > 1 && before.first() == Some(&b'0')) {
            return None;
        }
        let scale = 10_u64.checked_pow(decimals)?;
        whole(before)?.checked_mul(scale)?.checked_add(whole(after)?)?
    };
    if is_negative {
        return if value == 0 { None } else { 0_i64.checked_sub_unsigned(value) };
    }
    i64::try_from(value).ok()
}

/// Nothing but digits, as a number.
pub(super) fn whole(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    // Nineteen digits always fit.
    let mut value = 0_u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

/// Writes the column if it begins with a number that is about the time of its row, and all others are numbers too.
pub(super) fn encode_clock(values: &Texts, times: &[i64], out: &mut Vec<u8>) -> Option<()> {
    let first = values.get(0);
    near_clock(parse(first.as_bytes(), decimals(first.as_bytes())?)?, *times.first()?)?;
    encode(values, times, Affix::default(), out)
}

/// Takes the rows' own times off when that makes the numbers smaller; answers how it did.
fn clock(numbers: &mut [i64], times: &[i64]) -> u8 {
    let (Some(number), Some(time)) = (numbers.first(), times.first()) else { return 0 };
    if times.len() != numbers.len() {
        return 0;
    }
    let Some(clock) = near_clock(*number, *time) else { return 0 };
    let unit = unit(clock);
    let mut apart = Vec::with_capacity(numbers.len());
    for (number, time) in numbers.iter().zip(times) {
        let Some(difference) = number.checked_sub(time.div_euclid(unit)) else { return 0 };
        apart.push(difference);
    }
    if spread(&apart) >= spread(numbers) {
        return 0;
    }
    numbers.copy_from_slice(&apart);
    clock
}

/// The unit in which a number is within a day of a time, if it is long enough for that to be no chance.
fn near_clock(number: i64, time: i64) -> Option<u8> {
    const DAY: u64 = 86_400_000_000_000;
    let is_near = |clock: &u8| {
        let unit = unit(*clock);
        number.abs_diff(time.div_euclid(unit)).saturating_mul(unit.unsigned_abs()) < DAY
    };
    (1..=MOST_CLOCK).find(|clock| number >= 1_000_000_000 && is_near(clock))
}

fn spread(values: &[i64]) -> u64 {
    let least = values.iter().copied().min().unwrap_or_default();
    values.iter().copied().max().unwrap_or_default().abs_diff(least)
}

fn unit(clock: u8) -> i64 {
    10_i64.checked_pow(u32::from(clock.saturating_sub(1))).unwrap_or(1)
}

/// A column of numbers, opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers<'a> {
    decimals: u32,
    form: Form,
    clock: u8,
    affix: Affix<'a>,
    packed: Packed<'a>,
}

impl<'a> Numbers<'a> {
    pub(super) fn open(mut reader: Reader<'a>, rows: usize) -> Result<Self, DecodeError> {
        const UNKNOWN: DecodeError = DecodeError("a column of numbers has an unknown shape");
        let shape = reader.byte()?;
        let decimals = u32::from(shape & ((1 << FORM_SHIFT) - 1));
        let form = Form::ALL.get(usize::from(shape >> FORM_SHIFT)).copied().ok_or(UNKNOWN)?;
        let clock = reader.byte()?;
        if decimals > MOST_DECIMALS || clock > MOST_CLOCK {
            return Err(UNKNOWN);
        }
        let affix = Affix { prefix: reader.text()?.as_bytes(), suffix: reader.text()?.as_bytes() };
        Ok(Self { decimals, form, clock, affix, packed: Packed::new(reader.rest(), rows) })
    }

    pub(super) fn needs_times(&self) -> bool {
        self.clock > 0
    }

    pub(super) fn texts(&self, times: &[i64], out: &mut Filling) -> Result<(), DecodeError> {
        let mut numbers = Vec::new();
        self.mantissas(times, &mut numbers)?;
        out.reserve(numbers.len(), numbers.len().saturating_mul(self.affix.prefix.len() + self.affix.suffix.len() + 8));
        for number in numbers {
            self.put(number, &mut out.bytes);
            out.end()?;
        }
        Ok(())
    }

    pub(super) fn pick(&self, rows: &[u32], times: &[i64], out: &mut Filling) -> Result<(), DecodeError> {
        let mut numbers = Vec::with_capacity(rows.len());
        self.packed.pick(rows, &mut numbers)?;
        for (row, number) in rows.iter().zip(numbers) {
            self.put(number.wrapping_add(self.base(*row as usize, times)), &mut out.bytes);
            out.end()?;
        }
        Ok(())
    }

    /// The values as floats, if they are nothing but numbers and need no times.
    pub(super) fn numbers(&self) -> Result<Option<Vec<f64>>, DecodeError> {
        if self.affix != Affix::default() || self.clock > 0 {
            return Ok(None);
        }
        // Powers of ten up to the twenty-second are floats without loss, so that one division of a number that is one too
        // rounds as reading the text would.
        let scale = 10_f64.powi(self.decimals as i32);
        let mut floats: Vec<f64> = Vec::with_capacity(self.packed.len());
        let mut text = Vec::new();
        self.packed.each_group(|numbers| {
            let start = floats.len();
            if are_short(numbers) {
                floats.extend(numbers.iter().map(short_float));
                if self.decimals > 0 {
                    let added = floats.get_mut(start..).unwrap_or_default();
                    added.iter_mut().for_each(|float| *float /= scale);
                }
            } else if self.decimals == 0 {
                floats.extend(numbers.iter().map(|number| *number as f64));
            } else {
                floats.extend(numbers.iter().map(|number| {
                    text.clear();
                    self.put(*number, &mut text);
                    std::str::from_utf8(&text).ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default()
                }));
            }
        })?;
        Ok(Some(floats))
    }

    /// The number that a text is in this column.
    fn number(&self, text: &str) -> Option<i64> {
        let text = self.affix.strip(text.as_bytes())?;
        let decimals = decimals(text)?;
        let least = self.form.least(self.decimals);
        let number = parse(text, decimals)?;
        if decimals < least || (decimals > least && number % 10 == 0) {
            return None;
        }
        number.checked_mul(10_i64.checked_pow(self.decimals.checked_sub(decimals)?)?)
    }

    pub(super) fn rows_equal(&self, text: &str, times: &[i64], rows: usize) -> Result<Rows, DecodeError> {
        let Some(wanted) = self.number(text) else { return Ok(Rows::none(rows)) };
        let mut numbers = Vec::new();
        self.mantissas(times, &mut numbers)?;
        Ok(Rows::of(&numbers, |number| *number == wanted))
    }

    /// Whether a text made of such bytes can be in a value.
    pub(super) fn can_contain(&self, needle: &[u8]) -> bool {
        let is_possible = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-') || self.affix.has(*byte);
        needle.iter().all(is_possible)
    }

    fn mantissas(&self, times: &[i64], out: &mut Vec<i64>) -> Result<(), DecodeError> {
        self.packed.unpack(out)?;
        if self.clock > 0 {
            let unit = unit(self.clock);
            for (number, time) in out.iter_mut().zip(times) {
                *number = number.wrapping_add(time.div_euclid(unit));
            }
        }
        Ok(())
    }

    fn base(&self, row: usize, times: &[i64]) -> i64 {
        if self.clock == 0 { 0 } else { times.get(row).map_or(0, |time| time.div_euclid(unit(self.clock))) }
    }

    fn put(&self, number: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.affix.prefix);
        put_number(number, self.decimals, out);
        match self.form {
            Form::Fixed => {}
            Form::Short => trim(self.decimals, out),
            Form::Float => trim(self.decimals.saturating_sub(1), out),
        }
        out.extend_from_slice(self.affix.suffix);
    }
}

const HALF: i64 = 1 << 51;

/// Whether all are from -2^51 to below 2^51.
fn are_short(numbers: &[i64]) -> bool {
    numbers.iter().fold(0, |all, number| all | number.wrapping_add(HALF).cast_unsigned()) < 1 << 52
}

/// A short number as a float: written into the bits of one in which they are units. Several at once, unlike `as`.
fn short_float(number: &i64) -> f64 {
    const UNITS: f64 = ((1_i64 << 52) + HALF) as f64;
    f64::from_bits(UNITS.to_bits().wrapping_add_signed(*number)) - UNITS
}

/// Writes a number with its point.
fn put_number(number: i64, decimals: u32, out: &mut Vec<u8>) {
    const ZEROS: &[u8] = b"0000000000000000000";
    if number < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number.unsigned_abs()).as_bytes();
    let decimals = decimals as usize;
    if decimals == 0 {
        out.extend_from_slice(digits);
        return;
    }
    if let Some((before, after)) = digits.len().checked_sub(decimals).and_then(|at| digits.split_at_checked(at))
        && !before.is_empty()
    {
        out.extend_from_slice(before);
        out.push(b'.');
        out.extend_from_slice(after);
        return;
    }
    out.extend_from_slice(b"0.");
    out.extend_from_slice(ZEROS.get(..decimals - digits.len()).unwrap_or_default());
    out.extend_from_slice(digits);
}

/// Takes up to so many zeros off the end, and a point that has nothing behind it then.
fn trim(most: u32, out: &mut Vec<u8>) {
    let zeros = out.iter().rev().take(most as usize).take_while(|byte| **byte == b'0').count();
    out.truncate(out.len() - zeros);
    if out.last() == Some(&b'.') {
        out.pop();
    }
}
