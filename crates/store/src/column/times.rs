//! Instants as RFC 3339 and its neighbours write them: `2024-01-25T13:30:00.123Z`.
//!
//! ```text
//! column := between date and clock (a byte), before the fraction (a byte, 0 without), digits of the fraction (a byte,
//!           and 128 if zeros at its end are not written), prefix, suffix, packed numbers
//! ```
//!
//! A number is the distance from the row's own time, in units of the fraction's last digit. What follows, such as `Z` or
//! an offset, is the same in all rows and only text: an offset is one more constant distance.

use super::affix::Affix;
use super::numbers::whole;
use super::packed::Packed;
use super::rows::Rows;
use super::texts::{Filling, Texts};
use crate::wire::{DecodeError, Reader, put_bytes};

const DAY: i64 = 86_400;
/// `2024-01-25T13:30:00`
const SECONDS_LEN: usize = 19;

/// How the instants of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout<'a> {
    between: u8,
    point: u8,
    digits: u32,
    /// Without zeros at the end of the fraction, and without a fraction that has nothing else.
    is_trimmed: bool,
    affix: Affix<'a>,
}

const TRIMMED: u8 = 0x80;

/// Writes the column if all values are such instants; whatever is behind `out` otherwise is to be cut off.
pub(super) fn encode(values: &Texts, times: &[i64], out: &mut Vec<u8>) -> Option<()> {
    if times.len() != values.len() {
        return None;
    }
    let fixed = Layout::of(values.get(0).as_bytes())?;
    let (layout, distances) = match fixed.distances(values, times) {
        Some(distances) => (fixed, distances),
        None => {
            let trimmed = fixed.trimmed(values)?;
            (trimmed, trimmed.distances(values, times)?)
        }
    };
    out.extend_from_slice(&[
        layout.between,
        layout.point,
        layout.digits as u8 | if layout.is_trimmed { TRIMMED } else { 0 },
    ]);
    put_bytes(out, layout.affix.prefix);
    put_bytes(out, layout.affix.suffix);
    super::packed::pack(&distances, out);
    Some(())
}

impl<'a> Layout<'a> {
    fn of(text: &'a [u8]) -> Option<Self> {
        // Something like a bracket may stand before.
        let start = text.iter().take(4).position(u8::is_ascii_digit)?;
        let (prefix, text) = text.split_at_checked(start)?;
        let between = *text.get(10)?;
        let rest = text.get(SECONDS_LEN..)?;
        let point = rest.first().copied().filter(|byte| matches!(byte, b'.' | b','));
        let behind = rest.get(1..).unwrap_or_default();
        let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (point, digits) = match point {
            Some(point) if (1..=9).contains(&digits) => (point, digits),
            Some(_) | None => (0, 0),
        };
        let suffix = rest.get(if digits == 0 { 0 } else { 1 + digits }..)?;
        let affix = Affix { prefix, suffix };
        let layout = Self { between, point, digits: digits as u32, is_trimmed: false, affix };
        layout.is_sound().then_some(layout)
    }

    /// The same with as many digits as each value needs.
    fn trimmed(mut self, values: &Texts) -> Option<Self> {
        self.parse(values.get(0).as_bytes(), &mut KnownDate::default())?;
        for text in values.iter() {
            if let Some((point, digits)) = self.affix.strip(text.as_bytes())?.get(SECONDS_LEN..)?.split_first() {
                self.point = *point;
                self.digits = self.digits.max(u32::try_from(digits.len()).ok()?);
            }
        }
        self.is_trimmed = true;
        self.is_sound().then_some(self)
    }

    /// How far the instants are from the times of their rows.
    fn distances(&self, values: &Texts, times: &[i64]) -> Option<Vec<i64>> {
        let unit = self.unit();
        let mut distances = Vec::with_capacity(values.len());
        let mut date = KnownDate::default();
        for (text, time) in values.iter().zip(times) {
            let instant = self.parse(text.as_bytes(), &mut date)?;
            distances.push(instant.checked_sub(time.div_euclid(unit))?);
        }
        Some(distances)
    }

    fn is_sound(&self) -> bool {
        let text_is_sound = |text: &[u8]| text.len() <= 64 && text.is_ascii();
        matches!(self.between, b'T' | b' ')
            && (matches!((self.point, self.digits), (b'.' | b',', 1..=9) | (0, 0)))
            && text_is_sound(self.affix.prefix)
            && text_is_sound(self.affix.suffix)
    }

    /// Nanoseconds of the last digit.
    fn unit(&self) -> i64 {
        10_i64.checked_pow(9_u32.saturating_sub(self.digits)).unwrap_or(1)
    }

    fn per_second(&self) -> i64 {
        10_i64.checked_pow(self.digits).unwrap_or(1)
    }

