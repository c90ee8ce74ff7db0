//! Times inside templates: Go layouts over a text that carries the instant.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use signal::Nanos;

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
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// How Go prints a time; templates pass times on as this text.
const SHOWN: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

/// The text of an instant in UTC.
pub(super) fn show(at: Nanos) -> String {
    zoned(at, "UTC").map(|at| format(SHOWN, &at)).unwrap_or_default()
}

/// The instant a template's text stands for: what [`show`] wrote, RFC 3339, or unix time by its number of digits.
pub(super) fn read(text: &str) -> Option<Nanos> {
    if let Ok(number) = text.parse::<i64>() {
        let scale = match text.trim_start_matches('-').len() {
            0..=11 => 1_000_000_000,
            12..=14 => 1_000_000,
            15..=17 => 1_000,
            _ => 1,
        };
        return number.checked_mul(scale).map(Nanos);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return i64::try_from(at.as_nanosecond()).ok().map(Nanos);
    }
    let shown = text.rsplit_once(' ').map_or(text, |(head, _zone)| head);
    parse("2006-01-02 15:04:05.999999999 -0700", shown, "UTC")
}

/// Unix time as text: days, seconds, milli-, micro- or nanoseconds, by how long the text is.
pub(super) fn of_unix(text: &str) -> Option<Nanos> {
    let scale = match text.len() {
        5 => 86_400_000_000_000,
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return None,
    };
    text.parse::<i64>().ok()?.checked_mul(scale).map(Nanos)
}

/// An instant in a zone.
pub(super) fn zoned(at: Nanos, zone: &str) -> Option<Zoned> {
    let at = Timestamp::from_nanosecond(i128::from(at.0)).ok()?;
    let zone = if matches!(zone, "" | "UTC" | "Local") { TimeZone::UTC } else { TimeZone::get(zone).ok()? };
    Some(at.to_zoned(zone))
}

/// The elements of a layout, longest spelling first.
const ELEMENTS: [&str; 30] = [
    "January",
    "Monday",
    "2006",
    "-07:00",
    "Z07:00",
    "-0700",
    "Z0700",
    "Jan",
    "Mon",
    "MST",
    "-07",
    "_2",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    ".000000000",
    ".000000",
    ".000",
    ".999999999",
    "1",
    "2",
    "3",
    "4",
    "5",
];

fn element(layout: &str) -> Option<&'static str> {
    ELEMENTS.into_iter().find(|element| layout.starts_with(element))
}

