//! Times as Go's layouts describe them (`2006-01-02 15:04:05.000`), and the names promtail gives to some.

use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use signal::Nanos;

/// How a time is written.
#[derive(Clone, Debug)]
pub(super) enum Format {
    /// A number of seconds, or of a part of a second; seconds may have a fraction.
    Unix {
        per_second: i64,
    },
    Layout {
        parts: Arc<[Part]>,
        has_year: bool,
    },
}

const NAMED: [(&str, &str); 10] = [
    ("ANSIC", "Mon Jan _2 15:04:05 2006"),
    ("UnixDate", "Mon Jan _2 15:04:05 MST 2006"),
    ("RubyDate", "Mon Jan 02 15:04:05 -0700 2006"),
    ("RFC822", "02 Jan 06 15:04 MST"),
    ("RFC822Z", "02 Jan 06 15:04 -0700"),
    ("RFC850", "Monday, 02-Jan-06 15:04:05 MST"),
    ("RFC1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("RFC1123Z", "Mon, 02 Jan 2006 15:04:05 -0700"),
    ("RFC3339", "2006-01-02T15:04:05Z07:00"),
    ("RFC3339Nano", "2006-01-02T15:04:05.999999999Z07:00"),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// One thing a layout says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// A run of spaces stands for any.
    Text(String),
    Year,
    ShortYear,
    MonthName,
    ShortMonthName,
    /// Digits at least.
    Month(usize),
    DayName,
    ShortDayName,
    Day(usize),
    DayOfYear,
    Hour,
    Hour12(usize),
    Minute(usize),
    Second(usize),
    HalfOfDay,
    /// Digits behind a point or comma: as many, or `None` for any number, also none at all.
    Fraction(Option<usize>),
    ZoneName,
    /// Whether `Z` stands for UTC, whether there are colons, whether there are minutes, whether there are seconds.
    Offset {
        z: bool,
        colon: bool,
        minutes: bool,
        seconds: bool,
    },
}

/// What layouts consist of; where one begins another, the longer one stands first.
fn words() -> [(&'static str, Part); 36] {
    let offset = |z, colon, minutes, seconds| Part::Offset { z, colon, minutes, seconds };
    [
        ("January", Part::MonthName),
        ("Jan", Part::ShortMonthName),
        ("Monday", Part::DayName),
        ("Mon", Part::ShortDayName),
        ("MST", Part::ZoneName),
        ("2006", Part::Year),
        ("002", Part::DayOfYear),
        ("01", Part::Month(2)),
        ("02", Part::Day(2)),
        ("03", Part::Hour12(2)),
        ("04", Part::Minute(2)),
        ("05", Part::Second(2)),
        ("06", Part::ShortYear),
        ("15", Part::Hour),
        ("_2", Part::Day(1)),
        ("1", Part::Month(1)),
        ("2", Part::Day(1)),
        ("3", Part::Hour12(1)),
        ("4", Part::Minute(1)),
        ("5", Part::Second(1)),
        ("PM", Part::HalfOfDay),
        ("pm", Part::HalfOfDay),
        ("-07:00:00", offset(false, true, true, true)),
        ("-07:00", offset(false, true, true, false)),
        ("-070000", offset(false, false, true, true)),
        ("-0700", offset(false, false, true, false)),
        ("-07", offset(false, false, false, false)),
        ("Z07:00:00", offset(true, true, true, true)),
        ("Z07:00", offset(true, true, true, false)),
        ("Z070000", offset(true, false, true, true)),
        ("Z0700", offset(true, false, true, false)),
        ("Z07", offset(true, false, false, false)),
        (".000", Part::Fraction(Some(3))),
        (",000", Part::Fraction(Some(3))),
        (".999", Part::Fraction(None)),
        (",999", Part::Fraction(None)),
    ]
}

impl Format {
    /// A format by its name, or a layout.
    pub(super) fn named(text: &str) -> Self {
        let per_second = match text {
            "Unix" => Some(1),
            "UnixMs" => Some(1_000),
            "UnixUs" => Some(1_000_000),
            "UnixNs" => Some(1_000_000_000),
            _ => None,
        };
        if let Some(per_second) = per_second {
            return Self::Unix { per_second };
        }
        let layout = NAMED.iter().find(|(name, _)| *name == text).map_or(text, |(_, layout)| layout);
        let parts: Arc<[Part]> = parts(layout).into();
        let has_year = parts.iter().any(|part| matches!(part, Part::Year | Part::ShortYear));
        Self::Layout { parts, has_year }
    }

    /// The time a text says, in `zone` where it names none. Without a year it is close to `now`.
    pub(super) fn read(&self, text: &str, zone: Option<&TimeZone>, now: Nanos) -> Option<Nanos> {
        match self {
            Self::Unix { per_second } => unix(text, *per_second),
            Self::Layout { parts, has_year } => {
                let mut seen = Seen::default();
                let mut rest = text;
                for (at, part) in parts.iter().enumerate() {
                    rest = seen.read(part, parts.get(at + 1), rest)?;
                }
                if !rest.is_empty() {
                    return None;
                }
                if !has_year {
                    seen.year = year_near(seen.month.unwrap_or(1), now)?;
                }
                seen.finish(zone)
            }
        }
    }
}

fn unix(text: &str, per_second: i64) -> Option<Nanos> {
    let scale = 1_000_000_000 / per_second;
    if let (1, Some((whole, fraction))) = (per_second, text.split_once('.')) {
        let whole: i64 = whole.parse().ok()?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = fraction.get(..fraction.len().min(9))?;
        let nanos: i64 = format!("{digits:0<9}").parse().ok()?;
        return whole.checked_mul(scale)?.checked_add(nanos).map(Nanos);
    }
    text.parse::<i64>().ok()?.checked_mul(scale).map(Nanos)
}

/// The year that brings a month closest to now: around new year's eve that is not always the present one.
fn year_near(month: i8, now: Nanos) -> Option<i16> {
    let now = jiff::Timestamp::from_nanosecond(i128::from(now.0)).ok()?.to_zoned(TimeZone::UTC);
    match (month, now.month()) {
        (12, 1) => now.year().checked_sub(1),
        (1, 12) => now.year().checked_add(1),
        _ => Some(now.year()),
    }
}

fn parts(layout: &str) -> Vec<Part> {
    let words = words();
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let found = words.iter().find(|(word, part)| is_word(rest, word, part));
        if let Some((word, part)) = found {
            let after = rest.get(word.len()..).unwrap_or_default();
            rest = match part {
                // As many noughts or nines as there are.
                Part::Fraction(_) => {
                    let digit = word.chars().last().unwrap_or('0');
                    let more = after.len() - after.trim_start_matches(digit).len();
                    parts.push(Part::Fraction((digit == '0').then_some(3 + more)));
                    after.get(more..).unwrap_or_default()
                }
                part => {
                    parts.push(part.clone());
                    after
                }
            };
            continue;
        }
        // Fewer digits of a fraction than the words above have.
        if let Some((digit, count)) = short_fraction(rest) {
            parts.push(Part::Fraction((digit == '0').then_some(count)));
            rest = rest.get(count + 1..).unwrap_or_default();
            continue;
        }
        match parts.last_mut() {
            Some(Part::Text(text)) => text.push(first),
            _ => parts.push(Part::Text(first.to_string())),
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    parts
}

/// Whether a layout goes on with this word. `Jan` and `Mon` are words only where no other small letter follows.
fn is_word(rest: &str, word: &str, part: &Part) -> bool {
    let Some(after) = rest.strip_prefix(word) else { return false };
    let next = after.chars().next();
    match part {
        Part::ShortMonthName | Part::ShortDayName => !next.is_some_and(|next| next.is_ascii_lowercase()),
        // An underscore before a year is one.
        Part::Day(1) if word == "_2" => !after.starts_with("006"),
        Part::Fraction(_) => {
            let digit = word.chars().last();
            let behind = after.trim_start_matches(|c| Some(c) == digit).chars().next();
            !behind.is_some_and(|behind| behind.is_ascii_digit())
        }
        _ => true,
    }
}

fn short_fraction(rest: &str) -> Option<(char, usize)> {
    let after = rest.strip_prefix(['.', ','])?;
    let digit = after.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
    let count = after.len() - after.trim_start_matches(digit).len();
    let behind = after.get(count..)?.chars().next();
    (!behind.is_some_and(|behind| behind.is_ascii_digit())).then_some((digit, count))
}

/// What a text has said so far.
#[derive(Default)]
struct Seen {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    day_of_year: Option<i16>,
    hour: i8,
    is_afternoon: Option<bool>,
    minute: i8,
    second: i8,
    nanos: i32,
    offset: Option<i32>,
    is_utc: bool,
}

impl Seen {
    /// Reads one part, and gives what follows it.
    fn read<'t>(&mut self, part: &Part, next: Option<&Part>, text: &'t str) -> Option<&'t str> {
        match part {
            Part::Text(expected) => literal(expected, text),
            Part::Year => {
                let (year, rest) = digits(text, 4, 4)?;
                self.year = i16::try_from(year).ok()?;
                Some(rest)
            }
            Part::ShortYear => {
                let (year, rest) = digits(text, 2, 2)?;
                self.year = i16::try_from(year).ok()? + if year >= 69 { 1900 } else { 2000 };
                Some(rest)
            }
            Part::MonthName | Part::ShortMonthName => {
                let (month, rest) = name(text, &MONTHS, *part == Part::ShortMonthName)?;
                self.month = i8::try_from(month + 1).ok();
                Some(rest)
            }
            Part::DayName | Part::ShortDayName => name(text, &DAYS, *part == Part::ShortDayName).map(|(_, rest)| rest),
            Part::Month(least) => number(text, *least, &mut |month| self.month = Some(month)),
            Part::Day(least) => {
                let text = if *least == 1 { text.trim_start_matches(' ') } else { text };
                number(text, *least, &mut |day| self.day = Some(day))
            }
            Part::DayOfYear => {
                let (day, rest) = digits(text, 3, 3)?;
                self.day_of_year = Some(i16::try_from(day).ok()?);
                Some(rest)
            }
            Part::Hour => number(text, 1, &mut |hour| self.hour = hour),
            Part::Hour12(least) => number(text, *least, &mut |hour| self.hour = hour),
            Part::Minute(least) => number(text, *least, &mut |minute| self.minute = minute),
            Part::Second(least) => {
                let rest = number(text, *least, &mut |second| self.second = second)?;
                // A fraction may stand there even when the layout does not say so.
                if matches!(next, Some(Part::Fraction(_))) {
                    return Some(rest);
                }
                let has_fraction = rest.starts_with(['.', ','])
                    && rest.get(1..).is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()));
                if has_fraction { self.fraction(rest, None) } else { Some(rest) }
            }
            Part::HalfOfDay => {
                let (half, rest) = text.split_at_checked(2)?;
                self.is_afternoon = match half {
                    "AM" | "am" => Some(false),
                    "PM" | "pm" => Some(true),
                    _ => return None,
                };
                Some(rest)
            }
            Part::Fraction(count) => self.fraction(text, *count),
            Part::ZoneName => {
                let end = text.bytes().take_while(u8::is_ascii_uppercase).count();
                let (zone, rest) = text.split_at_checked(end).filter(|(zone, _)| (3..=5).contains(&zone.len()))?;
                // Other abbreviations mean different things in different places, and say nothing.
                self.is_utc = matches!(zone, "UTC" | "GMT");
                Some(rest)
            }
            Part::Offset { z, colon, minutes, seconds } => {
                if *z && let Some(rest) = text.strip_prefix('Z') {
                    self.offset = Some(0);
                    return Some(rest);
                }
                self.offset(text, *colon, [*minutes, *seconds])
            }
        }
    }

    fn fraction<'t>(&mut self, text: &'t str, count: Option<usize>) -> Option<&'t str> {
        let Some(after) = text.strip_prefix(['.', ',']) else {
            return count.is_none().then_some(text);
        };
        let end = after.bytes().take_while(u8::is_ascii_digit).count();
        if end == 0 && count.is_none() {
            return Some(text);
        }
        let end = count.unwrap_or(end);
        let (digits, rest) = after.split_at_checked(end)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let kept = digits.get(..digits.len().min(9))?;
        self.nanos = format!("{kept:0<9}").parse().ok()?;
        Some(rest)
    }

    fn offset<'t>(&mut self, text: &'t str, colon: bool, parts: [bool; 2]) -> Option<&'t str> {
        let (sign, rest) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+')?),
        };
        let (hours, mut rest) = digits(rest, 2, 2)?;
        let mut seconds = i32::try_from(hours).ok()? * 3600;
        for (_, unit) in parts.into_iter().zip([60, 1]).filter(|(is_there, _)| *is_there) {
            rest = if colon { rest.strip_prefix(':')? } else { rest };
            let (number, after) = digits(rest, 2, 2)?;
            seconds += i32::try_from(number).ok().filter(|number| *number < 60)? * unit;
            rest = after;
        }
        self.offset = Some(sign * seconds);
        Some(rest)
    }

    fn finish(self, zone: Option<&TimeZone>) -> Option<Nanos> {
        let hour = match self.is_afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            Some(_) | None => self.hour,
        };
        let time = Time::new(hour, self.minute, self.second, self.nanos).ok()?;
        let date = match self.day_of_year {
            Some(day) => Date::new(self.year, 1, 1).ok()?.checked_add(jiff::Span::new().days(day - 1)).ok()?,
            None => Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok()?,
        };
        let at = DateTime::from_parts(date, time);
        let zone = match (self.offset, zone) {
            (Some(seconds), _) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
            (None, Some(zone)) if !self.is_utc => zone.clone(),
            (None, _) => TimeZone::UTC,
        };
        let nanos = at.to_zoned(zone).ok()?.timestamp().as_nanosecond();
        i64::try_from(nanos).ok().map(Nanos)
    }
}

