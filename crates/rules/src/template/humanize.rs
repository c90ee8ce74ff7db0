//! Numbers for people, as upstream's `humanize…` functions write them.

use jiff::Timestamp;

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];

pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (scaled, prefix) = if value.abs() >= 1.0 { shrink(value, 1000.0, &LARGE) } else { grow(value) };
    format!("{}{prefix}", four_digits(scaled))
}

pub(super) fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    let (scaled, prefix) = shrink(value, 1024.0, &BINARY);
    format!("{}{prefix}", four_digits(scaled))
}

pub(super) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return four_digits(value);
    }
    if value == 0.0 {
        return format!("{}s", four_digits(value));
    }
    if value.abs() < 1.0 {
        let (scaled, prefix) = grow(value);
        return format!("{}{prefix}s", four_digits(scaled));
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = value.abs() as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(value.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

pub(super) fn percentage(value: f64) -> String {
    format!("{}%", four_digits(value * 100.0))
}

/// A time as Go prints one, in UTC.
///
/// # Errors
/// When the seconds are no time that Go can hold.
pub(super) fn timestamp(seconds: f64) -> Result<String, String> {
    let nanos = seconds * 1e9;
    if nanos.abs() > i64::MAX as f64 {
        return Err(format!(
            "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
            general(seconds, None)
        ));
    }
    // Upstream keeps milliseconds.
    let ms = nanos as i64 / 1_000_000;
    let at = Timestamp::from_millisecond(ms).map_err(|error| error.to_string())?;
    let base = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let fraction = match ms.rem_euclid(1000) {
        0 => String::new(),
        ms => format!(".{ms:03}").trim_end_matches('0').to_owned(),
    };
    Ok(format!("{base}{fraction} +0000 UTC"))
}

/// Go's `%.4g`.
pub(super) fn four_digits(value: f64) -> String {
    general(value, Some(4))
}

/// Go's `%g`: with at most so many digits, or with as many as it takes to read the value back.
pub(super) fn general(value: f64, digits: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = match digits {
        Some(digits) => format!("{value:.*e}", digits.saturating_sub(1)),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    let from = i32::try_from(digits.unwrap_or(6)).unwrap_or(6);
    if exponent < -4 || exponent >= from {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{trimmed}e{sign}{:02}", exponent.unsigned_abs());
    }
    let figures = trimmed.bytes().filter(u8::is_ascii_digit).count();
    let decimals = usize::try_from(i32::try_from(figures).unwrap_or(0) - 1 - exponent).unwrap_or(0);
    // The mantissa is rounded already: parsed back it has just these digits.
    let rounded: f64 = scientific.parse().unwrap_or(value);
    format!("{rounded:.decimals$}")
}

fn shrink(mut value: f64, by: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut used = "";
    for prefix in prefixes {
        if value.abs() < by {
            break;
        }
        used = prefix;
        value /= by;
    }
    (value, used)
}

fn grow(mut value: f64) -> (f64, &'static str) {
    let mut used = "";
    for prefix in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        used = prefix;
        value *= 1000.0;
    }
    (value, used)
}