/// Writes a time after a Go layout.
pub(super) fn format(layout: &str, at: &Zoned) -> String {
    let mut out = String::new();
    let mut rest = layout;
    let hour12 = match at.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let nanos = at.subsec_nanosecond();
    let offset = at.offset().seconds();
    let shift = |colon: &str, zulu: bool| {
        if zulu && offset == 0 {
            return "Z".to_owned();
        }
        let sign = if offset < 0 { '-' } else { '+' };
        format!("{sign}{:02}{colon}{:02}", offset.abs() / 3600, offset.abs() / 60 % 60)
    };
    let name = |names: &[&'static str], at: i8| names.get(usize::try_from(at - 1).unwrap_or(0)).copied().unwrap_or("");
    while let Some(first) = rest.chars().next() {
        let Some(found) = element(rest) else {
            out.push(first);
            rest = rest.strip_prefix(first).unwrap_or_default();
            continue;
        };
        let month = name(&MONTHS, at.month());
        let day = name(&DAYS, at.weekday().to_monday_one_offset());
        out.push_str(&match found {
            "January" => month.to_owned(),
            "Jan" => month.get(..3).unwrap_or("").to_owned(),
            "Monday" => day.to_owned(),
            "Mon" => day.get(..3).unwrap_or("").to_owned(),
            "2006" => format!("{:04}", at.year()),
            "06" => format!("{:02}", at.year().rem_euclid(100)),
            "01" => format!("{:02}", at.month()),
            "1" => at.month().to_string(),
            "02" => format!("{:02}", at.day()),
            "_2" => format!("{:2}", at.day()),
            "2" => at.day().to_string(),
            "15" => format!("{:02}", at.hour()),
            "03" => format!("{hour12:02}"),
            "3" => hour12.to_string(),
            "04" => format!("{:02}", at.minute()),
            "4" => at.minute().to_string(),
            "05" => format!("{:02}", at.second()),
            "5" => at.second().to_string(),
            "PM" => (if at.hour() < 12 { "AM" } else { "PM" }).to_owned(),
            "pm" => (if at.hour() < 12 { "am" } else { "pm" }).to_owned(),
            "MST" => at.time_zone().to_offset_info(at.timestamp()).abbreviation().to_owned(),
            "-07:00" => shift(":", false),
            "-0700" => shift("", false),
            "-07" => shift("", false).get(..3).unwrap_or("").to_owned(),
            "Z07:00" => shift(":", true),
            "Z0700" => shift("", true),
            ".999999999" if nanos == 0 => String::new(),
            ".999999999" => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
            ".000000000" => format!(".{nanos:09}"),
            ".000000" => format!(".{:06}", nanos / 1000),
            _ => format!(".{:03}", nanos / 1_000_000),
        });
        rest = rest.get(found.len()..).unwrap_or_default();
    }
    out
}

/// Reads a time after a Go layout; without an offset in the text it is of `zone`.
pub(super) fn parse(layout: &str, text: &str, zone: &str) -> Option<Nanos> {
    let (mut year, mut month, mut day) = (1_i16, 1_i8, 1_i8);
    let (mut hour, mut minute, mut second, mut nanos) = (0_i8, 0_i8, 0_i8, 0_i32);
    let (mut afternoon, mut offset) = (None, None);
    let (mut layout, mut text) = (layout, text);
    while let Some(first) = layout.chars().next() {
        let Some(found) = element(layout) else {
            text = text.strip_prefix(first)?;
            layout = layout.strip_prefix(first)?;
            // A fraction may follow the seconds although the layout has none.
            continue;
        };
        layout = layout.get(found.len()..)?;
        let number = |text: &str, most: usize| -> Option<(i32, usize)> {
            let length = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
            Some((text.get(..length)?.parse().ok()?, length))
        };
        let small = |text: &str| number(text, 2).and_then(|(value, length)| Some((i8::try_from(value).ok()?, length)));
        let named = |names: &[&str], short: bool| {
            names.iter().zip(1_i8..).find_map(|(name, at)| {
                let name = if short { name.get(..3)? } else { name };
                text.starts_with(name).then_some((at, name.len()))
            })
        };
        let length = match found {
            "2006" => {
                let (value, length) = number(text, 4)?;
                year = i16::try_from(value).ok()?;
                length
            }
            "06" => {
                let (value, length) = number(text, 2)?;
                year = i16::try_from(if value >= 69 { 1900 + value } else { 2000 + value }).ok()?;
                length
            }
            "January" | "Jan" => {
                let (at, length) = named(&MONTHS, found == "Jan")?;
                month = at;
                length
            }
            "Monday" | "Mon" => named(&DAYS, found == "Mon")?.1,
            "01" | "1" => store(&mut month, small(text)?),
            "02" | "2" => store(&mut day, small(text)?),
            "_2" => {
                let trimmed = text.trim_start_matches(' ');
                store(&mut day, small(trimmed)?) + text.len() - trimmed.len()
            }
            "15" | "03" | "3" => store(&mut hour, small(text)?),
            "04" | "4" => store(&mut minute, small(text)?),
            "05" | "5" => {
                let length = store(&mut second, small(text)?);
                if layout.starts_with('.') { length } else { length + fraction(text.get(length..)?, &mut nanos) }
            }
            "PM" | "pm" => {
                let word = text.get(..2)?.to_ascii_uppercase();
                afternoon = Some(word == "PM");
                2
            }
            "MST" => text.bytes().take_while(u8::is_ascii_alphabetic).count(),
            "-07:00" | "-0700" | "-07" | "Z07:00" | "Z0700" => {
                if let Some(length) = text.strip_prefix('Z').map(|_| 1) {
                    offset = Some(0);
                    length
                } else {
                    let sign = if text.starts_with('-') { -1 } else { 1 };
                    let hours: i32 = text.get(1..3)?.parse().ok()?;
                    let (minutes, length): (i32, usize) = match found {
                        "-07" => (0, 3),
                        "-07:00" | "Z07:00" => (text.get(4..6)?.parse().ok()?, 6),
                        _ => (text.get(3..5)?.parse().ok()?, 5),
                    };
                    offset = Some(sign * (hours * 3600 + minutes * 60));
                    length
                }
            }
            _ => fraction(text, &mut nanos),
        };
        text = text.get(length..)?;
    }
    if !text.is_empty() {
        return None;
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
    let at = match offset {
        Some(offset) => civil.to_zoned(TimeZone::fixed(jiff::tz::Offset::from_seconds(offset).ok()?)).ok()?,
        None if matches!(zone, "" | "UTC" | "Local") => civil.to_zoned(TimeZone::UTC).ok()?,
        // As in Loki, a zone nobody knows is UTC.
        None => civil.to_zoned(TimeZone::get(zone).unwrap_or(TimeZone::UTC)).ok()?,
    };
    i64::try_from(at.timestamp().as_nanosecond()).ok().map(Nanos)
}

fn store(place: &mut i8, (value, length): (i8, usize)) -> usize {
    *place = value;
    length
}

fn fraction(text: &str, nanos: &mut i32) -> usize {
    let Some(digits) = text.strip_prefix('.') else { return 0 };
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    let kept: String = digits.chars().take(length.min(9)).collect();
    *nanos = format!("{kept:0<9}").parse().unwrap_or(0);
    length + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_write_and_read() {
        let at = Nanos(1_706_189_445_123_000_000);
        for (layout, want) in [
            ("2006-01-02T15:04:05Z07:00", "2024-01-25T13:30:45Z"),
            ("Mon Jan _2 15:04:05 2006", "Thu Jan 25 13:30:45 2024"),
            ("02/Jan/2006:15:04:05 -0700", "25/Jan/2024:13:30:45 +0000"),
            ("3:04PM .000", "1:30PM .123"),
        ] {
            assert_eq!(format(layout, &zoned(at, "UTC").unwrap()), want, "{layout}");
        }
        for (layout, text, want) in [
            ("2006-01-02", "2024-01-25", Some(1_706_140_800_000_000_000)),
            ("2006-01-02T15:04:05.999999999Z07:00", "2024-01-25T14:30:45.123+01:00", Some(at.0)),
            ("2006-01-02 03:04:05PM", "2024-01-25 01:30:45PM", Some(1_706_189_445_000_000_000)),
            ("2006-01-02", "never", None),
            ("2006-01-02", "2024-13-45", None),
        ] {
            assert_eq!(parse(layout, text, "UTC"), want.map(Nanos), "{text}");
        }
        assert_eq!(show(at), "2024-01-25 13:30:45.123 +0000 UTC");
        assert_eq!(read(&show(at)), Some(at));
        assert_eq!(read("1706189445123"), Some(at));
    }
}