    /// Units since 1970, as if there were no offset.
    fn parse(&self, text: &[u8], known: &mut KnownDate) -> Option<i64> {
        let text = self.affix.strip(text)?;
        let (date, rest) = text.split_first_chunk::<10>()?;
        let (clock, fraction) = rest.split_first_chunk::<9>()?;
        let [between, hour @ .., c1, m1, m2, c2, s1, s2] = *clock;
        if between != self.between || c1 != b':' || c2 != b':' {
            return None;
        }
        let (hours, minutes, seconds) = (pair(hour)?, pair([m1, m2])?, pair([s1, s2])?);
        if hours > 23 || minutes > 59 || seconds > 59 {
            return None;
        }
        let days = known.days(date)?;
        let seconds = days * DAY + hours * 3600 + minutes * 60 + seconds;
        let parts = match fraction.split_first() {
            None if self.digits == 0 || self.is_trimmed => 0,
            Some((point, digits)) if *point == self.point && self.digits > 0 => {
                let missing = self.digits.checked_sub(u32::try_from(digits.len()).ok()?)?;
                if if self.is_trimmed { digits.ends_with(b"0") } else { missing > 0 } {
                    return None;
                }
                whole(digits)?.cast_signed() * 10_i64.checked_pow(missing)?
            }
            Some(_) | None => return None,
        };
        seconds.checked_mul(self.per_second())?.checked_add(parts)
    }
}

fn pair([tens, ones]: [u8; 2]) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// The date met last, which is mostly the next one too.
#[derive(Default)]
struct KnownDate {
    text: [u8; 10],
    days: i64,
}

impl KnownDate {
    /// Days since 1970.
    fn days(&mut self, text: &[u8; 10]) -> Option<i64> {
        if self.text == *text {
            return Some(self.days);
        }
        let [y1, y2, y3, y4, h1, m1, m2, h2, d1, d2] = *text;
        if h1 != b'-' || h2 != b'-' {
            return None;
        }
        let (year, month, day) = (pair([y1, y2])? * 100 + pair([y3, y4])?, pair([m1, m2])?, pair([d1, d2])?);
        let days = days(year, month, day);
        // What is no date becomes another one.
        if !(1..=12).contains(&month) || date(days) != (year, month, day) {
            return None;
        }
        *self = Self { text: *text, days };
        Some(days)
    }
}

/// Days since 1970 of a date of the Gregorian calendar. Years begin in March here, so that the odd day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// Year, month and day of days since 1970, for about the years there are in texts.
fn date(days: i64) -> (i64, i64, i64) {
    const FOUR_HUNDRED_YEARS: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(FOUR_HUNDRED_YEARS), days.rem_euclid(FOUR_HUNDRED_YEARS));
    // Without the odd days of four, a hundred and four hundred years.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// A column of instants, opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times<'a> {
    layout: Layout<'a>,
    packed: Packed<'a>,
}

impl<'a> Times<'a> {
    pub(super) fn open(mut reader: Reader<'a>, rows: usize) -> Result<Self, DecodeError> {
        let [between, point, digits] = reader.array()?;
        let affix = Affix { prefix: reader.bytes()?, suffix: reader.bytes()? };
        let is_trimmed = digits & TRIMMED != 0;
        let layout = Layout { between, point, digits: u32::from(digits & !TRIMMED), is_trimmed, affix };
        if !layout.is_sound() {
            return Err(DecodeError("a column of times has an unknown shape"));
        }
        Ok(Self { layout, packed: Packed::new(reader.rest(), rows) })
    }

    pub(super) fn texts(&self, times: &[i64], out: &mut Filling) -> Result<(), DecodeError> {
        let mut distances = Vec::new();
        self.packed.unpack(&mut distances)?;
        let mut writer = Writer::new(self.layout);
        let unit = self.layout.unit();
        let affix = self.layout.affix;
        out.reserve(distances.len(), distances.len() * (affix.prefix.len() + affix.suffix.len() + 29));
        for (distance, time) in distances.iter().zip(times) {
            writer.put(distance.wrapping_add(time.div_euclid(unit)), &mut out.bytes)?;
            out.end()?;
        }
        Ok(())
    }

    pub(super) fn pick(&self, rows: &[u32], times: &[i64], out: &mut Filling) -> Result<(), DecodeError> {
        let mut distances = Vec::with_capacity(rows.len());
        self.packed.pick(rows, &mut distances)?;
        let mut writer = Writer::new(self.layout);
        let unit = self.layout.unit();
        for (row, distance) in rows.iter().zip(distances) {
            let base = times.get(*row as usize).map_or(0, |time| time.div_euclid(unit));
            writer.put(distance.wrapping_add(base), &mut out.bytes)?;
            out.end()?;
        }
        Ok(())
    }