/// Spaces stand for any number of spaces.
fn literal<'t>(expected: &str, text: &'t str) -> Option<&'t str> {
    let (mut expected, mut text) = (expected, text);
    while let Some(first) = expected.chars().next() {
        if first == ' ' {
            if !text.is_empty() && !text.starts_with(' ') {
                return None;
            }
            expected = expected.trim_start_matches(' ');
            text = text.trim_start_matches(' ');
            continue;
        }
        expected = expected.strip_prefix(first)?;
        text = text.strip_prefix(first)?;
    }
    Some(text)
}

/// A number of `least` to `most` digits.
fn digits(text: &str, least: usize, most: usize) -> Option<(u32, &str)> {
    let count = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(count).filter(|_| count >= least)?;
    Some((number.parse().ok()?, rest))
}

fn number<'t>(text: &'t str, least: usize, set: &mut dyn FnMut(i8)) -> Option<&'t str> {
    let (number, rest) = digits(text, least, 2)?;
    set(i8::try_from(number).ok()?);
    Some(rest)
}

/// The place of the name that the text begins with, in any letters.
fn name<'t>(text: &'t str, names: &[&str], is_short: bool) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(at, name)| {
        let name = if is_short { name.get(..3)? } else { name };
        let (head, rest) = text.split_at_checked(name.len())?;
        head.eq_ignore_ascii_case(name).then_some((at, rest))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-03-10T12:00:00Z.
    const NOW: Nanos = Nanos(1_710_072_000_000_000_000);

    #[test]
    fn layouts_read_what_go_reads() {
        for (layout, text, want) in [
            ("RFC3339", "2024-01-25T14:30:00+01:00", Some("2024-01-25T13:30:00Z")),
            ("RFC3339", "2024-01-25T13:30:00.123456789Z", Some("2024-01-25T13:30:00.123456789Z")),
            ("RFC3339Nano", "2024-01-25T13:30:00Z", Some("2024-01-25T13:30:00Z")),
            ("RFC3339", "2024-01-25 13:30:00", None),
            ("ANSIC", "Thu Jan  4 13:30:00 2024", Some("2024-01-04T13:30:00Z")),
            ("UnixDate", "Thu Jan 25 13:30:00 UTC 2024", Some("2024-01-25T13:30:00Z")),
            ("RFC1123Z", "Thu, 25 Jan 2024 13:30:00 -0130", Some("2024-01-25T15:00:00Z")),
            ("RFC850", "Thursday, 25-Jan-24 13:30:00 GMT", Some("2024-01-25T13:30:00Z")),
            ("02/Jan/2006:15:04:05 -0700", "25/Jan/2024:13:30:00 +0000", Some("2024-01-25T13:30:00Z")),
            ("2006-01-02 15:04:05.000", "2024-01-25 13:30:00.25", None),
            ("2006-01-02 15:04:05.000", "2024-01-25 13:30:00.250", Some("2024-01-25T13:30:00.25Z")),
            ("2006-01-02 15:04:05,000", "2024-01-25 13:30:00,250", Some("2024-01-25T13:30:00.25Z")),
            ("2006-01-02 15:04:05.0", "2024-01-25 13:30:00.7", Some("2024-01-25T13:30:00.7Z")),
            ("2006-01-02 15:04:05", "2024-01-25 13:30:00,123", Some("2024-01-25T13:30:00.123Z")),
            ("2006/1/2 3:04:05 PM", "2024/1/5 12:00:01 AM", Some("2024-01-05T00:00:01Z")),
            ("2006/1/2 3:04pm", "2024/11/25 1:30pm", Some("2024-11-25T13:30:00Z")),
            ("06002 150405", "24060 133000", Some("2024-02-29T13:30:00Z")),
            ("Jan _2 15:04:05", "Mar  9 13:30:00", Some("2024-03-09T13:30:00Z")),
            ("Jan _2 15:04:05", "Dec 31 23:59:59", Some("2024-12-31T23:59:59Z")),
            ("2006-01-02", "2024-02-30", None),
            ("2006-01-02 15:04:05", "2024-01-25 13:30:00 more", None),
            ("Unix", "1706189400", Some("2024-01-25T13:30:00Z")),
            ("Unix", "1706189400.5", Some("2024-01-25T13:30:00.5Z")),
            ("UnixMs", "1706189400123", Some("2024-01-25T13:30:00.123Z")),
            ("UnixUs", "1706189400123456", Some("2024-01-25T13:30:00.123456Z")),
            ("UnixNs", "1706189400123456789", Some("2024-01-25T13:30:00.123456789Z")),
            ("UnixMs", "soon", None),
        ] {
            let read = Format::named(layout).read(text, None, NOW).map(|at| at.to_string());
            assert_eq!(read.as_deref(), want, "{layout}: {text}");
        }
    }

    #[test]
    fn a_zone_counts_where_the_text_names_none() {
        let zone = TimeZone::fixed(Offset::from_seconds(7200).unwrap());
        for (layout, text, want) in [
            ("2006-01-02 15:04", "2024-01-25 13:30", "2024-01-25T11:30:00Z"),
            ("2006-01-02 15:04 MST", "2024-01-25 13:30 CET", "2024-01-25T11:30:00Z"),
            ("2006-01-02 15:04 MST", "2024-01-25 13:30 UTC", "2024-01-25T13:30:00Z"),
            ("2006-01-02 15:04Z07", "2024-01-25 13:30Z", "2024-01-25T13:30:00Z"),
        ] {
            let read = Format::named(layout).read(text, Some(&zone), NOW).map(|at| at.to_string());
            assert_eq!(read.as_deref(), Some(want), "{layout}");
        }
    }

    #[test]
    fn the_year_is_the_one_nearby() {
        let january = Nanos(1_704_067_200_000_000_000);
        let read = Format::named("Jan _2 15:04:05").read("Dec 31 23:59:59", None, january);
        assert_eq!(read.map(|at| at.to_string()).as_deref(), Some("2023-12-31T23:59:59Z"));
        let december = Nanos(january.0 - 1_000_000_000);
        let read = Format::named("Jan _2 15:04:05").read("Jan  1 00:00:01", None, december);
        assert_eq!(read.map(|at| at.to_string()).as_deref(), Some("2024-01-01T00:00:01Z"));
    }

    proptest! {
        #[test]
        fn any_layout_reads_or_does_not(layout in "[0-9JanMonPMZ.,:_ é-]{0,20}", text in "[0-9JanuryPMZ.,:+é -]{0,24}") {
            let _ = Format::named(&layout).read(&text, None, NOW);
        }

        #[test]
        fn what_is_written_is_read(seconds in 0_i64..4_000_000_000, nanos in 0_i64..1_000_000_000) {
            let at = Nanos(seconds * 1_000_000_000 + nanos);
            prop_assert_eq!(Format::named("RFC3339").read(&at.to_string(), None, NOW), Some(at));
            prop_assert_eq!(Format::named("UnixNs").read(&at.0.to_string(), None, NOW), Some(at));
        }
    }
}