    /// Whether a text made of such bytes can be in a value.
    pub(super) fn can_contain(&self, needle: &[u8]) -> bool {
        let Layout { between, point, affix, .. } = self.layout;
        let is_possible = |byte: &u8| {
            byte.is_ascii_digit() || matches!(byte, b'-' | b':') || [between, point].contains(byte) || affix.has(*byte)
        };
        needle.iter().all(is_possible)
    }

    pub(super) fn rows_equal(&self, text: &str, times: &[i64], rows: usize) -> Result<Rows, DecodeError> {
        let wanted = self.layout.parse(text.as_bytes(), &mut KnownDate::default());
        let Some(wanted) = wanted else { return Ok(Rows::none(rows)) };
        let mut instants = Vec::new();
        self.packed.unpack(&mut instants)?;
        let unit = self.layout.unit();
        for (instant, time) in instants.iter_mut().zip(times) {
            *instant = instant.wrapping_add(time.div_euclid(unit));
        }
        Ok(Rows::of(&instants, |instant| *instant == wanted))
    }
}

/// Writes instants, and remembers the second written last.
struct Writer<'a> {
    layout: Layout<'a>,
    second: Option<i64>,
    /// Date and time of day of that second.
    text: [u8; SECONDS_LEN],
}

impl<'a> Writer<'a> {
    fn new(layout: Layout<'a>) -> Self {
        Self { layout, second: None, text: [0; SECONDS_LEN] }
    }

    fn put(&mut self, instant: i64, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let per_second = self.layout.per_second();
        let (second, mut part) = (instant.div_euclid(per_second), instant.rem_euclid(per_second));
        if Some(second) != self.second {
            self.text = second_text(second, self.layout.between)?;
            self.second = Some(second);
        }
        out.extend_from_slice(self.layout.affix.prefix);
        out.extend_from_slice(&self.text);
        if self.layout.digits > 0 {
            let mut digits = [b'0'; 10];
            let len = self.layout.digits as usize + 1;
            let digits = digits.get_mut(..len).unwrap_or_default();
            for digit in digits.iter_mut().skip(1).rev() {
                *digit += (part % 10) as u8;
                part /= 10;
            }
            if let Some(point) = digits.first_mut() {
                *point = self.layout.point;
            }
            let kept = if self.layout.is_trimmed { last_needed(digits) } else { digits };
            out.extend_from_slice(kept);
        }
        out.extend_from_slice(self.layout.affix.suffix);
        Ok(())
    }
}

/// A fraction with its point, without what it does not need.
fn last_needed(fraction: &[u8]) -> &[u8] {
    let needed = fraction.iter().skip(1).rposition(|digit| *digit != b'0').map_or(0, |last| last + 2);
    fraction.get(..needed).unwrap_or_default()
}

fn second_text(second: i64, between: u8) -> Result<[u8; SECONDS_LEN], DecodeError> {
    let (days, second) = (second.div_euclid(DAY), second.rem_euclid(DAY));
    // Before it is taken apart, so that nothing overflows.
    if !(-800_000..=3_000_000).contains(&days) {
        return Err(BEYOND);
    }
    let (year, month, day) = date(days);
    if !(0..=9999).contains(&year) {
        return Err(BEYOND);
    }
    let two = |number: i64| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    let ([y1, y2], [y3, y4], [m1, m2], [d1, d2]) = (two(year / 100), two(year), two(month), two(day));
    let ([a, b], [c, d], [e, f]) = (two(second / 3600), two(second / 60 % 60), two(second % 60));
    Ok([y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, between, a, b, b':', c, d, b':', e, f])
}

const BEYOND: DecodeError = DecodeError("a time is beyond the years 0 to 9999");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (name, text, day) in [
            ("the first", "1970-01-01", Some(0)),
            ("the day before", "1969-12-31", Some(-1)),
            ("a leap day", "2024-02-29", Some(19_782)),
            ("no leap day", "2023-02-29", None),
            ("no leap day in a hundredth year", "1900-02-29", None),
            ("a leap day in a four hundredth year", "2000-02-29", Some(11_016)),
            ("the last", "9999-12-31", Some(2_932_896)),
            ("the year zero", "0000-01-01", Some(-719_528)),
            ("a month too many", "2024-13-01", None),
            ("no month", "2024-00-01", None),
            ("no day", "2024-01-00", None),
            ("not a digit", "2024-0x-01", None),
        ] {
            let bytes: &[u8; 10] = text.as_bytes().try_into().unwrap();
            assert_eq!(KnownDate::default().days(bytes), day, "{name}");
        }
        for day in (-719_528..=2_932_896).step_by(13) {
            let (year, month, day_of_month) = date(day);
            assert_eq!(days(year, month, day_of_month), day);
        }
    }
}
